//! Each rule lets through what it should, and refuses the rest with our sentence. The same rules run in the API server.

use kube::core::cel::{Validator, apply_defaults};
use serde_json::{Value, json};

use super::super::BucketDatabase;

/// A resource with `patch` merged into its smallest spec.
fn resource(patch: &Value) -> BucketDatabase {
    let mut resource = json!({
        "apiVersion": "buckethead.dev/v1alpha1", "kind": "BucketDatabase", "metadata": {"name": "orders", "namespace": "apps"},
        "spec": {"bucket": "orders-data"},
    });
    merge(&mut resource["spec"], patch);
    serde_json::from_value(resource).unwrap()
}

fn merge(target: &mut Value, patch: &Value) {
    match (target, patch) {
        (Value::Object(target), Value::Object(patch)) => {
            for (name, value) in patch {
                merge(target.entry(name).or_insert(Value::Null), value);
            }
        }
        (target, patch) => *target = patch.clone(),
    }
}

fn accepts(patch: &Value) {
    resource(patch).validate_cel().unwrap_or_else(|errors| panic!("{patch} is refused: {errors}"));
}

fn refuses(patch: &Value, message: &str) {
    let errors = resource(patch).validate_cel().expect_err(&patch.to_string()).to_string();
    assert!(errors.contains(message), "{patch} is refused by another rule: {errors}");
}

fn accepts_change(from: &Value, to: &Value) {
    resource(to).validate_cel_update(&resource(from)).unwrap_or_else(|errors| panic!("{from} -> {to} is refused: {errors}"));
}

fn refuses_change(from: &Value, to: &Value, message: &str) {
    let errors = resource(to).validate_cel_update(&resource(from)).expect_err(&to.to_string()).to_string();
    assert!(errors.contains(message), "{from} -> {to} is refused by another rule: {errors}");
}

/// What a rule refuses. The tests on a real API server read the same file.
#[derive(serde::Deserialize)]
struct Refused {
    /// Where the rule stands.
    field: String,
    /// What was there before, if it is a rule about changes.
    before: Option<Value>,
    spec: Value,
    /// A part of the rule's sentence.
    message: String,
}

fn refused() -> Vec<Refused> {
    serde_json::from_str(include_str!("refused.json")).unwrap()
}

/// An endpoint makes most specs whole, so it is there unless it is null.
fn with_endpoint(spec: &Value) -> Value {
    let mut whole = json!({"endpoint": "https://minio"});
    merge(&mut whole, spec);
    whole
}

#[test]
fn each_rule_refuses_its_example_with_its_own_sentence() {
    for Refused { before, spec, message, .. } in refused() {
        match before {
            Some(before) => refuses_change(&with_endpoint(&before), &with_endpoint(&spec), &message),
            None => refuses(&with_endpoint(&spec), &message),
        }
    }
}

/// The sentences of all rules under a schema, each with its field.
fn sentences(field: &str, schema: &Value, found: &mut Vec<(String, String)>) {
    let rules = schema["x-kubernetes-validations"].as_array();
    found.extend(rules.into_iter().flatten().map(|rule| (field.to_owned(), rule["message"].as_str().unwrap().to_owned())));
    for (name, schema) in schema["properties"].as_object().into_iter().flatten() {
        sentences(&format!("{field}.{name}"), schema, found);
    }
    if let Some(items) = schema.get("items") {
        sentences(field, items, found);
    }
}

#[test]
fn every_rule_has_an_example_of_what_it_refuses() {
    let schema = serde_json::to_value(super::super::crd().spec.versions.swap_remove(0).schema.unwrap()).unwrap();
    let mut rules = Vec::new();
    sentences("spec", &schema["openAPIV3Schema"]["properties"]["spec"], &mut rules);
    assert!(rules.len() > 40, "{rules:?}");
    let examples = refused();
    rules.retain(|(field, sentence)| !examples.iter().any(|example| example.field == *field && sentence.contains(&example.message)));
    assert_eq!(rules, [], "rules without an example in refused.json");
}

#[test]
fn the_smallest_and_a_full_spec_are_accepted() {
    accepts(&json!({}));
    accepts(&json!({
        "key": "apps/orders.db", "endpoint": "https://minio.storage:9000", "endpointTls": {"caRef": {"name": "minio-ca"}},
        "region": "us-east-1", "encryption": {"kmsKeyId": "arn:aws:kms:eu-central-1:1:key/2"}, "credentials": {"secretRef": {"name": "orders-bucket"}},
        "branches": [{"name": "release-7", "at": "2026-11-23T08:00:00Z"}, {"name": "next", "from": "release-7", "txid": 12}],
        "promotion": {"id": "release-7", "from": {"branch": "release-7", "txid": 1240}, "expectedTxid": 990, "keepPreviousAs": "before-7"},
        "files": {"gc": {"schedule": "0 3 * * *"}}, "api": {"tokenSecretRef": {"name": "token"}},
    }));
}

#[test]
fn a_name_that_no_service_could_bear_is_refused() {
    for (name, is_accepted) in [("orders", true), ("o-7", true), ("7-orders", false), ("a.b", false), (&*"a".repeat(64), false)] {
        let mut resource = resource(&json!({}));
        resource.metadata.name = Some(name.to_owned());
        assert_eq!(resource.validate_cel().is_ok(), is_accepted, "{name}");
    }
}

#[test]
fn names_are_judged_as_the_engine_judges_them() {
    let keys = [
        "a",
        "apps/orders.db",
        "prev",
        "a.branches",
        "a.ltx",
        "ä/ö",
        "a b",
        "a.prev",
        "a.branch.b",
        "a.ltx/b",
        "a.head/b",
        "/a",
        "a/",
        "a//b",
        "a/../b",
        "./a",
        "..",
        "a/.",
        "a\nb",
        "a\u{7f}",
        "a\u{85}b",
        ".a/..b",
        &"a".repeat(512),
        &"ä".repeat(256),
        &"ä".repeat(257),
    ];
    for key in keys {
        let verdict = resource(&json!({"key": key})).validate_cel();
        assert_eq!(verdict.is_ok(), engine::DatabaseKey::parse(key).is_ok(), "key {key:?}: {verdict:?}");
    }
    for bucket in ["abc", "a.b-1", "-ab", "ab-", "Abc", "a_b", "a/b", ".ab"] {
        let verdict = resource(&json!({"bucket": bucket})).validate_cel();
        assert_eq!(verdict.is_ok(), engine::BucketName::parse(bucket).is_ok(), "bucket {bucket:?}: {verdict:?}");
    }
    for branch in ["main", "release_7-rc", "a b", "a.b", "ä", "a/b"] {
        let verdict = resource(&json!({"branch": branch})).validate_cel();
        assert_eq!(verdict.is_ok(), engine::BranchName::parse(branch).is_ok(), "branch {branch:?}: {verdict:?}");
    }
}

#[test]
fn a_refused_name_is_told_what_is_allowed() {
    refuses(&json!({"bucket": "Orders"}), "lower-case letters, digits, dots and hyphens");
    refuses(&json!({"key": "a//b"}), "no empty part");
    refuses(&json!({"key": "a.prev"}), "may not end in .prev");
    refuses(&json!({"branch": "a b"}), "a branch name");
    refuses(&json!({"region": "us east"}), "such as us-east-1 or auto");
}

#[test]
fn key_and_prefix_keep_out_of_each_others_way() {
    let message = "neither may begin with the other";
    accepts(&json!({"key": "files.db"}));
    accepts(&json!({"key": "filesystem", "files": {"prefix": "blobs/"}}));
    for key in ["files/orders.db", "f", "files", "files.owners/x.json", "files.owners", "files.gc.json"] {
        refuses(&json!({"key": key}), message);
    }
    refuses(&json!({"key": "orders.db", "files": {"prefix": "orders.db.files/"}}), message);
}

#[test]
fn a_prefix_ends_in_a_slash_and_is_no_part_of_a_database() {
    accepts(&json!({"files": {"prefix": "apps/orders/files/"}}));
    for prefix in ["files", "/files/", "a//b/", "a/../b/", "a\u{1}/"] {
        refuses(&json!({"files": {"prefix": prefix}}), "one at the end");
    }
    for prefix in ["a.ltx/", "a.head/b/", "a.branch.b/"] {
        refuses(&json!({"files": {"prefix": prefix}}), "belong to the objects of a key");
    }
}

#[test]
fn an_endpoint_is_scheme_host_and_port() {
    for endpoint in [
        "http://minio",
        "https://minio.storage:9000",
        "https://10.0.0.1/",
        "http://[fd00::1]:9000",
        "https://s3.eu-central-1.amazonaws.com",
    ] {
        accepts(&json!({"endpoint": endpoint}));
    }
    for endpoint in
        ["minio:9000", "ftp://minio", "http://", "http://a/b", "http://a?b", "http://u:p@a", "http://a#b", "http://a:port", "http://a b"]
    {
        refuses(&json!({"endpoint": endpoint}), "no user, path or query");
    }
}

#[test]
fn the_store_is_named_once() {
    let r2 = json!({"accountId": "0123456789abcdef0123456789abcdef"});
    accepts(&json!({"r2": r2}));
    refuses(&json!({"r2": r2, "endpoint": "https://minio"}), "set endpoint or r2, not both");
    refuses(&json!({"r2": {"accountId": "0123456789ABCDEF0123456789abcdef"}}), "32 hexadecimal digits");
    let credentials = json!({"secretRef": {"name": "orders"}});
    accepts(&json!({"credentials": credentials, "region": "us-east-1"}));
    accepts(&json!({"credentials": credentials, "r2": r2}));
    refuses(&json!({"credentials": credentials}), "AWS S3, which needs a real region");
}

#[test]
fn a_private_authority_needs_https() {
    let tls = json!({"caRef": {"name": "ca", "key": "tls.crt"}});
    accepts(&json!({"endpoint": "https://minio", "endpointTls": tls}));
    refuses(&json!({"endpoint": "http://minio", "endpointTls": tls}), "begins with https://");
    refuses(&json!({"endpointTls": tls}), "begins with https://");
    refuses(&json!({"endpoint": "https://minio", "endpointTls": {"caRef": {"name": "ca", "key": "a/b"}}}), "a key of a Secret");
    refuses(&json!({"endpoint": "https://minio", "endpointTls": {"caRef": {"name": "Ca"}}}), "the name of a Secret");
    refuses(&json!({"encryption": {"kmsKeyId": "a b"}}), "ARN or alias");
}

#[test]
fn times_and_sizes_have_bounds() {
    accepts(&json!({"interval": "1s", "minInterval": "0s"}));
    accepts(&json!({"interval": "1h30m", "limits": {"maxSize": "64Ki", "maxResultSize": "1G", "statementTimeout": "10ms"}}));
    accepts(&json!({"durability": {"verifyInterval": "0s", "retention": "0s", "streamInterval": "100ms"}}));
    for (patch, message) in [
        (json!({"interval": "999ms", "minInterval": "0s"}), "must be a length of time from 1s to 24h"),
        (json!({"interval": "25h"}), "must be a length of time from 1s to 24h"),
        (json!({"snapshotInterval": "0s"}), "must be a length of time from 1s to 168h"),
        (json!({"interval": "24h", "minInterval": "24h1s"}), "must be a length of time from 0s to 24h"),
        (json!({"durability": {"streamInterval": "99ms"}}), "must be a length of time from 100ms to 1h"),
        (json!({"durability": {"retention": "8761h"}}), "must be a length of time from 0s to 8760h"),
        (json!({"durability": {"maxLag": "0s"}}), "must be a length of time from 1s to 168h"),
        (json!({"durability": {"verifyInterval": "1m"}}), "or 0s for never"),
        (json!({"limits": {"statementTimeout": "0s"}}), "must be a length of time from 10ms to 1h"),
        (json!({"limits": {"maxSize": "65535"}}), "must be a number of bytes from 64Ki to 256Gi"),
        (json!({"limits": {"maxSize": "257Gi"}}), "must be a number of bytes from 64Ki to 256Gi"),
        (json!({"limits": {"maxResultSize": "2Gi"}}), "must be a number of bytes from 1Ki to 1Gi"),
    ] {
        refuses(&patch, message);
    }
}

#[test]
fn a_malformed_time_or_size_is_told_once_what_is_allowed() {
    let schema = serde_json::to_value(&super::super::crd().spec.versions[0].schema.as_ref().unwrap().open_api_v3_schema).unwrap();
    let judge = |spec: Value| {
        let resource = json!({"metadata": {"name": "orders"}, "spec": spec});
        let errors = Validator::new().validate(&schema, &apply_defaults(&schema, &resource), None).unwrap_err();
        errors.into_vec().into_iter().map(|error| error.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(
        judge(json!({"bucket": "orders-data", "interval": "soon"})),
        ["spec.interval: must be a length of time from 1s to 24h, such as 90s or 1h30m"]
    );
    assert_eq!(
        judge(json!({"bucket": "orders-data", "limits": {"maxSize": "much"}})),
        ["spec.limits.maxSize: must be a number of bytes from 64Ki to 256Gi, such as 500Mi or 2G"]
    );
}

#[test]
fn the_shortest_interval_is_not_longer_than_the_interval() {
    accepts(&json!({"interval": "5s"}));
    refuses(&json!({"interval": "4s"}), "minInterval (default 5s) may not be longer than interval");
    refuses(&json!({"minInterval": "61s"}), "minInterval (default 5s) may not be longer than interval");
}

#[test]
fn where_the_data_is_cannot_be_changed() {
    let r2 = json!({"accountId": "0123456789abcdef0123456789abcdef"});
    for (field, from, to) in [
        ("bucket", json!({}), json!({"bucket": "other"})),
        ("key", json!({}), json!({"key": "other"})),
        ("endpoint", json!({"endpoint": "http://a"}), json!({"endpoint": "http://b"})),
        ("endpoint", json!({}), json!({"endpoint": "http://b"})),
        ("endpoint", json!({"endpoint": "http://a"}), json!({})),
        ("r2", json!({}), json!({"r2": r2})),
        ("r2", json!({"r2": r2}), json!({})),
        ("r2", json!({"r2": r2}), json!({"r2": {"accountId": "00000000000000000000000000000000"}})),
        ("region", json!({}), json!({"region": "us-east-1"})),
        ("files.prefix", json!({}), json!({"files": {"prefix": "blobs/"}})),
    ] {
        refuses_change(&from, &to, &format!("{field} is immutable"));
        accepts_change(&to, &to);
    }
    let to = json!({"interval": "5m", "endpointTls": {"caRef": {"name": "new"}}, "credentials": {"secretRef": {"name": "new"}}, "endpoint": "https://a"});
    accepts_change(&json!({"endpoint": "https://a"}), &to);
}

#[test]
fn a_branch_is_named_once_and_is_not_main() {
    accepts(&json!({"branches": [{"name": "a"}, {"name": "b", "from": "a"}]}));
    refuses(&json!({"branches": [{"name": "main"}]}), "`main` always exists");
    refuses(&json!({"branches": [{"name": "a"}, {"name": "b"}, {"name": "a"}]}), "each name may stand there once");
    refuses(&json!({"branches": [{"name": "a b"}]}), "a branch name");
    refuses(&json!({"branches": [{"name": "a", "from": "b.c"}]}), "a branch name");
    refuses(&json!({"branches": [{"name": "a", "txid": 1, "at": "2026-11-23T08:00:00Z"}]}), "set at or txid, not both");
}

#[test]
fn where_a_branch_began_cannot_be_changed() {
    let branch = |patch: Value| {
        let mut branch = json!({"name": "a"});
        merge(&mut branch, &patch);
        json!({"branches": [{"name": "first"}, branch]})
    };
    let at = "2026-11-23T08:00:00Z";
    for (from, to) in [
        (json!({}), json!({"from": "first"})),
        (json!({}), json!({"at": at})),
        (json!({"at": at}), json!({})),
        (json!({"at": at}), json!({"at": "2026-11-23T09:00:00Z"})),
        (json!({}), json!({"txid": 1})),
        (json!({"txid": 1}), json!({"txid": 2})),
    ] {
        refuses_change(&branch(from), &branch(to), "from, at and txid of a branch are immutable");
    }
    accepts_change(&branch(json!({"at": at})), &branch(json!({"at": at, "deletionPolicy": "Delete"})));
    accepts_change(&branch(json!({"txid": 1})), &json!({"branches": [{"name": "other", "txid": 2}]}));
}

#[test]
fn a_promotion_is_told_apart_by_its_id() {
    let promotion = |patch: Value| {
        let mut promotion = json!({"id": "release-7", "from": {"branch": "release-7"}});
        merge(&mut promotion, &patch);
        json!({"promotion": promotion})
    };
    accepts(&promotion(json!({"id": "2026.11_a-7"})));
    for id in ["-a", "a.", "a b", "ä"] {
        refuses(&promotion(json!({"id": id})), "beginning and ending with a letter or digit");
    }
    let message = "choose another id";
    let before = promotion(json!({}));
    refuses_change(&before, &promotion(json!({"from": {"branch": "release-8"}})), message);
    refuses_change(&before, &promotion(json!({"expectedTxid": 3})), message);
    accepts_change(&before, &promotion(json!({"id": "release-8", "from": {"branch": "release-8"}})));
    accepts_change(&before, &before);
    accepts_change(&before, &json!({}));
    accepts_change(&json!({}), &before);
}

#[test]
fn a_promotion_changes_something_and_keeps_the_old_under_a_name_of_its_own() {
    let promotion = |from: Value, keep: Option<&str>| {
        let mut promotion = json!({"id": "1", "from": from});
        if let Some(keep) = keep {
            promotion["keepPreviousAs"] = json!(keep);
        }
        json!({"promotion": promotion})
    };
    accepts(&promotion(json!({"branch": "main", "txid": 990}), None));
    refuses(&promotion(json!({"branch": "main"}), None), "from and to are the same branch");
    accepts(&promotion(json!({"branch": "next"}), Some("before")));
    refuses(&promotion(json!({"branch": "next"}), Some("next")), "must differ from both branches");
    refuses(&promotion(json!({"branch": "next"}), Some("main")), "`main` always exists");
    refuses(&promotion(json!({"branch": "a b"}), None), "a branch name");
}

#[test]
fn a_schedule_has_five_fields() {
    for schedule in ["", "@daily", "0 3 * * *", "*/15 0-6,22 1 JAN MON-FRI"] {
        accepts(&json!({"files": {"gc": {"schedule": schedule}}}));
    }
    for schedule in ["daily", "@yearly!", "0 3 * *", "0 3 * * * *", "* * * * ?"] {
        refuses(&json!({"files": {"gc": {"schedule": schedule}}}), "a cron expression of five fields");
    }
}
