//! TLS towards clients: a certificate with its key, from files that are renewed while we run.
//!
//! Owns: reading the files, when they are looked at again, and the handshake. Does not own: what is said once it is over (`serve`), nor whom
//! we believe when we are the client (`trust`).
//! Invariants: a pair that does not fit together is never in force; a client that says nothing costs nobody else anything; without
//! connections nothing is looked at.

mod trust;

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use engine::Clock;
use parking_lot::Mutex;
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::version::{TLS12, TLS13};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

pub use trust::PeerTls;
pub(crate) use trust::Trust;

/// How old the last look at the files is at least when a connection has them looked at again.
const LOOK_AGAIN: Duration = Duration::from_secs(10);

/// How long a client may take for the handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// How many certificates are remembered that were in force. Others who have the same files may see a change of them sooner or later than we.
const REMEMBERED: usize = 4;

/// What we speak once the handshake is over, the better first.
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// Where a certificate and its key lie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// The chain in PEM, the server's own certificate first.
    pub certificate: PathBuf,
    /// Its private key in PEM.
    pub key: PathBuf,
}

/// Why a pair of files is of no use.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// It is not there, or not for us.
    #[error("cannot read {}: let this process read it", file.display())]
    Unreadable {
        /// Which of the two.
        file: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It is not what it should be.
    #[error("{} holds no {wanted} that can be read: write it in PEM", file.display())]
    Malformed {
        /// Which of the two.
        file: PathBuf,
        /// What should be in it.
        wanted: &'static str,
        /// What is wrong with it.
        source: pem::Error,
    },
    /// Each may be good by itself.
    #[error("the key in {} is not that of the certificate in {}: renew both together", key.display(), certificate.display())]
    Apart {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's.
        key: PathBuf,
        /// What is wrong with them.
        source: rustls::Error,
    },
}

/// A certificate with its key, as they are in two files. Clones are the same.
#[derive(Debug, Clone)]
pub struct Tls {
    files: TlsFiles,
    clock: Arc<dyn Clock>,
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    in_force: Arc<ServerConfig>,
    /// The server's own certificates that are or were in force, the newest last.
    shown: VecDeque<CertificateDer<'static>>,
    /// The files as they were when it was read.
    read: Stamps,
    looked: Instant,
    /// The change that could not be followed and was told of.
    told: Option<Stamps>,
}

/// By what a change of the files is seen. Where one is not there, nothing.
type Stamps = [Option<Stamp>; 2];

#[derive(Debug, Clone, PartialEq, Eq)]
struct Stamp {
    /// Behind all links: Kubernetes renews a Secret by leading one to another folder.
    path: PathBuf,
    modified: SystemTime,
    size: u64,
}

impl Tls {
    /// Reads the files for the first time.
    pub async fn load(files: TlsFiles, clock: Arc<dyn Clock>) -> Result<Self, TlsError> {
        let read = stamps(&files).await;
        let Pair { config, certificate } = pair(&files).await?;
        let state = State { in_force: config, shown: VecDeque::from([certificate]), read, looked: clock.now(), told: None };
        Ok(Self { files, clock, state: Arc::new(Mutex::new(state)) })
    }

    /// Shakes hands with a client within the time that one has for that.
    pub(crate) async fn accept(&self, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        let handshake = async {
            let config = self.current().await;
            let stream = not_plain(stream).await?;
            TlsAcceptor::from(config).accept(stream).await
        };
        tokio::time::timeout(HANDSHAKE_TIMEOUT, handshake).await?
    }

    /// The pair that is in force, after a look at the files if the last one is too old. Others do not wait for who looks.
    async fn current(&self) -> Arc<ServerConfig> {
        if self.is_mine_to_look() {
            match self.look().await {
                Look::Same | Look::StillUnusable => {}
                Look::Renewed => tracing::info!(certificate = %self.files.certificate.display(), "the certificate was renewed"),
                Look::Unusable(error) => {
                    let error: &dyn std::error::Error = &error;
                    tracing::error!(error, "the certificate cannot be renewed; the one before stays in force until the files are mended");
                }
            }
        }
        Arc::clone(&self.state.lock().in_force)
    }

    /// Whether this certificate is in force, or was not long ago.
    fn has_shown(&self, certificate: &CertificateDer<'_>) -> bool {
        self.state.lock().shown.contains(certificate)
    }

    fn is_mine_to_look(&self) -> bool {
        let now = self.clock.now();
        let mut state = self.state.lock();
        let is_mine = now.duration_since(state.looked) >= LOOK_AGAIN;
        if is_mine {
            state.looked = now;
        }
        is_mine
    }

    async fn look(&self) -> Look {
        // Before they are read: what changes meanwhile is seen by the next look.
        let stamps = stamps(&self.files).await;
        if self.state.lock().read == stamps {
            return Look::Same;
        }
        let pair = pair(&self.files).await;
        let mut state = self.state.lock();
        match pair {
            Ok(Pair { config, certificate }) => {
                state.in_force = config;
                state.shown.push_back(certificate);
                if state.shown.len() > REMEMBERED {
                    state.shown.pop_front();
                }
                state.read = stamps;
                state.told = None;
                Look::Renewed
            }
            Err(_) if state.told.as_ref() == Some(&stamps) => Look::StillUnusable,
            Err(error) => {
                state.told = Some(stamps);
                Look::Unusable(error)
            }
        }
    }
}

/// What a look at the files showed.
#[derive(Debug)]
enum Look {
    /// Those that are in force.
    Same,
    /// Others, which are in force now.
    Renewed,
    /// Others, which are of no use.
    Unusable(TlsError),
    /// Those that were of no use before.
    StillUnusable,
}

/// A client that speaks HTTP without TLS is told so, and goes.
async fn not_plain(mut stream: TcpStream) -> io::Result<TcpStream> {
    /// Longer than the head of most requests.
    const HEAD: usize = 8 << 10;
    let mut first = [0];
    stream.peek(&mut first).await?;
    // A handshake begins with 22, a request with its method.
    if !first[0].is_ascii_uppercase() {
        return Ok(stream);
    }
    // What is left unread when we close would take the answer with it. It may be less than the whole head, which nobody looks at anyway.
    let _ = stream.read(&mut vec![0; HEAD]).await?;
    stream.write_all(PLAIN).await?;
    stream.shutdown().await?;
    Err(io::Error::new(io::ErrorKind::InvalidData, "the client speaks HTTP without TLS"))
}

/// The answer to such a client.
const PLAIN: &[u8] =
    b"HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain; charset=utf-8\r\nconnection: close\r\ncontent-length: 36\r\n\r\n\
    TLS is spoken here: ask by https://\n";

async fn stamps(files: &TlsFiles) -> Stamps {
    [stamp(&files.certificate).await, stamp(&files.key).await]
}

async fn stamp(file: &Path) -> Option<Stamp> {
    let path = tokio::fs::canonicalize(file).await.ok()?;
    let metadata = tokio::fs::metadata(&path).await.ok()?;
    Some(Stamp { path, modified: metadata.modified().ok()?, size: metadata.len() })
}

/// What is in the files.
struct Pair {
    config: Arc<ServerConfig>,
    /// The server's own.
    certificate: CertificateDer<'static>,
}

/// Reads them, if they fit together.
async fn pair(files: &TlsFiles) -> Result<Pair, TlsError> {
    let TlsFiles { certificate, key } = files;
    let read = async |file: &PathBuf| tokio::fs::read(file).await.map_err(|source| TlsError::Unreadable { file: file.clone(), source });
    let (certificates, keys) = (read(certificate).await?, read(key).await?);
    let malformed = |file: &PathBuf, wanted| {
        let file = file.clone();
        move |source| TlsError::Malformed { file, wanted, source }
    };
    let chain = CertificateDer::pem_slice_iter(&certificates).collect::<Result<Vec<_>, _>>();
    let (chain, own) = chain
        .and_then(|chain| chain.first().cloned().map(|own| (chain, own)).ok_or(pem::Error::NoItemsFound))
        .map_err(malformed(certificate, "certificate"))?;
    let private = PrivateKeyDer::from_pem_slice(&keys).map_err(malformed(key, "private key without a passphrase"))?;
    let apart = |source| TlsError::Apart { certificate: certificate.clone(), key: key.clone(), source };
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[&TLS13, &TLS12])
        .map_err(apart)?
        .with_no_client_auth()
        .with_single_cert(chain, private)
        .map_err(apart)?;
    config.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).to_vec();
    Ok(Pair { config: Arc::new(config), certificate: own })
}

#[cfg(test)]
pub(crate) mod tests;
