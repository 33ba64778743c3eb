#![allow(clippy::needless_pass_by_value, reason = "tests read better when their helpers take what they are given")]

use http::Method;
use k8s_openapi::api::core::v1::Service;
use serde_json::{Value, json};

use super::*;
use crate::fixtures::{UID, deleted, pod, resource};
use crate::objects::Contents;
use crate::plan::Stand;
use crate::scripted::{self, refusal};

const CREDENTIALS: &str = "/api/v1/namespaces/apps/secrets/orders-bucket";
const CONNECTION: &str = "/api/v1/namespaces/apps/secrets/orders-buckethead";
const SERVICE: &str = "/api/v1/namespaces/apps/services/orders";
const ENDPOINTS: &str = "/apis/discovery.k8s.io/v1/namespaces/apps/endpointslices/orders-buckethead";

/// What is wanted, given what the server answers for each object in the order of reading.
async fn wanted_of(resource: &BucketDatabase, shown: Found, answers: &[(&str, u16, Value)]) -> Wanted {
    let (cluster, mut server) = scripted::cluster();
    let script = async {
        for (path, status, answer) in answers {
            server.expect(Method::GET, path, *status, answer.clone()).await;
        }
    };
    let looking = Box::pin(wanted(&cluster, resource, shown));
    let (found, ()) = scripted::within(async { tokio::join!(looking, script) }).await;
    drop(cluster);
    server.finish().await;
    found
}

/// Of a database that asks for no Service.
async fn wanted_after(answers: &[(&str, u16, Value)]) -> Wanted {
    wanted_of(&resource(json!({})), Found::default(), answers).await
}

fn secret_of(data: Value, metadata: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": data})
}

fn credentials() -> Value {
    secret_of(json!({"AWS_ACCESS_KEY_ID": "aWQ=", "AWS_SECRET_ACCESS_KEY": "a2V5"}), json!({}))
}

fn connection() -> Value {
    let owned = json!({"ownerReferences": [{"apiVersion": "v", "kind": "k", "name": "n", "uid": UID, "controller": true}]});
    secret_of(json!({"token": "dG9rZW4="}), owned)
}

fn gone() -> Value {
    refusal(404, "NotFound")
}

fn reason(wanted: &Wanted) -> Reason {
    wanted.config.as_ref().expect_err("something is wrong").reason
}

fn told_url(wanted: &Wanted) -> &str {
    match &wanted.connection {
        Connection::Stale(Contents { url, .. }) => url,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn secrets_are_read_by_name_and_nothing_else_is_asked() {
    let wanted = wanted_after(&[(CREDENTIALS, 200, credentials()), (CONNECTION, 200, connection())]).await;
    assert_eq!(wanted.config.as_ref().unwrap().access, engine::Access::Tokens(vec![engine::Grant::of("token", engine::Permission::Write)]));
    assert_eq!(told_url(&wanted), "http://buckethead.system.svc/apps/orders/", "it lacks the url");
}

#[tokio::test(start_paused = true)]
async fn a_secret_that_is_not_there_is_missing_and_one_that_may_not_be_read_is_not() {
    let missing = wanted_after(&[(CREDENTIALS, 404, gone()), (CONNECTION, 404, gone())]).await;
    assert_eq!(reason(&missing), Reason::CredentialsMissing);
    let forbidden = wanted_after(&[(CREDENTIALS, 403, refusal(403, "Forbidden"))]).await;
    assert_eq!((reason(&forbidden), forbidden.connection), (Reason::ClusterRequestFailed, Connection::Unknown));
}

#[tokio::test(start_paused = true)]
async fn somebody_elses_secret_of_that_name_stops_the_resource() {
    let foreign = (CONNECTION, 200, secret_of(json!({"token": "dG9rZW4="}), json!({})));
    assert_eq!(reason(&wanted_after(&[(CREDENTIALS, 200, credentials()), foreign]).await), Reason::ConnectionSecretTaken);
}

#[tokio::test(start_paused = true)]
async fn both_tokens_are_admitted_while_the_one_before_is_valid() {
    let mut rotated = connection();
    // "before", until far in the future.
    rotated["data"]["previous-token"] = json!("YmVmb3Jl");
    rotated["data"]["previous-token-expires"] = json!("MjkwMC0wMS0wMVQwMDowMDowMFo=");
    let wanted = wanted_after(&[(CREDENTIALS, 200, credentials()), (CONNECTION, 200, rotated)]).await;
    let grants = ["token", "before"].map(|token| engine::Grant::of(token, engine::Permission::Write));
    let access = engine::Access::Tokens(grants.into());
    assert_eq!(wanted.config.unwrap().access, access);
}

#[tokio::test(start_paused = true)]
async fn where_kubernetes_knows_the_tokens_none_is_admitted_and_none_is_told() {
    let kubernetes = resource(json!({"spec": {"api": {"auth": "Kubernetes"}}}));
    let read = [(CREDENTIALS, 200, credentials()), (CONNECTION, 200, connection())];
    let wanted = wanted_of(&kubernetes, Found::default(), &read).await;
    assert_eq!(wanted.config.as_ref().unwrap().access, engine::Access::Kubernetes);
    let Connection::Stale(contents) = wanted.connection else { panic!("it holds a token") };
    assert_eq!((contents.tokens, contents.draws), (Tokens::default(), false));
    let wanted = wanted_of(&kubernetes, Found::default(), &[(CREDENTIALS, 200, credentials()), (CONNECTION, 404, gone())]).await;
    assert_eq!(wanted.config.unwrap().access, engine::Access::Kubernetes, "nothing has to be there before it is opened");
}

fn asking() -> BucketDatabase {
    resource(json!({"spec": {"api": {"service": true}}}))
}

fn shown() -> Found {
    Found { service: Some(objects::service(&asking(), &pod())), endpoints: Some(objects::endpoints(&asking(), &pod())) }
}

#[tokio::test(start_paused = true)]
async fn a_service_that_the_watches_show_is_not_read_again() {
    let read = [(CREDENTIALS, 200, credentials()), (CONNECTION, 200, connection())];
    let wanted = wanted_of(&asking(), shown(), &read).await;
    assert_eq!(wanted.service, OwnService::Asked { service: Stand::Current, endpoints: Stand::Current });
    assert_eq!(told_url(&wanted), "http://orders.apps.svc/");
    assert!(wanted.config.unwrap().own_service);
}

#[tokio::test(start_paused = true)]
async fn what_the_watches_do_not_show_is_read_by_name() {
    let read = [(SERVICE, 404, gone()), (ENDPOINTS, 404, gone()), (CREDENTIALS, 200, credentials()), (CONNECTION, 200, connection())];
    let wanted = wanted_of(&asking(), Found::default(), &read).await;
    assert_eq!(wanted.service, OwnService::Asked { service: Stand::Missing, endpoints: Stand::Missing });
}

#[tokio::test(start_paused = true)]
async fn by_the_name_of_somebody_elses_service_nothing_is_served() {
    let foreign = serde_json::to_value(Service::default()).unwrap();
    let read = [(SERVICE, 200, foreign), (ENDPOINTS, 404, gone()), (CREDENTIALS, 200, credentials()), (CONNECTION, 200, connection())];
    let wanted = wanted_of(&asking(), Found::default(), &read).await;
    assert!(matches!(&wanted.service, OwnService::Refused(problem) if problem.reason == Reason::ServiceTaken));
    assert!(!wanted.config.unwrap().own_service);
}

#[tokio::test(start_paused = true)]
async fn a_service_that_may_not_be_read_changes_nothing_of_what_clients_are_told() {
    let mut told = connection();
    told["data"]["url"] = json!("aHR0cDovL29yZGVycy5hcHBzLnN2Yy8=");
    let read = [(SERVICE, 403, refusal(403, "Forbidden")), (CREDENTIALS, 200, credentials()), (CONNECTION, 200, told)];
    let wanted = wanted_of(&asking(), Found::default(), &read).await;
    assert!(matches!(&wanted.service, OwnService::Unknown(problem) if problem.reason == Reason::ClusterRequestFailed));
    assert_eq!(told_url(&wanted), "http://orders.apps.svc/");
    assert!(wanted.config.is_ok(), "it is opened all the same");
}

#[tokio::test(start_paused = true)]
async fn for_a_resource_that_is_being_deleted_no_service_is_looked_for() {
    let read = [(CREDENTIALS, 200, credentials()), (CONNECTION, 200, connection())];
    wanted_of(&deleted(json!({"spec": {"api": {"service": true}}})), Found::default(), &read).await;
}
