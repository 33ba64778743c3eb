use http::Method;
use serde_json::{Value, json};

use super::*;
use crate::fixtures::resource;
use crate::objects::Tokens;
use crate::plan::FINALIZER;
use crate::scripted::{self, refusal};

const RESOURCE: &str = "/apis/buckethead.dev/v1alpha1/namespaces/apps/bucketdatabases/orders?&fieldManager=buckethead";
const SECRET: &str = "/api/v1/namespaces/apps/secrets/orders-buckethead?&force=true&fieldManager=buckethead";

/// Does one step against a server that expects one request and gives one answer.
async fn one_step(resource: BucketDatabase, step: Step, path: &str, status: u16, answer: Value) -> (Value, Result<(), Error>) {
    let (cluster, mut server) = scripted::cluster();
    let (body, done) = scripted::within(async {
        tokio::join!(server.expect(Method::PATCH, path, status, answer), on_cluster(&cluster, &resource, &step))
    })
    .await;
    drop(cluster);
    server.finish().await;
    (body, done)
}

fn answer() -> Value {
    serde_json::to_value(resource(json!({}))).unwrap()
}

#[tokio::test(start_paused = true)]
async fn the_finalizer_is_added_to_the_resource_that_was_seen() {
    let bare = resource(json!({"metadata": {"finalizers": ["other"]}}));
    let (body, done) = one_step(bare, Step::AddFinalizer, RESOURCE, 200, answer()).await;
    done.unwrap();
    assert_eq!(body, json!({"metadata": {"resourceVersion": "7", "finalizers": ["other", FINALIZER]}}));
}

#[tokio::test(start_paused = true)]
async fn a_resource_that_changed_meanwhile_is_looked_at_again() {
    let (_, done) = one_step(resource(json!({})), Step::RemoveFinalizer, RESOURCE, 409, refusal(409, "Conflict")).await;
    assert!(matches!(done, Err(Error::Cluster { .. })), "{done:?}");
}

#[tokio::test(start_paused = true)]
async fn a_resource_that_is_gone_already_is_let_go() {
    let (body, done) = one_step(resource(json!({})), Step::RemoveFinalizer, RESOURCE, 404, refusal(404, "NotFound")).await;
    done.unwrap();
    assert_eq!(body["metadata"]["finalizers"], json!([]));
}

#[tokio::test(start_paused = true)]
async fn the_connection_secret_is_applied_with_the_token_that_it_keeps() {
    let tokens = Tokens { token: Some(Token::new("kept")), read_only: None };
    let step = Step::EnsureConnectionSecret(Contents { tokens, draws: true, ..Contents::default() });
    let (body, done) = one_step(resource(json!({})), step, SECRET, 200, json!({"metadata": {}})).await;
    done.unwrap();
    assert_eq!(body["data"]["token"], json!("a2VwdA=="));
    assert!(body["data"]["read-only-token"].as_str().is_some_and(|drawn| drawn.len() > 40), "{body}");
    assert_eq!(body["metadata"]["ownerReferences"][0]["kind"], json!("BucketDatabase"));
}

#[tokio::test(start_paused = true)]
async fn two_new_tokens_differ() {
    assert_ne!(draw(), draw());
}
