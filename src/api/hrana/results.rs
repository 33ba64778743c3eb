//! Results that are kept until all of a request is done, within a budget of bytes.

use engine::{Column, Effects, Flow, Row, SqlError, SqlErrorKind};

use super::encode::{columns, effects, row};
use super::message::Failure;
use super::program::Output;
use super::work::Budget;
use crate::json::{list, plain};

/// How a step ended.
pub(super) enum Ended {
    /// A statement's result, as JSON.
    Result(Vec<u8>),
    Error(Failure),
    Skipped,
}

/// Keeps results as JSON.
pub(super) struct Results {
    ended: Vec<Ended>,
    /// Of the step that runs.
    current: Vec<u8>,
    rows: usize,
    /// How much of the current result is counted in what all requests hold.
    held: usize,
    pub(super) budget: Budget,
}

impl Results {
    pub(super) fn new(budget: Budget) -> Self {
        Self { ended: Vec::new(), current: Vec::new(), rows: 0, held: 0, budget }
    }

    /// How the one statement ended.
    pub(super) fn into_one(self) -> Ended {
        self.ended.into_iter().next().unwrap_or(Ended::Skipped)
    }

    /// `{"step_results": […], "step_errors": […]}`.
    pub(super) fn into_batch(self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"step_results\":");
        list(out, &self.ended, |out, ended| match ended {
            Ended::Result(json) => out.extend_from_slice(json),
            Ended::Error(_) | Ended::Skipped => out.extend_from_slice(b"null"),
        });
        out.extend_from_slice(b",\"step_errors\":");
        list(out, &self.ended, |out, ended| match ended {
            Ended::Error(failure) => plain(out, failure),
            Ended::Result(_) | Ended::Skipped => out.extend_from_slice(b"null"),
        });
        out.push(b'}');
    }

    fn check(&mut self) -> Result<(), SqlError> {
        let Budget { left, limit, holding } = &mut self.budget;
        if self.current.len() > *left {
            let message = format!("the results are larger than {limit} bytes; use a cursor, or ask for less");
            return Err(SqlError::ours(SqlErrorKind::ResultTooLarge, message));
        }
        let grown = self.current.len() - self.held;
        self.held = self.current.len();
        holding.add(grown as u64)
    }
}

impl Output for Results {
    const MAY_BEGIN_AGAIN: bool = true;

    fn begin(&mut self, _: usize, cols: &[Column]) -> Result<(), SqlError> {
        self.current.clear();
        (self.rows, self.held) = (0, 0);
        self.current.extend_from_slice(b"{\"cols\":");
        columns(&mut self.current, cols);
        self.current.extend_from_slice(b",\"rows\":[");
        self.check()
    }

    fn row(&mut self, values: &Row<'_>) -> Result<Flow, SqlError> {
        if self.rows > 0 {
            self.current.push(b',');
        }
        self.rows += 1;
        row(&mut self.current, values)?;
        self.check()?;
        Ok(Flow::More)
    }

    fn end(&mut self, _: usize, done: &Effects) {
        let mut json = std::mem::take(&mut self.current);
        if json.is_empty() {
            // Nothing ran: a transaction that had ended was rolled back.
            json.extend_from_slice(b"{\"cols\":[],\"rows\":[");
        }
        json.extend_from_slice(b"],");
        effects(&mut json, done);
        json.push(b'}');
        self.budget.left = self.budget.left.saturating_sub(json.len());
        self.ended.push(Ended::Result(json));
    }

    fn fail(&mut self, _: usize, failure: Failure) {
        self.current.clear();
        self.budget.left = self.budget.left.saturating_sub(failure.message.len());
        self.ended.push(Ended::Error(failure));
    }

    fn skip(&mut self, _: usize) {
        self.ended.push(Ended::Skipped);
    }
}

/// Of statements whose rows nobody wants: only how they failed is kept.
#[derive(Default)]
pub(super) struct Discard {
    pub(super) failure: Option<Failure>,
}

impl Output for Discard {
    const MAY_BEGIN_AGAIN: bool = true;

    fn begin(&mut self, _: usize, _: &[Column]) -> Result<(), SqlError> {
        Ok(())
    }

    fn row(&mut self, _: &Row<'_>) -> Result<Flow, SqlError> {
        Ok(Flow::More)
    }

    fn end(&mut self, _: usize, _: &Effects) {}

    fn fail(&mut self, _: usize, failure: Failure) {
        self.failure.get_or_insert(failure);
    }

    fn skip(&mut self, _: usize) {}
}
