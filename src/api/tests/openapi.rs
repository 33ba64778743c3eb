//! The document against the routes, and the replies against the document.

use jsonschema::Validator;

use super::access::{ALL, HOST, READS, WRITES};
use super::*;
use crate::openapi::openapi;

/// What is at these paths refuses everything: it looks like a key that was forgotten.
const NO_KEY: &str = "/{namespace}/{name}/kv/";

fn operations(document: &Value) -> BTreeMap<(String, String), Value> {
    let mut found = BTreeMap::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            found.insert((method.to_ascii_uppercase(), path.clone()), operation.clone());
        }
    }
    found
}

#[test]
fn the_document_has_the_routes_and_no_others() {
    let told: BTreeSet<_> = operations(&openapi()).into_keys().collect();
    // OpenAPI has no rest of a path.
    let routed: BTreeSet<_> = routes().into_iter().map(|(method, path)| (method, path.replace("{*", "{"))).collect();
    let routed: BTreeSet<_> = routed.into_iter().filter(|(_, path)| path != NO_KEY).collect();
    assert_eq!(told, routed);
}

/// The document, with what replies are compared to.
struct Told {
    document: Value,
    operations: BTreeMap<(String, String), Value>,
}

impl Told {
    fn read() -> Self {
        let document = openapi();
        Self { operations: operations(&document), document }
    }

    fn resolved<'a>(&'a self, value: &'a Value) -> &'a Value {
        let place = value["$ref"].as_str().map(|place| place.strip_prefix('#').unwrap());
        place.map_or(value, |place| self.document.pointer(place).unwrap())
    }

    /// Whether the reply to a request to this route is one that the document knows.
    fn check(&self, method: &str, template: &str, reply: &Reply) -> Result<(), String> {
        let key = (method.to_owned(), template.replace("{*", "{"));
        let operation = self.operations.get(&key).ok_or_else(|| format!("{key:?} is not in the document"))?;
        let told = &operation["responses"][reply.status.as_str()];
        if told.is_null() {
            return Err(format!("{key:?} tells of no {}", reply.status));
        }
        let told = self.resolved(told);
        for (name, header) in told["headers"].as_object().into_iter().flatten() {
            let header = self.resolved(header);
            match reply.headers.get(name) {
                Some(value) => {
                    let text = json!(value.to_str().unwrap());
                    let is_number = self.resolved(&header["schema"])["type"] == "integer";
                    let value = if is_number { serde_json::from_str(text.as_str().unwrap()).unwrap() } else { text };
                    self.valid(&header["schema"], &value).map_err(|error| format!("{key:?}: {name}: {error}"))?;
                }
                None if header["required"] == true => return Err(format!("{key:?}: {name} is missing")),
                None => {}
            }
        }
        let media = reply.headers.get(header::CONTENT_TYPE).map(|media| media.to_str().unwrap().split(';').next().unwrap());
        let content = &told["content"];
        match media {
            None => content.is_null().then_some(()).ok_or_else(|| format!("{key:?}: no content")),
            Some(_) if !content["*/*"].is_null() => Ok(()),
            Some(_) if method == "HEAD" => Ok(()),
            Some(media) => match &content[media] {
                Value::Null => Err(format!("{key:?} tells of no {media} of {}", reply.status)),
                told if ["application/json", "application/problem+json"].contains(&media) => self
                    .valid(&told["schema"], &reply.json())
                    .map_err(|error| format!("{key:?}, {}: {error}\n{}", reply.status, reply.json())),
                _ => Ok(()),
            },
        }
    }

    fn valid(&self, schema: &Value, value: &Value) -> Result<(), String> {
        let whole = json!({"allOf": [schema], "components": self.document["components"]});
        let validator: Validator = jsonschema::draft202012::options().should_validate_formats(true).build(&whole).unwrap();
        validator.validate(value).map_err(|error| error.to_string())
    }
}

#[tokio::test]
async fn replies_of_every_route_are_as_the_document_says() {
    let (server, told) = (Server::with_readers().await, Told::read());
    let mut wrong = Vec::new();
    for (method, template, path, body, _) in ALL.into_iter().filter(|(_, template, ..)| *template != "/kv/") {
        let whole = format!("/{{namespace}}/{{name}}{template}");
        // Refused, and then done.
        for token in [("authorization", "Bearer guess"), READS, WRITES] {
            let reply = server.ask_as(token, method, path, body).await;
            wrong.extend(told.check(method, &whole, &reply).err());
        }
    }
    for path in ["/", "/livez", "/readyz", "/metrics", "/openapi.json", "/reference"] {
        let reply = server.ask("GET", path, &[HOST], "").await;
        wrong.extend(told.check("GET", path, &reply).err());
    }
    for path in ["", "/version", "/v2", "/v3", "/v3-protobuf"] {
        let reply = server.ask("GET", &format!("/apps/orders{path}"), &[HOST], "").await;
        wrong.extend(told.check("GET", &format!("/{{namespace}}/{{name}}{path}"), &reply).err());
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test]
async fn replies_of_other_forms_and_failures_are_as_the_document_says() {
    let (server, told) = (Server::with_readers().await, Told::read());
    let values = "select 1 as i, 2.5 as r, 'x' as t, x'00ff' as b, null as n, 9e999 as f";
    server.ask_as(WRITES, "PUT", "kv/b%00c", "").await;
    let requests = [
        ("POST", "sql", "sql", values),
        ("POST", "sql", "sql?shape=objects&ints=string", values),
        ("POST", "sql", "sql?values=tagged", values),
        ("POST", "sql", "sql", "select"),
        ("POST", "sql", "sql", "attach 'x' as x"),
        ("POST", "sql", "sql", r#"{"sql":"select ?","params":[1,2]}"#),
        ("POST", "sql", "sql", r#"{"statements":[{"sql":"select 1"}],"transaction":"none"}"#),
        ("POST", "sql", "sql?durability=sync", "insert into t values (1)"),
        ("GET", "sql", "sql?q=select+1&txid=1", ""),
        ("GET", "sql", "sql?q=select+1&txid=9999", ""),
        ("GET", "sql", "sql", ""),
        ("POST", "", "", r#"{"statements":["select 1","nonsense"]}"#),
        ("POST", "v1/execute", "v1/execute", r#"{"stmt":{"sql":"nonsense"}}"#),
        ("POST", "v1/batch", "v1/batch", r#"{"batch":{"steps":[{"stmt":{"sql":"select x'00'"}},{"stmt":{"sql":"nonsense"}}]}}"#),
        (
            "POST",
            "v3/pipeline",
            "v3/pipeline",
            r#"{"requests":[{"type":"execute","stmt":{"sql":"select 1, 2.5, 'a', x'00', null"}},{"type":"describe","sql":"select ?1 as a"},
                {"type":"batch","batch":{"steps":[{"stmt":{"sql":"select 1"}},{"stmt":{"sql":"nonsense"}}]}},{"type":"sequence","sql":"select 1"},
                {"type":"store_sql","sql_id":1,"sql":"select 1"},{"type":"close_sql","sql_id":1},{"type":"get_autocommit"},
                {"type":"execute","stmt":{"sql":"nonsense"}},{"type":"close"}]}"#,
        ),
        ("POST", "v3/pipeline", "v3/pipeline", r#"{"baton":"x","requests":[]}"#),
        ("GET", "kv", "kv?count", ""),
        ("GET", "kv", "kv?limit=1", ""),
        ("GET", "kv/{key}", "kv/absent", ""),
        ("PUT", "kv/{key}", "kv/a%00b", "1"),
        ("POST", "docs/{collection}", "docs/c", r#"[{"_id":"x"},{"_id":"y"}]"#),
        ("POST", "docs/{collection}", "docs/c", r#"{"_id":"x"}"#),
        ("GET", "docs/{collection}", "docs/c?limit=1", ""),
        ("GET", "docs/{collection}/{id}", "docs/c/absent", ""),
        ("POST", "docs/{collection}/indexes", "docs/c/indexes", r#"{"path":"age"}"#),
        ("GET", "files/{bh_key}", "files/absent", ""),
        ("GET", "files", "files?limit=1", ""),
        ("POST", "branches", "branches", r#"{"name":"kept"}"#),
        ("POST", "branches/{branch}/overwrite", "branches/kept/overwrite", r#"{"from":"main","id":"1"}"#),
        ("POST", "branches/{branch}/overwrite", "branches/kept/overwrite", r#"{"from":"main","id":"1"}"#),
        ("POST", "branches/{branch}/switch", "branches/absent/switch", ""),
        ("DELETE", "branches/{branch}", "branches/main", ""),
        ("GET", "snapshot", "snapshot?txid=1", ""),
        ("GET", "changes", "changes?durability=sync", ""),
        ("POST", "flush", "flush", ""),
    ];
    let mut wrong = Vec::new();
    for (method, template, path, body) in requests {
        let reply = server.ask_as(WRITES, method, path, body).await;
        wrong.extend(told.check(method, &format!("/{{namespace}}/{{name}}/{template}"), &reply).err());
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test]
async fn anybody_may_read_the_document_and_the_page_loads_nothing() {
    for guard in [Guard::Operator, dev(Some("mine"))] {
        let server = Server::empty(guard);
        let document = server.get("/openapi.json").await;
        assert_eq!((document.status, &document.json()["openapi"]), (StatusCode::OK, &json!("3.1.0")));
        let etag = document.headers[header::ETAG].to_str().unwrap();
        let known = server.ask("GET", "/openapi.json", &[("if-none-match", etag)], "").await;
        assert_eq!((known.status, known.body.len()), (StatusCode::NOT_MODIFIED, 0));
        assert_eq!(server.get("/openapi.json?x=1").await.problem(), problem(400, "bad-request"));

        let page = server.get("/reference").await;
        assert_eq!((page.status, &page.headers[header::CONTENT_TYPE]), (StatusCode::OK, &"text/html; charset=utf-8".parse().unwrap()));
        assert!(page.headers[header::CONTENT_SECURITY_POLICY].to_str().unwrap().starts_with("default-src 'none'; style-src 'sha256-"));
        let page = String::from_utf8(page.body).unwrap();
        for loading in ["<script", "<link", "<img", " src=", "url(", "@import", "href=\"http"] {
            assert!(!page.contains(loading), "{loading}");
        }
    }
}
