//! `POST v2/pipeline`, `v3/pipeline` and `v3-protobuf/pipeline`: requests to one stream, one after the other.

use axum::extract::{Request as HttpRequest, State};
use axum::http::{HeaderValue, header};
use axum::response::Response;
use engine::StreamLimits;
use serde::Deserialize;

use super::encode::{Content, Encoding};
use super::message::{Failure, Pipeline, Request, Violation};
use super::streams::{Held, Session};
use super::work::{Budget, Work};
use crate::error::Problem;
use crate::{Admitted, App, Reading, body, reply};

pub(crate) async fn pipeline(state: State<App>, reading: Reading, request: HttpRequest) -> Result<Response, Problem> {
    answer(state, reading, request, Encoding::Json).await
}

pub(crate) async fn pipeline_in_protobuf(state: State<App>, reading: Reading, request: HttpRequest) -> Result<Response, Problem> {
    let mut response = answer(state, reading, request, Encoding::Protobuf).await?;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf"));
    Ok(response)
}

async fn answer(State(app): State<App>, Reading(admitted): Reading, request: HttpRequest, encoding: Encoding) -> Result<Response, Problem> {
    let (head, content) = request.into_parts();
    let content = body::read(&head.headers, content).await?;
    let Pipeline { baton, requests } = match encoding {
        Encoding::Json => parse(&content)?,
        Encoding::Protobuf => Pipeline::decode(&content)?,
    };
    let Admitted { name, handle, caller, point, .. } = &admitted;
    let (baton, ends) = (baton.as_deref(), matches!(requests.last(), Some(Request::Close)));
    let mut open = if baton.is_none() && ends {
        app.streams.once(name, &handle.database, caller)?
    } else {
        Held::Leased(app.streams.lease(baton, name, &handle.database, caller, *point).await?)
    };
    check(&requests)?;

    open.session().serves(&head);
    let Session { stream, .. } = open.session();
    // One wait for all.
    stream.gather();
    let limits = stream.limits();
    let budget = Budget::of(&limits, stream.hold_results());
    let mut answers = Answers { encoding, budget, limits };
    let mut out = encoding.pipeline_begin();
    for (index, request) in requests.into_iter().enumerate() {
        let kind = request.kind();
        let answer = answers.answer(open.session(), request).await?;
        encoding.pipeline_outcome(&mut out, index == 0, answer.as_ref().map(|content| (kind, content)));
    }
    open.session().stream.confirm().await?;
    let kept = if let Held::Leased(lease) = open { Some(lease).filter(|_| !ends) } else { None };
    encoding.pipeline_end(&mut out, kept.as_ref().map(|lease| app.streams.baton(lease, name, caller)).as_deref());
    if let Some(lease) = kept {
        lease.give_back();
    }
    Ok(reply::json(reply::held(out, Some(answers.budget.holding))))
}

/// A body in JSON, whatever its Content-Type says: several clients send none.
pub(super) fn parse<'a, T: Deserialize<'a>>(content: &'a [u8]) -> Result<T, Problem> {
    serde_json::from_slice(content).map_err(|error| Problem::bad_request(format!("the body: {error}")))
}

/// What can be told before anything runs.
fn check(requests: &[Request]) -> Result<(), Problem> {
    let close = requests.iter().position(|request| matches!(request, Request::Close));
    if close.is_some_and(|at| at + 1 < requests.len()) {
        return Err(Problem::bad_request("`close` is not the last of `requests`: nothing can follow it"));
    }
    let batches = requests.iter().filter_map(|request| if let Request::Batch { batch } = request { Some(batch) } else { None });
    for batch in batches {
        for (at, step) in batch.steps.iter().enumerate() {
            step.condition.as_ref().map_or(Ok(()), |condition| condition.check(at))?;
        }
    }
    Ok(())
}

/// Carries requests out, within one budget.
struct Answers {
    encoding: Encoding,
    budget: Budget,
    limits: StreamLimits,
}

impl Answers {
    /// What fails the whole of them is the outer error.
    async fn answer(&mut self, session: &mut Session, request: Request) -> Result<Result<Content, Failure>, Problem> {
        let Session { stream, stored, .. } = session;
        let work = match request {
            Request::Execute { stmt } => Work::execute(stmt, stored, self.encoding, self.budget.clone())?,
            Request::Batch { batch } => Work::batch(batch, stored, self.encoding, self.budget.clone())?,
            Request::Sequence(text) => Work::sequence(text, stored)?,
            Request::Describe(text) => Work::describe(text, stored, self.encoding)?,
            Request::GetAutocommit => Work::GetAutocommit,
            Request::StoreSql { sql_id, sql } => return Ok(stored.store(sql_id, sql).map(|()| Content::Nothing)),
            Request::CloseSql { sql_id } => {
                stored.close(sql_id);
                return Ok(Ok(Content::Nothing));
            }
            Request::Close => return Ok(Ok(Content::Nothing)),
        };
        Ok(work.perform(stream, &self.limits).await?.map(|(content, left)| {
            if let Some(left) = left {
                self.budget = left;
            }
            content
        }))
    }
}

impl From<Violation> for Problem {
    fn from(Violation(detail): Violation) -> Self {
        Self::bad_request(detail)
    }
}
