//! Waiting for what happens elsewhere, where nobody can tell us: look, and look again.

use std::time::Duration;

/// Long enough for a machine under load; a test that needs it has failed.
pub(super) const LIMIT: Duration = Duration::from_mins(1);
pub(super) const PAUSE: Duration = Duration::from_millis(100);

/// Looks until there is something to see, and fails the test if that takes too long.
pub(crate) async fn until<T>(what: &str, look: impl AsyncFn() -> Option<T>) -> T {
    let found = async {
        let mut pauses = tokio::time::interval(PAUSE);
        loop {
            pauses.tick().await;
            if let Some(found) = look().await {
                return found;
            }
        }
    };
    let Ok(found) = tokio::time::timeout(LIMIT, found).await else { panic!("not within {LIMIT:?}: {what}") };
    found
}
