#![allow(clippy::needless_pass_by_value, reason = "tests read better when their helpers take what they are given")]

use serde_json::json;

use super::*;
use crate::fixtures;

fn named(name: &str, created: &str, spec: serde_json::Value) -> BucketDatabase {
    fixtures::resource(json!({"metadata": {"name": name, "creationTimestamp": created}, "spec": spec}))
}

const MORNING: &str = "2026-11-23T07:00:00Z";
const NOON: &str = "2026-11-23T12:00:00Z";

#[test]
fn the_older_of_two_on_one_place_holds_it() {
    let (older, newer) = (named("z", MORNING, json!({})), named("a", NOON, json!({})));
    let both = [older.clone(), newer.clone()];
    assert_eq!(rival(&newer, &both), Some(name_of(&older)));
    assert_eq!(rival(&older, &both), None);
}

#[test]
fn of_two_of_the_same_second_the_first_name_holds_it() {
    let both = [named("a", NOON, json!({})), named("b", NOON, json!({}))];
    assert_eq!(rival(&both[1], &both), Some(name_of(&both[0])));
    assert_eq!(rival(&both[0], &both), None);
}

#[test]
fn another_bucket_key_endpoint_or_branch_is_another_place() {
    let mine = named("mine", NOON, json!({}));
    for spec in
        [json!({"bucket": "other"}), json!({"key": "other.db"}), json!({"endpoint": "https://minio:9000"}), json!({"branch": "next"})]
    {
        assert_eq!(rival(&mine, &[named("other", MORNING, spec.clone())]), None, "{spec}");
    }
}

#[test]
fn an_endpoint_with_a_slash_at_its_end_is_the_same_endpoint() {
    let (one, other) = (json!({"endpoint": "https://MinIO:9000"}), json!({"endpoint": "https://minio:9000/"}));
    assert!(rival(&named("mine", NOON, one), &[named("other", MORNING, other)]).is_some());
}
