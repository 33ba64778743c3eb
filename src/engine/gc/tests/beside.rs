//! A put beside a run of gc: their requests in every order that there is, and in many orders with lost answers and killed runs.
//!
//! What must hold, whatever the order: if the put succeeded, its content is there, now and after all later runs; if it failed, there is no row.

use std::sync::Arc;

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::task::JoinSet;

use super::super::run::Broken;
use super::super::*;
use super::runs::{DATABASE, flush, gc, has, hash, options, run_over, with_orphan};
use crate::database::Database;
use crate::files::Description;
use crate::files::tests::BrokenPut;
use crate::files::tests::bench::{Bench, Effect, GRACE, Turns};

/// How things stand when both begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Before {
    /// An unused blob, unmarked: the run marks it.
    Unmarked,
    /// Marked, and ripe: the run deletes it.
    Ripe,
    /// A run died after its seal: this one takes over.
    Abandoned,
}

/// A put that waits for a sealed file looks as often as it is let; from here on the run goes first, so that the orders come to an end.
const PATIENCE: usize = 8;

/// What a put does after it has registered.
fn of_a_put(_: &str, key: &str) -> bool {
    key.starts_with("files/") || key == "files.gc.json"
}

/// What a run does that a put can notice, and its looks at what a put changes.
fn of_a_run(operation: &str, key: &str) -> bool {
    key == "files.gc.json" || (operation == "delete" && key.starts_with("files/"))
}

/// Something that does requests one by one.
struct Actor {
    turns: Turns,
    arrivals: UnboundedReceiver<()>,
    work: JoinSet<bool>,
    /// How it ended.
    outcome: Option<bool>,
    requests: usize,
}

impl Actor {
    async fn begin<F: Future<Output = bool> + Send + 'static>(work: impl FnOnce(Turns) -> F) -> Self {
        let (turns, arrivals) = Turns::new(of_a_run);
        let mut actor = Self { turns: turns.clone(), arrivals, work: JoinSet::new(), outcome: None, requests: 0 };
        actor.work.spawn(work(turns));
        actor.settle().await;
        actor
    }

    /// Lets one request happen, and waits until the next one is about to.
    async fn step(&mut self) {
        self.requests += 1;
        self.turns.permit();
        self.settle().await;
    }

    async fn settle(&mut self) {
        tokio::select! {
            Some(ended) = self.work.join_next() => self.outcome = Some(ended.unwrap()),
            Some(()) = self.arrivals.recv() => {}
        }
    }

    /// It ends here, whatever it was about to do.
    async fn kill(&mut self) {
        self.work.shutdown().await;
        self.outcome = Some(false);
    }
}

/// An unused blob, and a database that is about to put the same content.
struct Scene {
    bench: Arc<Bench>,
    database: Database,
    put: Actor,
    run: Actor,
}

impl Scene {
    async fn set(before: Before, broken: (BrokenPut, Broken)) -> Self {
        let (bench, database) = with_orphan().await;
        match before {
            Before::Unmarked => {}
            Before::Ripe => {
                gc(&bench).await;
                bench.clock.advance(GRACE);
            }
            Before::Abandoned => {
                bench.mark(&[b"orphan"], Phase::Sealed).await;
                bench.clock.advance(ABANDONED);
            }
        }
        drop(database);
        let bench = Arc::new(bench);
        let (broken_put, broken_run) = broken;
        let (turns, arrivals) = Turns::new(of_a_put);
        let database = bench.open_over(Arc::new(bench.bucket.by_turns(turns.clone())), DATABASE, "main", broken_put).await;
        let put = {
            let (bench, database) = (Arc::clone(&bench), database.clone());
            let work = async move {
                let content = bench.spooled(b"orphan").await;
                database.files().put(&content, Description::default()).await.is_ok()
            };
            let mut put = Actor { turns, arrivals, work: JoinSet::new(), outcome: None, requests: 0 };
            put.work.spawn(work);
            put.settle().await;
            put
        };
        let run = Actor::begin(|turns| {
            let bench = Arc::clone(&bench);
            async move {
                let mut run = run_over(&bench, Arc::new(bench.bucket.by_turns(turns)), options(&bench));
                run.broken = broken_run;
                run.run().await.is_ok()
            }
        })
        .await;
        Self { bench, database, put, run }
    }

    /// Lets both go on to their ends; `choose` says whether the put is next.
    async fn play(&mut self, mut choose: impl FnMut() -> bool) {
        loop {
            let put_is_next = match (self.put.outcome, self.run.outcome) {
                (Some(_), Some(_)) => return,
                (None, Some(_)) => true,
                (Some(_), None) => false,
                (None, None) => self.put.requests < PATIENCE && choose(),
            };
            if put_is_next { self.put.step().await } else { self.run.step().await }
        }
    }

    /// What went wrong, if anything did.
    async fn judge(&mut self) -> Result<(), &'static str> {
        let Self { bench, database, put, .. } = self;
        let has_row = database.files().list(10, None).await.unwrap().iter().any(|record| record.key == hash(b"orphan"));
        if has_row != (put.outcome == Some(true)) {
            return Err("the put says one thing and the row another");
        }
        if has_row && !has(bench, b"orphan") {
            return Err("the row has no content");
        }
        // The other file of this scene was put by an earlier process.
        bench.sql(database, &format!("INSERT INTO filestore VALUES ('{0}', 'files/{0}', 4, NULL, NULL, 1.0, NULL)", hash(b"kept"))).await;
        flush(bench, database).await;
        bench.clock.advance(ABANDONED);
        for _ in 0..2 {
            gc(bench).await;
            bench.clock.advance(GRACE);
        }
        if !has(bench, b"kept") {
            return Err("a file that nobody touched lost its content");
        }
        match (has_row, has(bench, b"orphan")) {
            (true, false) => Err("a later run took the content of a row"),
            (false, true) => Err("an unused blob stays"),
            (true, true) | (false, false) => Ok(()),
        }
    }
}

/// All orders, depth first. Ends at the first in which something goes wrong.
async fn every_order(before: Before, broken: (BrokenPut, Broken)) -> Result<usize, (&'static str, Vec<bool>)> {
    let mut orders = 0;
    let mut path: Vec<bool> = Vec::new();
    loop {
        let mut scene = Scene::set(before, broken).await;
        let mut at = 0;
        scene
            .play(|| {
                if at == path.len() {
                    path.push(false);
                }
                at += 1;
                path[at - 1]
            })
            .await;
        path.truncate(at);
        scene.judge().await.map_err(|wrong| (wrong, path.clone()))?;
        orders += 1;
        while path.pop_if(|put_was_next| *put_was_next).is_some() {}
        match path.last_mut() {
            Some(last) => *last = true,
            None => return Ok(orders),
        }
    }
}

const SOUND: (BrokenPut, Broken) = (BrokenPut::Nothing, Broken::Nothing);

#[tokio::test(start_paused = true)]
async fn a_put_beside_a_run_that_marks_keeps_its_content_in_every_order() {
    assert!(every_order(Before::Unmarked, SOUND).await.unwrap() >= 10);
}

#[tokio::test(start_paused = true)]
async fn a_put_beside_a_run_that_deletes_keeps_its_content_in_every_order() {
    assert!(every_order(Before::Ripe, SOUND).await.unwrap() > 100);
}

#[tokio::test(start_paused = true)]
async fn a_put_beside_a_run_that_takes_over_keeps_its_content_in_every_order() {
    assert!(every_order(Before::Abandoned, SOUND).await.unwrap() > 100);
}

#[tokio::test(start_paused = true)]
async fn each_part_of_the_order_is_needed() {
    for broken in [(BrokenPut::StrikeOut, Broken::Nothing), (BrokenPut::Nothing, Broken::Seal)] {
        assert!(every_order(Before::Ripe, broken).await.is_err(), "nobody noticed {broken:?}");
    }
}

/// From the first look at the marks to the commit, a large upload may take longer than gc waits.
#[tokio::test(start_paused = true)]
async fn a_put_that_is_slower_than_gc_notices() {
    for (broken, is_sound) in [(SOUND, true), ((BrokenPut::SecondLook, Broken::Nothing), false)] {
        for requests in 0..3 {
            let mut scene = Scene::set(Before::Unmarked, broken).await;
            scene.run.kill().await;
            for _ in 0..requests {
                scene.put.step().await;
            }
            for _ in 0..2 {
                gc(&scene.bench).await;
                scene.bench.clock.advance(GRACE);
            }
            scene.play(|| true).await;
            // Between the look at the blob and the commit.
            let is_exposed = requests == 2;
            assert_eq!(scene.judge().await.is_ok(), is_sound || !is_exposed, "{broken:?} after {requests} requests");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn lost_answers_and_killed_runs_change_nothing_about_it() {
    for seed in 0..100 {
        let mut random = StdRng::seed_from_u64(seed);
        let before = [Before::Unmarked, Before::Ripe, Before::Abandoned][random.random_range(0..3)];
        let mut scene = Scene::set(before, SOUND).await;
        let effect = [Effect::Refuse, Effect::LoseAnswer, Effect::FailUnclear][random.random_range(0..3)];
        scene.bench.bucket.fail(random.random_range(0..20), effect);
        let dies_after = random.random_range(0..20);
        while scene.run.outcome.is_none() || scene.put.outcome.is_none() {
            if scene.run.requests >= dies_after && scene.run.outcome.is_none() {
                scene.run.kill().await;
            }
            let put_is_next = scene.run.outcome.is_some() || random.random();
            match (put_is_next, scene.put.outcome) {
                (true, None) => scene.put.step().await,
                _ if scene.run.outcome.is_none() => scene.run.step().await,
                _ => {}
            }
        }
        scene.bench.bucket.clear_fault();
        assert_eq!(scene.judge().await, Ok(()), "seed {seed}, {before:?}, {effect:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn two_runs_at_once_delete_what_one_would() {
    for seed in 0..100 {
        let mut random = StdRng::seed_from_u64(seed);
        let (bench, _database) = with_orphan().await;
        gc(&bench).await;
        bench.clock.advance(GRACE);
        let bench = Arc::new(bench);
        let mut runs = Vec::new();
        for _ in 0..2 {
            let begun = Actor::begin(|turns| {
                let bench = Arc::clone(&bench);
                async move { run_over(&bench, Arc::new(bench.bucket.by_turns(turns)), options(&bench)).run().await.is_ok() }
            });
            runs.push(begun.await);
        }
        while let Some(at) = (0..2).filter(|at| runs[*at].outcome.is_none()).min_by_key(|_| random.random::<u32>()) {
            runs[at].step().await;
        }
        assert!(runs.iter().all(|run| run.outcome == Some(true)), "seed {seed}");
        assert!(has(&bench, b"kept") && !has(&bench, b"orphan"), "seed {seed}");
        assert!(bench.marks().await.is_some_and(|marks| marks.phase == Phase::Marked && marks.hashes.is_empty()), "seed {seed}");
    }
}
