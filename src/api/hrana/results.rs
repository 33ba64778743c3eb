//! Results that are kept until all of a request is done, within a budget of bytes.

use engine::{Column, Effects, Flow, Row, SqlError, SqlErrorKind};

use super::encode::Encoding;
use super::message::Failure;
use super::program::Output;
use super::work::Budget;

/// How a step ended.
pub(super) enum Ended {
    /// A statement's result, as it is written.
    Result(Vec<u8>),
    Error(Failure),
    Skipped,
}

/// Keeps results as they are written.
pub(super) struct Results {
    encoding: Encoding,
    ended: Vec<Ended>,
    /// Of the step that runs, once it has begun.
    current: Vec<u8>,
    has_begun: bool,
    rows: usize,
    /// How much of the current result is counted in what all requests hold.
    held: usize,
    pub(super) budget: Budget,
}

impl Results {
    pub(super) fn new(encoding: Encoding, budget: Budget) -> Self {
        Self { encoding, ended: Vec::new(), current: Vec::new(), has_begun: false, rows: 0, held: 0, budget }
    }

    /// How the one statement ended.
    pub(super) fn into_one(self) -> Ended {
        self.ended.into_iter().next().unwrap_or(Ended::Skipped)
    }

    /// How all of them ended.
    pub(super) fn into_batch(self) -> Vec<u8> {
        self.encoding.batch(&self.ended)
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

    fn begin(&mut self, _: usize, columns: &[Column]) -> Result<(), SqlError> {
        self.current.clear();
        (self.has_begun, self.rows, self.held) = (true, 0, 0);
        self.encoding.result_begin(&mut self.current, columns);
        self.check()
    }

    fn row(&mut self, values: &Row<'_>) -> Result<Flow, SqlError> {
        self.encoding.result_row(&mut self.current, self.rows == 0, values)?;
        self.rows += 1;
        self.check()?;
        Ok(Flow::More)
    }

    fn end(&mut self, _: usize, effects: &Effects) {
        let mut result = std::mem::take(&mut self.current);
        if !std::mem::take(&mut self.has_begun) {
            // Nothing ran: a transaction that had ended was rolled back.
            self.encoding.result_begin(&mut result, &[]);
        }
        self.encoding.result_end(&mut result, effects);
        self.budget.left = self.budget.left.saturating_sub(result.len());
        self.ended.push(Ended::Result(result));
    }

    fn fail(&mut self, _: usize, failure: Failure) {
        self.current.clear();
        self.has_begun = false;
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
