//! The HTTP client of all stores: TLS trust, proxies, and the endpoint rules on every connection.
//!
//! Owns: connections and what they trust. Does not own: requests, retries, errors' meaning.
//! Invariant: without a proxy, a socket is opened only to an address that [`endpoint::check`] let pass for this very connection; the
//! answer of the name server is checked and used, never asked for twice.

use std::net::IpAddr;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use aws_credential_types::provider::error::CredentialsError;
use aws_smithy_http_client::Connector;
use aws_smithy_http_client::proxy::ProxyConfig;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_http_client::tls::{Provider, TlsContext, TrustStore};
use aws_smithy_runtime_api::client::dns::{DnsFuture, ResolveDns, ResolveDnsError};
use aws_smithy_runtime_api::client::http::{
    HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient, SharedHttpConnector, http_client_fn,
};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_runtime_api::client::result::ConnectorError;
use hyper_util::client::proxy::matcher::Matcher;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use crate::bucket::endpoint::{self, EndpointPolicy, Refusal};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Shorter than the time after which stores close idle connections, so that a request is not lost to a closing one.
const IDLE_TIMEOUT: Duration = Duration::from_secs(15);

/// Certificates that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("the CA bundle holds {0}")]
pub(in crate::bucket) struct BadCaBundle(String);

/// The proxies that requests go through, and which requests do.
#[derive(Clone)]
pub(in crate::bucket) struct Proxy {
    config: ProxyConfig,
    matcher: Arc<Matcher>,
}

impl Proxy {
    /// `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY`, in capitals or not; nothing if none names a proxy.
    pub(super) fn from_env() -> Option<Self> {
        const NAMES: [&str; 6] = ["HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"];
        let named = NAMES.iter().any(|name| std::env::var_os(name).is_some_and(|value| !value.is_empty()));
        named.then(|| Self { config: ProxyConfig::from_env(), matcher: Arc::new(Matcher::from_env()) })
    }

    #[cfg(test)]
    pub(super) fn all(address: &str) -> Self {
        let config = ProxyConfig::all(address).expect("a proxy's URL");
        Self { config, matcher: Arc::new(Matcher::builder().all(address).build()) }
    }
}

/// Who looks names up, and what is made of the answer.
enum Way {
    /// We, and only what the rules allow is used.
    Checked(CheckedResolver),
    /// A proxy.
    Proxy(ProxyConfig),
    /// We, and no rules apply.
    Unchecked,
}

fn connector(trust: TrustStore, way: Way) -> SharedHttpConnector {
    let tls = TlsContext::builder().with_trust_store(trust).build().expect("a trust store is all that a context needs");
    let builder = Connector::builder()
        .connector_settings(HttpConnectorSettings::builder().connect_timeout(CONNECT_TIMEOUT).build())
        .pool_idle_timeout(IDLE_TIMEOUT)
        .tls_provider(Provider::rustls(CryptoMode::Ring))
        .tls_context(tls);
    SharedHttpConnector::new(match way {
        Way::Checked(resolver) => builder.build_with_resolver(resolver),
        Way::Proxy(config) => builder.proxy_config(config).build(),
        Way::Unchecked => builder.build(),
    })
}

/// A client for what the environment of this process names: no rules apply, and no certificates are trusted but the system's.
pub(super) fn unchecked_http_client(proxy: Option<Proxy>) -> SharedHttpClient {
    let connector = connector(system_trust(), proxy.map_or(Way::Unchecked, |proxy| Way::Proxy(proxy.config)));
    http_client_fn(move |_, _| connector.clone())
}

/// A client that obeys the endpoint rules and trusts `ca_bundle` besides the system's certificates.
pub(in crate::bucket) fn http_client(
    policy: Arc<EndpointPolicy>,
    ca_bundle: Option<&[u8]>,
    proxy: Option<Proxy>,
) -> Result<SharedHttpClient, BadCaBundle> {
    let trust = trust_store(ca_bundle)?;
    let resolver = CheckedResolver { policy };
    let direct = connector(trust.clone(), Way::Checked(resolver.clone()));
    // A proxy's own address is the cluster operator's choice, so the rules do not apply to it.
    let proxied = proxy.map(|Proxy { config, matcher }| (matcher, connector(trust, Way::Proxy(config))));
    let checked = SharedHttpConnector::new(CheckedConnector { resolver, direct, proxied });
    Ok(http_client_fn(move |_, _| checked.clone()))
}

/// A container may have no certificates at all. That is fine for plain HTTP and for a private authority, and the client would take an
/// empty set as a bug.
static HAS_NATIVE_ROOTS: LazyLock<bool> = LazyLock::new(|| !rustls_native_certs::load_native_certs().certs.is_empty());

fn system_trust() -> TrustStore {
    TrustStore::empty().with_native_roots(*HAS_NATIVE_ROOTS)
}

fn trust_store(ca_bundle: Option<&[u8]>) -> Result<TrustStore, BadCaBundle> {
    let system = system_trust();
    let Some(pem) = ca_bundle else { return Ok(system) };
    // The client takes a bundle that cannot be parsed as a bug, so it is parsed here first.
    let certificates = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>().map_err(|e| BadCaBundle(e.to_string()))?;
    if certificates.is_empty() {
        return Err(BadCaBundle("no PEM certificate".to_owned()));
    }
    let mut roots = rustls::RootCertStore::empty();
    for certificate in certificates {
        roots.add(certificate).map_err(|e| BadCaBundle(format!("a certificate that cannot be used: {e}")))?;
    }
    Ok(system.with_pem_certificate(pem))
}

/// Looks names up and lets only answers pass whose addresses are all allowed.
#[derive(Debug, Clone)]
struct CheckedResolver {
    policy: Arc<EndpointPolicy>,
}

impl CheckedResolver {
    async fn resolve(policy: Arc<EndpointPolicy>, name: String) -> Result<Vec<IpAddr>, ResolveDnsError> {
        let found: Vec<IpAddr> =
            tokio::net::lookup_host((name, 0)).await.map_err(ResolveDnsError::new)?.map(|address| address.ip()).collect();
        // One forbidden address refuses all: a name that answers with both kinds is up to something.
        found.iter().try_for_each(|&address| endpoint::check(address, &policy)).map_err(ResolveDnsError::new)?;
        Ok(found)
    }
}

impl ResolveDns for CheckedResolver {
    fn resolve_dns<'a>(&'a self, name: &'a str) -> DnsFuture<'a> {
        DnsFuture::new(Self::resolve(Arc::clone(&self.policy), name.to_owned()))
    }
}

/// Checks what the resolver never sees: addresses written as such, and endpoints reached through a proxy.
#[derive(Debug)]
struct CheckedConnector {
    resolver: CheckedResolver,
    direct: SharedHttpConnector,
    proxied: Option<(Arc<Matcher>, SharedHttpConnector)>,
}

impl HttpConnector for CheckedConnector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let uri: http::Uri = match request.uri().parse() {
            Ok(uri) => uri,
            Err(error) => return HttpConnectorFuture::ready(Err(ConnectorError::user(Box::new(error)))),
        };
        let host = uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
        let literal = host.parse::<IpAddr>().ok();
        if let Some(Err(refusal)) = literal.map(|address| endpoint::check(address, &self.resolver.policy)) {
            return HttpConnectorFuture::ready(Err(ConnectorError::user(Box::new(refusal))));
        }
        let Some((_, through)) = self.proxied.as_ref().filter(|(matcher, _)| matcher.intercept(&uri).is_some()) else {
            return self.direct.call(request);
        };
        if literal.is_some() {
            return through.call(request);
        }
        // The proxy looks the name up again, so in the end its rules decide; this refuses what is plainly forbidden.
        let lookup = CheckedResolver::resolve(Arc::clone(&self.resolver.policy), host.to_owned());
        let through = through.clone();
        HttpConnectorFuture::new(async move {
            lookup.await.map_err(|error| ConnectorError::io(Box::new(error)))?;
            through.call(request).await
        })
    }
}

/// The refusal that lies at the bottom of a failed request, if that is why it failed.
pub(super) fn refusal<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a Refusal> {
    causes(error).find_map(|cause| cause.downcast_ref())
}

/// Why nobody knows in whose name to ask, if that is why a request failed: it was not sent.
pub(super) fn no_identity(error: &(dyn std::error::Error + 'static)) -> Option<String> {
    let found = causes(error).find(|cause| cause.is::<CredentialsError>())?;
    Some(root(found).to_string())
}

/// Whether the request failed before a connection stood, so that nothing of it was sent.
pub(super) fn never_connected(error: &(dyn std::error::Error + 'static)) -> bool {
    causes(error)
        .any(|cause| cause.is::<ResolveDnsError>() || cause.downcast_ref().is_some_and(hyper_util::client::legacy::Error::is_connect))
}

/// What is at the bottom of a failure: the part that a person can act on.
pub(super) fn root<'a>(error: &'a (dyn std::error::Error + 'static)) -> &'a (dyn std::error::Error + 'static) {
    causes(error).last().unwrap_or(error)
}

/// An error and its causes. An `io::Error` hides the error that it holds from `source`.
fn causes<'a>(error: &'a (dyn std::error::Error + 'static)) -> impl Iterator<Item = &'a (dyn std::error::Error + 'static)> {
    std::iter::successors(Some(error), |error| match error.downcast_ref::<std::io::Error>() {
        Some(io) => io.get_ref().map(|inner| inner as &(dyn std::error::Error + 'static)),
        None => error.source(),
    })
}
