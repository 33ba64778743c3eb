//! Branches over HTTP.

use super::*;

const BRANCHES: &str = "/apps/orders/branches";
const JSON: [(&str, &str); 1] = [("content-type", "application/json")];

impl Server {
    /// As `dev` serves a database: branches are changed by the API.
    async fn in_dev() -> Self {
        Self::with_database(dev(None), Access::Open).await
    }

    async fn wish(&self, route: &str, body: Value) -> Reply {
        let headers = [("content-type", "application/json"), ("host", "localhost:8080")];
        self.ask("POST", &format!("{BRANCHES}{route}"), &headers, body.to_string()).await
    }

    async fn local(&self, method: &str, path: &str) -> Reply {
        self.ask(method, path, &[("host", "localhost:8080")], "").await
    }

    async fn sql_in_dev(&self, sql: &'static str) -> Reply {
        self.ask("POST", "/apps/orders/sql", &[("host", "localhost:8080")], sql).await
    }

    /// The branch that is served, then the names of all.
    async fn branches(&self) -> Vec<String> {
        let reply = self.local("GET", BRANCHES).await;
        assert_eq!(reply.status, StatusCode::OK);
        let list = reply.json();
        let all = list["branches"].as_array().unwrap().iter().map(|branch| &branch["name"]);
        std::iter::once(&list["current"]).chain(all).map(|name| name.as_str().unwrap().to_owned()).collect()
    }
}

#[tokio::test]
async fn a_branch_is_made_switched_to_overwritten_and_deleted() {
    let server = Server::in_dev().await;
    assert_eq!(server.sql_in_dev("create table t(n); insert into t values (1)").await.status, StatusCode::OK);
    let made = server.wish("", json!({"name": "next"})).await;
    assert_eq!(made.status, StatusCode::CREATED);
    let made = made.json();
    assert_eq!((&made["name"], &made["parent"]["branch"], &made["holder"]), (&json!("next"), &json!("main"), &Value::Null));
    assert_eq!((made["parent"]["txid"].clone(), made["size"].as_u64().unwrap() % 4096), (made["txid"].clone(), 0));
    assert_eq!(server.branches().await, ["main", "main", "next"]);

    let switched = server.local("POST", &format!("{BRANCHES}/next/switch")).await;
    assert_eq!((switched.status, switched.json()), (StatusCode::OK, json!({"current": "next"})));
    assert_eq!(server.branches().await, ["next", "main", "next"]);
    server.sql_in_dev("insert into t values (2)").await.rows();

    let wish = json!({"from": "next", "id": "release-1", "keepPreviousAs": "before-1"});
    let done = server.wish("/main/overwrite", wish.clone()).await;
    assert_eq!((done.status, done.json()["done_before"].clone()), (StatusCode::OK, json!(false)));
    let again = server.wish("/main/overwrite", wish).await.json();
    assert_eq!((&again["done_before"], &again["txid"]), (&json!(true), &done.json()["txid"]));
    assert_eq!(server.branches().await, ["next", "main", "before-1", "next"]);
    server.local("POST", &format!("{BRANCHES}/main/switch")).await;
    assert_eq!(server.sql_in_dev("select n from t").await.rows(), json!([[1], [2]]));

    for _ in 0..2 {
        let deleted = server.local("DELETE", &format!("{BRANCHES}/next")).await;
        assert_eq!((deleted.status, deleted.body.len()), (StatusCode::NO_CONTENT, 0));
    }
    assert_eq!(server.branches().await, ["main", "main", "before-1"]);
}

#[tokio::test]
async fn what_cannot_be_is_a_problem_of_its_own() {
    let server = Server::in_dev().await;
    assert_eq!(server.wish("", json!({"name": "one"})).await.status, StatusCode::CREATED);
    for (route, body, status, word) in [
        ("", json!({"name": "one"}), 409, "branch-exists"),
        ("", json!({"name": "main"}), 409, "branch-refused"),
        ("", json!({"name": "two", "from": "none"}), 404, "no-such-branch"),
        ("", json!({"name": "two", "txid": 9_999_999}), 409, "branch-refused"),
        ("", json!({"name": "a.b"}), 400, "bad-request"),
        ("", json!({"name": "two", "at": "2001-11-23T08:00:00Z"}), 409, "branch-refused"),
        ("", json!({"name": "two", "at": "9001-11-23T08:00:00Z"}), 409, "branch-refused"),
        ("", json!({"name": "two", "at": "yesterday"}), 400, "bad-request"),
        ("", json!({"name": "two", "at": "2026-11-23T08:00:00Z", "txid": 1}), 400, "bad-request"),
        ("", json!({"name": "two", "of": "main"}), 400, "bad-request"),
        ("", json!({}), 400, "bad-request"),
        ("/one/overwrite", json!({"from": "none"}), 404, "no-such-branch"),
        ("/one/overwrite", json!({"from": "main", "expectedTxid": 9_999_999}), 412, "content-changed"),
        ("/one/overwrite", json!({"from": "main", "id": "two words"}), 400, "bad-request"),
        ("/one/overwrite", json!({"id": "release-1"}), 400, "bad-request"),
        ("/none/switch", json!({}), 404, "no-such-branch"),
    ] {
        let reply = server.wish(route, body.clone()).await;
        assert_eq!(reply.problem(), problem(status, word), "{route} {body}");
    }
    let reply = server.local("DELETE", &format!("{BRANCHES}/main")).await;
    assert_eq!(reply.problem(), problem(409, "branch-refused"));
    assert_eq!(server.branches().await, ["main", "main", "one"]);
}

#[tokio::test]
async fn in_a_cluster_the_resource_says_which_branches_there_are() {
    let server = Server::open().await;
    assert_eq!(server.get(BRANCHES).await.status, StatusCode::OK);
    for (method, route, body) in [
        ("POST", "", json!({"name": "next"})),
        ("POST", "/next/overwrite", json!({"from": "main"})),
        ("POST", "/next/switch", json!({})),
        ("DELETE", "/next", json!({})),
    ] {
        let reply = server.ask(method, &format!("{BRANCHES}{route}"), &JSON, body.to_string()).await;
        assert_eq!(reply.problem(), problem(409, "managed-by-spec"), "{method} {route}");
    }
}

#[tokio::test]
async fn branches_are_there_though_the_database_is_not_open() {
    let server = Server::in_dev().await;
    assert_eq!(server.sql_in_dev("create table t(n)").await.status, StatusCode::OK);
    let name = DatabaseName::new("apps", "orders");
    server.host.close(&name).await.unwrap();
    let (store, _) = server.store.as_ref().unwrap();
    assert_eq!(server.local("GET", BRANCHES).await.problem(), (404, "no-such-database".to_owned()));
    server.host.declare(config("orders", store));
    assert_eq!(server.wish("", json!({"name": "next"})).await.status, StatusCode::CREATED);
    assert_eq!(server.branches().await, ["main", "main", "next"]);
    assert_eq!(server.local("GET", "/apps/orders/kv").await.problem(), (404, "no-such-database".to_owned()));
    assert_eq!(server.local("DELETE", &format!("{BRANCHES}/next")).await.status, StatusCode::NO_CONTENT);
    let strong = server.local("GET", &format!("{BRANCHES}?consistency=strong")).await;
    assert_eq!(strong.status, StatusCode::OK, "nobody serves anything that could be out of date");
}

#[tokio::test]
async fn what_an_overwrite_would_change_is_told_before_it() {
    let server = Server::in_dev().await;
    server
        .sql_in_dev("create table t(k blob primary key, v); insert into t values ('a', 1), (x'00ff', 2), (3, 3), (1e999, 4)")
        .await
        .rows();
    let branch = server.wish("", json!({"name": "next"})).await.json();
    let differences = async |query: &str| server.local("GET", &format!("{BRANCHES}/next/differences{query}")).await;
    let same = differences("?from=main").await.json();
    assert_eq!((&same["same"], &same["tables"], &same["truncated"]), (&json!(true), &json!([]), &json!(false)));

    server.sql_in_dev("update t set v = 0; delete from t where k = 3; insert into t values ('new', 5); create table made(x)").await.rows();
    let found = differences("?from=main").await.json();
    assert_eq!((&found["before"]["branch"], &found["after"]["branch"], &found["same"]), (&json!("next"), &json!("main"), &json!(false)));
    let made = json!([{"type": "table", "name": "made", "before": null, "after": "CREATE TABLE made(x)"}]);
    assert_eq!(found["schema"], made);
    let [_, t] = found["tables"].as_array().unwrap().as_slice() else { panic!("{found}") };
    assert_eq!((&t["name"], &t["rows_before"], &t["rows_after"], &t["key"]), (&json!("t"), &json!(4), &json!(4), &json!(["k"])));
    assert_eq!(t["added"], json!({"count": 1, "keys": [["new"]]}));
    assert_eq!(t["removed"], json!({"count": 1, "keys": [[3]]}));
    assert_eq!(t["changed"], json!({"count": 3, "keys": [[{"float": "Infinity"}], ["a"], [{"base64": "AP8="}]]}));
    let past = format!("?from=main&txid={}", branch["parent"]["txid"]);
    assert_eq!(differences(&past).await.json()["same"], json!(true));

    for (query, status, what) in [
        ("", 400, "`from` is missing"),
        ("?from=a.b", 400, "`from`: "),
        ("?from=main&txid=0", 400, "from 1"),
        ("?from=main&to=x", 400, "`to` is unknown"),
        ("?from=none", 404, "none"),
        ("?from=main&txid=99999", 409, "99999"),
    ] {
        let refused = differences(query).await;
        let detail = refused.json()["detail"].as_str().unwrap().to_owned();
        assert!(refused.status.as_u16() == status && detail.contains(what), "{query}: {} {detail}", refused.status);
    }
}
