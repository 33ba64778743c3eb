//! The one JSON document that a request is answered with.

use std::convert::Infallible;
use std::time::Duration;

use engine::{Response, ResultSet, ValueRef};

use super::style::{Style, columns};
use crate::json::{list, millis, plain};

/// The reply to a request that succeeded after `took`.
pub(super) fn json(response: &Response, took: Duration, style: Style) -> Vec<u8> {
    let mut out = Vec::with_capacity(256);
    out.extend_from_slice(b"{\"results\":");
    list(&mut out, &response.results, |out, one| result(out, one, style));
    out.extend_from_slice(b",\"time_ms\":");
    millis(&mut out, took);
    out.push(b'}');
    out
}

fn result(out: &mut Vec<u8>, result: &ResultSet, style: Style) {
    out.extend_from_slice(b"{\"columns\":");
    columns(out, &result.columns);
    out.extend_from_slice(b",\"rows\":");
    list(out, &result.rows, |out, row| {
        let Ok(()) = style.row(out, &result.columns, row.iter().map(|value| Ok::<_, Infallible>(ValueRef::from(value))));
    });
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

#[cfg(test)]
mod tests;
