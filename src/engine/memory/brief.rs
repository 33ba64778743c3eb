//! Statements that are run at once, on the thread that asks for them: those that take less time than it takes to hand them to another.
//!
//! Owns: which statements are known to be brief, and that a database whose statements were not takes none of the time of others. Does not own:
//! which steps may take long (`connection/program.rs`), nor when a statement is stopped (`connection/watch.rs`).
//! Invariants: a statement runs at once only if it has run before, in little time, under the schema that there is, on a connection that has
//! read that schema. It is stopped after some thousand steps; then all that it did is undone, and it runs again as any other does. Whatever it
//! has worked beyond what is brief, its database must wait a hundred times as long before its statements run at once again: so none takes more
//! than a hundredth of the time of the threads on which all wait.

use std::collections::HashMap;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use super::connections::Use;
use super::{Inner, MemoryDatabase, PageNo};
use crate::connection::{Cancel, Session};
use crate::image;
use crate::sql::{Piece, QueryLimits, Request, Response, Spent, SqlError, SqlErrorKind, Statement, pieces};
use crate::statement::{self, Bounds};
use crate::vfs;

/// A statement that took longer on a thread of its own is none for this.
const BRIEF: Duration = Duration::from_micros(200);

/// What a statement may work before its database has to wait.
const TOLERATED: Duration = Duration::from_millis(1);

/// How much longer than that it waits.
const PATIENCE: u32 = 100;

/// So many texts are remembered of one database, and none that is longer.
const MOST: usize = 256;
const LONGEST: usize = 4096;

/// Of the work that tokio lets a task do before others have their turn, a statement that runs at once counts this much: some 16 of them
/// take all of it.
const COUNTS: u32 = 8;

/// Lets the other tasks of this thread run if statements ran at once for long enough.
pub(super) async fn others_first() {
    for _ in 0..COUNTS {
        tokio::task::coop::consume_budget().await;
    }
}

/// What is known of the statements of one database.
#[derive(Default)]
pub(super) struct Known(Mutex<Inside>);

#[derive(Default)]
struct Inside {
    /// The schema under which it is known.
    schema: u32,
    texts: HashMap<Box<str>, Verdict>,
    barred_until: Option<Instant>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Verdict {
    /// It ran once. Many texts have their values in them, and do not come back.
    Seen,
    /// The text holds one statement, there, and that is brief.
    Brief(Range<usize>),
    Long,
}

impl Known {
    /// Where in the text the statement is that may run at once.
    fn brief(&self, sql: &str, schema: u32, now: Instant) -> Option<Range<usize>> {
        let mut inside = self.0.lock();
        inside.keep_to(schema);
        if inside.barred_until.is_some_and(|until| now < until) {
            return None;
        }
        match inside.texts.get(sql) {
            Some(Verdict::Brief(at)) => Some(at.clone()),
            Some(Verdict::Seen | Verdict::Long) | None => None,
        }
    }

    /// Whether it should be looked at: it ran the second time.
    fn is_due(&self, sql: &str, schema: u32) -> bool {
        let mut inside = self.0.lock();
        inside.keep_to(schema);
        match inside.texts.get(sql) {
            Some(Verdict::Seen) => true,
            Some(Verdict::Brief(_) | Verdict::Long) => false,
            None => {
                inside.set(sql, Verdict::Seen);
                false
            }
        }
    }

    fn learn(&self, sql: &str, schema: u32, verdict: Verdict) {
        let mut inside = self.0.lock();
        inside.keep_to(schema);
        inside.set(sql, verdict);
    }

    fn bar(&self, until: Option<Instant>) {
        self.0.lock().barred_until = until;
    }
}

impl Inside {
    fn keep_to(&mut self, schema: u32) {
        if self.schema != schema {
            self.schema = schema;
            self.texts.clear();
        }
    }

    fn set(&mut self, sql: &str, verdict: Verdict) {
        if let Some(known) = self.texts.get_mut(sql) {
            *known = verdict;
            return;
        }
        if self.texts.len() >= MOST {
            self.texts.clear();
        }
        self.texts.insert(sql.into(), verdict);
    }
}

impl MemoryDatabase {
    /// Runs a request at once, if it has one statement that may. The caller has the writer's place, if it is one that may write.
    pub(super) fn request_at_once(
        &self,
        purpose: Use,
        request: &Request,
        limits: &QueryLimits,
        spent: &mut Spent,
    ) -> Option<Result<Response, SqlError>> {
        let [Statement { sql, params }] = &request.statements[..] else { return None };
        self.at_once(purpose, sql, spent, |session, piece, spent| {
            let (holding, slow_after) = (self.hold_results(), self.0.pool.slow_after);
            let bounds = Bounds { limits, cancel: &Cancel::default(), holding, slow_after };
            statement::run_one(session, (piece, params), bounds, spent)
        })
    }

    /// Runs `work` with the statement of `sql`, here and now, on a connection for this purpose. `None` if it is not known to be brief, or was
    /// not: then nothing has happened.
    pub(super) fn at_once<T>(
        &self,
        purpose: Use,
        sql: &str,
        spent: &mut Spent,
        work: impl FnOnce(&Session, Piece<'_>, &mut Spent) -> Result<T, SqlError>,
    ) -> Option<Result<T, SqlError>> {
        let inner = &self.0;
        if sql.len() > LONGEST {
            return None;
        }
        let schema = inner.schema(purpose);
        let begun = inner.clock.now();
        let at = inner.brief.brief(sql, schema, begun)?;
        // Another would have to read the schema first.
        let session = inner.pool.connections.take_with_schema(inner.file.id(), purpose, schema)?;
        inner.listened(purpose, &session).ok()?;
        let piece = Piece { sql: &sql[at.clone()], offset: at.start };
        let before = inner.clock.worked();
        let mut took = Spent::default();
        vfs::forget_seen();
        let ran = catch_unwind(AssertUnwindSafe(|| {
            let brief = session.briefly(before);
            let outcome = work(&session, piece, &mut took);
            let is_over = outcome.is_err() && brief.is_over();
            drop(brief);
            inner.keep_at_rest(purpose, session);
            (outcome, is_over)
        }));
        let now = inner.clock.now();
        // The system may have given the core to others meanwhile.
        if now.saturating_duration_since(begun) > TOLERATED {
            let worked = inner.clock.worked().saturating_sub(before);
            if worked > TOLERATED {
                inner.brief.bar(now.checked_add(worked * PATIENCE));
            }
        }
        match ran {
            Ok((_, true)) => {
                inner.brief.learn(sql, schema, Verdict::Long);
                None
            }
            Ok((outcome, false)) => {
                spent.add(took);
                Some(outcome)
            }
            Err(_) => Some(Err(SqlError::ours(SqlErrorKind::Internal, "the statement was given up"))),
        }
    }

    #[cfg(test)]
    pub(super) fn known_statements(&self) -> usize {
        self.0.brief.0.lock().texts.len()
    }

    /// Whether the text runs at once from now on.
    #[cfg(test)]
    pub(super) fn runs_at_once(&self, sql: &str) -> bool {
        self.0.brief.brief(sql, self.0.schema(Use::Write), self.0.clock.now()).is_some()
    }
}

impl Inner {
    /// The cookie of the newest schema that connections for this purpose see.
    pub(super) fn schema(&self, purpose: Use) -> u32 {
        self.file
            .store()
            .peek(purpose.role().sees(), |version| version.page(PageNo::FIRST).map_or(0, |page| image::schema_cookie(page.bytes())))
    }

    /// Looks at a statement that has run on this connection without fault, in so much time.
    pub(super) fn judge(&self, session: &Session, sql: &str, took: Duration) {
        let Some(schema) = session.schema() else { return };
        if took > BRIEF || sql.len() > LONGEST || !self.brief.is_due(sql, schema) {
            return;
        }
        let verdict = match pieces(sql)[..] {
            [piece] if session.is_brief(piece.sql) => Verdict::Brief(piece.offset..piece.offset + piece.sql.len()),
            _ => Verdict::Long,
        };
        self.brief.learn(sql, schema, verdict);
    }

    /// Runs work on this connection, and has a look at its statement if it has but one.
    pub(super) fn judged<T>(
        &self,
        session: &Session,
        only: Option<&str>,
        run: impl FnOnce() -> Result<T, SqlError>,
    ) -> Result<T, SqlError> {
        let Some(sql) = only else { return run() };
        let begun = session.now();
        let done = run()?;
        self.judge(session, sql, session.now().saturating_duration_since(begun));
        Ok(done)
    }
}
