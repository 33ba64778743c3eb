//! `BucketDatabase`: what a user declares, and what the operator tells about it.
//!
//! Owns: every field of spec and status with its default, its description and its rules; the schema is written nowhere else.
//! Does not own: what the fields do. Names that a rule lets through are parsed again by [`crate::resolve`].
//! Invariant: what the rules refuse, the engine's names refuse, too, and the other way round.
#![expect(unreachable_pub, reason = "`KubeSchema` repeats each struct, with its `pub`, inside a function")]

mod admission;
mod branches;
#[cfg(test)]
mod examples;
#[cfg(test)]
mod growth;
mod manifest;
mod quantity;
mod rules;
mod settings;
mod status;
mod store;

use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

pub use admission::{Refused, admit};
pub use branches::{BranchSpec, Promotion, PromotionSource};
pub use manifest::{crd, crd_yaml};
pub use quantity::{ByteSize, Period, QuantityError};
pub use settings::{Api, Auth, BranchControl, Durability, DurabilityMode, Files, Gc, Limits, OnMaxLag};
pub use status::{
    BindingStatus, BranchStatus, BucketDatabaseStatus, FilesStatus, GcStatus, LastHandled, PromotionPhase, PromotionStatus, SnapshotStatus,
    VerifiedStatus,
};
pub use store::{Credentials, Encryption, EndpointTls, Jurisdiction, R2, SecretKeyRef, SecretRef};

/// What happens to branches and snapshots in the bucket when their declaration is deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema)]
pub enum DeletionPolicy {
    /// They stay.
    #[default]
    Retain,
    /// Those that this resource made are deleted.
    Delete,
}

/// The desired state of a database: a SQLite database in the operator's memory, kept durable in a bucket.
#[derive(CustomResource, KubeSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "buckethead.dev",
    version = "v1alpha1",
    kind = "BucketDatabase",
    plural = "bucketdatabases",
    singular = "bucketdatabase",
    shortname = "bdb",
    category = "databases",
    namespaced,
    status = "BucketDatabaseStatus",
    derive = "PartialEq",
    cel,
    doc = "A SQLite database that the operator hosts in memory, keeps durable in an S3-compatible bucket and serves over HTTP.",
    validation = rules::resource_name(),
    printcolumn(name = "Branch", type_ = "string", json_path = ".status.branch", description = "The branch that is served."),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status", description = "Whether the database answers requests."),
    printcolumn(name = "Size", type_ = "string", json_path = ".status.size", description = "How large the database is, as a file."),
    printcolumn(name = "Txid", type_ = "integer", json_path = ".status.txid", description = "The number of the newest state that is in the bucket."),
    printcolumn(name = "Durable", type_ = "date", json_path = ".status.durableTime", description = "How long ago the newest moment was of which every commit is in the bucket."),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].reason", priority = 1, description = "Why it is ready, or why not."),
    printcolumn(name = "Bucket", type_ = "string", json_path = ".spec.bucket", priority = 1),
    printcolumn(name = "Key", type_ = "string", json_path = ".spec.key", priority = 1),
    printcolumn(name = "Host", type_ = "string", json_path = ".status.host", priority = 1, description = "The pod that has it in memory."),
    printcolumn(name = "URL", type_ = "string", json_path = ".status.url", priority = 1)
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = rules::immutable("bucket"),
    validation = rules::immutable("key"),
    validation = rules::immutable("endpoint"),
    validation = rules::immutable("r2"),
    validation = rules::immutable("region"),
    validation = rules::immutable_prefix(),
    validation = rules::one_endpoint(),
    validation = rules::region_for_aws(),
    validation = rules::tls_needs_https(),
    validation = rules::key_beside_prefix(),
    validation = rules::min_interval()
)]
pub struct BucketDatabaseSpec {
    /// The bucket that holds the database, for example `orders-data`. It must exist. Immutable.
    #[schemars(length(min = 3, max = 63))]
    #[x_kube(validation = rules::bucket())]
    pub bucket: String,

    /// The key of the newest snapshot of `main`, a plain SQLite file, for example `apps/orders.db`. The names of all other objects of this
    /// database are made from it. It may not end in `.prev` nor contain `.branch.`, `.ltx/` or `.head/`. Immutable.
    #[serde(default = "default::key")]
    #[schemars(length(min = 1, max = 512))]
    #[x_kube(validation = rules::key_shape(), validation = rules::key_not_derived())]
    pub key: String,

    /// URL of an S3-compatible store, for example `https://minio.storage:9000`; scheme, host and port only. Absent, and without `r2`, it is
    /// AWS S3. Loopback, link-local and metadata addresses are refused. Immutable.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 300))]
    #[x_kube(validation = rules::endpoint())]
    pub endpoint: Option<String>,

    /// Cloudflare R2, in place of `endpoint`. Immutable.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub r2: Option<R2>,

    /// How the certificate of an `https` endpoint is checked. Absent: by the public authorities.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint_tls: Option<EndpointTls>,

    /// The region that requests are signed for, for example `us-east-1`. `auto` suits R2 and MinIO; AWS S3 needs a real one. Immutable.
    #[serde(default = "default::region")]
    #[schemars(length(min = 1, max = 63))]
    #[x_kube(validation = rules::region())]
    pub region: String,

    /// Encryption by the store. Absent: as the bucket is set up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub encryption: Option<Encryption>,

    /// Where the keys for the bucket come from. Absent: the operator's own identity, and only where its configuration allows that for this
    /// namespace and bucket.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credentials: Option<Credentials>,

    /// How often a database in `snapshot` mode is written to the bucket if it changed, for example `60s` or `5m`; from `1s` to `24h`. A crash
    /// of the operator loses at most this much.
    #[serde(default = "default::interval")]
    #[x_kube(validation = rules::lasts("1s", "24h"))]
    pub interval: Period,

    /// In the modes `stream` and `sync`: how often the plain SQLite file at `key` is renewed if the database changed; from `1s` to `168h`.
    #[serde(default = "default::snapshot_interval")]
    #[x_kube(validation = rules::lasts("1s", "168h"))]
    pub snapshot_interval: Period,

    /// A flush that somebody asks for within this time of the last one is skipped, unless it is forced; from `0s` to `24h`, and never longer
    /// than `interval`.
    #[serde(default = "default::min_interval")]
    #[x_kube(validation = rules::lasts("0s", "24h"))]
    pub min_interval: Period,

    /// Whether the snapshot before the newest is kept at `<key>.prev`. It costs one server-side copy for each snapshot, and is what remains
    /// if the newest is damaged.
    #[serde(default = "default::yes")]
    pub keep_previous: bool,

    /// The branch that is served: letters, digits, `_` and `-`. A change switches to that branch.
    #[serde(default = "default::main")]
    #[schemars(length(min = 1, max = 63))]
    #[x_kube(validation = rules::branch_name())]
    pub branch: String,

    /// Branches of the database besides `main`. Each is created once, from another branch and, if given, from a point in its past.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    #[x_kube(
        merge_strategy = ListMerge::Map(vec!["name".into()]),
        validation = rules::unique_branches(),
        validation = rules::immutable_origins()
    )]
    pub branches: Vec<BranchSpec>,

    /// Overwrites one branch with the content of another, once for each `id`. Removing the block undoes nothing; an undo is another
    /// promotion under a new `id`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub promotion: Option<Promotion>,

    /// What a reply to a write promises, and how far back the past can be read.
    #[serde(default)]
    pub durability: Durability,

    /// Where the contents of files are kept, and when those that nobody uses any more are deleted.
    #[serde(default)]
    pub files: Files,

    /// What the database, and one request to it, may use.
    #[serde(default)]
    pub limits: Limits,

    /// How the database is reached, and by whom.
    #[serde(default)]
    pub api: Api,

    /// Whether the database is taken out of memory after a last flush, and answers no requests until this is `false` again.
    #[serde(default)]
    pub suspend: bool,

    /// What happens to the objects in the bucket when this resource is deleted: `Retain` leaves them, `Delete` removes those that this
    /// resource made. A last flush comes first in either case.
    #[serde(default)]
    pub deletion_policy: DeletionPolicy,
}

/// What a field is when the manifest does not say.
impl BucketDatabaseSpec {
    /// How long a commit may wait until it is on its way to the bucket.
    pub fn saved_within(&self) -> std::time::Duration {
        match self.durability.mode {
            DurabilityMode::Snapshot => self.interval.as_duration(),
            DurabilityMode::Stream => self.durability.stream_interval.as_duration(),
            DurabilityMode::Sync => std::time::Duration::ZERO,
        }
    }
}

mod default {
    use super::Period;

    pub(super) fn key() -> String {
        engine::DatabaseKey::DEFAULT.to_owned()
    }
    pub(super) fn region() -> String {
        "auto".to_owned()
    }
    pub(super) fn main() -> String {
        "main".to_owned()
    }
    pub(super) fn interval() -> Period {
        Period::literal("60s")
    }
    pub(super) fn snapshot_interval() -> Period {
        Period::literal("1h")
    }
    pub(super) fn min_interval() -> Period {
        Period::literal("5s")
    }
    pub(super) fn yes() -> bool {
        true
    }
}
