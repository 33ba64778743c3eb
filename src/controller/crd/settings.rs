//! The part of the spec that says how a database behaves: what it promises, what it may use, who may ask it.
//!
//! The defaults of each field are in its `#[serde(default)]`, and nowhere else: `Default` reads them from there.

use kube::KubeSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::quantity::{ByteSize, Period};
use super::rules;
use super::store::SecretRef;

/// What a reply to a write promises, and how far back the past can be read.
#[derive(KubeSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Durability {
    /// `snapshot`: a reply means that the commit is in memory; the whole database goes to the bucket each `interval`. `stream`: changes go
    /// to the bucket each `streamInterval`. `sync`: a reply means that the commit is in the bucket.
    #[serde(default)]
    pub mode: DurabilityMode,

    /// In the mode `stream`: how often changes go to the bucket; from `100ms` to `1h`. A crash loses at most this much while the store
    /// answers.
    #[serde(default = "default::stream_interval")]
    #[x_kube(validation = rules::lasts("100ms", "1h"))]
    pub stream_interval: Period,

    /// How long past states can be read, branched from and restored; from `0s` to `8760h`. So long a branch with `deletionPolicy: Delete`
    /// stays that has left `branches`. In the mode `snapshot` there is one past state for each `interval`.
    #[serde(default = "default::day")]
    #[x_kube(validation = rules::lasts("0s", "8760h"))]
    pub retention: Period,

    /// How long a commit may wait for the bucket, beyond `streamInterval` or `interval`, before `onMaxLag` applies; from `1s` to `168h`.
    #[serde(default = "default::max_lag")]
    #[x_kube(validation = rules::lasts("1s", "168h"))]
    pub max_lag: Period,

    /// What happens to writes once the bucket is `maxLag` behind: `Refuse` answers them with an error, `Continue` goes on in memory.
    #[serde(default)]
    pub on_max_lag: OnMaxLag,

    /// How often it is proved that what is in the bucket can be restored; from `1h` to `8760h`, or `0s` for never.
    #[serde(default = "default::day")]
    #[x_kube(validation = rules::lasts_or_off("1h", "8760h"))]
    pub verify_interval: Period,

    /// Goes on where the store ignores or refuses the conditions on writes that keep two writers apart: it is only looked before each write
    /// whether somebody else was there. Only where nothing else can write to this key: a second writer may destroy data unnoticed. A store
    /// that honours conditions gets them all the same; the condition `SecondWriterExcluded` tells which it is.
    #[serde(default)]
    pub unsafe_single_writer: bool,
}

/// What a reply to a write promises.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum DurabilityMode {
    /// In memory; the whole database goes to the bucket each `interval`.
    Snapshot,
    /// In memory; changes go to the bucket each `streamInterval`.
    #[default]
    Stream,
    /// In the bucket.
    Sync,
}

/// What happens to writes once the bucket is too far behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema)]
pub enum OnMaxLag {
    /// They are refused until it has caught up.
    #[default]
    Refuse,
    /// They go on in memory.
    Continue,
}

/// Where the contents of files are kept.
#[derive(KubeSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Files {
    /// The keys of files' contents begin with this, for example `files/`; it ends in a slash. Neither may `key` begin with it nor it with
    /// `key`. Databases of one bucket may share it. Immutable.
    #[serde(default = "default::prefix")]
    #[schemars(length(min = 2, max = 256))]
    #[x_kube(validation = rules::prefix_shape(), validation = rules::prefix_not_derived())]
    pub prefix: String,

    /// When contents that no file of any branch uses any more are deleted.
    #[serde(default)]
    pub gc: Gc,
}

/// When contents that nobody uses are deleted.
#[derive(KubeSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Gc {
    /// A cron expression in UTC, for example `0 3 * * *` for each day at three, or `@daily`. Each resource runs up to five minutes later, at
    /// the same moment each time. Empty: only when asked by the annotation `buckethead.dev/gc-requested-at`.
    #[serde(default)]
    #[schemars(length(max = 100))]
    #[x_kube(validation = rules::schedule())]
    pub schedule: String,

    /// How many seconds a content must have gone unused before it is deleted; up to 31536000, a year.
    #[serde(default = "default::grace_seconds")]
    #[schemars(schema_with = "rules::seconds")]
    pub grace_seconds: u32,

    /// Whether a run only reports what it would delete.
    #[serde(default)]
    pub dry_run: bool,

    /// Whether contents that buckethead did not write are deleted, too. Another program may still use them.
    #[serde(default)]
    pub include_unowned: bool,
}

/// What the database, and one request to it, may use.
#[derive(KubeSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Limits {
    /// How large the database may grow, as a file, for example `500Mi`; from `64Ki` to `256Gi`. A write beyond it fails with `SQLITE_FULL`, and
    /// a larger snapshot is not loaded. It is memory of the operator.
    #[serde(default = "default::max_size")]
    #[x_kube(validation = rules::measures("64Ki", "256Gi"))]
    pub max_size: ByteSize,

    /// How long one statement may run before it is interrupted and rolled back; from `10ms` to `1h`.
    #[serde(default = "default::statement_timeout")]
    #[x_kube(validation = rules::lasts("10ms", "1h"))]
    pub statement_timeout: Period,

    /// How many rows one result may have; what lies beyond is cut off and the result marked `truncated`. From 1 to 10000000.
    #[serde(default = "default::max_rows")]
    #[schemars(schema_with = "rules::rows")]
    pub max_rows: u32,

    /// How many bytes all results of one request may have together; beyond it the request fails. From `1Ki` to `1Gi`.
    #[serde(default = "default::max_result_size")]
    #[x_kube(validation = rules::measures("1Ki", "1Gi"))]
    pub max_result_size: ByteSize,
}

/// How the database is reached, and by whom.
#[derive(KubeSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = rules::tokens_of_one_source())]
pub struct Api {
    /// Who may ask. `Token`: the bearer of one of the database's tokens. `Kubernetes`: whoever bears a token of the cluster and is allowed by
    /// RBAC to `get` (to read) or `update` (to read and write) `bucketdatabases/data`. `None`: anyone who reaches the operator's port.
    #[serde(default)]
    pub auth: Auth,

    /// A Secret in this namespace whose key `token` holds the token, and whose key `read-only-token`, if there is one, holds a token that only
    /// permits reading. Absent: the operator makes both, in the Secret that `status.binding` names.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_secret_ref: Option<SecretRef>,

    /// Whether the database gets a Service of its own, named like the resource.
    #[serde(default)]
    pub service: bool,

    /// Who may create, delete, overwrite and switch branches. `Spec`: this resource alone. `Write`: also requests over HTTP.
    #[serde(default)]
    pub branches: BranchControl,
}

/// Who may ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema)]
pub enum Auth {
    /// The bearer of the database's token.
    #[default]
    Token,
    /// Whoever the API server knows and RBAC allows.
    Kubernetes,
    /// Anyone.
    None,
}

/// Who may change branches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema)]
pub enum BranchControl {
    /// The resource alone.
    #[default]
    Spec,
    /// Also requests over HTTP.
    Write,
}

/// What is left when a manifest says nothing.
fn from_nothing<T: DeserializeOwned>() -> T {
    serde_json::from_value(serde_json::json!({})).expect("every field has a default, and a test reads each of them")
}

impl Default for Durability {
    fn default() -> Self {
        from_nothing()
    }
}

impl Default for Files {
    fn default() -> Self {
        from_nothing()
    }
}

impl Default for Gc {
    fn default() -> Self {
        from_nothing()
    }
}

impl Default for Limits {
    fn default() -> Self {
        from_nothing()
    }
}

impl Default for Api {
    fn default() -> Self {
        from_nothing()
    }
}

mod default {
    use super::{ByteSize, Period};

    pub(super) fn stream_interval() -> Period {
        Period::literal("1s")
    }
    pub(super) fn day() -> Period {
        Period::literal("24h")
    }
    pub(super) fn max_lag() -> Period {
        Period::literal("5m")
    }
    pub(super) fn prefix() -> String {
        "files/".to_owned()
    }
    pub(super) fn grace_seconds() -> u32 {
        300
    }
    pub(super) fn max_size() -> ByteSize {
        ByteSize::literal("500Mi")
    }
    pub(super) fn statement_timeout() -> Period {
        Period::literal("30s")
    }
    pub(super) fn max_rows() -> u32 {
        100_000
    }
    pub(super) fn max_result_size() -> ByteSize {
        ByteSize::literal("10Mi")
    }
}
