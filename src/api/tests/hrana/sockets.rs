use futures::{SinkExt as _, StreamExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::Error;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::protocol::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::*;

/// A server that listens, with what lives behind it.
pub(in crate::tests) struct Listening {
    pub(in crate::tests) address: SocketAddr,
    pub(in crate::tests) stop: CancellationToken,
    pub(in crate::tests) serving: AbortOnDropHandle<()>,
    pub(in crate::tests) server: Server,
}

impl Listening {
    pub(in crate::tests) async fn over(server: Server) -> Self {
        Self::with(server, None).await
    }

    pub(in crate::tests) async fn with(server: Server, tls: Option<crate::Tls>) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let (address, stop) = (listener.local_addr().unwrap(), CancellationToken::new());
        let serving = engine::spawn_owned(crate::serve(listener, tls, server.api.clone(), stop.clone(), Duration::from_secs(5)));
        Self { address, stop, serving, server }
    }

    async fn open() -> Self {
        Self::over(Server::open().await).await
    }

    pub(in crate::tests) async fn connect(&self, path: &str, protocols: Option<&str>) -> Result<(Socket, Option<String>), Error> {
        let mut request = format!("ws://{}{path}", self.address).into_client_request()?;
        if let Some(protocols) = protocols {
            request.headers_mut().insert("sec-websocket-protocol", protocols.parse().unwrap());
        }
        let (socket, response) = connect_async(request).await?;
        let chosen = response.headers().get("sec-websocket-protocol").map(|value| value.to_str().unwrap().to_owned());
        Ok((Socket { socket, last: 0 }, chosen))
    }

    /// A socket of the newest version that has said hello, with stream 0.
    pub(in crate::tests) async fn talk(&self) -> Socket {
        let (mut socket, _) = self.connect("/apps/orders/", Some("hrana3")).await.unwrap();
        socket.say(&json!({"type": "hello", "jwt": null})).await;
        assert_eq!(socket.hear().await, json!({"type": "hello_ok"}));
        socket.ask(json!({"type": "open_stream", "stream_id": 0})).await.unwrap();
        socket
    }
}

pub(in crate::tests) struct Socket {
    pub(in crate::tests) socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    last: i32,
}

impl Socket {
    pub(in crate::tests) async fn say(&mut self, message: &Value) {
        self.socket.send(Message::text(message.to_string())).await.unwrap();
    }

    pub(in crate::tests) async fn hear(&mut self) -> Value {
        loop {
            match self.socket.next().await.unwrap().unwrap() {
                Message::Text(text) => return serde_json::from_str(&text).unwrap(),
                Message::Ping(_) => {}
                other => panic!("{other:?}"),
            }
        }
    }

    /// The code of the close that ends it.
    pub(in crate::tests) async fn end(mut self) -> u16 {
        loop {
            match self.socket.next().await {
                Some(Ok(Message::Close(Some(frame)))) => return frame.code.into(),
                Some(Ok(_)) => {}
                other => panic!("{other:?}"),
            }
        }
    }

    pub(in crate::tests) async fn tell(&mut self, request: Value) -> i32 {
        self.last += 1;
        let request_id = self.last;
        self.say(&json!({"type": "request", "request_id": request_id, "request": request})).await;
        request_id
    }

    /// The response, or the error.
    async fn ask(&mut self, request: Value) -> Result<Value, Value> {
        let kind = request["type"].clone();
        let request_id = self.tell(request).await;
        let mut reply = self.hear().await;
        assert_eq!(reply["request_id"], request_id, "{reply}");
        if reply["type"] == "response_ok" {
            assert_eq!(reply["response"]["type"], kind);
            return Ok(reply["response"].take());
        }
        Err(reply["error"].take())
    }

    pub(in crate::tests) async fn sql(&mut self, sql: &str) -> Result<Value, Value> {
        Ok(self.ask(execute(0, sql)).await?["result"].take())
    }
}

pub(in crate::tests) fn execute(stream_id: i32, sql: &str) -> Value {
    json!({"type": "execute", "stream_id": stream_id, "stmt": {"sql": sql}})
}

#[tokio::test]
async fn the_best_version_that_is_offered_is_chosen() {
    let server = Listening::open().await;
    for (offered, chosen) in [
        (Some("hrana2, hrana1"), Some("hrana2")),
        (Some("hrana1"), Some("hrana1")),
        (Some("hrana1, hrana3, hrana9"), Some("hrana3")),
        (Some("hrana1, hrana3, hrana3-protobuf"), Some("hrana3-protobuf")),
        (None, None),
    ] {
        for path in ["/apps/orders/", "/apps/orders"] {
            let (_, protocol) = server.connect(path, offered).await.unwrap();
            assert_eq!(protocol.as_deref(), chosen, "{offered:?} {path}");
        }
    }
    let refused = server.connect("/apps/orders/", Some("mqtt, hrana9")).await.err().unwrap();
    assert!(matches!(&refused, Error::Http(response) if response.status() == 400), "{refused}");
}

#[tokio::test]
async fn a_socket_over_tls_is_one_like_others() {
    let pair = crate::tls::tests::Pair::new();
    let listening = Listening::with(Server::open().await, Some(pair.load().await)).await;
    let tcp = TcpStream::connect(listening.address).await.unwrap();
    let stream = pair.connector().connect("localhost".try_into().unwrap(), tcp).await.unwrap();
    let mut request = "wss://localhost/apps/orders/".into_client_request().unwrap();
    request.headers_mut().insert("sec-websocket-protocol", "hrana3".parse().unwrap());
    let (mut socket, _) = tokio_tungstenite::client_async(request, stream).await.unwrap();
    for message in [
        json!({"type": "hello", "jwt": null}),
        json!({"type": "request", "request_id": 1, "request": {"type": "open_stream", "stream_id": 0}}),
        json!({"type": "request", "request_id": 2, "request": execute(0, "SELECT 42")}),
    ] {
        socket.send(Message::text(message.to_string())).await.unwrap();
    }
    for kind in ["hello_ok", "response_ok", "response_ok"] {
        let Message::Text(text) = socket.next().await.unwrap().unwrap() else { panic!("a text") };
        let reply: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(reply["type"], kind, "{reply}");
        if reply["request_id"] == 2 {
            assert_eq!(reply["response"]["result"]["rows"][0][0]["value"], "42");
        }
    }
}

#[tokio::test]
async fn requests_may_follow_hello_at_once_and_are_answered() {
    let server = Listening::open().await;
    let (mut socket, _) = server.connect("/apps/orders/", Some("hrana2")).await.unwrap();
    socket.say(&json!({"type": "hello", "jwt": null})).await;
    socket.tell(json!({"type": "open_stream", "stream_id": -5})).await;
    socket.tell(execute(-5, "SELECT 1 AS a")).await;
    assert_eq!(socket.hear().await, json!({"type": "hello_ok"}));
    assert_eq!(socket.hear().await, json!({"type": "response_ok", "request_id": 1, "response": {"type": "open_stream"}}));
    assert_eq!(
        socket.hear().await,
        json!({"type": "response_ok", "request_id": 2, "response": {"type": "execute", "result": {
            "cols": [{"name": "a", "decltype": null}], "rows": [[{"type": "integer", "value": "1"}]],
            "affected_row_count": 0, "last_insert_rowid": null
        }}})
    );
}

#[tokio::test]
async fn each_request_of_a_stream_is_known() {
    let server = Listening::open().await;
    let mut socket = server.talk().await;
    socket.ask(json!({"type": "sequence", "stream_id": 0, "sql": "CREATE TABLE t(a); INSERT INTO t VALUES(1)"})).await.unwrap();
    socket.ask(json!({"type": "store_sql", "sql_id": 1, "sql": "SELECT a FROM t"})).await.unwrap();
    let described = socket.ask(json!({"type": "describe", "stream_id": 0, "sql_id": 1})).await.unwrap();
    assert_eq!(described["result"]["cols"], json!([{"name": "a", "decltype": null}]));
    let stmt = json!({"sql_id": 1});
    let executed = socket.ask(json!({"type": "execute", "stream_id": 0, "stmt": stmt})).await.unwrap();
    assert_eq!(executed["result"]["rows"][0][0]["value"], "1");
    let batch = json!({"steps": [{"stmt": stmt}, {"stmt": {"sql": "SELECT nope"}}]});
    let batch = socket.ask(json!({"type": "batch", "stream_id": 0, "batch": batch})).await.unwrap();
    assert_eq!(batch["result"]["step_errors"][1]["code"], "SQLITE_ERROR");
    let autocommit = socket.ask(json!({"type": "get_autocommit", "stream_id": 0})).await.unwrap();
    assert_eq!(autocommit["is_autocommit"], true);
    socket.ask(json!({"type": "close_sql", "sql_id": 1})).await.unwrap();
    socket.ask(json!({"type": "close_stream", "stream_id": 0})).await.unwrap();
    socket.ask(json!({"type": "close_stream", "stream_id": 0})).await.unwrap();
    socket.tell(execute(0, "SELECT 1")).await;
    assert_eq!(socket.end().await, 1008);
}

#[tokio::test]
async fn an_error_of_a_statement_leaves_the_stream_usable() {
    let server = Listening::open().await;
    let mut socket = server.talk().await;
    assert_eq!(socket.sql("SELECT nope").await.unwrap_err()["code"], "SQLITE_ERROR");
    assert_eq!(socket.sql("SELECT 1").await.unwrap()["rows"][0][0]["value"], "1");
}

#[tokio::test]
async fn streams_run_beside_one_another_and_each_in_order() {
    let server = Listening::open().await;
    let mut socket = server.talk().await;
    socket.sql("CREATE TABLE t(a)").await.unwrap();
    socket.ask(json!({"type": "open_stream", "stream_id": 1})).await.unwrap();
    socket.sql("BEGIN IMMEDIATE").await.unwrap();
    // It waits for the other's transaction, which goes on meanwhile.
    let waiting = socket.tell(execute(1, "INSERT INTO t VALUES('second')")).await;
    let after = socket.tell(execute(1, "SELECT group_concat(a) FROM t")).await;
    let first = socket.tell(execute(0, "INSERT INTO t VALUES('first')")).await;
    let commit = socket.tell(execute(0, "COMMIT")).await;
    let mut order = Vec::new();
    let mut seen = Value::Null;
    for _ in 0..4 {
        let mut reply = socket.hear().await;
        assert_eq!(reply["type"], "response_ok", "{reply}");
        order.push(reply["request_id"].as_i64().unwrap());
        if reply["request_id"] == after {
            seen = reply["response"]["result"]["rows"][0][0]["value"].take();
        }
    }
    // Each stream in its order, and the one that waits after what it waits for. Its turn comes with the commit, so its reply and that of the
    // commit are on their way at the same time.
    let place = |id: i32| order.iter().position(|known| *known == i64::from(id)).unwrap();
    assert!(place(first) < place(commit) && place(waiting) < place(after) && place(first) < place(waiting), "{order:?}");
    assert_eq!(seen, "first,second");
}

#[tokio::test]
async fn a_writer_goes_on_while_many_streams_of_its_socket_wait_for_it() {
    let server = Listening::open().await;
    let mut socket = server.talk().await;
    socket.sql("CREATE TABLE t(a)").await.unwrap();
    socket.sql("BEGIN IMMEDIATE").await.unwrap();
    for stream_id in 1..200 {
        socket.tell(json!({"type": "open_stream", "stream_id": stream_id})).await;
        socket.tell(execute(stream_id, "INSERT INTO t VALUES(1)")).await;
    }
    let commit = socket.tell(execute(0, "COMMIT")).await;
    let mut replies = Vec::new();
    for _ in 0..=2 * 199 {
        let reply = socket.hear().await;
        assert_eq!(reply["type"], "response_ok", "{reply}");
        replies.push(reply["request_id"].as_i64().unwrap());
    }
    assert!(replies.contains(&i64::from(commit)));
    assert_eq!(socket.sql("SELECT count(*) FROM t").await.unwrap()["rows"][0][0]["value"], "199");
}

#[tokio::test]
async fn a_socket_that_ends_rolls_back_what_it_left_open() {
    let server = Listening::open().await;
    let mut socket = server.talk().await;
    for sql in ["CREATE TABLE t(a)", "BEGIN IMMEDIATE", "INSERT INTO t VALUES(1)"] {
        socket.sql(sql).await.unwrap();
    }
    drop(socket);
    assert_eq!(sql(&server.server, "INSERT INTO t VALUES(2)").await["affected_row_count"], 1);
    assert_eq!(sql(&server.server, "SELECT group_concat(a) FROM t").await["rows"][0][0]["value"], "2");
}

#[tokio::test]
async fn a_cursor_hands_out_its_entries_as_they_are_fetched() {
    let server = Listening::open().await;
    let mut socket = server.talk().await;
    let batch = json!({"steps": [{"stmt": {"sql": "SELECT value FROM json_each('[1,2,3]')"}}, {"stmt": {"sql": "SELECT nope"}}]});
    socket.ask(json!({"type": "open_cursor", "stream_id": 0, "cursor_id": 7, "batch": batch})).await.unwrap();
    let mut types = Vec::new();
    loop {
        let fetched = socket.ask(json!({"type": "fetch_cursor", "cursor_id": 7, "max_count": 2})).await.unwrap();
        let entries = fetched["entries"].as_array().unwrap();
        assert!(entries.len() <= 2, "{fetched}");
        types.extend(entries.iter().map(|entry| entry["type"].as_str().unwrap().to_owned()));
        if fetched["done"] == true {
            break;
        }
    }
    assert_eq!(types, ["step_begin", "row", "row", "row", "step_end", "step_error"]);
    socket.ask(json!({"type": "close_cursor", "cursor_id": 7})).await.unwrap();
    assert_eq!(socket.sql("SELECT 1").await.unwrap()["rows"][0][0]["value"], "1");
}

#[tokio::test]
async fn a_cursor_that_is_closed_early_ends_its_statement_and_the_stream_goes_on() {
    let server = Listening::open().await;
    let mut socket = server.talk().await;
    let endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i FROM n";
    let batch = json!({"steps": [{"stmt": {"sql": endless}}]});
    socket.ask(json!({"type": "open_cursor", "stream_id": 0, "cursor_id": 1, "batch": batch})).await.unwrap();
    let fetched = socket.ask(json!({"type": "fetch_cursor", "cursor_id": 1, "max_count": 100})).await.unwrap();
    assert_eq!(fetched["entries"].as_array().unwrap().len(), 100);
    assert_eq!(fetched["done"], false);
    socket.ask(json!({"type": "close_cursor", "cursor_id": 1})).await.unwrap();
    assert_eq!(socket.sql("SELECT 1").await.unwrap()["rows"][0][0]["value"], "1");
}

#[tokio::test]
async fn a_token_that_does_not_admit_is_refused_at_hello_and_may_be_given_again() {
    let tokens = writers(&["secret"]);
    let server = Listening::over(Server::with_database(Guard::Operator, tokens).await).await;
    for (path, jwt) in [("/apps/orders/", json!("guess")), ("/apps/orders/", Value::Null), ("/apps/other/", json!("secret"))] {
        let (mut socket, _) = server.connect(path, Some("hrana2")).await.unwrap();
        socket.say(&json!({"type": "hello", "jwt": jwt})).await;
        // Clients do not wait for the answer. What nobody reads must not keep them from hearing it.
        for stream_id in 0..100 {
            socket.tell(json!({"type": "open_stream", "stream_id": stream_id})).await;
        }
        let refused = socket.hear().await;
        assert_eq!((&refused["type"], &refused["error"]["code"]), (&json!("hello_error"), &json!("UNAUTHORIZED")));
        assert_eq!(socket.end().await, 1008);
    }
    let (mut socket, _) = server.connect("/apps/orders/", Some("hrana2")).await.unwrap();
    for _ in 0..2 {
        socket.say(&json!({"type": "hello", "jwt": "secret"})).await;
        assert_eq!(socket.hear().await, json!({"type": "hello_ok"}));
    }
}

#[tokio::test]
async fn what_breaks_the_protocol_closes_the_socket_with_a_code_that_says_why() {
    let server = Listening::open().await;
    let hello = json!({"type": "hello"}).to_string();
    let request = |request: Value| Message::text(json!({"type": "request", "request_id": 1, "request": request}).to_string());
    let open = request(json!({"type": "open_stream", "stream_id": 1}));
    let batch = json!({"steps": []});
    for (version, messages, code) in [
        ("hrana3", vec![Message::text("{")], 1007),
        ("hrana3", vec![Message::text(r#"{"type":"nope"}"#)], 1007),
        ("hrana3", vec![Message::text(r#"{"type":"request","request_id":"1"}"#)], 1007),
        ("hrana3", vec![Message::binary(vec![1, 2, 3])], 1003),
        ("hrana3", vec![open.clone()], 1008),
        ("hrana3", vec![Message::text(hello.clone()), open.clone(), open.clone()], 1008),
        ("hrana3", vec![Message::text(hello.clone()), request(execute(9, "SELECT 1"))], 1008),
        (
            "hrana3",
            vec![Message::text(hello.clone()), open.clone(), request(json!({"type": "execute", "stream_id": 1, "stmt": {"sql_id": 4}}))],
            1008,
        ),
        ("hrana3", vec![Message::text(hello.clone()), request(json!({"type": "fetch_cursor", "cursor_id": 1, "max_count": 1}))], 1008),
        ("hrana2", vec![Message::text(hello.clone()), open.clone(), request(json!({"type": "get_autocommit", "stream_id": 1}))], 1008),
        ("hrana1", vec![Message::text(hello.clone()), open.clone(), request(json!({"type": "sequence", "stream_id": 1, "sql": ""}))], 1008),
        ("hrana1", vec![Message::text(hello.clone()), Message::text(hello.clone())], 1008),
        (
            "hrana3",
            vec![
                Message::text(hello.clone()),
                open.clone(),
                request(json!({"type": "open_cursor", "stream_id": 1, "cursor_id": 1, "batch": batch})),
                request(json!({"type": "open_cursor", "stream_id": 1, "cursor_id": 1, "batch": batch})),
            ],
            1008,
        ),
    ] {
        let (mut socket, _) = server.connect("/apps/orders/", Some(version)).await.unwrap();
        let told = format!("{version} {messages:?}");
        for message in messages {
            socket.socket.send(message).await.unwrap();
        }
        assert_eq!(socket.end().await, code, "{told}");
    }
}

#[tokio::test]
async fn the_streams_of_sockets_count_among_those_of_the_database() {
    let server = Listening::open().await;
    let mut socket = server.talk().await;
    for stream_id in 1..1000 {
        socket.ask(json!({"type": "open_stream", "stream_id": stream_id})).await.unwrap();
    }
    assert_eq!(socket.ask(json!({"type": "open_stream", "stream_id": 1000})).await.unwrap_err()["code"], "TOO_MANY_STREAMS");
    // It keeps its number until it is closed.
    assert_eq!(socket.ask(execute(1000, "SELECT 1")).await.unwrap_err()["code"], "TOO_MANY_STREAMS");
    assert_eq!(failure(&post(&server.server, "v3/pipeline", &json!({"requests": []})).await), failed(429, "TOO_MANY_STREAMS"));
    for stream_id in [1000, 5] {
        socket.ask(json!({"type": "close_stream", "stream_id": stream_id})).await.unwrap();
    }
    socket.ask(json!({"type": "open_stream", "stream_id": 1000})).await.unwrap();
    assert_eq!(socket.ask(execute(1000, "SELECT 1")).await.unwrap()["type"], "execute");
}

#[tokio::test]
async fn a_server_that_stops_says_so_and_waits_for_its_sockets() {
    let server = Listening::open().await;
    let mut socket = server.talk().await;
    socket.sql("CREATE TABLE t(a)").await.unwrap();
    socket.sql("BEGIN IMMEDIATE").await.unwrap();
    server.stop.cancel();
    assert_eq!(socket.end().await, 1012);
    server.serving.await.unwrap();
    assert!(TcpStream::connect(server.address).await.is_err());
}

#[tokio::test]
async fn a_socket_ends_once_its_database_is_closed_and_not_before_it_has_answered() {
    let name = DatabaseName::new("apps", "orders");
    let server = Listening::open().await;
    let mut idle = server.talk().await;
    idle.sql("BEGIN IMMEDIATE").await.unwrap();
    server.server.host.close(&name).await.unwrap();
    assert_eq!(idle.end().await, 1012);

    // Given up without a last flush, it ends at once, among requests.
    let server = Listening::open().await;
    let (mut busy, stranger) = (server.talk().await, server.connect("/apps/orders/", Some("hrana3")).await.unwrap());
    busy.ask(json!({"type": "open_stream", "stream_id": 1})).await.unwrap();
    let long =
        busy.tell(execute(0, "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 3000000) SELECT max(i) FROM n")).await;
    busy.ask(execute(1, "SELECT 1")).await.unwrap();
    server.server.host.abandon(&name);
    assert_eq!(busy.hear().await["request_id"], long);
    assert_eq!(busy.end().await, 1012);
    let (mut stranger, _) = stranger;
    stranger.say(&json!({"type": "hello", "jwt": null})).await;
    assert_eq!(stranger.hear().await["type"], "hello_error", "one that was not admitted has to do with no database");
}

#[tokio::test]
async fn whoever_may_only_read_does_not_write_over_a_socket() {
    let tokens = Access::Tokens(vec![Grant::of("writes", Permission::Write), Grant::of("reads", Permission::Read)]);
    let server = Listening::over(Server::with_database(Guard::Operator, tokens).await).await;
    for (token, is_refused) in [("writes", false), ("reads", true)] {
        let (mut socket, _) = server.connect("/apps/orders/", Some("hrana3")).await.unwrap();
        socket.say(&json!({"type": "hello", "jwt": token})).await;
        assert_eq!(socket.hear().await, json!({"type": "hello_ok"}));
        socket.ask(json!({"type": "open_stream", "stream_id": 0})).await.unwrap();
        let made = socket.sql("CREATE TABLE IF NOT EXISTS t(a)").await.is_ok() && socket.sql("INSERT INTO t VALUES (1)").await.is_ok();
        assert_eq!(made, !is_refused, "{token}");
        assert_eq!(socket.sql("SELECT count(*) FROM t").await.unwrap()["rows"][0][0]["value"], "1", "{token}");
    }
}

#[tokio::test]
async fn an_address_whose_hellos_were_refused_too_often_is_told_so() {
    let server = Listening::over(Server::with_database(Guard::Operator, writers(&["secret"])).await).await;
    let mut codes = Vec::new();
    while codes.last() != Some(&json!("TOO_MANY_FAILURES")) {
        let (mut socket, _) = server.connect("/apps/orders/", Some("hrana3")).await.unwrap();
        socket.say(&json!({"type": "hello", "jwt": "guess"})).await;
        codes.push(socket.hear().await["error"]["code"].take());
    }
    // At least: time goes on meanwhile.
    assert!(codes.len() > 20 && codes[..20].iter().all(|code| code == "UNAUTHORIZED"), "{codes:?}");
}
