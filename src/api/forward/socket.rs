//! Sockets that are passed on: bytes from one connection to the other.

use std::time::Duration;

use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncWriteExt as _, ReadHalf, WriteHalf, copy, split};

/// How long one end may still send after the other has ended.
const FAREWELL: Duration = Duration::from_secs(10);

/// Until both have ended.
pub(super) async fn join(client: OnUpgrade, host: OnUpgrade) {
    let (client, host) = match tokio::try_join!(client, host) {
        Ok(both) => both,
        Err(error) => return tracing::debug!(%error, "a socket that is passed on did not begin"),
    };
    let (from_client, to_client) = split(TokioIo::new(client));
    let (from_host, to_host) = split(TokioIo::new(host));
    let (asking, answering) = (pass(from_client, to_host), pass(from_host, to_client));
    tokio::pin!(asking, answering);
    // One that has vanished without a word never ends by itself.
    tokio::select! {
        () = &mut asking => drop(tokio::time::timeout(FAREWELL, answering).await),
        () = &mut answering => drop(tokio::time::timeout(FAREWELL, asking).await),
    }
}

/// In one direction, with the end of it.
async fn pass(mut from: ReadHalf<TokioIo<Upgraded>>, mut to: WriteHalf<TokioIo<Upgraded>>) {
    // That a connection broke is seen at its other end.
    copy(&mut from, &mut to).await.ok();
    to.shutdown().await.ok();
}
