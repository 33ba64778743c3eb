use std::time::Duration;

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::fixtures::resource;
use crate::membership::Member;

fn members(pods: &[(&str, u64)]) -> Members {
    let member = |(name, memory): &(&str, u64)| Member {
        name: (*name).to_owned(),
        url: "http://10.1.2.3:8080".parse().unwrap(),
        memory: *memory,
        is_leaving: false,
    };
    pods.iter().map(|pod| (pod.0.to_owned(), member(pod))).collect()
}

fn database(number: u64, max_size: &str) -> Guarded {
    let made = WallTime::UNIX_EPOCH + Duration::from_secs(number);
    Guarded(Ok(resource(json!({
        "metadata": {"name": format!("db-{number}"), "creationTimestamp": made.to_string()},
        "spec": {"bucket": "b", "key": format!("k-{number}.db"), "limits": {"maxSize": max_size}},
    }))))
}

fn databases(count: u64) -> Vec<Guarded> {
    (0..count).map(|number| database(number, "1Mi")).collect()
}

fn owners(placement: &Placement, resources: &[Guarded]) -> Vec<Option<String>> {
    resources.iter().map(|resource| placement.owner(&name_of(resource)).map(str::to_owned)).collect()
}

fn count(owners: &[Option<String>], pod: &str) -> usize {
    owners.iter().filter(|owner| owner.as_deref() == Some(pod)).count()
}

#[test]
fn shares_follow_memory() {
    let resources = databases(900);
    let equal = owners(&Placement::of(&resources, &members(&[("a", 0), ("b", 0), ("c", 0)])), &resources);
    for pod in ["a", "b", "c"] {
        assert!((240..=360).contains(&count(&equal, pod)), "{pod}: {}", count(&equal, pod));
    }
    let gib = 1 << 30;
    let weighted = owners(&Placement::of(&resources, &members(&[("a", 8 * gib), ("b", gib)])), &resources);
    assert!((60..=140).contains(&count(&weighted, "b")), "{}", count(&weighted, "b"));
}

#[test]
fn a_pod_that_comes_or_goes_moves_its_own_share_alone() {
    let resources = databases(300);
    let two = owners(&Placement::of(&resources, &members(&[("a", 0), ("b", 0)])), &resources);
    let three = owners(&Placement::of(&resources, &members(&[("a", 0), ("b", 0), ("c", 0)])), &resources);
    for (before, after) in two.iter().zip(&three) {
        assert!(after == before || after.as_deref() == Some("c"), "{before:?} {after:?}");
    }
    assert!(count(&three, "c") > 60);
}

#[test]
fn a_pod_that_is_leaving_is_given_nothing_and_without_pods_nobody_has_anything() {
    let resources = databases(20);
    let mut pods = members(&[("a", 0), ("b", 0)]);
    pods.get_mut("a").unwrap().is_leaving = true;
    assert_eq!(count(&owners(&Placement::of(&resources, &pods), &resources), "b"), 20);
    pods.get_mut("b").unwrap().is_leaving = true;
    assert_eq!(Placement::of(&resources, &pods), Placement::default());
}

#[test]
fn all_resources_of_one_database_have_one_pod() {
    let on = |name: &str, branch: &str, key: &str| {
        Guarded(Ok(resource(json!({"metadata": {"name": name}, "spec": {"bucket": "b", "key": key, "branch": branch}}))))
    };
    let pods = members(&[("a", 0), ("b", 0), ("c", 0)]);
    for number in 0..20 {
        let key = format!("k-{number}.db");
        let both = [on("one", "main", &key), on("other", "staging", &key)];
        let placed = owners(&Placement::of(&both, &pods), &both);
        assert_eq!(placed[0], placed[1]);
    }
}

#[test]
fn what_does_not_fit_goes_to_the_next_and_older_ones_keep_their_place() {
    let mib = 1 << 20;
    let resources: Vec<_> = (0..8).map(|number| database(number, "10Mi")).collect();
    let pods = members(&[("a", 40 * mib), ("b", 40 * mib)]);
    let placed = owners(&Placement::of(&resources, &pods), &resources);
    assert_eq!((count(&placed, "a"), count(&placed, "b")), (4, 4), "{placed:?}");
    let more: Vec<_> = (0..9).map(|number| database(number, "10Mi")).collect();
    let crowded = owners(&Placement::of(&more, &pods), &more);
    assert_eq!(placed[..], crowded[..8], "the ninth has no room, and moves nobody");
    assert!(crowded[8].is_some(), "somebody has to say so");
}

#[test]
fn one_that_cannot_be_read_has_a_pod_too() {
    let metadata = serde_json::from_value(json!({"name": "broken", "namespace": "apps"})).unwrap();
    let broken = [Guarded(Err(crate::guarded::Unreadable { metadata, error: "spec.bucket".to_owned() }))];
    assert_eq!(owners(&Placement::of(&broken, &members(&[("a", 0)])), &broken), [Some("a".to_owned())]);
}

#[test]
fn what_a_pod_does_follows_from_where_the_database_is_and_is_to_be() {
    let pods = members(&[("me", 0), ("other", 0)]);
    let (open, opening, absent) = (None, Some(NotServed::Opening), Some(NotServed::Unknown));
    for (owner, told, here, expected) in [
        (Some("me"), None, absent, Part::Acts),
        (Some("me"), Some("me"), absent, Part::Acts),
        (Some("me"), Some("other"), absent, Part::Awaits),
        (Some("me"), Some("gone"), absent, Part::Acts),
        // It has it already, whatever an old status says.
        (Some("me"), Some("other"), open, Part::Acts),
        (Some("other"), Some("me"), open, Part::HandsOver),
        (Some("other"), Some("me"), opening, Part::HandsOver),
        (Some("other"), Some("me"), Some(NotServed::Failed), Part::HandsOver),
        (Some("other"), Some("me"), absent, Part::GivesUp),
        (Some("other"), Some("other"), absent, Part::Looks),
        (Some("other"), None, absent, Part::Looks),
        (None, Some("me"), open, Part::Acts),
        (None, Some("me"), absent, Part::Looks),
    ] {
        assert_eq!(part("me", owner, told, here, &pods), expected, "{owner:?} {told:?} {here:?}");
    }
}

proptest! {
    #[test]
    fn the_order_of_resources_does_not_matter(mut numbers in prop::collection::btree_set(0_u64..1000, 1..40), seed in 0_usize..40) {
        let pods = members(&[("a", 20 << 20), ("b", 10 << 20)]);
        let resources: Vec<_> = numbers.iter().map(|number| database(*number, "2Mi")).collect();
        let mut turned = resources.clone();
        turned.rotate_left(seed % resources.len());
        prop_assert_eq!(Placement::of(&resources, &pods), Placement::of(&turned, &pods));
        numbers.clear();
    }
}
