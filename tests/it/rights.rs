//! The rights that the chart gives the operator: enough for the whole life of a database, and not one too many.

use std::collections::BTreeSet;

use serde::Deserialize;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::Command;

use crate::support::{DATABASE, Database, Namespace, Operator, Place, Resource, ServedBy, until};

const KEY: &str = "apps/orders.db";
/// Whose requests `testbench/serve.sh` has written down.
const ACCOUNT: &str = "audited";
const SYSTEM: &str = "rights-system";

/// One rule of a role, as `buckethead rbac` prints it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Rule {
    api_groups: Vec<String>,
    resources: Vec<String>,
    verbs: Vec<String>,
}

/// Group, resource and verb.
type Right = (String, String, String);

async fn printed(part: &str) -> Value {
    let output = Command::new(env!("CARGO_BIN_EXE_buckethead")).args(["rbac", "--part", part]).output().await.unwrap();
    assert!(output.status.success(), "{output:?}");
    serde_yaml::from_str(std::str::from_utf8(&output.stdout).unwrap()).unwrap()
}

fn rights(rules: &Value) -> BTreeSet<Right> {
    let rules: Vec<Rule> = serde_json::from_value(rules.clone()).unwrap();
    let each = |rule: Rule| {
        let Rule { api_groups, resources, verbs } = rule;
        let of = move |group: &String| {
            let pairs = resources.iter().flat_map(|resource| verbs.iter().map(move |verb| (resource.clone(), verb.clone())));
            pairs.map(|(resource, verb)| (group.clone(), resource, verb)).collect::<Vec<_>>()
        };
        api_groups.iter().flat_map(of).collect::<Vec<_>>()
    };
    rules.into_iter().flat_map(each).collect()
}

/// An object of the cluster.
async fn make(namespace: &Namespace, object: Value) {
    let file = TempDir::new().unwrap();
    let path = file.path().join("object.json");
    std::fs::write(&path, object.to_string()).unwrap();
    namespace.kubectl(&["apply", "--filename", path.to_str().unwrap()]).await;
}

/// Gives the operator's account these rules, as the chart does.
async fn bind(namespace: &Namespace, kind: &str, rules: &Value) {
    let api = "rbac.authorization.k8s.io/v1";
    let name = "rights-of-the-operator";
    make(namespace, json!({"apiVersion": api, "kind": kind, "metadata": {"name": name}, "rules": rules})).await;
    let subjects = json!([{"kind": "ServiceAccount", "name": ACCOUNT, "namespace": SYSTEM}]);
    let role = json!({"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": name});
    let binding =
        json!({"apiVersion": api, "kind": format!("{kind}Binding"), "metadata": {"name": name}, "roleRef": role, "subjects": subjects});
    make(namespace, binding).await;
}

/// Makes the account with the rights that are printed, and a kubeconfig that speaks for it.
async fn with_its_rights(namespace: &Namespace, folder: &TempDir) -> String {
    let system = Namespace::create(SYSTEM).await;
    system.kubectl(&["create", "serviceaccount", ACCOUNT]).await;
    bind(namespace, "Role", &printed("namespaces").await).await;
    bind(namespace, "ClusterRole", &printed("cluster").await).await;
    bind(&system, "Role", &printed("own").await).await;
    let token = system.kubectl(&["create", "token", ACCOUNT, "--duration=1h"]).await;
    let mut config: Value = serde_json::from_str(&system.kubectl(&["config", "view", "--raw", "--output=json"]).await).unwrap();
    config["users"][0]["user"] = json!({"token": token.trim()});
    config["contexts"][0]["context"]["namespace"] = json!(SYSTEM);
    let path = folder.path().join("kubeconfig");
    std::fs::write(&path, config.to_string()).unwrap();
    path.to_str().unwrap().to_owned()
}

/// The database with these fields in its spec besides.
async fn declare(namespace: &Namespace, place: &Place, fields: &Value) {
    let resource = Resource::database(DATABASE, place, KEY).with("/spec/interval", "1s").with("/spec/minInterval", "1s");
    let resource = resource.with("/spec/branches", json!([{"name": "next"}])).with("/spec/files", json!({"gc": {"graceSeconds": 0}}));
    let fields = fields.as_object().unwrap().iter();
    namespace.apply(&fields.fold(resource, |resource, (field, value)| resource.with(&format!("/spec/{field}"), value.clone()))).await;
}

async fn annotate(namespace: &Namespace, annotation: &str) {
    namespace.kubectl(&["annotate", "--overwrite", "bucketdatabase", DATABASE, annotation]).await;
}

async fn status(namespace: &Namespace) -> Value {
    namespace.get("bucketdatabase", DATABASE).await["status"].take()
}

/// What was broken by somebody is mended: the Service, its endpoints and the account of gc.
async fn mends(namespace: &Namespace) {
    namespace.patch("service", DATABASE, &json!({"spec": {"selector": {"app": "theirs"}}})).await;
    let no_selector = async || namespace.get("service", DATABASE).await["spec"]["selector"].is_null().then_some(());
    until("the selector is gone", no_selector).await;
    let slice = "orders-buckethead";
    namespace.patch("endpointslice", slice, &json!({"endpoints": [{"addresses": ["10.9.9.9"]}]})).await;
    let right_address =
        async || (namespace.get("endpointslice", slice).await["endpoints"][0]["addresses"] == json!([Operator::POD_IP])).then_some(());
    until("the address is right", right_address).await;
}

/// One run that marks, and one that deletes.
async fn collects(namespace: &Namespace, database: &Database) {
    let file = database.put_file("unused", "unused").await["bh_key"].as_str().unwrap().to_owned();
    database.ask("DELETE", &format!("files/{file}"), "").await;
    annotate(namespace, "buckethead.dev/gc-requested-at=now").await;
    let first = namespace.job_after(DATABASE, None).await;
    namespace.patch("serviceaccount", "orders-buckethead-gc", &json!({"automountServiceAccountToken": true})).await;
    namespace.run_job(&first).await;
    let second = namespace.job_after(DATABASE, first["metadata"]["uid"].as_str()).await;
    namespace.run_job(&second).await;
    namespace.wait_condition(DATABASE, "GarbageCollected", "True", "GcSucceeded").await;
}

/// Somebody asks with a token of the cluster.
async fn knows_the_clusters_tokens(namespace: &Namespace, operator: &Operator) {
    namespace.kubectl(&["create", "serviceaccount", "reader"]).await;
    let resource = "--resource=bucketdatabases.buckethead.dev/data";
    namespace.kubectl(&["create", "role", "reader", "--verb=get", resource]).await;
    namespace.kubectl(&["create", "rolebinding", "reader", "--role=reader", "--serviceaccount=rights:reader"]).await;
    let token = namespace.kubectl(&["create", "token", "reader"]).await.trim().to_owned();
    Database::new(format!("{}/{}/{DATABASE}/", operator.api, namespace.name()), Some(token)).answers().await;
}

/// What was used, by the API server's own account. A patch that answers 201 has created.
fn used(events: &[Value]) -> BTreeSet<Right> {
    let mut used = BTreeSet::new();
    for event in events {
        let object = &event["objectRef"];
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let (group, mut resource) = (text(&object["apiGroup"]), text(&object["resource"]));
        if let Some(part) = object["subresource"].as_str() {
            resource = format!("{resource}/{part}");
        }
        if event["verb"] == "patch" && event["responseStatus"]["code"] == 201 {
            used.insert((group.clone(), resource.clone(), "create".to_owned()));
        }
        used.insert((group, resource, text(&event["verb"])));
    }
    used
}

#[tokio::test]
async fn the_rights_of_the_chart_are_enough_for_the_life_of_a_database_and_each_is_used() {
    let (namespace, place) = Namespace::with_place("rights", ServedBy::Minio).await;
    let folder = TempDir::new().unwrap();
    let kubeconfig = with_its_rights(&namespace, &folder).await;
    let operator = Operator::once_ready(Operator::spawn_in(&namespace, &[], &[("KUBECONFIG", &kubeconfig)])).await;

    declare(&namespace, &place, &json!({"api": {"service": true}})).await;
    namespace.wait_ready(DATABASE).await;
    let database = namespace.connect(&operator, DATABASE).await;
    database.sql("create table t (x); insert into t values (1)").await;
    annotate(&namespace, "buckethead.dev/flush-requested-at=now").await;
    until("the flush in the status", async || (status(&namespace).await["lastHandled"]["flush"] == "now").then_some(())).await;
    mends(&namespace).await;
    collects(&namespace, &database).await;
    declare(&namespace, &place, &json!({"branch": "next"})).await;
    until("the branch in the status", async || (status(&namespace).await["branch"] == "next").then_some(())).await;
    let gone = async || namespace.kubectl(&["get", "services,endpointslices", "--output=name"]).await.is_empty().then_some(());
    until("its Service is gone", gone).await;
    declare(&namespace, &place, &json!({"api": {"auth": "Kubernetes"}})).await;
    until("no token any more", async || namespace.get("secret", "orders-buckethead").await["data"]["token"].is_null().then_some(())).await;
    knows_the_clusters_tokens(&namespace, &operator).await;
    // What is told again is told by the same event.
    for _ in 0..2 {
        declare(&namespace, &place, &json!({"suspend": true})).await;
        namespace.wait_not("Ready", DATABASE, "Suspended").await;
        declare(&namespace, &place, &json!({})).await;
        namespace.wait_ready(DATABASE).await;
    }
    declare(&namespace, &place, &json!({"deletionPolicy": "Delete"})).await;
    namespace.kubectl(&["delete", "bucketdatabase", DATABASE, "--timeout=60s"]).await;
    operator.end().await;

    let events = namespace.audited();
    let refused: Vec<_> = events.iter().filter(|event| event["responseStatus"]["code"] == 403).collect();
    assert!(refused.is_empty(), "the operator needs more: {refused:?}");
    let used = used(&events);
    // Leases that ended are deleted after ten minutes.
    let late = ("coordination.k8s.io".to_owned(), "leases".to_owned(), "delete".to_owned());
    for part in ["namespaces", "cluster", "own"] {
        let mut granted = rights(&printed(part).await);
        granted.remove(&late);
        let idle: Vec<_> = granted.difference(&used).collect();
        assert!(idle.is_empty(), "{part}: nobody needs {idle:?}");
    }
}
