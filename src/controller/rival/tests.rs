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

#[test]
fn a_suspended_resource_is_nobodys_rival() {
    let (older, newer) = (named("z", MORNING, json!({"suspend": true})), named("a", NOON, json!({})));
    assert_eq!(rival(&newer, &[older.clone(), newer.clone()]), None);
    let resumed = named("z", MORNING, json!({}));
    assert_eq!(
        rival(&newer, &[resumed.clone(), newer.clone()]),
        Some(name_of(&older)),
        "who serves stays, but does not open anew beside it"
    );
}

#[test]
fn of_two_that_have_no_process_any_more_the_one_that_held_the_branch_opens_it() {
    use engine::{BranchName, Epoch, Holder};
    let mine = named("mine", NOON, json!({}));
    let held_by = |resource: &str, cluster: &str| {
        let by = Box::new(Holder { cluster: cluster.to_owned(), resource: resource.to_owned(), pod: "p".to_owned() });
        fixtures::failed(
            Error::HeldByOther { database: name_of(&mine), branch: BranchName::main(), by, epoch: Epoch(3) },
            1,
            fixtures::second(0),
        )
    };
    assert!(gives_way(&held_by("apps/mine", fixtures::UID), &mine));
    assert!(!gives_way(&held_by("apps/mine", "an-earlier-life"), &mine));
    assert!(!gives_way(&held_by("apps/third", fixtures::UID), &mine));
    assert!(!gives_way(&State::Opening, &mine));
}

#[test]
fn neighbours_are_those_on_the_same_database_whatever_their_branch() {
    let mine = named("mine", NOON, json!({}));
    let promotion = json!({"id": "r-7", "from": {"branch": "next"}});
    let other =
        named("other", MORNING, json!({"branch": "next", "branches": [{"name": "next"}, {"name": "later"}], "promotion": promotion}));
    let elsewhere = named("elsewhere", MORNING, json!({"key": "other.db"}));
    let found = neighbours(&mine, &[mine.clone(), other, elsewhere]);
    let [found] = &found[..] else { panic!("{found:?}") };
    assert_eq!((found.name.name(), found.is_leaving, found.is_younger), ("other", false, false));
    assert_eq!(found.branches.iter().map(BranchName::as_str).collect::<Vec<_>>(), ["later", "next"]);
    assert_eq!(found.promotion.as_ref().map(|asked| (asked.id.as_str(), asked.to.as_str())), Some(("r-7", "main")));
    let branch = |name| BranchName::parse(name).unwrap();
    assert!(["later", "next", "main"].into_iter().all(|name| found.names(&branch(name))) && !found.names(&branch("aside")));
    assert_eq!(found.serves, Some(branch("next")));
    let suspended = named("other", MORNING, json!({"suspend": true}));
    assert_eq!(neighbours(&mine, &[suspended])[0].serves, None);
}
