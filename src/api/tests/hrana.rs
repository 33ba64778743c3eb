//! Hrana at the wire: each rule of the protocol that can be seen in a request and its reply.

use super::*;

mod batches;
mod cursors;
mod failures;
mod protobuf;
pub(super) mod sockets;
mod stateless;
mod statements;
mod streams;

async fn post(server: &Server, route: &str, body: &Value) -> Reply {
    server.ask("POST", &format!("/apps/orders/{route}"), &[], body.to_string()).await
}

/// All of the reply to a pipeline that was carried out.
async fn pipeline(server: &Server, baton: Option<&str>, requests: Value) -> Value {
    let reply = post(server, "v3/pipeline", &json!({"baton": baton, "requests": requests})).await;
    assert_eq!(reply.status, StatusCode::OK, "{}", String::from_utf8_lossy(&reply.body));
    reply.json()
}

/// The results of a pipeline on a stream of its own.
async fn results(server: &Server, requests: Value) -> Value {
    let mut reply = pipeline(server, None, requests).await;
    assert!(reply["baton"].is_string(), "{reply}");
    reply["results"].take()
}

/// The result of one statement, or its error.
async fn execute(server: &Server, stmt: Value) -> Value {
    let mut result = results(server, json!([{"type": "execute", "stmt": stmt}])).await[0].take();
    match result["type"].as_str() {
        Some("ok") => result["response"]["result"].take(),
        _ => result["error"].take(),
    }
}

async fn sql(server: &Server, sql: &str) -> Value {
    execute(server, json!({ "sql": sql })).await
}

/// A failure of the whole request: its status and code, in the shape that every client reads.
fn failure(reply: &Reply) -> (u16, String) {
    assert_eq!(reply.headers[header::CONTENT_TYPE], "application/json");
    let body = reply.json();
    assert_eq!(body["message"], body["error"]);
    assert!(body["message"].as_str().is_some_and(|message| !message.is_empty()), "{body}");
    (reply.status.as_u16(), body["code"].as_str().unwrap().to_owned())
}

fn failed(status: u16, code: &str) -> (u16, String) {
    (status, code.to_owned())
}
