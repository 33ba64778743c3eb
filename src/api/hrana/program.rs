//! What a stream runs: the steps of a batch, whose results somebody writes down.

use engine::{Column, Effects, Flow, Params, Row, Rows, Script, SqlError, SqlErrorKind, Statement, pieces};

use super::message::{Asked, Batch, Condition, Failure, Stmt, StoredSql, Violation};
use crate::codes;

/// Writes down what steps give.
pub(super) trait Output: Send + 'static {
    fn begin(&mut self, step: usize, columns: &[Column]) -> Result<(), SqlError>;
    fn row(&mut self, row: &Row<'_>) -> Result<Flow, SqlError>;
    fn end(&mut self, step: usize, effects: &Effects);
    fn fail(&mut self, step: usize, failure: Failure);
    fn skip(&mut self, step: usize);
    /// As [`Script::may_begin_again`].
    const MAY_BEGIN_AGAIN: bool;
    /// As [`Rows::room`].
    fn room(&mut self) -> impl Future<Output = Result<(), SqlError>> + Send {
        std::future::ready(Ok(()))
    }
}

struct Step {
    asked: Option<Asked>,
    condition: Option<Condition>,
}

/// Steps on their way.
pub(super) struct Program<O> {
    steps: Vec<Step>,
    /// Whether each step that is over ran and succeeded.
    ok: Vec<bool>,
    wants_rows: bool,
    pub(super) output: O,
}

impl<O: Output> Program<O> {
    pub(super) fn of_batch(batch: Batch, stored: &StoredSql, output: O) -> Result<Self, Violation> {
        let step = |(at, step): (usize, super::message::Step)| {
            if let Some(condition) = &step.condition {
                condition.check(at)?;
            }
            Ok(Step { asked: Some(step.stmt.asked(stored)?), condition: step.condition })
        };
        Ok(Self::of(batch.steps.into_iter().enumerate().map(step).collect::<Result<_, _>>()?, output))
    }

    pub(super) fn of_statement(stmt: Stmt, stored: &StoredSql, output: O) -> Result<Self, Violation> {
        Ok(Self::of(vec![Step { asked: Some(stmt.asked(stored)?), condition: None }], output))
    }

    /// All statements of a text, up to the first that fails.
    pub(super) fn of_sequence(sql: &str, output: O) -> Self {
        let step = |(at, piece): (usize, engine::Piece<'_>)| Step {
            asked: Some(Asked { sql: piece.sql.to_owned(), params: Some(Params::None), want_rows: false }),
            condition: at.checked_sub(1).map(|step| Condition::Ok { step }),
        };
        Self::of(pieces(sql).into_iter().enumerate().map(step).collect(), output)
    }

    fn of(steps: Vec<Step>, output: O) -> Self {
        let ok = Vec::with_capacity(steps.len());
        Self { steps, ok, wants_rows: true, output }
    }

    fn fail(&mut self, failure: Failure) {
        self.output.fail(self.ok.len(), failure);
        self.ok.push(false);
    }
}

fn statement(asked: Asked) -> Result<Statement, Failure> {
    let Some(params) = asked.params else {
        return Err(Failure::new("ARGS_BOTH_POSITIONAL_AND_NAMED", "give `args` or `named_args`, not both"));
    };
    Ok(Statement { sql: only_statement(asked.sql)?, params })
}

/// The one statement of a text, without what stands around it.
pub(super) fn only_statement(sql: String) -> Result<String, Failure> {
    let bare = match pieces(&sql)[..] {
        [] => return Err(Failure::new("SQL_NO_STATEMENT", "the SQL text holds no statement")),
        [piece] if piece.sql.len() == sql.len() => None,
        [piece] => Some(piece.sql.to_owned()),
        _ => return Err(Failure::new("SQL_MANY_STATEMENTS", "the SQL text holds more than one statement; use `sequence` or a batch")),
    };
    Ok(bare.unwrap_or(sql))
}

impl<O: Output> Script for Program<O> {
    fn next(&mut self, is_autocommit: bool) -> Option<Statement> {
        loop {
            let at = self.ok.len();
            let step = self.steps.get_mut(at)?;
            let runs = step.condition.as_ref().is_none_or(|condition| condition.holds(&self.ok, is_autocommit));
            let Some(asked) = step.asked.take().filter(|_| runs) else {
                self.output.skip(at);
                self.ok.push(false);
                continue;
            };
            self.wants_rows = asked.want_rows;
            match statement(asked) {
                Ok(statement) => return Some(statement),
                Err(failure) => self.fail(failure),
            }
        }
    }

    fn may_begin_again(&self) -> bool {
        O::MAY_BEGIN_AGAIN
    }

    fn ended(&mut self, outcome: Result<Effects, SqlError>) {
        match outcome {
            Ok(effects) => {
                self.output.end(self.ok.len(), &effects);
                self.ok.push(true);
            }
            Err(error) => self.fail(Failure::from(error)),
        }
    }
}

impl<O: Output> Rows for Program<O> {
    fn columns(&mut self, columns: Vec<Column>) -> Result<(), SqlError> {
        self.output.begin(self.ok.len(), &columns)
    }

    fn row(&mut self, row: &Row<'_>) -> Result<Flow, SqlError> {
        if self.wants_rows { self.output.row(row) } else { Ok(Flow::More) }
    }

    fn room(&mut self) -> impl Future<Output = Result<(), SqlError>> + Send {
        self.output.room()
    }
}

impl From<SqlError> for Failure {
    fn from(error: SqlError) -> Self {
        let of_sqlite = codes::primary(error.extended_code).filter(|_| error.extended_code != 0);
        let code = match error.kind {
            SqlErrorKind::Arguments => "ARGS_INVALID",
            SqlErrorKind::ResultTooLarge => "RESPONSE_TOO_LARGE",
            SqlErrorKind::TransactionEnded => "TRANSACTION_TIMEOUT",
            SqlErrorKind::WritesRefused => "WRITES_REFUSED",
            SqlErrorKind::Crowded => "RESULTS_CROWDED",
            SqlErrorKind::Unconfirmed => "DURABILITY_UNKNOWN",
            SqlErrorKind::Busy => of_sqlite.unwrap_or("TRANSACTION_BUSY"),
            SqlErrorKind::Forbidden => "SQLITE_AUTH",
            SqlErrorKind::Timeout | SqlErrorKind::Cancelled => "SQLITE_INTERRUPT",
            SqlErrorKind::Constraint => of_sqlite.unwrap_or("SQLITE_CONSTRAINT"),
            SqlErrorKind::Full => of_sqlite.unwrap_or("SQLITE_FULL"),
            SqlErrorKind::Limit => of_sqlite.unwrap_or("SQLITE_TOOBIG"),
            SqlErrorKind::Statement => of_sqlite.unwrap_or("SQLITE_ERROR"),
            SqlErrorKind::Internal => of_sqlite.unwrap_or("SQLITE_INTERNAL"),
        };
        let extended_code = codes::name(error.extended_code).filter(|name| error.extended_code > 0xff && name.starts_with(code));
        Self { extended_code, ..Self::new(code, error.message) }
    }
}
