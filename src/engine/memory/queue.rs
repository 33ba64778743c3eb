//! The writer's place, and who waits for it.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, OwnedMutexGuard, watch};

use crate::sql::{SqlError, SqlErrorKind};

/// The one writer's place. tokio's mutex is fair: writers get it in the order in which they asked.
#[derive(Clone)]
pub(super) struct WritersQueue {
    place: Arc<Mutex<()>>,
    waiting: watch::Sender<usize>,
}

/// The writer's place, taken until this is dropped.
pub(super) type Turn = OwnedMutexGuard<()>;

impl WritersQueue {
    pub(super) fn new() -> Self {
        Self { place: Arc::default(), waiting: watch::Sender::new(0) }
    }

    /// Waits for the turn, however long that takes.
    pub(super) async fn turn(&self) -> Turn {
        if let Ok(turn) = Arc::clone(&self.place).try_lock_owned() {
            return turn;
        }
        let _waiting = Waiting::among(&self.waiting);
        Arc::clone(&self.place).lock_owned().await
    }

    /// Waits for at most so long.
    pub(super) async fn turn_within(&self, wait: Duration) -> Result<Turn, SqlError> {
        if let Ok(turn) = Arc::clone(&self.place).try_lock_owned() {
            return Ok(turn);
        }
        tokio::time::timeout(wait, self.turn()).await.map_err(|_| {
            let message = format!("other writers were busy for {} ms; a retry may succeed", wait.as_millis());
            SqlError::ours(SqlErrorKind::Busy, message)
        })
    }

    /// Returns once somebody waits: at once, if somebody does.
    pub(super) async fn somebody_waits(&self) {
        let mut waiting = self.waiting.subscribe();
        // The sender is ours.
        waiting.wait_for(|count| *count > 0).await.ok();
    }
}

/// Counts one who waits.
struct Waiting<'a>(&'a watch::Sender<usize>);

impl<'a> Waiting<'a> {
    fn among(count: &'a watch::Sender<usize>) -> Self {
        count.send_modify(|count| *count += 1);
        Self(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}
