//! The API server, as a user of `kubectl` sees it.

use std::process::Stdio;

use serde::Deserialize;
use serde_json::Value;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use super::bench::{BENCH, Cluster};
use super::database::Database;
use super::manifest::Resource;
use super::process::Operator;
use super::store::{Place, ServedBy};
use super::wait::until;

/// A namespace of one test. It is never deleted: the API server ends with the tests.
#[derive(Clone, Copy)]
pub(crate) struct Namespace {
    pub(super) name: &'static str,
    pub(super) cluster: &'static Cluster,
}

/// A condition in the status of a resource.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Condition {
    #[serde(rename = "type")]
    kind: String,
    pub(crate) status: String,
    pub(crate) reason: String,
    pub(crate) message: String,
    pub(crate) observed_generation: Option<i64>,
}

impl Namespace {
    pub(crate) async fn create(name: &'static str) -> Self {
        Self::create_in(&BENCH.facts.cluster, name).await
    }

    pub(super) async fn create_in(cluster: &'static Cluster, name: &'static str) -> Self {
        let namespace = Self { name, cluster };
        namespace.kubectl(&["create", "namespace", name]).await;
        namespace
    }

    pub(crate) fn name(&self) -> &'static str {
        self.name
    }

    /// A namespace with the credentials for a place of the same name.
    pub(crate) async fn with_place(name: &'static str, served_by: ServedBy) -> (Self, Place) {
        let place = Place::create(served_by, name).await;
        let namespace = Self::create(name).await;
        namespace.apply(&Resource::credentials(&place.account)).await;
        (namespace, place)
    }

    /// Runs `kubectl` in this namespace.
    pub(crate) async fn kubectl(&self, arguments: &[&str]) -> String {
        self.cluster.run(self.name, arguments, "").await.unwrap_or_else(|refusal| panic!("kubectl {arguments:?}: {refusal}"))
    }

    pub(crate) async fn apply(&self, resource: &Resource) {
        self.try_apply(resource).await.unwrap_or_else(|refusal| panic!("{refusal}"));
    }

    /// `Err` holds the API server's words.
    pub(crate) async fn try_apply(&self, resource: &Resource) -> Result<(), String> {
        self.cluster.run(self.name, &["apply", "--filename", "-"], &resource.yaml()).await.map(drop)
    }

    /// Changes members of an object.
    pub(crate) async fn patch(&self, kind: &str, name: &str, patch: &Value) {
        self.kubectl(&["patch", kind, name, "--type=merge", "--patch", &patch.to_string()]).await;
    }

    /// What the API server was asked by those whom `testbench/serve.sh` has it write down, an event of its audit log each.
    pub(crate) fn audited(&self) -> Vec<Value> {
        let log = std::fs::read_to_string(self.cluster.dir.join("audit.log")).unwrap();
        // The last line may be on its way.
        log.split_inclusive('\n').filter(|line| line.ends_with('\n')).map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// A script that finds `kubectl` as a user does.
    pub(crate) fn shell(&self, script: &str) -> Command {
        let Cluster { kubeconfig, kubectl, .. } = self.cluster;
        let folder = std::path::Path::new(kubectl).parent().unwrap().display();
        let mut bash = Command::new("bash");
        bash.args(["-c", script]).env("KUBECONFIG", kubeconfig).stdin(Stdio::null()).kill_on_drop(true);
        bash.env("PATH", format!("{folder}:{}", std::env::var("PATH").unwrap()));
        bash
    }

    /// Makes an object that is no resource of ours.
    pub(super) async fn make(&self, object: &Value) {
        self.cluster
            .run(self.name, &["create", "--filename", "-"], &object.to_string())
            .await
            .unwrap_or_else(|refusal| panic!("{refusal}"));
    }

    pub(crate) async fn get(&self, kind: &str, name: &str) -> Value {
        serde_json::from_str(&self.kubectl(&["get", kind, name, "--output=json"]).await).unwrap()
    }

    pub(crate) async fn wait_ready(&self, name: &str) {
        let resource = format!("bucketdatabase/{name}");
        self.kubectl(&["wait", "--for=condition=Ready", &resource, "--timeout=60s"]).await;
    }

    /// Waits until a condition is false for this reason, and for the newest generation.
    pub(crate) async fn wait_not(&self, kind: &str, name: &str, reason: &str) -> Condition {
        self.wait_condition(name, kind, "False", reason).await
    }

    pub(crate) async fn wait_condition(&self, name: &str, kind: &str, status: &str, reason: &str) -> Condition {
        let what = format!("{kind}={status} of {}/{name} with reason {reason}", self.name);
        until(&what, async || {
            let resource = self.get("bucketdatabase", name).await;
            let conditions: Vec<Condition> = serde_json::from_value(resource["status"]["conditions"].clone()).ok()?;
            conditions.into_iter().find(|found| {
                found.kind == kind
                    && found.status == status
                    && found.reason == reason
                    && found.observed_generation == resource["metadata"]["generation"].as_i64()
            })
        })
        .await
    }

    /// Waits until there is an event of this reason about a database.
    pub(crate) async fn wait_event(&self, name: &str, reason: &str) {
        let about = format!("involvedObject.name={name},reason={reason}");
        until(&format!("an event {reason} about {name}"), async || {
            let found = self.kubectl(&["get", "events", "--field-selector", &about, "--output=name"]).await;
            (!found.is_empty()).then_some(())
        })
        .await;
    }

    /// A database that answers, reached by the token of its connection Secret, at the address where this operator really listens.
    pub(crate) async fn connect(&self, operator: &Operator, name: &str) -> Database {
        let secret = format!("{name}-buckethead");
        let token = self.secret_value(&secret, "token").await;
        Database::new(format!("{}/{}/{name}/", operator.api, self.name), Some(token)).answers().await
    }

    /// All databases of the namespace, in the order of their names.
    pub(crate) async fn connect_all(&self, operator: &Operator) -> Vec<Database> {
        let template =
            r#"--output=go-template={{range .items}}{{.metadata.name}} {{with .data.token}}{{. | base64decode}}{{end}}{{"\n"}}{{end}}"#;
        let mut databases = Vec::new();
        for line in self.kubectl(&["get", "secrets", template]).await.lines() {
            if let Some((name, token)) = line.split_once("-buckethead ") {
                let base = format!("{}/{}/{name}/", operator.api, self.name);
                databases.push(Database::new(base, Some(token.to_owned())).answers().await);
            }
        }
        databases
    }

    /// One value of a Secret, decoded.
    pub(crate) async fn secret_value(&self, secret: &str, key: &str) -> String {
        let template = format!("--output=go-template={{{{index .data \"{key}\" | base64decode}}}}");
        self.kubectl(&["get", "secret", secret, &template]).await
    }
}

impl Cluster {
    /// Runs `kubectl`. `Err` holds what it printed about its failure.
    pub(super) async fn run(&self, namespace: &str, arguments: &[&str], input: &str) -> Result<String, String> {
        let mut child = Command::new(&self.kubectl)
            .args(["--namespace", namespace])
            .args(arguments)
            .env("KUBECONFIG", &self.kubeconfig)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).await.unwrap();
        let output = child.wait_with_output().await.unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        if output.status.success() { Ok(text(output.stdout)) } else { Err(text(output.stderr)) }
    }
}
