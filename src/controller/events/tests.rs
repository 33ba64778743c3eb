use std::time::Duration;

use engine::{BranchName, Damage, Damaged, Facts, Origin, Outside, State, Verified};
use serde_json::json;

use super::*;
use crate::fixtures::*;
use crate::plan::lineage::{End, Settlement};
use crate::plan::promotion::digest as promotion_of;
use crate::plan::{Observed, Verdict};
use crate::problem::Problem;
use crate::status::{Said, next};

const SERVING: Verdict = Verdict::Serving { but: None };

fn status(seen: &Observed, verdict: &Verdict) -> BucketDatabaseStatus {
    let said = Said { verdict, flushed: None, gc: None, url: "u", host: "h", binding: None };
    next(&resource(json!({})), &BucketDatabaseStatus::default(), seen, &said)
}

fn serving(facts: Facts) -> BucketDatabaseStatus {
    status(&Observed { hosted: State::Open(facts), ..served() }, &SERVING)
}

/// The reasons that are told, warnings marked.
fn told(before: &BucketDatabaseStatus, after: &BucketDatabaseStatus) -> Vec<String> {
    between(before, after).iter().map(|notice| format!("{}{}", if notice.is_warning { "!" } else { "" }, notice.reason)).collect()
}

#[test]
fn a_restore_and_an_empty_start_are_told_once() {
    let restoring = status(&seen(), &Verdict::Restoring);
    let restored = serving(facts());
    assert_eq!(told(&restoring, &restored), ["Restored"]);
    assert_eq!(told(&restored, &restored), Vec::<String>::new());
    assert_eq!(told(&restoring, &serving(Facts { origin: Origin::Empty, ..facts() })), ["StartedEmpty"]);
}

#[test]
fn failing_snapshots_are_told_once_and_so_is_their_recovery() {
    let (fine, broken) = (serving(facts()), serving(Facts { uploads: failing(), ..facts() }));
    assert_eq!(told(&fine, &broken), ["!SnapshotFailed"]);
    assert_eq!(told(&broken, &broken), Vec::<String>::new());
    assert_eq!(told(&broken, &fine), ["SnapshotRecovered"]);
}

#[test]
fn a_state_of_somebody_else_is_told_once() {
    let outside = Outside { branch: BranchName::parse("outside-1").unwrap(), time: second(-60) };
    let kept = serving(Facts { outside: Some(outside), ..facts() });
    assert_eq!(told(&serving(facts()), &kept), ["!OutsideSnapshotKept"]);
    assert_eq!(told(&kept, &kept), Vec::<String>::new());
}

#[test]
fn that_nothing_keeps_a_second_writer_out_is_told_once() {
    let exposed = serving(Facts { unconditional: Some("PUT with If-Match is refused".into()), ..facts() });
    assert_eq!(told(&serving(facts()), &exposed), ["!SingleWriterUnsafe"]);
    assert_eq!(told(&exposed, &exposed), Vec::<String>::new());
}

#[test]
fn what_hinders_is_told_once_for_each_reason_whether_it_serves_or_not() {
    let problem = |reason, message: &str| Problem::passing(reason, message);
    let missing = status(&seen(), &Verdict::Failed(problem(Reason::CredentialsMissing, "one")));
    let reworded = status(&seen(), &Verdict::Failed(problem(Reason::CredentialsMissing, "two")));
    let rejected = status(&seen(), &Verdict::Failed(problem(Reason::CredentialsRejected, "three")));
    assert_eq!(told(&BucketDatabaseStatus::default(), &missing), ["!CredentialsMissing"]);
    assert_eq!(told(&missing, &reworded), Vec::<String>::new());
    assert_eq!(told(&reworded, &rejected), ["!CredentialsRejected"]);
    let served = status(&served(), &Verdict::Serving { but: Some(problem(Reason::CredentialsMissing, "one")) });
    assert_eq!(told(&serving(facts()), &served), ["!CredentialsMissing"]);
}

#[test]
fn a_final_flush_that_fails_is_told() {
    let closing = status(&served(), &Verdict::Closing { but: None });
    let unsaved = status(&served(), &Verdict::Closing { but: Some(Problem::passing(Reason::EndpointUnreachable, "m")) });
    assert_eq!(told(&serving(facts()), &closing), Vec::<String>::new());
    assert_eq!(told(&closing, &unsaved), ["!FinalFlushFailed"]);
    assert_eq!(told(&unsaved, &unsaved), Vec::<String>::new());
}

#[test]
fn a_long_note_is_cut_at_a_character() {
    assert_eq!(shortened("ä".repeat(600)).len(), 1000);
    assert_eq!(shortened(format!("a{}", "ä".repeat(600))).len(), 999);
}

#[test]
fn a_suspension_is_told_once_and_its_work_is_no_trouble() {
    let rests = Observed { hosted: State::Suspended { released: true, last_snapshot: None }, ..seen() };
    let suspended = status(&rests, &Verdict::Suspended);
    assert_eq!(told(&serving(facts()), &status(&served(), &Verdict::Suspending { serves: true })), Vec::<String>::new());
    assert_eq!(told(&serving(facts()), &suspended), ["Suspended"]);
    assert_eq!(told(&suspended, &suspended), Vec::<String>::new());
    assert_eq!(told(&suspended, &serving(facts())), ["Restored"], "that it was resumed");
}

#[test]
fn a_promotion_is_told_once_for_each_end_and_not_twice_as_a_hindrance() {
    let asking = resource(json!({"spec": {"promotion": {"id": "r-7", "from": {"branch": "next"}}}}));
    let asked = asking.spec.promotion.clone().unwrap();
    let told_after = |end: Option<End>, before: &BucketDatabaseStatus| {
        let but = match &end {
            Some(End::Failed { problem, .. }) => Some(problem.clone()),
            Some(End::Applied { .. }) | None => None,
        };
        let mut seen = served();
        seen.lineage.promotion = end.map(|end| Settlement { digest: promotion_of(&asked), end });
        let said = Said { verdict: &Verdict::Serving { but }, flushed: None, url: "u", host: "h", binding: None, gc: None };
        let after = next(&asking, before, &seen, &said);
        (told(before, &after), after)
    };
    let failed = |problem| Some(End::Failed { problem, attempts: 1, at: second(0), pause: None });
    let (_, pending) = told_after(None, &serving(facts()));
    let changed = failed(Problem::stuck(Reason::ContentChanged, "m"));
    let (news, stalled) = told_after(changed.clone(), &pending);
    assert_eq!(news, ["!PromotionFailed"]);
    assert_eq!(told_after(changed, &stalled).0, Vec::<String>::new());
    let applied = Some(End::Applied { txid: Some(5), time: None, message: "main took it".to_owned() });
    let (news, done) = told_after(applied.clone(), &stalled);
    assert_eq!(news, ["Promoted"]);
    assert_eq!(told_after(applied, &done).0, Vec::<String>::new());
}

#[test]
fn damage_is_told_when_it_is_found_and_when_it_is_healed() {
    let damaged = |renewed| {
        let files = vec![Damage { file: "0000/3".to_owned(), detail: "cut".to_owned() }];
        serving(Facts { damaged: Some(Damaged { files, time: second(-90), renewed }), ..facts() })
    };
    let (fine, found, healed) = (serving(facts()), damaged(None), damaged(Some(5)));
    assert_eq!(told(&fine, &found), ["!DamageFound"]);
    assert_eq!(told(&found, &healed), ["!DamageHealed"]);
    assert_eq!(told(&fine, &healed), ["!DamageHealed"], "both between two looks");
    assert_eq!(told(&healed, &healed), Vec::<String>::new());
}

#[test]
fn what_cannot_be_restored_is_told_once_and_so_is_that_it_can_be_again() {
    let proved = |failure: Option<&str>| {
        let failure = failure.map(str::to_owned);
        serving(Facts { verified: Some(Verified { time: second(-60), txid: 4, past: None, took: Duration::ZERO, failure }), ..facts() })
    };
    let (fine, broken) = (proved(None), proved(Some("a gap")));
    assert_eq!(told(&serving(facts()), &fine), Vec::<String>::new());
    assert_eq!(told(&fine, &broken), ["!NotRestorable"]);
    assert_eq!(told(&broken, &broken), Vec::<String>::new());
    assert_eq!(told(&broken, &fine), ["Restorable"]);
}
