//! Hrana over WebSocket, versions 1 to 3, in JSON, and version 3 in Protocol Buffers as well.
//!
//! One task reads; each stream has a task that does what it is asked in order, and each cursor one that hands out what its stream made.
//! Owns: the order of messages, who may ask, when a socket ends and with which code. Does not own: what statements do.
//! Invariants: nothing of a database is told before a `hello` that it admits; at most [`UNDER_WAY`] requests of a socket are under way,
//! after which it is not read any further; whatever a socket leaves open is rolled back when it ends; no message leaves a process that is the
//! host no more.

mod message;
mod tasks;

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade, close_code};
use axum::extract::{Extension, Path, State};
use axum::http::{HeaderMap, Uri, header};
use axum::response::{IntoResponse, Response};
use engine::{Database, DatabaseName, Point};
use futures::{SinkExt as _, StreamExt as _};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;

use super::cursor::{Entries, WAITING};
use super::encode::{Content, Encoding};
use super::message::{Failure, StoredSql, Violation};
use super::program::Program;
use super::streams::Caller;
use super::told;
use super::work::{Budget, Work};
use crate::access::Peer;
use crate::error::Problem;
use crate::promise::Promise;
use crate::serve::Stopping;
use crate::{App, access, point};
use message::{FromClient, Request};
use tasks::{CursorJob, Job, Reply, Unread};

/// How many requests of one socket may be under way. More than there are streams: if all but one wait for the one that writes, its next
/// request must be read.
const UNDER_WAY: usize = 2000;
/// How many replies wait for a client that reads slowly.
const REPLIES: usize = 16;
/// How many requests to one stream or cursor wait for it; then the socket is not read.
const JOBS: usize = 64;
/// How often a silent client is asked whether it is there.
const PING: Duration = Duration::from_secs(30);
/// How long a client may be silent: two pings stayed without an answer.
const SILENCE: Duration = Duration::from_secs(75);
/// How long a client may take to hear that its socket ends.
const FAREWELL: Duration = Duration::from_secs(5);
/// The largest message that is read, in bytes: as large as the body of a request.
const LARGEST: usize = crate::body::BODY_LIMIT;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Version {
    Hrana1,
    Hrana2,
    Hrana3,
}

/// What a client offered and we chose.
#[derive(Debug, Clone, Copy)]
struct Protocol {
    version: Version,
    encoding: Encoding,
}

impl Protocol {
    /// The best first.
    const NAMES: [(&str, Self); 4] = [
        ("hrana3-protobuf", Self { version: Version::Hrana3, encoding: Encoding::Protobuf }),
        ("hrana3", Self { version: Version::Hrana3, encoding: Encoding::Json }),
        ("hrana2", Self { version: Version::Hrana2, encoding: Encoding::Json }),
        ("hrana1", Self::FIRST),
    ];
    /// Of whoever offers none.
    const FIRST: Self = Self { version: Version::Hrana1, encoding: Encoding::Json };
}

/// Whether a request wants to become a socket.
pub(crate) fn is_upgrade(headers: &HeaderMap) -> bool {
    headers.get(header::UPGRADE).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"websocket"))
}

/// `GET` at a database's base, to become a socket. The token comes later, in `hello`.
pub(crate) async fn upgrade(
    State(app): State<App>,
    Path((namespace, name)): Path<(String, String)>,
    stopping: Extension<Arc<Stopping>>,
    peer: Option<Extension<Peer>>,
    mut uri: Uri,
    headers: HeaderMap,
    upgrade: WebSocketUpgrade,
) -> Result<Response, Problem> {
    let promise = Promise::take(&mut uri)?;
    if promise.strong {
        return Err(Problem::bad_request("`consistency`: a socket has many requests; ask for it over HTTP, each time"));
    }
    let point = point::take(&mut uri, &headers)?;
    let upgrade = upgrade.max_message_size(LARGEST).max_frame_size(LARGEST).protocols(Protocol::NAMES.map(|(name, _)| name));
    let chosen = upgrade.selected_protocol().and_then(|chosen| chosen.to_str().ok());
    let protocol = match Protocol::NAMES.iter().find(|(name, _)| Some(*name) == chosen) {
        Some((_, protocol)) => *protocol,
        None if headers.contains_key(header::SEC_WEBSOCKET_PROTOCOL) => {
            let known = Protocol::NAMES.map(|(name, _)| name).join(", ");
            return Err(Problem::bad_request(format!("none of the subprotocols is known; there are {known}")));
        }
        None => Protocol::FIRST,
    };
    let name = DatabaseName::new(namespace, name);
    let (Extension(stopping), peer) = (stopping, peer.map(|Extension(peer)| peer));
    let response = upgrade.on_upgrade(move |socket| async move {
        let Some(_running) = stopping.enter() else { return };
        serve(app, (name, peer, promise, point), protocol, socket, stopping).await;
    });
    Ok(response.into_response())
}

/// Why a socket ends.
struct End {
    code: u16,
    reason: String,
}

impl End {
    fn violation(reason: impl Into<String>) -> Self {
        Self { code: close_code::POLICY, reason: reason.into() }
    }

    fn unsupported(reason: &str) -> Self {
        Self { code: close_code::UNSUPPORTED, reason: reason.to_owned() }
    }

    /// As when a process stops: whoever connects again comes to where the database is then.
    fn closed() -> Self {
        Self { code: close_code::RESTART, reason: "the database was closed here; connect again".to_owned() }
    }

    /// As when a process stops: whoever connects again comes to another.
    fn taken_over() -> Self {
        Self { code: close_code::RESTART, reason: "another process took the database over".to_owned() }
    }
}

impl From<Violation> for End {
    fn from(Violation(reason): Violation) -> Self {
        Self::violation(reason)
    }
}

async fn serve(
    app: App,
    (name, peer, promise, point): (DatabaseName, Option<Peer>, Promise, Point),
    protocol: Protocol,
    socket: WebSocket,
    stopping: Arc<Stopping>,
) {
    let (mut sink, mut stream) = socket.split();
    let (replies, mut to_send) = mpsc::channel::<Message>(REPLIES);
    let unread = Unread::default();
    let (sent, host) = (unread.clone(), Arc::clone(&app));
    let mut talk = Talk {
        app,
        name,
        peer,
        promise,
        point,
        protocol,
        replies,
        admitted: None,
        stored: StoredSql::default(),
        streams: HashMap::new(),
        cursors: HashMap::new(),
        under_way: Arc::new(Semaphore::new(UNDER_WAY)),
        unread,
        tasks: JoinSet::new(),
    };
    let sending = async {
        while let Some(message) = to_send.recv().await {
            if !host.is_current() {
                return Some(End::taken_over());
            }
            let bytes = match &message {
                Message::Text(text) => text.len(),
                Message::Binary(bytes) => bytes.len(),
                // They are not counted.
                Message::Ping(_) | Message::Pong(_) | Message::Close(_) => 0,
            };
            // Whoever does not read what is sent is not there.
            if !matches!(tokio::time::timeout(SILENCE, sink.send(message)).await, Ok(Ok(()))) {
                return None;
            }
            sent.subtract(bytes);
        }
        None
    };
    let reading = async {
        loop {
            let frame = tokio::select! {
                frame = tokio::time::timeout(SILENCE, stream.next()) => frame,
                () = talk.ping() => continue,
                () = talk.ended() => {
                    talk.answered().await;
                    return End::closed();
                }
            };
            let message = match frame {
                Ok(Some(Ok(message))) => message,
                // It is too large, or no WebSocket; or the client has gone, and nobody reads the reason.
                Ok(Some(Err(error))) => return End::violation(error.to_string()),
                Ok(None) | Err(_) => return End { code: close_code::AWAY, reason: "silent for too long".to_owned() },
            };
            if !host.is_current() {
                return End::taken_over();
            }
            let handled = match message {
                Message::Text(text) => talk.hear(text.as_bytes(), Encoding::Json).await,
                Message::Binary(bytes) => talk.hear(&bytes, Encoding::Protobuf).await,
                Message::Ping(_) | Message::Pong(_) => Ok(()),
                Message::Close(_) => return End { code: close_code::NORMAL, reason: String::new() },
            };
            if let Err(end) = handled {
                return end;
            }
        }
    };
    let end = tokio::select! {
        end = sending => end,
        end = reading => Some(end),
        () = stopping.begun() => Some(End { code: close_code::RESTART, reason: "the server stops".to_owned() }),
    };
    // Streams end with it, and roll back.
    drop(talk);
    if let Some(End { code, mut reason }) = end {
        // What a frame of this kind holds.
        reason.truncate(reason.floor_char_boundary(120));
        let last = Message::Close(Some(CloseFrame { code, reason: reason.into() }));
        let farewell = async {
            // Replies that are ready, such as that of a `hello` that was refused.
            to_send.close();
            while let Ok(message) = to_send.try_recv()
                && host.is_current()
            {
                sink.feed(message).await.ok();
            }
            sink.send(last).await.ok();
            // Until the client has closed, too: what it sent meanwhile must be read, or its system throws our last words away.
            while matches!(stream.next().await, Some(Ok(_))) {}
        };
        tokio::time::timeout(FAREWELL, farewell).await.ok();
    }
}

/// What a socket is about.
struct Talk {
    app: App,
    name: DatabaseName,
    peer: Option<Peer>,
    promise: Promise,
    /// Which state its streams read.
    point: Point,
    protocol: Protocol,
    replies: mpsc::Sender<Message>,
    /// Who asks whom, since a `hello`.
    admitted: Option<(Database, Caller)>,
    stored: StoredSql,
    streams: HashMap<i32, mpsc::Sender<Job>>,
    cursors: HashMap<i32, mpsc::Sender<CursorJob>>,
    under_way: Arc<Semaphore>,
    unread: Unread,
    /// Of streams and cursors. One whose sender is gone does what it was told before, and ends.
    tasks: JoinSet<()>,
}

impl Talk {
    async fn ping(&self) {
        tokio::time::sleep(PING).await;
        // If there is no room, enough is under way to see whether the client is there.
        self.replies.try_send(Message::Ping(bytes::Bytes::new())).ok();
    }

    /// Returns once the database is not served here any more.
    async fn ended(&self) {
        match &self.admitted {
            Some((database, _)) => database.ended().await,
            None => std::future::pending().await,
        }
    }

    /// Returns once all that was asked before is answered, or takes too long.
    async fn answered(&self) {
        let all = u32::try_from(UNDER_WAY).unwrap_or(u32::MAX);
        tokio::time::timeout(FAREWELL, self.under_way.acquire_many(all)).await.ok();
    }

    /// One message of the client.
    async fn hear(&mut self, content: &[u8], encoding: Encoding) -> Result<(), End> {
        let invalid = |why: String| End { code: close_code::INVALID, reason: format!("the message is not understood: {why}") };
        let message = match (self.protocol.encoding, encoding) {
            (Encoding::Json, Encoding::Json) => serde_json::from_slice(content).map_err(|error| invalid(error.to_string()))?,
            (Encoding::Protobuf, Encoding::Protobuf) => FromClient::decode(content).map_err(|Violation(why)| invalid(why))?,
            (Encoding::Json, Encoding::Protobuf) => return Err(End::unsupported("messages are text, in JSON")),
            (Encoding::Protobuf, Encoding::Json) => return Err(End::unsupported("messages are binary, in Protocol Buffers")),
        };
        match message {
            FromClient::Hello { jwt } => self.hello(jwt.as_deref()).await,
            FromClient::Request { request_id, request } => {
                let permit = Arc::clone(&self.under_way).acquire_owned().await.expect("nobody closes the semaphore");
                let reply = Reply::to(request_id, self.protocol.encoding, self.replies.clone(), self.unread.clone(), permit);
                self.request(reply, request).await
            }
        }
    }

    async fn hello(&mut self, token: Option<&str>) -> Result<(), End> {
        if self.admitted.is_some() && self.protocol.version == Version::Hrana1 {
            return Err(End::violation("hello was said already"));
        }
        let encoding = self.protocol.encoding;
        match self.admit(token).await {
            Ok(admitted) => {
                self.admitted = Some(admitted);
                tasks::send(&self.replies, encoding, encoding.hello(Ok(()))).await;
                Ok(())
            }
            Err(problem) => {
                tasks::send(&self.replies, encoding, encoding.hello(Err(&told(&problem)))).await;
                Err(End::violation(problem.detail))
            }
        }
    }

    async fn admit(&self, token: Option<&str>) -> Result<(Database, Caller), Problem> {
        let access = self.app.host.access(&self.name);
        let caller = access::caller(&self.app, &self.name, access.as_deref(), token, self.peer).await?;
        let database = self.app.host.past(&self.name, self.point).await.map_err(|error| Problem::from(&*error))?;
        Ok((if self.promise.durable { database.confirming() } else { database }, caller))
    }

    async fn request(&mut self, reply: Reply, request: Request) -> Result<(), End> {
        let Some((database, caller)) = &self.admitted else { return Err(End::violation("the first message must be hello")) };
        let (kind, encoding) = (request.kind(), self.protocol.encoding);
        if self.protocol.version < request.since() {
            return Err(End::violation(format!("{} is not known in the version that was agreed on", kind.word())));
        }
        while self.tasks.try_join_next().is_some() {}
        let stored = &self.stored;
        let budget = || Budget::of(&engine::StreamLimits::of(database.limits()), database.hold_results());
        let (stream_id, work) = match request {
            Request::OpenStream { stream_id } => {
                let Entry::Vacant(place) = self.streams.entry(stream_id) else {
                    return Err(End::violation(format!("stream_id {stream_id} is in use")));
                };
                let opened = self.app.streams.open_outside(&self.name, database, caller).map_err(|problem| told(&problem));
                let (jobs, to_do) = mpsc::channel(JOBS);
                place.insert(jobs);
                reply.outcome(kind, &opened.as_ref().map(|_| Content::Nothing).map_err(Failure::clone)).await;
                self.tasks.spawn(tasks::stream(opened, to_do));
                return Ok(());
            }
            Request::CloseStream { stream_id } => {
                match self.streams.remove(&stream_id) {
                    Some(jobs) => tell(&jobs, Job::Close { reply }).await,
                    // One that is not there is closed.
                    None => reply.ok(kind).await,
                }
                return Ok(());
            }
            Request::StoreSql { sql_id, sql } => {
                let stored = self.stored.store(sql_id, sql).map(|()| Content::Nothing);
                reply.outcome(kind, &stored).await;
                return Ok(());
            }
            Request::CloseSql { sql_id } => {
                self.stored.close(sql_id);
                reply.ok(kind).await;
                return Ok(());
            }
            Request::OpenCursor { stream_id, cursor_id, batch } => {
                let jobs = of(&self.streams, stream_id, "stream_id")?;
                let Entry::Vacant(place) = self.cursors.entry(cursor_id) else {
                    return Err(End::violation(format!("cursor_id {cursor_id} is in use")));
                };
                let (entries, chunks) = mpsc::channel(WAITING);
                let program = Box::new(Program::of_batch(batch, stored, Entries::to(encoding, entries.clone()))?);
                let (cursor_jobs, to_do) = mpsc::channel(JOBS);
                place.insert(cursor_jobs);
                self.tasks.spawn(tasks::cursor(encoding, chunks, to_do));
                tell(jobs, Job::OpenCursor { reply, program, last: Entries::to(encoding, entries) }).await;
                return Ok(());
            }
            Request::FetchCursor { cursor_id, max_count } => {
                let most = usize::try_from(max_count).unwrap_or(usize::MAX);
                tell(of(&self.cursors, cursor_id, "cursor_id")?, CursorJob::Fetch { reply, most }).await;
                return Ok(());
            }
            Request::CloseCursor { cursor_id } => {
                match self.cursors.remove(&cursor_id) {
                    Some(jobs) => tell(&jobs, CursorJob::Close { reply }).await,
                    None => reply.ok(kind).await,
                }
                return Ok(());
            }
            Request::Execute { stream_id, stmt } => (stream_id, Work::execute(stmt, stored, encoding, budget())?),
            Request::Batch { stream_id, batch } => (stream_id, Work::batch(batch, stored, encoding, budget())?),
            Request::Sequence { stream_id, text } => (stream_id, Work::sequence(text, stored)?),
            Request::Describe { stream_id, text } => (stream_id, Work::describe(text, stored, encoding)?),
            Request::GetAutocommit { stream_id } => (stream_id, Work::GetAutocommit),
        };
        let work = Box::new(work);
        tell(of(&self.streams, stream_id, "stream_id")?, Job::Work { reply, kind, work }).await;
        Ok(())
    }
}

fn of<'a, J>(lines: &'a HashMap<i32, mpsc::Sender<J>>, id: i32, what: &str) -> Result<&'a mpsc::Sender<J>, End> {
    lines.get(&id).ok_or_else(|| End::violation(format!("{what} {id} is not open")))
}

/// A task that is gone panicked: whoever waits for its reply learns nothing, and the socket goes on.
async fn tell<J>(jobs: &mpsc::Sender<J>, job: J) {
    jobs.send(job).await.ok();
}
