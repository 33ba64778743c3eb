//! What Hrana sends back, written straight from SQLite's rows.
//!
//! Owns: the pieces that replies are made of, each in both encodings. Does not own: which pieces a reply has.

mod json;
mod protobuf;

use bytes::Bytes;
use engine::{Column, Effects, Row, SqlError, StatementShape};

use super::message::{Failure, Kind};
use super::results::Ended;

pub(crate) use json::value;

/// How messages are written down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Encoding {
    Json,
    Protobuf,
}

/// What a response has besides its kind.
#[derive(Debug)]
pub(super) enum Content {
    Nothing,
    /// Of a statement, a batch or a description, as it is written.
    Result(Vec<u8>),
    IsAutocommit(bool),
    Entries {
        entries: Vec<Bytes>,
        done: bool,
    },
}

/// What a request to a stream came to.
pub(super) type Outcome<'a> = Result<(Kind, &'a Content), &'a Failure>;

/// The result of a statement, piece by piece: begin, its rows, end.
impl Encoding {
    pub(super) fn result_begin(self, out: &mut Vec<u8>, columns: &[Column]) {
        match self {
            Self::Json => json::result_begin(out, columns),
            Self::Protobuf => protobuf::columns(out, columns, 1),
        }
    }

    pub(super) fn result_row(self, out: &mut Vec<u8>, is_first: bool, row: &Row<'_>) -> Result<(), SqlError> {
        match self {
            Self::Json => {
                if !is_first {
                    out.push(b',');
                }
                json::row(out, row)
            }
            Self::Protobuf => protobuf::row(out, row, 2),
        }
    }

    pub(super) fn result_end(self, out: &mut Vec<u8>, effects: &Effects) {
        match self {
            Self::Json => json::result_end(out, effects),
            Self::Protobuf => protobuf::effects(out, effects, 3),
        }
    }
}

/// Entries of a cursor, each as it stands in the body of a reply.
impl Encoding {
    pub(super) fn step_begin(self, out: &mut Vec<u8>, step: usize, columns: &[Column]) {
        match self {
            Self::Json => json::step_begin(out, step, columns),
            Self::Protobuf => protobuf::step_begin(out, step, columns),
        }
    }

    /// Of a row that cannot be told nothing is left.
    pub(super) fn entry_row(self, out: &mut Vec<u8>, row: &Row<'_>) -> Result<(), SqlError> {
        let begin = out.len();
        let written = match self {
            Self::Json => json::entry_row(out, row),
            Self::Protobuf => protobuf::entry_row(out, row),
        };
        written.inspect_err(|_| out.truncate(begin))
    }

    pub(super) fn step_end(self, out: &mut Vec<u8>, effects: &Effects) {
        match self {
            Self::Json => json::step_end(out, effects),
            Self::Protobuf => protobuf::step_end(out, effects),
        }
    }

    pub(super) fn step_error(self, out: &mut Vec<u8>, step: usize, failure: &Failure) {
        match self {
            Self::Json => json::step_error(out, step, failure),
            Self::Protobuf => protobuf::step_error(out, step, failure),
        }
    }

    /// The last entry: the rest was given up.
    pub(super) fn fatal(self, out: &mut Vec<u8>, failure: &Failure) {
        match self {
            Self::Json => json::fatal(out, failure),
            Self::Protobuf => protobuf::fatal(out, failure),
        }
    }

    /// Those of which a chunk is made, without what keeps them apart.
    pub(super) fn entries(self, chunk: &Bytes) -> Vec<Bytes> {
        match self {
            Self::Json => json::entries(chunk),
            Self::Protobuf => protobuf::entries(chunk),
        }
    }
}

/// Whole results.
impl Encoding {
    pub(super) fn batch(self, steps: &[Ended]) -> Vec<u8> {
        match self {
            Self::Json => json::batch(steps),
            Self::Protobuf => protobuf::batch(steps),
        }
    }

    pub(super) fn description(self, shape: &StatementShape) -> Vec<u8> {
        match self {
            Self::Json => json::description(shape),
            Self::Protobuf => protobuf::description(shape),
        }
    }
}

/// Replies over HTTP.
impl Encoding {
    /// The beginning of the reply to a pipeline, before its outcomes.
    pub(super) fn pipeline_begin(self) -> Vec<u8> {
        match self {
            Self::Json => json::PIPELINE.to_vec(),
            Self::Protobuf => Vec::new(),
        }
    }

    pub(super) fn pipeline_outcome(self, out: &mut Vec<u8>, is_first: bool, outcome: Outcome<'_>) {
        match self {
            Self::Json => json::pipeline_outcome(out, is_first, outcome),
            Self::Protobuf => protobuf::pipeline_outcome(out, outcome),
        }
    }

    pub(super) fn pipeline_end(self, out: &mut Vec<u8>, baton: Option<&str>) {
        match self {
            Self::Json => json::pipeline_end(out, baton),
            Self::Protobuf => protobuf::pipeline_end(out, baton),
        }
    }

    /// What stands before the entries of a cursor.
    pub(super) fn cursor_begin(self, out: &mut Vec<u8>, baton: &str) {
        match self {
            Self::Json => json::cursor_begin(out, baton),
            Self::Protobuf => protobuf::cursor_begin(out, baton),
        }
    }
}

/// Messages of sockets.
impl Encoding {
    pub(super) fn hello(self, outcome: Result<(), &Failure>) -> Vec<u8> {
        match self {
            Self::Json => json::hello(outcome),
            Self::Protobuf => protobuf::hello(outcome),
        }
    }

    pub(super) fn response(self, request_id: i32, outcome: Outcome<'_>) -> Vec<u8> {
        match self {
            Self::Json => json::response(request_id, outcome),
            Self::Protobuf => protobuf::response(request_id, outcome),
        }
    }
}
