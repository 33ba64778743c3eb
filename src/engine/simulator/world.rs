//! One run: processes, what they do, in which order their requests reach the bucket, and whether what they were promised holds.

mod model;
mod process;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::store::{Broken, Fate, Parked, Source, Store, View};
use model::Model;
use process::{Done, Op, Process, perform};

/// What happens in one run: a grant, a start, an arrival, a kill.
const EVENTS: u32 = 160;
const PROCESSES: usize = 2;
/// Branches that may be made, besides `main`.
const NAMES: usize = 4;

pub(super) struct World {
    random: StdRng,
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
    history: Vec<String>,
}

impl World {
    pub(super) fn new(seed: u64, broken: Broken) -> Self {
        let mut world = Self {
            random: StdRng::seed_from_u64(seed),
            store: Store::new(broken),
            processes: Vec::new(),
            parked: Vec::new(),
            parking: mpsc::unbounded_channel(),
            done: mpsc::unbounded_channel(),
            model: Model::default(),
            tasks: JoinSet::new(),
            born: 0,
            next_row: 0,
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
        for _ in 0..EVENTS {
            self.settle().await?;
            self.event();
        }
        self.settle().await?;
        for slot in 0..PROCESSES {
            self.kill(slot);
        }
        while self.store.late() > 0 {
            self.arrive();
        }
        self.last_look().await
    }

    fn birth(&mut self) -> Process {
        self.born += 1;
        let dead = Arc::new(AtomicBool::new(false));
        let view = View { store: Arc::clone(&self.store), process: self.born, parked: self.parking.0.clone(), dead: Arc::clone(&dead) };
        Process::new(self.born, Source(Arc::new(view)), dead)
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

    fn event(&mut self) {
        let idle: Vec<usize> = (0..PROCESSES).filter(|slot| self.processes[*slot].busy.is_none()).collect();
        match self.random.random_range(0..100) {
            0..3 => {
                let slot = self.random.random_range(0..PROCESSES);
                self.kill(slot);
            }
            3..13 if self.store.late() > 0 => self.arrive(),
            13..45 if !idle.is_empty() => {
                let slot = idle[self.random.random_range(0..idle.len())];
                self.start(slot);
            }
            _ if !self.parked.is_empty() => self.grant(),
            _ if !idle.is_empty() => {
                let slot = idle[self.random.random_range(0..idle.len())];
                self.start(slot);
            }
            _ => {}
        }
    }

    fn grant(&mut self) {
        let which = self.random.random_range(0..self.parked.len());
        let Parked { process, request, changes, grant } = self.parked.swap_remove(which);
        let fate = match self.random.random_range(0..100) {
            0..5 => Fate::Refused,
            5..11 if changes => Fate::AnswerLost,
            11..16 if changes => Fate::Late,
            _ => Fate::Answered,
        };
        self.history.push(format!("p{process} {request}: {fate:?}"));
        grant.send(fate).ok();
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
        let (host, number, done) = (Arc::clone(&process.host), process.number, self.done.0.clone());
        self.tasks.spawn(async move {
            let outcome = perform(&host, &op).await;
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
            return Op::Open { branch };
        };
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

    async fn last(&mut self, op: Op) -> Result<process::Outcome, String> {
        let born = self.birth();
        let (host, work) = (Arc::clone(&born.host), op.clone());
        self.processes[0] = born;
        let performed = perform(&host, &work);
        tokio::pin!(performed);
        let outcome = loop {
            tokio::select! {
                Some(Parked { grant, .. }) = self.parking.1.recv() => drop(grant.send(Fate::Answered)),
                outcome = &mut performed => break outcome,
            }
        };
        self.history.push(format!("at last {op:?}: {:?}, serves {:?}", outcome.result, outcome.serves));
        self.model.learn(0, &op, &outcome).map_err(|why| format!("at last, {op:?}: {why}"))?;
        self.processes[0].dead.store(true, Ordering::Relaxed);
        Ok(outcome)
    }
}
