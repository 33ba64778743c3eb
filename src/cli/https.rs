//! Connections to servers, with TLS or without as the URL has it.

use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// What clients are called.
pub(super) const NAME: &str = concat!("buckethead/", env!("CARGO_PKG_VERSION"));

/// Believes the system's authorities, and that of `--ca-file`.
pub(super) fn connector(ca_file: Option<&Path>) -> anyhow::Result<HttpsConnector<HttpConnector>> {
    let tls = client(ca_file)?;
    let mut connector = HttpConnector::new();
    connector.set_connect_timeout(Some(CONNECT_TIMEOUT));
    connector.enforce_http(false);
    Ok(HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_all_versions().wrap_connector(connector))
}

/// Whom a client believes.
pub(super) fn client(ca_file: Option<&Path>) -> anyhow::Result<ClientConfig> {
    Ok(ClientConfig::builder().with_root_certificates(trusted(ca_file)?).with_no_client_auth())
}

fn trusted(ca_file: Option<&Path>) -> anyhow::Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if let Some(path) = ca_file {
        let cannot = || format!("cannot read the certificates of --ca-file {}", path.display());
        for certificate in CertificateDer::pem_file_iter(path).with_context(cannot)? {
            roots.add(certificate.with_context(cannot)?).with_context(cannot)?;
        }
    }
    Ok(roots)
}
