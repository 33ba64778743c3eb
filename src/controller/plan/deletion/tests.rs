#![allow(clippy::needless_pass_by_value, reason = "tests read better when their helpers take what they are given")]

use std::sync::Arc;

use engine::{DatabaseName, Holder};
use serde_json::{Value, json};

use super::*;
use crate::error::Error;
use crate::fixtures::{self, UID, config, facts, name, resource, second, seen, served, unreachable};
use crate::plan::{AT_ONCE, FORCE_DELETE, SOON, plan};
use crate::rival::{self, AskedPromotion};

fn branch(name: &str) -> BranchName {
    BranchName::parse(name).unwrap()
}

fn ours(name: &str) -> BranchRemains {
    BranchRemains {
        name: branch(name),
        is_deleted: false,
        has_objects: true,
        made_by: MadeBy::Us,
        held_by: None,
        served_by: None,
        takes_from: None,
        done: Vec::new(),
    }
}

fn remains(branches: impl Into<Vec<BranchRemains>>) -> Remains {
    Remains { branches: branches.into(), has_rest: true }
}

fn neighbour(branches: &[&str]) -> Neighbour {
    Neighbour {
        serves: None,
        name: DatabaseName::new("apps", "preview"),
        branches: branches.iter().map(|name| branch(name)).collect(),
        promotion: None,
        is_leaving: false,
        is_younger: true,
    }
}

fn deleted(fate: &Fate) -> Vec<&str> {
    fate.deleted.iter().map(BranchName::as_str).collect()
}

fn kept(fate: &Fate) -> Vec<&str> {
    fate.kept.iter().map(|(branch, _)| branch.as_str()).collect()
}

#[test]
fn all_that_the_resource_made_goes_and_main_goes_last() {
    let fate = fate(&remains([ours("main"), ours("next"), ours("a")]), &[]);
    assert_eq!((deleted(&fate), fate.kept.len(), fate.rest), (vec!["next", "a", "main"], 0, true));
}

#[test]
fn what_another_made_holds_serves_declares_or_takes_over_stays_and_main_with_it() {
    let holder = || Some(Holder { cluster: "c".to_owned(), resource: "apps/preview".to_owned(), pod: "p".to_owned() });
    let asked = |id: &str, to: &str| Some(AskedPromotion { id: id.to_owned(), from: branch("next"), to: branch(to) });
    let promoted = |ids: &[&str]| BranchRemains { done: ids.iter().map(|id| (*id).to_owned()).collect(), ..ours("main") };
    let table: [(&str, BranchRemains, BranchRemains, Vec<Neighbour>, &str); 8] = [
        (
            "made by another",
            ours("main"),
            BranchRemains { made_by: MadeBy::Other("apps/x (u)".to_owned()), ..ours("next") },
            vec![],
            "made by apps/x",
        ),
        ("made by nobody known", ours("main"), BranchRemains { made_by: MadeBy::Unknown, ..ours("next") }, vec![], "there before"),
        ("held", ours("main"), BranchRemains { held_by: holder(), ..ours("next") }, vec![], "apps/preview in pod p holds it"),
        ("served here", ours("main"), BranchRemains { served_by: Some(name()), ..ours("next") }, vec![], "serves it"),
        ("declared", ours("main"), ours("next"), vec![neighbour(&["next"])], "apps/preview declares it"),
        (
            "source of a pending promotion",
            promoted(&["r-6"]),
            ours("next"),
            vec![Neighbour { promotion: asked("r-7", "main"), ..neighbour(&["other"]) }],
            "promotion r-7 of apps/preview",
        ),
        (
            "source of one into a branch that is not there yet",
            ours("main"),
            ours("next"),
            vec![Neighbour { promotion: asked("r-7", "later"), ..neighbour(&["other"]) }],
            "promotion r-7",
        ),
        (
            "source of one that has begun",
            BranchRemains { made_by: MadeBy::Unknown, takes_from: Some("next".to_owned()), ..ours("main") },
            ours("next"),
            vec![],
            "an overwrite of branch main",
        ),
    ];
    for (case, main, next, neighbours, why) in table {
        let fate = fate(&remains([main, next]), &neighbours);
        assert_eq!((deleted(&fate), kept(&fate), fate.rest), (vec![], vec!["next", "main"], false), "{case}");
        assert!(fate.kept[0].1.contains(why), "{case}: {}", fate.kept[0].1);
    }
    let done = Neighbour { promotion: asked("r-7", "main"), ..neighbour(&["other"]) };
    let fate = fate(&remains([promoted(&["r-7"]), ours("next")]), &[done]);
    assert_eq!(deleted(&fate), ["next"], "a promotion that was carried out needs its source no more");
    assert!(fate.kept[0].1.contains("apps/preview has another branch"), "{:?}", fate.kept);
}

#[test]
fn main_goes_only_if_this_resource_began_it_and_nobody_else_has_anything() {
    for made_by in [MadeBy::Unknown, MadeBy::Other("apps/orders (an-earlier-uid)".to_owned())] {
        let fate = fate(&remains([BranchRemains { made_by, ..ours("main") }, ours("next")]), &[]);
        assert_eq!((deleted(&fate), kept(&fate), fate.rest), (vec!["next"], vec!["main"], false));
    }
    let served = BranchRemains { served_by: Some(name()), ..ours("main") };
    assert_eq!(kept(&fate(&remains([served, ours("next")]), &[])), ["main"]);
}

#[test]
fn what_an_interrupted_deletion_left_is_finished_whoever_declares_it_by_now() {
    let half = |name| BranchRemains { is_deleted: true, ..ours(name) };
    let gone = |name| BranchRemains { has_objects: false, ..half(name) };
    assert_eq!(deleted(&fate(&remains([gone("a"), half("main"), half("next")]), &[])), ["next", "main"]);
    assert_eq!(deleted(&fate(&remains([half("next")]), &[neighbour(&["next"])])), ["next"]);
    let nothing = fate(&remains([gone("main"), gone("next")]), &[]);
    assert_eq!((nothing.deleted.len(), nothing.kept.len(), nothing.rest), (0, 0, true));
    let empty = fate(&Remains { branches: vec![], has_rest: false }, &[]);
    assert_eq!(empty, Fate { deleted: vec![], kept: vec![], rest: false });
}

fn leaving(patch: Value) -> BucketDatabase {
    let mut resource = fixtures::deleted(json!({"spec": {"deletionPolicy": "Delete"}}));
    if let Some(annotations) = patch.as_object() {
        resource.metadata.annotations =
            Some(annotations.iter().map(|(key, value)| (key.clone(), value.as_str().unwrap().to_owned())).collect());
    }
    resource
}

fn surveyed(remains: Remains) -> Observed {
    Observed { remains: Some(Ok(remains)), ..seen() }
}

#[test]
fn objects_go_after_the_last_flush_and_before_the_finalizer() {
    let gone = leaving(json!({}));
    assert_eq!(plan(&gone, &served()).steps, [Step::Close]);
    let steps = plan(&gone, &surveyed(remains([ours("main"), ours("next")]))).steps;
    let boxed = || Box::new(config());
    let told = Notice::normal("ObjectsDeleted", "deleted from bucket orders-data: branch next, branch main");
    assert_eq!(
        steps,
        [
            Step::DeleteBranch { config: boxed(), name: branch("next") },
            Step::DeleteBranch { config: boxed(), name: branch("main") },
            Step::DeleteRest(boxed()),
            Step::Tell(told),
            Step::RemoveFinalizer
        ]
    );
    let other = BranchRemains { made_by: MadeBy::Other("apps/x (u)".to_owned()), ..ours("next") };
    let steps = plan(&gone, &surveyed(remains([ours("main"), other]))).steps;
    let [Step::Tell(notice), Step::RemoveFinalizer] = &steps[..] else { panic!("{steps:?}") };
    assert!(
        notice.is_warning && notice.note.contains("branch next, because it was made by apps/x (u); branch main, because"),
        "{notice:?}"
    );
}

#[test]
fn with_retain_or_without_our_finalizer_nothing_is_looked_at_and_nothing_goes() {
    let retain = fixtures::deleted(json!({}));
    assert!(!wants_survey(&retain, &State::Absent));
    assert_eq!(plan(&retain, &surveyed(remains([ours("main")]))).steps, [Step::RemoveFinalizer]);
    let mut let_go = leaving(json!({}));
    let_go.metadata.finalizers = Some(vec!["other".to_owned()]);
    assert!(!wants_survey(&let_go, &State::Absent));
    assert_eq!(plan(&let_go, &surveyed(remains([ours("main")]))).steps, []);
    let alive = resource(json!({"spec": {"deletionPolicy": "Delete"}}));
    assert!(!wants_survey(&alive, &State::Absent) && wants_survey(&leaving(json!({})), &State::Absent));
    assert!(!wants_survey(&leaving(json!({})), &State::Open(facts())));
}

#[test]
fn what_is_under_way_ends_before_anything_is_deleted() {
    let gone = leaving(json!({}));
    let at = |hosted| plan(&gone, &Observed { hosted, ..surveyed(remains([ours("main")])) });
    assert_eq!((at(State::Opening).steps, at(State::Opening).look_again), (vec![], SOON), "its first PUT could arrive after the DELETE");
    assert_eq!(at(State::Closing).steps, []);
    for hosted in [fixtures::failed(unreachable(), 1, second(0)), State::Suspended { released: true, last_snapshot: None }] {
        let forgotten = at(hosted);
        assert_eq!((forgotten.steps, forgotten.look_again), (vec![Step::Forget], AT_ONCE));
    }
}

#[test]
fn without_credentials_it_says_so_and_only_the_annotation_lets_it_go() {
    let missing = || Problem::passing(Reason::CredentialsMissing, "there is no Secret `orders-bucket`");
    let restarted = Observed { config: Err(missing()), ..seen() };
    let stuck = plan(&leaving(json!({})), &restarted);
    let Verdict::Closing { but: Some(problem) } = &stuck.verdict else { panic!("{stuck:?}") };
    assert_eq!((stuck.steps.len(), problem.reason), (0, Reason::CredentialsMissing));
    for part in ["there is no Secret `orders-bucket`", &format!("{FORCE_DELETE}={UID}"), "orders.db.branch.*", "bucket orders-data stays"] {
        assert!(problem.message.contains(part), "{part}: {}", problem.message);
    }
    let forced = plan(&leaving(json!({FORCE_DELETE: UID})), &restarted);
    let [Step::Tell(notice), Step::RemoveFinalizer] = &forced.steps[..] else { panic!("{forced:?}") };
    assert!(notice.note.contains("orders.db.head/"), "{notice:?}");
    assert_eq!(plan(&fixtures::deleted(json!({})), &restarted).steps, [Step::RemoveFinalizer], "with Retain there is nothing to do");
    let in_memory = Observed { config: Err(missing()), applied: Some(config()), ..surveyed(remains([ours("main")])) };
    assert_eq!(
        plan(&leaving(json!({})), &in_memory).steps.first(),
        Some(&Step::DeleteBranch { config: Box::new(config()), name: branch("main") })
    );
}

#[test]
fn a_store_that_fails_is_told_and_asked_again_with_growing_pauses() {
    let since = |age: i64| Observed { troubled_since: Some(second(-age)), remains: Some(Err(Arc::new(unreachable()))), ..seen() };
    for (age, pause) in [(0, 2), (40, 40), (9000, 300)] {
        let waiting = plan(&leaving(json!({})), &since(age));
        assert_eq!((waiting.steps.len(), waiting.look_again.as_secs()), (0, pause), "{age}");
        assert!(matches!(&waiting.verdict, Verdict::Closing { but: Some(problem) } if problem.reason == Reason::EndpointUnreachable));
    }
    let error: Result<(), Error> = Err(Error::Deletion(Arc::new(unreachable())));
    let after = (Verdict::Closing { but: None }).after(&leaving(json!({})), &error);
    assert!(matches!(&after, Verdict::Closing { but: Some(problem) } if problem.message.contains("are not deleted")), "{after:?}");
}

#[test]
fn a_forced_deletion_names_the_commits_that_are_lost() {
    let forced = |hosted| plan(&leaving(json!({FORCE_DELETE: UID})), &Observed { hosted, ..seen() }).steps;
    let steps = forced(State::Open(engine::Facts { pending: true, ..facts() }));
    let [Step::Abandon, Step::Tell(notice), Step::RemoveFinalizer] = &steps[..] else { panic!("{steps:?}") };
    assert!(notice.note.contains("committed after") && notice.note.contains("orders.db.branch.*"), "{notice:?}");
}

/// Two resources on one database: each of `older` and `younger` has a policy, serves `main` or `next`, and may be suspended.
#[test]
fn of_two_resources_on_one_database_neither_takes_what_the_other_has() {
    let made = |name: &str, at: &str, of: &str, policy: &str, suspend: bool| {
        let spec = json!({"branch": of, "deletionPolicy": policy, "suspend": suspend});
        resource(json!({"metadata": {"name": name, "uid": name, "creationTimestamp": at}, "spec": spec}))
    };
    for policy in ["Retain", "Delete"] {
        for same_branch in [true, false] {
            for is_suspended in [true, false] {
                for older_goes in [true, false] {
                    let case = format!("{policy}, same branch {same_branch}, other suspended {is_suspended}, older goes {older_goes}");
                    let of_younger = if same_branch { "main" } else { "next" };
                    let mut older = made("older", "2026-11-23T07:00:00Z", "main", "Delete", is_suspended && !older_goes);
                    let mut younger = made("younger", "2026-11-23T09:00:00Z", of_younger, "Delete", is_suspended && older_goes);
                    let (goes, stays) = if older_goes { (&mut older, &mut younger) } else { (&mut younger, &mut older) };
                    goes.spec.deletion_policy = if policy == "Delete" { DeletionPolicy::Delete } else { DeletionPolicy::Retain };
                    goes.metadata.deletion_timestamp = goes.metadata.creation_timestamp.clone();
                    // Whatever lies there was made by the one that goes; the one that stays has its own branch.
                    let neighbours = rival::neighbours(goes, [&*goes, &*stays]);
                    assert_eq!(neighbours.len(), 1, "{case}");
                    let seen = Observed { neighbours, ..surveyed(remains([ours("main"), ours("next"), ours("extra")])) };
                    let steps = plan(goes, &seen).steps;
                    let gone: Vec<_> = steps
                        .iter()
                        .filter_map(|step| if let Step::DeleteBranch { name, .. } = step { Some(name.as_str()) } else { None })
                        .collect();
                    let served_by_other = stays.spec.branch.clone();
                    let expected: Vec<&str> = match policy {
                        "Retain" => vec![],
                        _ => ["next", "extra"].into_iter().filter(|name| *name != served_by_other).collect(),
                    };
                    assert_eq!(gone, expected, "{case}");
                    assert!(!gone.contains(&"main") && !steps.contains(&Step::DeleteRest(Box::new(config()))), "{case}");
                    assert_eq!(steps.last(), Some(&Step::RemoveFinalizer), "{case}");
                }
            }
        }
    }
}

#[test]
fn of_two_that_are_both_deleted_the_younger_goes_first() {
    let waits = |is_younger, is_leaving| {
        let other = Neighbour { is_leaving, is_younger, ..neighbour(&["next"]) };
        plan(&leaving(json!({})), &Observed { neighbours: vec![other], ..surveyed(remains([ours("main")])) })
    };
    let waiting = waits(true, true);
    assert!(waiting.steps.is_empty());
    assert!(matches!(&waiting.verdict, Verdict::Closing { but: Some(problem) } if problem.message.contains("apps/preview")));
    for (is_younger, is_leaving) in [(false, true), (true, false)] {
        assert_eq!(waits(is_younger, is_leaving).steps.last(), Some(&Step::RemoveFinalizer));
    }
}
