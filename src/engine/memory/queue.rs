//! The writer's place, and who waits for it.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, OwnedMutexGuard, watch};

use crate::sql::{SqlError, SqlErrorKind};

/// The one writer's place. tokio's mutex is fair: writers that queue get it in the order in which they came, and nobody before them.
#[derive(Clone)]
pub(super) struct WritersQueue {
    place: Arc<Mutex<()>>,
    waiting: watch::Sender<usize>,
}

/// So often a writer lets others run before they queue.
const PATIENCE: u32 = 3;

/// So often they look each time, after so many pauses of the processor: some microseconds in all.
const LOOKS: u32 = 8;
const PAUSES: u32 = 8;

/// The writer's place, taken until this is dropped.
pub(super) type Turn = OwnedMutexGuard<()>;

impl WritersQueue {
    pub(super) fn new() -> Self {
        Self { place: Arc::default(), waiting: watch::Sender::new(0) }
    }

    /// Waits for the turn, however long that takes.
    pub(super) async fn turn(&self) -> Turn {
        match self.soon().await {
            Some(turn) => turn,
            None => self.queued().await,
        }
    }

    /// Waits for at most so long.
    pub(super) async fn turn_within(&self, wait: Duration) -> Result<Turn, SqlError> {
        if let Some(turn) = self.soon().await {
            return Ok(turn);
        }
        tokio::time::timeout(wait, self.queued()).await.map_err(|_| {
            let message = format!("other writers were busy for {} ms; a retry may succeed", wait.as_millis());
            SqlError::ours(SqlErrorKind::Busy, message)
        })
    }

    async fn queued(&self) -> Turn {
        let _waiting = Waiting::among(&self.waiting);
        Arc::clone(&self.place).lock_owned().await
    }

    /// The turn, if it is free or soon is. Statements that run at once have it for some microseconds, less than it takes to queue and to be
    /// woken. And while somebody is woken the place is theirs already: whoever comes meanwhile must queue as well, and so does everybody
    /// from then on. So a writer looks again when others had their turn to run, and queues only then.
    async fn soon(&self) -> Option<Turn> {
        for _ in 0..PATIENCE {
            if let Some(turn) = self.look() {
                return Some(turn);
            }
            tokio::task::yield_now().await;
        }
        self.look()
    }

    /// The turn, if it is free within some microseconds. Whoever finds others in the queue looks no longer.
    fn look(&self) -> Option<Turn> {
        for _ in 0..LOOKS {
            if let Ok(turn) = Arc::clone(&self.place).try_lock_owned() {
                return Some(turn);
            }
            if *self.waiting.borrow() > 0 {
                return None;
            }
            for _ in 0..PAUSES {
                std::hint::spin_loop();
            }
        }
        None
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tasks::spawn_owned;

    #[tokio::test]
    async fn a_writer_queues_once_others_had_their_turn_to_run() {
        let queue = WritersQueue::new();
        let mut queued = queue.waiting.subscribe();
        let first = queue.turn().await;
        let asking = queue.clone();
        let second = spawn_owned(async move { asking.turn().await });
        tokio::task::yield_now().await;
        drop(first);
        let second = second.await.unwrap();
        assert!(!queued.has_changed().unwrap(), "the place was free before they had to queue");
        let asking = queue.clone();
        let third = spawn_owned(async move { asking.turn().await });
        queued.wait_for(|count| *count == 1).await.unwrap();
        drop(second);
        third.await.unwrap();
        assert_eq!(*queued.borrow_and_update(), 0);
    }
}
