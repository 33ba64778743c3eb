//! From a resource and the Secrets that it names to what the engine needs to open the database. Pure.
//!
//! Owns: how the fields of a spec are read, which names a Secret may use, and what is said when something is missing.
//! Does not own: reading Secrets, nor whether an endpoint may be reached; the engine checks that on every connection.
//! Invariant: without credentials of its own a resource gets none, except the embedded store's in `dev` and what `ambient` lends. No value of a Secret is in a message.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use engine::bucket::s3::{Credentials, Identity, StoreConfig};
use engine::{
    Access, AskedPromotion, BranchName, BucketName, DatabaseConfig, DatabaseKey, DatabaseName, Durability, Epoch, Etag, FilesPolicy,
    FilesPrefix, Grant, Limits, Location, Mode, NameError, OnMaxLag, Permission, ProvedState, QueryLimits, SnapshotPolicy,
};
use kube::ResourceExt;
use url::Url;

use crate::ambient::{AmbientCredentials, NotLent, Wanted};
use crate::crd::{
    self, Auth, BranchControl, BucketDatabase, BucketDatabaseSpec, DurabilityMode, Jurisdiction, R2, SecretKeyRef, SecretRef,
};
use crate::objects::{Token, Tokens};
use crate::schedule::Schedule;

/// The annotation that accepts `<key>.prev` in place of a damaged snapshot, by its ETag.
pub(crate) const ACCEPT_SNAPSHOT: &str = "buckethead.dev/accept-snapshot";
/// The annotation that accepts the newest state that can be proved in place of the newest, by its epoch and txid.
pub(crate) const ACCEPT_STATE: &str = "buckethead.dev/accept-state";
/// The annotation that allows to take a branch over from whoever holds it by this epoch.
pub(crate) const TAKE_OVER: &str = "buckethead.dev/take-over";
/// What suits stores that have no regions.
const NO_REGION: &str = "auto";
/// The key of a Secret that holds a token.
pub(crate) const TOKEN: &str = "token";
/// The key of a Secret that holds a token that only permits reading.
pub(crate) const READ_ONLY_TOKEN: &str = "read-only-token";

/// What is in a Secret. Its `Debug` shows no value.
#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) struct SecretData(BTreeMap<String, Vec<u8>>);

impl From<BTreeMap<String, Vec<u8>>> for SecretData {
    fn from(data: BTreeMap<String, Vec<u8>>) -> Self {
        Self(data)
    }
}

impl fmt::Debug for SecretData {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// The Secrets that a resource names, as far as they exist.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Secrets {
    /// Of `spec.credentials.secretRef`.
    pub(crate) credentials: Option<SecretData>,
    /// Of `spec.endpointTls.caRef`.
    pub(crate) ca: Option<SecretData>,
    /// Of `spec.api.tokenSecretRef`; without it, the connection Secret that the operator made.
    pub(crate) token: Option<SecretData>,
    /// Tokens that were replaced and are still valid.
    pub(crate) previous: Tokens,
}

/// What holds where a resource says nothing. The operator has none of it but what it lends; `dev` does.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Defaults {
    /// The store of a resource without endpoint and credentials.
    pub store: Option<StoreConfig>,
    /// Whether requests need no token, whatever the resource says: only the machine itself can ask.
    pub open_access: bool,
    /// What stands for the UIDs of resources where there is no cluster that gives them.
    pub cluster: Option<String>,
    /// To whom the identity of this process is lent.
    pub ambient: AmbientCredentials,
}

/// What is wrong with a key of a Secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Gap {
    /// There is no Secret of this name.
    NoSecret,
    /// It lacks the key.
    NoKey,
    /// The key is there and holds nothing.
    Empty,
    /// What it holds cannot be such a value.
    Malformed,
}

/// Why a resource cannot be opened as it stands.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ResolveError {
    /// A field of the spec says what cannot be. The rules of the schema refuse it; an older schema may have let it in.
    #[error("spec.{field}: {problem}")]
    Spec {
        /// Which one.
        field: &'static str,
        /// What is wrong with it.
        problem: String,
    },
    /// An annotation says what cannot be.
    #[error("annotation {name}: {problem}")]
    Annotation {
        /// Which one.
        name: &'static str,
        /// What is wrong with it.
        problem: String,
    },
    /// No credentials are named, and the operator does not lend its own.
    #[error("{0}")]
    AmbientCredentialsNotAllowed(NotLent),
    /// The credentials are named, and not there.
    #[error("{}", credentials_missing(.secret, .key, *.gap))]
    CredentialsMissing {
        /// Which Secret.
        secret: String,
        /// Which of its keys.
        key: String,
        /// What is wrong with it.
        gap: Gap,
    },
    /// The certificates of a private authority are named, and not there.
    #[error("spec.endpointTls.caRef: {}", missing(.secret, .key, *.gap, "PEM certificates"))]
    CaMissing {
        /// Which Secret.
        secret: String,
        /// Which of its keys.
        key: String,
        /// What is wrong with it.
        gap: Gap,
    },
    /// There is no token that requests could bear.
    #[error("spec.api.tokenSecretRef: {}", missing(.secret, .key, *.gap, "one line of visible ASCII characters"))]
    TokenMissing {
        /// Which Secret.
        secret: String,
        /// Which of its keys.
        key: &'static str,
        /// What is wrong with it.
        gap: Gap,
    },
}

fn missing(secret: &str, key: &str, gap: Gap, wanted: &str) -> String {
    match gap {
        Gap::NoSecret => format!("there is no Secret `{secret}` in this namespace (its key `{key}` is needed)"),
        Gap::NoKey => format!("the Secret `{secret}` lacks the key `{key}`"),
        Gap::Empty => format!("the key `{key}` of the Secret `{secret}` is empty"),
        Gap::Malformed => format!("the key `{key}` of the Secret `{secret}` does not hold {wanted}"),
    }
}

fn credentials_missing(secret: &str, key: &str, gap: Gap) -> String {
    let what = missing(secret, key, gap, "one line of visible ASCII characters");
    format!(
        "spec.credentials.secretRef: {what}; it must hold AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or R2_ACCESS_KEY_ID and R2_SECRET_ACCESS_KEY"
    )
}

fn durability(asked: &crd::Durability, snapshot_interval: Duration) -> Durability {
    Durability {
        mode: match asked.mode {
            DurabilityMode::Snapshot => Mode::Snapshot,
            DurabilityMode::Stream => Mode::Stream,
            DurabilityMode::Sync => Mode::Sync,
        },
        stream_interval: asked.stream_interval.as_duration(),
        snapshot_interval,
        retention: Some(asked.retention.as_duration()),
        max_lag: asked.max_lag.as_duration(),
        on_max_lag: match asked.on_max_lag {
            crd::OnMaxLag::Refuse => OnMaxLag::Refuse,
            crd::OnMaxLag::Continue => OnMaxLag::Continue,
        },
        verify_interval: asked.verify_interval.as_duration(),
    }
}

/// All that it takes to open the database, if the resource and its Secrets say all of it.
pub(crate) fn resolve(resource: &BucketDatabase, secrets: &Secrets, defaults: &Defaults) -> Result<DatabaseConfig, ResolveError> {
    let spec = &resource.spec;
    check_schedule(resource)?;
    let (location, files) = (location(spec)?, files(spec)?);
    Ok(DatabaseConfig {
        name: DatabaseName::new(resource.namespace().unwrap_or_default(), resource.name_any()),
        store: store(resource, (&location, &files), secrets, defaults)?,
        location,
        snapshots: SnapshotPolicy {
            interval: spec.interval.as_duration(),
            min_interval: spec.min_interval.as_duration(),
            keep_previous: spec.keep_previous,
        },
        durability: durability(&spec.durability, spec.snapshot_interval.as_duration()),
        files,
        limits: limits(spec),
        single_writer: spec.durability.unsafe_single_writer,
        access: match access(spec, secrets, defaults) {
            // Nobody asks it any more, and its Secrets may be gone already.
            Err(_) if resource.metadata.deletion_timestamp.is_some() => Access::Tokens(Vec::new()),
            access => access?,
        },
        branches_by_api: spec.api.branches == BranchControl::Write,
        own_service: spec.api.service,
        cluster: defaults.cluster.clone().or_else(|| resource.metadata.uid.clone()).unwrap_or_default(),
        take_over: take_over(resource)?,
        promotion: promotion(spec)?,
        accept_snapshot: resource.annotations().get(ACCEPT_SNAPSHOT).map(|etag| Etag::new(etag.trim())),
        accept_state: accept_state(resource)?,
    })
}

fn promotion(spec: &BucketDatabaseSpec) -> Result<Option<AskedPromotion>, ResolveError> {
    let refuse = |error: NameError| ResolveError::Spec { field: "promotion.to", problem: error.to_string() };
    let asked = spec.promotion.as_ref();
    asked.map(|asked| Ok(AskedPromotion { to: BranchName::parse(&asked.to).map_err(refuse)?, id: asked.id.clone() })).transpose()
}

fn take_over(resource: &BucketDatabase) -> Result<Option<Epoch>, ResolveError> {
    let asked = resource.annotations().get(TAKE_OVER);
    let epoch = asked.map(|epoch| epoch.trim().parse().map(Epoch));
    epoch.transpose().map_err(|_| ResolveError::Annotation {
        name: TAKE_OVER,
        problem: "must be the number of the epoch that may be taken over, as the condition tells it".to_owned(),
    })
}

fn accept_state(resource: &BucketDatabase) -> Result<Option<ProvedState>, ResolveError> {
    let asked = resource.annotations().get(ACCEPT_STATE).map(|state| state.trim().parse());
    asked.transpose().map_err(|_| ResolveError::Annotation {
        name: ACCEPT_STATE,
        problem: "must be the epoch and the txid of the state that is offered, such as 3.1204, as the condition tells them".to_owned(),
    })
}

fn location(spec: &BucketDatabaseSpec) -> Result<Location, ResolveError> {
    let refuse = |field| move |error: NameError| ResolveError::Spec { field, problem: error.to_string() };
    Ok(Location {
        bucket: BucketName::parse(&spec.bucket).map_err(refuse("bucket"))?,
        key: DatabaseKey::parse(&spec.key).map_err(refuse("key"))?,
        branch: BranchName::parse(&spec.branch).map_err(refuse("branch"))?,
    })
}

fn files(spec: &BucketDatabaseSpec) -> Result<FilesPolicy, ResolveError> {
    let refuse = |error: NameError| ResolveError::Spec { field: "files.prefix", problem: error.to_string() };
    let prefix = FilesPrefix::parse(&spec.files.prefix).map_err(refuse)?;
    Ok(FilesPolicy { prefix, grace: Duration::from_secs(spec.files.gc.grace_seconds.into()) })
}

/// What the rule of the schema cannot tell: whether the expression ever comes.
fn check_schedule(resource: &BucketDatabase) -> Result<(), ResolveError> {
    let expression = &resource.spec.files.gc.schedule;
    if expression.is_empty() {
        return Ok(());
    }
    let schedule = Schedule::parse(expression, resource.metadata.uid.as_deref().unwrap_or_default());
    schedule.map(drop).map_err(|error| ResolveError::Spec { field: "files.gc.schedule", problem: error.to_string() })
}

fn limits(spec: &BucketDatabaseSpec) -> Limits {
    let limits = &spec.limits;
    Limits {
        max_size: limits.max_size.as_bytes(),
        query: QueryLimits {
            max_rows: limits.max_rows.into(),
            max_result_size: limits.max_result_size.as_bytes(),
            statement_timeout: limits.statement_timeout.as_duration(),
            ..QueryLimits::default()
        },
    }
}

fn store(
    resource: &BucketDatabase,
    (location, files): (&Location, &FilesPolicy),
    secrets: &Secrets,
    defaults: &Defaults,
) -> Result<StoreConfig, ResolveError> {
    let spec = &resource.spec;
    let endpoint = endpoint(spec)?;
    match (&spec.credentials, &endpoint, &defaults.store) {
        (Some(named), ..) => of_spec(spec, secrets, endpoint, credentials(&named.secret_ref, secrets.credentials.as_ref())?.into()),
        (None, None, Some(embedded)) => Ok(StoreConfig { kms_key_id: kms_key_id(spec), ..embedded.clone() }),
        (None, ..) => {
            let namespace = &resource.namespace().unwrap_or_default();
            let wanted = Wanted { namespace, spec, location, files, endpoint: endpoint.as_ref() };
            defaults.ambient.lend(&wanted).map_err(ResolveError::AmbientCredentialsNotAllowed)?;
            // The rule of the schema leaves it to `dev`.
            if endpoint.is_none() && spec.region == NO_REGION {
                return Err(ResolveError::Spec { field: "region", problem: "AWS S3 needs a real region such as us-east-1".to_owned() });
            }
            of_spec(spec, secrets, endpoint, Identity::Ambient)
        }
    }
}

fn of_spec(
    spec: &BucketDatabaseSpec,
    secrets: &Secrets,
    endpoint: Option<Url>,
    credentials: Identity,
) -> Result<StoreConfig, ResolveError> {
    Ok(StoreConfig {
        endpoint,
        region: spec.region.clone(),
        credentials,
        ca_bundle: spec.endpoint_tls.as_ref().map(|tls| ca_bundle(&tls.ca_ref, secrets.ca.as_ref())).transpose()?,
        kms_key_id: kms_key_id(spec),
    })
}

fn kms_key_id(spec: &BucketDatabaseSpec) -> Option<String> {
    spec.encryption.as_ref().map(|encryption| encryption.kms_key_id.clone())
}

fn endpoint(spec: &BucketDatabaseSpec) -> Result<Option<Url>, ResolveError> {
    match (&spec.endpoint, &spec.r2) {
        (Some(_), Some(_)) => Err(ResolveError::Spec { field: "r2", problem: "set endpoint or r2, not both".to_owned() }),
        (Some(endpoint), None) => parse_endpoint(endpoint).map(Some),
        (None, Some(r2)) => parse_endpoint(&r2_endpoint(r2)).map(Some),
        (None, None) => Ok(None),
    }
}

fn r2_endpoint(r2: &R2) -> String {
    let jurisdiction = match r2.jurisdiction {
        None => "",
        Some(Jurisdiction::Eu) => ".eu",
        Some(Jurisdiction::Fedramp) => ".fedramp",
    };
    format!("https://{}{jurisdiction}.r2.cloudflarestorage.com", r2.account_id)
}

pub(crate) fn parse_endpoint(text: &str) -> Result<Url, ResolveError> {
    let refuse = |problem: String| ResolveError::Spec { field: "endpoint", problem };
    let url = Url::parse(text).map_err(|error| refuse(format!("`{text}` is no URL: {error}")))?;
    let is_plain = url.path() == "/" && url.query().is_none() && url.fragment().is_none();
    let is_anonymous = url.username().is_empty() && url.password().is_none();
    match (url.scheme(), is_plain && is_anonymous) {
        ("http" | "https", true) => Ok(url),
        ("http" | "https", false) => Err(refuse("scheme, host and port only; no user, path or query".to_owned())),
        _ => Err(refuse("must begin with http:// or https://".to_owned())),
    }
}

/// The families of names that a Secret may use: id, key, and the name of a session's token if the family has one.
const FAMILIES: [(&str, &str, Option<&str>); 2] =
    [("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", Some("AWS_SESSION_TOKEN")), ("R2_ACCESS_KEY_ID", "R2_SECRET_ACCESS_KEY", None)];

/// The first family of which the Secret has a key. Half a family is an error, never mended from the other one.
fn credentials(named: &SecretRef, found: Option<&SecretData>) -> Result<Credentials, ResolveError> {
    let refuse = |key: &str, gap| ResolveError::CredentialsMissing { secret: named.name.clone(), key: key.to_owned(), gap };
    let data = found.ok_or_else(|| refuse(FAMILIES[0].0, Gap::NoSecret))?;
    let is_begun = |(id, key, _): &&(&str, &str, Option<&str>)| data.0.contains_key(*id) || data.0.contains_key(*key);
    let (id, key, session) = FAMILIES.iter().find(is_begun).unwrap_or(&FAMILIES[0]);
    let read = |name: &str| one_line(data, name).map_err(|gap| refuse(name, gap));
    Ok(Credentials {
        access_key_id: read(id)?,
        secret_access_key: read(key)?,
        session_token: session.filter(|name| data.0.contains_key(*name)).map(read).transpose()?,
    })
}

fn ca_bundle(named: &SecretKeyRef, found: Option<&SecretData>) -> Result<Vec<u8>, ResolveError> {
    let refuse = |gap| ResolveError::CaMissing { secret: named.name.clone(), key: named.key.clone(), gap };
    let pem = found.ok_or(Gap::NoSecret).and_then(|data| data.0.get(&named.key).ok_or(Gap::NoKey)).map_err(refuse)?;
    if pem.trim_ascii().is_empty() {
        return Err(refuse(Gap::Empty));
    }
    let begins = b"-----BEGIN CERTIFICATE-----";
    if pem.windows(begins.len()).any(|window| window == begins) { Ok(pem.clone()) } else { Err(refuse(Gap::Malformed)) }
}

fn access(spec: &BucketDatabaseSpec, secrets: &Secrets, defaults: &Defaults) -> Result<Access, ResolveError> {
    match spec.api.auth {
        // Never open, not even where only the machine itself can ask: `local` refuses it there.
        Auth::Kubernetes => Ok(Access::Kubernetes),
        _ if defaults.open_access => Ok(Access::Open),
        Auth::None => Ok(Access::Open),
        Auth::Token => {
            let named = spec.api.token_secret_ref.as_ref().map_or("", |named| &named.name);
            tokens(named, secrets).map(Access::Tokens)
        }
    }
}

/// The tokens of the Secret `named`, and those that were replaced lately.
fn tokens(named: &str, secrets: &Secrets) -> Result<Vec<Grant>, ResolveError> {
    let refuse = |key| move |gap| ResolveError::TokenMissing { secret: named.to_owned(), key, gap };
    let data = secrets.token.as_ref().ok_or(Gap::NoSecret).map_err(refuse(TOKEN))?;
    let token = one_line(data, TOKEN).map_err(refuse(TOKEN))?;
    let read_only = match one_line(data, READ_ONLY_TOKEN) {
        // Nobody needs to have one.
        Err(Gap::NoKey) => None,
        read_only => Some(read_only.map_err(refuse(READ_ONLY_TOKEN))?),
    };
    if read_only.as_ref() == Some(&token) {
        let problem =
            format!("the keys `{TOKEN}` and `{READ_ONLY_TOKEN}` of the Secret `{named}` hold the same: give them different values");
        return Err(ResolveError::Spec { field: "api.tokenSecretRef", problem });
    }
    let Tokens { token: old, read_only: old_read_only } = &secrets.previous;
    let write = [Some(token.as_str()), old.as_ref().map(Token::as_str)];
    let read = [read_only.as_deref(), old_read_only.as_ref().map(Token::as_str)];
    let grants = |tokens: [Option<&str>; 2], permission| tokens.map(|token| token.map(|token| Grant::of(token, permission)));
    Ok(grants(write, Permission::Write).into_iter().chain(grants(read, Permission::Read)).flatten().collect())
}

/// A value of one line. The line break that `echo` and editors leave at its end is not part of it.
fn one_line(data: &SecretData, key: &str) -> Result<String, Gap> {
    let value = data.0.get(key).ok_or(Gap::NoKey)?;
    let text = std::str::from_utf8(value).map_err(|_| Gap::Malformed)?.trim_end_matches(['\r', '\n']);
    if text.is_empty() {
        Err(Gap::Empty)
    } else if text.bytes().all(|byte| byte.is_ascii_graphic()) {
        Ok(text.to_owned())
    } else {
        Err(Gap::Malformed)
    }
}

#[cfg(test)]
mod tests;
