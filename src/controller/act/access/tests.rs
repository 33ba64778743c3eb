use http::Method;
use serde_json::{Value, json};

use super::super::on_cluster;
use super::*;
use crate::fixtures::{UID, resource};
use crate::plan::Step;
use crate::scripted::{self, refusal};

const SERVICES: &str = "/api/v1/namespaces/apps/services";
const SLICES: &str = "/apis/discovery.k8s.io/v1/namespaces/apps/endpointslices";
const CREATED: &str = "?&fieldManager=buckethead";
const APPLIED: &str = "?&force=true&fieldManager=buckethead";

/// Does one step against a server that expects one request and gives one answer.
async fn one_step(step: Step, method: Method, path: &str, status: u16, answer: Value) -> (Value, Result<(), Error>) {
    let (cluster, mut server) = scripted::cluster();
    let resource = resource(json!({}));
    let expected = server.expect(method, path, status, answer);
    let (body, done) = scripted::within(async { tokio::join!(expected, on_cluster(&cluster, &resource, &step)) }).await;
    drop(cluster);
    server.finish().await;
    (body, done)
}

fn slice() -> Value {
    json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "metadata": {}, "addressType": "IPv4", "endpoints": []})
}

#[tokio::test(start_paused = true)]
async fn what_is_not_there_is_created_and_never_written_over_what_somebody_else_makes_meanwhile() {
    let step = || Step::EnsureService { over: None };
    let (body, done) = one_step(step(), Method::POST, &format!("{SERVICES}{CREATED}"), 201, json!({"metadata": {}})).await;
    done.unwrap();
    assert_eq!((&body["metadata"]["name"], &body["metadata"]["ownerReferences"][0]["uid"]), (&json!("orders"), &json!(UID)));
    let (_, done) = one_step(step(), Method::POST, &format!("{SERVICES}{CREATED}"), 409, refusal(409, "AlreadyExists")).await;
    assert!(matches!(done, Err(Error::Cluster { .. })), "{done:?}");
}

#[tokio::test(start_paused = true)]
async fn what_is_there_is_corrected_if_it_is_still_the_one_that_was_seen() {
    let step = Step::EnsureEndpoints { over: Some("e-1".to_owned()) };
    let (body, done) = one_step(step, Method::PATCH, &format!("{SLICES}/orders-buckethead{APPLIED}"), 200, slice()).await;
    done.unwrap();
    assert_eq!(body["metadata"]["uid"], json!("e-1"));
    assert_eq!(body["endpoints"][0]["addresses"], json!(["10.0.0.7"]));
}

#[tokio::test(start_paused = true)]
async fn only_the_very_object_that_was_seen_is_deleted_and_one_that_is_gone_is_fine() {
    let step = || Step::RemoveService { uid: "s-1".to_owned() };
    let path = format!("{SERVICES}/orders?");
    let (body, done) = one_step(step(), Method::DELETE, &path, 200, json!({"metadata": {}})).await;
    done.unwrap();
    assert_eq!(body["preconditions"], json!({"uid": "s-1"}));
    one_step(step(), Method::DELETE, &path, 404, refusal(404, "NotFound")).await.1.unwrap();
    let (_, done) = one_step(step(), Method::DELETE, &path, 409, refusal(409, "Conflict")).await;
    assert!(matches!(done, Err(Error::Cluster { .. })), "another one has its name by now: {done:?}");
    let step = Step::RemoveEndpoints { uid: "e-1".to_owned() };
    one_step(step, Method::DELETE, &format!("{SLICES}/orders-buckethead?"), 200, slice()).await.1.unwrap();
}
