//! Tasks that belong to whoever holds their handle.

use tokio_util::task::AbortOnDropHandle;
use tracing::Instrument as _;

/// Runs beside its owner, who awaits it, or ends it by dropping the handle. What it logs belongs to what its owner does now.
#[allow(clippy::disallowed_methods, reason = "nothing outlives the handle, and nothing is left that nobody awaits")]
pub fn spawn_owned<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> AbortOnDropHandle<T> {
    AbortOnDropHandle::new(tokio::spawn(work.in_current_span()))
}
