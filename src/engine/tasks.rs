//! Tasks that belong to whoever holds their handle.

use tokio_util::task::AbortOnDropHandle;

/// Runs beside its owner, who awaits it, or ends it by dropping the handle.
#[allow(clippy::disallowed_methods, reason = "nothing outlives the handle, and nothing is left that nobody awaits")]
pub fn spawn_owned<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> AbortOnDropHandle<T> {
    AbortOnDropHandle::new(tokio::spawn(work))
}
