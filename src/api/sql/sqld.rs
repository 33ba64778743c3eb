//! `POST` at the base of a database: the first API of sqld, which drivers of JDBC still speak.
//!
//! All statements are one transaction. A reply that is no success has the shape of Hrana's, whose `error` is what these clients read.

use axum::extract::{Request, State};
use axum::response::Response;
use engine::{ResultSet, ValueRef, pieces};

use super::request::from_sqld;
use super::style::Style;
use crate::error::Problem;
use crate::json::{list, millis, plain};
use crate::{Admitted, App, Reading, body, reply};

pub(crate) async fn run(State(app): State<App>, Reading(admitted): Reading, request: Request) -> Result<Response, Problem> {
    let (head, content) = request.into_parts();
    let asked = from_sqld(&body::read(&head.headers, content).await?)?;
    // Each has a result, by whose place its client knows it.
    if let Some(at) = asked.statements.iter().position(|statement| pieces(&statement.sql).len() != 1) {
        return Err(Problem::bad_request(format!("`statements[{at}]` must be one statement")));
    }
    let Admitted { handle, caller, .. } = admitted;
    let (database, started) = (handle.database, app.clock.now());
    let terms = engine::Terms::default();
    let response = if caller.read_only { database.read_on(&asked, &terms).await? } else { database.run_on(asked, &terms).await? };
    let took = app.clock.now() - started;
    let mut out = Vec::with_capacity(256);
    list(&mut out, &response.results, |out, one| {
        out.extend_from_slice(b"{\"results\":{");
        result(out, one);
        out.extend_from_slice(b",\"query_duration_ms\":");
        millis(out, took);
        out.extend_from_slice(b"}}");
    });
    Ok(reply::json(reply::held(out, response.holding)))
}

/// `rows_written` is what JDBC calls the update count.
fn result(out: &mut Vec<u8>, result: &ResultSet) {
    out.extend_from_slice(b"\"columns\":");
    list(out, &result.columns, |out, column| plain(out, &column.name));
    out.extend_from_slice(b",\"rows\":");
    list(out, &result.rows, |out, row| list(out, row, |out, value| Style::default().value(out, ValueRef::from(value))));
    out.extend_from_slice(b",\"truncated\":");
    plain(out, &result.truncated);
    out.extend_from_slice(b",\"rows_read\":");
    plain(out, &result.rows.len());
    out.extend_from_slice(b",\"rows_written\":");
    plain(out, &result.rows_affected);
}
