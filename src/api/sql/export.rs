//! Results that are sent as they are read: lines of JSON, or a table.
//!
//! Nothing is sent before the first chunk is full or all is done, so that what fails early is answered as a failure. What fails later is told
//! by the last line, or by a body that breaks off.
//! Invariant: at most a few chunks wait for a client that reads slowly, whatever the size of the result.

mod arrow;

use std::io;

use axum::body::Body;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use engine::{Column, Effects, Flow, Params, Row, Rows, Script, SqlError, SqlErrorKind, Statement, Transaction, ValueRef, pieces};
use futures::stream;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

use super::format::{ARROW, Format};
use super::style::{Style, columns};
use crate::error::Problem;
use crate::json::{base64, plain};
use arrow::Table;

/// How many bytes are sent at once; a single row may have more.
const CHUNK: usize = 64 << 10;
/// How many chunks wait for a client that reads slowly.
const WAITING: usize = 2;

/// What is sent, piece by piece.
pub(super) enum Part {
    Chunk(Bytes),
    /// The first and only one, if nothing was sent before.
    Failed(Problem),
    /// The body breaks off here.
    Broken,
}

/// What comes out of an export.
pub(super) struct Parts(mpsc::Receiver<Part>);

/// A statement, and where it stands in the request.
#[derive(Clone)]
struct Placed {
    statement: Statement,
    index: usize,
    offset: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Begin,
    Statements,
    Commit,
    Rollback,
    Over,
}

/// A request on its way.
pub(super) struct Export {
    format: Format,
    style: Style,
    statements: std::vec::IntoIter<Placed>,
    /// The statement that runs: its index in the request, and where it begins there.
    place: (usize, usize),
    begin: Option<&'static str>,
    phase: Phase,
    columns: Vec<Column>,
    table: Table,
    rows: u64,
    chunk: Vec<u8>,
    sent: bool,
    /// What is sent at the end, in place of the rest.
    failure: Option<Part>,
    parts: mpsc::Sender<Part>,
}

impl Export {
    /// Of a request as it was asked. `begin` opens the transaction around several statements.
    pub(super) fn of(request: engine::Request, format: Format, style: Style, begin: &'static str) -> Result<(Self, Parts), Problem> {
        let mut statements = Vec::new();
        for (index, Statement { sql, params }) in request.statements.into_iter().enumerate() {
            let found = pieces(&sql);
            if found.len() > 1 && params != Params::None {
                return Err(refuse(SqlErrorKind::Arguments, "values can be bound to a text with one statement only"));
            }
            for piece in found {
                let statement = Statement { sql: piece.sql.to_owned(), params: params.clone() };
                statements.push(Placed { statement, index, offset: piece.offset });
            }
        }
        if statements.is_empty() {
            return Err(refuse(SqlErrorKind::Statement, "the request holds no statement"));
        }
        let holds_one = match format {
            Format::Csv => Some("text/csv"),
            Format::Arrow => Some(ARROW),
            Format::Json | Format::Ndjson => None,
        };
        if let Some(kind) = holds_one.filter(|_| statements.len() > 1) {
            let message = format!("{kind} holds the result of one statement; send one, or accept application/x-ndjson");
            return Err(Problem::bad_request(message));
        }
        if format == Format::Arrow {
            // Once to see the types, once to send the rows.
            statements.extend_from_within(..);
        }
        // One statement is all or nothing by itself.
        let is_together = request.transaction == Transaction::Immediate || format == Format::Arrow;
        let begin = (statements.len() > 1 && is_together).then_some(begin);
        let phase = if begin.is_some() { Phase::Begin } else { Phase::Statements };
        let (parts, received) = mpsc::channel(WAITING);
        let export = Self {
            format,
            style,
            statements: statements.into_iter(),
            place: (0, 0),
            begin,
            phase,
            columns: Vec::new(),
            table: Table::default(),
            rows: 0,
            chunk: Vec::with_capacity(CHUNK),
            sent: false,
            failure: None,
            parts,
        };
        Ok((export, Parts(received)))
    }

    /// Sends what is left, when all is over.
    pub(super) async fn finish(self) {
        let last = self.failure.unwrap_or_else(|| Part::Chunk(Bytes::from(self.chunk)));
        // A client that has gone reads nothing.
        self.parts.send(last).await.ok();
    }

    /// Where to tell what happens to the export as a whole.
    pub(super) fn sender(&self) -> mpsc::Sender<Part> {
        self.parts.clone()
    }

    fn fail(&mut self, error: SqlError) {
        let (index, offset) = self.place;
        let problem = Problem::from(engine::Error::from(error.at(index, offset)));
        match (self.sent, self.format) {
            (false, _) => self.failure = Some(Part::Failed(problem)),
            (true, Format::Csv | Format::Arrow) => self.failure = Some(Part::Broken),
            (true, Format::Json | Format::Ndjson) => {
                self.chunk.extend_from_slice(b"{\"error\":");
                problem.write(&mut self.chunk);
                self.chunk.extend_from_slice(b"}\n");
            }
        }
    }

    fn csv_field(&mut self, value: ValueRef<'_>) {
        match value {
            ValueRef::Null => {}
            ValueRef::Integer(integer) => plain(&mut self.chunk, &integer),
            ValueRef::Real(real) if real.is_infinite() => self.chunk.extend_from_slice(if real > 0.0 { b"Infinity" } else { b"-Infinity" }),
            ValueRef::Real(real) => plain(&mut self.chunk, &real),
            ValueRef::Blob(bytes) => base64(&mut self.chunk, &STANDARD, bytes),
            ValueRef::Text(text) => csv_text(&mut self.chunk, text),
        }
    }
}

/// In quotes where RFC 4180 asks for them, and where it is empty, which tells it from NULL.
fn csv_text(out: &mut Vec<u8>, text: &str) {
    if !text.is_empty() && !text.contains(['"', ',', '\r', '\n']) {
        return out.extend_from_slice(text.as_bytes());
    }
    out.push(b'"');
    for (index, part) in text.split('"').enumerate() {
        if index > 0 {
            out.extend_from_slice(b"\"\"");
        }
        out.extend_from_slice(part.as_bytes());
    }
    out.push(b'"');
}

fn refuse(kind: SqlErrorKind, message: &str) -> Problem {
    Problem::from(engine::Error::from(SqlError::ours(kind, message)))
}

fn gone() -> SqlError {
    SqlError::ours(SqlErrorKind::Cancelled, "nobody reads the results any more")
}

impl Rows for Export {
    fn columns(&mut self, names: Vec<Column>) -> Result<(), SqlError> {
        if self.phase != Phase::Statements {
            return Ok(());
        }
        if self.format == Format::Arrow {
            return self.table.begin(names);
        }
        self.columns = names;
        self.rows = 0;
        match self.format {
            Format::Json | Format::Ndjson => {
                self.chunk.extend_from_slice(b"{\"columns\":");
                columns(&mut self.chunk, &self.columns);
                self.chunk.extend_from_slice(b"}\n");
            }
            Format::Csv => {
                for (index, column) in self.columns.iter().enumerate() {
                    if index > 0 {
                        self.chunk.push(b',');
                    }
                    csv_text(&mut self.chunk, &column.name);
                }
                self.chunk.extend_from_slice(b"\r\n");
            }
            Format::Arrow => {}
        }
        Ok(())
    }

    fn row(&mut self, row: &Row<'_>) -> Result<Flow, SqlError> {
        let begin = self.chunk.len();
        let written = match self.format {
            Format::Json | Format::Ndjson => {
                let written = self.style.row(&mut self.chunk, &self.columns, (0..row.len()).map(|at| row.value(at)));
                self.chunk.push(b'\n');
                written
            }
            Format::Csv => (0..row.len()).try_for_each(|at| {
                if at > 0 {
                    self.chunk.push(b',');
                }
                self.csv_field(row.value(at)?);
                Ok(())
            }),
            Format::Arrow => self.table.row(row).and_then(|is_full| if is_full { self.table.batch(&mut self.chunk) } else { Ok(()) }),
        };
        if let Err(error) = written {
            self.chunk.truncate(begin);
            return Err(error);
        }
        if self.format == Format::Csv {
            self.chunk.extend_from_slice(b"\r\n");
        }
        self.rows += 1;
        if self.chunk.len() < CHUNK {
            return Ok(Flow::More);
        }
        match self.parts.try_reserve() {
            Ok(place) => {
                place.send(Part::Chunk(Bytes::from(std::mem::replace(&mut self.chunk, Vec::with_capacity(CHUNK + 1024)))));
                self.sent = true;
                Ok(Flow::More)
            }
            Err(TrySendError::Full(())) => Ok(Flow::Full),
            Err(TrySendError::Closed(())) => Err(gone()),
        }
    }

    async fn room(&mut self) -> Result<(), SqlError> {
        let place = self.parts.reserve().await.map_err(|_| gone())?;
        place.send(Part::Chunk(Bytes::from(std::mem::replace(&mut self.chunk, Vec::with_capacity(CHUNK + 1024)))));
        self.sent = true;
        Ok(())
    }
}

impl Script for Export {
    fn next(&mut self, is_autocommit: bool) -> Option<Statement> {
        let word = |sql: &str| Some(Statement { sql: sql.to_owned(), params: Params::None });
        match self.phase {
            Phase::Begin => word(self.begin?),
            Phase::Statements => {
                if let Some(Placed { statement, index, offset }) = self.statements.next() {
                    self.place = (index, offset);
                    return Some(statement);
                }
                self.phase = if self.begin.is_some() { Phase::Commit } else { Phase::Over };
                self.next(is_autocommit)
            }
            Phase::Commit => word("COMMIT"),
            // SQLite may have rolled back already.
            Phase::Rollback if is_autocommit => None,
            Phase::Rollback => word("ROLLBACK"),
            Phase::Over => None,
        }
    }

    fn ended(&mut self, outcome: Result<Effects, SqlError>) {
        match (self.phase, outcome) {
            (Phase::Begin, Ok(_)) => self.phase = Phase::Statements,
            (Phase::Statements, Ok(_)) if self.format == Format::Arrow => {
                if let Err(error) = self.table.end(&mut self.chunk) {
                    self.fail(error);
                    self.phase = Phase::Rollback;
                }
            }
            (Phase::Statements, Ok(effects)) if self.format != Format::Csv => {
                self.chunk.extend_from_slice(b"{\"end\":{\"row_count\":");
                plain(&mut self.chunk, &self.rows);
                self.chunk.extend_from_slice(b",\"rows_affected\":");
                plain(&mut self.chunk, &effects.rows_affected);
                self.chunk.extend_from_slice(b",\"last_insert_rowid\":");
                plain(&mut self.chunk, &effects.last_insert_rowid);
                self.chunk.extend_from_slice(b"}}\n");
            }
            (Phase::Statements, Ok(_)) => {}
            (Phase::Commit, Ok(_)) | (Phase::Rollback | Phase::Over, _) => self.phase = Phase::Over,
            (Phase::Begin, Err(error)) => {
                self.fail(error);
                self.phase = Phase::Over;
            }
            (Phase::Statements | Phase::Commit, Err(error)) => {
                self.fail(error);
                self.phase = if self.begin.is_some() { Phase::Rollback } else { Phase::Over };
            }
        }
    }
}

impl Parts {
    /// The reply, once it is known whether it is one. `work` makes the parts, and ends with the body.
    pub(super) async fn reply(mut self, format: Format, work: tokio_util::task::AbortOnDropHandle<()>) -> Result<Response, Problem> {
        let first = match self.0.recv().await {
            Some(Part::Chunk(first)) => first,
            Some(Part::Failed(problem)) => return Err(problem),
            Some(Part::Broken) | None => return Err(Problem::new(crate::error::Kind::Internal, "the results were lost on their way")),
        };
        let state = (Some(first), self.0, work);
        let chunks = stream::try_unfold(state, |(first, mut parts, work)| async move {
            if let Some(first) = first {
                return Ok(Some((first, (None, parts, work))));
            }
            match parts.recv().await {
                Some(Part::Chunk(chunk)) => Ok(Some((chunk, (None, parts, work)))),
                Some(Part::Failed(_) | Part::Broken) => Err(io::Error::other("the results broke off")),
                // A body that ends in order must not hide that the work did not.
                None => work.await.map(|()| None).map_err(io::Error::other),
            }
        });
        let content_type = match format {
            Format::Json | Format::Ndjson => "application/x-ndjson",
            Format::Csv => "text/csv; charset=utf-8; header=present",
            Format::Arrow => ARROW,
        };
        let headers =
            [(header::CONTENT_TYPE, HeaderValue::from_static(content_type)), (header::CACHE_CONTROL, HeaderValue::from_static("no-store"))];
        Ok((headers, Body::from_stream(chunks)).into_response())
    }
}
