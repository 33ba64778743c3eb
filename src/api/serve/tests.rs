use super::*;
use axum::Router;
use axum::routing::get;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::Notify;

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";

/// A server whose one route says that it was entered, and answers when it is let go, which it says, too.
struct Server {
    address: SocketAddr,
    shutdown: CancellationToken,
    entered: Arc<Notify>,
    go: Arc<Notify>,
    answered: Arc<Notify>,
    set: JoinSet<()>,
}

async fn server(drain: Duration) -> Server {
    let [entered, go, answered] = std::array::from_fn(|_| Arc::new(Notify::new()));
    let handler = {
        let (entered, go, answered) = (Arc::clone(&entered), Arc::clone(&go), Arc::clone(&answered));
        move || async move {
            entered.notify_one();
            go.notified().await;
            answered.notify_one();
            "done"
        }
    };
    let router = Router::new().route("/", get(handler)).route("/panic", get(|| async { panic!("a bug") as &str }));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let shutdown = CancellationToken::new();
    let mut set = JoinSet::new();
    set.spawn(serve(listener, None, router, shutdown.clone(), drain));
    Server { address, shutdown, entered, go, answered, set }
}

async fn ask(address: SocketAddr, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request).await.unwrap();
    let mut answer = String::new();
    // A connection that is cut off has no answer.
    let _ = stream.read_to_string(&mut answer).await;
    answer
}

/// One request on its way.
struct Asking(JoinSet<String>);

impl Asking {
    fn of(address: SocketAddr) -> Self {
        let mut set = JoinSet::new();
        set.spawn(ask(address, REQUEST));
        Self(set)
    }

    async fn answer(mut self) -> String {
        self.0.join_next().await.unwrap().unwrap()
    }
}

#[tokio::test]
async fn a_request_that_runs_at_shutdown_is_answered_and_no_other_is_taken() {
    let mut server = server(Duration::from_secs(30)).await;
    let asking = Asking::of(server.address);
    server.entered.notified().await;
    server.shutdown.cancel();
    server.go.notify_one();
    assert!(asking.answer().await.ends_with("done"));
    server.set.join_next().await.unwrap().unwrap();
    assert!(TcpStream::connect(server.address).await.is_err());
}

#[tokio::test]
async fn a_request_that_outlasts_the_drain_time_is_cut_off() {
    let mut server = server(Duration::from_millis(10)).await;
    let asking = Asking::of(server.address);
    server.entered.notified().await;
    server.shutdown.cancel();
    server.set.join_next().await.unwrap().unwrap();
    assert_eq!(asking.answer().await, "");
}

#[tokio::test]
async fn a_client_that_stays_connected_without_asking_does_not_hold_up_the_end() {
    let mut server = server(Duration::from_hours(1)).await;
    let idle = TcpStream::connect(server.address).await.unwrap();
    let asking = Asking::of(server.address);
    server.entered.notified().await;
    server.go.notify_one();
    asking.answer().await;
    server.shutdown.cancel();
    server.set.join_next().await.unwrap().unwrap();
    drop(idle);
}

#[tokio::test]
async fn a_handler_that_panics_ends_its_connection_alone() {
    let server = server(Duration::from_secs(30)).await;
    assert_eq!(ask(server.address, b"GET /panic HTTP/1.1\r\nHost: x\r\n\r\n").await, "");
    server.go.notify_one();
    assert!(ask(server.address, REQUEST).await.ends_with("done"));
}

#[tokio::test]
async fn whoever_is_answered_while_they_send_a_small_body_may_send_it_to_the_end() {
    let server = server(Duration::from_secs(30)).await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 8\r\n\r\n").await.unwrap();
    server.entered.notified().await;
    server.go.notify_one();
    server.answered.notified().await;
    stream.write_all(b"select 1").await.unwrap();
    stream.write_all(REQUEST).await.unwrap();
    server.go.notify_one();
    let mut answers = String::new();
    stream.read_to_string(&mut answers).await.unwrap();
    assert_eq!(answers.matches("done").count(), 2, "{answers}");
}

#[tokio::test]
async fn whoever_asks_whether_to_send_a_body_is_answered_without_it() {
    let server = server(Duration::from_secs(30)).await;
    server.go.notify_one();
    let asked = b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 8\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n";
    let answer = ask(server.address, asked).await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("done"), "{answer}");
}

#[tokio::test]
async fn http2_is_spoken_by_prior_knowledge() {
    let server = server(Duration::from_secs(30)).await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    // The preface and an empty SETTINGS frame; the server answers with its own SETTINGS (type 4).
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00").await.unwrap();
    let mut head = [0; 9];
    stream.read_exact(&mut head).await.unwrap();
    assert_eq!(head[3], 4);
}

/// Bytes of which it is told when nobody has them any more.
struct Watched(Vec<u8>, Arc<Notify>);

impl AsRef<[u8]> for Watched {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.1.notify_one();
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_client_does_not_take_is_given_up() {
    let gone = Arc::new(Notify::new());
    let handler = {
        let gone = Arc::clone(&gone);
        move || async move { bytes::Bytes::from_owner(Watched(vec![b'x'; 64 << 20], gone)) }
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let shutdown = CancellationToken::new();
    let mut set = JoinSet::new();
    set.spawn(serve(listener, None, Router::new().route("/", get(handler)), shutdown.clone(), Duration::ZERO));
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(REQUEST).await.unwrap();
    // The clock of the test runs ahead whenever everything waits.
    gone.notified().await;
    shutdown.cancel();
    set.join_next().await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn half_a_head_is_given_up() {
    let server = server(Duration::ZERO).await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nHost:").await.unwrap();
    let mut answer = Vec::new();
    // It is closed, in order or not.
    let _ = stream.read_to_end(&mut answer).await;
    assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 408"), "{}", String::from_utf8_lossy(&answer));
}

#[tokio::test]
async fn a_thousand_connections_are_served_at_once_and_their_memory_is_given_back() {
    let (all, held) = (Arc::new(tokio::sync::Barrier::new(1000)), Arc::new(()));
    let handler = {
        let (all, held) = (Arc::clone(&all), Arc::clone(&held));
        move || async move {
            all.wait().await;
            drop(held);
            "done"
        }
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let shutdown = CancellationToken::new();
    let mut set = JoinSet::new();
    set.spawn(serve(listener, None, Router::new().route("/", get(handler)), shutdown.clone(), Duration::from_secs(30)));
    let asking: Vec<_> = (0..1000).map(|_| Asking::of(address)).collect();
    for asking in asking {
        assert!(asking.answer().await.ends_with("done"));
    }
    shutdown.cancel();
    set.join_next().await.unwrap().unwrap();
    assert_eq!(Arc::strong_count(&held), 1, "nobody holds anything of a request any more");
}
