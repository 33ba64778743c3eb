//! What a stream does for one request, and what its response has.

use engine::{Error, Holding, Stream, StreamLimits};

use super::encode::{Content, Encoding};
use super::message::{Batch, Failure, Stmt, StoredSql, Text, Violation};
use super::program::{Program, only_statement};
use super::results::{Discard, Ended, Results};
use crate::error::Problem;

/// Work for a stream, with all texts known.
pub(super) enum Work {
    Execute(Program<Results>),
    Batch(Program<Results>),
    Sequence(Program<Discard>),
    Describe(Result<String, Failure>, Encoding),
    GetAutocommit,
}

/// What a response has, and what is left of the budget, if it had one.
pub(super) type Done = (Content, Option<Budget>);

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
    pub(super) fn execute(stmt: Stmt, stored: &StoredSql, encoding: Encoding, budget: Budget) -> Result<Self, Violation> {
        Program::of_statement(stmt, stored, Results::new(encoding, budget)).map(Self::Execute)
    }

    pub(super) fn batch(batch: Batch, stored: &StoredSql, encoding: Encoding, budget: Budget) -> Result<Self, Violation> {
        Program::of_batch(batch, stored, Results::new(encoding, budget)).map(Self::Batch)
    }

    pub(super) fn sequence(text: Text, stored: &StoredSql) -> Result<Self, Violation> {
        Ok(Self::Sequence(Program::of_sequence(&text.sql(stored)?, Discard::default())))
    }

    pub(super) fn describe(text: Text, stored: &StoredSql, encoding: Encoding) -> Result<Self, Violation> {
        Ok(Self::Describe(only_statement(text.sql(stored)?), encoding))
    }

    /// Does it. An outer error means that the database is not served; an inner one is that of the request.
    pub(super) async fn perform(self, stream: &mut Stream, limits: &StreamLimits) -> Result<Result<Done, Failure>, Problem> {
        Ok(match self {
            Self::Execute(program) => {
                let results = stream.run(program, limits).await?.output;
                let left = Some(results.budget.clone());
                match results.into_one() {
                    Ended::Result(result) => Ok((Content::Result(result), left)),
                    Ended::Error(failure) => Err(failure),
                    Ended::Skipped => Err(Failure::new("SQLITE_INTERRUPT", "the statement was given up")),
                }
            }
            Self::Batch(program) => {
                let results = stream.run(program, limits).await?.output;
                let left = Some(results.budget.clone());
                Ok((Content::Result(results.into_batch()), left))
            }
            Self::Sequence(program) => match stream.run(program, limits).await?.output.failure {
                Some(failure) => Err(failure),
                None => Ok((Content::Nothing, None)),
            },
            Self::Describe(Err(failure), _) => Err(failure),
            Self::Describe(Ok(sql), encoding) => match stream.describe(sql, limits).await {
                Ok(shape) => Ok((Content::Result(encoding.description(&shape)), None)),
                Err(Error::Sql(error)) => Err(Failure::from(error)),
                Err(error) => return Err(error.into()),
            },
            Self::GetAutocommit => Ok((Content::IsAutocommit(stream.is_autocommit()), None)),
        })
    }
}
