//! Sockets, at the host and through another process.

use futures::{SinkExt as _, StreamExt as _};
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Message};

use super::*;
use crate::tests::hrana::sockets::execute;

#[tokio::test]
async fn a_socket_goes_through_another_process_until_it_is_closed() {
    let (host, other) = two(Access::Open).await;
    let mut socket = other.listening.talk().await;
    assert_eq!(socket.sql("SELECT 42").await.unwrap()["rows"][0][0]["value"], "42");
    let large = socket.sql("SELECT printf('%0100000d', 1)").await.unwrap();
    assert_eq!(large["rows"][0][0]["value"].as_str().unwrap().len(), 100_000);
    assert_eq!(host.script.under_way(), 0, "it counts as no request");
    let bye = CloseFrame { code: 1000.into(), reason: "".into() };
    socket.socket.send(Message::Close(Some(bye))).await.unwrap();
    assert_eq!(socket.end().await, 1000);
    assert_eq!(other.outcomes("forwarded").await, 1);
}

#[tokio::test]
async fn a_subprotocol_that_the_host_refuses_is_refused() {
    let (_host, other) = two(Access::Open).await;
    let refused = other.listening.connect("/apps/orders/", Some("mqtt")).await.err().unwrap();
    assert!(matches!(&refused, tokio_tungstenite::tungstenite::Error::Http(response) if response.status() == 400), "{refused}");
    let (_, chosen) = other.listening.connect("/apps/orders", Some("hrana2, hrana1")).await.unwrap();
    assert_eq!(chosen.as_deref(), Some("hrana2"));
}

#[tokio::test]
async fn a_process_that_stops_ends_the_sockets_that_it_passes_on() {
    let (_host, other) = two(Access::Open).await;
    let mut socket = other.listening.talk().await;
    other.listening.stop.cancel();
    other.listening.serving.await.unwrap();
    assert!(!matches!(socket.socket.next().await, Some(Ok(_))));
}

#[tokio::test]
async fn a_host_that_stops_says_so_through_another_process() {
    let (host, other) = two(Access::Open).await;
    let socket = other.listening.talk().await;
    host.listening.stop.cancel();
    assert_eq!(socket.end().await, 1012);
}

#[tokio::test]
async fn a_socket_to_a_process_that_is_the_host_no_more_is_closed() {
    let host = Pod::host(Access::Open).await;
    // The question is not taken; it is, and its answer does not leave.
    for (looks, made) in [(0, 0), (1, 1)] {
        host.script.ends_after(ALWAYS);
        let mut socket = host.listening.talk().await;
        host.script.ends_after(looks);
        socket.tell(execute(0, "CREATE TABLE t(a)")).await;
        match socket.socket.next().await.unwrap().unwrap() {
            Message::Close(Some(frame)) => assert_eq!(u16::from(frame.code), 1012, "{looks}"),
            other => panic!("{looks}: {other:?}"),
        }
        host.script.ends_after(ALWAYS);
        assert_eq!(host.run("select count(*) from sqlite_schema where name = 't'").await.rows(), json!([[made]]));
    }
}

#[tokio::test]
async fn nobody_begins_a_socket_to_a_process_that_is_the_host_no_more() {
    let host = Pod::host(Access::Open).await;
    host.script.ends_after(0);
    let refused = host.listening.connect("/apps/orders/", Some("hrana3")).await.err().unwrap();
    assert!(matches!(&refused, tokio_tungstenite::tungstenite::Error::Http(response) if response.status() == 503), "{refused}");
}
