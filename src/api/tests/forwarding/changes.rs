//! Events, at the host and through another process.

use futures::StreamExt as _;

use super::*;
use crate::tests::changes::Events;

const CHANGES: &str = "/apps/orders/changes";

impl Pod {
    async fn listen(&self) -> Events {
        let mut events = Events::of(self.listening.server.begin(CHANGES, &[]).await);
        assert_eq!(events.next().await, Some(("begin".to_owned(), json!({}))));
        events
    }

    /// The same over a socket.
    async fn listen_from_afar(&self) -> (Events, tokio_util::task::AbortOnDropHandle<hyper::Result<()>>) {
        let stream = TokioIo::new(tokio::net::TcpStream::connect(self.address()).await.unwrap());
        let (mut sender, connection) = hyper::client::conn::http1::handshake(stream).await.unwrap();
        let connection = spawn_owned(connection);
        let response = sender.send_request(request("GET", CHANGES, &[("host", "api.example")], "")).await.unwrap();
        (Events::of(response.map(Body::new)), connection)
    }
}

#[tokio::test]
async fn events_go_through_another_process_as_they_come_and_nobody_waits_for_their_end() {
    let (host, other) = two(Access::Open).await;
    host.run("create table t(a)").await.rows();
    let mut events = other.listen().await;
    for rowid in 1..4 {
        other.run("insert into t values (1)").await.rows();
        assert_eq!(events.changes().await[0]["rowid"], rowid);
    }
    assert_eq!(host.script.under_way(), 0, "they count as no request");
    host.listening.server.host.close(&DatabaseName::new("apps", "orders")).await.unwrap();
    assert_eq!(events.next().await, None);
}

#[tokio::test]
async fn a_process_that_stops_ends_the_events_that_it_passes_on() {
    let (_host, other) = two(Access::Open).await;
    let (mut events, _connection) = other.listen_from_afar().await;
    assert_eq!(events.next().await.unwrap().0, "begin");
    other.listening.stop.cancel();
    assert_eq!(events.next().await, None);
    other.listening.serving.await.unwrap();
}

#[tokio::test]
async fn a_process_that_is_the_host_no_more_tells_nothing() {
    let host = Pod::host(Access::Open).await;
    host.run("create table t(a)").await.rows();
    let mut events = host.listen().await;
    host.run("insert into t values (1)").await.rows();
    host.script.ends_after(0);
    assert!(events.pieces.next().await.unwrap().is_err());
}
