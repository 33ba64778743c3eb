//! Documents over HTTP.

use super::*;

const DOCS: &str = "/apps/orders/docs";

impl Server {
    async fn post(&self, path: &str, body: &Value) -> Reply {
        self.ask("POST", &format!("{DOCS}/{path}"), &[("content-type", "application/json")], body.to_string()).await
    }

    async fn found(&self, find: &Value) -> Value {
        let reply = self.post("people/find", find).await;
        assert_eq!(reply.status, StatusCode::OK, "{}", String::from_utf8_lossy(&reply.body));
        reply.json()["documents"].clone()
    }

    async fn with_people() -> Self {
        let server = Self::open().await;
        let people = json!([{"_id": "1", "name": "Ada", "age": 36}, {"_id": "2", "name": "Bo", "age": 20.5, "tags": ["x", "y"]}]);
        assert_eq!(server.post("people", &people).await.json(), json!({"ids": ["1", "2"]}));
        server
    }
}

#[tokio::test]
async fn a_document_is_inserted_read_replaced_merged_and_deleted() {
    let server = Server::open().await;
    let reply = server.post("people", &json!({"name": "Ada"})).await;
    assert_eq!(reply.status, StatusCode::CREATED);
    let id = reply.json()["id"].as_str().unwrap().to_owned();
    assert_eq!(id.len(), 32);
    let path = format!("{DOCS}/people/{id}");
    assert_eq!(server.get(&path).await.json(), json!({"_id": id, "name": "Ada"}));
    assert_eq!(server.ask("HEAD", &path, &[], "").await.status, StatusCode::OK);
    assert_eq!(server.ask("PUT", &path, &[], r#"{"a": {"b": 1}, "_id": "other"}"#).await.status, StatusCode::NO_CONTENT);
    let merged = server.ask("PATCH", &path, &[], r#"{"a": {"c": 2}, "d": null}"#).await.json();
    assert_eq!(merged, json!({"_id": id, "a": {"c": 2}, "d": null}));
    assert_eq!(server.get(&path).await.json(), merged);
    assert_eq!(server.ask("DELETE", &path, &[], "").await.status, StatusCode::NO_CONTENT);
    for (method, body) in [("GET", ""), ("PUT", "{}"), ("PATCH", "{}"), ("DELETE", "")] {
        assert_eq!(server.ask(method, &path, &[], body).await.problem(), problem(404, "not-found"), "{method}");
    }
}

#[tokio::test]
async fn an_array_is_inserted_whole_or_not_at_all() {
    let server = Server::with_people().await;
    let reply = server.post("people", &json!([{"_id": "3"}, {"_id": "1"}])).await;
    assert_eq!(reply.problem(), problem(409, "sql-constraint"));
    assert_eq!(reply.json()["detail"], "the collection `people` has a document `1` already; none was inserted");
    assert_eq!(server.post("people/count", &json!({})).await.json(), json!({"count": 2}));
    assert_eq!(server.post("people", &json!([])).await.json(), json!({"ids": []}));
}

#[tokio::test]
async fn collections_are_listed_paged_and_dropped() {
    let server = Server::with_people().await;
    server.post("o%2Fdd", &json!({"_id": "a/b"})).await;
    let listed = json!({"collections": [{"name": "o/dd", "documents": 1}, {"name": "people", "documents": 2}], "truncated": false});
    assert_eq!(server.get(DOCS).await.json(), listed);
    assert_eq!(server.get("/apps/orders/docs/o%2Fdd/a%2Fb").await.json(), json!({"_id": "a/b"}));
    let first = server.get("/apps/orders/docs/people?limit=1").await.json();
    assert_eq!(first["documents"][0]["_id"], "1");
    let next: String = url::form_urlencoded::byte_serialize(first["next"].as_str().unwrap().as_bytes()).collect();
    let second = server.get(&format!("{DOCS}/people?limit=1&after={next}")).await.json();
    assert_eq!((second["documents"][0]["_id"].clone(), second["next"].clone()), (json!("2"), json!(null)));
    assert_eq!(server.ask("DELETE", "/apps/orders/docs/people", &[], "").await.json(), json!({"deleted": 2}));
    assert_eq!(server.get("/apps/orders/docs/people").await.json(), json!({"documents": [], "next": null}));
}

#[tokio::test]
async fn a_search_filters_sorts_skips_limits_and_projects() {
    let server = Server::with_people().await;
    let names = json!({"filter": {"age": {"$gt": 18}}, "sort": {"age": 1}, "projection": {"name": 1, "_id": 0}});
    assert_eq!(server.found(&names).await, json!([{"name": "Bo"}, {"name": "Ada"}]));
    assert_eq!(server.found(&json!({"sort": {"age": 1}, "skip": 1, "limit": 1})).await[0]["_id"], "1");
    assert_eq!(server.found(&json!({"filter": {"tags": "y"}})).await[0]["_id"], "2");
    assert_eq!(server.ask("POST", "/apps/orders/docs/people/find", &[], "").await.json()["documents"].as_array().unwrap().len(), 2);
    assert_eq!(server.post("people/count", &json!({"filter": {"name": {"$regex": "^A"}}})).await.json(), json!({"count": 1}));
    // Numbers come back as they were written.
    assert!(String::from_utf8(server.get("/apps/orders/docs/people/2").await.body).unwrap().contains("20.5"));
}

#[tokio::test]
async fn an_index_is_made_listed_used_and_dropped() {
    let server = Server::with_people().await;
    let create = || server.ask("POST", "/apps/orders/docs/people/indexes", &[], r#"{"path": "address.city"}"#);
    assert_eq!((create().await.status, create().await.status), (StatusCode::CREATED, StatusCode::OK));
    server.post("people/indexes", &json!({"path": "age"})).await;
    assert_eq!(server.get("/apps/orders/docs/people/indexes").await.json(), json!({"indexes": ["address.city", "age"]}));
    assert_eq!(server.found(&json!({"filter": {"age": 36}})).await[0]["_id"], "1");
    server.post("people", &json!({"_id": "3", "age": 36})).await;
    assert_eq!(server.found(&json!({"filter": {"age": {"$in": [36, 1]}}})).await.as_array().unwrap().len(), 2);
    let path = "/apps/orders/docs/people/indexes?path=age";
    assert_eq!(server.ask("DELETE", path, &[], "").await.status, StatusCode::NO_CONTENT);
    assert_eq!(server.ask("DELETE", path, &[], "").await.problem(), problem(404, "not-found"));
    for text in ["a b", "a'b", "_id", "0", ""] {
        assert_eq!(server.post("people/indexes", &json!({"path": text})).await.problem(), problem(400, "bad-request"), "{text}");
    }
    assert_eq!(server.ask("DELETE", "/apps/orders/docs/people/indexes", &[], "").await.problem(), problem(400, "bad-request"));
}

#[tokio::test]
async fn hostile_input_is_a_problem_and_never_sql() {
    let server = Server::with_people().await;
    for body in [
        json!({"filter": {"$where": "1"}}),
        json!({"filter": {"age": {"$gt'": 1}}}),
        json!({"filter": {"a..b": 1}}),
        json!({"filter": {"age": {"$regex": "("}}}),
        json!({"filter": []}),
        json!({"sort": {"age": "desc; drop table bh_docs"}}),
        json!({"projection": {"a": 1, "b": 0}}),
        json!({"limit": -1}),
        json!({"other": 1}),
        json!([]),
    ] {
        assert_eq!(server.post("people/find", &body).await.problem(), problem(400, "bad-request"), "{body}");
    }
    for body in ["", "[", "1", "[1]", r#"{"_id": 1}"#, r#"{"a":1,"a":2}"#, r#"{"a":NaN}"#] {
        assert_eq!(server.ask("POST", "/apps/orders/docs/people", &[], body).await.problem(), problem(400, "bad-request"), "{body}");
    }
    let deep = "[".repeat(100_000);
    assert_eq!(server.ask("POST", "/apps/orders/docs/people", &[], deep).await.problem(), problem(400, "bad-request"));
    for path in ["people/a%00", "%zz", "people/%ff", "a%00/find"] {
        let method = if path.ends_with("find") { "POST" } else { "GET" };
        assert_eq!(server.ask(method, &format!("{DOCS}/{path}"), &[], "{}").await.problem(), problem(400, "bad-request"), "{path}");
    }
    let hostile = "x'); DROP TABLE bh_docs; --";
    assert_eq!(server.found(&json!({"filter": {hostile: hostile, "name": hostile}})).await, json!([]));
    let reply = server.get("/apps/orders/docs/people/find").await;
    assert_eq!((reply.problem(), reply.headers[header::ALLOW].to_str().unwrap()), (problem(405, "method-not-allowed"), "POST"));
    let text = [("content-type", "text/plain")];
    assert_eq!(server.ask("POST", "/apps/orders/docs/people", &text, "{}").await.problem(), problem(415, "unsupported-media-type"));
    assert_eq!(server.get("/apps/orders/docs/people?after=x").await.problem(), problem(400, "bad-request"));
    let huge = vec![b' '; (16 << 20) + 1];
    assert_eq!(server.ask("POST", "/apps/orders/docs/people", &[], huge).await.problem(), problem(413, "body-too-large"));
    assert_eq!(server.post("people/count", &json!({})).await.json(), json!({"count": 2}));
}

#[tokio::test]
async fn a_document_whose_id_is_the_name_of_a_route_is_reached_by_an_encoded_letter() {
    let server = Server::open().await;
    server.post("people", &json!([{"_id": "find"}, {"_id": "indexes"}])).await;
    assert_eq!(server.get("/apps/orders/docs/people/%66ind").await.json(), json!({"_id": "find"}));
    assert_eq!(server.get("/apps/orders/docs/people/%69ndexes").await.json(), json!({"_id": "indexes"}));
}

#[tokio::test]
async fn a_table_that_was_dropped_is_named() {
    let server = Server::open().await;
    server.run("drop table bh_docs").await;
    for (method, path, body) in
        [("GET", "/people/a", ""), ("POST", "/people", "{}"), ("POST", "/people/find", ""), ("GET", "", ""), ("DELETE", "/people", "")]
    {
        let reply = server.ask(method, &format!("{DOCS}{path}"), &[], body).await;
        assert_eq!(reply.problem(), problem(409, "sql-constraint"), "{method} {path}");
        assert!(reply.json()["detail"].as_str().unwrap().contains("bh_docs"), "{}", reply.json());
    }
}
