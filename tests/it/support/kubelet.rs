//! What a kubelet and the Job controller would do, where there is neither: a Job's command is run as its container runs it, and the API server
//! is told how it ended.

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::Command;
use tokio::task::JoinSet;

use super::cluster::Namespace;
use super::wait::{PAUSE, until};

/// Where a container of ours leaves its last words, by the arguments of its Job.
const TERMINATION_LOG: &str = "/dev/termination-log";

impl Namespace {
    /// Runs each Job that is made, until it is dropped. A Job that it ran once it does not run again.
    pub(crate) fn kubelet(&self) -> JoinSet<()> {
        let namespace = *self;
        let mut task = JoinSet::new();
        task.spawn(async move {
            let mut pauses = tokio::time::interval(PAUSE);
            loop {
                pauses.tick().await;
                for job in namespace.jobs("").await {
                    if job["status"]["conditions"].is_null() {
                        namespace.run_job(&job).await;
                    }
                }
            }
        });
        task
    }

    async fn jobs(&self, selector: &str) -> Vec<Value> {
        let found = self.kubectl(&["get", "jobs", "--selector", selector, "--output=json"]).await;
        serde_json::from_str::<Value>(&found).unwrap()["items"].as_array().unwrap().clone()
    }

    /// Waits for the only Job of a database that is not the one of this UID.
    pub(crate) async fn job_after(&self, database: &str, before: Option<&str>) -> Value {
        let selector = format!("buckethead.dev/database={database}");
        until(&format!("the next Job of {database}"), async || {
            let mut jobs = self.jobs(&selector).await;
            assert!(jobs.len() < 2, "one at a time: {jobs:?}");
            jobs.pop().filter(|job| job["metadata"]["uid"].as_str() != before)
        })
        .await
    }

    /// Runs a Job to its end, and answers with what it logged.
    pub(crate) async fn run_job(&self, job: &Value) -> String {
        let pod = self.start_pod(job).await;
        let container = &job["spec"]["template"]["spec"]["containers"][0];
        let folder = TempDir::new().unwrap();
        let termination_log = folder.path().join("log");
        let arguments = container["args"].as_array().unwrap().iter().map(|argument| argument.as_str().unwrap());
        let arguments = arguments.map(|argument| argument.replace(TERMINATION_LOG, termination_log.to_str().unwrap()));
        let mut command = Command::new(env!("CARGO_BIN_EXE_buckethead"));
        let output = command.args(arguments).env_clear().envs(self.environment(container).await).output().await.unwrap();
        let message = std::fs::read_to_string(&termination_log).unwrap();
        self.end_pod(&pod, &json!({"exitCode": output.status.code().unwrap(), "message": message})).await;
        self.end_job(job, output.status.success()).await;
        String::from_utf8(output.stderr).unwrap()
    }

    /// Ends a Job whose container was killed, as that for too much memory is.
    pub(crate) async fn kill_job(&self, job: &Value) {
        let pod = self.start_pod(job).await;
        self.end_pod(&pod, &json!({"exitCode": 137, "reason": "OOMKilled"})).await;
        self.end_job(job, false).await;
    }

    async fn environment(&self, container: &Value) -> Vec<(String, String)> {
        let mut found = Vec::new();
        for variable in container["env"].as_array().unwrap() {
            let reference = &variable["valueFrom"]["secretKeyRef"];
            let (secret, key) = (reference["name"].as_str().unwrap(), reference["key"].as_str().unwrap());
            // Those that are not there are optional.
            if self.get("secret", secret).await["data"][key].is_string() {
                found.push((variable["name"].as_str().unwrap().to_owned(), self.secret_value(secret, key).await));
            }
        }
        found
    }

    /// Makes the Pod of a Job, and returns its name.
    async fn start_pod(&self, job: &Value) -> String {
        let (uid, template) = (job["metadata"]["uid"].as_str().unwrap(), &job["spec"]["template"]);
        let name = format!("gc-{uid}");
        let metadata = json!({"name": name, "labels": template["metadata"]["labels"]});
        self.make(&json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]})).await;
        self.patch_status("job", job, &json!({"active": 1, "ready": 1, "startTime": job["metadata"]["creationTimestamp"]})).await;
        name
    }

    async fn end_pod(&self, pod: &str, terminated: &Value) {
        let pod = self.get("pod", pod).await;
        let state = json!({"terminated": terminated});
        let container = json!({"name": "gc", "image": "", "imageID": "", "ready": false, "restartCount": 0, "state": state});
        self.patch_status("pod", &pod, &json!({"containerStatuses": [container]})).await;
    }

    async fn end_job(&self, job: &Value, succeeded: bool) {
        let at = &job["metadata"]["creationTimestamp"];
        let condition = |kind: &str, reason: &str| json!({"type": kind, "status": "True", "reason": reason, "lastTransitionTime": at});
        let status = if succeeded {
            let conditions = ["SuccessCriteriaMet", "Complete"].map(|kind| condition(kind, "CompletionsReached"));
            json!({"active": 0, "ready": 0, "succeeded": 1, "completionTime": at, "conditions": conditions})
        } else {
            let conditions = ["FailureTarget", "Failed"].map(|kind| condition(kind, "BackoffLimitExceeded"));
            json!({"active": 0, "ready": 0, "failed": 1, "conditions": conditions})
        };
        self.patch_status("job", job, &status).await;
    }

    async fn patch_status(&self, kind: &str, object: &Value, status: &Value) {
        let (name, patch) = (object["metadata"]["name"].as_str().unwrap(), json!({"status": status}).to_string());
        self.kubectl(&["patch", kind, name, "--subresource=status", "--type=merge", "--patch", &patch]).await;
    }
}
