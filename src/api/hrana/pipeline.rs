//! `POST v2/pipeline` and `POST v3/pipeline`: requests to one stream, one after the other.

use axum::extract::{Request as HttpRequest, State};
use axum::response::Response;
use engine::StreamLimits;
use serde::Deserialize;

use super::message::{Failure, Pipeline, Request, Violation};
use super::streams::{Held, Session};
use super::work::{Budget, Work};
use crate::error::Problem;
use crate::{Admitted, App, Reading, body, json, reply};

pub(crate) async fn pipeline(State(app): State<App>, Reading(admitted): Reading, request: HttpRequest) -> Result<Response, Problem> {
    let (head, content) = request.into_parts();
    let content = body::read(&head.headers, content).await?;
    let Pipeline { baton, requests } = parse(&content)?;
    let Admitted { name, handle, caller, .. } = &admitted;
    let (baton, ends) = (baton.as_deref(), matches!(requests.last(), Some(Request::Close)));
    let mut open = if baton.is_none() && ends {
        app.streams.once(name, &handle.database, caller)?
    } else {
        Held::Leased(app.streams.lease(baton, name, &handle.database, caller).await?)
    };
    check(&requests)?;

    open.session().serves(&head);
    let Session { stream, .. } = open.session();
    // One wait for all.
    stream.gather();
    let limits = stream.limits();
    let budget = Budget::of(&limits, stream.hold_results());
    let mut answers = Answers { out: b"{\"results\":[".to_vec(), budget, limits };
    for (index, request) in requests.into_iter().enumerate() {
        if index > 0 {
            answers.out.push(b',');
        }
        answers.answer(open.session(), request).await?;
    }
    open.session().stream.confirm().await?;
    let Answers { mut out, budget, .. } = answers;
    out.extend_from_slice(b"],\"baton\":");
    let kept = if let Held::Leased(lease) = open { Some(lease).filter(|_| !ends) } else { None };
    json::plain(&mut out, &kept.as_ref().map(|lease| app.streams.baton(lease, name, caller)));
    out.extend_from_slice(b",\"base_url\":null}");
    if let Some(lease) = kept {
        lease.give_back();
    }
    Ok(reply::json(reply::held(out, Some(budget.holding))))
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

/// The results of requests, as they are written.
struct Answers {
    out: Vec<u8>,
    budget: Budget,
    limits: StreamLimits,
}

impl Answers {
    /// Adds `{"type": "ok", …}` or `{"type": "error", …}`. What fails the request as a whole is the error.
    async fn answer(&mut self, session: &mut Session, request: Request) -> Result<(), Problem> {
        let kind = request.kind();
        let begin = self.out.len();
        self.out.extend_from_slice(b"{\"type\":\"ok\",\"response\":{\"type\":\"");
        self.out.extend_from_slice(kind.as_bytes());
        self.out.push(b'"');
        match self.respond(session, request).await? {
            Ok(()) => self.out.extend_from_slice(b"}}"),
            Err(failure) => {
                self.out.truncate(begin);
                self.out.extend_from_slice(b"{\"type\":\"error\",\"error\":");
                json::plain(&mut self.out, &failure);
                self.out.push(b'}');
            }
        }
        Ok(())
    }

    async fn respond(&mut self, session: &mut Session, request: Request) -> Result<Result<(), Failure>, Problem> {
        let Session { stream, stored, .. } = session;
        let work = match request {
            Request::Execute { stmt } => Work::execute(stmt, stored, self.budget.clone())?,
            Request::Batch { batch } => Work::batch(batch, stored, self.budget.clone())?,
            Request::Sequence(text) => Work::sequence(text, stored)?,
            Request::Describe(text) => Work::describe(text, stored)?,
            Request::GetAutocommit => Work::GetAutocommit,
            Request::StoreSql { sql_id, sql } => return Ok(stored.store(sql_id, sql)),
            Request::CloseSql { sql_id } => {
                stored.close(sql_id);
                return Ok(Ok(()));
            }
            Request::Close => return Ok(Ok(())),
        };
        Ok(work.perform(stream, &self.limits, &mut self.out).await?.map(|left| self.budget = left.unwrap_or_else(|| self.budget.clone())))
    }
}

impl From<Violation> for Problem {
    fn from(Violation(detail): Violation) -> Self {
        Self::bad_request(detail)
    }
}
