//! A database that a server has.

use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use axum::body::Body;
use engine::Point;
use http::{HeaderValue, Response, header, request};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};
use url::Url;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const NAME: &str = concat!("buckethead/", env!("CARGO_PKG_VERSION"));

/// A server, and what it needs to hear of us.
pub(in crate::cli) struct Remote {
    client: Client<HttpsConnector<HttpConnector>, Body>,
    base: Url,
    authorization: Option<HeaderValue>,
    pub(super) point: Point,
}

impl Remote {
    pub(super) fn new(base: Url, token: Option<String>, ca_file: Option<&Path>, point: Point) -> anyhow::Result<Self> {
        let tls = ClientConfig::builder().with_root_certificates(trusted(ca_file)?).with_no_client_auth();
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(CONNECT_TIMEOUT));
        connector.enforce_http(false);
        let connector = HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_all_versions().wrap_connector(connector);
        let authorization = token.map(|token| {
            let mut value = HeaderValue::from_str(&format!("Bearer {token}")).context("the token is no line of visible ASCII")?;
            value.set_sensitive(true);
            anyhow::Ok(value)
        });
        let client = Client::builder(TokioExecutor::new()).build(connector);
        Ok(Self { client, base, authorization: authorization.transpose()?, point })
    }

    /// A redirect is an answer like others: the token goes where its user said, and nowhere else.
    pub(super) async fn send(&self, mut request: request::Builder, route: &str, body: Body) -> anyhow::Result<Response<Body>> {
        let url = self.base.join(route).with_context(|| format!("the route {route}"))?;
        if let Some(authorization) = &self.authorization {
            request = request.header(header::AUTHORIZATION, authorization);
        }
        let request = request.uri(url.as_str()).header(header::USER_AGENT, NAME).body(body).context("the request")?;
        let response = self.client.request(request).await.with_context(|| format!("asking {}", super::shown(&self.base)))?;
        Ok(response.map(Body::new))
    }
}

/// The system's authorities, and that of `--ca-file`.
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
