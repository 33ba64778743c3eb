//! The pieces in JSON. Entries of a cursor are lines.

use base64::engine::general_purpose::STANDARD_NO_PAD;
use bytes::Bytes;
use engine::{Column, Effects, Row, SqlError, StatementShape, ValueRef};

use super::{Content, Outcome};
use crate::hrana::message::Failure;
use crate::hrana::results::Ended;
use crate::json::{base64, list, plain};

pub(super) const PIPELINE: &[u8] = b"{\"results\":[";

pub(super) fn result_begin(out: &mut Vec<u8>, cols: &[Column]) {
    out.extend_from_slice(b"{\"cols\":");
    columns(out, cols);
    out.extend_from_slice(b",\"rows\":[");
}

pub(super) fn result_end(out: &mut Vec<u8>, done: &Effects) {
    out.extend_from_slice(b"],");
    effects(out, done);
    out.push(b'}');
}

fn columns(out: &mut Vec<u8>, columns: &[Column]) {
    list(out, columns, |out, Column { name, decltype }| {
        out.extend_from_slice(b"{\"name\":");
        plain(out, name);
        out.extend_from_slice(b",\"decltype\":");
        plain(out, decltype);
        out.push(b'}');
    });
}

pub(super) fn row(out: &mut Vec<u8>, row: &Row<'_>) -> Result<(), SqlError> {
    out.push(b'[');
    for at in 0..row.len() {
        if at > 0 {
            out.push(b',');
        }
        value(out, row.value(at)?);
    }
    out.push(b']');
    Ok(())
}

/// `{"type", "value"}`.
pub(crate) fn value(out: &mut Vec<u8>, value: ValueRef<'_>) {
    match value {
        ValueRef::Null => out.extend_from_slice(b"{\"type\":\"null\"}"),
        ValueRef::Integer(integer) => {
            out.extend_from_slice(b"{\"type\":\"integer\",\"value\":\"");
            plain(out, &integer);
            out.extend_from_slice(b"\"}");
        }
        // Infinity has no form in JSON, and becomes null.
        ValueRef::Real(real) => {
            out.extend_from_slice(b"{\"type\":\"float\",\"value\":");
            plain(out, &real);
            out.push(b'}');
        }
        ValueRef::Text(text) => {
            out.extend_from_slice(b"{\"type\":\"text\",\"value\":");
            plain(out, text);
            out.push(b'}');
        }
        ValueRef::Blob(bytes) => {
            out.extend_from_slice(b"{\"type\":\"blob\",\"base64\":\"");
            base64(out, &STANDARD_NO_PAD, bytes);
            out.extend_from_slice(b"\"}");
        }
    }
}

/// `"affected_row_count"` and `"last_insert_rowid"`, the members of an object.
fn effects(out: &mut Vec<u8>, effects: &Effects) {
    out.extend_from_slice(b"\"affected_row_count\":");
    plain(out, &effects.rows_affected);
    out.extend_from_slice(b",\"last_insert_rowid\":");
    match effects.last_insert_rowid {
        Some(rowid) => {
            out.push(b'"');
            plain(out, &rowid);
            out.push(b'"');
        }
        None => out.extend_from_slice(b"null"),
    }
}

pub(super) fn batch(steps: &[Ended]) -> Vec<u8> {
    let mut out = b"{\"step_results\":".to_vec();
    list(&mut out, steps, |out, ended| match ended {
        Ended::Result(json) => out.extend_from_slice(json),
        Ended::Error(_) | Ended::Skipped => out.extend_from_slice(b"null"),
    });
    out.extend_from_slice(b",\"step_errors\":");
    list(&mut out, steps, |out, ended| match ended {
        Ended::Error(failure) => plain(out, failure),
        Ended::Result(_) | Ended::Skipped => out.extend_from_slice(b"null"),
    });
    out.push(b'}');
    out
}

pub(super) fn description(shape: &StatementShape) -> Vec<u8> {
    let StatementShape { params, columns: cols, is_explain, is_readonly } = shape;
    let mut out = b"{\"params\":".to_vec();
    list(&mut out, params, |out, name| {
        out.extend_from_slice(b"{\"name\":");
        plain(out, name);
        out.push(b'}');
    });
    out.extend_from_slice(b",\"cols\":");
    columns(&mut out, cols);
    out.extend_from_slice(b",\"is_explain\":");
    plain(&mut out, is_explain);
    out.extend_from_slice(b",\"is_readonly\":");
    plain(&mut out, is_readonly);
    out.push(b'}');
    out
}

pub(super) fn step_begin(out: &mut Vec<u8>, step: usize, cols: &[Column]) {
    out.extend_from_slice(b"{\"type\":\"step_begin\",\"step\":");
    plain(out, &step);
    out.extend_from_slice(b",\"cols\":");
    columns(out, cols);
    out.extend_from_slice(b"}\n");
}

pub(super) fn entry_row(out: &mut Vec<u8>, values: &Row<'_>) -> Result<(), SqlError> {
    out.extend_from_slice(b"{\"type\":\"row\",\"row\":");
    row(out, values)?;
    out.extend_from_slice(b"}\n");
    Ok(())
}

pub(super) fn step_end(out: &mut Vec<u8>, done: &Effects) {
    out.extend_from_slice(b"{\"type\":\"step_end\",");
    effects(out, done);
    out.extend_from_slice(b"}\n");
}

pub(super) fn step_error(out: &mut Vec<u8>, step: usize, failure: &Failure) {
    out.extend_from_slice(b"{\"type\":\"step_error\",\"step\":");
    plain(out, &step);
    out.extend_from_slice(b",\"error\":");
    plain(out, failure);
    out.extend_from_slice(b"}\n");
}

pub(super) fn fatal(out: &mut Vec<u8>, failure: &Failure) {
    error(out, failure);
    out.push(b'\n');
}

/// Each line without its end. JSON has no line ends within.
pub(super) fn entries(chunk: &Bytes) -> Vec<Bytes> {
    chunk.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).map(|line| chunk.slice_ref(line)).collect()
}

fn error(out: &mut Vec<u8>, failure: &Failure) {
    out.extend_from_slice(b"{\"type\":\"error\",\"error\":");
    plain(out, failure);
    out.push(b'}');
}

/// The members of a response after its type.
fn members(out: &mut Vec<u8>, content: &Content) {
    match content {
        Content::Nothing => {}
        Content::Result(json) => {
            out.extend_from_slice(b",\"result\":");
            out.extend_from_slice(json);
        }
        Content::IsAutocommit(is_autocommit) => {
            out.extend_from_slice(b",\"is_autocommit\":");
            plain(out, is_autocommit);
        }
        Content::Entries { entries, done } => {
            out.extend_from_slice(b",\"entries\":");
            list(out, entries, |out, entry| out.extend_from_slice(entry));
            out.extend_from_slice(b",\"done\":");
            plain(out, done);
        }
    }
}

pub(super) fn pipeline_outcome(out: &mut Vec<u8>, is_first: bool, outcome: Outcome<'_>) {
    if !is_first {
        out.push(b',');
    }
    match outcome {
        Ok((kind, content)) => {
            out.extend_from_slice(b"{\"type\":\"ok\",\"response\":{\"type\":");
            plain(out, kind.word());
            members(out, content);
            out.extend_from_slice(b"}}");
        }
        Err(failure) => error(out, failure),
    }
}

pub(super) fn pipeline_end(out: &mut Vec<u8>, baton: Option<&str>) {
    out.extend_from_slice(b"],\"baton\":");
    plain(out, &baton);
    out.extend_from_slice(b",\"base_url\":null}");
}

pub(super) fn cursor_begin(out: &mut Vec<u8>, baton: &str) {
    out.extend_from_slice(b"{\"baton\":");
    plain(out, baton);
    out.extend_from_slice(b",\"base_url\":null}\n");
}

pub(super) fn hello(outcome: Result<(), &Failure>) -> Vec<u8> {
    match outcome {
        Ok(()) => b"{\"type\":\"hello_ok\"}".to_vec(),
        Err(failure) => {
            let mut out = b"{\"type\":\"hello_error\",\"error\":".to_vec();
            plain(&mut out, failure);
            out.push(b'}');
            out
        }
    }
}

pub(super) fn response(request_id: i32, outcome: Outcome<'_>) -> Vec<u8> {
    let mut out = Vec::with_capacity(80 + if let Ok((_, Content::Result(json))) = outcome { json.len() } else { 0 });
    match outcome {
        Ok((kind, content)) => {
            out.extend_from_slice(b"{\"type\":\"response_ok\",\"request_id\":");
            plain(&mut out, &request_id);
            out.extend_from_slice(b",\"response\":{\"type\":");
            plain(&mut out, kind.word());
            members(&mut out, content);
            out.extend_from_slice(b"}}");
        }
        Err(failure) => {
            out.extend_from_slice(b"{\"type\":\"response_error\",\"request_id\":");
            plain(&mut out, &request_id);
            out.extend_from_slice(b",\"error\":");
            plain(&mut out, failure);
            out.push(b'}');
        }
    }
    out
}
