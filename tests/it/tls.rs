//! TLS on both sides: a store whose certificate a private authority signed, and clients who want one of us.

use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::json;
use tempfile::TempDir;
use tokio::process::Command;

use crate::support::{DATABASE, Dev, Folders, Namespace, Operator, Pipe, Resource, ServedBy, Signal, make_certificate, serve, until};

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

/// A certificate for this machine that is its own authority, with its key, and the flags that name them.
struct Certificate {
    folder: TempDir,
}

impl Certificate {
    fn new() -> Self {
        let certificate = Self { folder: TempDir::new().unwrap() };
        certificate.renew();
        certificate
    }

    fn renew(&self) {
        make_certificate(self.folder.path(), &["subjectAltName=IP:127.0.0.1"]);
    }

    fn file(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    fn flags(&self) -> [String; 4] {
        ["--tls-cert".to_owned(), self.file("tls.crt"), "--tls-key".to_owned(), self.file("tls.key")]
    }

    /// What `curl` prints who trusts this certificate alone; `None` if it is shown another.
    async fn curl(&self, arguments: &[&str]) -> Option<String> {
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--show-error", "--noproxy", "*", "--cacert", &self.file("tls.crt")]).args(arguments);
        let done = curl.output().await.unwrap();
        done.status.success().then(|| String::from_utf8(done.stdout).unwrap())
    }
}

#[tokio::test]
async fn dev_speaks_tls_and_shows_a_renewed_certificate_without_a_restart() {
    let certificate = Certificate::new();
    let folders = Folders::with(&Resource::local(DATABASE, "orders"));
    let flags = certificate.flags();
    let program = Dev::spawn_with(&folders.manifests, &folders.data, "standard", &flags.each_ref().map(String::as_str));
    let dev = Dev::once_ready(program).await;
    assert!(dev.api.starts_with("https://"), "{}", dev.api);
    let (url, version) = (format!("{}/default/{DATABASE}/sql", dev.api), ["--write-out", " %{http_version}"]);
    let ask = async |more: &[&str]| certificate.curl(&[&["--data", "select 1", &url], &version[..], more].concat()).await;
    let answer = ask(&[]).await.unwrap();
    assert!(answer.contains(r#""rows":[[1]]"#) && answer.ends_with(" 2"), "{answer}");
    assert!(ask(&["--http1.1"]).await.unwrap().ends_with(" 1.1"));
    let plain = certificate.curl(&[&url.replace("https", "http")]).await.unwrap();
    assert!(plain.contains("https://"), "{plain}");

    certificate.renew();
    assert_eq!(ask(&[]).await, None, "the one before is still shown");
    until("the renewed certificate", async || ask(&[]).await).await;
    assert!(dev.program.end(Signal::Term).await.success());
}

#[tokio::test]
async fn a_pair_that_does_not_fit_together_ends_the_start_with_the_flags_and_the_file() {
    let (certificate, other) = (Certificate::new(), Certificate::new());
    let folders = Folders::empty();
    let (cert, key) = (certificate.file("tls.crt"), other.file("tls.key"));
    let start = |flags: &[&str]| Dev::spawn_with(&folders.manifests, &folders.data, "standard", flags);
    let (status, said) = start(&["--tls-cert", &cert, "--tls-key", &key]).exit().await;
    assert!(!status.success());
    assert!(said.contains(&format!("--tls-cert {cert}")) && said.contains(&format!("--tls-key {key}")), "{said}");
    assert!(said.contains(&format!("the key in {key} is not that of the certificate in {cert}")), "{said}");
    let (status, said) = start(&["--tls-cert", &cert]).exit().await;
    assert!(!status.success() && said.contains("--tls-key"), "{said}");
}

#[tokio::test]
async fn what_an_operator_tells_follows_its_tls() {
    let certificate = Certificate::new();
    let (namespace, place) = Namespace::with_place("secure", ServedBy::Minio).await;
    let resource = Resource::database(DATABASE, &place, "apps/orders.db").with("/spec/api", json!({"service": true}));
    let port = async || namespace.get("service", DATABASE).await["spec"]["ports"].take();
    let told = async |key: &str| namespace.secret_value("orders-buckethead", key).await;
    let name = format!("{DATABASE}.{}.svc", namespace.name());

    let plain = Operator::start(&namespace).await;
    namespace.apply(&resource).await;
    namespace.wait_ready(DATABASE).await;
    until("the plain URL", async || (told("url").await == format!("http://{name}/")).then_some(())).await;
    plain.end().await;

    let flags = certificate.flags();
    let program = Operator::spawn_with(&namespace, &flags.each_ref().map(String::as_str));
    let secure = Operator::once_ready(program).await;
    until("the secure URL", async || (told("url").await == format!("https://{name}/")).then_some(())).await;
    assert_eq!(told("libsql-url").await, format!("libsql://{name}:443/"));
    until("the Service's new port", async || (port().await[0]["port"] == 443).then_some(())).await;
    assert_eq!(port().await.as_array().unwrap().len(), 1, "the one before is gone");
    let token = format!("authorization: Bearer {}", told("token").await);
    let by_name = ["--data", "select 1", "--header", &token, "--header", &format!("host: {name}"), &format!("{}/sql", secure.api)];
    until("an answer", async || certificate.curl(&by_name).await.filter(|answer| answer.contains(r#""rows":[[1]]"#))).await;
    secure.end().await;
}
