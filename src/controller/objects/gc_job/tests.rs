use serde_json::{Value, json};

use super::*;
use crate::fixtures::{UID, config, resource};

/// A resource with all that a Job is made from.
fn full() -> (BucketDatabase, DatabaseConfig) {
    let resource = resource(json!({"spec": {
        "endpoint": "https://minio.storage:9000", "endpointTls": {"caRef": {"name": "minio-ca", "key": "root.pem"}},
        "files": {"prefix": "blobs/", "gc": {"graceSeconds": 60, "dryRun": true, "includeUnowned": true}},
    }}));
    let mut config = config();
    config.store.endpoint = Some("https://minio.storage:9000".parse().unwrap());
    config.store.kms_key_id = Some("alias/orders".to_owned());
    config.single_writer = true;
    config.files.prefix = engine::FilesPrefix::parse("blobs/").unwrap();
    (resource, config)
}

fn options() -> GcJobOptions {
    serde_json::from_value(json!({
        "image": "registry.example/buckethead:1", "imagePullPolicy": "Always", "imagePullSecrets": [{"name": "registry"}],
        "resources": {"requests": {"memory": "256Mi"}}, "nodeSelector": {"disk": "any"},
        "tolerations": [{"key": "spot", "operator": "Exists"}], "ttlSecondsAfterFinished": 60,
    }))
    .unwrap()
}

#[test]
fn a_job_is_as_the_kept_one() {
    let (resource, config) = full();
    let run = Run { number: 2, is_swept: true, request: Some("noon".to_owned()) };
    let made = serde_json::to_value(job(&resource, &config, &run, &options())).unwrap();
    let kept: Value = serde_yaml::from_str(include_str!("job.yaml")).unwrap();
    assert_eq!(made, kept, "{}", serde_yaml::to_string(&made).unwrap());
}

#[test]
fn what_is_not_set_is_not_asked_for() {
    let bare = serde_json::from_value(json!({"image": "i"})).unwrap();
    let made = serde_json::to_value(job(&resource(json!({})), &config(), &Run::first(None), &bare)).unwrap();
    let pod = &made["spec"]["template"]["spec"];
    for absent in ["volumes", "nodeSelector", "tolerations", "imagePullSecrets"] {
        assert!(pod[absent].is_null(), "{absent}");
    }
    let arguments = pod["containers"][0]["args"].as_array().unwrap();
    assert!(arguments.iter().all(|argument| !argument.as_str().unwrap().starts_with("--endpoint")), "AWS has none: {arguments:?}");
    assert_eq!((&made["spec"]["backoffLimit"], &made["spec"]["activeDeadlineSeconds"]), (&json!(2), &json!(3600)));
}

#[test]
fn an_unknown_option_is_named() {
    let error = serde_json::from_value::<GcJobOptions>(json!({"image": "i", "tolerance": []})).unwrap_err().to_string();
    assert!(error.contains("tolerance"), "{error}");
}

#[test]
fn names_are_short_enough_for_labels_and_differ_between_resources_of_one_name() {
    let long = resource(json!({"metadata": {"name": "x".repeat(63)}}));
    assert_eq!(job_name(&long).len(), 62);
    let later = resource(json!({"metadata": {"uid": "another"}}));
    assert_ne!(job_name(&resource(json!({}))), job_name(&later));
    let cut = resource(json!({"metadata": {"name": format!("{}-tail", "x".repeat(49))}}));
    assert!(!job_name(&cut).contains("--"), "{}", job_name(&cut));
}

#[test]
fn the_account_has_no_token_and_goes_with_its_resource() {
    let account = account(&resource(json!({})));
    assert_eq!(account.metadata.name.as_deref(), Some("orders-buckethead-gc"));
    assert_eq!(account.automount_service_account_token, Some(false));
    assert_eq!(account.metadata.owner_references.unwrap()[0].uid, UID);
}

/// A Job as the API server shows it.
fn shown(status: Value) -> Option<Job> {
    let (resource, config) = full();
    let mut made = serde_json::to_value(job(&resource, &config, &Run::first(None), &options())).unwrap();
    made["metadata"]["uid"] = json!("job-1");
    made["metadata"]["creationTimestamp"] = json!("2026-11-23T08:00:00Z");
    made["status"] = status;
    read(&serde_json::from_value(made).unwrap())
}

#[test]
fn a_job_is_read_back_with_its_run_and_state() {
    let condition = |type_: &str, reason: &str| {
        json!({"conditions": [
            {"type": "FailureTarget", "status": "True", "reason": reason},
            {"type": type_, "status": "True", "reason": reason, "message": "in words", "lastTransitionTime": "2026-11-23T08:01:00Z"},
        ]})
    };
    let at = "2026-11-23T08:01:00Z".parse().unwrap();
    let failed = JobEnd::Failed { message: "in words".to_owned() };
    for (status, state) in [
        (json!({}), JobState::Starting),
        (json!({"active": 1, "ready": 0}), JobState::Starting),
        (json!({"active": 1, "ready": 1}), JobState::Running),
        (condition("Complete", "CompletionsReached"), JobState::Ended { end: JobEnd::Succeeded, at }),
        (condition("Failed", "DeadlineExceeded"), JobState::Ended { end: JobEnd::TooSlow, at }),
        (condition("Failed", "BackoffLimitExceeded"), JobState::Ended { end: failed, at }),
        (condition("SuccessCriteriaMet", "CompletionsReached"), JobState::Starting),
    ] {
        let job = shown(status).unwrap();
        assert_eq!((job.run, job.state), (Run::first(None), state));
    }
    let foreign = JobObject::default();
    assert_eq!(read(&foreign), None);
}
