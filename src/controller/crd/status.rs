//! What the operator tells about a database. Every field is optional: a field that is absent is not known yet.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use super::quantity::{ByteSize, Period};
use super::rules;

/// What was observed of the database, as of `observedGeneration`.
#[derive(KubeSchema, Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BucketDatabaseStatus {
    /// The `metadata.generation` that this status speaks of. An older one means that the newest change was not looked at yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,

    /// `Ready`: answers requests. `Reconciling`: work is under way. `Stalled`: nothing more happens until somebody changes something.
    /// `Restored`, `Durable`, `Writable`, `PromotionApplied`, `GarbageCollected`: how that part went. Each has a reason and a message.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,

    /// The pod that has the database in memory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,

    /// The number of the tenure under which the host writes. Each new host has a higher one, which shuts the older ones out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "rules::count")]
    pub epoch: Option<u64>,

    /// Where the database is reached; append `sql`, for example.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,

    /// The branch that is served.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub branch: Option<String>,

    /// How large the database is, as a file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<ByteSize>,

    /// The limit of the size that is in force; absent while it is suspended. It is less than `spec.limits.maxSize` where the quota of the namespace
    /// has no room for more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_size: Option<ByteSize>,

    /// The number of the newest state that is in the bucket.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "rules::count")]
    pub txid: Option<u64>,

    /// Every commit before this moment is in the bucket.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub durable_time: Option<Time>,

    /// The newest snapshot in the bucket.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_snapshot: Option<SnapshotStatus>,

    /// The newest proof that what is in the bucket can be restored.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_verified: Option<VerifiedStatus>,

    /// The branches that are in the bucket, at most 64 of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub branches: Vec<BranchStatus>,

    /// How the promotion of the spec stands.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub promotion: Option<PromotionStatus>,

    /// The files of the branch that is served.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub files: Option<FilesStatus>,

    /// The Secret with all that a client needs to connect; in the form that Service Binding asks for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub binding: Option<BindingStatus>,

    /// The newest values of the annotations that ask for something once, as far as they were dealt with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_handled: Option<LastHandled>,
}

/// A snapshot in the bucket.
#[derive(KubeSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SnapshotStatus {
    /// When the store confirmed it.
    pub time: Time,
    /// The number of the state that it holds.
    #[schemars(schema_with = "rules::count")]
    pub txid: u64,
    /// How large it is.
    pub size: ByteSize,
    /// How long it took to write. Absent for one that was found in the bucket.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration: Option<Period>,
    /// The object's `ETag`, without quotes.
    pub etag: String,
}

/// A proof that what is in the bucket can be restored.
#[derive(KubeSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VerifiedStatus {
    /// When it ended.
    pub time: Time,
    /// The newest state then, which was restored, and a past one with it.
    #[schemars(schema_with = "rules::count")]
    pub txid: u64,
    /// Whether they were what was committed.
    pub ok: bool,
}

/// A branch in the bucket.
#[derive(KubeSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BranchStatus {
    /// Its name.
    pub name: String,
    /// The number of its newest state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "rules::count")]
    pub txid: Option<u64>,
    /// How large its newest snapshot is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<ByteSize>,
    /// The `ETag` of its newest snapshot, without quotes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub etag: Option<String>,
    /// When its newest snapshot was written, by the store's clock.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_modified: Option<Time>,
    /// The branch that it began as a copy of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parent: Option<String>,
}

/// How far a promotion is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub enum PromotionPhase {
    /// It is not carried out yet; it is tried again.
    Pending,
    /// It is carried out.
    Applied,
    /// It is not carried out, until somebody changes something.
    Failed,
}

/// How a promotion stands.
#[derive(KubeSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PromotionStatus {
    /// Which promotion.
    pub id: String,
    /// Tells the block of the spec that this speaks of from another under the same id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// How far it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phase: Option<PromotionPhase>,
    /// The branch that the content comes from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// The branch that is overwritten.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// The state of `to` that it made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "rules::count")]
    pub txid: Option<u64>,
    /// When it was carried out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time: Option<Time>,
    /// What happened, in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// The files of the branch that is served.
#[derive(KubeSchema, Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FilesStatus {
    /// How many there are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "rules::count")]
    pub count: Option<u64>,
    /// How large they are together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<ByteSize>,
    /// The newest run of gc that came to its end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_gc: Option<GcStatus>,
    /// When the next run by `spec.files.gc.schedule` is due. One that lies behind is made up for, once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_gc: Option<Time>,
    /// The newest Job of gc whose end is told here, by its UID.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gc_job: Option<String>,
}

/// What a run that deletes unused contents found and did.
#[derive(KubeSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GcStatus {
    /// When it ended.
    pub time: Time,
    /// How far it came. `clean`: nothing is unused. `marked`: what is unused was marked. `waiting`: what is marked must wait. `busy`: another
    /// run was deleting. `deleted`: what was marked, and still unused, was deleted.
    pub stage: String,
    /// Whether it only told what it would have done.
    pub dry_run: bool,
    /// Which run it was since somebody asked, from 1.
    #[schemars(schema_with = "rules::small_count")]
    pub run: u32,
    /// When the run that goes on after it is due; absent if none is needed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wait_until: Option<Time>,
    /// Contents that nobody used, to be looked at again by the next run.
    #[schemars(schema_with = "rules::count")]
    pub marked: u64,
    /// Contents that it deleted.
    #[schemars(schema_with = "rules::count")]
    pub deleted: u64,
    /// Unused contents that are not old enough.
    #[schemars(schema_with = "rules::count")]
    pub skipped: u64,
    /// Files whose content is missing.
    #[schemars(schema_with = "rules::count")]
    pub dangling: u64,
    /// Unused contents that buckethead did not write.
    #[schemars(schema_with = "rules::count")]
    pub unowned: u64,
    /// How much the deleted contents took.
    pub freed: ByteSize,
}

/// The Secret with all that a client needs to connect.
#[derive(KubeSchema, Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BindingStatus {
    /// Its name; it is in the namespace of the resource.
    pub name: String,
}

/// The newest values of the annotations that ask for something once.
#[derive(KubeSchema, Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LastHandled {
    /// Of `buckethead.dev/flush-requested-at`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub flush: Option<String>,
    /// Of `buckethead.dev/gc-requested-at`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gc: Option<String>,
    /// Of `buckethead.dev/rotate-token-at`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rotate: Option<String>,
}
