//! Several processes, one of which has the database open: the others pass requests on to it.

use std::net::IpAddr;
use std::sync::atomic::AtomicBool;

use axum::response::Response;
use engine::spawn_owned;
use futures::future::BoxFuture;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use parking_lot::Mutex;
use tokio::net::TcpSocket;
use url::Url;

use super::hrana::sockets::Listening;
use super::*;
use crate::{Answers, Member, Origin, PeerTls, Peers, Stay, Unserved};

mod changes;
mod failures;
mod here;
mod sockets;
mod traced;
mod ways;

const TOKEN: (&str, &str) = ("authorization", "Bearer secret");

/// What a process believes of the others, as a test has it.
struct Script {
    name: &'static str,
    place: Mutex<Place>,
    /// How often it is still the host when it looks.
    looks: AtomicU32,
    has_members: AtomicBool,
    /// Held by each request that is answered here.
    held: Arc<()>,
    asked: Mutex<Vec<DatabaseName>>,
}

#[derive(Clone)]
enum Place {
    Here,
    At(String),
    /// At a process that is called so.
    Named(&'static str, String),
    Nobody(Unserved),
}

/// More looks than any test has.
const ALWAYS: u32 = u32::MAX / 2;

impl Script {
    fn new(name: &'static str, place: Place) -> Arc<Self> {
        Arc::new(Self {
            name,
            place: Mutex::new(place),
            looks: AtomicU32::new(ALWAYS),
            has_members: AtomicBool::new(true),
            held: Arc::default(),
            asked: Mutex::default(),
        })
    }

    /// How many requests are answered here.
    fn under_way(&self) -> usize {
        Arc::strong_count(&self.held) - 1
    }

    /// The process is the host for so many looks more.
    fn ends_after(&self, looks: u32) {
        self.looks.store(looks, Ordering::SeqCst);
    }
}

impl Peers for Script {
    fn find<'a>(&'a self, database: &'a DatabaseName, _: Origin) -> BoxFuture<'a, Answers> {
        self.asked.lock().push(database.clone());
        let member = |name: &str, url: &str| Member { name: name.to_owned(), url: Url::parse(url).unwrap() };
        let found = match self.place.lock().clone() {
            Place::Here => Answers::Here(Stay::holding(Arc::clone(&self.held))),
            Place::At(url) => Answers::At(member("elsewhere", &url)),
            Place::Named(name, url) => Answers::At(member(name, &url)),
            Place::Nobody(why) => Answers::Nobody { why },
        };
        Box::pin(std::future::ready(found))
    }

    fn has_own_service(&self, database: &DatabaseName) -> bool {
        ["orders", "attacked"].contains(&database.name()) && database.namespace() == "apps"
    }

    fn is_current(&self) -> bool {
        self.looks.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |looks| looks.checked_sub(1)).is_ok()
    }

    fn is_member(&self, address: IpAddr) -> bool {
        self.has_members.load(Ordering::SeqCst) && address == Ipv4Addr::LOCALHOST
    }

    fn name(&self) -> &str {
        self.name
    }
}

/// A process that listens.
pub(super) struct Pod {
    listening: Listening,
    script: Arc<Script>,
}

impl Pod {
    async fn start(script: Arc<Script>, host: Arc<Host>, store: Option<(EmbeddedStore, TempDir)>) -> Self {
        Self::with(script, host, store, None).await
    }

    async fn with(script: Arc<Script>, host: Arc<Host>, store: Option<(EmbeddedStore, TempDir)>, tls: Option<crate::Tls>) -> Self {
        let peers: Arc<dyn Peers> = Arc::clone(&script) as _;
        let peer_tls = match &tls {
            Some(own) => Some(PeerTls::load(own, None).await.unwrap()),
            None => None,
        };
        let server = Server::configured(host, Guard::Operator, store, |config| Config { peers: Some(peers), peer_tls, ..config });
        Self { listening: Listening::with(server, tls).await, script }
    }

    /// It has `apps/orders` open, which `access` is asked for.
    async fn host(access: Access) -> Self {
        let (host, store) = Server::host_with_database(|config| DatabaseConfig { access, own_service: true, ..config }).await;
        Self::start(Script::new("host", Place::Here), host, Some(store)).await
    }

    /// It has nothing open.
    async fn other(place: Place) -> Self {
        Self::start(Script::new("other", place), empty_host(), None).await
    }

    pub(super) async fn passing_on_to(host: SocketAddr) -> Self {
        Self::other(Place::At(format!("http://{host}"))).await
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.listening.address
    }

    fn url(&self) -> String {
        format!("http://{}", self.address())
    }

    async fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)], body: impl Into<Body>) -> Reply {
        ask_from(Ipv4Addr::LOCALHOST, self.address(), request(method, path, headers, body)).await
    }

    async fn run(&self, sql: &'static str) -> Reply {
        self.ask("POST", "/apps/orders/sql", &[], sql).await
    }

    /// How many requests of those that it was to pass on ended so.
    async fn outcomes(&self, outcome: &str) -> u64 {
        let text = String::from_utf8(self.listening.server.get("/metrics").await.body).unwrap();
        let series = format!("buckethead_forwarded_requests_total{{outcome=\"{outcome}\"}} ");
        text.lines().find_map(|line| line.strip_prefix(&series)).map_or(0, |count| count.parse().unwrap())
    }
}

/// The host, and one that has to ask it.
async fn two(access: Access) -> (Pod, Pod) {
    let host = Pod::host(access).await;
    let other = Pod::passing_on_to(host.address()).await;
    (host, other)
}

fn request(method: &str, path: &str, headers: &[(&str, &str)], body: impl Into<Body>) -> Request<Body> {
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(body.into()).unwrap()
}

/// Over a connection of its own, which begins at `from`.
async fn ask_from(from: Ipv4Addr, to: SocketAddr, mut request: Request<Body>) -> Reply {
    request.headers_mut().entry(header::HOST).or_insert_with(|| "api.example".parse().unwrap());
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((from, 0).into()).unwrap();
    let stream = TokioIo::new(socket.connect(to).await.unwrap());
    let (mut sender, connection) = hyper::client::conn::http1::handshake(stream).await.unwrap();
    let _connection = spawn_owned(connection);
    read(sender.send_request(request).await.unwrap()).await
}

/// The same over HTTP/2, which has no `Host`.
async fn ask_by_http2(to: SocketAddr, request: Request<Body>) -> Reply {
    let stream = TokioIo::new(tokio::net::TcpStream::connect(to).await.unwrap());
    let (mut sender, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), stream).await.unwrap();
    let _connection = spawn_owned(connection);
    read(sender.send_request(request).await.unwrap()).await
}

async fn read(response: hyper::Response<Incoming>) -> Reply {
    let (head, body) = response.into_parts();
    let body = to_bytes(Body::new(body), usize::MAX).await.unwrap().to_vec();
    Reply { status: head.status, headers: head.headers, body }
}

/// A process that is none of ours, to see what it is sent.
struct Stranger {
    address: SocketAddr,
    _serving: tokio_util::task::AbortOnDropHandle<()>,
}

impl Stranger {
    async fn serving(service: impl crate::Serves) -> Self {
        let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let serving = crate::serve(listener, None, service, tokio_util::sync::CancellationToken::new(), Duration::ZERO);
        Self { address, _serving: spawn_owned(serving) }
    }
}
