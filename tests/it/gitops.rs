//! What `docs/gitops.md` tells a team to do, done; and what Argo CD and Flux make of the resources that come out of it, by the Lua and the
//! CEL in `examples/gitops`, run by a Lua of the version that Argo CD has, and by a CEL.

use cel::{Context, Program};
use mlua::{Lua, LuaSerdeExt as _};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::Command;

use crate::support::{DATABASE, Namespace, Operator, Place, Resource, ServedBy, adapted, document, printed, script, until};

fn yaml(path: &str) -> Value {
    serde_yaml::from_str(&document(path)).unwrap()
}

#[tokio::test]
async fn whoever_follows_the_page_on_gitops_releases_data_by_merges() {
    let (namespace, place) = Namespace::with_place("shop", ServedBy::Minio).await;
    let operator = Operator::start(&namespace).await;
    let home = TempDir::new().unwrap();
    let copied = Command::new("cp").args(["-r", concat!(env!("CARGO_MANIFEST_DIR"), "/examples")]).arg(home.path()).status();
    assert!(copied.await.unwrap().success());
    // The store of this test, in the place of the one that the page speaks of.
    let base = home.path().join("examples/gitops/base/orders.yaml");
    let changes = [
        ("https://minio.storage:9000", format!("{}\n  region: {}", place.account.endpoint, place.account.region)),
        ("orders-data", place.bucket.clone()),
        ("orders-bucket", DATABASE.to_owned()),
    ];
    std::fs::write(&base, adapted(std::fs::read_to_string(&base).unwrap(), changes)).unwrap();
    let (script, shown) = script(&document("docs/gitops.md"));
    let mut script = namespace.shell(&format!("set -euo pipefail\n{script}"));
    script.current_dir(home.path()).env("BUCKETHEAD", &operator.api).env("no_proxy", "*").env("HOME", home.path());
    for (name, value) in
        [("GIT_AUTHOR_NAME", "A"), ("GIT_AUTHOR_EMAIL", "a@x"), ("GIT_COMMITTER_NAME", "A"), ("GIT_COMMITTER_EMAIL", "a@x")]
    {
        script.env(name, value);
    }
    let output = script.output().await.unwrap();
    let all = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{all}\n{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(printed(&all), shown);
    operator.end().await;
    let branch = place.find("apps/orders.db.branch.release-7").await;
    assert!(branch.is_some(), "what is pruned leaves the cluster, and not the bucket");
}

/// What Argo CD says of an object.
fn argo_health(lua: &Lua, object: &Value) -> (String, String) {
    let config = yaml("examples/gitops/argocd/argocd-cm.yaml");
    let script = config["data"]["resource.customizations.health.buckethead.dev_BucketDatabase"].as_str().unwrap();
    lua.globals().set("obj", lua.to_value(object).unwrap()).unwrap();
    let told: Value = lua.from_value(lua.load(script).eval().unwrap()).unwrap();
    (told["status"].as_str().unwrap().to_owned(), told["message"].as_str().unwrap().to_owned())
}

/// What Flux says of it.
fn flux_health(object: &Value) -> &'static str {
    let config = yaml("examples/gitops/flux/databases.yaml");
    let checks = &config["spec"]["healthCheckExprs"][0];
    assert_eq!((&checks["apiVersion"], &checks["kind"]), (&object["apiVersion"], &object["kind"]));
    // Flux asks in this order.
    for (name, means) in [("inProgress", "InProgress"), ("failed", "Failed"), ("current", "Current")] {
        let mut context = Context::default();
        for field in ["metadata", "spec", "status"] {
            let value = object.get(field).cloned().unwrap_or_else(|| json!({}));
            context.add_variable(field, cel::to_value(value).unwrap()).unwrap();
        }
        let program = Program::compile(checks[name].as_str().unwrap()).unwrap();
        let found = program.execute(&context).unwrap_or_else(|error| panic!("{name} of {object}: {error}"));
        if found == cel::Value::Bool(true) {
            return means;
        }
    }
    "InProgress"
}

/// What an action changes in an object, as Argo CD would patch it.
fn argo_action(lua: &Lua, name: &str, object: &Value) -> Value {
    let config = yaml("examples/gitops/argocd/argocd-cm.yaml");
    let actions = config["data"]["resource.customizations.actions.buckethead.dev_BucketDatabase"].as_str().unwrap();
    let actions: Value = serde_yaml::from_str(actions).unwrap();
    lua.globals().set("obj", lua.to_value(object).unwrap()).unwrap();
    let offered: Value = lua.from_value(lua.load(actions["discovery.lua"].as_str().unwrap()).eval().unwrap()).unwrap();
    assert!(!offered[name]["disabled"].as_bool().unwrap_or(false), "{name}: {offered}");
    let definitions = actions["definitions"].as_array().unwrap();
    assert_eq!(offered.as_object().unwrap().len(), definitions.len(), "each action that is offered is defined");
    let action = definitions.iter().find(|action| action["name"] == name).unwrap();
    let changed: Value = lua.from_value(lua.load(action["action.lua"].as_str().unwrap()).eval().unwrap()).unwrap();
    assert_eq!(changed["metadata"]["name"], object["metadata"]["name"]);
    json!({"metadata": {"annotations": changed["metadata"]["annotations"]}, "spec": {"suspend": changed["spec"]["suspend"]}})
}

async fn with_health(namespace: &Namespace, name: &str, status: &str) -> Value {
    let lua = Lua::new();
    until(&format!("{name} to be {status}"), async || {
        let object = namespace.get("bucketdatabase", name).await;
        (argo_health(&lua, &object).0 == status).then_some(object)
    })
    .await
}

fn orders(place: &Place) -> Resource {
    Resource::streaming(DATABASE, place, "apps/orders.db", "1s")
}

#[tokio::test]
async fn argo_cd_and_flux_see_how_a_database_is() {
    let (namespace, place) = Namespace::with_place("gitops-health", ServedBy::Minio).await;
    let lua = Lua::new();
    // Nobody has looked at it.
    namespace.apply(&orders(&place)).await;
    let object = namespace.get("bucketdatabase", DATABASE).await;
    assert_eq!((argo_health(&lua, &object).0.as_str(), flux_health(&object)), ("Progressing", "InProgress"));

    let operator = Operator::start(&namespace).await;
    let object = with_health(&namespace, DATABASE, "Healthy").await;
    assert_eq!(flux_health(&object), "Current");
    // A spec that is newer than what the status tells of.
    let mut newer = object.clone();
    newer["metadata"]["generation"] = json!(object["metadata"]["generation"].as_i64().unwrap() + 1);
    assert_eq!((argo_health(&lua, &newer).0.as_str(), flux_health(&newer)), ("Progressing", "InProgress"));
    let mut going = object.clone();
    going["metadata"]["deletionTimestamp"] = json!("2026-11-23T08:00:00Z");
    assert_eq!(argo_health(&lua, &going).0, "Progressing");

    // A promotion whose source is not there is waited for; one that can never be carried out is not.
    let waiting = orders(&place).with("/spec/promotion", json!({"id": "r1", "from": {"branch": "soon"}}));
    namespace.apply(&waiting).await;
    let object = with_health(&namespace, DATABASE, "Progressing").await;
    until("what it waits for", async || {
        let object = namespace.get("bucketdatabase", DATABASE).await;
        argo_health(&lua, &object).1.contains("soon").then_some(())
    })
    .await;
    assert_eq!(flux_health(&object), "InProgress");
    let made = orders(&place).with("/spec/branches", json!([{"name": "next"}]));
    let stalled = made.with("/spec/promotion", json!({"id": "r2", "from": {"branch": "next"}, "expectedTxid": 77}));
    namespace.apply(&stalled).await;
    let object = with_health(&namespace, DATABASE, "Degraded").await;
    assert_eq!(flux_health(&object), "Failed", "{object}");

    // By the actions.
    namespace.apply(&orders(&place)).await;
    with_health(&namespace, DATABASE, "Healthy").await;
    for (action, handled) in [("flush", "flush"), ("collect-garbage", "gc"), ("rotate-token", "rotate")] {
        let before = namespace.get("bucketdatabase", DATABASE).await;
        namespace.patch("bucketdatabase", DATABASE, &argo_action(&lua, action, &before)).await;
        if action != "collect-garbage" {
            until(action, async || {
                let status = namespace.get("bucketdatabase", DATABASE).await["status"].take();
                (status["lastHandled"][handled] != before["status"]["lastHandled"][handled]).then_some(())
            })
            .await;
        }
    }
    let object = namespace.get("bucketdatabase", DATABASE).await;
    namespace.patch("bucketdatabase", DATABASE, &argo_action(&lua, "suspend", &object)).await;
    let object = with_health(&namespace, DATABASE, "Suspended").await;
    assert_eq!(flux_health(&object), "Current", "it is as it should be");
    namespace.patch("bucketdatabase", DATABASE, &argo_action(&lua, "resume", &object)).await;
    with_health(&namespace, DATABASE, "Healthy").await;
    operator.end().await;
}
