//! Listens, and stops in order: no new connections, then what runs may finish, then the rest is cut off.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::Request;
use axum::http::header;
use axum::response::Response;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinError, JoinSet};
use tokio_io_timeout::TimeoutStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;
use tower::{Service, ServiceExt as _};

use crate::access::Peer;
use crate::body;
use crate::tls::Tls;

/// How long a client may take to send the head of a request.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);

/// How long a client may take nothing of what is sent: until then we keep it in memory.
const WRITE_TIMEOUT: Duration = Duration::from_mins(1);

/// How long we wait when the process may open no more sockets: until then some may have been closed.
const OUT_OF_SOCKETS: Duration = Duration::from_millis(500);

/// For what outlives the request that began it: tells when we stop, and makes us wait.
#[derive(Debug)]
pub(crate) struct Stopping {
    shutdown: CancellationToken,
    running: TaskTracker,
}

impl Stopping {
    /// Counts one who runs. `None` once we stop.
    pub(crate) fn enter(&self) -> Option<TaskTrackerToken> {
        let token = self.running.token();
        (!self.shutdown.is_cancelled()).then_some(token)
    }

    /// Lets something run until it ends or we stop.
    pub(crate) fn run(&self, work: impl Future<Output = ()> + Send + 'static) {
        self.running.spawn(self.shutdown.clone().run_until_cancelled_owned(work));
    }

    /// Returns when we stop.
    pub(crate) async fn begun(&self) {
        self.shutdown.cancelled().await;
    }
}

/// What answers requests. Clones are the same.
pub trait Serves: Service<Request, Response = Response, Error = Infallible, Future: Send> + Clone + Send + 'static {}

impl<S: Service<Request, Response = Response, Error = Infallible, Future: Send> + Clone + Send + 'static> Serves for S {}

/// Answers HTTP/1.1 and HTTP/2 (by ALPN, and without `tls` by prior knowledge) until `shutdown`. Then requests that run have `drain` to
/// finish. When it returns, no request runs any more.
pub async fn serve(listener: TcpListener, tls: Option<Tls>, service: impl Serves, shutdown: CancellationToken, drain: Duration) {
    let tls = tls.map(Arc::new);
    let mut connections = JoinSet::new();
    let stopping = Arc::new(Stopping { shutdown: shutdown.clone(), running: TaskTracker::new() });
    loop {
        tokio::select! {
            () = shutdown.cancelled() => break,
            Some(ended) = connections.join_next() => report(ended),
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => {
                    connections.spawn(connection(stream, Peer(peer), tls.clone(), service.clone(), Arc::clone(&stopping)));
                }
                Err(error) if is_of_one_connection(&error) => {}
                Err(error) => {
                    tracing::error!(%error, "cannot accept connections; trying again");
                    tokio::time::sleep(OUT_OF_SOCKETS).await;
                }
            },
        }
    }
    drop(listener);
    let finish = async {
        while let Some(ended) = connections.join_next().await {
            report(ended);
        }
        stopping.running.close();
        stopping.running.wait().await;
    };
    if tokio::time::timeout(drain, finish).await.is_err() {
        tracing::warn!(connections = connections.len(), ?drain, "requests still run at the end of the drain time; cutting them off");
        connections.shutdown().await;
    }
}

/// One client, until it goes or we stop.
async fn connection(stream: TcpStream, peer: Peer, tls: Option<Arc<Tls>>, service: impl Serves, stopping: Arc<Stopping>) {
    // Replies are written whole: waiting for more to send would only delay them. A socket that refuses is served all the same.
    let _ = stream.set_nodelay(true);
    let Some(tls) = tls else { return converse(stream, peer, service, stopping).await };
    let accepted = tokio::select! {
        accepted = tls.accept(stream) => accepted,
        () = stopping.begun() => return,
    };
    match accepted {
        Ok(stream) => converse(stream, peer, service, stopping).await,
        Err(error) => tracing::debug!(%error, "a handshake failed"),
    }
}

/// Requests and their answers, once they can be read.
async fn converse(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, peer: Peer, service: impl Serves, stopping: Arc<Stopping>) {
    let told = Arc::clone(&stopping);
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        let (mut head, body) = request.into_parts();
        // Whoever asks first whether to send the body gets an answer and sends none.
        let asks_first = head.headers.contains_key(header::EXPECT);
        head.extensions.insert(Arc::clone(&told));
        head.extensions.insert(peer);
        let (body, unread) = body::patient(body);
        let answering = service.clone().oneshot(Request::from_parts(head, body));
        async move {
            let answer = answering.await;
            if !asks_first {
                unread.take_in().await;
            }
            answer
        }
    });
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT);
    builder.http2().timer(TokioTimer::new());
    let mut stream = TimeoutStream::new(stream);
    stream.set_write_timeout(Some(WRITE_TIMEOUT));
    let serving = builder.serve_connection_with_upgrades(TokioIo::new(Box::pin(stream)), service);
    tokio::pin!(serving);
    let ended = tokio::select! {
        ended = &mut serving => ended,
        () = stopping.begun() => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(error, "a connection broke off");
    }
}

/// A handler that panicked ends its connection, not the server.
fn report(ended: Result<(), JoinError>) {
    if let Err(error) = ended {
        tracing::error!(%error, "a connection's task failed");
    }
}

/// The client was gone before we answered; the next one is fine.
fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionReset)
}

#[cfg(test)]
mod tests;
