use std::fs;
use std::os::unix::fs::symlink;

use axum::Router;
use axum::routing::get;
use engine::{SystemClock, WallTime, spawn_owned};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Bytes;
use hyper::{Request, StatusCode, Version};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ProtocolVersion, RootCertStore, SupportedProtocolVersion};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio_rustls::{TlsConnector, client};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::*;

#[path = "../../../tests/it/support/certificate.rs"]
mod certificate;
pub(super) use certificate::make_certificate;

/// A certificate that is its own authority, with its key.
pub(crate) struct Pair {
    folder: TempDir,
}

impl Pair {
    pub(crate) fn new() -> Self {
        let folder = TempDir::new().unwrap();
        // A client of rustls takes no authority for a server.
        make_certificate(folder.path(), &["subjectAltName=DNS:localhost", "basicConstraints=critical,CA:FALSE"]);
        Self { folder }
    }

    pub(crate) fn files(&self) -> TlsFiles {
        files_in(self.folder.path())
    }

    pub(crate) async fn load(&self) -> Tls {
        Tls::load(self.files(), Arc::new(SystemClock)).await.unwrap()
    }

    /// For a client that trusts this pair alone.
    pub(crate) fn connector(&self) -> TlsConnector {
        connector(&[self], &[], &[&TLS13, &TLS12])
    }

    fn certificate(&self) -> CertificateDer<'static> {
        CertificateDer::from_pem_file(self.files().certificate).unwrap()
    }
}

fn files_in(folder: &Path) -> TlsFiles {
    TlsFiles { certificate: folder.join("tls.crt"), key: folder.join("tls.key") }
}

fn connector(trusted: &[&Pair], protocols: &[&[u8]], versions: &[&'static SupportedProtocolVersion]) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    for pair in trusted {
        roots.add(pair.certificate()).unwrap();
    }
    let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    TlsConnector::from(Arc::new(config))
}

/// A Secret in a folder, as Kubernetes mounts and renews it.
pub(super) struct Mounted {
    folder: TempDir,
}

impl Mounted {
    pub(super) fn with(pair: &Pair) -> Self {
        let mounted = Self { folder: TempDir::new().unwrap() };
        for file in ["tls.crt", "tls.key"] {
            symlink(Path::new("..data").join(file), mounted.folder.path().join(file)).unwrap();
        }
        mounted.hold(&pair.files());
        mounted
    }

    pub(super) fn files(&self) -> TlsFiles {
        files_in(self.folder.path())
    }

    pub(super) fn hold(&self, files: &TlsFiles) {
        let renewed = tempfile::Builder::new().prefix("..").tempdir_in(self.folder.path()).unwrap().keep();
        fs::copy(&files.certificate, renewed.join("tls.crt")).unwrap();
        fs::copy(&files.key, renewed.join("tls.key")).unwrap();
        let link = self.folder.path().join("..data_tmp");
        symlink(renewed, &link).unwrap();
        fs::rename(link, self.folder.path().join("..data")).unwrap();
    }
}

/// A clock that a test moves by hand.
#[derive(Debug, Clone)]
pub(super) struct Hands(Arc<Mutex<Instant>>);

impl Hands {
    pub(super) fn new() -> Self {
        Self(Arc::new(Mutex::new(SystemClock.now())))
    }

    pub(super) fn forward(&self, time: Duration) {
        *self.0.lock() += time;
    }
}

impl Clock for Hands {
    fn wall(&self) -> WallTime {
        SystemClock.wall()
    }

    fn now(&self) -> Instant {
        *self.0.lock()
    }
}

/// What listens, with one route.
pub(super) struct Server {
    pub(super) address: std::net::SocketAddr,
    shutdown: CancellationToken,
    serving: AbortOnDropHandle<()>,
}

impl Server {
    pub(super) async fn start(tls: Tls) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, shutdown) = (listener.local_addr().unwrap(), CancellationToken::new());
        let router = Router::new().route("/", get(async || "hello"));
        let serving = spawn_owned(crate::serve(listener, Some(tls), router, shutdown.clone(), Duration::from_hours(1)));
        Self { address, shutdown, serving }
    }

    async fn tcp(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    async fn shake_hands(&self, connector: &TlsConnector) -> client::TlsStream<TcpStream> {
        connector.connect(ServerName::try_from("localhost").unwrap(), self.tcp().await).await.unwrap()
    }

    fn request(&self) -> Request<Empty<Bytes>> {
        Request::get(format!("https://{}/", self.address)).header("host", "localhost").body(Empty::new()).unwrap()
    }
}

/// A connection that requests are sent by.
struct Http1 {
    sender: hyper::client::conn::http1::SendRequest<Empty<Bytes>>,
    shown: CertificateDer<'static>,
    _connection: AbortOnDropHandle<hyper::Result<()>>,
}

impl Http1 {
    async fn over(stream: client::TlsStream<TcpStream>) -> Self {
        let shown = stream.get_ref().1.peer_certificates().unwrap()[0].clone().into_owned();
        let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        Self { sender, shown, _connection: spawn_owned(connection) }
    }

    async fn ask(&mut self, server: &Server) -> (Version, Bytes) {
        self.sender.ready().await.unwrap();
        let response = self.sender.send_request(server.request()).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        (response.version(), response.into_body().collect().await.unwrap().to_bytes())
    }
}

#[tokio::test]
async fn http_1_is_spoken_over_tls_of_both_versions() {
    let pair = Pair::new();
    let server = Server::start(pair.load().await).await;
    for (version, name) in [(&TLS13, ProtocolVersion::TLSv1_3), (&TLS12, ProtocolVersion::TLSv1_2)] {
        for (offered, chosen) in [(&[&b"http/1.1"[..]][..], Some(&b"http/1.1"[..])), (&[], None)] {
            let stream = server.shake_hands(&connector(&[&pair], offered, &[version])).await;
            let session = stream.get_ref().1;
            assert_eq!((session.protocol_version(), session.alpn_protocol()), (Some(name), chosen));
            assert_eq!(Http1::over(stream).await.ask(&server).await, (Version::HTTP_11, Bytes::from_static(b"hello")));
        }
    }
}

#[tokio::test]
async fn http_2_is_chosen_where_a_client_offers_it() {
    let pair = Pair::new();
    let server = Server::start(pair.load().await).await;
    let stream = server.shake_hands(&connector(&[&pair], &[b"http/1.1", b"h2"], &[&TLS13])).await;
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let (mut sender, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    let _connection = spawn_owned(connection);
    let response = sender.send_request(server.request()).await.unwrap();
    assert_eq!((response.status(), response.version()), (StatusCode::OK, Version::HTTP_2));
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "hello");
}

#[tokio::test]
async fn a_renewed_certificate_is_shown_to_who_comes_then_and_others_go_on() {
    let (before, after) = (Pair::new(), Pair::new());
    let (mounted, clock) = (Mounted::with(&before), Hands::new());
    let server = Server::start(Tls::load(mounted.files(), Arc::new(clock.clone())).await.unwrap()).await;
    let both = connector(&[&before, &after], &[b"http/1.1"], &[&TLS13, &TLS12]);
    let connect = async || Http1::over(server.shake_hands(&both).await).await;
    let mut old = connect().await;
    old.ask(&server).await;

    mounted.hold(&after.files());
    let last = Duration::from_millis(1);
    clock.forward(LOOK_AGAIN.saturating_sub(last));
    assert_eq!(connect().await.shown, before.certificate(), "the last look is not old enough");
    clock.forward(last);
    let mut new = connect().await;
    assert_eq!(new.shown, after.certificate());
    assert_eq!(old.ask(&server).await.1, "hello");
    assert_eq!(new.ask(&server).await.1, "hello");
}

#[tokio::test]
async fn what_does_not_fit_together_never_comes_into_force_and_is_told_once_for_each_change() {
    let (before, after) = (Pair::new(), Pair::new());
    let mounted = Mounted::with(&before);
    let tls = Tls::load(mounted.files(), Arc::new(SystemClock)).await.unwrap();
    let in_force = || Arc::clone(&tls.state.lock().in_force);
    let first = in_force();
    assert!(matches!(tls.look().await, Look::Same));

    let mixed = TlsFiles { certificate: after.files().certificate, key: before.files().key };
    for _ in 0..2 {
        mounted.hold(&mixed);
        let look = tls.look().await;
        assert!(matches!(&look, Look::Unusable(TlsError::Apart { .. })), "{look:?}");
        assert!(matches!(tls.look().await, Look::StillUnusable));
    }
    fs::remove_file(mounted.folder.path().join("..data")).unwrap();
    let look = tls.look().await;
    assert!(matches!(&look, Look::Unusable(TlsError::Unreadable { file, .. }) if *file == mounted.files().certificate), "{look:?}");
    assert!(matches!(tls.look().await, Look::StillUnusable));
    assert!(Arc::ptr_eq(&first, &in_force()), "through all of this");

    mounted.hold(&after.files());
    assert!(matches!(tls.look().await, Look::Renewed));
    assert!(!Arc::ptr_eq(&first, &in_force()));
    assert!(matches!(tls.look().await, Look::Same));
}

#[tokio::test]
async fn a_file_that_is_written_over_in_its_place_is_seen_too() {
    let (pair, other) = (Pair::new(), Pair::new());
    let tls = pair.load().await;
    fs::copy(other.files().key, pair.files().key).unwrap();
    let changed = SystemTime::UNIX_EPOCH + Duration::from_secs(1);
    fs::File::options().append(true).open(pair.files().key).unwrap().set_modified(changed).unwrap();
    assert!(matches!(tls.look().await, Look::Unusable(TlsError::Apart { .. })), "between both files");
    fs::copy(other.files().certificate, pair.files().certificate).unwrap();
    assert!(matches!(tls.look().await, Look::Renewed));
}

#[tokio::test]
async fn a_file_that_is_of_no_use_is_named_with_what_it_should_hold() {
    let (pair, other) = (Pair::new(), Pair::new());
    let TlsFiles { certificate, key } = pair.files();
    let nothing = pair.folder.path().join("nothing");
    fs::write(&nothing, "not PEM").unwrap();
    let missing = pair.folder.path().join("missing");
    for (certificate, key, said) in [
        (&missing, &key, format!("cannot read {}", missing.display())),
        (&certificate, &missing, format!("cannot read {}", missing.display())),
        (&nothing, &key, format!("{} holds no certificate", nothing.display())),
        (&key, &key, format!("{} holds no certificate", key.display())),
        (&certificate, &nothing, format!("{} holds no private key", nothing.display())),
        (&certificate, &certificate, format!("{} holds no private key", certificate.display())),
        (&certificate, &other.files().key, format!("the key in {} is not that of the", other.files().key.display())),
    ] {
        let files = TlsFiles { certificate: certificate.clone(), key: key.clone() };
        let error = Tls::load(files, Arc::new(SystemClock)).await.unwrap_err().to_string();
        assert!(error.starts_with(&said), "{error}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_handshake_that_is_not_gone_on_with_is_ended() {
    let pair = Pair::new();
    let server = Server::start(pair.load().await).await;
    let began = SystemClock.now();
    for said in [&b""[..], b"\x16\x03\x01\x02\x00\x01"] {
        let mut stream = server.tcp().await;
        stream.write_all(said).await.unwrap();
        let mut answer = Vec::new();
        // One that is reset has ended, too.
        let _ = stream.read_to_end(&mut answer).await;
        assert_eq!(answer, b"");
    }
    let took = SystemClock.now() - began;
    assert!(took >= HANDSHAKE_TIMEOUT && took <= 3 * HANDSHAKE_TIMEOUT, "{took:?}");
}

#[tokio::test]
async fn who_says_nothing_keeps_nobody_waiting_and_does_not_hold_up_the_end() {
    let pair = Pair::new();
    let mut server = Server::start(pair.load().await).await;
    let silent = server.tcp().await;
    let mut http = Http1::over(server.shake_hands(&pair.connector()).await).await;
    assert_eq!(http.ask(&server).await.1, "hello");
    let error = silent.try_read(&mut [0]).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::WouldBlock, "it still may begin");
    drop(http);
    server.shutdown.cancel();
    (&mut server.serving).await.unwrap();
}

#[tokio::test]
async fn who_speaks_http_without_tls_is_told_so() {
    let pair = Pair::new();
    let server = Server::start(pair.load().await).await;
    for request in ["GET / HTTP/1.1\r\nhost: localhost\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"] {
        let mut stream = server.tcp().await;
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 400 ") && answer.ends_with("\r\n\r\nTLS is spoken here: ask by https://\n"), "{answer}");
    }
}

#[tokio::test]
async fn what_is_neither_is_ended() {
    let pair = Pair::new();
    let server = Server::start(pair.load().await).await;
    let mut stream = server.tcp().await;
    stream.write_all(&[0; 64]).await.unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    assert!(answer.len() < 16, "an alert at most: {answer:?}");
}
