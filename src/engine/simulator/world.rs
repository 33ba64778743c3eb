//! One run: processes, what they do, in which order their requests reach the bucket, and whether what they were promised holds.
//!
//! Hours pass in it, because gc waits for time to go by. What gc takes for granted of the time is granted here: no request is under way for
//! an hour, and no row of a file is kept from the bucket for two, since the process is killed before.

mod contents;
mod model;
mod process;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::hours::Hours;
use super::store::{Broken, Fate, Parked, Store, View};
use model::Model;
use process::{Done, Op, Process, perform};

/// What happens in one run: a grant, a start, an arrival, a kill, an hour.
const EVENTS: u32 = 160;
/// The same where most of it is about files: a run of gc has many requests.
const EVENTS_OF_FILES: u32 = 300;
const PROCESSES: usize = 2;
/// Branches that may be made, besides `main`.
const NAMES: usize = 4;
/// How many contents there are. Few, so that what one process puts another forgets.
const FILES: u8 = 2;
/// How many runs of gc it takes until nothing is left: one that ends what a dead one began and marks, one that deletes, and one to spare.
const SWEEPS: u32 = 3;
/// After so many hours gc deletes what is marked.
const RIPE: u32 = 2;

pub(super) struct World {
    random: StdRng,
    /// Whether most of it is about files.
    of_files: bool,
    hours: Arc<Hours>,
    store: Arc<Store>,
    processes: Vec<Process>,
    parked: Vec<Parked>,
    parking: (mpsc::UnboundedSender<Parked>, mpsc::UnboundedReceiver<Parked>),
    done: (mpsc::UnboundedSender<Done>, mpsc::UnboundedReceiver<Done>),
    model: Model,
    /// What processes do; those that were killed never end.
    tasks: JoinSet<()>,
    /// How many processes there were.
    born: usize,
    next_row: i64,
    /// The process whose request was granted last.
    last: usize,
    history: Vec<String>,
}

impl World {
    pub(super) fn new(seed: u64, broken: Broken) -> Self {
        let hours = Arc::new(Hours::new());
        let mut world = Self {
            random: StdRng::seed_from_u64(seed),
            of_files: seed % 2 == 1,
            store: Store::new(broken, Arc::clone(&hours)),
            hours,
            processes: Vec::new(),
            parked: Vec::new(),
            parking: mpsc::unbounded_channel(),
            done: mpsc::unbounded_channel(),
            model: Model::default(),
            tasks: JoinSet::new(),
            born: 0,
            next_row: 0,
            last: 0,
            history: Vec::new(),
        };
        for _ in 0..PROCESSES {
            let process = world.birth();
            world.processes.push(process);
        }
        world
    }

    pub(super) async fn run(mut self) -> Result<(), String> {
        let outcome = self.play().await;
        outcome.map_err(|why| format!("{why}\nobjects: {:#?}\nhistory:\n  {}", self.store.keys(), self.history.join("\n  ")))
    }

    async fn play(&mut self) -> Result<(), String> {
        if self.of_files {
            self.leave_an_orphan().await?;
        }
        for _ in 0..if self.of_files { EVENTS_OF_FILES } else { EVENTS } {
            self.settle().await?;
            self.event().await?;
        }
        self.settle().await?;
        for slot in 0..PROCESSES {
            self.kill(slot);
        }
        self.arrive_all();
        self.last_look().await?;
        self.last_sweep().await
    }

    /// A content that no row names, marked, and ripe to be deleted.
    async fn leave_an_orphan(&mut self) -> Result<(), String> {
        let process = self.birth();
        let (main, file) = ("main".to_owned(), 0);
        let flush = || Op::Flush { branch: main.clone() };
        for op in [Op::Open { branch: main.clone() }, Op::Put { file }, flush(), Op::Remove { file }, flush(), Op::Close] {
            self.calm(&process, op).await?;
        }
        // It is old enough to be marked,
        self.hours.pass(1);
        self.calm(&process, Op::Gc).await?;
        // and marked for long enough to be deleted.
        self.hours.pass(RIPE);
        process.dead.store(true, Ordering::Relaxed);
        Ok(())
    }

    fn birth(&mut self) -> Process {
        self.born += 1;
        let dead = Arc::new(AtomicBool::new(false));
        let view = View { store: Arc::clone(&self.store), process: self.born, parked: self.parking.0.clone(), dead };
        Process::new(self.born, view, Arc::clone(&self.hours))
    }

    /// Waits until every process that does something waits for the bucket, or is done.
    async fn settle(&mut self) -> Result<(), String> {
        loop {
            while let Ok(parked) = self.parking.1.try_recv() {
                self.park(parked);
            }
            let waits = |process: &Process| self.parked.iter().any(|parked| parked.process == process.number);
            if self.processes.iter().all(|process| process.busy.is_none() || waits(process)) {
                return Ok(());
            }
            tokio::select! {
                Some(parked) = self.parking.1.recv() => self.park(parked),
                Some(done) = self.done.1.recv() => self.finish(done)?,
            }
        }
    }

    fn park(&mut self, parked: Parked) {
        // The request of a process that was killed meanwhile.
        if self.processes.iter().any(|process| process.number == parked.process) {
            self.parked.push(parked);
        }
    }

    async fn event(&mut self) -> Result<(), String> {
        let idle: Vec<usize> = (0..PROCESSES).filter(|slot| self.processes[*slot].busy.is_none()).collect();
        match self.random.random_range(0..100) {
            0..3 => {
                let slot = self.random.random_range(0..PROCESSES);
                self.kill(slot);
            }
            3..13 if self.store.late() > 0 => self.arrive(),
            13..15 if self.of_files => {
                for _ in 0..self.random.random_range(1..=2) {
                    self.hour().await?;
                }
            }
            13..45 if !idle.is_empty() => {
                let slot = idle[self.random.random_range(0..idle.len())];
                self.start(slot);
            }
            _ if !self.parked.is_empty() => {
                let which = self.next_parked();
                self.grant(which);
            }
            _ if !idle.is_empty() => {
                let slot = idle[self.random.random_range(0..idle.len())];
                self.start(slot);
            }
            _ => {}
        }
        Ok(())
    }

    /// Mostly of the same process as the last: what goes wrong needs one to stand still while another does several things.
    fn next_parked(&mut self) -> usize {
        let same = self.parked.iter().position(|parked| parked.process == self.last);
        match same {
            Some(which) if self.of_files && self.random.random_bool(0.8) => which,
            _ => self.random.random_range(0..self.parked.len()),
        }
    }

    async fn hour(&mut self) -> Result<(), String> {
        while let Some(which) = self.parked.iter().position(|parked| parked.request.starts_with("DELETE files/")) {
            self.grant(which);
            self.settle().await?;
        }
        self.arrive_all();
        let now = self.hours.passed();
        for slot in 0..PROCESSES {
            let Process { busy, begun, unsaved, .. } = &self.processes[slot];
            if (busy.is_some() && *begun < now) || unsaved.is_some_and(|since| since < now) {
                self.kill(slot);
            }
        }
        self.history.push("an hour passes".to_owned());
        self.hours.pass(1);
        Ok(())
    }

    fn grant(&mut self, which: usize) {
        let Parked { process, request, changes, grant } = self.parked.swap_remove(which);
        // A run of gc has so many requests that it would hardly ever come to its end.
        let fate = match self.random.random_range(0..if self.of_files { 300 } else { 100 }) {
            0..5 => Fate::Refused,
            5..11 if changes => Fate::AnswerLost,
            11..16 if changes => Fate::Late,
            _ => Fate::Answered,
        };
        self.history.push(format!("p{process} {request}: {fate:?}"));
        grant.send(fate).ok();
        self.last = process;
    }

    fn arrive_all(&mut self) {
        while self.store.late() > 0 {
            self.arrive();
        }
    }

    fn arrive(&mut self) {
        let which = self.random.random_range(0..self.store.late());
        self.history.push(format!("late request {which} arrives"));
        self.store.arrive(which);
    }

    fn kill(&mut self, slot: usize) {
        let process = &mut self.processes[slot];
        let number = process.number;
        process.dead.store(true, Ordering::Relaxed);
        let op = process.busy.take();
        self.history.push(format!("p{number} is killed{}", op.as_ref().map_or(String::new(), |op| format!(" during {op:?}"))));
        if let Some(op) = op {
            self.model.unknown(number, &op);
        }
        self.parked.retain(|parked| parked.process != number);
        let born = self.birth();
        self.processes[slot] = born;
    }

    fn start(&mut self, slot: usize) {
        let op = self.choose(slot);
        let process = &mut self.processes[slot];
        self.history.push(format!("p{} begins {op:?}", process.number));
        self.model.begin(process.number, &op);
        process.busy = Some(op.clone());
        process.begun = self.hours.passed();
        if matches!(op, Op::Put { .. } | Op::Remove { .. }) {
            process.unsaved.get_or_insert(process.begun);
        }
        let (means, number, done) = (process.means.clone(), process.number, self.done.0.clone());
        self.tasks.spawn(async move {
            let outcome = perform(&means, &op).await;
            // The world is gone only at the end.
            done.send(Done { process: number, op, outcome }).ok();
        });
    }

    fn choose(&mut self, slot: usize) -> Op {
        let name = |random: &mut StdRng| match random.random_range(0..=NAMES) {
            0 => "main".to_owned(),
            number => format!("b{number}"),
        };
        let Some(serves) = self.processes[slot].serves.clone() else {
            let branch = if self.random.random_bool(0.7) { "main".to_owned() } else { name(&mut self.random) };
            return if self.of_files && self.random.random_bool(0.3) { Op::Gc } else { Op::Open { branch } };
        };
        if self.of_files && self.random.random_bool(0.9) {
            let file = if self.random.random_bool(0.7) { 0 } else { self.random.random_range(1..FILES) };
            // Both at once is what can go wrong.
            let is_gc_at_work = self.processes.iter().any(|process| matches!(process.busy, Some(Op::Gc)));
            return match self.random.random_range(if is_gc_at_work { 0..40 } else { 0..100 }) {
                0..30 => Op::Put { file },
                30..45 => Op::Remove { file },
                45..70 => Op::Flush { branch: serves },
                _ => Op::Gc,
            };
        }
        match self.random.random_range(0..100) {
            0..35 => {
                self.next_row += 1;
                Op::Write { branch: serves, row: self.next_row }
            }
            35..60 => Op::Flush { branch: serves },
            60..72 => {
                let from = if self.random.random_bool(0.6) { serves } else { name(&mut self.random) };
                Op::Create { name: name(&mut self.random), from }
            }
            72..80 => Op::Switch { from: serves, to: name(&mut self.random) },
            80..90 => {
                let to = if self.random.random_bool(0.6) { serves } else { name(&mut self.random) };
                Op::Overwrite { to, from: name(&mut self.random) }
            }
            90..95 => Op::Delete { name: name(&mut self.random) },
            _ => Op::Close,
        }
    }

    fn finish(&mut self, Done { process, op, outcome }: Done) -> Result<(), String> {
        let Some(process) = self.processes.iter_mut().find(|known| known.number == process) else { return Ok(()) };
        process.busy = None;
        process.serves = outcome.serves.as_ref().map(|(branch, _)| branch.clone());
        if outcome.result.is_ok() && matches!(op, Op::Flush { .. } | Op::Close) {
            process.unsaved = None;
        }
        if let Err(told) = &outcome.result
            && let (Some(ours), Some(theirs)) = (number_after(told, "our epoch "), number_after(told, "fenced off by epoch "))
            && theirs <= ours
        {
            return Err(format!("p{}: {told}", process.number));
        }
        if let (Op::Put { file }, Ok(_)) = (&op, &outcome.result)
            && self.store.bytes(&format!("files/{}", process::file_key(*file))).is_none()
        {
            return Err(format!("p{}: file {file} was kept, and its content is gone", process.number));
        }
        self.history.push(format!("p{} ended {op:?}: {:?}, serves {:?}", process.number, outcome.result, outcome.serves));
        self.model.learn(process.number, &op, &outcome).map_err(|why| format!("p{}, {op:?}: {why}", process.number))
    }

    /// With a bucket that behaves: everything that was promised is there.
    async fn last_look(&mut self) -> Result<(), String> {
        if let Some(key) = self.store.keys().into_iter().find(|key| key.contains(".branch.outside-")) {
            return Err(format!("{key}: a state of somebody else was found where nobody else wrote"));
        }
        let listed = self.last(Op::List).await?;
        let names = listed.result.map_err(|why| format!("the branches cannot be listed: {why}"))?;
        self.model.listed(&names)?;
        for branch in names {
            let looked = self.last(Op::Open { branch: branch.clone() }).await?;
            looked.result.map_err(|why| format!("branch {branch} cannot be opened: {why}"))?;
        }
        Ok(())
    }

    /// The files that are named have their contents, and when gc has had its time those are all that there are.
    async fn last_sweep(&mut self) -> Result<(), String> {
        let named = contents::named(&self.store)?;
        contents::are_there(&self.store, &named)?;
        for _ in 0..SWEEPS {
            // One more than it takes: a blob of the last moment must be old enough, too.
            self.hours.pass(RIPE + 1);
            self.last(Op::Gc).await?.result.map_err(|why| format!("gc fails: {why}"))?;
        }
        let mut left = self.store.keys().into_iter().filter(|key| key.starts_with("files/"));
        left.find(|key| !named.contains_key(key)).map_or(Ok(()), |key| Err(format!("{key} is named by nobody, and still there")))?;
        contents::are_there(&self.store, &named).map_err(|why| format!("after the last sweep: {why}"))
    }

    /// By a process of its own.
    async fn last(&mut self, op: Op) -> Result<process::Outcome, String> {
        let born = self.birth();
        let outcome = self.calm(&born, op).await;
        born.dead.store(true, Ordering::Relaxed);
        outcome
    }

    /// Something that is done while nobody else does anything, and the bucket behaves.
    async fn calm(&mut self, process: &Process, op: Op) -> Result<process::Outcome, String> {
        let performed = perform(&process.means, &op);
        tokio::pin!(performed);
        let outcome = loop {
            tokio::select! {
                Some(Parked { grant, .. }) = self.parking.1.recv() => drop(grant.send(Fate::Answered)),
                outcome = &mut performed => break outcome,
            }
        };
        self.history.push(format!("calmly {op:?}: {:?}, serves {:?}", outcome.result, outcome.serves));
        self.model.learn(process.number, &op, &outcome).map_err(|why| format!("calmly, {op:?}: {why}"))?;
        Ok(outcome)
    }
}

/// The number that follows these words.
fn number_after(text: &str, words: &str) -> Option<u64> {
    let (_, rest) = text.split_once(words)?;
    rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}
