//! Values that the tests of several modules begin with.

use std::sync::Arc;
use std::time::Duration;

use engine::bucket::s3::{Credentials, StoreConfig};
use engine::{
    Access, BranchName, BucketName, DatabaseConfig, DatabaseKey, DatabaseName, Durability, Epoch, Error, Etag, Facts, FilesPolicy,
    FilesPrefix, GcStage, GcSummary, Limits, Listing, Location, MemoryUse, Origin, Previous, QueryLimits, SnapshotFacts, SnapshotPolicy,
    State, Uploads, WallTime, bucket,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::{Value, json};

use crate::crd::{BucketDatabase, ByteSize, GcStatus};
use crate::gc::Run;
use crate::objects::gc_job::{GcJobOptions, Job, JobState};
use crate::objects::{PodAddress, Scheme};
use crate::plan::lineage::{Lineage, Listed};
use crate::plan::{Connection, FINALIZER, Observed, OwnService, Rotation, gc};
use crate::quota::Share;

pub(crate) const UID: &str = "6e1c2c5e-0000-4000-8000-000000000001";

pub(crate) fn second(n: i64) -> WallTime {
    WallTime::from_second(1_700_000_000 + n).unwrap()
}

/// `apps/orders`, with `patch` merged in.
pub(crate) fn resource(patch: Value) -> BucketDatabase {
    let mut whole = json!({
        "apiVersion": "buckethead.dev/v1alpha1", "kind": "BucketDatabase",
        "metadata": {
            "name": "orders", "namespace": "apps", "uid": UID, "generation": 3, "resourceVersion": "7",
            "creationTimestamp": "2026-11-23T08:00:00Z", "finalizers": [FINALIZER], "annotations": {},
        },
        "spec": {"bucket": "orders-data", "key": "orders.db", "credentials": {"secretRef": {"name": "orders-bucket"}}},
    });
    merge(&mut whole, patch);
    serde_json::from_value(whole).unwrap()
}

fn merge(into: &mut Value, patch: Value) {
    match (into, patch) {
        (Value::Object(into), Value::Object(patch)) => {
            for (key, value) in patch {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (into, patch) => *into = patch,
    }
}

/// `apps/orders` while it is being deleted.
pub(crate) fn deleted(patch: Value) -> BucketDatabase {
    let mut resource = resource(patch);
    resource.metadata.deletion_timestamp = resource.metadata.creation_timestamp.clone();
    resource
}

pub(crate) fn name() -> DatabaseName {
    DatabaseName::new("apps", "orders")
}

pub(crate) fn config() -> DatabaseConfig {
    DatabaseConfig {
        name: name(),
        location: Location {
            bucket: BucketName::parse("orders-data").unwrap(),
            key: DatabaseKey::parse("orders.db").unwrap(),
            branch: BranchName::main(),
        },
        store: StoreConfig {
            endpoint: None,
            region: "auto".to_owned(),
            credentials: Credentials { access_key_id: "id".to_owned(), secret_access_key: "key".to_owned(), session_token: None }.into(),
            ca_bundle: None,
            kms_key_id: None,
        },
        snapshots: SnapshotPolicy { interval: Duration::from_mins(1), min_interval: Duration::from_secs(5), keep_previous: true },
        durability: Durability::by_snapshots(),
        files: FilesPolicy { prefix: FilesPrefix::parse("files/").unwrap(), grace: Duration::from_mins(5) },
        limits: Limits { max_size: 1 << 20, query: QueryLimits::default() },
        single_writer: false,
        access: Access::Tokens(Vec::new()),
        branches_by_api: false,
        own_service: false,
        cluster: UID.to_owned(),
        take_over: None,
        promotion: None,
        accept_snapshot: None,
        accept_state: None,
    }
}

/// Where the operator is.
pub(crate) fn pod() -> PodAddress {
    PodAddress { scheme: Scheme::Http, ip: [10, 0, 0, 7].into(), port: 8080, name: "pod-0".to_owned(), namespace: "system".to_owned() }
}

/// All is well and nothing is open.
pub(crate) fn seen() -> Observed {
    Observed {
        now: second(0),
        config: Ok(config()),
        applied: None,
        hosted: State::Absent,
        made: std::collections::BTreeSet::new(),
        lineage: Lineage::default(),
        rival: None,
        neighbours: Vec::new(),
        remains: None,
        held: None,
        share: Share::Whole,
        connection: Connection::Current,
        service: OwnService::None,
        rotation: Rotation::default(),
        said: None,
        troubled_since: None,
        flush_handled: None,
        gc: gc::Seen { jobs: gc::Jobs::NONE, ..gc::Seen::default() },
    }
}

/// All is well and the database is open.
pub(crate) fn served() -> Observed {
    Observed { applied: Some(config()), hosted: State::Open(facts()), lineage: listed(Listing::default()), ..seen() }
}

/// The branches were listed, and nothing else is known.
pub(crate) fn listed(found: Listing) -> Lineage {
    let serving = (facts().branch, facts().epoch);
    Lineage { listed: Some(Listed { found, serving }), ..Lineage::default() }
}

pub(crate) fn facts() -> Facts {
    Facts {
        size: 8192,
        memory: MemoryUse::default(),
        txid: 4,
        branch: BranchName::main(),
        by_hand: false,
        unconditional: None,
        epoch: Epoch(7),
        origin: Origin::Snapshot { etag: Etag::new("e3"), size: 4096 },
        durable_time: Some(second(-5)),
        lag: None,
        interval: Duration::from_secs(1),
        refuses_writes: false,
        pending: false,
        last_snapshot: Some(SnapshotFacts {
            time: second(-5),
            txid: 4,
            size: 8192,
            duration: Some(Duration::from_millis(20)),
            etag: Etag::new("e4"),
        }),
        uploads: Uploads::Fine,
        outside: None,
        damaged: None,
        verified: None,
        unverified: None,
        verify_interval: Duration::from_hours(24),
        slow_readers: 0,
        usage: engine::Usage::default(),
    }
}

pub(crate) fn failed(error: Error, attempts: u32, at: WallTime) -> State {
    State::Failed { error: Arc::new(error), attempts, at }
}

pub(crate) fn of_bucket(source: bucket::Error) -> Error {
    Error::Bucket { database: name(), doing: "reading the snapshot", source }
}

pub(crate) fn unreachable() -> Error {
    of_bucket(bucket::Error::Unavailable { message: "connection refused".to_owned() })
}

pub(crate) fn corrupt(previous: Previous) -> Error {
    Error::SnapshotCorrupt {
        database: name(),
        key: DatabaseKey::parse("orders.db").unwrap().snapshot(&BranchName::main()),
        etag: Etag::new("e9"),
        detail: "file is not a database".to_owned(),
        previous,
    }
}

pub(crate) fn failing() -> Uploads {
    Uploads::Failing { error: Arc::new(unreachable()), since: second(-30), attempts: 2 }
}

/// A run that came this far and did nothing.
pub(crate) fn gc_summary(stage: GcStage, wait_until: Option<WallTime>) -> GcSummary {
    GcSummary {
        stage,
        dry_run: false,
        wait_until,
        owners: 1,
        branches: 1,
        blobs: 9,
        marked: 0,
        deleted: 0,
        skipped: 0,
        dangling: 0,
        unowned: 0,
        freed: 0,
    }
}

/// The same in the status.
pub(crate) fn gc_status(stage: GcStage, run: u32, wait_until: Option<WallTime>) -> GcStatus {
    GcStatus {
        time: Time(second(-60)),
        stage: stage.as_str().to_owned(),
        dry_run: false,
        run,
        wait_until: wait_until.map(Time),
        marked: 0,
        deleted: 0,
        skipped: 0,
        dangling: 0,
        unowned: 0,
        freed: ByteSize::from(0),
    }
}

/// A Job that was made just now.
pub(crate) fn gc_job() -> Job {
    Job {
        name: "orders-gc".to_owned(),
        namespace: "apps".to_owned(),
        uid: "job-1".to_owned(),
        created: second(0),
        run: Run::first(None),
        state: JobState::Starting,
    }
}

/// As the chart gives them.
pub(crate) fn gc_options() -> GcJobOptions {
    let options = json!({"image": "registry.example/buckethead:1", "imagePullPolicy": "IfNotPresent"});
    serde_json::from_value(options).unwrap()
}
