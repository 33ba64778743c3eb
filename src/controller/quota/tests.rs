#![allow(clippy::needless_pass_by_value, reason = "tests read better when their helpers take what they are given")]

use serde_json::{Value, json};

use super::*;
use crate::fixtures;

/// A resource of `apps` that came in this minute, and the size limit that is in force for it.
struct Known(BucketDatabase, Option<u64>);

fn known(name: &str, minute: u8, spec: Value, held: Option<u64>) -> Known {
    let created = format!("2026-11-23T08:{minute:02}:00Z");
    Known(fixtures::resource(json!({"metadata": {"name": name, "creationTimestamp": created}, "spec": spec})), held)
}

/// One that asks for so many bytes, and has none yet.
fn waiting(name: &str, minute: u8, asks: u64) -> Known {
    known(name, minute, json!({"limits": {"maxSize": asks.to_string()}}), None)
}

/// One that is open with as much as it asks for.
fn open(name: &str, minute: u8, asks: u64) -> Known {
    Known(waiting(name, minute, asks).0, Some(asks))
}

fn grown(known: Known, from: u64) -> Known {
    Known(known.0, Some(from))
}

fn suspended(name: &str, minute: u8) -> Known {
    known(name, minute, json!({"suspend": true, "limits": {"maxSize": "100"}}), None)
}

fn quota(text: &str) -> Quota {
    serde_json::from_str::<Quotas>(&format!(r#"{{"default": {text}}}"#)).unwrap().of("apps").unwrap()
}

/// What each gets, in one word.
fn shares(quota: &Quota, all: &[Known]) -> Vec<&'static str> {
    let share = |known: &Known| {
        let held = |other: &BucketDatabase| all.iter().find(|it| name_of(&it.0) == name_of(other)).and_then(|it| it.1);
        let claims = claims("apps", all.iter().map(|it| &it.0), held);
        match share(quota, &known.0, claims) {
            Share::Whole => "whole",
            Share::Over(_) => "over",
            Share::Capped { .. } => "capped",
            Share::Refused(_) => "refused",
        }
    };
    all.iter().map(share).collect()
}

#[test]
fn a_namespace_has_its_own_quota_and_of_the_default_what_its_own_leaves_out() {
    let quotas: Quotas =
        serde_json::from_value(json!({"default": {"databases": 2, "bytes": "8Gi"}, "namespaces": {"apps": {"databases": 9}}})).unwrap();
    let of = |namespace| quotas.of(namespace).map(|quota| (quota.databases, quota.bytes.map(|bytes| bytes.as_bytes())));
    assert_eq!(of("apps"), Some((Some(9), Some(8 << 30))));
    assert_eq!(of("other"), Some((Some(2), Some(8 << 30))));
    assert!(Quotas::default().of("apps").is_none(), "without quotas nothing is counted");
    let alone: Quotas = serde_json::from_value(json!({"namespaces": {"apps": {"bytes": "1Gi"}}})).unwrap();
    assert!(alone.of("apps").is_some() && alone.of("other").is_none());
    for wrong in [json!({"defaults": {}}), json!({"default": {"memory": "1Gi"}}), json!({"default": {"bytes": "much"}})] {
        assert!(serde_json::from_value::<Quotas>(wrong.clone()).is_err(), "{wrong}");
    }
}

#[test]
fn the_oldest_resources_have_a_place_and_of_the_same_time_the_first_names() {
    let all = [waiting("late", 9, 1), waiting("b", 5, 1), waiting("a", 5, 1), suspended("first", 1)];
    let found = shares(&quota(r#"{"databases": 2}"#), &all);
    assert_eq!(found, ["refused", "refused", "whole", "whole"], "a suspended one counts");
}

#[test]
fn what_does_not_fit_waits_and_smaller_ones_after_it_do_not() {
    let all = [waiting("first", 1, 60), waiting("large", 2, 50), waiting("small", 3, 40), waiting("last", 4, 1)];
    let found = shares(&quota(r#"{"bytes": "100"}"#), &all);
    assert_eq!(found, ["whole", "refused", "whole", "refused"]);
}

#[test]
fn what_is_suspended_or_goes_and_is_not_open_needs_no_bytes() {
    let mut leaving = waiting("leaving", 1, 90);
    leaving.0.metadata.deletion_timestamp = leaving.0.metadata.creation_timestamp.clone();
    let found = shares(&quota(r#"{"bytes": "100"}"#), &[leaving, suspended("rests", 2), waiting("new", 3, 100)]);
    assert_eq!(found, ["whole", "whole", "whole"]);
    let closing = grown(suspended("rests", 2), 60);
    let found = shares(&quota(r#"{"bytes": "100"}"#), &[closing, waiting("new", 3, 100)]);
    assert_eq!(found[1], "refused", "until it is saved it is in memory");
}

#[test]
fn a_quota_that_shrinks_closes_nothing_and_is_told_of_the_youngest() {
    let all = [open("first", 1, 60), open("second", 2, 40), waiting("new", 3, 1)];
    let found = shares(&quota(r#"{"bytes": "70"}"#), &all);
    assert_eq!(found, ["whole", "over", "refused"]);
    let found = shares(&quota(r#"{"databases": 1}"#), &all);
    assert_eq!(found, ["whole", "over", "refused"]);
}

#[test]
fn nobodys_growth_takes_what_a_younger_one_has() {
    let all = [grown(waiting("old", 1, 90), 60), open("young", 2, 40)];
    let found = shares(&quota(r#"{"bytes": "100"}"#), &all);
    assert_eq!(found, ["capped", "whole"]);
    let found = shares(&quota(r#"{"bytes": "130"}"#), &all);
    assert_eq!(found, ["whole", "whole"]);
}

#[test]
fn of_what_is_free_the_older_one_has_its_growth_before_a_younger_one_begins() {
    let all = [grown(waiting("old", 1, 90), 60), waiting("young", 2, 40)];
    assert_eq!(shares(&quota(r#"{"bytes": "100"}"#), &all), ["whole", "refused"]);
}

#[test]
fn one_without_a_place_keeps_no_bytes_from_others() {
    let all = [open("first", 1, 10), waiting("second", 2, 90), waiting("third", 3, 90)];
    let found = shares(&quota(r#"{"databases": 2, "bytes": "100"}"#), &all);
    assert_eq!(found, ["whole", "whole", "refused"]);
}

#[test]
fn sizes_beyond_all_measure_do_not_wrap() {
    let huge = 900_000_000_000_000_000;
    let all: Vec<Known> = (0..40).map(|minute| open(&format!("db-{minute:02}"), minute, huge)).chain([waiting("new", 50, huge)]).collect();
    assert_eq!(shares(&quota(r#"{"bytes": "1Gi"}"#), &all)[40], "refused");
}

#[test]
fn a_refusal_names_the_quota_what_is_taken_and_the_remedy() {
    let message = |quota_of: &str, all: &[Known], at: usize| {
        let held = |other: &BucketDatabase| all.iter().find(|it| name_of(&it.0) == name_of(other)).and_then(|it| it.1);
        let share = share(&quota(quota_of), &all[at].0, claims("apps", all.iter().map(|it| &it.0), held));
        share.refusal().or_else(|| share.shortage()).map(|problem| (problem.reason, problem.stuck, problem.message)).unwrap()
    };
    let (reason, stuck, told) = message(r#"{"bytes": "8Ki"}"#, &[open("old", 1, 6 << 10), waiting("new", 2, 4 << 10)], 1);
    assert_eq!((reason, stuck), (Reason::QuotaExceeded, true));
    for part in
        ["spec.limits.maxSize", "namespace apps may have 8Ki", "others have 6Ki", "this one needs 4Ki", "suspend or delete", "--quotas"]
    {
        assert!(told.contains(part), "{part}: {told}");
    }
    let (.., told) = message(r#"{"bytes": "8Ki"}"#, &[grown(waiting("old", 1, 6 << 10), 4 << 10), open("new", 2, 4 << 10)], 0);
    for part in ["others have 4Ki", "needs 6Ki", "It goes on with 4Ki"] {
        assert!(told.contains(part), "{part}: {told}");
    }
    let (.., told) = message(r#"{"databases": 1}"#, &[open("old", 1, 1), waiting("new", 2, 1)], 1);
    assert!(told.contains("may have 1 BucketDatabases, and 1 are older") && told.contains("--quotas"), "{told}");
}

#[test]
fn what_is_capped_is_opened_with_what_it_has() {
    let mut config = fixtures::config();
    config.limits.max_size = 90;
    let capped = Share::Capped { bytes: 60, overrun: Overrun("no".to_owned()) };
    assert_eq!(capped.in_force(&config).limits.max_size, 60);
    assert_eq!(Share::Whole.in_force(&config).limits.max_size, 90);
}
