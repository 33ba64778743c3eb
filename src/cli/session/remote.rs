//! A database that a server has.

use std::path::Path;

use anyhow::Context as _;
use axum::body::Body;
use engine::Point;
use http::{HeaderValue, Response, header, request};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use url::Url;

use crate::cli::https;

/// A server, and what it needs to hear of us.
pub(in crate::cli) struct Remote {
    client: Client<HttpsConnector<HttpConnector>, Body>,
    base: Url,
    authorization: Option<HeaderValue>,
    pub(super) point: Point,
}

impl Remote {
    pub(super) fn new(base: Url, token: Option<String>, ca_file: Option<&Path>, point: Point) -> anyhow::Result<Self> {
        let authorization = token.map(|token| {
            let mut value = HeaderValue::from_str(&format!("Bearer {token}")).context("the token is no line of visible ASCII")?;
            value.set_sensitive(true);
            anyhow::Ok(value)
        });
        let client = Client::builder(TokioExecutor::new()).build(https::connector(ca_file)?);
        Ok(Self { client, base, authorization: authorization.transpose()?, point })
    }

    /// A redirect is an answer like others: the token goes where its user said, and nowhere else.
    pub(super) async fn send(&self, mut request: request::Builder, route: &str, body: Body) -> anyhow::Result<Response<Body>> {
        let url = self.base.join(route).with_context(|| format!("the route {route}"))?;
        if let Some(authorization) = &self.authorization {
            request = request.header(header::AUTHORIZATION, authorization);
        }
        let request = request.uri(url.as_str()).header(header::USER_AGENT, https::NAME).body(body).context("the request")?;
        let response = self.client.request(request).await.with_context(|| format!("asking {}", super::shown(&self.base)))?;
        Ok(response.map(Body::new))
    }
}
