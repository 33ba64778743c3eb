//! Everything of Kubernetes is gone, and nothing was saved at the end: the same manifests over the same bucket bring the database back.

use engine::{Clock as _, SystemClock};
use serde_json::json;

use crate::support::{DATABASE, KEY, Release, Resource, Scenario, until};

const DEFINITION: &str = "customresourcedefinition/bucketdatabases.buckethead.dev";

const LET_GO: &str = r#"
kubectl get bucketdatabases --all-namespaces --no-headers --output=custom-columns=:metadata.namespace,:metadata.name | while read -r namespace name; do
  kubectl patch bucketdatabase "$name" --namespace "$namespace" --type=merge --patch '{"metadata":{"finalizers":null}}'
  kubectl delete bucketdatabase "$name" --namespace "$namespace" --ignore-not-found --timeout=60s
done
"#;

/// Takes all of it away, as a cluster that burns down does: no process of the operator gets to know of it.
async fn burn_down(scenario: &Scenario, release: &Release<'_>) {
    let (pod, operator) = (release.pod().await, scenario.operator_namespace());
    for owner in ["deployment", "replicaset"] {
        release.kubectl(&["delete", owner, "--all", "--cascade=orphan"]).await;
    }
    scenario.kill_without_end(&pod).await;
    release.wait_killed(&pod).await;
    // Nobody is left who would see to finalizers, also not to those of scenarios that failed before.
    scenario.shell(LET_GO).await.unwrap();
    release.kubectl(&["delete", "pod", &pod, "--force", "--grace-period=0"]).await;
    release.uninstall().await;
    scenario.kubectl(&["delete", "namespace", scenario.name, &operator, "--timeout=120s"]).await;
    scenario.kubectl(&["delete", DEFINITION, "--timeout=60s"]).await;
    scenario.stop_killing().await;
}

#[tokio::test]
async fn the_same_manifests_in_a_new_cluster_serve_what_was_durable_and_promote_nothing_again() {
    let scenario = Scenario::begin_alone("rebuild").await;
    let release = Release::install_for_the_cluster(&scenario).await;
    let plain = Resource::database(scenario.name).with("/spec/branches", json!([{"name": "release-7"}]));
    let database = scenario.serve(&plain).await;
    database.sql("create table written (x); insert into written values (1)").await;
    let promotion = json!({"id": "release-7", "from": {"branch": "release-7"}, "keepPreviousAs": "before-release-7"});
    let resource = plain.with("/spec/promotion", promotion);
    scenario.apply(&resource).await;
    let object = format!("bucketdatabase/{DATABASE}");
    scenario.wait(&object, "condition=PromotionApplied").await;
    database.sql("create table if not exists written (x); delete from written; insert into written values (2), (3)").await;
    database.saved_by_itself().await;
    let first = scenario.get(&object).await;
    assert_eq!(scenario.store().head(KEY).await["released"], false);

    burn_down(&scenario, &release).await;
    let left = scenario.store().head(KEY).await;
    assert_eq!(left["released"], false, "nobody ended it in order: {left:#}");

    scenario.prepare().await;
    let _release = Release::install_for_the_cluster(&scenario).await;
    let begun = SystemClock.now();
    let database = scenario.serve(&resource).await;
    assert_eq!(database.sql_once_it_answers("select x from written order by x").await, json!([[2], [3]]));
    scenario.took("a new cluster over the bucket: from `kubectl apply` to an answer", begun.elapsed());
    scenario.wait(&object, "condition=PromotionApplied").await;
    let second = scenario.get(&object).await;
    assert_ne!(second["metadata"]["uid"], first["metadata"]["uid"]);
    assert!(second["status"]["epoch"].as_u64() > first["status"]["epoch"].as_u64(), "{second:#}");
    for field in ["id", "phase", "from", "to", "txid"] {
        assert_eq!(second["status"]["promotion"][field], first["status"]["promotion"][field], "{field}: it is remembered");
    }
    database.sql("insert into written values (4)").await;
    database.flush().await;
    assert_eq!(scenario.store().find::<i64>(KEY, "select count(*) from written").await, Some(3));
    until("the branches", async || database.ask("GET", "branches", "").await.contains("before-release-7").then_some(())).await;
    scenario.end().await;
}
