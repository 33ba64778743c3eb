//! The database that a command asks: as a server has it, or straight in its bucket.
//!
//! Owns: which of both, and what it takes to ask. A bucket is asked by the same routes as a server, in this process: so each command has one way
//! to ask, and one form of answers.
//! Invariants: whoever only looks writes nothing to the bucket, and takes the branch from nobody; whoever changes something has ended the
//! tenure before the command ends, unless the process is killed.

mod local;
mod remote;

use std::fmt;
use std::path::PathBuf;

use anyhow::Context as _;
use axum::body::Body;
use bytes::Bytes;
use engine::{BranchName, DatabaseKey, Epoch, FilesPrefix, Point};
use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::BodyExt as _;
use serde::de::DeserializeOwned;
use url::Url;

use super::branch::{StateArguments, StateSettings};
use super::signals::Signals;
use super::store::{self, SettingsError, Store, wrong};
use local::Local;
use remote::Remote;

/// Which database.
#[derive(Debug, Clone, Default, clap::Args)]
#[group(skip)]
pub(super) struct TargetArguments {
    /// The database as a server has it, such as `http://127.0.0.1:8080/default/quickstart`; by default `BUCKETHEAD_URL`, unless a bucket is
    /// named. Without it the bucket is asked directly.
    #[arg(long, value_name = "URL", conflicts_with_all = ["bucket", "endpoint", "key", "branch"])]
    url: Option<String>,
    /// The bearer token that the server asks for, in a file; by default `BUCKETHEAD_TOKEN` is the token itself.
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    #[command(flatten)]
    state: StateArguments,
    /// In a bucket: what the keys of files' contents begin with.
    #[arg(long, value_name = "PREFIX", default_value = FilesPrefix::DEFAULT)]
    files_prefix: String,
    /// In a bucket: change the branch although whoever has it by this epoch did not release it. They must be gone for good.
    #[arg(long, value_name = "EPOCH")]
    take_over: Option<u64>,
}

/// A server, for commands that ask none unless they are told to.
#[derive(Debug, Clone, clap::Args)]
#[group(skip)]
pub(super) struct TargetUrl {
    /// Ask this server: the base URL of a database, such as `http://127.0.0.1:8080/default/quickstart`.
    #[arg(long, value_name = "URL", conflicts_with_all = ["bucket", "endpoint"])]
    url: Option<String>,
    /// The bearer token that the server asks for, in a file; by default `BUCKETHEAD_TOKEN` is the token itself.
    #[arg(long, value_name = "FILE", requires = "url")]
    token_file: Option<PathBuf>,
}

impl TargetUrl {
    /// With what the environment says where an argument is absent.
    pub(super) fn settings(self, ca_file: Option<PathBuf>, env: impl Fn(&str) -> Option<String>) -> Result<Option<Target>, SettingsError> {
        let Some(url) = self.url else { return Ok(None) };
        let token = token(self.token_file, store::trimmed(env))?;
        Ok(Some(Target::Server { url: parse_url(&url)?, token, ca_file, point: Point::Newest }))
    }
}

fn token(file: Option<PathBuf>, env: impl Fn(&str) -> Option<String>) -> Result<Option<String>, SettingsError> {
    let Some(path) = file else { return Ok(env("BUCKETHEAD_TOKEN")) };
    let read = std::fs::read_to_string(&path).map_err(|error| wrong(format!("--token-file {}: {error}", path.display())))?;
    Ok(Some(read.trim().to_owned()))
}

/// What the help of such a command says of the environment.
macro_rules! environment {
    () => {
        "\
Environment: BUCKETHEAD_URL and BUCKETHEAD_TOKEN for a server; for a bucket R2_BUCKET, R2_ENDPOINT_URL or R2_ACCOUNT_ID, R2_ACCESS_KEY_ID, \
R2_SECRET_ACCESS_KEY, BUCKETHEAD_KEY, BUCKETHEAD_BRANCH, or AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN, AWS_ENDPOINT_URL, \
AWS_REGION.

Exit codes: 0 done; 1 what was asked for is not there or could not be done, standard error says why; 2 settings are missing or wrong.\n\n"
    };
}
pub(super) use environment;

/// The database, and how it is reached.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Target {
    /// By a server.
    Server { url: Url, token: Option<String>, ca_file: Option<PathBuf>, point: Point },
    /// In its bucket.
    Bucket(Box<InBucket>),
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct InBucket {
    store: Store,
    key: DatabaseKey,
    branch: BranchName,
    point: Point,
    files_prefix: FilesPrefix,
    take_over: Option<Epoch>,
}

/// What a command is going to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// It looks at a state.
    Look,
    /// It changes what the branch holds.
    Change,
    /// It works with branches, whatever they hold.
    Branches,
}

impl TargetArguments {
    /// With what the environment says where an argument is absent.
    pub(super) fn settings(self, env: impl Fn(&str) -> Option<String>) -> Result<Target, SettingsError> {
        let Self { url, token_file, state, files_prefix, take_over } = self;
        let env = store::trimmed(env);
        let url = url.or_else(|| env("BUCKETHEAD_URL").filter(|_| !state.names_a_bucket()));
        if let Some(url) = url {
            let token = token(token_file, env)?;
            return Ok(Target::Server { url: parse_url(&url)?, token, point: state.point()?, ca_file: state.into_ca_file() });
        }
        let StateSettings { store, key, branch, point } = state.settings(env).map_err(or_a_server)?;
        let files_prefix = FilesPrefix::parse(&files_prefix).map_err(|error| wrong(format!("--files-prefix: {error}")))?;
        Ok(Target::Bucket(Box::new(InBucket { store, key, branch, point, files_prefix, take_over: take_over.map(Epoch) })))
    }
}

fn or_a_server(error: SettingsError) -> SettingsError {
    match error {
        SettingsError::Missing(names) => SettingsError::Neither(names),
        other => other,
    }
}

fn parse_url(text: &str) -> Result<Url, SettingsError> {
    let no_url = |why: &str| wrong(format!("--url: `{text}` {why}, such as http://127.0.0.1:8080/default/quickstart"));
    let mut url = Url::parse(text).map_err(|error| no_url(&format!("is no URL ({error}): write the database's base URL")))?;
    match url.scheme() {
        "http" | "https" => {}
        // As connection Secrets name it for clients of libSQL.
        "libsql" => return parse_url(&format!("https{}", &text["libsql".len()..])),
        other => return Err(no_url(&format!("begins with {other}://: write the database's base URL"))),
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(no_url("has a query: write the database's base URL alone"));
    }
    if !url.path().ends_with('/') {
        let path = format!("{}/", url.path());
        url.set_path(&path);
    }
    Ok(url)
}

/// Without the password that may be in it.
fn shown(url: &Url) -> Url {
    let mut url = url.clone();
    // A URL that cannot have one has none.
    url.set_username("").and_then(|()| url.set_password(None)).ok();
    url
}

/// A database that can be asked.
pub(super) enum Session {
    Server(Box<Remote>),
    Bucket(Box<Local>),
}

/// What the database answered instead of doing what it was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    /// The word for the kind of failure.
    pub(super) kind: String,
    pub(super) detail: String,
}

/// A body, and what it is sent with.
#[derive(Default)]
pub(super) struct Sent {
    pub(super) headers: Vec<(HeaderName, HeaderValue)>,
    pub(super) body: Body,
}

impl Sent {
    /// JSON.
    pub(super) fn json(value: &serde_json::Value) -> Self {
        Self { headers: vec![(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))], body: Body::from(value.to_string()) }
    }

    /// Bytes.
    pub(super) fn bytes(bytes: impl Into<Bytes>) -> Self {
        Self { headers: Vec::new(), body: Body::from(bytes.into()) }
    }

    /// With a header besides.
    pub(super) fn with(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }
}

impl Target {
    /// Opens it, does the work, and ends what was opened, also after Ctrl-C.
    pub(super) async fn work<T>(self, purpose: Purpose, work: impl AsyncFnOnce(&Session) -> anyhow::Result<T>) -> anyhow::Result<T> {
        let mut signals = Signals::listen()?;
        let session = tokio::select! {
            opened = self.open(purpose) => opened?,
            signal = signals.next() => anyhow::bail!("{signal}: nothing was done"),
        };
        let done = tokio::select! {
            done = work(&session) => done,
            signal = signals.next() => Err(anyhow::anyhow!("{signal}: stopped before it was done")),
        };
        tokio::select! {
            ended = session.end() => done.and_then(|done| ended.map(|()| done)),
            signal = signals.next() => anyhow::bail!("{signal} came again: given up while the branch was released"),
        }
    }

    pub(super) async fn open(self, purpose: Purpose) -> anyhow::Result<Session> {
        match self {
            Self::Server { url, token, ca_file, point } => {
                Ok(Session::Server(Box::new(Remote::new(url, token, ca_file.as_deref(), point)?)))
            }
            Self::Bucket(settings) => Ok(Session::Bucket(Box::new(Local::open(*settings, purpose).await?))),
        }
    }

    /// The state that was named.
    pub(super) fn point(&self) -> Point {
        match self {
            Self::Server { point, .. } => *point,
            Self::Bucket(settings) => settings.point,
        }
    }

    /// The branch, where it is ours to name.
    pub(super) fn branch(&self) -> Option<String> {
        match self {
            Self::Server { .. } => None,
            Self::Bucket(settings) => Some(settings.branch.to_string()),
        }
    }

    /// The same where a server is asked, or something is changed: in a bucket the past can be looked at as well.
    pub(super) fn newest_unless_in_bucket(self, purpose: Purpose, what: &str) -> Result<Self, SettingsError> {
        if purpose == Purpose::Change || matches!(self, Self::Server { .. }) { self.newest_only(what) } else { Ok(self) }
    }

    /// Without one: for commands that ask for the present alone.
    pub(super) fn newest_only(self, what: &str) -> Result<Self, SettingsError> {
        match self.point() {
            Point::Newest => Ok(self),
            Point::Txid(_) | Point::At(_) => Err(wrong(format!("--txid and --at name a state of the past, and {what}"))),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Server { url, .. } => write!(f, "{}", shown(url)),
            Self::Bucket(place) => write!(f, "{} in bucket {}, branch {}", place.key, place.store.bucket, place.branch),
        }
    }
}

impl InBucket {
    /// The parts that name a state of it.
    pub(super) fn state(self) -> StateSettings {
        let Self { store, key, branch, point, .. } = self;
        StateSettings { store, key, branch, point }
    }
}

impl Session {
    /// Sends a request for a route of the database, and gives its answer if that is a success.
    pub(super) async fn send(&self, method: Method, route: &str, sent: Sent) -> anyhow::Result<Response<Body>> {
        let mut request = Request::builder().method(method);
        for (name, value) in sent.headers {
            request = request.header(name, value);
        }
        let response = match self {
            Self::Server(remote) => remote.send(request, route, sent.body).await?,
            Self::Bucket(local) => local.send(request, route, sent.body).await?,
        };
        if response.status().is_success() { Ok(response) } else { Err(refusal(response).await?.into()) }
    }

    /// Reads.
    pub(super) async fn get(&self, route: &str) -> anyhow::Result<Response<Body>> {
        self.send(Method::GET, route, Sent::default()).await
    }

    /// Reads what is JSON.
    pub(super) async fn read<T: DeserializeOwned>(&self, route: &str) -> anyhow::Result<T> {
        parsed(self.get(route).await?).await
    }

    /// The state that routes with `txid` and `at` are asked for. Of a bucket the named one is open already.
    pub(super) fn past(&self) -> Point {
        match self {
            Self::Server(remote) => remote.point,
            Self::Bucket(_) => Point::Newest,
        }
    }

    pub(super) async fn end(self) -> anyhow::Result<()> {
        match self {
            Self::Server(_) => Ok(()),
            Self::Bucket(local) => local.end().await,
        }
    }
}

/// The whole body.
pub(super) async fn whole(response: Response<Body>) -> anyhow::Result<Bytes> {
    Ok(response.into_body().collect().await.context("the answer broke off")?.to_bytes())
}

/// The whole body, as JSON.
pub(super) async fn parsed<T: DeserializeOwned>(response: Response<Body>) -> anyhow::Result<T> {
    serde_json::from_slice(&whole(response).await?).context("the answer is not what this command understands")
}

/// What a problem document says; of another body its beginning.
async fn refusal(response: Response<Body>) -> anyhow::Result<Refusal> {
    #[derive(serde::Deserialize)]
    struct Problem {
        #[serde(rename = "type")]
        kind: String,
        detail: String,
    }
    let status = response.status();
    let body = whole(response).await?;
    if let Ok(Problem { kind, detail }) = serde_json::from_slice(&body) {
        let kind = kind.rsplit('/').next().unwrap_or_default().to_owned();
        return Ok(Refusal { status, kind, detail });
    }
    let text = String::from_utf8_lossy(&body[..body.len().min(200)]).trim().to_owned();
    Ok(Refusal { status, kind: String::new(), detail: format!("the server answered {status}: {text}") })
}

/// A part of a path, whatever is in it.
pub(super) fn segment(text: &str) -> String {
    // What stands for itself in a path everywhere (RFC 3986).
    const PLAIN: &percent_encoding::AsciiSet = &percent_encoding::NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
    let encoded = percent_encoding::utf8_percent_encode(text, PLAIN).to_string();
    // A path loses these on its way.
    match encoded.as_str() {
        "." => "%2E".to_owned(),
        ".." => "%2E%2E".to_owned(),
        _ => encoded,
    }
}

/// A query string, with its question mark; nothing if there is nothing to say.
pub(super) fn query<'a>(pairs: impl IntoIterator<Item = (&'a str, Option<String>)>) -> String {
    let given = pairs.into_iter().filter_map(|(name, value)| Some((name, value?)));
    let text = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(given).finish();
    if text.is_empty() { text } else { format!("?{text}") }
}

/// The same, with the state that a server is asked for.
pub(super) fn query_at(session: &Session, pairs: &[(&str, &str)]) -> String {
    let (txid, at) = match session.past() {
        Point::Newest => (None, None),
        Point::Txid(txid) => (Some(txid.to_string()), None),
        Point::At(at) => (None, Some(at.to_string())),
    };
    let given = pairs.iter().map(|(name, value)| (*name, Some((*value).to_owned())));
    query(given.chain([("txid", txid), ("at", at)]))
}

#[cfg(test)]
mod tests;
