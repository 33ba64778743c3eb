//! Processes that serve the same databases one after the other, and now and then two at a time, on a store that fails; and clients that ask
//! whoever is there.
//!
//! Owns: who lives and who is asked, and how the way to the store is. Does not own: what clients ask (`client.rs`).

use std::cell::Cell;
use std::convert::Infallible;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use engine::{Clock as _, SystemClock};
use futures::future::join_all;
use rand::rngs::StdRng;
use rand::seq::{IndexedRandom as _, SliceRandom as _};
use rand::{Rng as _, SeedableRng as _};
use tokio::sync::watch;
use tokio::time::Instant;

use super::client::{Board, Client, LONG, Served, create, log};
use super::operation::{Asked, Operation, Outcome};
use crate::support::{Dev, Folders, Place, Proxy, Resource, ServedBy, Signal, Weather};

/// How a database is declared, and what is added to requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// Whatever is answered is in the bucket.
    Sync,
    /// The same where the mode does not say so but each request.
    Asked,
    /// A reply means memory.
    Stream,
}

/// What becomes of a process.
#[derive(Debug, Clone, Copy)]
enum Event {
    Kill,
    TakeOver(Old),
}

/// What the old process does during a takeover.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Old {
    /// It goes on.
    Awake,
    /// It stands still, and goes on later.
    Asleep,
}

impl Event {
    const ALL: [Self; 3] = [Self::Kill, Self::TakeOver(Old::Awake), Self::TakeOver(Old::Asleep)];
}

/// A process that is not ready by then finds fair weather from there on.
const LONGEST_START: Duration = Duration::from_secs(5);

/// Of each database.
const CLIENTS: usize = 3;

/// What was put to the test.
#[derive(Debug, Default)]
pub(super) struct Tally {
    ok: usize,
    failed: usize,
    unknown: usize,
    kills: u32,
    /// Processes that stood still while another took over.
    stops: u32,
    takeovers: u32,
    /// Requests and answers that were cut, came late, or were answered with 503.
    store_failures: u32,
}

/// All that was asked of one database, and what it had in the end.
pub(super) struct History {
    pub(super) operations: Vec<Operation>,
    pub(super) log: Vec<u64>,
}

/// A process, the folders that it would find again, and how it is asked.
pub(super) struct Running {
    pub(super) dev: Dev,
    cluster: Folders,
    pub(super) served: Arc<Served>,
}

pub(super) struct Stage {
    modes: &'static [Mode],
    /// The bucket, without anything in between.
    place: Place,
    /// The way to it that fails.
    proxy: Proxy,
    begun: Instant,
    board: watch::Sender<Board>,
    /// How many processes there were.
    processes: Cell<usize>,
    /// Since when one is about to be ready.
    starting: Cell<Option<Instant>>,
}

impl Stage {
    /// With the databases as they are before the first transfer.
    pub(super) async fn begin(modes: &'static [Mode], bucket: &str, rng: &mut StdRng) -> (Self, Running) {
        let place = Place::create(ServedBy::Minio, bucket).await;
        let proxy = Proxy::before(&place, StdRng::seed_from_u64(rng.random())).await;
        let (begun, board) = (SystemClock.now(), watch::Sender::new(Board::Asked { readers: Vec::new(), writers: Vec::new() }));
        let stage = Self { modes, place, proxy, begun, board, processes: Cell::default(), starting: Cell::default() };
        let running = stage.start(stage.cluster(&stage.proxy.place)).await;
        for database in &running.served.databases {
            create(database).await;
            // Even where a reply means memory.
            database.flush().await;
        }
        (stage, running)
    }

    /// Has clients ask for so long, and until everything has happened once: one thing after the other to those who answer, and to the store.
    pub(super) async fn play(&self, mut running: Running, time: Duration, rng: &mut StdRng) -> (Vec<History>, Tally) {
        let mut tally = Tally::default();
        let mut weather = StdRng::seed_from_u64(rng.random());
        let clients = (0..CLIENTS * self.modes.len()).map(|number| self.client(number, rng).run(self.board.subscribe()));
        let clients = join_all(clients.collect::<Vec<_>>());
        let course = async {
            self.show(&[&running], &[&running]);
            let mut events = Vec::new();
            while SystemClock.now() < self.begun + time || !tally.has_every_event() {
                live(100..1500, rng).await;
                if events.is_empty() {
                    events.extend(Event::ALL);
                    events.shuffle(rng);
                }
                running = match events.pop().expect("there are some") {
                    Event::Kill => self.kill(running, &mut tally).await,
                    Event::TakeOver(old) => self.take_over(running, old, rng, &mut tally).await,
                };
            }
            live(100..1500, rng).await;
            self.board.send_replace(Board::Over);
            running.dev.program.kill().await;
        };
        let (told, ()) = tokio::select! {
            ended = async { tokio::join!(clients, course) } => ended,
            never = self.change_the_weather(&mut weather) => match never {},
        };
        tally.store_failures = self.proxy.counts().iter().sum::<u32>() + self.proxy.refusals();
        let histories = self.look(told, rng).await;
        for history in &histories {
            tally.count(history);
        }
        (histories, tally)
    }

    /// Somebody opens what is in the bucket now, and looks.
    pub(super) async fn look(&self, told: Vec<Vec<Operation>>, rng: &mut StdRng) -> Vec<History> {
        let last = self.start(self.cluster(&self.place)).await;
        let mut histories: Vec<_> = self.modes.iter().map(|_| History { operations: Vec::new(), log: Vec::new() }).collect();
        for (number, operations) in told.into_iter().enumerate() {
            histories[self.database_of(number)].operations.extend(operations);
        }
        for (number, history) in histories.iter_mut().enumerate() {
            history.log = log(&last.served.databases[number]).await;
            let mut client = self.client(CLIENTS * self.modes.len() + number, rng);
            let read = client.ask(&last.served, Asked::StrongRead, LONG).await;
            assert!(read.seen().is_some(), "{read}");
            history.operations.push(read);
        }
        last.dev.program.kill().await;
        histories
    }

    /// Clients are dealt out to the databases in turn.
    fn database_of(&self, client: usize) -> usize {
        client % self.modes.len()
    }

    pub(super) fn client(&self, number: usize, rng: &mut StdRng) -> Client {
        let database = self.database_of(number);
        let wish = if self.modes[database] == Mode::Asked { "durability=sync" } else { "" };
        Client::new(number, database, wish, StdRng::seed_from_u64(rng.random()), self.begun)
    }

    /// Folders of a cluster that was never before.
    fn cluster(&self, place: &Place) -> Folders {
        let folders = Folders::with(&Resource::credentials(&place.account));
        for (number, mode) in self.modes.iter().enumerate() {
            let (name, key) = (name(number), format!("{}.db", name(number)));
            let resource = match mode {
                Mode::Sync => Resource::synced(&name, place, &key),
                Mode::Asked | Mode::Stream => Resource::streaming(&name, place, &key, "1s"),
            };
            folders.declare(&format!("database-{name}.yaml"), &resource);
        }
        folders
    }

    async fn start(&self, cluster: Folders) -> Running {
        self.starting.set(Some(SystemClock.now()));
        let dev = cluster.start("standard").await;
        self.starting.set(None);
        self.processes.set(self.processes.get() + 1);
        let databases = (0..self.modes.len()).map(|number| dev.database(&name(number))).collect();
        let served = Arc::new(Served { process: self.processes.get(), databases });
        Running { dev, cluster, served }
    }

    /// A process of a cluster that was built later, and takes over what others have.
    pub(super) async fn successor(&self) -> Running {
        self.start(self.cluster(&self.proxy.place)).await
    }

    /// These are asked from now on, and no others.
    fn show(&self, readers: &[&Running], writers: &[&Running]) {
        let [readers, writers] = [readers, writers].map(|asked| asked.iter().map(|running| Arc::clone(&running.served)).collect());
        self.board.send_replace(Board::Asked { readers, writers });
    }

    /// SIGKILL, and the next process of the same cluster.
    async fn kill(&self, Running { dev, cluster, .. }: Running, tally: &mut Tally) -> Running {
        dev.program.kill().await;
        tally.kills += 1;
        self.show(&[], &[]);
        let next = self.start(cluster).await;
        self.show(&[&next], &[&next]);
        next
    }

    /// A process of another cluster takes over, and after some time the old one is killed.
    async fn take_over(&self, old: Running, state: Old, rng: &mut StdRng, tally: &mut Tally) -> Running {
        if state == Old::Asleep {
            old.dev.program.send(Signal::Stop).await;
            tally.stops += 1;
        }
        let next = self.successor().await;
        tally.takeovers += 1;
        // Writes tell the old process that the branch is not its own any more. Until somebody writes to it, it believes what it knows.
        let writers: &[&Running] = if rng.random_bool(0.5) { &[&next] } else { &[&old, &next] };
        self.show(&[&old, &next], writers);
        live(100..600, rng).await;
        if state == Old::Asleep {
            old.dev.program.send(Signal::Continue).await;
        }
        live(100..600, rng).await;
        self.show(&[&old, &next], &[&old, &next]);
        live(100..300, rng).await;
        self.show(&[&next], &[&next]);
        old.dev.program.kill().await;
        next
    }

    /// Of the way to the store.
    async fn change_the_weather(&self, rng: &mut StdRng) -> Infallible {
        loop {
            self.proxy.set(Weather::Fair);
            live(300..2000, rng).await;
            // Each failure makes a process wait for longer before it tries to open again, on a slow machine until this test's patience ends.
            while self.starting.get().is_some_and(|since| SystemClock.now() - since > LONGEST_START) {
                live(100..200, rng).await;
            }
            self.proxy.set(*[Weather::Foul, Weather::Refusing].choose(rng).unwrap());
            live(100..1000, rng).await;
        }
    }
}

impl Tally {
    fn count(&mut self, history: &History) {
        for operation in &history.operations {
            match operation.outcome {
                Outcome::Ok(_) => self.ok += 1,
                Outcome::Failed(_) => self.failed += 1,
                Outcome::Unknown(_) => self.unknown += 1,
            }
        }
    }

    fn has_every_event(&self) -> bool {
        self.kills > 0 && self.stops > 0 && self.takeovers > self.stops
    }

    /// Whether there was some of everything.
    pub(super) fn is_complete(&self) -> bool {
        let Self { ok, failed, unknown, store_failures, .. } = self;
        self.has_every_event() && *store_failures > 0 && [ok, failed, unknown].into_iter().all(|count| *count > 0)
    }

    pub(super) fn add(&mut self, other: &Self) {
        let Self { ok, failed, unknown, kills, stops, takeovers, store_failures } = self;
        *ok += other.ok;
        *failed += other.failed;
        *unknown += other.unknown;
        *kills += other.kills;
        *stops += other.stops;
        *takeovers += other.takeovers;
        *store_failures += other.store_failures;
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { ok, failed, unknown, kills, stops, takeovers, store_failures } = self;
        write!(
            f,
            "{} operations ({ok} ok, {failed} failed, {unknown} unknown), {kills} kills, {stops} stops, {takeovers} takeovers, \
             {store_failures} store failures",
            ok + failed + unknown
        )
    }
}

fn name(number: usize) -> String {
    format!("number-{number}")
}

/// So many milliseconds in which nothing else happens.
async fn live(milliseconds: Range<u64>, rng: &mut StdRng) {
    tokio::time::sleep(Duration::from_millis(rng.random_range(milliseconds))).await;
}
