//! The S3 server that `dev` mode and tests start inside the process.
//!
//! It speaks S3 over HTTP, signatures included, so that what works with it works with a real store; `s3s` does the protocol, the files
//! here do the rest: [`folder`] the bytes on disk, `store` the conditions, `service` the operations, `access` who may ask, and `faults`
//! what a test wants to go wrong.
//!
//! Owns: starting, serving, stopping. Invariant: after [`EmbeddedStore::stop`] nothing of it runs and its folder is free.

mod access;
mod faults;
mod folder;
mod list;
mod multipart;
mod service;
mod store;

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming, SizeHint};
use hyper_util::rt::{TokioIo, TokioTimer};
use s3s::service::{S3Service, S3ServiceBuilder};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::s3::Credentials;
use crate::names::BucketName;
use access::{Account, Desk, Fate, Gate};
pub use faults::{Fault, FaultEffect, Faults, Operation, RequestCounts};
use service::Service;
use store::{Failure, Store};

/// How long requests that are under way may take when the store stops.
const GRACE: Duration = Duration::from_secs(5);

/// Whose rules the store follows where stores differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Dialect {
    /// Those of AWS and `MinIO`.
    #[default]
    Standard,
    /// Those of Cloudflare R2: parts of equal size, no checksums that trail the body, region `auto`, 412 on `If-Match` of a missing key.
    R2,
}

/// How a store is started.
#[derive(Debug, Clone)]
pub struct EmbeddedOptions {
    /// Where the objects lie.
    pub root: PathBuf,
    /// Port 0 takes a free one.
    pub listen: SocketAddr,
    /// The one account.
    pub credentials: Credentials,
    /// Whose rules it follows.
    pub dialect: Dialect,
}

/// A running store.
#[derive(Debug)]
pub struct EmbeddedStore {
    address: SocketAddr,
    store: Arc<Store>,
    desk: Arc<Desk>,
    stop: CancellationToken,
    /// The task that accepts connections; it owns those of the connections.
    serving: JoinSet<()>,
    /// What goes on in the folder, also for clients that went away.
    acts: TaskTracker,
}

impl EmbeddedStore {
    /// Takes the folder, reads what is there, and serves. A folder that cannot be written, or that another process serves, is told now.
    pub async fn start(options: EmbeddedOptions) -> io::Result<Self> {
        let EmbeddedOptions { root, listen, credentials, dialect } = options;
        let listener =
            TcpListener::bind(listen).await.map_err(|error| io::Error::new(error.kind(), format!("cannot listen on {listen}: {error}")))?;
        let opened = tokio::task::spawn_blocking(move || Store::open(&root, dialect));
        let store = Arc::new(opened.await.map_err(io::Error::other)??);
        let (desk, acts) = (Arc::new(Desk::default()), TaskTracker::new());
        let mut builder = S3ServiceBuilder::new(Service { store: Arc::clone(&store), acts: acts.clone() });
        builder.set_auth(Account(credentials));
        builder.set_access(Gate { desk: Arc::clone(&desk), dialect });
        let (address, stop) = (listener.local_addr()?, CancellationToken::new());
        let mut serving = JoinSet::new();
        serving.spawn(serve(listener, builder.build(), Arc::clone(&desk), stop.clone()));
        Ok(Self { address, store, desk, stop, serving, acts })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// As clients want it.
    pub fn endpoint(&self) -> url::Url {
        url::Url::parse(&format!("http://{}", self.address)).expect("a socket's address makes a URL")
    }

    /// Makes a bucket; one that is there already is fine.
    pub async fn create_bucket(&self, name: &BucketName) -> io::Result<()> {
        let (make, name) = (self.bucket_maker(), name.clone());
        tokio::task::spawn_blocking(move || make(&name)).await.map_err(io::Error::other)?
    }

    /// The same for callers that may block, and that outlive a borrow of the store.
    pub fn bucket_maker(&self) -> impl Fn(&BucketName) -> io::Result<()> + Send + Sync + 'static {
        let store = Arc::clone(&self.store);
        move |name| match store.create_bucket(name.as_str()) {
            Ok(()) | Err(Failure::BucketExists) => Ok(()),
            Err(Failure::Io(error)) => Err(error),
            Err(other) => Err(io::Error::other(format!("{other:?}"))),
        }
    }

    /// How many requests arrived.
    pub fn requests(&self) -> RequestCounts {
        self.desk.counts()
    }

    /// What goes wrong, for tests.
    pub fn faults(&self) -> &Faults {
        &self.desk.faults
    }

    /// Stops: no new connections, requests under way are finished, the folder is free.
    pub async fn stop(mut self) {
        self.stop.cancel();
        while self.serving.join_next().await.is_some() {}
        self.acts.close();
        self.acts.wait().await;
    }
}

async fn serve(listener: TcpListener, service: S3Service, desk: Arc<Desk>, stop: CancellationToken) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            Some(_) = connections.join_next() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(converse(stream, service.clone(), Arc::clone(&desk), stop.clone()));
                }
                // Out of file handles, mostly. Connections that end free some.
                Err(error) => {
                    tracing::warn!(%error, "the embedded store could not accept a connection");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }
    drop(listener);
    let finished = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(GRACE, finished).await.is_err() {
        connections.shutdown().await;
    }
}

async fn converse(stream: TcpStream, service: S3Service, desk: Arc<Desk>, stop: CancellationToken) {
    // Small answers must not wait for the client's acknowledgement.
    let _ = stream.set_nodelay(true);
    let answer = hyper::service::service_fn(move |request| answer(service.clone(), Arc::clone(&desk), request));
    let mut http = hyper::server::conn::http1::Builder::new();
    let mut connection = std::pin::pin!(http.timer(TokioTimer::new()).serve_connection(TokioIo::new(stream), answer));
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection to the embedded store broke");
    }
}

/// Answers a request, or fails as its fate wants it.
async fn answer(service: S3Service, desk: Arc<Desk>, request: http::Request<Incoming>) -> Result<s3s::HttpResponse, s3s::StdError> {
    desk.total.fetch_add(1, Ordering::Relaxed);
    let fate = Fate::default();
    let mut request = request.map(|body| s3s::Body::http_body_unsync(Received(Some(body))));
    request.extensions_mut().insert(fate.clone());
    let response = service.call(request).await.map_err(s3s::StdError::from)?;
    match fate.effect() {
        Some(FaultEffect::LoseAnswer) => Err("the answer is lost".into()),
        Some(FaultEffect::CutBody(after)) => Ok(response.map(|body| cut(body, after))),
        Some(FaultEffect::SlowBody(pause)) => Ok(response.map(|body| slow(body, pause))),
        Some(
            FaultEffect::Refuse | FaultEffect::Reject | FaultEffect::Fail | FaultEffect::IgnoreConditions | FaultEffect::RefuseConditions,
        )
        | None => Ok(response),
    }
}

/// The body of a request. What a refusal leaves unread is read when it is dropped: a client that still sends would not see the answer if
/// the connection were closed.
struct Received(Option<Incoming>);

/// More than this is not worth an answer.
const UNREAD: usize = 16 << 20;

impl hyper::body::Body for Received {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut task::Context<'_>) -> task::Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        self.0.as_mut().map_or(task::Poll::Ready(None), |body| Pin::new(body).poll_frame(context))
    }

    fn is_end_stream(&self) -> bool {
        self.0.as_ref().is_none_or(hyper::body::Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.0.as_ref().map_or_else(SizeHint::default, hyper::body::Body::size_hint)
    }
}

impl Drop for Received {
    fn drop(&mut self) {
        let Some(mut body) = self.0.take().filter(|body| !hyper::body::Body::is_end_stream(body)) else { return };
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        runtime.spawn(async move {
            let mut left = UNREAD;
            while let Some(Ok(frame)) = body.frame().await
                && left > 0
            {
                left = left.saturating_sub(frame.data_ref().map_or(0, Bytes::len));
            }
        });
    }
}

fn cut(body: s3s::Body, after: u64) -> s3s::Body {
    let pieces = futures::stream::try_unfold((body.into_data_stream(), after), |(mut pieces, left)| async move {
        if left == 0 {
            // The connection sends what it has before it breaks.
            tokio::task::yield_now().await;
            return Err(s3s::StdError::from("the body is cut"));
        }
        let Some(piece) = pieces.next().await else { return Ok(None) };
        let mut bytes = piece?;
        bytes.truncate(usize::try_from(left).unwrap_or(usize::MAX));
        let left = left - bytes.len() as u64;
        Ok(Some((Frame::data(bytes), (pieces, left))))
    });
    s3s::Body::http_body_unsync(StreamBody::new(pieces))
}

fn slow(body: s3s::Body, pause: Duration) -> s3s::Body {
    let pieces = body.into_data_stream().then(move |piece| async move {
        tokio::time::sleep(pause).await;
        piece.map(Frame::data)
    });
    s3s::Body::http_body_unsync(StreamBody::new(pieces))
}

#[cfg(test)]
mod tests;
