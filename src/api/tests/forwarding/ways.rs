//! What comes through, in both directions.

use axum::Router;
use axum::extract::Request as Asked;
use futures::StreamExt as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::mpsc;

use super::*;

#[tokio::test]
async fn a_request_at_any_process_is_answered_by_the_host() {
    let (host, other) = two(Access::Open).await;
    other.run("create table t(a); insert into t values (1)").await.rows();
    let reply = other.ask("POST", "/apps/or%64ers/sql", &[("x-request-id", "mine")], "select a from t").await;
    assert_eq!(reply.rows(), json!([[1]]));
    assert_eq!(reply.headers["x-request-id"], "mine");
    assert_eq!(reply.headers["buckethead-host"], host.url().as_str());
    assert!(reply.headers.contains_key("x-txid"));
    assert_eq!(*other.script.asked.lock(), vec![DatabaseName::new("apps", "orders"); 2]);

    assert_eq!(other.ask("PUT", "/apps/orders/kv/a%2Fb", &[], "value").await.status, 204);
    assert_eq!(other.ask("GET", "/apps/orders/kv/a/b", &[], "").await.body, b"value");
    assert_eq!(other.ask("HEAD", "/apps/orders/kv/a/b", &[], "").await.headers[header::CONTENT_LENGTH], "5");
    assert_eq!(other.ask("POST", "/apps/orders/docs/c", &[], r#"{"_id": "x"}"#).await.status, 201);
    assert_eq!(other.ask("GET", "/apps/orders/nothing", &[], "").await.problem(), problem(404, "no-such-route"));

    let here = host.run("select count(*) from t").await;
    assert_eq!(here.rows(), json!([[1]]));
    assert!(!here.headers.contains_key("buckethead-host"), "they are there already");
    assert_eq!((other.outcomes("forwarded").await, host.outcomes("forwarded").await), (7, 0));
}

#[tokio::test]
async fn what_is_about_no_database_is_answered_by_whoever_is_asked() {
    let other = Pod::other(Place::Nobody(Unserved::Moving)).await;
    for path in ["/", "/livez", "/readyz", "/metrics"] {
        assert_eq!(other.ask("GET", path, &[], "").await.status, 200, "{path}");
    }
    assert_eq!(other.script.asked.lock().len(), 0);
}

#[tokio::test]
async fn a_file_larger_than_any_buffer_goes_both_ways() {
    let (_host, other) = two(Access::Open).await;
    let content: Vec<u8> = (0..20_u32 << 20).map(|at| u8::try_from((at ^ at >> 8) % 251).unwrap()).collect();
    let pieces: Vec<_> = content.chunks(100_000).map(|piece| Ok::<_, std::io::Error>(piece.to_vec())).collect();
    let put = other.ask("POST", "/apps/orders/files", &[], Body::from_stream(futures::stream::iter(pieces))).await;
    assert_eq!(put.status, 201);
    let key = put.json()["bh_key"].as_str().unwrap().to_owned();
    let got = other.ask("GET", &format!("/apps/orders/files/{key}"), &[], "").await;
    assert!(got.body == content);
    assert_eq!(got.headers[header::CONTENT_LENGTH], content.len().to_string().as_str());
}

#[tokio::test]
async fn a_piece_goes_on_before_the_next_one_comes() {
    let echo = Stranger::serving(Router::new().fallback(async |asked: Asked| asked.into_body())).await;
    let other = Pod::passing_on_to(echo.address).await;
    let stream = TokioIo::new(TcpStream::connect(other.address()).await.unwrap());
    let (mut sender, connection) = hyper::client::conn::http1::handshake(stream).await.unwrap();
    let _connection = spawn_owned(connection);
    let (pieces, mut to_send) = mpsc::channel::<Result<bytes::Bytes, std::io::Error>>(1);
    let body = Body::from_stream(futures::stream::poll_fn(move |cx| to_send.poll_recv(cx)));
    let asking = sender.send_request(request("POST", "/apps/orders/echo", &[], body));
    pieces.send(Ok("first".into())).await.unwrap();
    let mut answer = Body::new(asking.await.unwrap().into_body()).into_data_stream();
    assert_eq!(answer.next().await.unwrap().unwrap(), "first");
    pieces.send(Ok("second".into())).await.unwrap();
    assert_eq!(answer.next().await.unwrap().unwrap(), "second");
    drop(pieces);
    assert!(answer.next().await.is_none());
}

#[tokio::test]
async fn clients_of_libsql_find_the_stream_that_they_opened() {
    let (_host, other) = two(Access::Open).await;
    let post = async |path: &str, body: Value| other.ask("POST", &format!("/apps/orders/{path}"), &[], body.to_string()).await;
    let execute = |sql: &str| json!({"type": "execute", "stmt": {"sql": sql}});
    let first = post("v3/pipeline", json!({"baton": null, "requests": [execute("begin"), execute("create table t(a)")]})).await.json();
    let second = post("v3/pipeline", json!({"baton": first["baton"], "requests": [execute("commit"), execute("select 42")]})).await.json();
    assert_eq!(second["results"][1]["response"]["result"]["rows"][0][0]["value"], "42", "{second}");
    let cursor = post("v3/cursor", json!({"batch": {"steps": [{"stmt": {"sql": "select 1 union all select 2"}}]}})).await;
    assert_eq!(String::from_utf8(cursor.body).unwrap().matches("\"type\":\"row\"").count(), 2);
}

#[tokio::test]
async fn who_may_ask_is_decided_by_the_host() {
    let (_host, other) = two(writers(&["secret"])).await;
    for (token, is_admitted) in [(None, false), (Some("Bearer guess"), false), (Some("Bearer secret"), true)] {
        let headers: Vec<_> = token.map(|token| ("authorization", token)).into_iter().collect();
        let reply = other.ask("POST", "/apps/orders/sql", &headers, "select 1").await;
        assert_eq!(reply.status == 200, is_admitted, "{token:?}");
        assert_eq!(reply.headers.contains_key("buckethead-host"), is_admitted, "it tells what there is");
        if !is_admitted {
            assert_eq!(reply.problem(), problem(401, "unauthorized"));
            assert_eq!(reply.headers[header::WWW_AUTHENTICATE], "Bearer realm=\"buckethead\"");
        }
    }
}

#[tokio::test]
async fn a_databases_own_service_is_known_at_any_process() {
    let (_host, other) = two(writers(&["secret"])).await;
    let by_name = |host: &'static str| [("host", host), TOKEN];
    let reply = other.ask("POST", "/sql", &by_name("orders.apps.svc"), "select 1").await;
    assert_eq!(reply.rows(), json!([[1]]));
    let described = other.ask("GET", "/", &by_name("orders.apps"), "").await.json();
    assert_eq!(described["links"]["sql"], "/sql");
    for path in ["/apps/orders/sql", "/metrics", "/other/database/sql"] {
        let reply = other.ask("GET", path, &by_name("orders.apps.svc"), "").await;
        assert_eq!(reply.problem(), problem(404, "no-such-route"), "{path}");
    }
    // Names that contradict each other leave it to the path, there as here.
    let twice = [("host", "orders.apps.svc"), ("host", "other.apps.svc"), TOKEN];
    assert_eq!(other.ask("POST", "/apps/orders/sql", &twice, "select 1").await.rows(), json!([[1]]));
}

#[tokio::test]
async fn http2_is_passed_on_with_the_name_that_it_has() {
    let (_host, other) = two(writers(&["secret"])).await;
    for url in ["http://orders.apps.svc/sql", "http://api.example/apps/orders/sql"] {
        let reply = ask_by_http2(other.address(), request("POST", url, &[TOKEN], "select 1")).await;
        assert_eq!(reply.rows(), json!([[1]]), "{url}");
    }
    let reply = ask_by_http2(other.address(), request("GET", "http://orders.apps.svc/apps/orders/sql", &[TOKEN], "")).await;
    assert_eq!(reply.problem(), problem(404, "no-such-route"));
}

#[tokio::test]
async fn the_host_gets_what_the_client_sent_and_nothing_of_its_connection() {
    let (heads, mut seen) = mpsc::unbounded_channel();
    let host = Stranger::serving(Router::new().fallback(async move |asked: Asked| {
        heads.send((asked.uri().clone(), asked.headers().clone())).unwrap();
    }))
    .await;
    let other = Pod::passing_on_to(host.address).await;
    let headers = [
        ("host", "orders.apps.svc:80"),
        ("authorization", "Bearer anything"),
        ("connection", "keep-alive, x-mine"),
        ("keep-alive", "timeout=5"),
        ("te", "trailers"),
        ("x-mine", "1"),
        ("x-kept", "2"),
        ("buckethead-client", "6.6.6.6"),
        ("buckethead-hops", "1"),
    ];
    ask_from(Ipv4Addr::new(127, 0, 0, 9), other.address(), request("GET", "/sql?q=select%201", &headers, "")).await;
    let (uri, got) = seen.recv().await.unwrap();
    assert_eq!(uri, "/sql?q=select%201", "as it was asked for");
    for (name, value) in [
        ("host", "orders.apps.svc:80"),
        ("authorization", "Bearer anything"),
        ("x-kept", "2"),
        ("buckethead-client", "127.0.0.9"),
        ("buckethead-hops", "2"),
    ] {
        assert_eq!(got.get_all(name).iter().collect::<Vec<_>>(), [value], "{name}");
    }
    for name in ["connection", "keep-alive", "te", "x-mine"] {
        assert!(!got.contains_key(name), "{name}");
    }
    assert!(got.contains_key("x-request-id"), "both log it under one id");
}

#[tokio::test]
async fn whoever_asks_first_whether_to_send_a_body_is_told_to() {
    let (_host, other) = two(Access::Open).await;
    let mut stream = TcpStream::connect(other.address()).await.unwrap();
    let head = b"POST /apps/orders/sql HTTP/1.1\r\nhost: x\r\nconnection: close\r\nexpect: 100-continue\r\ncontent-length: 8\r\n\r\n";
    stream.write_all(head).await.unwrap();
    let mut goes_on = [0; 25];
    stream.read_exact(&mut goes_on).await.unwrap();
    assert_eq!(&goes_on, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(b"select 1").await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("[[1]]"), "{answer}");
}

#[tokio::test]
async fn refusals_are_counted_for_the_client_and_not_for_who_passes_it_on() {
    let (host, other) = two(writers(&["secret"])).await;
    let refused = async |client: u8, to: &Pod, says: &str| {
        let headers = [("authorization", "Bearer guess"), ("buckethead-client", says)];
        let reply = ask_from(Ipv4Addr::new(127, 0, 0, client), to.address(), request("GET", "/apps/orders/kv", &headers, "")).await;
        reply.status.as_u16()
    };
    // Whoever they say that they are.
    while refused(2, &other, "127.0.0.3").await != 429 {}
    assert_eq!(refused(3, &other, "").await, 401, "another client of the same process");
    assert_eq!(refused(3, &host, "127.0.0.2").await, 401, "who is no member is believed nothing");
    while refused(1, &host, "127.0.0.4").await != 429 {}
    assert_eq!(refused(4, &host, "").await, 429, "a member is");

    host.script.has_members.store(false, Ordering::SeqCst);
    while refused(5, &other, "").await != 429 {}
    assert_eq!(refused(6, &other, "").await, 429, "without members all are one");
}

#[tokio::test]
async fn tls_is_spoken_to_who_has_our_certificate_alone() {
    let (pair, another) = (crate::tls::tests::Pair::new(), crate::tls::tests::Pair::new());
    let (open, store) = Server::host_with_database(|config| config).await;
    let host = Pod::with(Script::new("host", Place::Here), open, Some(store), Some(pair.load().await)).await;
    let url = format!("https://{}", host.address());
    for (own, status) in [(pair.load().await, 200), (another.load().await, 503)] {
        let peer_tls = Some(PeerTls::load(&own, None).await.unwrap());
        let peers: Arc<dyn Peers> = Script::new("other", Place::At(url.clone()));
        let other = Server::configured(empty_host(), Guard::Operator, None, |config| Config { peers: Some(peers), peer_tls, ..config });
        assert_eq!(other.run("select 1").await.status, status);
    }
}
