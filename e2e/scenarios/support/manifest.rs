//! Resources as values, so that a scenario shows only what it is about.

use serde_json::{Value, json};

use super::store::Store;

/// The name of a scenario's only database.
pub(crate) const DATABASE: &str = "orders";

/// Where it lies in the bucket.
pub(crate) const KEY: &str = "apps/orders.db";

/// The Secret with the keys of the bucket.
const CREDENTIALS: &str = "bucket";

/// A Kubernetes object that is about to be applied.
#[derive(Debug, Clone)]
pub(crate) struct Resource(Value);

impl Resource {
    /// What nobody but the operator may be told.
    pub(crate) const SECRET: &'static str = Store::SECRET_ACCESS_KEY;

    /// [`DATABASE`] in a scenario's bucket, saved only when asked or at the end.
    pub(crate) fn database(bucket: &str) -> Self {
        Self(json!({
            "apiVersion": "buckethead.dev/v1alpha1",
            "kind": "BucketDatabase",
            "metadata": {"name": DATABASE},
            "spec": {"bucket": bucket, "key": KEY, "interval": "1h"},
        }))
        .on_minio()
    }

    /// `examples/quickstart.yaml`, with what it says that a cluster needs.
    pub(crate) fn quickstart(namespace: &str, bucket: &str) -> Self {
        let example: Value = serde_yaml::from_str(include_str!("../../../examples/quickstart.yaml")).unwrap();
        Self(example).with("/metadata/namespace", namespace).with("/spec/bucket", bucket).on_minio()
    }

    fn on_minio(self) -> Self {
        self.with("/spec/endpoint", Store::ENDPOINT).with("/spec/credentials", json!({"secretRef": {"name": CREDENTIALS}}))
    }

    /// The Secret that [`Resource::database`] names.
    pub(crate) fn credentials() -> Self {
        Self(json!({
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": CREDENTIALS},
            "stringData": {"AWS_ACCESS_KEY_ID": Store::ACCESS_KEY_ID, "AWS_SECRET_ACCESS_KEY": Store::SECRET_ACCESS_KEY},
        }))
    }

    /// A namespace that enforces the `PodSecurity` standard `restricted`.
    pub(super) fn namespace(name: &str) -> Self {
        Self(json!({
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {"name": name, "labels": {"pod-security.kubernetes.io/enforce": "restricted"}},
        }))
    }

    /// The client's account: that of the namespace may not be there yet.
    pub(super) fn client_account() -> Self {
        Self(json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "client"}}))
    }

    /// Whose certificates curl believes in the client's Pod; see [`super::Scenario::trust`].
    pub(super) const AUTHORITIES: &'static str = "/tmp/authorities.crt";

    /// A Pod with a shell and curl.
    pub(super) fn client() -> Self {
        Self(json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "client"},
            "spec": {
                "serviceAccountName": "client",
                "automountServiceAccountToken": false,
                "terminationGracePeriodSeconds": 0,
                "securityContext": {"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}},
                "containers": [{
                    "name": "client",
                    "image": "buckethead.test/shell:test",
                    "args": ["-c", "exec sleep 1000000"],
                    "env": [{"name": "CURL_CA_BUNDLE", "value": Self::AUTHORITIES}],
                    "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}},
                }],
            },
        }))
    }

    /// A Pod that sees the processes of its node and ends those of another Pod by SIGKILL, which a Pod's own processes cannot do: the first
    /// process of a PID namespace is safe from the others. It has the operator's user, so it needs no rights beyond that.
    pub(super) fn killer(scenario: &str, pod: &str) -> Self {
        Self::killer_by(scenario, &Self::kill(pod))
    }

    /// The same for processes that come in their place, too, until it is deleted.
    pub(super) fn killer_without_end(scenario: &str, pod: &str) -> Self {
        Self::killer_by(scenario, &format!("while sleep 0.05; do {}; done", Self::kill(pod)))
    }

    /// What ends all processes of a Pod on the node.
    fn kill(pod: &str) -> String {
        format!("kill -KILL $(grep -sl HOSTNAME={pod} /proc/[0-9]*/environ | cut -d/ -f3)")
    }

    /// What the killer of a scenario is named.
    pub(super) fn killer_name(scenario: &str) -> String {
        format!("{scenario}-killer")
    }

    fn killer_by(scenario: &str, script: &str) -> Self {
        let mut killer = Self::client()
            .with("/metadata/name", Self::killer_name(scenario))
            .with("/spec/hostPID", true)
            .with("/spec/restartPolicy", "Never");
        killer.0["spec"]["containers"][0]["args"] = json!(["-c", script]);
        killer.without("/spec/serviceAccountName")
    }

    /// Several, applied at once.
    pub(super) fn list(resources: impl Iterator<Item = Self>) -> Self {
        let items: Vec<Value> = resources.map(|resource| resource.0).collect();
        Self(json!({"apiVersion": "v1", "kind": "List", "items": items}))
    }

    /// The same with one more field, named by a JSON pointer.
    pub(crate) fn with(mut self, pointer: &str, value: impl Into<Value>) -> Self {
        let (parent, field) = pointer.rsplit_once('/').unwrap();
        self.0.pointer_mut(parent).unwrap()[field] = value.into();
        self
    }

    fn without(mut self, pointer: &str) -> Self {
        let (parent, field) = pointer.rsplit_once('/').unwrap();
        self.0.pointer_mut(parent).unwrap().as_object_mut().unwrap().remove(field).unwrap();
        self
    }

    pub(super) fn name(&self) -> &str {
        self.0["metadata"]["name"].as_str().unwrap()
    }

    /// JSON is YAML.
    pub(super) fn yaml(&self) -> String {
        self.0.to_string()
    }
}
