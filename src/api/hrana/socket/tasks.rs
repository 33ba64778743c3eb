//! The tasks of a socket: one for each stream, one for each cursor.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::extract::ws::{Message, Utf8Bytes};
use bytes::Bytes;
use engine::Holding;
use tokio::sync::{OwnedSemaphorePermit, mpsc};

use crate::hrana::cursor::Entries;
use crate::hrana::encode::{Content, Encoding};
use crate::hrana::message::{Failure, Kind};
use crate::hrana::program::Program;
use crate::hrana::streams::Opened;
use crate::hrana::told;
use crate::hrana::work::Work;
use crate::reply;

/// What a stream is to do.
pub(super) enum Job {
    Work { reply: Reply, kind: Kind, work: Box<Work> },
    OpenCursor { reply: Reply, program: Box<Program<Entries>>, last: Entries },
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
                reply.ok(Kind::CloseStream).await;
                return;
            }
            (Err(failure), Job::Work { reply, .. } | Job::OpenCursor { reply, .. }) => reply.error(failure).await,
            (Ok(_), Job::Work { reply, .. }) if reply.unread.is_too_much() => {
                reply.error(&Failure::new("RESPONSE_TOO_LARGE", "too many results wait to be read")).await;
            }
            (Ok(opened), Job::Work { reply, kind, work }) => {
                let limits = opened.stream.limits();
                match work.perform(&mut opened.stream, &limits).await {
                    Ok(Ok((content, budget))) => reply.with(kind, &content, budget.map(|budget| budget.holding)).await,
                    Ok(Err(failure)) => reply.error(&failure).await,
                    Err(problem) => reply.error(&told(&problem)).await,
                }
            }
            (Ok(opened), Job::OpenCursor { reply, program, mut last }) => {
                reply.ok(Kind::OpenCursor).await;
                let limits = opened.stream.limits();
                match opened.stream.run(*program, &limits).await {
                    Ok(mut program) => program.output.send().await,
                    Err(error) => {
                        last.fatal(&told(&error.into()));
                        last.send().await;
                    }
                }
            }
        }
    }
}

/// How many bytes of entries are sent at once; a single one may have more.
const AT_ONCE: usize = 256 << 10;

/// Hands out the entries that a stream makes, until it is closed.
pub(super) async fn cursor(encoding: Encoding, mut chunks: mpsc::Receiver<Bytes>, mut jobs: mpsc::Receiver<CursorJob>) {
    let mut entries = VecDeque::<Bytes>::new();
    let mut done = false;
    while let Some(job) = jobs.recv().await {
        match job {
            CursorJob::Close { reply } => {
                // The stream sees that nobody takes more, and goes on with what it was asked next.
                drop(chunks);
                reply.ok(Kind::CloseCursor).await;
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
                            Some(chunk) => entries.extend(encoding.entries(&chunk)),
                            None => done = true,
                        }
                    }
                }
                let content = Content::Entries { entries: fetched, done: done && entries.is_empty() };
                reply.with(Kind::FetchCursor, &content, None).await;
            }
        }
    }
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
    encoding: Encoding,
    replies: mpsc::Sender<Message>,
    unread: Unread,
    _under_way: OwnedSemaphorePermit,
}

impl Reply {
    pub(super) fn to(
        request_id: i32,
        encoding: Encoding,
        replies: mpsc::Sender<Message>,
        unread: Unread,
        under_way: OwnedSemaphorePermit,
    ) -> Self {
        Self { request_id, encoding, replies, unread, _under_way: under_way }
    }

    /// A response that has nothing but its kind.
    pub(super) async fn ok(self, kind: Kind) {
        self.with(kind, &Content::Nothing, None).await;
    }

    /// With content, and the memory that it may take.
    pub(super) async fn with(self, kind: Kind, content: &Content, holding: Option<Holding>) {
        let message = self.encoding.response(self.request_id, Ok((kind, content)));
        self.send(reply::held(message, holding)).await;
    }

    pub(super) async fn error(self, failure: &Failure) {
        let message = self.encoding.response(self.request_id, Err(failure));
        self.send(message.into()).await;
    }

    pub(super) async fn outcome(self, kind: Kind, outcome: &Result<Content, Failure>) {
        match outcome {
            Ok(content) => self.with(kind, content, None).await,
            Err(failure) => self.error(failure).await,
        }
    }

    async fn send(self, message: Bytes) {
        self.unread.add(message.len());
        send(&self.replies, self.encoding, message).await;
    }
}

/// Sends a message, unless the socket has ended.
pub(super) async fn send(replies: &mpsc::Sender<Message>, encoding: Encoding, message: impl Into<Bytes>) {
    let message = match encoding {
        Encoding::Json => Message::Text(Utf8Bytes::try_from(message.into()).expect("JSON is UTF-8")),
        Encoding::Protobuf => Message::Binary(message.into()),
    };
    replies.send(message).await.ok();
}
