use http::Method;
use serde_json::json;

use super::*;
use crate::fixtures::*;
use crate::scripted;

const STATUS: &str = "/apis/buckethead.dev/v1alpha1/namespaces/apps/bucketdatabases/orders/status?&force=true&fieldManager=buckethead";
const EVENTS: &str = "/apis/events.k8s.io/v1/namespaces/apps/events?";
const SERVING: Verdict = Verdict::Serving { but: None };

fn done() -> Outcome {
    Outcome { flushed: None, gc: None, connected: false, let_go: false, result: Ok(()) }
}

#[tokio::test(start_paused = true)]
async fn a_status_is_applied_by_one_manager_and_its_news_are_told_once() {
    let (cluster, mut server) = scripted::cluster();
    let resource = resource(json!({}));
    let seen = served();
    let answer = serde_json::to_value(&resource).unwrap();
    let (event, outcome) = (json!({"metadata": {}}), done());
    let script = async {
        let applied = server.expect(Method::PATCH, STATUS, 200, answer).await;
        let told = server.expect(Method::POST, EVENTS, 201, event).await;
        (applied, told)
    };
    let (told, (applied, event)) =
        scripted::within(Box::pin(async { tokio::join!(publish(&cluster, &resource, &seen, &SERVING, &outcome), script) })).await;
    assert_eq!(told.unwrap(), LOOK_AGAIN);
    assert_eq!((&applied["kind"], &applied["status"]["observedGeneration"]), (&json!("BucketDatabase"), &json!(3)));
    assert_eq!(applied["status"]["binding"], json!({"name": "orders-buckethead"}));
    assert_eq!(event["reason"], json!("Restored"));

    // The watch has not brought the new status yet; what was written is remembered.
    assert_eq!(scripted::within(publish(&cluster, &resource, &seen, &SERVING, &done())).await.unwrap(), LOOK_AGAIN);
    drop(cluster);
    server.finish().await;
}

#[tokio::test(start_paused = true)]
async fn a_secret_that_was_written_just_now_is_told_at_once() {
    let (cluster, mut server) = scripted::cluster();
    let resource = resource(json!({}));
    let seen = Observed { connection: Connection::Unknown, ..served() };
    let outcome = Outcome { connected: true, ..done() };
    let answer = serde_json::to_value(&resource).unwrap();
    let script = async {
        let applied = server.expect(Method::PATCH, STATUS, 200, answer).await;
        server.expect(Method::POST, EVENTS, 201, json!({"metadata": {}})).await;
        applied
    };
    let looked = Box::pin(async { tokio::join!(publish(&cluster, &resource, &seen, &SERVING, &outcome), script) });
    let (told, applied) = scripted::within(looked).await;
    told.unwrap();
    assert_eq!(applied["status"]["binding"], json!({"name": "orders-buckethead"}));
    drop(cluster);
    server.finish().await;
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_more_waits_for_its_turn() {
    let (cluster, server) = scripted::cluster();
    let mut resource = resource(json!({}));
    let said =
        Said { verdict: &SERVING, flushed: None, gc: None, url: "http://buckethead.system.svc/apps/orders/", host: "pod-0", binding: None };
    let status = next(&resource, &BucketDatabaseStatus::default(), &served(), &said);
    cluster.memory.update(&resource, |known| known.written = Some(second(-10)));
    resource.status = Some(BucketDatabaseStatus { txid: Some(3), ..status });
    let seen = Observed { connection: Connection::Unknown, ..served() };
    let left = scripted::within(publish(&cluster, &resource, &seen, &SERVING, &done())).await.unwrap();
    assert_eq!(left, Duration::from_secs(20));
    drop(cluster);
    server.finish().await;
}

#[tokio::test(start_paused = true)]
async fn a_status_that_somebody_edited_is_written_again_once_the_watch_must_have_shown_ours() {
    let (cluster, mut server) = scripted::cluster();
    let mut resource = resource(json!({}));
    let said =
        Said { verdict: &SERVING, flushed: None, gc: None, url: "http://buckethead.system.svc/apps/orders/", host: "pod-0", binding: None };
    let seen = Observed { connection: Connection::Unknown, ..served() };
    let ours = next(&resource, &BucketDatabaseStatus::default(), &seen, &said);
    let written = |at: i64| {
        cluster.memory.update(&resource, |known| (known.status, known.written) = (Some(ours.clone()), Some(second(at))));
    };

    written(-50);
    assert_eq!(scripted::within(publish(&cluster, &resource, &seen, &SERVING, &done())).await.unwrap(), LOOK_AGAIN, "the watch lags");
    written(-70);
    let answer = serde_json::to_value(&resource).unwrap();
    let (outcome, script) = (done(), server.expect(Method::PATCH, STATUS, 200, answer));
    let telling = Box::pin(publish(&cluster, &resource, &seen, &SERVING, &outcome));
    let (told, applied) = scripted::within(async { tokio::join!(telling, script) }).await;
    assert_eq!((told.unwrap(), &applied["status"]), (LOOK_AGAIN, &serde_json::to_value(&ours).unwrap()));

    // As the API server gives it back it is ours, and no news.
    written(-70);
    resource.status = Some(serde_json::from_value(applied["status"].clone()).unwrap());
    assert_eq!(scripted::within(publish(&cluster, &resource, &seen, &SERVING, &done())).await.unwrap(), LOOK_AGAIN);
    drop(cluster);
    server.finish().await;
}

#[tokio::test(start_paused = true)]
async fn nobody_is_told_anything_about_a_resource_that_was_let_go() {
    let (cluster, server) = scripted::cluster();
    let outcome = Outcome { let_go: true, ..done() };
    publish(&cluster, &resource(json!({})), &seen(), &Verdict::Closing { but: None }, &outcome).await.unwrap();
    drop(cluster);
    server.finish().await;
}
