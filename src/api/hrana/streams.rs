//! The streams of HTTP clients between two requests.
//!
//! Owns: which streams there are, who may go on with which, and when they end. Does not own: what runs on them.
//! Invariants: a stream is in one request's hands at a time; one that nobody goes on with ends within [`TTL`]; of a database there are at
//! most [`MOST`] at a time.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use axum::http::request::Parts;
use engine::{Clock, Database, DatabaseName, Permission, Point, Stream, Witness, spawn_owned};
use parking_lot::Mutex;
use rand::RngCore as _;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use super::baton::{Place, Refused, Signer};
use super::message::StoredSql;
use crate::error::{Kind, Problem};
use crate::promise::Promise;

/// How long a stream waits for its next request.
const TTL: Duration = Duration::from_secs(10);
/// How long afterwards its baton is still known as that of a stream that expired.
const REMEMBERED: Duration = Duration::from_mins(5);
/// How long a request waits for the one before it.
const PATIENCE: Duration = Duration::from_secs(10);
/// How many streams a database may have.
const MOST: usize = 1000;

/// One client's connection, with the texts that it stored.
pub(super) struct Session {
    pub(super) stream: Stream,
    pub(super) stored: StoredSql,
    /// Which state it reads.
    point: Point,
}

impl Session {
    /// Tells of which states the answers are to whoever watches the request of this head, and keeps what it was promised.
    pub(super) fn serves(&mut self, head: &Parts) {
        self.stream.confirm_always(head.extensions.get::<Promise>().is_some_and(|promise| promise.durable));
        if let Some(witness) = head.extensions.get::<Arc<Witness>>() {
            self.stream.watched_by(Arc::clone(witness));
        }
    }
}

/// All streams of HTTP clients.
pub(crate) struct Streams {
    signer: Signer,
    clock: Arc<dyn Clock>,
    table: Arc<Mutex<Table>>,
}

#[derive(Default)]
struct Table {
    next: u64,
    slots: HashMap<u64, Slot>,
    open: HashMap<DatabaseName, usize>,
    /// When each stream will have waited for too long, and what will have been its turn then. In order of time.
    ends: VecDeque<(Instant, Place)>,
    /// Streams that expired, in order of time.
    expired: VecDeque<(Instant, u64)>,
    /// Runs while there are streams.
    sweeper: Option<AbortOnDropHandle<()>>,
}

struct Slot {
    database: DatabaseName,
    turn: u64,
    state: State,
}

enum State {
    Idle(Box<Session>),
    /// In a request's hands; the sender is dropped when they let go.
    Busy(watch::Receiver<()>),
    Expired,
}

/// A stream in the hands of a request.
pub(super) enum Held {
    /// The client may go on with it.
    Leased(Lease),
    /// It ends with the request.
    Once { session: Box<Session>, _counted: Counted },
}

impl Held {
    /// The stream, and the texts that were stored on it.
    pub(super) fn session(&mut self) -> &mut Session {
        match self {
            Self::Leased(lease) => lease.session(),
            Self::Once { session, .. } => session,
        }
    }
}

/// A stream that its client may go on with. Dropping it ends the stream.
pub(super) struct Lease {
    table: Arc<Mutex<Table>>,
    session: Option<Box<Session>>,
    _busy: watch::Sender<()>,
    clock: Arc<dyn Clock>,
    /// What the client will show next.
    next: Place,
}

impl Streams {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        let (mut process, mut key) = ([0; 8], [0; 32]);
        random(&mut process);
        random(&mut key);
        Self { signer: Signer::new(process, key), clock, table: Arc::default() }
    }

    /// The stream of `baton`, or a new one without.
    pub(super) async fn lease(
        &self,
        baton: Option<&str>,
        name: &DatabaseName,
        database: &Database,
        caller: &Caller,
        point: Point,
    ) -> Result<Lease, Problem> {
        match baton {
            None => self.open(name, database, caller, point),
            Some(baton) => {
                let place = self.signer.read(baton, name, &caller.identity).map_err(|refused| match refused {
                    Refused::OtherProcess => Problem::new(Kind::StreamLost, "the stream ended with the process that served it"),
                    Refused::Unknown => {
                        Problem::new(Kind::BadBaton, "the baton is not valid here: each is good for one request to one database")
                    }
                })?;
                let mut lease = self.resume(place).await?;
                // Whoever says nothing goes on as they began.
                if point != Point::Newest && point != lease.session().point {
                    return Err(Problem::bad_request("the stream of the baton reads another state; open another without a baton"));
                }
                Ok(lease)
            }
        }
    }

    /// A stream for one request.
    pub(super) fn once(&self, name: &DatabaseName, database: &Database, caller: &Caller) -> Result<Held, Problem> {
        let Opened { stream, counted } = self.open_outside(name, database, caller)?;
        // Nobody can come back to it.
        let session = Session { stream, stored: StoredSql::default(), point: Point::Newest };
        Ok(Held::Once { session: Box::new(session), _counted: counted })
    }

    /// A stream that whoever asked keeps.
    pub(super) fn open_outside(&self, name: &DatabaseName, database: &Database, caller: &Caller) -> Result<Opened, Problem> {
        self.table.lock().count(name)?;
        let stream = database.stream(caller.read_only);
        Ok(Opened { stream, counted: Counted { table: Arc::clone(&self.table), database: name.clone() } })
    }

    fn open(&self, name: &DatabaseName, database: &Database, caller: &Caller, point: Point) -> Result<Lease, Problem> {
        let mut table = self.table.lock();
        table.count(name)?;
        let next = Place { stream: table.next, turn: 1 };
        table.next += 1;
        let (busy, is_busy) = watch::channel(());
        table.slots.insert(next.stream, Slot { database: name.clone(), turn: next.turn, state: State::Busy(is_busy) });
        drop(table);
        let session = Box::new(Session { stream: database.stream(caller.read_only), stored: StoredSql::default(), point });
        Ok(self.leased(next, session, busy))
    }

    async fn resume(&self, place: Place) -> Result<Lease, Problem> {
        let used = || Problem::new(Kind::BadBaton, "the baton was used before; each is good for one request");
        let deadline = self.clock.now() + PATIENCE;
        loop {
            let mut busy = {
                let mut table = self.table.lock();
                let Some(slot) = table.slots.get_mut(&place.stream) else {
                    return Err(Problem::new(Kind::StreamNotFound, "the stream was closed"));
                };
                if matches!(slot.state, State::Expired) {
                    return Err(Problem::new(Kind::StreamExpired, "the stream has expired due to inactivity"));
                }
                if slot.turn != place.turn {
                    return Err(used());
                }
                match &slot.state {
                    State::Busy(is_busy) => is_busy.clone(),
                    State::Idle(_) | State::Expired => {
                        let (busy, is_busy) = watch::channel(());
                        let State::Idle(session) = std::mem::replace(&mut slot.state, State::Busy(is_busy)) else { return Err(used()) };
                        let next = Place { turn: place.turn.wrapping_add(1), ..place };
                        slot.turn = next.turn;
                        drop(table);
                        return Ok(self.leased(next, session, busy));
                    }
                }
            };
            // An error is what we wait for: the other request has let go.
            if tokio::time::timeout_at(deadline, busy.changed()).await.is_err() {
                return Err(Problem::new(Kind::StreamBusy, "the stream's last request still runs; a stream takes one at a time"));
            }
        }
    }

    /// What the stream's client will show next.
    pub(super) fn baton(&self, lease: &Lease, name: &DatabaseName, caller: &Caller) -> String {
        self.signer.baton(lease.next, name, &caller.identity)
    }

    /// `next` is what its client will show.
    fn leased(&self, next: Place, session: Box<Session>, busy: watch::Sender<()>) -> Lease {
        Lease { table: Arc::clone(&self.table), session: Some(session), _busy: busy, clock: Arc::clone(&self.clock), next }
    }

    /// How many streams the database has.
    pub(crate) fn open_of(&self, name: &DatabaseName) -> usize {
        self.table.lock().open.get(name).copied().unwrap_or_default()
    }
}

/// A stream outside of the table, which counts as one of its database's all the same.
pub(super) struct Opened {
    pub(super) stream: Stream,
    /// For as long as the stream lives.
    pub(super) counted: Counted,
}

/// Counts a stream of a database while it lives.
pub(super) struct Counted {
    table: Arc<Mutex<Table>>,
    database: DatabaseName,
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.table.lock().close(&self.database);
    }
}

/// Who asks.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    /// The same for each request of the same caller, and for nobody else.
    pub(crate) identity: Vec<u8>,
    /// May not write.
    pub(crate) read_only: bool,
}

impl Caller {
    /// Whoever bears this token. What it permits is part of who they are: streams do not outlive a change of it.
    pub(crate) fn of(token: Option<&str>, permission: Permission) -> Self {
        let read_only = permission < Permission::Write;
        let identity = [u8::from(read_only)].into_iter().chain(token.unwrap_or_default().bytes()).collect();
        Self { identity, read_only }
    }
}

impl Lease {
    /// The stream, until it is given back.
    pub(super) fn session(&mut self) -> &mut Session {
        self.session.as_mut().expect("a lease holds its stream until it is given back")
    }

    /// Keeps the stream for the client's next request.
    pub(super) fn give_back(mut self) {
        let Some(session) = self.session.take() else { return };
        let mut table = self.table.lock();
        let Some(slot) = table.slots.get_mut(&self.next.stream) else { return };
        slot.state = State::Idle(session);
        table.ends.push_back((self.clock.now() + TTL, self.next));
        if table.sweeper.is_none() {
            let sweep = sweep(Arc::downgrade(&self.table), Arc::clone(&self.clock));
            table.sweeper = Some(spawn_owned(sweep));
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(session) = self.session.take() {
            self.table.lock().forget(self.next.stream);
            // Outside the lock.
            drop(session);
        }
    }
}

impl Table {
    fn count(&mut self, database: &DatabaseName) -> Result<(), Problem> {
        let open = self.open.entry(database.clone()).or_default();
        if *open >= MOST {
            let detail = format!("the database has {MOST} open streams; close some, or wait until they expire");
            return Err(Problem::new(Kind::TooManyStreams, detail));
        }
        *open += 1;
        Ok(())
    }

    fn forget(&mut self, id: u64) {
        if let Some(slot) = self.slots.remove(&id) {
            self.close(&slot.database);
        }
    }

    fn close(&mut self, database: &DatabaseName) {
        if let Some(open) = self.open.get_mut(database) {
            *open -= 1;
            if *open == 0 {
                self.open.remove(database);
            }
        }
    }

    /// Ends what has waited for too long. Returns when to look again, and the sessions to drop.
    fn expire(&mut self, now: Instant) -> (Option<Instant>, Vec<Session>) {
        let mut over = Vec::new();
        while let Some((end, place)) = self.ends.front().copied().filter(|(end, _)| *end <= now) {
            self.ends.pop_front();
            let Some(slot) = self.slots.get_mut(&place.stream).filter(|slot| slot.turn == place.turn) else { continue };
            if !matches!(slot.state, State::Idle(_)) {
                continue;
            }
            if let State::Idle(session) = std::mem::replace(&mut slot.state, State::Expired) {
                over.push(*session);
            }
            let database = slot.database.clone();
            self.close(&database);
            self.expired.push_back((end + REMEMBERED, place.stream));
        }
        while let Some((_, id)) = self.expired.front().copied().filter(|(end, _)| *end <= now) {
            self.expired.pop_front();
            self.slots.remove(&id);
        }
        let next = [self.ends.front().map(|(end, _)| *end), self.expired.front().map(|(end, _)| *end)].into_iter().flatten().min();
        if next.is_none() {
            self.sweeper = None;
        }
        (next, over)
    }
}

/// Ends streams in time, as long as there are any.
async fn sweep(table: std::sync::Weak<Mutex<Table>>, clock: Arc<dyn Clock>) {
    loop {
        let Some(table) = table.upgrade() else { return };
        let (next, over) = table.lock().expire(clock.now());
        drop((table, over));
        let Some(next) = next else { return };
        tokio::time::sleep_until(next).await;
    }
}

#[allow(clippy::disallowed_methods, reason = "the key of batons is drawn here alone")]
fn random(bytes: &mut [u8]) {
    rand::rng().fill_bytes(bytes);
}
