//! The tasks of a socket: one for each stream, one for each cursor.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::extract::ws::{Message, Utf8Bytes};
use bytes::Bytes;
use engine::Holding;
use tokio::sync::{OwnedSemaphorePermit, mpsc};

use crate::hrana::cursor::Entries;
use crate::hrana::message::Failure;
use crate::hrana::program::Program;
use crate::hrana::streams::Opened;
use crate::hrana::told;
use crate::hrana::work::Work;
use crate::json::{list, plain};
use crate::reply;

/// What a stream is to do.
pub(super) enum Job {
    Work { reply: Reply, kind: &'static str, work: Box<Work> },
    OpenCursor { reply: Reply, program: Box<Program<Entries>>, fatal: mpsc::Sender<Bytes> },
    Close { reply: Reply },
}

/// What a cursor is to do.
pub(super) enum CursorJob {
    Fetch { reply: Reply, most: usize },
    Close { reply: Reply },
}

/// Does what a stream is asked, one after the other, until it is closed. One that failed to open answers that.
pub(super) async fn stream(mut opened: Result<Opened, Failure>, mut jobs: mpsc::Receiver<Job>) {
    while let Some(job) = jobs.recv().await {
        match (&mut opened, job) {
            (_, Job::Close { reply }) => {
                drop(opened);
                reply.ok("close_stream").await;
                return;
            }
            (Err(failure), Job::Work { reply, .. } | Job::OpenCursor { reply, .. }) => reply.error(failure).await,
            (Ok(_), Job::Work { reply, .. }) if reply.unread.is_too_much() => {
                reply.error(&Failure::new("RESPONSE_TOO_LARGE", "too many results wait to be read")).await;
            }
            (Ok(opened), Job::Work { reply, kind, work }) => {
                let mut members = Vec::new();
                let limits = opened.stream.limits();
                match work.perform(&mut opened.stream, &limits, &mut members).await {
                    Ok(Ok(budget)) => reply.with(kind, &members, budget.map(|budget| budget.holding)).await,
                    Ok(Err(failure)) => reply.error(&failure).await,
                    Err(problem) => reply.error(&told(&problem)).await,
                }
            }
            (Ok(opened), Job::OpenCursor { reply, program, fatal }) => {
                reply.ok("open_cursor").await;
                let limits = opened.stream.limits();
                match opened.stream.run(*program, &limits).await {
                    Ok(mut program) => program.output.send().await,
                    Err(error) => {
                        let mut entries = Entries::to(fatal);
                        entries.fatal(&told(&error.into()));
                        entries.send().await;
                    }
                }
            }
        }
    }
}

/// How many bytes of entries are sent at once; a single one may have more.
const AT_ONCE: usize = 256 << 10;

/// Hands out the entries that a stream makes, until it is closed.
pub(super) async fn cursor(mut chunks: mpsc::Receiver<Bytes>, mut jobs: mpsc::Receiver<CursorJob>) {
    let mut entries = VecDeque::<Bytes>::new();
    let mut done = false;
    while let Some(job) = jobs.recv().await {
        match job {
            CursorJob::Close { reply } => {
                // The stream sees that nobody takes more, and goes on with what it was asked next.
                drop(chunks);
                reply.ok("close_cursor").await;
                return;
            }
            CursorJob::Fetch { reply, most } => {
                let (mut fetched, mut size) = (Vec::new(), 0);
                while fetched.len() < most && size < AT_ONCE {
                    if let Some(entry) = entries.pop_front() {
                        size += entry.len();
                        fetched.push(entry);
                    } else if done || (!fetched.is_empty() && chunks.is_empty()) {
                        // What is there, rather than a wait for more.
                        break;
                    } else {
                        match chunks.recv().await {
                            Some(chunk) => entries.extend(lines(&chunk)),
                            None => done = true,
                        }
                    }
                }
                let mut members = b",\"entries\":".to_vec();
                list(&mut members, &fetched, |out, entry| out.extend_from_slice(entry));
                members.extend_from_slice(b",\"done\":");
                plain(&mut members, &(done && entries.is_empty()));
                reply.with("fetch_cursor", &members, None).await;
            }
        }
    }
}

/// Each line without its end. JSON has no line ends within.
fn lines(chunk: &Bytes) -> impl Iterator<Item = Bytes> {
    chunk.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).map(|line| chunk.slice_ref(line))
}

/// How many bytes of replies the client has not read yet.
#[derive(Debug, Clone, Default)]
pub(super) struct Unread(Arc<AtomicUsize>);

impl Unread {
    /// Beyond this nothing more is made. What runs already may add to it, a few results at a time.
    const MOST: usize = 64 << 20;

    fn is_too_much(&self) -> bool {
        self.0.load(Ordering::Relaxed) > Self::MOST
    }

    fn add(&self, bytes: usize) {
        self.0.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn subtract(&self, bytes: usize) {
        // What was not counted, such as a ping, takes nothing away.
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |unread| Some(unread.saturating_sub(bytes))).ok();
    }
}

/// Where the answer to one request goes. The request is under way until then.
pub(super) struct Reply {
    request_id: i32,
    replies: mpsc::Sender<Message>,
    unread: Unread,
    _under_way: OwnedSemaphorePermit,
}

impl Reply {
    pub(super) fn to(request_id: i32, replies: mpsc::Sender<Message>, unread: Unread, under_way: OwnedSemaphorePermit) -> Self {
        Self { request_id, replies, unread, _under_way: under_way }
    }

    /// A response that has nothing but its type.
    pub(super) async fn ok(self, kind: &str) {
        self.with(kind, b"", None).await;
    }

    /// With further members, each after a comma, and the memory that they may take.
    pub(super) async fn with(self, kind: &str, members: &[u8], holding: Option<Holding>) {
        let mut out = Vec::with_capacity(members.len() + 80);
        out.extend_from_slice(b"{\"type\":\"response_ok\",\"request_id\":");
        plain(&mut out, &self.request_id);
        out.extend_from_slice(b",\"response\":{\"type\":");
        plain(&mut out, kind);
        out.extend_from_slice(members);
        out.extend_from_slice(b"}}");
        self.send(reply::held(out, holding)).await;
    }

    pub(super) async fn error(self, failure: &Failure) {
        let mut out = b"{\"type\":\"response_error\",\"request_id\":".to_vec();
        plain(&mut out, &self.request_id);
        out.extend_from_slice(b",\"error\":");
        plain(&mut out, failure);
        out.push(b'}');
        self.send(out.into()).await;
    }

    pub(super) async fn outcome<T>(self, kind: &str, outcome: Result<T, &Failure>) {
        match outcome {
            Ok(_) => self.ok(kind).await,
            Err(failure) => self.error(failure).await,
        }
    }

    async fn send(self, json: Bytes) {
        self.unread.add(json.len());
        send(&self.replies, json).await;
    }
}

/// Sends a message, unless the socket has ended.
pub(super) async fn send(replies: &mpsc::Sender<Message>, json: impl Into<Bytes>) {
    let text = Utf8Bytes::try_from(json.into()).expect("JSON is UTF-8");
    replies.send(Message::Text(text)).await.ok();
}
