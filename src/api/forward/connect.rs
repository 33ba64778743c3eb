//! Connections to other processes.

mod enduring;

use std::io;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::BoxError;
use axum::http::Uri;
use futures::future::BoxFuture;
use hyper_rustls::{HttpsConnector, MaybeHttpsStream};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioIo;
use tower::{Service, ServiceExt as _};

use crate::tls::Trust;
use enduring::Enduring;

/// How long it may take until there is a connection, with its handshake.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// Whether the other end is still there is asked after so long a silence, so often, before it counts as gone. Its answer may take long itself.
const SILENCE: Duration = Duration::from_secs(10);
const QUESTIONS: u32 = 3;

/// Makes them, with TLS or without as the URL has it.
#[derive(Clone)]
pub(super) struct Connector {
    https: HttpsConnector<Tcp>,
    trust: Arc<Trust>,
}

impl Connector {
    pub(super) fn trusting(trust: Trust) -> Self {
        let trust = Arc::new(trust);
        Self { https: HttpsConnector::from((Tcp::new(), Arc::clone(&trust).client_config())), trust }
    }
}

impl Service<Uri> for Connector {
    type Response = MaybeHttpsStream<TokioIo<Enduring>>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Self::Response, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let Self { https, trust } = self.clone();
        Box::pin(async move {
            let connecting = async {
                // Whom to trust is decided within the handshake, which cannot wait for files.
                trust.look().await;
                https.oneshot(uri).await
            };
            let timed_out = |_| io::Error::new(io::ErrorKind::TimedOut, "the connection took too long");
            tokio::time::timeout(CONNECT_TIMEOUT, connecting).await.map_err(timed_out)?
        })
    }
}

/// What both are made over.
#[derive(Clone)]
struct Tcp(HttpConnector);

impl Tcp {
    fn new() -> Self {
        let mut http = HttpConnector::new();
        http.enforce_http(false);
        http.set_nodelay(true);
        http.set_keepalive(Some(SILENCE));
        http.set_keepalive_interval(Some(SILENCE / QUESTIONS));
        http.set_keepalive_retries(Some(QUESTIONS));
        #[cfg(target_os = "linux")]
        http.set_tcp_user_timeout(Some(2 * SILENCE));
        Self(http)
    }
}

impl Service<Uri> for Tcp {
    type Response = TokioIo<Enduring>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<TokioIo<Enduring>, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let connecting = self.0.clone().oneshot(uri);
        Box::pin(async move { Ok(TokioIo::new(connecting.await?.into_inner().into())) })
    }
}
