//! What the operator is asked, and what the right end of it is.

use engine::Value;
use serde_json::{Value as Json, json};

use super::operator::InProcess;
use super::{KEY, Scenario, Stage};
use crate::support::{DATABASE, Snapshot, until};

/// `main` with one row that is in the bucket.
async fn with_a_saved_row(stage: &Stage, operator: &InProcess, resource: crate::support::Resource) {
    stage.apply(resource).await;
    stage.namespace.wait_ready(DATABASE).await;
    operator.sql(DATABASE, "create table t (x)").await;
    operator.sql(DATABASE, "insert into t values (1)").await;
    operator.flush(DATABASE).await;
}

async fn head(stage: &Stage, branch: &str) -> Option<Json> {
    serde_json::from_slice(&stage.place.find(&format!("{KEY}.head/{branch}.json")).await?).ok()
}

async fn is_ready(stage: &Stage, branch: &str) {
    until("the branch is there", async || (head(stage, branch).await?["state"] == "ready").then_some(())).await;
}

/// Waits until the status lists these branches and no others.
async fn has_branches(stage: &Stage, wanted: &[&str]) {
    until("the branches in the status", async || {
        let branches = stage.namespace.get("bucketdatabase", DATABASE).await["status"]["branches"].take();
        let names: Vec<_> = branches.as_array()?.iter().map(|branch| branch["name"].clone()).collect();
        (names == wanted).then_some(())
    })
    .await;
}

/// How many rows the snapshot has that lies there.
async fn saved_rows(stage: &Stage, key: &str) -> i64 {
    Snapshot::open(&stage.place.find(key).await.unwrap()).value("select count(*) from t")
}

/// A new database with branches.
#[derive(Clone, Copy)]
pub(super) struct Create;

impl Scenario for Create {
    const NAME: &'static str = "create";

    async fn before(self, _: &Stage, _: &InProcess) {}

    async fn ask(self, stage: &Stage) {
        let branches = json!([{"name": "next"}, {"name": "later", "from": "next"}]);
        stage.apply(stage.database().with("/spec/branches", branches)).await;
    }

    async fn end(self, stage: &Stage, operator: &InProcess) {
        stage.namespace.wait_ready(DATABASE).await;
        for branch in ["main", "next", "later"] {
            is_ready(stage, branch).await;
        }
        operator.sql(DATABASE, "create table t (x)").await;
        let mut objects = stage.place.list("").await;
        for branch in ["main", "next", "later"] {
            let begins = format!("{KEY}.ltx/{branch}/0009/");
            assert!(objects.iter().any(|key| key.starts_with(&begins)), "{branch} has a chain");
        }
        // Whoever is killed while it asks the store what it can do leaves its question.
        objects.retain(|key| !key.contains(".prev") && !key.contains("/.probe-") && !key.contains(".ltx/"));
        let wanted = ["", ".branch.later", ".branch.next", ".head/later.json", ".head/main.json", ".head/next.json"];
        assert_eq!(objects, wanted.map(|rest| format!("{KEY}{rest}")));
        assert_eq!(head(stage, "later").await.unwrap()["parent"]["branch"], "next");
    }
}

/// Another interval, another branch and a flush, all at once.
#[derive(Clone, Copy)]
pub(super) struct Change;

impl Scenario for Change {
    const NAME: &'static str = "change";

    async fn before(self, stage: &Stage, operator: &InProcess) {
        with_a_saved_row(stage, operator, stage.database().with("/spec/branches", json!([{"name": "next"}]))).await;
        is_ready(stage, "next").await;
    }

    async fn ask(self, stage: &Stage) {
        let changed = stage.database().with("/spec/branches", json!([{"name": "next"}])).with("/spec/branch", "next");
        let annotations = json!({"buckethead.dev/flush-requested-at": "noon"});
        stage.apply(changed.with("/spec/interval", "30m").with("/metadata/annotations", annotations)).await;
    }

    async fn end(self, stage: &Stage, operator: &InProcess) {
        until("the branch and the flush in the status", async || {
            let status = stage.namespace.get("bucketdatabase", DATABASE).await["status"].take();
            (status["branch"] == "next" && status["lastHandled"]["flush"] == "noon").then_some(())
        })
        .await;
        // It was made before there was a table.
        assert_eq!(operator.sql(DATABASE, "select count(*) from sqlite_schema where name = 't'").await, [[Value::Integer(0)]]);
        assert_eq!(saved_rows(stage, KEY).await, 1, "main is as it was");
    }
}

/// `spec.suspend` on a database with a row that is in memory alone.
#[derive(Clone, Copy)]
pub(super) struct Suspend;

impl Scenario for Suspend {
    const NAME: &'static str = "suspend";

    async fn before(self, stage: &Stage, operator: &InProcess) {
        with_a_saved_row(stage, operator, stage.database()).await;
        operator.sql(DATABASE, "insert into t values (2)").await;
    }

    async fn ask(self, stage: &Stage) {
        stage.apply(stage.database().with("/spec/suspend", true)).await;
    }

    async fn end(self, stage: &Stage, operator: &InProcess) {
        stage.namespace.wait_not("Ready", DATABASE, "Suspended").await;
        until("it says that it is suspended", async || operator.refusal(DATABASE)?.contains("it is suspended").then_some(())).await;
        assert_eq!(saved_rows(stage, KEY).await, 2);
        assert_eq!(head(stage, "main").await.unwrap()["released"], true);
    }
}

/// And back.
#[derive(Clone, Copy)]
pub(super) struct Resume;

impl Scenario for Resume {
    const NAME: &'static str = "resume";

    async fn before(self, stage: &Stage, operator: &InProcess) {
        Suspend.before(stage, operator).await;
        Suspend.ask(stage).await;
        Suspend.end(stage, operator).await;
    }

    async fn ask(self, stage: &Stage) {
        stage.apply(stage.database().with("/spec/suspend", false)).await;
    }

    async fn end(self, stage: &Stage, operator: &InProcess) {
        stage.namespace.wait_ready(DATABASE).await;
        assert_eq!(operator.sql(DATABASE, "select count(*) from t").await, [[Value::Integer(2)]]);
    }
}

/// The resource goes, its data stays.
#[derive(Clone, Copy)]
pub(super) struct Retain;

impl Scenario for Retain {
    const NAME: &'static str = "retain";

    async fn before(self, stage: &Stage, operator: &InProcess) {
        Suspend.before(stage, operator).await;
    }

    async fn ask(self, stage: &Stage) {
        stage.delete().await;
    }

    async fn end(self, stage: &Stage, _: &InProcess) {
        stage.gone().await;
        assert_eq!(saved_rows(stage, KEY).await, 2, "the final flush came first");
        assert_eq!(head(stage, "main").await.unwrap()["released"], true);
    }
}

/// The resource goes with all that it made; what was there before it stays.
#[derive(Clone, Copy)]
pub(super) struct Delete;

impl Scenario for Delete {
    const NAME: &'static str = "delete";

    async fn before(self, stage: &Stage, operator: &InProcess) {
        let resource = stage.database().with("/spec/deletionPolicy", "Delete").with("/spec/branches", json!([{"name": "next"}]));
        with_a_saved_row(stage, operator, resource).await;
        is_ready(stage, "next").await;
        // As a killed process leaves it.
        stage.place.put(&format!("{KEY}.head/.probe-1"), b"1".to_vec()).await;
        stage.place.put("another.db", b"somebody else's".to_vec()).await;
    }

    async fn ask(self, stage: &Stage) {
        stage.delete().await;
    }

    async fn end(self, stage: &Stage, _: &InProcess) {
        stage.gone().await;
        let left = [format!("{KEY}.head/main.json"), format!("{KEY}.head/next.json")];
        assert_eq!(stage.place.list("apps/").await, left);
        for branch in ["main", "next"] {
            assert_eq!(head(stage, branch).await.unwrap()["state"], "tombstone");
        }
        assert!(stage.place.find("another.db").await.is_some());
    }
}

/// The resource is let go by force, and the row that is in memory alone is given up.
#[derive(Clone, Copy)]
pub(super) struct Force;

impl Scenario for Force {
    const NAME: &'static str = "force";

    async fn before(self, stage: &Stage, operator: &InProcess) {
        with_a_saved_row(stage, operator, stage.database().with("/spec/deletionPolicy", "Delete")).await;
        operator.sql(DATABASE, "insert into t values (2)").await;
    }

    async fn ask(self, stage: &Stage) {
        let uid = stage.namespace.get("bucketdatabase", DATABASE).await["metadata"]["uid"].as_str().unwrap().to_owned();
        let annotation = format!("buckethead.dev/force-delete={uid}");
        stage.namespace.kubectl(&["annotate", "bucketdatabase", DATABASE, &annotation]).await;
        stage.delete().await;
    }

    async fn end(self, stage: &Stage, _: &InProcess) {
        stage.gone().await;
        assert_eq!(saved_rows(stage, KEY).await, 1, "what is in the bucket stays");
    }
}

/// The deletion of a database that could never be opened.
#[derive(Clone, Copy)]
pub(super) struct DeleteFailed;

impl Scenario for DeleteFailed {
    const NAME: &'static str = "failed";

    async fn before(self, stage: &Stage, _: &InProcess) {
        stage.place.put(KEY, b"no database".repeat(100)).await;
        stage.apply(stage.database()).await;
        stage.namespace.wait_not("Ready", DATABASE, "SnapshotCorrupt").await;
    }

    async fn ask(self, stage: &Stage) {
        stage.delete().await;
    }

    async fn end(self, stage: &Stage, _: &InProcess) {
        stage.gone().await;
        assert_eq!(stage.place.find(KEY).await, Some(b"no database".repeat(100)));
    }
}

/// A request for gc: two Jobs, of which the first marks and the second deletes.
#[derive(Clone, Copy)]
pub(super) struct CollectGarbage;

impl CollectGarbage {
    /// A blob that nobody has a row for.
    fn orphan() -> String {
        format!("files/{}", "ab".repeat(32))
    }
}

impl Scenario for CollectGarbage {
    const NAME: &'static str = "gc";
    const HAS_JOBS: bool = true;

    async fn before(self, stage: &Stage, operator: &InProcess) {
        let quick = stage.database().with("/spec/interval", "1s").with("/spec/minInterval", "1s");
        let gc = json!({"gc": {"graceSeconds": 0, "includeUnowned": true}});
        with_a_saved_row(stage, operator, quick.with("/spec/files", gc)).await;
        stage.place.put(&Self::orphan(), b"nobody's".to_vec()).await;
    }

    async fn ask(self, stage: &Stage) {
        stage.namespace.kubectl(&["annotate", "bucketdatabase", DATABASE, "buckethead.dev/gc-requested-at=noon"]).await;
    }

    async fn end(self, stage: &Stage, _: &InProcess) {
        stage.namespace.wait_condition(DATABASE, "GarbageCollected", "True", "GcSucceeded").await;
        assert_eq!(stage.place.find(&Self::orphan()).await, None);
        let status = stage.namespace.get("bucketdatabase", DATABASE).await["status"].take();
        let last = &status["files"]["lastGc"];
        assert_eq!((&status["lastHandled"]["gc"], &last["run"], &last["deleted"]), (&json!("noon"), &json!(2), &json!(1)));
        // Each run has a Pod, which nobody deletes here.
        let pods = stage.namespace.kubectl(&["get", "pods", "--output=name"]).await;
        assert_eq!(pods.lines().count(), 2, "no run is begun twice: {pods}");
    }
}

/// `main` is overwritten, and what it held is kept.
#[derive(Clone, Copy)]
pub(super) struct Promote;

impl Promote {
    fn branches(stage: &Stage) -> crate::support::Resource {
        stage.database().with("/spec/branches", json!([{"name": "next"}]))
    }
}

impl Scenario for Promote {
    const NAME: &'static str = "promote";

    async fn before(self, stage: &Stage, operator: &InProcess) {
        with_a_saved_row(stage, operator, stage.database()).await;
        stage.apply(Self::branches(stage)).await;
        has_branches(stage, &["main", "next"]).await;
        operator.sql(DATABASE, "insert into t values (2)").await;
        operator.flush(DATABASE).await;
    }

    async fn ask(self, stage: &Stage) {
        let promotion = json!({"id": "release-7", "from": {"branch": "next"}, "keepPreviousAs": "before"});
        stage.apply(Self::branches(stage).with("/spec/promotion", promotion)).await;
    }

    async fn end(self, stage: &Stage, operator: &InProcess) {
        stage.namespace.wait_condition(DATABASE, "PromotionApplied", "True", "Promoted").await;
        has_branches(stage, &["main", "before", "next"]).await;
        assert_eq!(operator.sql(DATABASE, "select count(*) from t").await, [[Value::Integer(1)]]);
        assert_eq!((saved_rows(stage, KEY).await, saved_rows(stage, &format!("{KEY}.branch.before")).await), (1, 2));
        let promotions = head(stage, "main").await.unwrap()["promotions"].take();
        assert_eq!((promotions.as_array().unwrap().len(), &promotions[0]["state"]), (1, &json!("done")));
        // Had it been done twice, this would be the second one's.
        let told = stage.namespace.get("bucketdatabase", DATABASE).await["status"]["promotion"]["txid"].take();
        assert_eq!(told.as_u64(), promotions[0]["to_txid"].as_u64().map(|before| before + 1));
    }
}

/// A branch leaves the list whose objects go at once.
#[derive(Clone, Copy)]
pub(super) struct Leave;

impl Leave {
    fn resource(stage: &Stage, branches: Json) -> crate::support::Resource {
        stage.database().with("/spec/branches", branches)
    }
}

impl Scenario for Leave {
    const NAME: &'static str = "leave";

    async fn before(self, stage: &Stage, operator: &InProcess) {
        let branches = json!([{"name": "next", "deletionPolicy": "Delete"}, {"name": "stays"}]);
        with_a_saved_row(stage, operator, Self::resource(stage, branches)).await;
        has_branches(stage, &["main", "next", "stays"]).await;
    }

    async fn ask(self, stage: &Stage) {
        stage.apply(Self::resource(stage, json!([]))).await;
    }

    async fn end(self, stage: &Stage, operator: &InProcess) {
        until("the branch is gone", async || (head(stage, "next").await?["state"] == "tombstone").then_some(())).await;
        has_branches(stage, &["main", "stays"]).await;
        assert!(stage.place.find(&format!("{KEY}.branch.next")).await.is_none());
        assert_eq!(operator.sql(DATABASE, "select count(*) from t").await, [[Value::Integer(1)]]);
    }
}

/// The Service of its own, as everybody sees it.
async fn is_exposed(stage: &Stage) {
    let namespace = &stage.namespace;
    let own = format!("http://{DATABASE}.{}.svc/", namespace.name());
    until("clients are told of its Service", async || {
        let secret = namespace.get("secret", &format!("{DATABASE}-buckethead")).await;
        let status = namespace.get("bucketdatabase", DATABASE).await["status"].take();
        let uid = namespace.get("bucketdatabase", DATABASE).await["metadata"]["uid"].take();
        let is_told = namespace.secret_value(&format!("{DATABASE}-buckethead"), "url").await == own && status["url"] == own;
        (is_told && secret["metadata"]["ownerReferences"][0]["uid"] == uid).then_some(())
    })
    .await;
    for kind in ["services", "endpointslices"] {
        let found = namespace.kubectl(&["get", kind, "--output=name"]).await;
        assert_eq!(found.lines().count(), 1, "{found}");
    }
    let uid = namespace.get("bucketdatabase", DATABASE).await["metadata"]["uid"].take();
    for (kind, name) in [("service", DATABASE), ("endpointslice", &format!("{DATABASE}-buckethead"))] {
        assert_eq!(namespace.get(kind, name).await["metadata"]["ownerReferences"][0]["uid"], uid, "{kind}");
    }
}

/// A database gets a Service of its own.
#[derive(Clone, Copy)]
pub(super) struct Expose;

impl Scenario for Expose {
    const NAME: &'static str = "expose";

    async fn before(self, stage: &Stage, operator: &InProcess) {
        with_a_saved_row(stage, operator, stage.database()).await;
    }

    async fn ask(self, stage: &Stage) {
        stage.apply(stage.database().with("/spec/api", json!({"service": true}))).await;
    }

    async fn end(self, stage: &Stage, operator: &InProcess) {
        is_exposed(stage).await;
        assert_eq!(operator.sql(DATABASE, "select count(*) from t").await, [[Value::Integer(1)]]);
    }
}

/// And loses it.
#[derive(Clone, Copy)]
pub(super) struct Hide;

impl Scenario for Hide {
    const NAME: &'static str = "hide";

    async fn before(self, stage: &Stage, operator: &InProcess) {
        Expose.before(stage, operator).await;
        Expose.ask(stage).await;
        Expose.end(stage, operator).await;
    }

    async fn ask(self, stage: &Stage) {
        stage.apply(stage.database().with("/spec/api", json!({"service": false}))).await;
    }

    async fn end(self, stage: &Stage, _: &InProcess) {
        let namespace = &stage.namespace;
        until("both objects are gone, and clients are told", async || {
            let left = namespace.kubectl(&["get", "services,endpointslices", "--output=name"]).await;
            let url = namespace.secret_value(&format!("{DATABASE}-buckethead"), "url").await;
            (left.is_empty() && url.ends_with(&format!("/{}/{DATABASE}/", namespace.name()))).then_some(())
        })
        .await;
    }
}

/// A new token.
#[derive(Clone, Copy)]
pub(super) struct Rotate;

impl Scenario for Rotate {
    const NAME: &'static str = "rotate";

    async fn before(self, stage: &Stage, operator: &InProcess) {
        with_a_saved_row(stage, operator, stage.database()).await;
        let token = stage.namespace.secret_value(&format!("{DATABASE}-buckethead"), "token").await;
        stage.namespace.kubectl(&["annotate", "bucketdatabase", DATABASE, &format!("first-token={token}")]).await;
    }

    async fn ask(self, stage: &Stage) {
        stage.namespace.kubectl(&["annotate", "bucketdatabase", DATABASE, "buckethead.dev/rotate-token-at=noon"]).await;
    }

    async fn end(self, stage: &Stage, _: &InProcess) {
        let namespace = &stage.namespace;
        until("the rotation in the status", async || {
            (namespace.get("bucketdatabase", DATABASE).await["status"]["lastHandled"]["rotate"] == "noon").then_some(())
        })
        .await;
        let first = namespace.get("bucketdatabase", DATABASE).await["metadata"]["annotations"]["first-token"].take();
        let secret = format!("{DATABASE}-buckethead");
        assert_eq!(namespace.secret_value(&secret, "previous-token").await, first, "one new token, not two");
        assert_ne!(namespace.secret_value(&secret, "token").await, first);
    }
}

/// A resource that was deleted is applied again before Kubernetes has collected what went with it.
#[derive(Clone, Copy)]
pub(super) struct ApplyAgain;

impl Scenario for ApplyAgain {
    const NAME: &'static str = "again";

    async fn before(self, stage: &Stage, operator: &InProcess) {
        Hide.before(stage, operator).await;
        stage.delete().await;
        stage.gone().await;
    }

    async fn ask(self, stage: &Stage) {
        Expose.ask(stage).await;
    }

    async fn end(self, stage: &Stage, operator: &InProcess) {
        Expose.end(stage, operator).await;
        stage.namespace.wait_ready(DATABASE).await;
    }
}
