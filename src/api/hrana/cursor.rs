//! `POST v3/cursor` and `v3-protobuf/cursor`: a batch whose rows are sent as they come.

use axum::body::Body;
use axum::extract::{Request as HttpRequest, State};
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use engine::{Column, Effects, Flow, Row, SqlError, SqlErrorKind, StreamLimits};
use futures::stream;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

use super::encode::Encoding;
use super::message::{self, Failure};
use super::pipeline::parse;
use super::program::{Output, Program};
use super::streams::Lease;
use crate::error::Problem;
use crate::{Admitted, App, Reading, body};

/// How many bytes are sent at once; a single row may have more.
const CHUNK: usize = 32 << 10;
/// How many chunks wait for a client that reads slowly.
pub(super) const WAITING: usize = 2;

pub(crate) async fn cursor(state: State<App>, reading: Reading, request: HttpRequest) -> Result<Response, Problem> {
    answer(state, reading, request, Encoding::Json).await
}

pub(crate) async fn cursor_in_protobuf(state: State<App>, reading: Reading, request: HttpRequest) -> Result<Response, Problem> {
    answer(state, reading, request, Encoding::Protobuf).await
}

async fn answer(State(app): State<App>, Reading(admitted): Reading, request: HttpRequest, encoding: Encoding) -> Result<Response, Problem> {
    let (head, content) = request.into_parts();
    let content = body::read(&head.headers, content).await?;
    let message::Cursor { baton, batch } = match encoding {
        Encoding::Json => parse(&content)?,
        Encoding::Protobuf => message::Cursor::decode(&content)?,
    };
    let Admitted { name, handle, caller, point, .. } = &admitted;
    let mut lease = app.streams.lease(baton.as_deref(), name, &handle.database, caller, *point).await?;
    lease.session().serves(&head);
    let limits = lease.session().stream.limits();
    let (sender, receiver) = mpsc::channel(WAITING);
    let mut entries = Entries::to(encoding, sender.clone());
    encoding.cursor_begin(&mut entries.chunk, &app.streams.baton(&lease, name, caller));
    let program = Program::of_batch(batch, &lease.session().stored, entries)?;
    // Whoever drops the body, which is what a client does that leaves, ends the work.
    let last = Entries::to(encoding, sender);
    let work = engine::spawn_owned(run(lease, program, limits, last));
    let chunks = stream::try_unfold((receiver, work), |(mut receiver, work)| async move {
        match receiver.recv().await {
            Some(chunk) => Ok(Some((chunk, (receiver, work)))),
            // A body that ends in order must not hide that the work did not.
            None => work.await.map(|()| None),
        }
    });
    let content_type = match encoding {
        Encoding::Json => "application/x-ndjson",
        Encoding::Protobuf => "application/x-protobuf",
    };
    let headers =
        [(header::CONTENT_TYPE, HeaderValue::from_static(content_type)), (header::CACHE_CONTROL, HeaderValue::from_static("no-store"))];
    Ok((headers, Body::from_stream(chunks)).into_response())
}

async fn run(mut lease: Lease, program: Program<Entries>, limits: StreamLimits, mut last: Entries) {
    match lease.session().stream.run(program, &limits).await {
        Ok(mut program) => {
            // Before the body ends: the client may go on at once.
            lease.give_back();
            program.output.send().await;
        }
        // The stream goes with the lease.
        Err(error) => {
            last.fatal(&super::told(&Problem::from(error)));
            last.send().await;
        }
    }
}

/// Writes entries down.
pub(super) struct Entries {
    encoding: Encoding,
    chunk: Vec<u8>,
    sender: mpsc::Sender<Bytes>,
}

impl Entries {
    pub(super) fn to(encoding: Encoding, sender: mpsc::Sender<Bytes>) -> Self {
        Self { encoding, chunk: Vec::new(), sender }
    }

    /// The last entry: the rest was given up.
    pub(super) fn fatal(&mut self, failure: &Failure) {
        self.encoding.fatal(&mut self.chunk, failure);
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
}

fn gone() -> SqlError {
    SqlError::ours(SqlErrorKind::Cancelled, "nobody reads the results any more")
}

impl Output for Entries {
    const MAY_BEGIN_AGAIN: bool = false;

    fn begin(&mut self, step: usize, columns: &[Column]) -> Result<(), SqlError> {
        self.encoding.step_begin(&mut self.chunk, step, columns);
        Ok(())
    }

    fn row(&mut self, row: &Row<'_>) -> Result<Flow, SqlError> {
        self.encoding.entry_row(&mut self.chunk, row)?;
        self.flow()
    }

    fn end(&mut self, _: usize, effects: &Effects) {
        self.encoding.step_end(&mut self.chunk, effects);
    }

    fn fail(&mut self, step: usize, failure: Failure) {
        self.encoding.step_error(&mut self.chunk, step, &failure);
    }

    fn skip(&mut self, _: usize) {}

    async fn room(&mut self) -> Result<(), SqlError> {
        let place = self.sender.reserve().await.map_err(|_| gone())?;
        place.send(Bytes::from(std::mem::replace(&mut self.chunk, Vec::with_capacity(CHUNK))));
        Ok(())
    }
}
