use engine::{GcOutcome, GcStage};
use http::Method;
use serde_json::{Value, json};

use super::*;
use crate::fixtures::{UID, config, gc_job, gc_options, gc_summary, resource, second};
use crate::gc::Run;
use crate::objects::gc_job::JobEnd;
use crate::scripted::{self, refusal};

const ACCOUNT: &str = "/api/v1/namespaces/apps/serviceaccounts/orders-buckethead-gc";
const APPLIED: &str = "/api/v1/namespaces/apps/serviceaccounts/orders-buckethead-gc?&force=true&fieldManager=buckethead";
const JOBS: &str = "/apis/batch/v1/namespaces/apps/jobs";
const PODS: &str = "/api/v1/namespaces/apps/pods?&labelSelector=batch.kubernetes.io%2Fcontroller-uid%3Djob-1";

fn start(replaces: Option<&str>) -> Start {
    Start { run: Run::first(None), config: config(), flush: vec![], replaces: replaces.map(str::to_owned) }
}

fn job_name() -> String {
    gc_job::job(&resource(json!({})), &config(), &Run::first(None), &gc_options()).metadata.name.unwrap()
}

fn owned_account() -> Value {
    let owner = json!([{"apiVersion": "v", "kind": "k", "name": "n", "uid": UID}]);
    json!({"metadata": {"name": "a", "ownerReferences": owner}, "automountServiceAccountToken": false})
}

/// Makes a Job against a server that expects these requests, and returns what they bore.
async fn made_after(start: &Start, script: Vec<(Method, String, u16, Value)>) -> (Result<(), Problem>, Vec<Value>) {
    let (cluster, mut server) = scripted::cluster();
    let resource = resource(json!({}));
    let script = async {
        let mut bodies = Vec::new();
        for (method, path, status, answer) in script {
            bodies.push(server.expect(method, &path, status, answer).await);
        }
        bodies
    };
    let options = gc_options();
    let done = Box::pin(scripted::within(async { tokio::join!(make(&cluster, &resource, start, &options), script) })).await;
    drop(cluster);
    server.finish().await;
    done
}

#[tokio::test(start_paused = true)]
async fn the_account_is_made_before_the_job_and_left_alone_when_it_is_there() {
    let created = (Method::POST, format!("{JOBS}?"), 201, json!({"metadata": {}}));
    let script = vec![
        (Method::GET, ACCOUNT.to_owned(), 404, refusal(404, "NotFound")),
        (Method::PATCH, APPLIED.to_owned(), 200, json!({"metadata": {}})),
        created.clone(),
    ];
    let (done, bodies) = made_after(&start(None), script).await;
    done.unwrap();
    assert_eq!(bodies[1]["automountServiceAccountToken"], json!(false));
    assert_eq!(bodies[2]["spec"]["template"]["spec"]["serviceAccountName"], bodies[1]["metadata"]["name"]);
    made_after(&start(None), vec![(Method::GET, ACCOUNT.to_owned(), 200, owned_account()), created]).await.0.unwrap();
}

#[tokio::test(start_paused = true)]
async fn the_job_before_is_deleted_only_if_it_is_the_one_that_was_seen() {
    for (status, answer) in [(200, json!({"metadata": {}})), (404, refusal(404, "NotFound"))] {
        let script = vec![
            (Method::GET, ACCOUNT.to_owned(), 200, owned_account()),
            (Method::DELETE, format!("{JOBS}/{}?", job_name()), status, answer),
            (Method::POST, format!("{JOBS}?"), 201, json!({"metadata": {}})),
        ];
        let (done, bodies) = made_after(&start(Some("job-0")), script).await;
        done.unwrap();
        assert_eq!((&bodies[1]["preconditions"]["uid"], &bodies[1]["propagationPolicy"]), (&json!("job-0"), &json!("Background")));
    }
}

#[tokio::test(start_paused = true)]
async fn what_the_api_server_refuses_is_a_reason_and_no_account_of_somebody_else_is_taken() {
    let script = vec![
        (Method::GET, ACCOUNT.to_owned(), 200, owned_account()),
        (Method::POST, format!("{JOBS}?"), 403, refusal(403, "exceeded quota")),
    ];
    let problem = made_after(&start(None), script).await.0.unwrap_err();
    assert_eq!(problem.reason, Reason::GcJobRefused);
    assert!(problem.message.contains("exceeded quota") && problem.message.contains("quotas"), "{}", problem.message);
    let foreign = vec![(Method::GET, ACCOUNT.to_owned(), 200, json!({"metadata": {"name": "a"}}))];
    let problem = made_after(&start(None), foreign).await.0.unwrap_err();
    assert!(problem.message.contains("not ours"), "{}", problem.message);
}

/// What is heard of a Job against a server that gives one answer.
async fn heard(work: &Work, status: u16, answer: Value) -> Option<News> {
    let (cluster, mut server) = scripted::cluster();
    let resource = resource(json!({}));
    let asked = async {
        match work {
            Work::Take(job) => take(&cluster, &resource, job).await,
            Work::Inspect(job) => inspect(&cluster, &resource, job).await,
            Work::Start(_) => None,
        }
    };
    let (news, _) = scripted::within(async { tokio::join!(asked, server.expect(Method::GET, PODS, status, answer)) }).await;
    drop(cluster);
    server.finish().await;
    news
}

#[tokio::test(start_paused = true)]
async fn the_report_is_read_from_the_pods_of_this_very_job() {
    let summary = gc_summary(GcStage::Clean, None);
    let terminated = json!({"exitCode": 0, "message": GcOutcome::Report(summary.clone()).to_message()});
    let status = json!({"containerStatuses": [
        {"name": "gc", "image": "i", "imageID": "", "ready": false, "restartCount": 0, "state": {"terminated": terminated}},
    ]});
    let job = Job { state: JobState::Ended { end: JobEnd::Succeeded, at: second(9) }, ..gc_job() };
    let pods = json!({"items": [{"metadata": {"name": "p"}, "status": status}], "metadata": {}});
    let ended = Ended { job: Some("job-1".to_owned()), time: second(9), run: Run::first(None), result: Ok(summary) };
    assert_eq!(heard(&Work::Take(job.clone()), 200, pods).await, Some(News::Ended(ended)));
    // Who may not look tries again, and does not take the run for one without a report.
    let refused = heard(&Work::Take(job), 403, refusal(403, "Forbidden")).await;
    assert!(matches!(&refused, Some(News::Hindered(problem)) if problem.reason == Reason::GcJobRefused), "{refused:?}");
}

#[tokio::test(start_paused = true)]
async fn a_job_without_a_pod_is_asked_after() {
    let news = heard(&Work::Inspect(gc_job()), 200, json!({"items": [], "metadata": {}})).await;
    assert!(matches!(&news, Some(News::Hindered(problem)) if problem.reason == Reason::GcPodRefused), "{news:?}");
}
