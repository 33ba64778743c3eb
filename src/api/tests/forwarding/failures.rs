//! What is told where nobody answers.

use axum::Router;
use tokio::io::AsyncReadExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

use super::*;

#[tokio::test]
async fn while_nobody_answers_clients_are_told_to_ask_again() {
    for why in [Unserved::NotCurrent, Unserved::Moving] {
        let other = Pod::other(Place::Nobody(why)).await;
        let reply = other.ask("POST", "/apps/orders/sql", &[("x-request-id", "mine")], "select 1").await;
        assert_eq!(reply.problem(), problem(503, "no-host"));
        assert_eq!(
            (&reply.headers["x-request-id"], &reply.headers[header::RETRY_AFTER]),
            (&"mine".parse().unwrap(), &"1".parse().unwrap())
        );
        let reply = other.ask("POST", "/apps/orders/v3/pipeline", &[], "{}").await;
        assert_eq!((reply.status.as_u16(), &reply.json()["code"]), (503, &json!("NO_HOST")), "in the shape of its clients");
    }
}

#[tokio::test]
async fn a_host_that_cannot_be_reached_was_not_asked() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let other = Pod::passing_on_to(listener.local_addr().unwrap()).await;
    drop(listener);
    let reply = other.run("insert into t values (1)").await;
    assert_eq!(reply.problem(), problem(503, "host-unreachable"));
    assert_eq!((&reply.headers[header::RETRY_AFTER], &reply.json()["retryable"]), (&"1".parse().unwrap(), &json!(true)));
    assert_eq!((other.outcomes("unreachable").await, other.outcomes("broken").await), (1, 0));
}

#[tokio::test]
async fn of_a_connection_that_breaks_nobody_knows_what_was_done() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let other = Pod::passing_on_to(listener.local_addr().unwrap()).await;
    let breaks = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"insert into t values (1)") {
            head.push(stream.read_u8().await.unwrap());
        }
    };
    let (reply, ()) = tokio::join!(other.run("insert into t values (1)"), breaks);
    assert_eq!(reply.problem(), problem(502, "host-lost"));
    assert_eq!(reply.json()["retryable"], false);
    assert!(!reply.headers.contains_key(header::RETRY_AFTER));
    assert_eq!((other.outcomes("unreachable").await, other.outcomes("broken").await), (0, 1));
}

#[tokio::test]
async fn who_take_each_other_for_the_host_stop_after_some_forwards() {
    let (one, other) = (Pod::other(Place::Nobody(Unserved::Moving)).await, Pod::other(Place::Nobody(Unserved::Moving)).await);
    *one.script.place.lock() = Place::At(other.url());
    *other.script.place.lock() = Place::At(one.url());
    let reply = one.run("select 1").await;
    assert_eq!(reply.problem(), problem(503, "no-host"));
    assert_eq!((one.script.asked.lock().len(), other.script.asked.lock().len()), (2, 2));
    assert_eq!((one.outcomes("looped").await, other.outcomes("looped").await), (0, 1));
    assert_eq!((one.outcomes("forwarded").await, other.outcomes("forwarded").await), (2, 1));
}

#[tokio::test]
async fn a_process_never_asks_itself() {
    let other = Pod::other(Place::Nobody(Unserved::Moving)).await;
    *other.script.place.lock() = Place::Named("other", other.url());
    assert_eq!(other.run("select 1").await.problem(), problem(503, "no-host"));
    assert_eq!(other.script.asked.lock().len(), 1);
}

#[tokio::test]
async fn a_client_that_counts_forwards_itself_gets_fewer_of_them() {
    let (host, other) = two(Access::Open).await;
    let ask = async |to: &Pod, hops: &str| to.ask("POST", "/apps/orders/sql", &[("buckethead-hops", hops)], "select 1").await;
    assert_eq!(ask(&other, "2").await.rows(), json!([[1]]));
    for hops in ["3", "255"] {
        assert_eq!(ask(&other, hops).await.problem(), problem(503, "no-host"), "{hops}");
        assert_eq!(ask(&host, hops).await.rows(), json!([[1]]), "it is there: {hops}");
    }
    for hops in ["", "-1", "+1", "256", "1.0", "1, 2", "one"] {
        for pod in [&host, &other] {
            assert_eq!(ask(pod, hops).await.problem(), problem(400, "bad-request"), "{hops:?}");
        }
    }
}

#[tokio::test]
async fn a_body_that_breaks_off_is_no_failure_of_the_host() {
    let (_host, other) = two(Access::Open).await;
    let server = &other.listening.server;
    let pieces = [Ok(bytes::Bytes::from_static(b"select")), Err(std::io::Error::other("cut"))];
    let reply = server.ask("POST", "/apps/orders/sql", &[], Body::from_stream(futures::stream::iter(pieces))).await;
    assert_eq!(reply.problem(), problem(400, "bad-request"));
}

#[tokio::test]
async fn a_host_that_refuses_what_is_still_sent_is_heard() {
    let (_host, other) = two(writers(&["secret"])).await;
    let server = &other.listening.server;
    for _ in 0..20 {
        let pieces = futures::stream::repeat_with(|| Ok::<_, std::io::Error>(bytes::Bytes::from(vec![b'x'; 100_000])));
        let reply = server.ask("POST", "/apps/orders/files", &[], Body::from_stream(pieces)).await;
        assert_eq!(reply.problem(), problem(401, "unauthorized"));
    }
    assert_eq!(other.outcomes("broken").await, 0);
}

#[tokio::test]
async fn a_client_that_goes_away_ends_what_it_asked_for() {
    struct Gone(Arc<Notify>);
    impl Drop for Gone {
        fn drop(&mut self) {
            self.0.notify_one();
        }
    }
    let (entered, gone) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let host = {
        let (entered, gone) = (Arc::clone(&entered), Arc::clone(&gone));
        Stranger::serving(Router::new().fallback(async move || {
            let _gone = Gone(gone);
            entered.notify_one();
            std::future::pending::<()>().await;
        }))
        .await
    };
    let other = Pod::passing_on_to(host.address).await;
    let mut client = TcpStream::connect(other.address()).await.unwrap();
    tokio::io::AsyncWriteExt::write_all(&mut client, b"GET /apps/orders/kv HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    entered.notified().await;
    drop(client);
    gone.notified().await;
}
