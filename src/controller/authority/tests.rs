use http::Method;
use serde_json::{Value, json};

use super::*;
use crate::fixtures::name;
use crate::scripted::{self, refusal};

const TOKENS: &str = "/apis/authentication.k8s.io/v1/tokenreviews?";
const ACCESS: &str = "/apis/authorization.k8s.io/v1/subjectaccessreviews?";

/// What is made of these answers, and what was asked for them.
async fn reviewed(answers: &[(&str, u16, Value)]) -> (Result<Option<Permission>, AuthorityError>, Vec<Value>) {
    let (cluster, mut server) = scripted::cluster();
    let authority = KubernetesAuthority::new(cluster.client.clone());
    let script = async {
        let mut asked = Vec::new();
        for (path, status, answer) in answers {
            asked.push(server.expect(Method::POST, path, *status, answer.clone()).await["spec"].take());
        }
        asked
    };
    let database = name();
    let (found, asked) = scripted::within(async { tokio::join!(authority.review(&database, "t0ken"), script) }).await;
    drop((authority, cluster));
    server.finish().await;
    (found, asked)
}

fn whose(status: &Value) -> (&'static str, u16, Value) {
    (TOKENS, 201, json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {}, "status": status}))
}

fn theirs() -> (&'static str, u16, Value) {
    let user = json!({"username": "system:serviceaccount:apps:web", "uid": "u-1", "groups": ["system:serviceaccounts", "system:authenticated"],
        "extra": {"authentication.kubernetes.io/pod-name": ["web-0"]}});
    whose(&json!({"authenticated": true, "user": user}))
}

fn allowed(status: &Value) -> (&'static str, u16, Value) {
    (ACCESS, 201, json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": {}, "status": status}))
}

fn yes() -> (&'static str, u16, Value) {
    allowed(&json!({"allowed": true}))
}

fn no() -> (&'static str, u16, Value) {
    allowed(&json!({"allowed": false}))
}

#[tokio::test(start_paused = true)]
async fn whoever_may_update_the_data_may_write_and_nothing_more_is_asked() {
    let (found, asked) = reviewed(&[theirs(), yes()]).await;
    assert_eq!(found.unwrap(), Some(Permission::Write));
    assert_eq!(asked[0], json!({"token": "t0ken"}));
    let attributes = json!({"group": "buckethead.dev", "version": "v1alpha1", "resource": "bucketdatabases", "subresource": "data",
        "namespace": "apps", "name": "orders", "verb": "update"});
    let expected = json!({"user": "system:serviceaccount:apps:web", "uid": "u-1", "groups": ["system:serviceaccounts", "system:authenticated"],
        "extra": {"authentication.kubernetes.io/pod-name": ["web-0"]}, "resourceAttributes": attributes});
    assert_eq!(asked[1], expected);
}

#[tokio::test(start_paused = true)]
async fn whoever_may_only_get_it_may_read() {
    let (found, asked) = reviewed(&[theirs(), no(), yes()]).await;
    assert_eq!(found.unwrap(), Some(Permission::Read));
    assert_eq!(asked[2]["resourceAttributes"]["verb"], json!("get"));
}

#[tokio::test(start_paused = true)]
async fn what_is_no_clear_yes_is_no_permission() {
    for answers in [
        vec![whose(&json!({"authenticated": false, "error": "invalid bearer token"}))],
        vec![whose(&json!({"user": {"username": "somebody"}}))],
        vec![whose(&json!({"authenticated": true}))],
        vec![whose(&Value::Null)],
        vec![theirs(), no(), no()],
        vec![theirs(), allowed(&json!({"allowed": true, "denied": true})), allowed(&json!({"allowed": false, "evaluationError": "?"}))],
    ] {
        let told = format!("{answers:?}");
        assert_eq!(reviewed(&answers).await.0.unwrap(), None, "{told}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_api_server_that_fails_has_said_nothing() {
    for answers in [
        vec![(TOKENS, 403, refusal(403, "Forbidden"))],
        vec![(TOKENS, 500, refusal(500, "InternalError"))],
        vec![theirs(), (ACCESS, 403, refusal(403, "Forbidden"))],
        vec![theirs(), no(), (ACCESS, 429, refusal(429, "TooManyRequests"))],
    ] {
        let told = format!("{answers:?}");
        let error = reviewed(&answers).await.0.expect_err(&told).to_string();
        assert!(error.starts_with("there was no answer while asking the API server") && !error.contains("t0ken"), "{error}");
    }
}
