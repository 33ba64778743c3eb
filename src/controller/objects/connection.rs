//! The connection Secret: all that a client needs to connect, with the keys of the Service Binding specification. Pure.
//!
//! Owns: what it holds, when its token is another one, and where a database is reached. Does not own: drawing tokens.
//! Invariants: a Secret of somebody else is never ours; each value of the annotation makes one new token, because the Secret keeps the value
//! that it was made for; a token that was replaced is told, and admitted, until its time is over and no longer.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use engine::WallTime;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt as _;
use url::Url;

use super::{Owner, PodAddress, metadata};
use crate::crd::BucketDatabase;
use crate::plan::{Connection, OwnService, Rotation};
use crate::problem::Problem;
use crate::reason::Reason;
use crate::resolve::TOKEN;

/// Asks for a new token, once for each new value. The Secret bears the value that its token was made for.
pub(crate) const ROTATE_TOKEN_AT: &str = "buckethead.dev/rotate-token-at";
/// The key of where the database is reached.
const URL: &str = "url";
/// The key of the token before.
const PREVIOUS_TOKEN: &str = "previous-token";
/// The key of the moment until which it is valid.
const PREVIOUS_TOKEN_EXPIRES: &str = "previous-token-expires";

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

/// A token that was replaced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Previous {
    /// Itself.
    pub(crate) token: Token,
    /// Until when it is valid.
    pub(crate) until: WallTime,
}

/// What is told in a connection Secret.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Contents {
    /// Where the database is reached.
    pub(crate) url: String,
    /// The token that opens it; without one a new one is drawn.
    pub(crate) token: Option<Token>,
    /// The token before, while it is valid.
    pub(crate) previous: Option<Previous>,
    /// The value of the annotation that asked for the token.
    pub(crate) handled: Option<String>,
}

/// The name of the connection Secret of a resource.
pub(crate) fn connection_secret_name(resource: &BucketDatabase) -> String {
    format!("{}-buckethead", resource.name_any())
}

/// Where a database is reached by the operator's address. The slash at the end matters: clients resolve their paths against it.
pub(crate) fn url(resource: &BucketDatabase, public_url: &Url) -> String {
    let base = public_url.as_str().trim_end_matches('/');
    format!("{base}/{}/{}/", resource.namespace().unwrap_or_default(), resource.name_any())
}

/// The ways to this process.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ways<'a> {
    /// For clients of all databases.
    pub(crate) public_url: &'a Url,
    /// What the Services of databases lead to.
    pub(crate) pod: Option<&'a PodAddress>,
}

/// Where clients are told to reach it: by its own Service once that is ours, because a token must not be sent to somebody else's. `told` is
/// what they were told last, which stays where it cannot be seen how the Service stands.
pub(crate) fn told_url(resource: &BucketDatabase, ways: Ways<'_>, service: &OwnService, told: Option<String>) -> String {
    let public = || url(resource, ways.public_url);
    match (service, ways.pod) {
        (OwnService::Unknown(_), _) => told.unwrap_or_else(public),
        (service, Some(pod)) if service.is_there() => {
            format!("{}://{}.{}.svc/", pod.scheme, super::service_name(resource), resource.namespace().unwrap_or_default())
        }
        (OwnService::None | OwnService::Surplus { .. } | OwnService::Asked { .. } | OwnService::Refused(_), _) => public(),
    }
}

/// The URL that a connection Secret tells.
pub(crate) fn url_of(secret: &Secret) -> Option<String> {
    String::from_utf8(secret.data.as_ref()?.get(URL)?.0.clone()).ok()
}

/// The keys and values of the Secret.
fn data(contents: &Contents) -> BTreeMap<String, ByteString> {
    let url = &contents.url;
    let mut data = vec![("type", "sqlite".to_owned()), ("provider", "buckethead".to_owned()), ("uri", url.clone()), (URL, url.clone())];
    if let Ok(parsed) = Url::parse(url) {
        let host = parsed.host_str().unwrap_or_default();
        let port = parsed.port_or_known_default().unwrap_or_default();
        // Without TLS libsql's clients want it said, and the port with it.
        let query = if parsed.scheme() == "https" { "" } else { "?tls=0" };
        data.push(("libsql-url", format!("libsql://{host}:{port}{}{query}", parsed.path())));
        data.push(("host", host.to_owned()));
        data.push(("port", port.to_string()));
    }
    data.extend(contents.token.as_ref().map(|token| (TOKEN, token.as_str().to_owned())));
    if let Some(Previous { token, until }) = &contents.previous {
        data.push((PREVIOUS_TOKEN, token.as_str().to_owned()));
        data.push((PREVIOUS_TOKEN_EXPIRES, until.to_string()));
    }
    data.into_iter().map(|(key, value)| (key.to_owned(), ByteString(value.into_bytes()))).collect()
}

/// The Secret that holds this.
pub(crate) fn connection_secret(resource: &BucketDatabase, contents: &Contents) -> Secret {
    let mut metadata = metadata(resource, connection_secret_name(resource));
    metadata.annotations = contents.handled.clone().map(|handled| BTreeMap::from([(ROTATE_TOKEN_AT.to_owned(), handled)]));
    Secret { metadata, type_: Some("servicebinding.io/sqlite".to_owned()), data: Some(data(contents)), ..Secret::default() }
}

/// Somebody else's Secret has the connection Secret's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NotOurs;

/// What a connection Secret is compared with.
#[derive(Debug, Clone)]
pub(crate) struct Wish<'a> {
    pub(crate) resource: &'a BucketDatabase,
    /// Where clients are told to reach the database.
    pub(crate) url: String,
    /// The token that `api.tokenSecretRef` asks for.
    pub(crate) given: Option<Token>,
    /// The time of looking.
    pub(crate) now: WallTime,
    /// How long a token is valid after it was replaced.
    pub(crate) overlap: Duration,
}

/// How the connection Secret stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Standing {
    /// Beside what it should be.
    pub(crate) connection: Connection,
    /// The token before, if it is still valid.
    pub(crate) previous: Option<Token>,
    /// How its tokens stand.
    pub(crate) rotation: Rotation,
}

/// The connection Secret beside what it should be.
pub(crate) fn compare(wish: &Wish<'_>, found: Option<&Secret>) -> Result<Standing, NotOurs> {
    let request = wish.resource.annotations().get(ROTATE_TOKEN_AT);
    let Some(secret) = found else {
        // A token that is new anyway answers whatever was asked before.
        let handled = request.filter(|_| wish.given.is_none()).cloned();
        let contents = Contents { url: wish.url.clone(), token: wish.given.clone(), previous: None, handled };
        return Ok(Standing { connection: Connection::Stale(contents), previous: None, rotation: Rotation::default() });
    };
    let owner = Owner::of(wish.resource, &secret.metadata);
    if owner == Owner::Other {
        return Err(NotOurs);
    }
    let (token, previous) = (token_of(secret), previous_of(secret, wish.now));
    let handled = secret.annotations().get(ROTATE_TOKEN_AT).cloned();
    let is_asked = request.is_some() && request != handled.as_ref();
    let rotation = Rotation {
        overlaps_until: previous.as_ref().map(|previous| previous.until),
        refused: (is_asked && wish.given.is_some()).then(given_by_hand),
        handled: handled.clone(),
    };
    let admitted = previous.as_ref().map(|previous| previous.token.clone());
    let wanted = match (wish.given.clone(), token) {
        (Some(given), Some(token)) if given != token => (Some(given), Some(replaced(token, wish)), handled),
        (Some(given), _) => (Some(given), previous, handled),
        (None, Some(token)) if is_asked => (None, Some(replaced(token, wish)), request.cloned()),
        (None, Some(token)) => (Some(token), previous, handled),
        (None, None) => (None, previous, request.cloned().or(handled)),
    };
    let (token, previous, handled) = wanted;
    let contents = Contents { url: wish.url.clone(), token, previous, handled };
    // That of an earlier life becomes ours before Kubernetes collects it, so clients go on with the token that they have.
    let connection = if owner == Owner::Us && says(secret, &contents) { Connection::Current } else { Connection::Stale(contents) };
    Ok(Standing { connection, previous: admitted, rotation })
}

fn replaced(token: Token, wish: &Wish<'_>) -> Previous {
    let until = wish.now.as_second().saturating_add(wish.overlap.as_secs().try_into().unwrap_or(i64::MAX));
    Previous { token, until: WallTime::from_second(until).unwrap_or(WallTime::MAX) }
}

fn given_by_hand() -> Problem {
    let message = format!(
        "annotation {ROTATE_TOKEN_AT}: the token comes from the Secret of spec.api.tokenSecretRef, and only you can change it there: write the new \
         one into that Secret, both are valid for a while then; and remove the annotation"
    );
    Problem::stuck(Reason::TokenGiven, message)
}

/// Whether a Secret says this, and nothing of a token that is not valid any more.
fn says(secret: &Secret, contents: &Contents) -> bool {
    let wanted = data(contents);
    let held = |key: &str| secret.data.as_ref().and_then(|data| data.get(key));
    contents.token.is_some()
        && wanted.iter().all(|(key, value)| held(key) == Some(value))
        && [PREVIOUS_TOKEN, PREVIOUS_TOKEN_EXPIRES].iter().all(|key| held(key) == wanted.get(*key))
        && secret.annotations().get(ROTATE_TOKEN_AT) == contents.handled.as_ref()
}

/// The token before, if it is still valid. One whose end cannot be read is not.
fn previous_of(secret: &Secret, now: WallTime) -> Option<Previous> {
    let token = token_at(secret, PREVIOUS_TOKEN)?;
    let until = std::str::from_utf8(&secret.data.as_ref()?.get(PREVIOUS_TOKEN_EXPIRES)?.0).ok()?.parse().ok()?;
    (now < until).then_some(Previous { token, until })
}

/// The token that a Secret holds, if it holds a usable one.
pub(crate) fn token_of(secret: &Secret) -> Option<Token> {
    token_at(secret, TOKEN)
}

fn token_at(secret: &Secret, key: &str) -> Option<Token> {
    let bytes = &secret.data.as_ref()?.get(key)?.0;
    let text = std::str::from_utf8(bytes).ok()?.trim_end_matches(['\r', '\n']);
    (!text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic())).then(|| Token::new(text))
}

#[cfg(test)]
mod tests;
