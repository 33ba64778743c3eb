//! The store, and what lies in the bucket of a scenario, seen past `buckethead`.

use rusqlite::Connection;
use rusqlite::types::FromSql;
use serde_json::Value;
use tempfile::TempDir;

use super::scenario::Scenario;

/// The bucket of a scenario in MinIO. It has the scenario's name.
pub(crate) struct Store<'a> {
    scenario: &'a Scenario,
}

impl<'a> Store<'a> {
    /// Where `e2e/manifests/minio.yaml` puts it, as Pods of other namespaces see it.
    pub(crate) const ENDPOINT: &'static str = "http://minio.minio.svc:9000";
    pub(crate) const ACCESS_KEY_ID: &'static str = "e2e-access";
    pub(crate) const SECRET_ACCESS_KEY: &'static str = "e2e-secret-key";
    const NAMESPACE: &'static str = "minio";

    pub(super) fn of(scenario: &'a Scenario) -> Self {
        Self { scenario }
    }

    pub(super) async fn create_bucket(&self) {
        self.curl(&["--request", "PUT"], "").await.unwrap_or_else(|refusal| panic!("{refusal}"));
    }

    /// The first column of the first row that a statement finds in a snapshot; `None` if the store has no such object, or the snapshot no
    /// such table. Fails the scenario unless the object is a sound database.
    pub(crate) async fn find<T: FromSql>(&self, key: &str, sql: &str) -> Option<T> {
        let bytes = match self.curl(&[], key).await {
            Ok(bytes) => bytes,
            Err(said) if said.contains("<Code>NoSuchKey</Code>") => return None,
            Err(said) => panic!("GET {key}: {said}"),
        };
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("snapshot.db");
        std::fs::write(&path, bytes).unwrap();
        let snapshot = Connection::open(path).unwrap();
        assert_eq!(snapshot.query_row("pragma integrity_check", [], |row| row.get::<_, String>(0)).unwrap(), "ok");
        match snapshot.query_row(sql, [], |row| row.get(0)) {
            Ok(value) => Some(value),
            Err(error) if error.to_string().contains("no such table") => None,
            Err(error) => panic!("{sql}: {error}"),
        }
    }

    /// What the head record of `main` says of a database.
    pub(crate) async fn head(&self, key: &str) -> Value {
        let record = self.curl(&[], &format!("{key}.head/main.json")).await.unwrap_or_else(|refusal| panic!("{refusal}"));
        serde_json::from_slice(&record).unwrap()
    }

    /// Has the store know an account that may do everything with objects.
    pub(crate) async fn add_account(&self, name: &str, key: &str) {
        self.account(&["add", name, key]).await;
    }

    /// Has the store know it no more.
    pub(crate) async fn remove_account(&self, name: &str) {
        self.account(&["remove", name]).await;
    }

    async fn account(&self, arguments: &[&str]) {
        let command = ["exec", "deployment/client", "--", "account", "minio:9000"];
        self.scenario.kubectl_in(Self::NAMESPACE, &[&command, arguments].concat()).await;
    }

    /// Whether the store lets an account look into the bucket.
    pub(crate) async fn admits(&self, name: &str, key: &str) -> bool {
        match self.curl(&["--user", &format!("{name}:{key}")], "").await {
            Ok(_) => true,
            Err(said) if said.contains("<Code>InvalidAccessKeyId</Code>") => false,
            Err(said) => panic!("{name}: {said}"),
        }
    }

    /// Whether an object is there. It must not be a large one.
    pub(crate) async fn has(&self, key: &str) -> bool {
        match self.curl(&[], key).await {
            Ok(_) => true,
            Err(said) if said.contains("<Code>NoSuchKey</Code>") => false,
            Err(said) => panic!("GET {key}: {said}"),
        }
    }

    /// Ends the store, and waits until it is gone. What it stored stays.
    pub(crate) async fn stop(&self) {
        self.scenario.kubectl_in(Self::NAMESPACE, &["scale", "deployment/minio", "--replicas=0"]).await;
        self.scenario.kubectl_in(Self::NAMESPACE, &["wait", "pod", "--selector=app=minio", "--for=delete", "--timeout=60s"]).await;
    }

    pub(crate) async fn start(&self) {
        self.scenario.kubectl_in(Self::NAMESPACE, &["scale", "deployment/minio", "--replicas=1"]).await;
        self.scenario.kubectl_in(Self::NAMESPACE, &["rollout", "status", "deployment/minio", "--timeout=60s"]).await;
    }

    /// Asks MinIO from the Pod beside it, which knows the keys. `Err` holds the body of a refusal.
    async fn curl(&self, arguments: &[&str], key: &str) -> Result<Vec<u8>, String> {
        let url = format!("http://minio:9000/{}/{key}", self.scenario.name);
        let command = ["exec", "deployment/client", "--", "curl", "--config", "/etc/s3/curlrc", &url];
        self.scenario.try_kubectl(Self::NAMESPACE, &[&command, arguments].concat(), "").await
    }
}
