use engine::{Etag, Holder, Listing, State, WallTime};
use serde_json::{Value, json};

use super::*;
use crate::fixtures::*;
use crate::plan::{lineage::Settlement, promotion};
use crate::rival;

const NOON: i64 = 0;

fn branch(name: &str) -> BranchName {
    BranchName::parse(name).unwrap()
}

/// A branch of ours that is to go when it is declared no more.
fn temporary() -> BranchFacts {
    BranchFacts {
        name: branch("next"),
        txid: 3,
        size: 4096,
        etag: Etag::new("e"),
        last_modified: None,
        parent: None,
        holder: None,
        made_here: true,
        fate: Fate { policy: OnLeave::Delete, leaving: None },
    }
}

fn leaving(since: WallTime) -> BranchFacts {
    BranchFacts { fate: Fate { policy: OnLeave::Delete, leaving: Some(since) }, ..temporary() }
}

fn with(found: BranchFacts) -> Observed {
    Observed { lineage: listed(Listing { branches: vec![found], half_deleted: Vec::new() }), ..served() }
}

fn planned(patch: Value, seen: &Observed) -> Upkeep {
    let State::Open(facts) = &seen.hosted else { panic!("it is open") };
    due(&resource(patch), seen, facts)
}

fn steps(patch: Value, seen: &Observed) -> Vec<Step> {
    planned(patch, seen).steps
}

fn note(policy: OnLeave, leaving: Option<WallTime>) -> Vec<Step> {
    vec![Step::NoteFate { name: branch("next"), fate: Fate { policy, leaving } }]
}

#[test]
fn one_that_left_the_list_is_noted_and_deleted_after_the_retention() {
    assert_eq!(steps(json!({}), &with(temporary())), note(OnLeave::Delete, Some(second(NOON))));
    let day = 24 * 3600;
    let waiting = planned(json!({}), &with(leaving(second(60 - day))));
    assert_eq!((waiting.steps, waiting.look_again), (vec![], Duration::from_mins(1)));
    let over = second(-day);
    assert_eq!(steps(json!({}), &with(leaving(over))), [Step::DeleteLeaving { name: branch("next"), since: over }]);
    assert_eq!(planned(json!({}), &with(leaving(second(-60)))).look_again, WAKEFUL, "however many resources there are");
    let short = json!({"spec": {"durability": {"retention": "1m"}}});
    assert_eq!(steps(short, &with(leaving(second(-60)))), [Step::DeleteLeaving { name: branch("next"), since: second(-60) }]);
}

#[test]
fn one_that_is_declared_again_or_kept_by_annotation_is_brought_back() {
    let declared = json!({"spec": {"branches": [{"name": "next", "deletionPolicy": "Delete"}]}});
    assert_eq!(steps(declared.clone(), &with(leaving(second(-90_000)))), note(OnLeave::Delete, None));
    assert_eq!(steps(declared, &with(temporary())), []);
    let kept = json!({"metadata": {"annotations": {KEEP_BRANCH: "next"}}});
    for found in [temporary(), leaving(second(-90_000))] {
        assert_eq!(steps(kept.clone(), &with(found)), note(OnLeave::Retain, None));
    }
    let other = json!({"metadata": {"annotations": {KEEP_BRANCH: "other"}}});
    assert_eq!(steps(other, &with(temporary())), note(OnLeave::Delete, Some(second(NOON))));
}

#[test]
fn a_changed_policy_is_noted() {
    let retain = json!({"spec": {"branches": [{"name": "next"}]}});
    assert_eq!(steps(retain, &with(temporary())), note(OnLeave::Retain, None));
}

#[test]
fn one_that_somebody_needs_stays_and_is_brought_back() {
    let promotion = json!({"spec": {"promotion": {"id": "r-7", "from": {"branch": "next"}}}});
    let holder = Some(Holder { cluster: "c".to_owned(), resource: "apps/other".to_owned(), pod: "p".to_owned() });
    let needed = |found: BranchFacts| {
        let preview = resource(json!({"metadata": {"name": "preview"}, "spec": {"branch": "next"}}));
        let elsewhere = Observed { neighbours: rival::neighbours(&resource(json!({})), [&preview]), ..with(found.clone()) };
        let by_hand = Observed { hosted: State::Open(Facts { branch: branch("next"), ..facts() }), ..with(found.clone()) };
        vec![
            (json!({"spec": {"branch": "next"}}), with(found.clone())),
            (promotion.clone(), with(found.clone())),
            (json!({}), with(BranchFacts { holder: holder.clone(), ..found.clone() })),
            (json!({}), elsewhere),
            (json!({}), by_hand),
        ]
    };
    for (patch, seen) in needed(temporary()) {
        assert_eq!(steps(patch.clone(), &seen), [], "{patch}");
    }
    for (patch, seen) in needed(leaving(second(-90_000))) {
        assert_eq!(steps(patch.clone(), &seen), note(OnLeave::Delete, None), "{patch}");
    }
}

#[test]
fn the_source_of_a_promotion_that_is_done_is_needed_no_more() {
    let asking = json!({"spec": {"promotion": {"id": "r-7", "from": {"branch": "next"}}}});
    let asked = resource(asking.clone()).spec.promotion.unwrap();
    let end = crate::plan::lineage::End::Applied { txid: None, time: None, message: String::new() };
    let mut seen = with(temporary());
    seen.lineage.promotion = Some(Settlement { digest: promotion::digest(&asked), end });
    assert_eq!(steps(asking, &seen), note(OnLeave::Delete, Some(second(NOON))));
}

#[test]
fn what_others_made_or_what_is_to_stay_is_left_alone() {
    let others = BranchFacts { made_here: false, ..leaving(second(-90_000)) };
    let stays = BranchFacts { fate: Fate::default(), ..temporary() };
    let main = BranchFacts { name: BranchName::main(), ..leaving(second(-90_000)) };
    for found in [others, stays, main] {
        assert_eq!(steps(json!({}), &with(found)), []);
    }
}

#[test]
fn a_deletion_that_was_cut_off_is_finished() {
    let half = vec![(branch("next"), second(-1))];
    let seen = Observed { lineage: listed(Listing { branches: Vec::new(), half_deleted: half }), ..served() };
    assert_eq!(steps(json!({}), &seen), [Step::DeleteLeaving { name: branch("next"), since: second(-1) }]);
}

#[test]
fn nothing_is_done_before_the_branches_are_listed() {
    let seen = Observed { lineage: crate::plan::lineage::Lineage::default(), ..served() };
    assert_eq!(steps(json!({}), &seen), []);
}

#[test]
fn only_a_plan_that_lists_looks_again_for_what_it_listed() {
    let unlisted = Observed { lineage: crate::plan::lineage::Lineage::default(), ..served() };
    let plan = crate::plan::plan(&resource(json!({})), &unlisted);
    assert_eq!((plan.steps.clone(), plan.look_again), (vec![Step::ListBranches], LOOK_AGAIN));
    assert_eq!(plan.look_again_after(&resource(json!({})), &with(temporary())), AT_ONCE);
    let refused = Observed { config: Err(crate::problem::Problem::stuck(crate::reason::Reason::InvalidSpec, "m")), ..with(temporary()) };
    let plan = crate::plan::plan(&resource(json!({})), &refused);
    assert_eq!(plan.look_again_after(&resource(json!({})), &refused), plan.look_again);
}

#[test]
fn what_the_steps_themselves_listed_is_looked_at_in_time() {
    assert_eq!(look_again(&resource(json!({})), &with(temporary())), AT_ONCE);
    assert_eq!(look_again(&resource(json!({})), &with(leaving(second(60 - 24 * 3600)))), Duration::from_mins(1));
    assert_eq!(look_again(&resource(json!({})), &served()), LOOK_AGAIN);
    assert_eq!(look_again(&resource(json!({})), &seen()), LOOK_AGAIN);
}
