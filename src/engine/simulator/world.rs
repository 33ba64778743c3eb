//! One run: processes, what they do, in which order their requests reach the bucket, and whether what they were promised holds.
//!
//! There are two kinds. One is about branches and their chains: commits go to the bucket by themselves, days pass, chains are compacted and
//! shortened, processes stand still in the middle of a request and go on, clocks are set. The other is about files. What gc takes for granted
//! of the time is granted there: no request is under way for an hour, and no row of a file is kept from the bucket for two, since the process
//! is killed before.

mod choice;
mod contents;
mod looks;
mod model;
mod process;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::leases::Leases;
use super::store::{Fate, Parked, Store, View, sort};
use super::time::{HOUR, Time};
use crate::config::{Durability, Mode};
use crate::flaws::Flaw;
use model::Model;
use process::{Done, Op, Process, perform, pod};

/// What happens in one run: a grant, a start, an arrival, a kill, an hour.
const EVENTS: u32 = 300;
const PROCESSES: usize = 2;
/// After so many hours gc deletes what is marked.
const RIPE: u32 = 2;
/// How often in an event a lease ends of somebody who says nothing.
const LAPSES: f64 = 0.1;
/// How long it is waited for nobody to do anything, at first.
const TICK: Duration = Duration::from_millis(1);
/// And at last.
const LONGEST_TICK: Duration = Duration::from_secs(1);

pub(super) struct World {
    random: StdRng,
    /// Whether most of it is about files.
    of_files: bool,
    durability: Durability,
    time: Time,
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
    /// A process that stands still, and for how many events.
    paused: Option<(usize, u32)>,
    /// Who may answer, where somebody keeps account of it.
    leases: Option<Arc<Leases>>,
    history: Vec<String>,
}

/// What a run was.
pub(super) struct Told {
    /// The promise that was broken, if one was.
    pub(super) outcome: Result<(), String>,
    pub(super) history: Vec<String>,
    /// How often what happened.
    pub(super) counts: BTreeMap<&'static str, u64>,
}

impl World {
    pub(super) fn new(seed: u64, flaw: Flaw) -> Self {
        let (time, of_files) = (Time::new(), seed % 2 == 1);
        let mut random = StdRng::seed_from_u64(seed);
        let usual = if of_files { by_snapshots() } else { choice::durability(&mut random) };
        // One world of eight each, and the others are as they would be without it.
        let durability = match seed % 8 {
            4 => Durability { mode: Mode::Sync, ..usual },
            6 => Durability { verify_interval: HOUR, ..usual },
            _ => usual,
        };
        let mut world = Self {
            of_files,
            durability,
            random,
            store: Store::new(flaw, time.elsewhere()),
            time,
            processes: Vec::new(),
            parked: Vec::new(),
            parking: mpsc::unbounded_channel(),
            done: mpsc::unbounded_channel(),
            model: Model::default(),
            tasks: JoinSet::new(),
            born: 0,
            next_row: 0,
            last: 0,
            paused: None,
            leases: (seed % 8 == 2).then(Arc::default),
            history: Vec::new(),
        };
        if !of_files && world.random.random_bool(0.5) {
            // As the seed leaves it, and one that may become smaller.
            world.store.place("orders.db", contents::EMPTY_BUT_SHRINKING.clone());
        }
        for _ in 0..PROCESSES {
            let process = world.birth();
            world.processes.push(process);
        }
        world
    }

    pub(super) async fn run(mut self) -> Told {
        let outcome = self.play().await;
        let told = outcome.map_err(|why| format!("{why}\nobjects: {:#?}\nhistory:\n  {}", self.store.keys(), self.history.join("\n  ")));
        Told { outcome: told, counts: self.store.counts(), history: self.history }
    }

    async fn play(&mut self) -> Result<(), String> {
        if self.of_files {
            self.leave_an_orphan().await?;
        }
        for _ in 0..EVENTS {
            self.settle().await?;
            self.event().await?;
        }
        self.settle().await?;
        for slot in 0..PROCESSES {
            self.kill(slot);
        }
        self.arrive_all();
        // Whoever looks now comes after all of them.
        self.leases = None;
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
        self.pass(HOUR).await;
        self.calm(&process, Op::Gc).await?;
        // and marked for long enough to be deleted.
        self.pass(HOUR * RIPE).await;
        process.dead.store(true, Ordering::Relaxed);
        Ok(())
    }

    fn birth(&mut self) -> Process {
        self.born += 1;
        let dead = Arc::new(AtomicBool::new(false));
        let view = View { store: Arc::clone(&self.store), process: self.born, parked: self.parking.0.clone(), dead };
        let time = self.time.elsewhere();
        // Where nothing that was told may be lost, who comes next is an hour ahead of or behind who came before, from the beginning.
        if self.durability.mode == Mode::Sync && self.born.is_multiple_of(2) {
            time.jump(HOUR.as_secs().cast_signed());
        }
        Process::new(self.born, view, Arc::new(time), self.durability, self.leases.clone())
    }

    /// Waits until every process that does something waits for the bucket, or is done, and until nobody does anything: a pause ends only
    /// then. Which of two threads was faster is not to be seen.
    async fn settle(&mut self) -> Result<(), String> {
        let mut tick = TICK;
        loop {
            self.pass(tick).await;
            let mut is_quiet = true;
            while let Ok(parked) = self.parking.1.try_recv() {
                self.park(parked);
                is_quiet = false;
            }
            while let Ok(done) = self.done.1.try_recv() {
                self.finish(done)?;
                is_quiet = false;
            }
            // A thread that has just ended may not have been heard of.
            if !is_quiet {
                continue;
            }
            self.look_at_claims()?;
            self.look_at_leases()?;
            let waits = |process: &Process| self.parked.iter().any(|parked| parked.process == process.number);
            if self.processes.iter().all(|process| process.busy.is_none() || waits(process)) {
                sort(&mut self.parked);
                if self.durability.mode == Mode::Sync {
                    self.look_at_readers().await?;
                }
                return self.look_at_bucket();
            }
            // It waits before it tries again.
            tick = (tick * 2).min(LONGEST_TICK);
        }
    }

    /// Time passes for all.
    async fn pass(&self, time: Duration) {
        tokio::time::sleep(time).await;
    }

    /// Whole hours since the beginning.
    fn hours(&self) -> u64 {
        self.time.passed().as_secs() / HOUR.as_secs()
    }

    fn park(&mut self, parked: Parked) {
        // The request of a process that was killed meanwhile.
        if self.processes.iter().any(|process| process.number == parked.process) {
            self.parked.push(parked);
        }
    }

    async fn event(&mut self) -> Result<(), String> {
        if let Some((process, left)) = self.paused {
            self.paused = left.checked_sub(1).map(|left| (process, left));
        }
        if self.leases.is_some() && self.random.random_bool(LAPSES) {
            self.end_a_lease();
        }
        let idle: Vec<usize> = (0..PROCESSES).filter(|slot| self.processes[*slot].busy.is_none() && !self.is_paused(*slot)).collect();
        match self.random.random_range(0..100) {
            0..3 => {
                let slot = self.random.random_range(0..PROCESSES);
                // What becomes of one that stands still is seen when it goes on.
                if self.paused.is_none() {
                    self.kill(slot);
                }
            }
            3..13 if self.store.late() > 0 => self.arrive(),
            13..15 if self.of_files => {
                for _ in 0..self.random.random_range(1..=2) {
                    self.hour().await?;
                }
            }
            13..20 if !self.of_files => {
                let time = choice::time(&mut self.random, self.paused.is_some());
                self.history.push(format!("{time:?} pass"));
                self.pass(time).await;
            }
            20..22 if !self.of_files => {
                let slot = self.random.random_range(0..PROCESSES);
                self.pause(slot);
            }
            22..23 if !self.of_files => {
                let (slot, seconds) = (self.random.random_range(0..PROCESSES), choice::jump(&mut self.random));
                self.history.push(format!("the clock of p{} is set by {seconds} s", self.processes[slot].number));
                self.processes[slot].jump(seconds);
            }
            23..50 if !idle.is_empty() => {
                let slot = idle[self.random.random_range(0..idle.len())];
                self.start(slot);
            }
            _ => match self.next_parked() {
                Some(which) => self.grant(which),
                None if !idle.is_empty() => {
                    let slot = idle[self.random.random_range(0..idle.len())];
                    self.start(slot);
                }
                None => {}
            },
        }
        Ok(())
    }

    fn is_paused(&self, slot: usize) -> bool {
        self.paused.is_some_and(|(process, _)| process == self.processes[slot].number)
    }

    /// One that has requests under way stands still, and somebody else may take over in the meantime.
    fn pause(&mut self, slot: usize) {
        // With the most to lose: one that writes a delta.
        let writes =
            self.parked.iter().find(|parked| parked.request.starts_with("PUT orders.db.ltx/") && parked.request.contains("/0000/"));
        let number = writes.map_or(self.processes[slot].number, |parked| parked.process);
        if self.paused.is_none() && self.parked.iter().any(|parked| parked.process == number) {
            let events = self.random.random_range(30..150);
            self.history.push(format!("p{number} stands still for {events} events"));
            self.paused = Some((number, events));
        }
    }

    /// The lease of one that was killed or stands still runs out, and somebody ends it.
    fn end_a_lease(&mut self) {
        let Some(leases) = self.leases.clone() else { return };
        let moves = |number: &usize| {
            self.processes.iter().any(|process| process.number == *number && self.paused.is_none_or(|(paused, _)| paused != *number))
        };
        let silent: Vec<usize> = (1..=self.born).filter(|number| !moves(number) && !leases.has_ended(&pod(*number))).collect();
        if let Some(number) = (!silent.is_empty()).then(|| silent[self.random.random_range(0..silent.len())]) {
            self.history.push(format!("the lease of p{number} is ended"));
            leases.end(pod(number));
        }
    }

    /// Mostly of the same process as the last: what goes wrong needs one to stand still while another does several things.
    fn next_parked(&mut self) -> Option<usize> {
        let paused = self.paused.map(|(process, _)| process);
        let awake: Vec<usize> = (0..self.parked.len()).filter(|which| Some(self.parked[*which].process) != paused).collect();
        if awake.is_empty() {
            return None;
        }
        let same: Vec<usize> = awake.iter().copied().filter(|which| self.parked[*which].process == self.last).collect();
        let among = if !same.is_empty() && self.of_files && self.random.random_bool(0.8) { same } else { awake };
        Some(among[self.random.random_range(0..among.len())])
    }

    async fn hour(&mut self) -> Result<(), String> {
        while let Some(which) = self.parked.iter().position(|parked| parked.request.starts_with("DELETE files/")) {
            self.grant(which);
            self.settle().await?;
        }
        self.arrive_all();
        let now = self.hours();
        for slot in 0..PROCESSES {
            let Process { busy, begun, unsaved, .. } = &self.processes[slot];
            if (busy.is_some() && *begun < now) || unsaved.is_some_and(|since| since < now) {
                self.kill(slot);
            }
        }
        self.history.push("an hour passes".to_owned());
        self.pass(HOUR).await;
        Ok(())
    }

    fn grant(&mut self, which: usize) {
        let Parked { process, request, changes, grant } = self.parked.swap_remove(which);
        // A run of gc has so many requests that it would hardly ever come to its end.
        let fate = match self.random.random_range(0..if self.of_files { 300 } else { 100 }) {
            0..4 => Fate::Refused,
            4..6 if changes => Fate::Torn,
            6..11 if changes => Fate::AnswerLost,
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
        self.paused = self.paused.filter(|(process, _)| *process != number);
        let born = self.birth();
        self.processes[slot] = born;
    }

    fn start(&mut self, slot: usize) {
        let (op, now) = (self.choose(slot), self.hours());
        let process = &mut self.processes[slot];
        self.history.push(format!("p{} begins {op:?}", process.number));
        self.model.begin(process.number, &op);
        process.busy = Some(op.clone());
        process.begun = now;
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
}

/// Each state goes to the plain file as well, and nobody asks for past ones.
fn by_snapshots() -> Durability {
    Durability { retention: Some(Duration::ZERO), verify_interval: Duration::ZERO, ..Durability::by_snapshots() }
}
