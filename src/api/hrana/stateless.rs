//! `POST v1/execute` and `POST v1/batch`: a statement or a batch without a stream, as the first clients ask for it.
//!
//! A statement that fails makes the whole reply a failure here; within a batch it does not.

use axum::extract::{Request as HttpRequest, State};
use axum::http::StatusCode;
use axum::response::Response;

use super::encode::{Content, Encoding};
use super::message::{OneBatch, OneStmt, StoredSql};
use super::pipeline::parse;
use super::work::{Budget, Work};
use crate::error::Problem;
use crate::{Admitted, App, Reading, body, reply};

pub(crate) async fn execute(state: State<App>, reading: Reading, request: HttpRequest) -> Result<Response, Problem> {
    let work = |content: &[u8], budget| {
        let OneStmt { stmt } = parse(content)?;
        Ok(Work::execute(stmt, &StoredSql::default(), Encoding::Json, budget)?)
    };
    answer(state, reading, request, work).await
}

pub(crate) async fn batch(state: State<App>, reading: Reading, request: HttpRequest) -> Result<Response, Problem> {
    let work = |content: &[u8], budget| {
        let OneBatch { batch } = parse(content)?;
        Ok(Work::batch(batch, &StoredSql::default(), Encoding::Json, budget)?)
    };
    answer(state, reading, request, work).await
}

async fn answer(
    State(app): State<App>,
    Reading(admitted): Reading,
    request: HttpRequest,
    work: impl FnOnce(&[u8], Budget) -> Result<Work, Problem>,
) -> Result<Response, Problem> {
    let (head, content) = request.into_parts();
    let content = body::read(&head.headers, content).await?;
    let Admitted { name, handle, caller, .. } = &admitted;
    let mut open = app.streams.once(name, &handle.database, caller)?;
    open.session().serves(&head);
    let stream = &mut open.session().stream;
    let limits = stream.limits();
    let work = work(&content, Budget::of(&limits, stream.hold_results()))?;
    match work.perform(stream, &limits).await? {
        Ok((Content::Result(result), left)) => {
            stream.confirm().await?;
            let reply = [b"{\"result\":", &result[..], b"}"].concat();
            Ok(reply::json(reply::held(reply, left.map(|left| left.holding))))
        }
        Ok((Content::Nothing | Content::IsAutocommit(_) | Content::Entries { .. }, _)) => {
            unreachable!("statements and batches have results")
        }
        Err(failure) => Ok(super::refused(StatusCode::BAD_REQUEST, &failure)),
    }
}
