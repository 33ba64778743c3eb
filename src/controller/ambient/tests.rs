#![allow(clippy::needless_pass_by_value, reason = "tests read better when their helpers take what they are given")]

use std::collections::BTreeMap;

use engine::bucket::s3::Identity;
use serde_json::{Value, json};

use super::*;
use crate::fixtures;
use crate::resolve::{Defaults, ResolveError, Secrets, resolve};

fn lent() -> Value {
    json!([
        {"namespace": "apps", "buckets": [
            {"bucket": "orders-data", "prefix": "apps/"},
            {"bucket": "orders-data", "prefix": "shared/apps/"},
            {"bucket": "local-data", "prefix": "", "endpoint": "https://minio.storage:9000"},
        ]},
        {"namespace": "other", "buckets": [{"bucket": "other-data", "prefix": ""}]},
    ])
}

/// What a resource of `apps` that names no credentials gets.
fn asked(spec: Value) -> Result<Identity, ResolveError> {
    let mut whole = json!({"bucket": "orders-data", "key": "apps/orders.db", "region": "eu-west-1", "credentials": null, "files": {"prefix": "apps/files/"}});
    whole.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
    let secrets = Secrets { token: Some(BTreeMap::from([("token".to_owned(), b"t".to_vec())]).into()), ..Secrets::default() };
    let ambient = serde_json::from_value(lent()).unwrap();
    resolve(&fixtures::resource(json!({"spec": whole})), &secrets, &Defaults { ambient, ..Defaults::default() })
        .map(|config| config.store.credentials)
}

fn refused(spec: Value) -> NotLent {
    match asked(spec.clone()) {
        Err(ResolveError::AmbientCredentialsNotAllowed(why)) => why,
        other => panic!("{spec}: {other:?}"),
    }
}

#[test]
fn what_lies_under_a_prefix_of_its_namespace_gets_the_operators_identity() {
    assert_eq!(asked(json!({})), Ok(Identity::Ambient));
    assert_eq!(asked(json!({"key": "shared/apps/a.db", "files": {"prefix": "shared/apps/a"}})), Ok(Identity::Ambient));
    let local = json!({"bucket": "local-data", "key": "any.db", "files": {"prefix": "files/"}, "endpoint": "https://minio.storage:9000/"});
    assert_eq!(asked(local), Ok(Identity::Ambient));
}

#[test]
fn nobody_elses_namespace_and_bucket_are_lent() {
    assert!(matches!(refused(json!({"bucket": "other-data"})), NotLent::Bucket { .. }));
    let elsewhere = AmbientCredentials::default();
    let (location, files) = (fixtures::config().location, fixtures::config().files);
    let spec = fixtures::resource(json!({})).spec;
    let wanted = Wanted { namespace: "apps", spec: &spec, location: &location, files: &files, endpoint: None };
    assert_eq!(elsewhere.lend(&wanted), Err(NotLent::Namespace));
}

#[test]
fn a_prefix_ends_at_its_slash() {
    for key in ["apps-evil/orders.db", "apps.db", "app/orders.db", "orders.db", "x/apps/orders.db", "Apps/orders.db", "shared/appsx/a.db"] {
        assert!(matches!(refused(json!({"key": key})), NotLent::Key { .. }), "{key}");
    }
    // Owners and marks lie beside the prefix, at `apps.owners/` and `apps.gc.json`.
    for prefix in ["apps", "apps/", "files/", "apps-evil/files", "app/files"] {
        assert!(matches!(refused(json!({"files": {"prefix": prefix}})), NotLent::FilesPrefix { .. }), "{prefix}");
    }
    // Who may change one part does not write into the other.
    let mixed = json!({"key": "apps/orders.db", "files": {"prefix": "shared/apps/files/"}});
    assert!(matches!(refused(mixed), NotLent::FilesPrefix { .. }));
    for key in ["apps/../orders.db", "apps//orders.db"] {
        assert!(matches!(asked(json!({"key": key})), Err(ResolveError::Spec { field: "key", .. })), "{key}");
    }
}

#[test]
fn signed_requests_go_to_no_host_of_a_tenants_choosing() {
    for endpoint in
        ["https://evil.example", "http://minio.storage:9000", "https://minio.storage", "https://minio.storage.evil.example:9000"]
    {
        assert_eq!(refused(json!({"endpoint": endpoint})), NotLent::Endpoint { is_named: true }, "{endpoint}");
        let local = json!({"bucket": "local-data", "key": "any.db", "files": {"prefix": "files/"}, "endpoint": endpoint});
        assert_eq!(refused(local), NotLent::Endpoint { is_named: true }, "{endpoint}");
    }
    assert_eq!(
        refused(json!({"bucket": "local-data", "key": "any.db", "files": {"prefix": "files/"}})),
        NotLent::Endpoint { is_named: false }
    );
    let r2 = json!({"r2": {"accountId": "0123456789abcdef0123456789abcdef"}});
    assert_eq!(refused(r2), NotLent::Endpoint { is_named: true });
    assert!(matches!(asked(json!({"region": "auto"})), Err(ResolveError::Spec { field: "region", .. })));
}

#[test]
fn no_key_for_encryption_is_used_in_the_operators_name() {
    assert_eq!(refused(json!({"encryption": {"kmsKeyId": "somebodys"}})), NotLent::Encryption);
}

#[test]
fn a_resource_with_a_secret_is_not_concerned() {
    let missing = asked(json!({"bucket": "anywhere", "credentials": {"secretRef": {"name": "keys"}}}));
    assert!(matches!(missing, Err(ResolveError::CredentialsMissing { .. })));
}

#[test]
fn a_refusal_names_the_field_and_the_remedy() {
    for (spec, field, remedy) in [
        (json!({"bucket": "x-data"}), "spec.bucket", "name one of those"),
        (json!({"key": "orders.db"}), "spec.key", "begin with `apps/` or `shared/apps/`"),
        (json!({"files": {"prefix": "files/"}}), "spec.files.prefix", "begin with `apps/` and go on"),
        (json!({"endpoint": "https://evil.example"}), "spec.endpoint", "leave it out"),
        (json!({"encryption": {"kmsKeyId": "k"}}), "spec.encryption", "default key"),
    ] {
        let told = refused(spec).to_string();
        assert!(told.starts_with(field) && told.contains(remedy) && told.contains("spec.credentials.secretRef"), "{told}");
    }
}

#[test]
fn a_list_that_says_less_than_it_must_is_refused() {
    for wrong in [
        json!([{"namespace": "apps", "buckets": [{"bucket": "b", "prefix": "apps"}]}]),
        json!([{"namespace": "apps", "buckets": [{"bucket": "b", "prefix": "/"}]}]),
        json!([{"namespace": "apps", "buckets": [{"bucket": "b"}]}]),
        json!([{"namespace": "apps", "buckets": [{"bucket": "b", "prefix": "", "endpoint": "minio:9000"}]}]),
        json!([{"namespace": "apps", "bucket": "b"}]),
        json!({"apps": ["b"]}),
    ] {
        assert!(serde_json::from_value::<AmbientCredentials>(wrong.clone()).is_err(), "{wrong}");
    }
}
