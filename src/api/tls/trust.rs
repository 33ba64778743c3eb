//! Whom we believe that they are one of us, when we ask another process of the group.
//!
//! All have the same certificate from the same Secret, so whoever shows ours and proves to have its key is one of us. For the time in which some
//! have a renewed one already, and where each has its own, there may be an authority.
//! Owns: that decision, and the authority's file. Does not own: our own certificate (`Tls`), nor what is asked (`forward`).
//! Invariant: a certificate alone convinces nobody; the handshake's signature is verified in each case.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use engine::Clock;
use parking_lot::Mutex;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio::time::Instant;

use super::{LOOK_AGAIN, Stamp, Tls, TlsError, stamp};

/// By what another process of the group is known.
#[derive(Debug, Clone)]
pub struct PeerTls {
    own: Tls,
    authority: Option<Arc<Authority>>,
}

impl PeerTls {
    /// By the certificate that is in force here, or was not long ago; or, with the file of an authority in PEM, by any that it signed for the
    /// public name.
    pub async fn load(own: &Tls, authority: Option<PathBuf>) -> Result<Self, TlsError> {
        let authority = match authority {
            Some(file) => Some(Arc::new(Authority::load(file, Arc::clone(&own.clock)).await?)),
            None => None,
        };
        Ok(Self { own: own.clone(), authority })
    }
}

/// Decides within handshakes.
#[derive(Debug)]
pub(crate) struct Trust {
    known: Option<PeerTls>,
    /// For whom the authority's signature counts.
    public_host: Option<ServerName<'static>>,
    provider: CryptoProvider,
}

impl Trust {
    /// Without `known` nobody is believed.
    pub(crate) fn new(known: Option<PeerTls>, public_host: Option<&str>) -> Self {
        let public_host = public_host.and_then(|host| ServerName::try_from(host.to_owned()).ok());
        Self { known, public_host, provider: ring::default_provider() }
    }

    /// What a client is made of that believes as this does.
    pub(crate) fn client_config(self: Arc<Self>) -> ClientConfig {
        ClientConfig::builder_with_provider(Arc::new(self.provider.clone()))
            .with_safe_default_protocol_versions()
            .expect("the provider has suites of both versions")
            .dangerous()
            .with_custom_certificate_verifier(self)
            .with_no_client_auth()
    }

    /// After that it decides by files of which the last look is not too old.
    pub(crate) async fn look(&self) {
        let Some(PeerTls { own, authority }) = &self.known else { return };
        own.current().await;
        if let Some(authority) = authority {
            authority.look().await;
        }
    }
}

impl ServerCertVerifier for Trust {
    /// The name in the URL is an address within the cluster, for which there is no certificate.
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let unknown = rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer);
        let Some(PeerTls { own, authority }) = &self.known else { return Err(unknown) };
        if own.has_shown(end_entity) {
            return Ok(ServerCertVerified::assertion());
        }
        let (Some(authority), Some(public_host)) = (authority, &self.public_host) else { return Err(unknown) };
        authority.in_force().verify_server_cert(end_entity, intermediates, public_host, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// Who signs certificates of the group, as it is in a file that is renewed while we run.
#[derive(Debug)]
struct Authority {
    file: PathBuf,
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    in_force: Arc<WebPkiServerVerifier>,
    /// The file as it was when it was last read, of use or not.
    read: Option<Stamp>,
    looked: Instant,
}

impl Authority {
    async fn load(file: PathBuf, clock: Arc<dyn Clock>) -> Result<Self, TlsError> {
        let read = stamp(&file).await;
        let in_force = verifier(&file).await?;
        let state = Mutex::new(State { in_force, read, looked: clock.now() });
        Ok(Self { file, clock, state })
    }

    fn in_force(&self) -> Arc<WebPkiServerVerifier> {
        Arc::clone(&self.state.lock().in_force)
    }

    async fn look(&self) {
        let now = self.clock.now();
        {
            let mut state = self.state.lock();
            if now.duration_since(state.looked) < LOOK_AGAIN {
                return;
            }
            state.looked = now;
        }
        let stamp = stamp(&self.file).await;
        if self.state.lock().read == stamp {
            return;
        }
        let renewed = verifier(&self.file).await;
        let mut state = self.state.lock();
        state.read = stamp;
        match renewed {
            Ok(in_force) => {
                state.in_force = in_force;
                tracing::info!(file = %self.file.display(), "the authority of other processes was renewed");
            }
            Err(error) => {
                let error: &dyn std::error::Error = &error;
                tracing::error!(error, "the authority of other processes cannot be renewed; the one before stays until the file is mended");
            }
        }
    }
}

/// Whom the file makes us believe.
async fn verifier(file: &Path) -> Result<Arc<WebPkiServerVerifier>, TlsError> {
    let malformed = |source| TlsError::Malformed { file: file.to_owned(), wanted: "certificate of an authority", source };
    let text = tokio::fs::read(file).await.map_err(|source| TlsError::Unreadable { file: file.to_owned(), source })?;
    let certificates = CertificateDer::pem_slice_iter(&text).collect::<Result<Vec<_>, _>>().map_err(malformed)?;
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(certificates);
    WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::new(ring::default_provider()))
        .build()
        .map_err(|_| malformed(pem::Error::NoItemsFound))
}

#[cfg(test)]
mod tests;
