//! The connection Secret: all that a client needs to connect, with the keys of the Service Binding specification. Pure.
//!
//! Owns: what it holds, when its tokens are others, and where a database is reached. Does not own: drawing tokens.
//! Invariants: a Secret of somebody else is never ours; each value of the annotation makes one new pair of tokens, because the Secret keeps the
//! value that it was made for; a token that was replaced is told, and admitted, until its time is over and no longer.

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
use crate::resolve::{READ_ONLY_TOKEN, TOKEN};

/// Asks for a new token, once for each new value. The Secret bears the value that its token was made for.
pub(crate) const ROTATE_TOKEN_AT: &str = "buckethead.dev/rotate-token-at";
/// The key of where the database is reached.
const URL: &str = "url";
/// The key of the token before.
const PREVIOUS_TOKEN: &str = "previous-token";
/// The key of the token before that only permits reading.
const PREVIOUS_READ_ONLY_TOKEN: &str = "previous-read-only-token";
/// The key of the moment until which both are valid.
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

/// The tokens of a Secret, as far as it has them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Tokens {
    /// Permits everything.
    pub(crate) token: Option<Token>,
    /// Permits reading alone.
    pub(crate) read_only: Option<Token>,
}

impl Tokens {
    fn at(secret: &Secret, token: &str, read_only: &str) -> Self {
        Self { token: token_at(secret, token), read_only: token_at(secret, read_only) }
    }

    /// Those that are not the same any more in `next`; `None` if there are none.
    fn replaced_by(&self, next: &Self) -> Option<Self> {
        let gone = |old: &Option<Token>, new: &Option<Token>| old.clone().filter(|_| old != new);
        let gone = Self { token: gone(&self.token, &next.token), read_only: gone(&self.read_only, &next.read_only) };
        (gone != Self::default()).then_some(gone)
    }
}

/// Tokens that were replaced together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Previous {
    /// Themselves.
    pub(crate) tokens: Tokens,
    /// Until when they are valid.
    pub(crate) until: WallTime,
}

/// What is told in a connection Secret.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Contents {
    /// Where the database is reached.
    pub(crate) url: String,
    /// The tokens that open it.
    pub(crate) tokens: Tokens,
    /// Whether new ones are drawn in the place of those that are missing.
    pub(crate) draws: bool,
    /// The tokens before, while they are valid.
    pub(crate) previous: Option<Previous>,
    /// The value of the annotation that asked for the tokens.
    pub(crate) handled: Option<String>,
}

impl Contents {
    /// With the tokens that were missing.
    pub(crate) fn drawn(&self, draw: impl Fn() -> Token) -> Self {
        let mut whole = self.clone();
        if self.draws {
            whole.tokens.token.get_or_insert_with(&draw);
            whole.tokens.read_only.get_or_insert_with(&draw);
        }
        whole
    }

    fn is_whole(&self) -> bool {
        !self.draws || self.tokens.token.is_some() && self.tokens.read_only.is_some()
    }
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
    let mut tell = |keys: [&'static str; 2], Tokens { token, read_only }: &Tokens| {
        let both = keys.into_iter().zip([token, read_only]);
        data.extend(both.filter_map(|(key, token)| Some((key, token.as_ref()?.as_str().to_owned()))));
    };
    tell([TOKEN, READ_ONLY_TOKEN], &contents.tokens);
    if let Some(Previous { tokens, until }) = &contents.previous {
        tell([PREVIOUS_TOKEN, PREVIOUS_READ_ONLY_TOKEN], tokens);
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

/// Where the tokens of a database come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Source {
    /// We draw them.
    Drawn,
    /// The Secret that `api.tokenSecretRef` names has them.
    Given(Tokens),
    /// Kubernetes gives everybody their own.
    Kubernetes,
}

/// What a connection Secret is compared with.
#[derive(Debug, Clone)]
pub(crate) struct Wish<'a> {
    pub(crate) resource: &'a BucketDatabase,
    /// Where clients are told to reach the database.
    pub(crate) url: String,
    /// Where its tokens come from.
    pub(crate) source: Source,
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
    /// The tokens before that are still valid.
    pub(crate) previous: Tokens,
    /// How its tokens stand.
    pub(crate) rotation: Rotation,
}

/// The connection Secret beside what it should be.
pub(crate) fn compare(wish: &Wish<'_>, found: Option<&Secret>) -> Result<Standing, NotOurs> {
    let request = wish.resource.annotations().get(ROTATE_TOKEN_AT);
    let draws = wish.source == Source::Drawn;
    let url = wish.url.clone();
    let Some(secret) = found else {
        // A token that is new anyway answers whatever was asked before.
        let handled = request.filter(|_| draws).cloned();
        let tokens = if let Source::Given(given) = &wish.source { given.clone() } else { Tokens::default() };
        let connection = Connection::Stale(Contents { url, tokens, draws, previous: None, handled });
        return Ok(Standing { connection, previous: Tokens::default(), rotation: Rotation::default() });
    };
    let owner = Owner::of(wish.resource, &secret.metadata);
    if owner == Owner::Other {
        return Err(NotOurs);
    }
    let (held, previous) = (tokens_of(secret), previous_of(secret, wish.now));
    let handled = secret.annotations().get(ROTATE_TOKEN_AT).cloned();
    let is_asked = request.is_some() && request != handled.as_ref();
    let rotation = Rotation {
        overlaps_until: previous.as_ref().map(|previous| previous.until),
        refused: is_asked.then(|| wish.source.refusal()).flatten(),
        handled: handled.clone(),
    };
    let admitted = previous.as_ref().map(|previous| previous.tokens.clone()).unwrap_or_default();
    let (tokens, handled) = match &wish.source {
        Source::Given(given) => (given.clone(), handled),
        Source::Kubernetes => (Tokens::default(), handled),
        Source::Drawn if held.token.is_none() => (held.clone(), request.cloned().or(handled)),
        Source::Drawn if is_asked => (Tokens::default(), request.cloned()),
        Source::Drawn => (held.clone(), handled),
    };
    let replaced = held.replaced_by(&tokens).map(|tokens| Previous { tokens, until: overlap_ends(wish) });
    let previous = replaced.or(previous).filter(|_| wish.source != Source::Kubernetes);
    let contents = Contents { url, tokens, draws, previous, handled };
    // That of an earlier life becomes ours before Kubernetes collects it, so clients go on with the token that they have.
    let connection = if owner == Owner::Us && says(secret, &contents) { Connection::Current } else { Connection::Stale(contents) };
    Ok(Standing { connection, previous: admitted, rotation })
}

impl Source {
    /// Why the annotation does nothing.
    fn refusal(&self) -> Option<Problem> {
        let why = match self {
            Self::Drawn => return None,
            Self::Given(_) => {
                "the token comes from the Secret of spec.api.tokenSecretRef, and only you can change it there: write the new one into that Secret, \
                 both are valid for a while then; and remove the annotation"
            }
            Self::Kubernetes => "with spec.api.auth: Kubernetes there is no token of the database: remove the annotation",
        };
        Some(Problem::stuck(Reason::TokenGiven, format!("annotation {ROTATE_TOKEN_AT}: {why}")))
    }
}

fn overlap_ends(wish: &Wish<'_>) -> WallTime {
    let until = wish.now.as_second().saturating_add(wish.overlap.as_secs().try_into().unwrap_or(i64::MAX));
    WallTime::from_second(until).unwrap_or(WallTime::MAX)
}

/// Whether a Secret says this, and nothing of a token that is not valid any more.
fn says(secret: &Secret, contents: &Contents) -> bool {
    let wanted = data(contents);
    let held = |key: &str| secret.data.as_ref().and_then(|data| data.get(key));
    contents.is_whole()
        && wanted.iter().all(|(key, value)| held(key) == Some(value))
        && OF_TOKENS.iter().all(|key| held(key) == wanted.get(*key))
        && secret.annotations().get(ROTATE_TOKEN_AT) == contents.handled.as_ref()
}

/// What may not stay in a Secret that should not hold it.
const OF_TOKENS: [&str; 5] = [TOKEN, READ_ONLY_TOKEN, PREVIOUS_TOKEN, PREVIOUS_READ_ONLY_TOKEN, PREVIOUS_TOKEN_EXPIRES];

/// The tokens before, if they are still valid. Those whose end cannot be read are not.
fn previous_of(secret: &Secret, now: WallTime) -> Option<Previous> {
    let tokens = Tokens::at(secret, PREVIOUS_TOKEN, PREVIOUS_READ_ONLY_TOKEN);
    let until = std::str::from_utf8(&secret.data.as_ref()?.get(PREVIOUS_TOKEN_EXPIRES)?.0).ok()?.parse().ok()?;
    (now < until && tokens != Tokens::default()).then_some(Previous { tokens, until })
}

/// The tokens that a Secret holds, as far as they are usable.
pub(crate) fn tokens_of(secret: &Secret) -> Tokens {
    Tokens::at(secret, TOKEN, READ_ONLY_TOKEN)
}

fn token_at(secret: &Secret, key: &str) -> Option<Token> {
    let bytes = &secret.data.as_ref()?.get(key)?.0;
    let text = std::str::from_utf8(bytes).ok()?.trim_end_matches(['\r', '\n']);
    (!text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic())).then(|| Token::new(text))
}

#[cfg(test)]
mod tests;
