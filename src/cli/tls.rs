//! The certificate that the API shows to clients, and whom it believes when it is a client itself.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;
use api::{PeerTls, Tls, TlsFiles};
use controller::Scheme;
use engine::SystemClock;

/// Where it lies.
#[derive(Debug, clap::Args)]
#[group(skip)]
pub(super) struct Arguments {
    /// Speak TLS with this certificate: a PEM file, the server's own first, then those between it and its authority. Renewed while we run when
    /// the files change.
    #[arg(long, value_name = "FILE", env = "BUCKETHEAD_TLS_CERT", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// The private key of --tls-cert: a PEM file without a passphrase.
    #[arg(long, value_name = "FILE", env = "BUCKETHEAD_TLS_KEY", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
}

impl Arguments {
    /// What is spoken.
    pub(super) fn scheme(&self) -> Scheme {
        if self.tls_cert.is_some() { Scheme::Https } else { Scheme::Http }
    }

    /// The certificate with its key, if one is named.
    pub(super) async fn load(&self) -> anyhow::Result<Option<Tls>> {
        let (Some(certificate), Some(key)) = (self.tls_cert.clone(), self.tls_key.clone()) else { return Ok(None) };
        let named = format!("--tls-cert {} with --tls-key {} cannot be used", certificate.display(), key.display());
        let tls = Tls::load(TlsFiles { certificate, key }, Arc::new(SystemClock)).await.context(named)?;
        Ok(Some(tls))
    }
}

/// By what the other Pods of the operator are known.
#[derive(Debug, clap::Args)]
#[group(skip)]
pub(super) struct PeerArguments {
    /// Believe other Pods of the operator, too, whose certificate this authority signed for the name of --public-url: a PEM file, such as the
    /// `ca.crt` of cert-manager. Without it only those that show the certificate of --tls-cert, or one that was there before.
    #[arg(long, value_name = "FILE", env = "BUCKETHEAD_TLS_PEER_CA", requires = "tls_cert")]
    tls_peer_ca: Option<PathBuf>,
}

impl PeerArguments {
    /// By what they are known, if TLS is spoken.
    pub(super) async fn load(&self, own: Option<&Tls>) -> anyhow::Result<Option<PeerTls>> {
        let Some(own) = own else { return Ok(None) };
        let peers = PeerTls::load(own, self.tls_peer_ca.clone()).await.context("--tls-peer-ca cannot be used")?;
        Ok(Some(peers))
    }
}
