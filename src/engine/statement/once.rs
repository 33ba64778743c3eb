//! Requests that are run once: what they were answered is kept in the transaction that they made.
//!
//! Owns: the table `bh_idempotency`. It is one of the caller's own, which SQL sees and may empty; and its statements run under the caller's
//! sandbox and deadline, because triggers of the caller's may hang on it.
//! Invariant: an answer is kept if and only if what it tells of was committed.

use std::time::Duration;

use rusqlite::{OptionalExtension as _, params};

use super::{Begin, Bounds, Run, roll_back};
use crate::clock::WallTime;
use crate::connection::Session;
use crate::sql::{Request, Response, Spent, SqlError, SqlErrorKind};

const TABLE: &str = "CREATE TABLE IF NOT EXISTS bh_idempotency (key TEXT PRIMARY KEY, request BLOB NOT NULL, reply BLOB NOT NULL, created_at REAL NOT NULL)";
const BY_AGE: &str = "CREATE INDEX IF NOT EXISTS bh_idempotency_by_age ON bh_idempotency (created_at)";
const IS_THERE: &str = "SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = 'bh_idempotency'";
const FIND: &str = "SELECT request, reply FROM bh_idempotency WHERE key = ?1 AND created_at > ?2";
const FORGET: &str = "DELETE FROM bh_idempotency WHERE created_at <= ?1";
const KEEP: &str = "INSERT INTO bh_idempotency (key, request, reply, created_at) VALUES (?1, ?2, ?3, ?4)";

/// How long an answer is kept.
const KEPT_FOR: Duration = Duration::from_hours(24);

/// The largest answer that is kept, in bytes.
const LARGEST: usize = 1 << 20;

/// Writes down what a request is answered.
pub type WriteAnswer = dyn FnOnce(&Response) -> Vec<u8> + Send;

/// A request that is to be run once, however often it is sent.
pub struct Once {
    /// The caller's name for the request.
    pub key: String,
    /// What tells it from others that are sent under the same key.
    pub digest: [u8; 32],
    /// Writes it down, for now and for later.
    pub write: Box<WriteAnswer>,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answered {
    /// It was run, and this is its answer.
    Now(Vec<u8>),
    /// It had been run before, and this is what was answered then.
    Before(Vec<u8>),
    /// Another request was sent under this key; this one was not run.
    OtherRequest,
}

/// Runs a request in one transaction, unless it was run before.
pub(crate) fn run_once(
    session: &Session,
    request: &Request,
    once: Once,
    now: WallTime,
    bounds: Bounds<'_>,
    spent: &mut Spent,
) -> Result<Answered, SqlError> {
    let kept = Kept { session, now: now.as_duration().as_secs_f64() };
    let (timeout, cancel) = (bounds.limits.statement_timeout, bounds.cancel);
    session.begin(timeout, cancel);
    if let Some((digest, reply)) = kept.find(&once.key).map_err(|error| kept.explain(&error))? {
        return Ok(if digest == once.digest { Answered::Before(reply) } else { Answered::OtherRequest });
    }
    let mut run = Run::on(session, bounds);
    let Once { key, digest, write } = once;
    let mut answer = Vec::new();
    let outcome = run.as_one(request, Begin::Immediate, |run| {
        let response = Response { results: std::mem::take(&mut run.results), ..Response::default() };
        answer = write(&response);
        if answer.len() > LARGEST {
            let message = format!("an answer that is kept under a key may have {LARGEST} bytes, this one has {}", answer.len());
            return Err(SqlError::ours(SqlErrorKind::ResultTooLarge, message));
        }
        session.begin(timeout, cancel);
        kept.keep(&key, &digest, &answer).map_err(|error| kept.explain(&error))
    });
    spent.add(std::mem::take(&mut run.spent));
    roll_back(session)?;
    outcome.map(|()| Answered::Now(answer))
}

/// The table of answers, as a connection sees it.
struct Kept<'a> {
    session: &'a Session,
    /// In Unix seconds.
    now: f64,
}

impl Kept<'_> {
    fn oldest(&self) -> f64 {
        self.now - KEPT_FOR.as_secs_f64()
    }

    fn find(&self, key: &str) -> rusqlite::Result<Option<(Vec<u8>, Vec<u8>)>> {
        let connection = self.session.connection();
        if !connection.prepare_cached(IS_THERE)?.exists([])? {
            return Ok(None);
        }
        let row = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?));
        connection.prepare_cached(FIND)?.query_row(params![key, self.oldest()], row).optional()
    }

    /// Forgets what is too old, too: a table that nobody asks is never swept.
    fn keep(&self, key: &str, digest: &[u8], answer: &[u8]) -> rusqlite::Result<()> {
        let connection = self.session.connection();
        if !connection.prepare_cached(IS_THERE)?.exists([])? {
            connection.execute(TABLE, [])?;
            connection.execute(BY_AGE, [])?;
        }
        connection.prepare_cached(FORGET)?.execute([self.oldest()])?;
        connection.prepare_cached(KEEP)?.execute(params![key, digest, answer, self.now])?;
        Ok(())
    }

    fn explain(&self, error: &rusqlite::Error) -> SqlError {
        let said = self.session.explain(error);
        if said.kind != SqlErrorKind::Statement {
            return said;
        }
        let message = format!("the table bh_idempotency is not as it was made ({}); drop it", said.message);
        SqlError { kind: SqlErrorKind::Constraint, message, ..said }
    }
}
