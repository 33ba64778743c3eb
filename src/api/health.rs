//! Probes of Kubernetes.

use axum::extract::State;
use axum::http::StatusCode;
use tokio::sync::watch;

use crate::App;
use crate::error::{Kind, Problem};
use crate::openapi::{Family, Operation, Tag, text};

/// The process answers; a probe that fails restarts it.
pub(crate) async fn live() -> &'static str {
    "ok\n"
}

/// Everything that is to be served is known, and we are not stopping. Never one tenant's bucket.
pub(crate) async fn ready(State(app): State<App>) -> Result<&'static str, Problem> {
    if is_ready(&app.ready) { Ok("ok\n") } else { Err(Problem::new(Kind::NotReady, "the server is starting or stopping")) }
}

/// What the document tells of them.
pub(crate) fn operations() -> Family {
    let live = Operation::of_server(Tag::Server, "get", "/livez", "checkLive", "Answers while the process does.").gives_as(
        StatusCode::OK,
        "text/plain",
        text(),
        "The process answers.",
    );
    let ready =
        Operation::of_server(Tag::Server, "get", "/readyz", "checkReady", "Tells whether everything is known that is to be served.")
            .more("It never depends on one database's bucket.")
            .gives_as(StatusCode::OK, "text/plain", text(), "All that is to be served is known.")
            .fails(&[Kind::NotReady]);
    Family::of(vec![live, ready])
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
