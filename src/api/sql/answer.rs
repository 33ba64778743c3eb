//! Results, written as JSON straight from the values.
//!
//! Invariant: the type of each value can be read back. An INTEGER is written exactly and in digits alone; a REAL always has a point or an
//! exponent.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use engine::{Column, Response, ResultSet, Value};
use serde::Serialize;

/// The reply to a request that succeeded after `took`.
pub(super) fn json(response: &Response, took: Duration) -> Vec<u8> {
    let mut out = Vec::with_capacity(256);
    out.extend_from_slice(b"{\"results\":");
    list(&mut out, &response.results, result);
    out.extend_from_slice(b",\"time_ms\":");
    // Whole microseconds: what lies below is noise.
    // Divided, not multiplied: the nearest number to so many thousandths is written with three digits.
    plain(&mut out, &(f64::from(u32::try_from(took.as_micros()).unwrap_or(u32::MAX)) / 1e3));
    out.push(b'}');
    out
}

fn result(out: &mut Vec<u8>, result: &ResultSet) {
    out.extend_from_slice(b"{\"columns\":");
    list(out, &result.columns, column);
    out.extend_from_slice(b",\"rows\":");
    list(out, &result.rows, |out, row| list(out, row, value));
    out.extend_from_slice(b",\"row_count\":");
    plain(out, &result.rows.len());
    out.extend_from_slice(b",\"truncated\":");
    plain(out, &result.truncated);
    out.extend_from_slice(b",\"rows_affected\":");
    plain(out, &result.rows_affected);
    out.extend_from_slice(b",\"last_insert_rowid\":");
    plain(out, &result.last_insert_rowid);
    out.push(b'}');
}

fn column(out: &mut Vec<u8>, column: &Column) {
    out.extend_from_slice(b"{\"name\":");
    plain(out, &column.name);
    out.extend_from_slice(b",\"type\":");
    plain(out, &column.decltype);
    out.push(b'}');
}

fn value(out: &mut Vec<u8>, value: &Value) {
    match value {
        Value::Null => out.extend_from_slice(b"null"),
        Value::Integer(integer) => plain(out, integer),
        Value::Real(real) if real.is_infinite() => {
            out.extend_from_slice(if *real > 0.0 { b"{\"float\":\"Infinity\"}" } else { b"{\"float\":\"-Infinity\"}" });
        }
        // NaN becomes null, as in SQLite.
        Value::Real(real) => plain(out, real),
        Value::Text(text) => plain(out, text),
        Value::Blob(bytes) => {
            out.extend_from_slice(b"{\"base64\":\"");
            let start = out.len();
            out.resize(start + bytes.len().div_ceil(3) * 4, 0);
            let written = STANDARD.encode_slice(bytes, &mut out[start..]).expect("four characters hold three bytes");
            out.truncate(start + written);
            out.extend_from_slice(b"\"}");
        }
    }
}

fn list<T>(out: &mut Vec<u8>, items: &[T], mut write: impl FnMut(&mut Vec<u8>, &T)) {
    out.push(b'[');
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        write(out, item);
    }
    out.push(b']');
}

/// What JSON has a form of its own for.
fn plain(out: &mut Vec<u8>, item: &(impl Serialize + ?Sized)) {
    serde_json::to_writer(out, item).expect("a vector takes every byte, and scalars are always JSON");
}

#[cfg(test)]
mod tests;
