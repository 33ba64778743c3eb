use std::time::Duration;

use serde_json::{Value, json};

use super::*;

fn resource(spec: &Value) -> BucketDatabase {
    let metadata = json!({"name": "orders", "namespace": "apps", "annotations": {"buckethead.dev/accept-snapshot": "\"abc\"", "buckethead.dev/accept-state": "3.1204 "}});
    serde_json::from_value(json!({"apiVersion": "buckethead.dev/v1alpha1", "kind": "BucketDatabase", "metadata": metadata, "spec": spec}))
        .unwrap()
}

/// A spec that names a Secret, with `more` fields.
fn spec(more: &Value) -> Value {
    let mut spec = json!({"bucket": "orders-data", "endpoint": "https://minio:9000", "credentials": {"secretRef": {"name": "keys"}}});
    spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    spec
}

fn data(entries: &[(&str, &str)]) -> SecretData {
    let entries = entries.iter().map(|(key, value)| ((*key).to_owned(), value.as_bytes().to_vec()));
    SecretData::from(entries.collect::<BTreeMap<_, _>>())
}

fn aws() -> SecretData {
    data(&[("AWS_ACCESS_KEY_ID", "id"), ("AWS_SECRET_ACCESS_KEY", "secret")])
}

fn secrets(credentials: Option<SecretData>) -> Secrets {
    Secrets { credentials, ca: None, token: Some(data(&[("token", "t0ken\n")])), previous: Tokens::default() }
}

fn store_of(spec: &Value, secrets: &Secrets) -> Result<StoreConfig, ResolveError> {
    resolve(&resource(spec), secrets, &Defaults::default()).map(|config| config.store)
}

fn embedded() -> Defaults {
    let credentials = Credentials { access_key_id: "dev".to_owned(), secret_access_key: "dev".to_owned(), session_token: None };
    let endpoint = Some(Url::parse("http://127.0.0.1:9100").unwrap());
    let store = StoreConfig { endpoint, region: "auto".to_owned(), credentials: credentials.into(), ca_bundle: None, kms_key_id: None };
    Defaults { store: Some(store), open_access: true, cluster: None, ..Defaults::default() }
}

#[test]
fn every_field_reaches_the_engine() {
    let spec = spec(&json!({
        "key": "apps/orders.db", "region": "eu-central-1", "interval": "30s", "minInterval": "2s", "keepPrevious": false,
        "endpointTls": {"caRef": {"name": "ca"}}, "encryption": {"kmsKeyId": "kms"},
        "files": {"prefix": "blobs/", "gc": {"graceSeconds": 7}},
        "limits": {"maxSize": "1Mi", "statementTimeout": "3s", "maxRows": 7, "maxResultSize": "2Ki"},
        "promotion": {"id": "release-7", "from": {"branch": "release-7"}}, "snapshotInterval": "2h",
        "durability": {"mode": "snapshot", "streamInterval": "2s", "retention": "48h", "maxLag": "61s", "onMaxLag": "Continue", "verifyInterval": "2h", "unsafeSingleWriter": true},
    }));
    let pem = "-----BEGIN CERTIFICATE-----\nMII\n-----END CERTIFICATE-----\n";
    let secrets = Secrets { ca: Some(data(&[("ca.crt", pem)])), ..secrets(Some(aws())) };
    let expected = DatabaseConfig {
        name: DatabaseName::new("apps", "orders"),
        location: Location {
            bucket: BucketName::parse("orders-data").unwrap(),
            key: DatabaseKey::parse("apps/orders.db").unwrap(),
            branch: BranchName::main(),
        },
        store: StoreConfig {
            endpoint: Some(Url::parse("https://minio:9000").unwrap()),
            region: "eu-central-1".to_owned(),
            credentials: Credentials { access_key_id: "id".to_owned(), secret_access_key: "secret".to_owned(), session_token: None }.into(),
            ca_bundle: Some(pem.as_bytes().to_vec()),
            kms_key_id: Some("kms".to_owned()),
        },
        snapshots: SnapshotPolicy { interval: Duration::from_secs(30), min_interval: Duration::from_secs(2), keep_previous: false },
        durability: Durability {
            mode: Mode::Snapshot,
            stream_interval: Duration::from_secs(2),
            snapshot_interval: Duration::from_hours(2),
            retention: Some(Duration::from_hours(48)),
            max_lag: Duration::from_secs(61),
            on_max_lag: OnMaxLag::Continue,
            verify_interval: Duration::from_hours(2),
        },
        files: FilesPolicy { prefix: FilesPrefix::parse("blobs/").unwrap(), grace: Duration::from_secs(7) },
        limits: Limits {
            max_size: 1 << 20,
            query: QueryLimits { max_rows: 7, max_result_size: 2048, statement_timeout: Duration::from_secs(3), ..QueryLimits::default() },
        },
        single_writer: true,
        access: Access::Tokens(vec![Grant::of("t0ken", Permission::Write)]),
        branches_by_api: false,
        own_service: false,
        cluster: String::new(),
        take_over: None,
        promotion: Some(AskedPromotion { to: BranchName::main(), id: "release-7".to_owned() }),
        accept_snapshot: Some(Etag::new("abc")),
        accept_state: Some(ProvedState { epoch: Epoch(3), txid: 1204 }),
    };
    assert_eq!(resolve(&resource(&spec), &secrets, &Defaults::default()), Ok(expected));
}

#[test]
fn both_families_of_names_are_read() {
    let r2 = Some(data(&[("R2_ACCESS_KEY_ID", "id\n"), ("R2_SECRET_ACCESS_KEY", "secret\r\n")]));
    let session = Some(data(&[("AWS_ACCESS_KEY_ID", "id"), ("AWS_SECRET_ACCESS_KEY", "secret"), ("AWS_SESSION_TOKEN", "session")]));
    for (found, session_token) in [(r2, None), (session, Some("session".to_owned()))] {
        let expected = Credentials { access_key_id: "id".to_owned(), secret_access_key: "secret".to_owned(), session_token };
        assert_eq!(store_of(&spec(&json!({})), &secrets(found)).unwrap().credentials, expected.into());
    }
}

#[test]
fn what_is_missing_is_named_with_its_secret_and_key() {
    for (found, key, gap) in [
        (None, "AWS_ACCESS_KEY_ID", Gap::NoSecret),
        (Some(data(&[])), "AWS_ACCESS_KEY_ID", Gap::NoKey),
        (Some(data(&[("AWS_ACCESS_KEY_ID", "id")])), "AWS_SECRET_ACCESS_KEY", Gap::NoKey),
        (Some(data(&[("AWS_ACCESS_KEY_ID", "id"), ("AWS_SECRET_ACCESS_KEY", "\n")])), "AWS_SECRET_ACCESS_KEY", Gap::Empty),
        (Some(data(&[("R2_SECRET_ACCESS_KEY", "secret")])), "R2_ACCESS_KEY_ID", Gap::NoKey),
        (Some(data(&[("R2_ACCESS_KEY_ID", "two words"), ("R2_SECRET_ACCESS_KEY", "secret")])), "R2_ACCESS_KEY_ID", Gap::Malformed),
        (Some(data(&[("AWS_ACCESS_KEY_ID", "id"), ("R2_SECRET_ACCESS_KEY", "secret")])), "AWS_SECRET_ACCESS_KEY", Gap::NoKey),
    ] {
        let error = store_of(&spec(&json!({})), &secrets(found)).unwrap_err();
        assert_eq!(error, ResolveError::CredentialsMissing { secret: "keys".to_owned(), key: key.to_owned(), gap });
        let message = error.to_string();
        for word in ["`keys`", key, "AWS_SECRET_ACCESS_KEY", "R2_SECRET_ACCESS_KEY"] {
            assert!(message.contains(word), "{message}");
        }
    }
}

#[test]
fn no_value_of_a_secret_is_shown() {
    let found = secrets(Some(data(&[("AWS_ACCESS_KEY_ID", "hush hush"), ("AWS_SECRET_ACCESS_KEY", "hush")])));
    let error = store_of(&spec(&json!({})), &found).unwrap_err();
    assert!(!format!("{found:?} {error:?} {error}").contains("hush"));
}

#[test]
fn without_credentials_only_the_embedded_store_is_used() {
    let bare = json!({"bucket": "orders-data"});
    let at_endpoint = json!({"bucket": "orders-data", "endpoint": "https://minio"});
    let at_r2 = json!({"bucket": "orders-data", "r2": {"accountId": "0123456789abcdef0123456789abcdef"}});
    let open = |spec: &Value, defaults: &Defaults| resolve(&resource(spec), &Secrets::default(), defaults);
    assert_eq!(open(&bare, &embedded()).unwrap().store, embedded().store.unwrap());
    assert_eq!(open(&at_endpoint, &embedded()), Err(ResolveError::AmbientCredentialsNotAllowed(NotLent::Namespace)));
    assert_eq!(open(&at_r2, &embedded()), Err(ResolveError::AmbientCredentialsNotAllowed(NotLent::Namespace)));
    assert_eq!(open(&bare, &Defaults::default()), Err(ResolveError::AmbientCredentialsNotAllowed(NotLent::Namespace)));
}

#[test]
fn credentials_without_an_endpoint_are_for_aws_even_in_dev() {
    let spec = json!({"bucket": "orders-data", "region": "us-east-1", "credentials": {"secretRef": {"name": "keys"}}});
    let store = resolve(&resource(&spec), &secrets(Some(aws())), &embedded()).unwrap().store;
    assert_eq!((store.endpoint, store.region.as_str()), (None, "us-east-1"));
}

#[test]
fn r2_makes_the_endpoint_from_account_and_jurisdiction() {
    let account = "0123456789abcdef0123456789abcdef";
    for (r2, host) in [
        (json!({"accountId": account}), format!("{account}.r2.cloudflarestorage.com")),
        (json!({"accountId": account, "jurisdiction": "eu"}), format!("{account}.eu.r2.cloudflarestorage.com")),
    ] {
        let spec = json!({"bucket": "orders-data", "r2": r2, "credentials": {"secretRef": {"name": "keys"}}});
        let endpoint = store_of(&spec, &secrets(Some(aws()))).unwrap().endpoint.unwrap();
        assert_eq!((endpoint.scheme(), endpoint.host_str()), ("https", Some(host.as_str())));
    }
}

#[test]
fn what_an_older_schema_let_in_is_refused_with_its_field() {
    for (field, more) in [
        ("bucket", json!({"bucket": "Orders"})),
        ("key", json!({"key": "a.prev"})),
        ("branch", json!({"branch": "a b"})),
        ("endpoint", json!({"endpoint": "https://minio:99999"})),
        ("endpoint", json!({"endpoint": "https://user@minio"})),
        ("endpoint", json!({"endpoint": "https://minio/path"})),
        ("endpoint", json!({"endpoint": "ftp://minio"})),
        ("r2", json!({"r2": {"accountId": "0123456789abcdef0123456789abcdef"}})),
    ] {
        let error = store_of(&spec(&more), &secrets(Some(aws()))).unwrap_err();
        assert!(matches!(&error, ResolveError::Spec { field: found, .. } if *found == field), "{error}");
    }
}

#[test]
fn certificates_that_are_named_must_be_there() {
    let with_tls = || spec(&json!({"endpointTls": {"caRef": {"name": "ca", "key": "root.pem"}}}));
    for (ca, gap) in [
        (None, Gap::NoSecret),
        (Some(data(&[("ca.crt", "-----BEGIN CERTIFICATE-----")])), Gap::NoKey),
        (Some(data(&[("root.pem", " \n")])), Gap::Empty),
        (Some(data(&[("root.pem", "-----BEGIN PRIVATE KEY-----")])), Gap::Malformed),
    ] {
        let error = store_of(&with_tls(), &Secrets { ca, ..secrets(Some(aws())) }).unwrap_err();
        assert_eq!(error, ResolveError::CaMissing { secret: "ca".to_owned(), key: "root.pem".to_owned(), gap });
    }
}

#[test]
fn a_database_is_open_only_if_it_says_so_or_only_the_machine_can_ask() {
    let access = |auth: &str, secrets: &Secrets, defaults: &Defaults| {
        resolve(&resource(&spec(&json!({"api": {"auth": auth, "tokenSecretRef": {"name": "mine"}}}))), secrets, defaults)
            .map(|config| config.access)
    };
    let operator = Defaults::default();
    assert_eq!(access("None", &secrets(Some(aws())), &operator), Ok(Access::Open));
    assert_eq!(access("Token", &secrets(Some(aws())), &operator), Ok(Access::Tokens(vec![Grant::of("t0ken", Permission::Write)])));
    assert_eq!(access("Token", &secrets(Some(aws())), &embedded()), Ok(Access::Open));
    for defaults in [operator.clone(), embedded()] {
        assert_eq!(access("Kubernetes", &Secrets { token: None, ..secrets(Some(aws())) }, &defaults), Ok(Access::Kubernetes));
    }
    for (token, gap) in [
        (None, Gap::NoSecret),
        (Some(data(&[])), Gap::NoKey),
        (Some(data(&[("token", "")])), Gap::Empty),
        (Some(data(&[("token", "a b")])), Gap::Malformed),
    ] {
        let error = access("Token", &Secrets { token, ..secrets(Some(aws())) }, &operator).unwrap_err();
        assert_eq!(error, ResolveError::TokenMissing { secret: "mine".to_owned(), key: "token", gap });
    }
}

#[test]
fn a_token_that_only_reads_stands_beside_the_other_and_need_not_be_there() {
    let access = |token: &[(&str, &str)], previous: Tokens| {
        let spec = spec(&json!({"api": {"tokenSecretRef": {"name": "mine"}}}));
        let secrets = Secrets { token: Some(data(token)), previous, ..secrets(Some(aws())) };
        resolve(&resource(&spec), &secrets, &Defaults::default()).map(|config| config.access)
    };
    let previous = Tokens { token: Some(Token::new("w0")), read_only: Some(Token::new("r0")) };
    let all = [("w1", Permission::Write), ("w0", Permission::Write), ("r1", Permission::Read), ("r0", Permission::Read)];
    let grants = all.map(|(token, permission)| Grant::of(token, permission)).into();
    assert_eq!(access(&[("token", "w1"), ("read-only-token", "r1\n")], previous), Ok(Access::Tokens(grants)));
    for (text, gap) in [("", Gap::Empty), ("a b", Gap::Malformed)] {
        let error = access(&[("token", "w1"), ("read-only-token", text)], Tokens::default()).unwrap_err();
        assert_eq!(error, ResolveError::TokenMissing { secret: "mine".to_owned(), key: "read-only-token", gap });
    }
    let error = access(&[("token", "w1"), ("read-only-token", "w1")], Tokens::default()).unwrap_err().to_string();
    assert!(error.starts_with("spec.api.tokenSecretRef: the keys `token` and `read-only-token`"), "{error}");
}
