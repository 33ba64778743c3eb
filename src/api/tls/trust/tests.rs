use std::fs;
use std::process::Command;

use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use rustls::server::ResolvesServerCert;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::version::{TLS12, TLS13};
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::super::tests::{Hands, Mounted, Pair, Server};
use super::*;

const PUBLIC: &str = "buckethead.system.svc";

/// Whether a handshake with what listens there succeeds.
async fn believes(trust: &Arc<Trust>, address: std::net::SocketAddr) -> bool {
    let connector = TlsConnector::from(Arc::new(Arc::clone(trust).client_config()));
    let stream = TcpStream::connect(address).await.unwrap();
    // As an address within the cluster, for which no certificate is.
    connector.connect(ServerName::try_from("10.1.2.3").unwrap(), stream).await.is_ok()
}

async fn trust_of(own: &Tls, authority: Option<PathBuf>) -> Arc<Trust> {
    Arc::new(Trust::new(Some(PeerTls::load(own, authority).await.unwrap()), Some(PUBLIC)))
}

/// An authority, and what it signs.
struct Issuer(TempDir);

impl Issuer {
    fn new() -> Self {
        let folder = TempDir::new().unwrap();
        super::super::tests::make_certificate(folder.path(), &["basicConstraints=critical,CA:TRUE"]);
        Self(folder)
    }

    fn file(&self) -> PathBuf {
        self.0.path().join("tls.crt")
    }

    fn sign(&self, name: &str) -> Pair {
        let pair = Pair::new();
        let files = pair.files();
        let run = |arguments: &[&str]| {
            let made = Command::new("openssl").args(arguments).current_dir(self.0.path()).output().unwrap();
            assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        };
        let (certificate, key) = (files.certificate.to_str().unwrap(), files.key.to_str().unwrap());
        let subject = format!("subjectAltName=DNS:{name}");
        run(&["req", "-new", "-key", key, "-subj", "/CN=signed", "-addext", &subject, "-out", "request"]);
        run(&[
            "x509",
            "-req",
            "-in",
            "request",
            "-CA",
            "tls.crt",
            "-CAkey",
            "tls.key",
            "-days",
            "2",
            "-copy_extensions",
            "copy",
            "-out",
            certificate,
        ]);
        pair
    }
}

#[tokio::test]
async fn whoever_has_our_certificate_is_one_of_us_and_nobody_else() {
    let (ours, others) = (Pair::new(), Pair::new());
    let trust = trust_of(&ours.load().await, None).await;
    assert!(believes(&trust, Server::start(ours.load().await).await.address).await);
    assert!(!believes(&trust, Server::start(others.load().await).await.address).await);
    let nobody = Arc::new(Trust::new(None, Some(PUBLIC)));
    assert!(!believes(&nobody, Server::start(ours.load().await).await.address).await);
}

#[tokio::test]
async fn our_certificate_without_its_key_convinces_nobody() {
    let (ours, others) = (Pair::new(), Pair::new());
    let trust = trust_of(&ours.load().await, None).await;
    for (pair, is_believed) in [(&ours, true), (&others, false)] {
        let chain = vec![CertificateDer::from_pem_file(ours.files().certificate).unwrap()];
        let key = PrivateKeyDer::from_pem_file(pair.files().key).unwrap();
        let shown = CertifiedKey::new(chain, ring::sign::any_supported_type(&key).unwrap());
        for version in [&TLS13, &TLS12] {
            let resolver: Arc<dyn ResolvesServerCert> = Arc::new(SingleCertAndKey::from(shown.clone()));
            let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
                .with_protocol_versions(&[version])
                .unwrap()
                .with_no_client_auth()
                .with_cert_resolver(resolver);
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let accept = async {
                let (stream, _) = listener.accept().await.unwrap();
                TlsAcceptor::from(Arc::new(config)).accept(stream).await.ok()
            };
            let (believed, _stream) = tokio::join!(believes(&trust, address), accept);
            assert_eq!(believed, is_believed, "{version:?}");
        }
    }
}

#[tokio::test]
async fn a_renewed_certificate_is_believed_and_the_one_before_still() {
    let (before, after) = (Pair::new(), Pair::new());
    let (mounted, clock) = (Mounted::with(&before), Hands::new());
    let trust = trust_of(&Tls::load(mounted.files(), Arc::new(clock.clone())).await.unwrap(), None).await;
    let (old, new) = (Server::start(before.load().await).await, Server::start(after.load().await).await);
    let believed = async || {
        trust.look().await;
        (believes(&trust, old.address).await, believes(&trust, new.address).await)
    };
    assert_eq!(believed().await, (true, false));
    mounted.hold(&after.files());
    assert_eq!(believed().await, (true, false), "the last look is not old enough");
    clock.forward(LOOK_AGAIN);
    assert_eq!(believed().await, (true, true));
    for _ in 0..super::super::REMEMBERED {
        mounted.hold(&Pair::new().files());
        clock.forward(LOOK_AGAIN);
        trust.look().await;
    }
    assert_eq!(believed().await, (false, false), "not for ever");
}

#[tokio::test]
async fn whom_the_authority_signed_for_the_public_name_is_believed() {
    let (issuer, another, ours) = (Issuer::new(), Issuer::new(), Pair::new());
    let trust = trust_of(&ours.load().await, Some(issuer.file())).await;
    for (pair, is_believed) in
        [(&issuer.sign(PUBLIC), true), (&issuer.sign("orders.apps.svc"), false), (&another.sign(PUBLIC), false), (&ours, true)]
    {
        assert_eq!(believes(&trust, Server::start(pair.load().await).await.address).await, is_believed);
    }
    let without = trust_of(&ours.load().await, None).await;
    assert!(!believes(&without, Server::start(issuer.sign(PUBLIC).load().await).await.address).await);
}

#[tokio::test]
async fn an_authority_is_renewed_and_what_is_none_changes_nothing() {
    let (before, after, ours) = (Issuer::new(), Issuer::new(), Pair::new());
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("ca.crt");
    fs::copy(before.file(), &file).unwrap();
    let clock = Hands::new();
    let trust = trust_of(&Tls::load(ours.files(), Arc::new(clock.clone())).await.unwrap(), Some(file.clone())).await;
    let servers = [Server::start(before.sign(PUBLIC).load().await).await, Server::start(after.sign(PUBLIC).load().await).await];
    let believed = async || {
        clock.forward(LOOK_AGAIN);
        trust.look().await;
        [believes(&trust, servers[0].address).await, believes(&trust, servers[1].address).await]
    };
    assert_eq!(believed().await, [true, false]);
    fs::write(&file, "not PEM").unwrap();
    assert_eq!(believed().await, [true, false], "none");
    fs::copy(after.file(), folder.path().join("new")).unwrap();
    fs::rename(folder.path().join("new"), &file).unwrap();
    assert_eq!(believed().await, [false, true]);
}

#[tokio::test]
async fn a_file_without_an_authority_is_named() {
    let folder = TempDir::new().unwrap();
    let (own, nothing) = (Pair::new().load().await, folder.path().join("nothing"));
    for (text, said) in [(None, "cannot read"), (Some("not PEM"), "holds no certificate of an authority")] {
        if let Some(text) = text {
            fs::write(&nothing, text).unwrap();
        }
        let error = PeerTls::load(&own, Some(nothing.clone())).await.unwrap_err().to_string();
        assert!(error.contains(said) && error.contains("nothing"), "{error}");
    }
}
