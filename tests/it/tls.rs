//! A store whose certificate a private authority signed.

use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::json;
use tempfile::TempDir;

use crate::support::{Dev, Pipe, serve, until};

/// MinIO with TLS, for as long as the pipe to `testbench/serve.sh` is open.
struct SecureStore {
    facts: Facts,
    _pipe: Pipe,
}

#[derive(Deserialize)]
struct Facts {
    dir: PathBuf,
    s3: S3,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct S3 {
    endpoint: String,
    access_key_id: String,
    secret_access_key: String,
}

impl SecureStore {
    fn start() -> Self {
        let (facts, pipe) = serve::<Facts>(&["minio-tls"]);
        fs::create_dir(facts.dir.join("minio/orders-data")).unwrap();
        Self { facts, _pipe: pipe }
    }

    /// The Secrets that a resource needs to ask this store, and to trust it.
    fn secrets(&self) -> String {
        let S3 { access_key_id, secret_access_key, .. } = &self.facts.s3;
        let authority = json!(fs::read_to_string(self.facts.dir.join("ca.crt")).unwrap());
        format!(
            "apiVersion: v1\nkind: Secret\nmetadata: {{name: keys}}\n\
             stringData: {{AWS_ACCESS_KEY_ID: {access_key_id}, AWS_SECRET_ACCESS_KEY: {secret_access_key}}}\n---\n\
             apiVersion: v1\nkind: Secret\nmetadata: {{name: authority}}\nstringData: {{ca.crt: {authority}}}\n"
        )
    }

    fn database(&self, name: &str, more: &str) -> String {
        let endpoint = &self.facts.s3.endpoint;
        format!(
            "apiVersion: buckethead.dev/v1alpha1\nkind: BucketDatabase\nmetadata: {{name: {name}}}\nspec:\n  bucket: orders-data\n  \
             key: {name}.db\n  endpoint: {endpoint}\n  credentials: {{secretRef: {{name: keys}}}}\n{more}"
        )
    }
}

fn declare(folder: &Path, file: &str, text: &str) {
    fs::write(folder.join(file), text).unwrap();
}

#[tokio::test]
async fn the_certificate_of_a_private_authority_is_trusted_where_the_resource_names_it_and_nowhere_else() {
    let store = SecureStore::start();
    let home = TempDir::new().unwrap();
    let manifests = home.path().join("manifests");
    fs::create_dir(&manifests).unwrap();
    declare(&manifests, "secrets.yaml", &store.secrets());
    let trusting = store.database("trusting", "  endpointTls: {caRef: {name: authority, key: ca.crt}}\n");
    declare(&manifests, "trusting.yaml", &trusting);

    let dev = Dev::start(&manifests, &home.path().join("data"), "standard").await;
    let database = dev.database("trusting");
    database.sql("create table written (x); insert into written values (1)").await;
    database.flush().await;
    assert!(store.facts.dir.join("minio/orders-data/trusting.db").exists(), "it lies in that store");

    declare(&manifests, "untrusting.yaml", &store.database("untrusting", ""));
    until("the certificate to be refused", async || dev.program.output().contains("UnknownIssuer").then_some(())).await;
    assert!(dev.program.output().contains("default/untrusting: EndpointUnreachable"), "{}", dev.program.output());
    assert_eq!(database.sql("select x from written").await, json!([[1]]), "its neighbour does not notice");
}
