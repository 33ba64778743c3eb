//! What a stream does for one request, and how that is written into the response.

use engine::{Error, Holding, Stream, StreamLimits};

use super::encode;
use super::message::{Batch, Failure, Stmt, StoredSql, Text, Violation};
use super::program::{Program, only_statement};
use super::results::{Discard, Ended, Results};
use crate::error::Problem;
use crate::json;

/// Work for a stream, with all texts known.
pub(super) enum Work {
    Execute(Program<Results>),
    Batch(Program<Results>),
    Sequence(Program<Discard>),
    Describe(Result<String, Failure>),
    GetAutocommit,
}

/// How many bytes results may have.
#[derive(Debug, Clone)]
pub(super) struct Budget {
    pub(super) left: usize,
    pub(super) limit: usize,
    /// What they take of what all requests may take together.
    pub(super) holding: Holding,
}

impl Budget {
    /// All that a request may have.
    pub(super) fn of(limits: &StreamLimits, holding: Holding) -> Self {
        let limit = usize::try_from(limits.query.max_result_size).unwrap_or(usize::MAX);
        Self { left: limit, limit, holding }
    }
}

impl Work {
    pub(super) fn execute(stmt: Stmt, stored: &StoredSql, budget: Budget) -> Result<Self, Violation> {
        Program::of_statement(stmt, stored, Results::new(budget)).map(Self::Execute)
    }

    pub(super) fn batch(batch: Batch, stored: &StoredSql, budget: Budget) -> Result<Self, Violation> {
        Program::of_batch(batch, stored, Results::new(budget)).map(Self::Batch)
    }

    pub(super) fn sequence(text: Text, stored: &StoredSql) -> Result<Self, Violation> {
        Ok(Self::Sequence(Program::of_sequence(&text.sql(stored)?, Discard::default())))
    }

    pub(super) fn describe(text: Text, stored: &StoredSql) -> Result<Self, Violation> {
        Ok(Self::Describe(only_statement(text.sql(stored)?)))
    }

    /// Does it, and adds to `out` what the response has besides its type. Returns what is left of its budget, if it had one. An outer error
    /// means that the database is not served; an inner one is that of the request.
    pub(super) async fn perform(
        self,
        stream: &mut Stream,
        limits: &StreamLimits,
        out: &mut Vec<u8>,
    ) -> Result<Result<Option<Budget>, Failure>, Problem> {
        let mut left = None;
        match self {
            Self::Execute(program) => {
                let results = stream.run(program, limits).await?.output;
                left = Some(results.budget.clone());
                match results.into_one() {
                    Ended::Result(json) => {
                        out.extend_from_slice(b",\"result\":");
                        out.extend_from_slice(&json);
                    }
                    Ended::Error(failure) => return Ok(Err(failure)),
                    Ended::Skipped => return Ok(Err(Failure::new("SQLITE_INTERRUPT", "the statement was given up"))),
                }
            }
            Self::Batch(program) => {
                let results = stream.run(program, limits).await?.output;
                left = Some(results.budget.clone());
                out.extend_from_slice(b",\"result\":");
                results.into_batch(out);
            }
            Self::Sequence(program) => {
                if let Some(failure) = stream.run(program, limits).await?.output.failure {
                    return Ok(Err(failure));
                }
            }
            Self::Describe(Err(failure)) => return Ok(Err(failure)),
            Self::Describe(Ok(sql)) => match stream.describe(sql, limits).await {
                Ok(description) => {
                    out.extend_from_slice(b",\"result\":");
                    encode::description(out, &description);
                }
                Err(Error::Sql(error)) => return Ok(Err(Failure::from(error))),
                Err(error) => return Err(error.into()),
            },
            Self::GetAutocommit => {
                out.extend_from_slice(b",\"is_autocommit\":");
                json::plain(out, &stream.is_autocommit());
            }
        }
        Ok(Ok(left))
    }
}
