//! Keys, files, documents and branches, as an app in another Pod uses them.

use serde_json::{Value, json};

use crate::support::{DATABASE, Release, Resource, Scenario, until};

fn parsed(reply: &str) -> Value {
    serde_json::from_str(reply).unwrap()
}

#[tokio::test]
async fn keys_files_documents_and_branches_are_reached_through_the_service() {
    let scenario = Scenario::begin("views").await;
    let _release = Release::install(&scenario).await;
    let resource = Resource::database(scenario.name).with("/spec/branches", json!([{"name": "next"}]));
    let database = scenario.serve(&resource).await;

    database.ask("PUT", "kv/user/1", "Ada").await;
    assert_eq!(database.ask("GET", "kv/user/1", "").await, "Ada");
    assert_eq!(parsed(&database.ask("GET", "kv?prefix=user/", "").await)["keys"], json!(["user/1"]));

    let kept = parsed(&database.ask("POST", "files", "a content").await);
    let key = kept["bh_key"].as_str().unwrap();
    assert_eq!(kept["size"], 9, "{kept}");
    assert_eq!(database.ask("GET", &format!("files/{key}"), "").await, "a content");
    assert_eq!(parsed(&database.ask("GET", "files", "").await)["files"][0]["bh_key"], key);

    database.ask("POST", "docs/people", r#"[{"name": "Ada", "age": 36}, {"name": "Bo", "age": 17}]"#).await;
    let found = parsed(&database.ask("POST", "docs/people/find", r#"{"filter": {"age": {"$gt": 18}}}"#).await);
    assert_eq!(found["documents"][0]["name"], "Ada", "{found}");

    // One database: SQL sees all of it.
    let counts = "select (select count(*) from bh_kv), (select count(*) from filestore), (select count(*) from bh_docs)";
    assert_eq!(database.sql(counts).await, json!([[1, 1, 2]]));

    // A branch that the resource declares, and then serves.
    until("the declared branch", async || {
        let listed = parsed(&database.ask("GET", "branches", "").await);
        let names: Vec<&Value> = listed["branches"].as_array().unwrap().iter().map(|branch| &branch["name"]).collect();
        (names == ["main", "next"]).then_some(())
    })
    .await;
    database.sql("create table only_in_main (x)").await;
    scenario.apply(&resource.with("/spec/branch", "next")).await;
    scenario.wait(&format!("bucketdatabase/{DATABASE}"), "jsonpath={.status.branch}=next").await;
    assert_eq!(database.sql("select count(*) from sqlite_schema where name = 'only_in_main'").await, json!([[0]]));
    scenario.end().await;
}
