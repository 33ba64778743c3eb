//! The connections that read: so many at once, opened when needed, the last used first.

use std::num::NonZeroUsize;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::connection::Session;

/// Reading connections that nobody uses just now.
pub(super) struct Readers {
    places: Arc<Semaphore>,
    idle: Arc<Mutex<Vec<Session>>>,
}

impl Readers {
    pub(super) fn new(places: NonZeroUsize) -> Self {
        Self { places: Arc::new(Semaphore::new(places.get())), idle: Arc::default() }
    }

    /// Waits until fewer than all places are taken.
    pub(super) async fn place(&self) -> Place {
        let permit = Arc::clone(&self.places).acquire_owned().await.expect("nobody closes the semaphore");
        Place { idle: Arc::clone(&self.idle), _permit: permit }
    }
}

/// The right to use one reading connection.
pub(super) struct Place {
    idle: Arc<Mutex<Vec<Session>>>,
    _permit: OwnedSemaphorePermit,
}

impl Place {
    /// The connection that was used last; its cache is the warmest.
    pub(super) fn take(&self) -> Option<Session> {
        self.idle.lock().pop()
    }

    pub(super) fn put_back(&self, session: Session) {
        self.idle.lock().push(session);
    }
}
