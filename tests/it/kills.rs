//! A real process on a real store, killed at moments of chance, many times over: of each row what was promised holds afterwards, and no row
//! is there without all those before it.
//!
//! `BUCKETHEAD_KILLS` says how often, `BUCKETHEAD_KILLS_SEED` at which moments.

use std::cell::Cell;
use std::convert::Infallible;
use std::time::Duration;

use engine::{Clock as _, SystemClock};
use futures::future::join_all;
use rand::Rng as _;
use rand::rngs::StdRng;
use tokio::time::Instant;

use crate::support::{Database, Dev, End, Folders, Found, Place, Resource, Rows, Seed, ServedBy, Snapshot, setting};

/// Several, so that one kill finds the flushers at different points.
const NAMES: [&str; 3] = ["first", "second", "third"];
const INTERVAL: Duration = Duration::from_millis(100);
/// How much later than a `streamInterval` and a PUT a row may be in the bucket.
const GRACE: Duration = Duration::from_secs(1);
/// One process in so many lives long enough for the clock to say what must be there. The others are killed while all of it is new.
const LONG_LIFE: u64 = 8;
/// So many kills are survived by the same databases. Then others begin, so that what there is to read stays little.
const KILLS_OF_ONE: u64 = 100;

/// What was put to the test.
#[derive(Debug, Default)]
struct Tally {
    kills: u64,
    kills_while_opening: u64,
    rows: u64,
    due_by_txid: usize,
    due_by_clock: usize,
    lost: u64,
}

/// What a reply promises.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// That the row will be in the bucket after an interval and a PUT.
    Stream,
    /// That it is there.
    Sync,
}

struct Lives<'a> {
    mode: Mode,
    rng: &'a mut StdRng,
    tally: &'a mut Tally,
    folders: Folders,
    place: Place,
    rows: Vec<Rows>,
    /// How many rows of each database must be there after the last kill, by the clock.
    due: [usize; NAMES.len()],
    /// How long the last start took.
    opening: Duration,
}

#[tokio::test]
async fn after_each_of_many_kills_the_rows_are_there_that_were_promised() {
    let tally = kill_often(Mode::Stream, "kills").await;
    assert!(tally.due_by_clock > 0 && tally.due_by_txid > 0 && tally.lost > 0, "nothing was put to the test: {tally:?}");
}

#[tokio::test]
async fn after_each_of_many_kills_no_row_is_missing_whose_write_was_answered_in_sync() {
    let tally = kill_often(Mode::Sync, "kills-sync").await;
    assert!(tally.due_by_txid > 0 && tally.lost == 0, "nothing was put to the test, or rows are missing: {tally:?}");
}

async fn kill_often(mode: Mode, bucket: &str) -> Tally {
    let seed = Seed::of("BUCKETHEAD_KILLS_SEED");
    let (mut rng, mut tally) = (seed.rng(), Tally::default());
    let mut left = setting("BUCKETHEAD_KILLS", 40);
    while left > 0 {
        let kills = left.min(KILLS_OF_ONE);
        left -= kills;
        let mut lives = Lives::begin(mode, &format!("{bucket}-{left}"), &mut rng, &mut tally).await;
        for number in 0..kills {
            lives.live(number % LONG_LIFE == 0).await;
        }
        lives.end().await;
    }
    tell(mode, &tally);
    tally
}

impl<'a> Lives<'a> {
    async fn begin(mode: Mode, bucket: &str, rng: &'a mut StdRng, tally: &'a mut Tally) -> Self {
        let place = Place::create(ServedBy::Minio, bucket).await;
        let folders = Folders::with(&Resource::credentials(&place.account));
        for name in NAMES {
            let key = format!("{name}.db");
            let resource = match mode {
                Mode::Stream => Resource::streaming(name, &place, &key, &format!("{}ms", INTERVAL.as_millis())),
                Mode::Sync => Resource::synced(name, &place, &key),
            };
            folders.declare(&format!("database-{name}.yaml"), &resource);
        }
        let dev = folders.start("standard").await;
        let mut rows = Vec::new();
        for name in NAMES {
            rows.push(Rows::of(&dev.database(name)).await);
            dev.database(name).flush().await;
        }
        dev.program.kill().await;
        Self { mode, rng, tally, folders, place, rows, due: Default::default(), opening: Duration::ZERO }
    }

    /// Opens what is there after the last kill, and has plain SQLite look at it.
    async fn end(mut self) {
        let (dev, databases) = self.open().await;
        for (rows, database) in self.rows.iter().zip(&databases) {
            let file = Snapshot::open(&database.file().await);
            assert_eq!(file.value::<i64>("select count(*) from rows").unsigned_abs(), rows.count());
        }
        dev.program.kill().await;
    }

    /// Starts a process, lets it be written to, and kills it.
    async fn live(&mut self, long: bool) {
        let (dev, databases) = self.open().await;
        let moment = if long {
            INTERVAL + GRACE + Duration::from_millis(self.rng.random_range(300..600))
        } else {
            Duration::from_millis(self.rng.random_range(0..400))
        };
        let pulse = Pulse::new();
        let writers = join_all(self.rows.iter_mut().zip(&databases).map(|(rows, database)| rows.write(database)));
        let kill = async {
            tokio::time::sleep(moment).await;
            let at = SystemClock.now();
            dev.program.kill().await;
            at
        };
        let (ends, killed) = tokio::select! {
            killed = async { tokio::join!(writers, kill) } => killed,
            never = pulse.beat(&self.place) => match never {},
        };
        for end in ends {
            assert!(matches!(end, End::Unreachable), "a write was refused: {end:?}");
        }
        self.tally.kills += 1;
        let age = pulse.slowest() + GRACE;
        for (due, rows) in self.due.iter_mut().zip(&self.rows) {
            *due = match self.mode {
                Mode::Stream => rows.older_than(age, killed),
                Mode::Sync => rows.told().len(),
            };
            self.tally.due_by_clock += *due;
            self.tally.due_by_txid += rows.durable();
            self.tally.rows += rows.told().len() as u64;
        }
    }

    /// Starts a process after the last kill, and compares what it has. Now and then it is killed itself before it has opened anything.
    async fn open(&mut self) -> (Dev, [Database; NAMES.len()]) {
        while self.rng.random_bool(0.2) {
            let program = Dev::spawn(&self.folders.manifests, &self.folders.data, "standard");
            tokio::time::sleep(self.opening.mul_f64(self.rng.random_range(0.0..1.0))).await;
            self.tally.kills_while_opening += u64::from(!program.is_ready());
            program.kill().await;
        }
        let begun = SystemClock.now();
        let dev = self.folders.start("standard").await;
        self.opening = SystemClock.now() - begun;
        let databases = NAMES.map(|name| dev.database(name));
        for ((rows, due), database) in self.rows.iter_mut().zip(self.due).zip(&databases) {
            self.tally.lost += rows.settle(Found::by(database).await, due);
        }
        self.due = Default::default();
        (dev, databases)
    }
}

/// Waits for an interval and puts an object, as a flusher does, on the same machine and the same store: how long that takes when both are busy.
struct Pulse {
    begun: Cell<Instant>,
    slowest: Cell<Duration>,
}

impl Pulse {
    fn new() -> Self {
        Self { begun: Cell::new(SystemClock.now()), slowest: Cell::default() }
    }

    async fn beat(&self, place: &Place) -> Infallible {
        loop {
            self.begun.set(SystemClock.now());
            tokio::time::sleep(INTERVAL).await;
            place.put("pulse", Vec::new()).await;
            self.slowest.set(self.slowest());
        }
    }

    /// The beat under way counts as well.
    fn slowest(&self) -> Duration {
        self.slowest.get().max(SystemClock.now() - self.begun.get())
    }
}

#[allow(clippy::print_stderr, reason = "a passed test should say how much it tried; a failed one shows it, too")]
fn tell(mode: Mode, tally: &Tally) {
    eprintln!("{mode:?}: {tally:?}");
}
