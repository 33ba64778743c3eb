//! What an authority says of tokens, remembered for a while.
//!
//! Owns: how long an answer holds, and how much is asked at once. Does not own: what an authority is (`engine::Authority`).
//! Invariants: a token is admitted by an answer alone that is at most [`PERMITTED`] old; of one token and database at most one review is under
//! way; a review that has begun ends and is remembered, even if nobody waits for it any more, so leaving early saves nobody a failure.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use engine::{Authority, Clock, DatabaseName, Permission, TokenDigest, spawn_owned};
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use super::failures::{Address, Failures};
use super::recent::Recent;

/// How long somebody is admitted by one review.
const PERMITTED: Duration = Duration::from_mins(1);
/// How long somebody is refused by one.
const REFUSED: Duration = Duration::from_secs(10);
/// How long it is believed that the authority does not answer about somebody.
const SILENT: Duration = Duration::from_secs(1);
/// How long a review may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// How many answers of either kind are remembered.
const ANSWERS: usize = 10_000;
/// How many reviews may be under way.
const UNDER_WAY: usize = 100;

/// What is known of a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    /// Its bearer may do this.
    Permits(Permission),
    /// Its bearer may do nothing.
    Refuses {
        /// The address has been charged for it.
        is_paid: bool,
    },
    /// The authority does not answer.
    Unavailable,
    /// It was not asked: the address has too many failures.
    NotAsked,
}

/// What came of a review.
#[derive(Debug, Clone, Copy)]
enum Heard {
    Permits(Permission),
    Refuses,
    Nothing,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Question {
    database: DatabaseName,
    token: TokenDigest,
}

struct UnderWay {
    heard: watch::Receiver<Option<Heard>>,
    _task: AbortOnDropHandle<()>,
}

struct Table {
    /// What each permits, and until when that holds. Those whose time is over tell that somebody was admitted before.
    permitted: Recent<Question, (Permission, Instant)>,
    /// What is said of others, and until when.
    denied: Recent<Question, (Answer, Instant)>,
    under_way: HashMap<Question, UnderWay>,
}

/// An authority with what it said lately.
pub(crate) struct Reviews {
    authority: Arc<dyn Authority>,
    clock: Arc<dyn Clock>,
    failures: Arc<Failures>,
    table: Arc<Mutex<Table>>,
}

impl Reviews {
    pub(crate) fn new(authority: Arc<dyn Authority>, clock: Arc<dyn Clock>, failures: Arc<Failures>) -> Self {
        let table = Table { permitted: Recent::new(ANSWERS), denied: Recent::new(ANSWERS), under_way: HashMap::new() };
        Self { authority, clock, failures, table: Arc::new(Mutex::new(table)) }
    }

    /// What the bearer of `token`, who asks from `address`, may do with a database.
    pub(crate) async fn ask(&self, database: &DatabaseName, token: &str, address: Address) -> Answer {
        let question = Question { database: database.clone(), token: TokenDigest::of(token) };
        let (mut heard, is_paid) = match self.look(&question, token, address) {
            Ok(waiting) => waiting,
            Err(answer) => return answer,
        };
        match heard.wait_for(Option::is_some).await.map(|heard| *heard) {
            Ok(Some(Heard::Permits(permission))) => Answer::Permits(permission),
            Ok(Some(Heard::Refuses)) => Answer::Refuses { is_paid },
            // Without a word the review panicked.
            Ok(Some(Heard::Nothing) | None) | Err(_) => Answer::Unavailable,
        }
    }

    /// A review to wait for, and whether it was begun at this address's expense; or the answer.
    fn look(&self, question: &Question, token: &str, address: Address) -> Result<(watch::Receiver<Option<Heard>>, bool), Answer> {
        let now = self.clock.now();
        let mut table = self.table.lock();
        let before = table.permitted.get(question).copied();
        if let Some((permission, _)) = before.filter(|(_, until)| now < *until) {
            return Err(Answer::Permits(permission));
        }
        if let Some((answer, _)) = table.denied.get(question).filter(|(_, until)| now < *until) {
            return Err(*answer);
        }
        // One without a sender and without a word will never say any.
        let is_alive = |under_way: &&UnderWay| under_way.heard.has_changed().is_ok() || under_way.heard.borrow().is_some();
        if let Some(under_way) = table.under_way.get(question).filter(is_alive) {
            return Ok((under_way.heard.clone(), false));
        }
        if table.under_way.len() >= UNDER_WAY {
            return Err(Answer::Unavailable);
        }
        // Whoever was admitted before need not suffer from others at their address.
        let is_paid = before.is_none();
        if is_paid && !self.failures.take(address) {
            return Err(Answer::NotAsked);
        }
        let (told, heard) = watch::channel(None);
        let task = spawn_owned(self.review(question.clone(), token.to_owned(), is_paid.then_some(address), told));
        table.under_way.insert(question.clone(), UnderWay { heard: heard.clone(), _task: task });
        Ok((heard, is_paid))
    }

    /// Asks the authority. `paid` is the address that was charged beforehand.
    fn review(
        &self,
        question: Question,
        token: String,
        paid: Option<Address>,
        told: watch::Sender<Option<Heard>>,
    ) -> impl Future<Output = ()> + Send + 'static {
        let (authority, clock, failures) = (Arc::clone(&self.authority), Arc::clone(&self.clock), Arc::clone(&self.failures));
        let table = Arc::clone(&self.table);
        async move {
            let database = &question.database;
            let heard = match tokio::time::timeout(PATIENCE, authority.review(database, &token)).await {
                Ok(Ok(Some(permission))) => Heard::Permits(permission),
                Ok(Ok(None)) => Heard::Refuses,
                Ok(Err(error)) => {
                    tracing::warn!(%database, error = &error as &dyn std::error::Error, "a token could not be reviewed");
                    Heard::Nothing
                }
                Err(_) => {
                    tracing::warn!(%database, patience = ?PATIENCE, "a token could not be reviewed in time");
                    Heard::Nothing
                }
            };
            if let (Some(address), Heard::Permits(_) | Heard::Nothing) = (paid, heard) {
                failures.give_back(address);
            }
            let now = clock.now();
            let mut table = table.lock();
            match heard {
                Heard::Permits(permission) => table.permitted.insert(question.clone(), (permission, now + PERMITTED)),
                Heard::Refuses => {
                    table.permitted.remove(&question);
                    table.denied.insert(question.clone(), (Answer::Refuses { is_paid: false }, now + REFUSED));
                }
                Heard::Nothing => table.denied.insert(question.clone(), (Answer::Unavailable, now + SILENT)),
            }
            told.send_replace(Some(heard));
            // This very task, which has nothing more to do.
            table.under_way.remove(&question);
        }
    }
}

#[cfg(test)]
mod tests;
