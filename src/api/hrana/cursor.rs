//! `POST v3/cursor`: a batch whose rows are sent as they come.

use axum::body::Body;
use axum::extract::{Request as HttpRequest, State};
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use engine::{Column, Effects, Flow, Row, SqlError, SqlErrorKind, StreamLimits};
use futures::stream;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

use super::encode;
use super::message::{self, Failure};
use super::pipeline::parse;
use super::program::{Output, Program};
use super::streams::Lease;
use crate::error::Problem;
use crate::{Admitted, App, Reading, body, json};

/// How many bytes are sent at once; a single row may have more.
const CHUNK: usize = 32 << 10;
/// How many chunks wait for a client that reads slowly.
pub(super) const WAITING: usize = 2;

pub(crate) async fn cursor(State(app): State<App>, Reading(admitted): Reading, request: HttpRequest) -> Result<Response, Problem> {
    let (head, content) = request.into_parts();
    let content = body::read(&head.headers, content).await?;
    let message::Cursor { baton, batch } = parse(&content)?;
    let Admitted { name, handle, caller, .. } = &admitted;
    let mut lease = app.streams.lease(baton.as_deref(), name, &handle.database, caller).await?;
    lease.session().serves(&head);
    let limits = lease.session().stream.limits();
    let (sender, receiver) = mpsc::channel(WAITING);
    let mut entries = Entries::to(sender.clone());
    entries.chunk.extend_from_slice(b"{\"baton\":");
    json::plain(&mut entries.chunk, &app.streams.baton(&lease, name, caller));
    entries.chunk.extend_from_slice(b",\"base_url\":null}\n");
    let program = Program::of_batch(batch, &lease.session().stored, entries)?;
    // Whoever drops the body, which is what a client does that leaves, ends the work.
    let work = engine::spawn_owned(run(lease, program, limits, sender));
    let chunks = stream::try_unfold((receiver, work), |(mut receiver, work)| async move {
        match receiver.recv().await {
            Some(chunk) => Ok(Some((chunk, (receiver, work)))),
            // A body that ends in order must not hide that the work did not.
            None => work.await.map(|()| None),
        }
    });
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("application/x-ndjson")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ];
    Ok((headers, Body::from_stream(chunks)).into_response())
}

async fn run(mut lease: Lease, program: Program<Entries>, limits: StreamLimits, sender: mpsc::Sender<Bytes>) {
    match lease.session().stream.run(program, &limits).await {
        Ok(mut program) => {
            // Before the body ends: the client may go on at once.
            lease.give_back();
            program.output.send().await;
        }
        // The stream goes with the lease.
        Err(error) => {
            let mut entries = Entries::to(sender);
            entries.fatal(&super::told(&Problem::from(error)));
            entries.send().await;
        }
    }
}

/// Writes entries down as lines.
pub(super) struct Entries {
    chunk: Vec<u8>,
    sender: mpsc::Sender<Bytes>,
}

impl Entries {
    pub(super) fn to(sender: mpsc::Sender<Bytes>) -> Self {
        Self { chunk: Vec::with_capacity(CHUNK), sender }
    }

    /// The last entry: the rest was given up.
    pub(super) fn fatal(&mut self, failure: &Failure) {
        self.entry(|out| {
            out.extend_from_slice(b"{\"type\":\"error\",\"error\":");
            json::plain(out, failure);
            out.push(b'}');
        });
    }

    /// Waits until there is room, and sends what is written down.
    pub(super) async fn send(&mut self) {
        let chunk = Bytes::from(std::mem::take(&mut self.chunk));
        // A client that has gone reads nothing.
        self.sender.send(chunk).await.ok();
    }

    fn flow(&mut self) -> Result<Flow, SqlError> {
        if self.chunk.len() < CHUNK {
            return Ok(Flow::More);
        }
        match self.sender.try_reserve() {
            Ok(place) => {
                place.send(Bytes::from(std::mem::replace(&mut self.chunk, Vec::with_capacity(CHUNK))));
                Ok(Flow::More)
            }
            Err(TrySendError::Full(())) => Ok(Flow::Full),
            Err(TrySendError::Closed(())) => Err(gone()),
        }
    }

    fn entry(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        write(&mut self.chunk);
        self.chunk.push(b'\n');
    }
}

fn gone() -> SqlError {
    SqlError::ours(SqlErrorKind::Cancelled, "nobody reads the results any more")
}

impl Output for Entries {
    const MAY_BEGIN_AGAIN: bool = false;

    fn begin(&mut self, step: usize, columns: &[Column]) -> Result<(), SqlError> {
        self.entry(|out| {
            out.extend_from_slice(b"{\"type\":\"step_begin\",\"step\":");
            json::plain(out, &step);
            out.extend_from_slice(b",\"cols\":");
            encode::columns(out, columns);
            out.push(b'}');
        });
        Ok(())
    }

    fn row(&mut self, row: &Row<'_>) -> Result<Flow, SqlError> {
        let begin = self.chunk.len();
        self.chunk.extend_from_slice(b"{\"type\":\"row\",\"row\":");
        if let Err(error) = encode::row(&mut self.chunk, row) {
            self.chunk.truncate(begin);
            return Err(error);
        }
        self.chunk.extend_from_slice(b"}\n");
        self.flow()
    }

    fn end(&mut self, _: usize, effects: &Effects) {
        self.entry(|out| {
            out.extend_from_slice(b"{\"type\":\"step_end\",");
            encode::effects(out, effects);
            out.push(b'}');
        });
    }

    fn fail(&mut self, step: usize, failure: Failure) {
        self.entry(|out| {
            out.extend_from_slice(b"{\"type\":\"step_error\",\"step\":");
            json::plain(out, &step);
            out.extend_from_slice(b",\"error\":");
            json::plain(out, &failure);
            out.push(b'}');
        });
    }

    fn skip(&mut self, _: usize) {}

    async fn room(&mut self) -> Result<(), SqlError> {
        let place = self.sender.reserve().await.map_err(|_| gone())?;
        place.send(Bytes::from(std::mem::replace(&mut self.chunk, Vec::with_capacity(CHUNK))));
        Ok(())
    }
}
