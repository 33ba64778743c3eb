//! Objects of the cluster as values made from a resource: the connection Secret, the list of finalizers, the status patch, and gc's Job
//! (`objects/gc_job.rs`). Pure.

pub(crate) mod gc_job;

use std::collections::BTreeMap;
use std::fmt;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::{Resource, ResourceExt};
use serde_json::{Value, json};
use url::Url;

use crate::crd::{BucketDatabase, BucketDatabaseStatus};
use crate::plan::{Connection, FINALIZER};
use crate::resolve::TOKEN;

/// The one field manager of this operator.
pub(crate) const FIELD_MANAGER: &str = "buckethead";

/// A bearer token in clear. Its `Debug` does not show it.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Token(String);

impl Token {
    /// As it stands in a Secret.
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// From 32 bytes that nobody can guess.
    pub(crate) fn from_random(bytes: [u8; 32]) -> Self {
        use base64::Engine as _;
        Self(base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes))
    }

    /// To be written into a Secret.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

/// The name of the connection Secret of a resource.
pub(crate) fn connection_secret_name(resource: &BucketDatabase) -> String {
    format!("{}-buckethead", resource.name_any())
}

/// Where a database is reached. The slash at the end matters: clients resolve their paths against it.
pub(crate) fn url(resource: &BucketDatabase, public_url: &Url) -> String {
    let base = public_url.as_str().trim_end_matches('/');
    format!("{base}/{}/{}/", resource.namespace().unwrap_or_default(), resource.name_any())
}

/// The same for libsql's clients: without TLS they want it said, and the port with it.
fn libsql_url(url: &str) -> String {
    let Ok(parsed) = Url::parse(url) else { return url.to_owned() };
    let host = parsed.host_str().unwrap_or_default();
    let port = parsed.port_or_known_default().map(|port| format!(":{port}")).unwrap_or_default();
    let query = if parsed.scheme() == "https" { "" } else { "?tls=0" };
    format!("libsql://{host}{port}{}{query}", parsed.path())
}

/// All that a client needs to connect, with the keys of the Service Binding specification.
pub(crate) fn connection_secret(resource: &BucketDatabase, public_url: &Url, token: &Token) -> Secret {
    let url = url(resource, public_url);
    let data = [
        ("type", "sqlite".to_owned()),
        ("provider", "buckethead".to_owned()),
        ("libsql-url", libsql_url(&url)),
        ("url", url),
        (TOKEN, token.as_str().to_owned()),
    ];
    Secret {
        metadata: ObjectMeta {
            name: Some(connection_secret_name(resource)),
            namespace: resource.namespace(),
            labels: Some(BTreeMap::from([("app.kubernetes.io/managed-by".to_owned(), FIELD_MANAGER.to_owned())])),
            owner_references: resource.controller_owner_ref(&()).map(|owner| vec![owner]),
            ..ObjectMeta::default()
        },
        type_: Some("servicebinding.io/sqlite".to_owned()),
        data: Some(data.into_iter().map(|(key, value)| (key.to_owned(), ByteString(value.into_bytes()))).collect()),
        ..Secret::default()
    }
}

/// Somebody else's Secret has the connection Secret's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NotOurs;

/// The connection Secret beside what it should be. `given` is the token that `api.tokenSecretRef` asks for.
pub(crate) fn compare(
    resource: &BucketDatabase,
    public_url: &Url,
    found: Option<&Secret>,
    given: Option<Token>,
) -> Result<Connection, NotOurs> {
    let Some(secret) = found else { return Ok(Connection::Stale { token: given }) };
    if !is_owned_by(secret, resource) {
        return Err(NotOurs);
    }
    let Some(token) = given.or_else(|| token_of(secret)) else { return Ok(Connection::Stale { token: None }) };
    let wanted = connection_secret(resource, public_url, &token).data.unwrap_or_default();
    let found = secret.data.as_ref();
    let is_current = wanted.iter().all(|(key, value)| found.and_then(|data| data.get(key)) == Some(value));
    Ok(if is_current { Connection::Current } else { Connection::Stale { token: Some(token) } })
}

/// Whether an object belongs to this very resource.
pub(crate) fn is_owned_by(object: &impl ResourceExt, resource: &BucketDatabase) -> bool {
    object.owner_references().iter().any(|owner| Some(&owner.uid) == resource.metadata.uid.as_ref())
}

/// The token that a Secret holds, if it holds a usable one.
pub(crate) fn token_of(secret: &Secret) -> Option<Token> {
    let bytes = &secret.data.as_ref()?.get(TOKEN)?.0;
    let text = std::str::from_utf8(bytes).ok()?.trim_end_matches(['\r', '\n']);
    (!text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic())).then(|| Token::new(text))
}

/// A patch that adds our finalizer, and fails if the resource is no longer the one that was seen.
pub(crate) fn add_finalizer(resource: &BucketDatabase) -> Value {
    let mut finalizers = resource.finalizers().to_vec();
    finalizers.push(FINALIZER.to_owned());
    finalizers_patch(resource, &finalizers)
}

/// A patch that removes our finalizer and leaves those of others, and fails if the resource is no longer the one that was seen.
pub(crate) fn remove_finalizer(resource: &BucketDatabase) -> Value {
    let finalizers: Vec<String> = resource.finalizers().iter().filter(|finalizer| *finalizer != FINALIZER).cloned().collect();
    finalizers_patch(resource, &finalizers)
}

fn finalizers_patch(resource: &BucketDatabase, finalizers: &[String]) -> Value {
    json!({"metadata": {"resourceVersion": resource.metadata.resource_version, "finalizers": finalizers}})
}

/// The status as server-side apply wants it.
pub(crate) fn status_patch(resource: &BucketDatabase, status: &BucketDatabaseStatus) -> Value {
    json!({
        "apiVersion": BucketDatabase::api_version(&()),
        "kind": BucketDatabase::kind(&()),
        "metadata": {"name": resource.name_any()},
        "status": status,
    })
}

#[cfg(test)]
mod tests;
