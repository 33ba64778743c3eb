//! What Hrana sends back, written as JSON straight from SQLite's rows.

use base64::engine::general_purpose::STANDARD_NO_PAD;
use engine::{Column, Effects, Row, SqlError, StatementShape, ValueRef};

use crate::json::{base64, list, plain};

pub(super) fn columns(out: &mut Vec<u8>, columns: &[Column]) {
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
pub(super) fn effects(out: &mut Vec<u8>, effects: &Effects) {
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

pub(super) fn description(out: &mut Vec<u8>, description: &StatementShape) {
    let StatementShape { params, columns: cols, is_explain, is_readonly } = description;
    out.extend_from_slice(b"{\"params\":");
    list(out, params, |out, name| {
        out.extend_from_slice(b"{\"name\":");
        plain(out, name);
        out.push(b'}');
    });
    out.extend_from_slice(b",\"cols\":");
    columns(out, cols);
    out.extend_from_slice(b",\"is_explain\":");
    plain(out, is_explain);
    out.extend_from_slice(b",\"is_readonly\":");
    plain(out, is_readonly);
    out.push(b'}');
}
