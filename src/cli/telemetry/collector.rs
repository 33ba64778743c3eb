//! Who takes traces and metrics: a collector that speaks OTLP, over HTTP with protobuf.
//!
//! Invariants: what it does not take within its time is dropped, since newer things come; that it is away is logged once, until it answers again.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use prost::Message;
use url::Url;

use crate::cli::https;

/// How long it may take for one message.
const PATIENCE: Duration = Duration::from_secs(10);
/// Its answers are short; more is not read.
const ANSWER: usize = 64 << 10;

/// What is told by a message.
#[derive(Debug, Clone, Copy)]
pub(super) enum Kind {
    Traces,
    Metrics,
}

impl Kind {
    /// Below the collector's base URL.
    fn route(self) -> &'static str {
        match self {
            Self::Traces => "v1/traces",
            Self::Metrics => "v1/metrics",
        }
    }
}

#[derive(Debug)]
pub(super) struct Collector {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    base: Url,
    headers: HeaderMap,
    is_away: AtomicBool,
}

/// Why a message was not taken.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotTaken {
    #[error("the request failed")]
    Failed(#[from] hyper_util::client::legacy::Error),
    #[error("the answer broke off")]
    Broken(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("it answered {0}")]
    Refused(StatusCode),
    #[error("it did not answer within {PATIENCE:?}")]
    Late,
}

impl Collector {
    /// `base` ends with a slash.
    pub(super) fn new(base: Url, headers: HeaderMap) -> anyhow::Result<Self> {
        let client = Client::builder(TokioExecutor::new()).build(https::connector(None)?);
        Ok(Self { client, base, headers, is_away: AtomicBool::new(false) })
    }

    /// Brings it a message.
    pub(super) async fn take(&self, kind: Kind, message: &impl Message) -> Result<(), NotTaken> {
        let sending = self.send(kind, Bytes::from(message.encode_to_vec()));
        let result = tokio::time::timeout(PATIENCE, sending).await.unwrap_or(Err(NotTaken::Late));
        match &result {
            Ok(()) => {
                if self.is_away.swap(false, Ordering::Relaxed) {
                    tracing::info!("the collector takes traces and metrics again");
                }
            }
            Err(error) => {
                if !self.is_away.swap(true, Ordering::Relaxed) {
                    let error: &dyn std::error::Error = error;
                    let host = self.base.host_str();
                    tracing::warn!(?kind, host, error, "the collector does not take it; until it does, traces and metrics are dropped");
                }
            }
        }
        result
    }

    async fn send(&self, kind: Kind, body: Bytes) -> Result<(), NotTaken> {
        let mut request = Request::post(format!("{}{}", self.base, kind.route())).body(Full::new(body)).expect("parts of a URL make a URI");
        let headers = request.headers_mut();
        headers.insert(header::USER_AGENT, HeaderValue::from_static(https::NAME));
        headers.extend(self.headers.clone());
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf"));
        let response = self.client.request(request).await?;
        let status = response.status();
        // Read to its end, so that the connection serves for the next one.
        Limited::new(response.into_body(), ANSWER).collect().await.map_err(NotTaken::Broken)?;
        if status.is_success() { Ok(()) } else { Err(NotTaken::Refused(status)) }
    }
}

/// Reads `OTEL_EXPORTER_OTLP_HEADERS`: `api-key=secret,tenant=apps`, with values that may be percent-encoded. What is in it is told to nobody.
pub(super) fn headers(text: &str) -> anyhow::Result<HeaderMap> {
    let mut headers = HeaderMap::new();
    for (place, pair) in (1..).zip(text.split(',').filter(|pair| !pair.trim().is_empty())) {
        let wrong = || format!("OTEL_EXPORTER_OTLP_HEADERS: number {place} is no header: write name=value, and commas between them");
        let (name, value) = pair.split_once('=').with_context(wrong)?;
        let value = percent_encoding::percent_decode_str(value.trim()).decode_utf8().ok().with_context(wrong)?;
        let mut value = HeaderValue::from_str(&value).ok().with_context(wrong)?;
        value.set_sensitive(true);
        headers.append(name.trim().parse::<HeaderName>().ok().with_context(wrong)?, value);
    }
    Ok(headers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_read_as_the_variable_has_them() {
        let read = headers(" api-key = secret%20word ,x-scope=a=b,").unwrap();
        assert_eq!((&read["api-key"], &read["x-scope"]), (&HeaderValue::from_static("secret word"), &HeaderValue::from_static("a=b")));
        assert!(headers("").unwrap().is_empty());
    }

    #[test]
    fn what_is_no_header_is_counted_and_not_told() {
        for wrong in ["secret", "ok=1,secret", "se cret=1", "key=%0asecret"] {
            let told = headers(wrong).unwrap_err().to_string();
            assert!(told.contains(if wrong.starts_with("ok") { "number 2" } else { "number 1" }) && !told.contains("cret"), "{told}");
        }
    }
}
