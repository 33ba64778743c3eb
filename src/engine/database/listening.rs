//! Who listens to an open database.

use super::Database;
use crate::error::Error;
use crate::feed::{Feed, Position};
use crate::memory::{Heard, MemoryListener, RowChange};
use crate::naming::StateId;

/// Somebody who is told what commits change. It counts as no request: nobody waits for it to end.
pub struct Listener {
    database: Database,
    memory: MemoryListener,
}

/// What a listener is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum News {
    /// From here on all is told. Whoever reads now misses nothing.
    Begun(Position),
    /// A commit that readers see by now.
    Commit {
        /// Behind it.
        position: Position,
        /// The state that it made, if that has a name.
        state: Option<StateId>,
        /// Hints what to read again; never too little, and nothing where nobody is told of what it changed.
        changes: Vec<RowChange>,
    },
    /// What changed before here is not known. From here on all is told: read anew.
    Reset(Position),
}

impl Database {
    /// Listens from a position on that was told before, or from now on.
    pub fn listen(&self, after: Option<Position>) -> Result<Listener, Error> {
        let _asked = self.enter()?;
        let too_many = || Error::TooManyListeners { database: self.inner.name.clone(), most: Feed::most_listeners() };
        let memory = self.inner.memory.listen(after).ok_or_else(too_many)?;
        Ok(Listener { database: self.clone(), memory })
    }
}

impl Listener {
    /// Waits for what is next. `None` once the database is not served here any more, or cannot say: whoever listens again is told where that
    /// goes on. Nothing is lost if the future is dropped.
    pub async fn next(&mut self) -> Option<News> {
        let limits = self.database.limits();
        let heard = tokio::select! {
            biased;
            () = self.database.ended() => return None,
            heard = self.memory.next(&limits) => heard,
        };
        match heard {
            Ok(Heard::Begun(position)) => Some(News::Begun(position)),
            Ok(Heard::Reset(position)) => Some(News::Reset(position)),
            Ok(Heard::Commit { commits, position, changes }) => {
                let state = self.database.inner.ledger.lock().naming.of(commits);
                Some(News::Commit { position, state, changes })
            }
            Err(error) => {
                tracing::info!(database = %self.database.name(), %error, "a listener could not be told what changed");
                None
            }
        }
    }
}
