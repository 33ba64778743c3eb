//! Probes of Kubernetes.

use axum::extract::State;
use tokio::sync::watch;

use crate::App;
use crate::error::{Kind, Problem};

/// The process answers; a probe that fails restarts it.
pub(crate) async fn live() -> &'static str {
    "ok\n"
}

/// Everything that is to be served is known, and we are not stopping. Never one tenant's bucket.
pub(crate) async fn ready(State(app): State<App>) -> Result<&'static str, Problem> {
    if is_ready(&app.ready) { Ok("ok\n") } else { Err(Problem::new(Kind::NotReady, "the server is starting or stopping")) }
}

/// Whoever was to say so may be gone: then we are stopping.
fn is_ready(ready: &watch::Receiver<bool>) -> bool {
    *ready.borrow() && ready.has_changed().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn we_are_ready_only_while_somebody_says_so() {
        let (say, ready) = watch::channel(false);
        assert!(!is_ready(&ready));
        say.send(true).unwrap();
        assert!(is_ready(&ready));
        drop(say);
        assert!(!is_ready(&ready));
    }
}
