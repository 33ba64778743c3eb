use engine::{BranchName, Epoch, Etag, Outside, Previous, ProvedState};
use serde_json::json;

use super::*;
use crate::fixtures::*;

fn said(verdict: &Verdict) -> Said<'_> {
    Said { verdict, flushed: None, gc: None, url: "http://host/apps/orders/", host: "pod-0", binding: None }
}

fn status_of(seen: &Observed, verdict: &Verdict) -> BucketDatabaseStatus {
    next(&resource(json!({})), &BucketDatabaseStatus::default(), seen, &said(verdict))
}

/// Type, status and reason of each condition.
fn told(seen: &Observed, verdict: &Verdict) -> Vec<String> {
    let status = status_of(seen, verdict);
    status.conditions.iter().map(|it| format!("{} {} {}", it.type_, it.status, it.reason)).collect()
}

fn opened(facts: Facts) -> Observed {
    Observed { hosted: State::Open(facts), ..served() }
}

const SERVING: Verdict = Verdict::Serving { but: None };

#[test]
fn a_database_that_serves_is_ready_and_neither_reconciling_nor_stalled() {
    let expected = [
        "Ready True Serving",
        "Restored True Restored",
        "Durable True SnapshotsSucceed",
        "Verified Unknown NotVerified",
        "Writable True Serving",
    ];
    assert_eq!(told(&served(), &SERVING), expected);
}

#[test]
fn what_it_began_with_is_told() {
    for (origin, reason) in [
        (Origin::Empty, "StartedEmpty"),
        (Origin::Previous { etag: Etag::new("e8") }, "PreviousAccepted"),
        (Origin::Accepted { state: ProvedState { epoch: Epoch(3), txid: 4 }, instead_of: 6 }, "StateAccepted"),
    ] {
        assert_eq!(told(&opened(Facts { origin, ..facts() }), &SERVING)[1], format!("Restored True {reason}"));
    }
}

#[test]
fn a_restore_under_way_is_unknown_not_false() {
    let expected = [
        "Ready Unknown Restoring",
        "Reconciling True Restoring",
        "Restored Unknown Restoring",
        "Durable Unknown Restoring",
        "Verified Unknown Restoring",
        "Writable False Restoring",
    ];
    assert_eq!(told(&seen(), &Verdict::Restoring), expected);
}

#[test]
fn a_failure_that_may_heal_is_reconciling_and_one_that_may_not_is_stalled() {
    let heals = Verdict::Failed(Problem::passing(Reason::BucketMissing, "m"));
    let expected = [
        "Ready False BucketMissing",
        "Reconciling True BucketMissing",
        "Restored False BucketMissing",
        "Durable Unknown BucketMissing",
        "Verified Unknown BucketMissing",
        "Writable False BucketMissing",
    ];
    assert_eq!(told(&seen(), &heals), expected);
    let stuck = Verdict::Failed(Problem::of(&name(), &corrupt(Previous::Damaged)));
    assert_eq!(told(&seen(), &stuck)[..2], ["Ready False SnapshotCorrupt", "Stalled True SnapshotCorrupt"]);
}

#[test]
fn failing_uploads_make_it_not_durable_and_nothing_else() {
    let expected = [
        "Ready True Serving",
        "Restored True Restored",
        "Durable False EndpointUnreachable",
        "Verified Unknown NotVerified",
        "Writable True Serving",
    ];
    assert_eq!(told(&opened(Facts { uploads: failing(), ..facts() }), &SERVING), expected);
}

#[test]
fn a_state_of_somebody_else_is_told_and_changes_nothing_else() {
    let outside = Outside { branch: BranchName::parse("outside-1").unwrap(), time: second(-60) };
    let expected = [
        "Ready True Serving",
        "Restored True Restored",
        "Durable True OutsideSnapshotKept",
        "Verified Unknown NotVerified",
        "Writable True Serving",
    ];
    let seen = opened(Facts { outside: Some(outside), ..facts() });
    assert_eq!(told(&seen, &SERVING), expected);
    assert!(status_of(&seen, &SERVING).conditions[2].message.contains("branch outside-1"));
}

#[test]
fn a_missing_secret_beside_a_serving_database_leaves_it_ready_and_a_refused_field_does_not() {
    let missing = Verdict::Serving { but: Some(Problem::passing(Reason::CredentialsMissing, "no Secret `s`")) };
    assert_eq!(told(&served(), &missing)[..2], ["Ready True Serving", "Reconciling True CredentialsMissing"]);
    assert!(status_of(&served(), &missing).conditions[0].message.contains("no Secret `s`"));
    let refused = Verdict::Serving { but: Some(Problem::stuck(Reason::FieldNotSupported, "spec.suspend")) };
    assert_eq!(told(&served(), &refused)[..2], ["Ready False FieldNotSupported", "Stalled True FieldNotSupported"]);
}

#[test]
fn trouble_begins_when_it_is_told_whether_or_not_the_database_serves() {
    let missing = Problem::passing(Reason::CredentialsMissing, "no Secret `s`");
    for verdict in [Verdict::Serving { but: Some(missing.clone()) }, Verdict::Failed(missing)] {
        let seen = served();
        assert_eq!(troubled_since(&status_of(&seen, &verdict)), Some(seen.now), "{verdict:?}");
    }
    assert_eq!(troubled_since(&status_of(&served(), &SERVING)), None);
}

#[test]
fn a_deleted_resource_tells_why_it_is_still_there() {
    let closing = Verdict::Closing { but: Some(Problem::passing(Reason::EndpointUnreachable, "the final flush failed")) };
    assert_eq!(told(&served(), &closing)[..2], ["Ready False EndpointUnreachable", "Reconciling True Closing"]);
}

#[test]
fn the_observed_generation_stands_on_the_status_and_on_each_condition() {
    for verdict in [SERVING, Verdict::Restoring, Verdict::Failed(Problem::passing(Reason::BucketMissing, "m"))] {
        let status = status_of(&seen(), &verdict);
        assert_eq!(status.observed_generation, Some(3));
        assert!(status.conditions.iter().all(|condition| condition.observed_generation == Some(3)));
    }
}

#[test]
fn the_facts_of_the_host_stand_in_the_status_and_stay_while_it_is_closed() {
    let status = status_of(&served(), &SERVING);
    let snapshot = status.last_snapshot.clone().unwrap();
    assert_eq!((status.txid, status.size.clone(), snapshot.etag.as_str()), (Some(4), Some(8192.into()), "e4"));
    assert_eq!((status.url.as_deref(), status.host.as_deref()), (Some("http://host/apps/orders/"), Some("pod-0")));
    let closed = next(&resource(json!({})), &status, &seen(), &said(&Verdict::Restoring));
    assert_eq!((closed.last_snapshot, closed.txid), (status.last_snapshot, status.txid));
}

#[test]
fn a_transition_time_moves_only_when_the_status_of_its_condition_does() {
    let first = status_of(&seen(), &Verdict::Failed(Problem::passing(Reason::BucketMissing, "m")));
    let later = Observed { now: second(60), ..seen() };
    let other = next(&resource(json!({})), &first, &later, &said(&Verdict::Failed(Problem::passing(Reason::EndpointUnreachable, "n"))));
    assert_eq!(find(&other, READY).unwrap().last_transition_time.0, second(0), "another reason is no transition");
    let ready = next(&resource(json!({})), &other, &Observed { now: second(90), ..served() }, &said(&SERVING));
    assert_eq!(find(&ready, READY).unwrap().last_transition_time.0, second(90));
}

#[test]
fn two_looks_at_the_same_state_make_the_same_status() {
    let first = status_of(&served(), &SERVING);
    let second_look = next(&resource(json!({})), &first, &Observed { now: second(3600), ..served() }, &said(&SERVING));
    assert_eq!(second_look, first);
}

#[test]
fn a_flush_that_was_asked_for_is_recorded_beside_the_other_requests() {
    let previous = BucketDatabaseStatus {
        last_handled: Some(LastHandled { gc: Some("g".to_owned()), ..LastHandled::default() }),
        ..Default::default()
    };
    let said = Said { flushed: Some("noon"), ..said(&SERVING) };
    let handled = next(&resource(json!({})), &previous, &served(), &said).last_handled.unwrap();
    assert_eq!((handled.flush.as_deref(), handled.gc.as_deref()), (Some("noon"), Some("g")));
}

const HALF_A_MINUTE: Duration = Duration::from_secs(30);

fn due_after(change: impl FnOnce(&mut BucketDatabaseStatus), passed: i64) -> Due {
    let previous = status_of(&served(), &SERVING);
    let mut next = previous.clone();
    change(&mut next);
    due(&previous, &next, Some(second(-passed)), second(0), HALF_A_MINUTE)
}

#[test]
fn an_unchanged_status_is_never_written() {
    assert_eq!(due_after(|_| {}, 9000), Due::Never);
}

#[test]
fn facts_that_move_with_commits_wait_for_their_turn() {
    let facts: [fn(&mut BucketDatabaseStatus); 5] = [
        |status| status.size = Some(1.into()),
        |status| status.txid = Some(9),
        |status| status.durable_time = None,
        |status| status.last_snapshot = None,
        |status| status.conditions[2].message = "another".to_owned(),
    ];
    for change in facts {
        assert_eq!(due_after(change, 10), Due::In(Duration::from_secs(20)));
        assert_eq!(due_after(change, 30), Due::Now);
    }
}

#[test]
fn a_change_of_a_condition_or_of_what_was_handled_is_written_at_once() {
    let news: [fn(&mut BucketDatabaseStatus); 4] = [
        |status| status.conditions[2].status = "False".to_owned(),
        |status| status.conditions[2].reason = "Other".to_owned(),
        |status| status.observed_generation = Some(4),
        |status| status.last_handled = Some(LastHandled::default()),
    ];
    for change in news {
        assert_eq!(due_after(change, 0), Due::Now);
    }
}

#[test]
fn the_first_status_of_a_process_is_written_at_once() {
    let status = status_of(&served(), &SERVING);
    assert_eq!(due(&BucketDatabaseStatus::default(), &status, None, second(0), HALF_A_MINUTE), Due::Now);
}

#[test]
fn a_suspended_database_is_not_ready_neither_reconciling_nor_stalled_and_all_of_it_is_durable() {
    let rests = Observed { hosted: State::Suspended { released: true, last_snapshot: facts().last_snapshot }, ..seen() };
    let expected = [
        "Ready False Suspended",
        "Restored Unknown Suspended",
        "Durable True Suspended",
        "Verified Unknown Suspended",
        "Writable False Suspended",
    ];
    assert_eq!(told(&rests, &Verdict::Suspended), expected);
    let status = status_of(&rests, &Verdict::Suspended);
    assert!(status.conditions[0].message.contains("kubectl patch bdb orders -n apps"), "how to resume: {}", status.conditions[0].message);
    assert_eq!((status.txid, status.last_snapshot.map(|last| last.etag)), (Some(4), Some("e4".to_owned())), "of the last flush");
    assert_eq!(told(&served(), &Verdict::Suspending { serves: true })[..2], ["Ready False Suspending", "Reconciling True Suspending"]);
}

fn proof(failure: Option<&str>) -> Verified {
    let took = Duration::from_secs(1);
    Verified { time: second(-60), txid: 4, past: Some(2), took, failure: failure.map(str::to_owned) }
}

fn damaged(renewed: Option<u64>) -> Damaged {
    let files = vec![Damage { file: "0000/3".to_owned(), detail: "cut".to_owned() }];
    Damaged { files, time: second(-90), renewed }
}

fn verified(facts: Facts) -> (String, String) {
    let status = status_of(&opened(facts), &SERVING);
    let found = find(&status, VERIFIED).unwrap();
    (format!("{} {}", found.status, found.reason), found.message.clone())
}

#[test]
fn whether_it_can_be_restored_is_told_with_what_was_found() {
    let fine = Facts { verified: Some(proof(None)), ..facts() };
    let (found, message) = verified(fine.clone());
    assert_eq!(found, "True Restorable");
    assert!(message.contains("txid 4 and that of txid 2"), "{message}");
    let broken = Facts { verified: Some(proof(Some("a gap"))), damaged: Some(damaged(Some(5))), ..facts() };
    assert_eq!(verified(broken).0, "False NotRestorable");
    for (renewed, expected) in [(None, "False DamageFound"), (Some(5), "True DamageHealed")] {
        let (found, message) = verified(Facts { damaged: Some(damaged(renewed)), ..fine.clone() });
        assert_eq!(found, expected);
        assert!(message.contains("0000/3: cut"), "{message}");
    }
    let (found, message) = verified(Facts { unverified: Some("no store".to_owned()), ..facts() });
    assert_eq!(found, "Unknown NotVerified");
    assert!(message.contains("no store"), "{message}");
}

#[test]
fn a_proof_is_remembered_by_the_status() {
    let status = status_of(&opened(Facts { verified: Some(proof(None)), ..facts() }), &SERVING);
    let known = status.last_verified.clone().unwrap();
    assert_eq!((known.txid, known.ok), (4, true));
    let later = next(&resource(json!({})), &status, &opened(facts()), &said(&SERVING));
    assert_eq!(later.last_verified, status.last_verified);
    assert_eq!(find(&later, VERIFIED).map(|found| found.reason.as_str()), Some("Restorable"));
}

#[test]
fn whether_a_second_writer_is_kept_out_is_told_where_somebody_permitted_otherwise() {
    let permitted = resource(json!({"spec": {"durability": {"unsafeSingleWriter": true}}}));
    let told = |resource: &BucketDatabase, seen: &Observed, verdict: &Verdict| {
        let status = next(resource, &BucketDatabaseStatus::default(), seen, &said(verdict));
        let ready = find(&status, READY).unwrap().status.clone();
        find(&status, SECOND_WRITER_EXCLUDED).map(|it| (format!("{} {}", it.status, it.reason), it.message.clone(), ready))
    };
    assert_eq!(told(&resource(json!({})), &served(), &SERVING), None);
    assert_eq!(told(&permitted, &served(), &SERVING).unwrap().0, "True ConditionsHonoured");
    assert_eq!(told(&permitted, &seen(), &Verdict::Restoring).unwrap().0, "Unknown Restoring");
    let exposed = opened(Facts { unconditional: Some("PUT with If-Match is refused".into()), ..facts() });
    let (truth, message, ready) = told(&permitted, &exposed, &SERVING).unwrap();
    assert_eq!((truth.as_str(), ready.as_str()), ("False SingleWriterUnsafe", "True"), "it serves all the same");
    assert!(message.contains("PUT with If-Match is refused") && message.contains("let nothing else write"), "{message}");
    let (truth, message, _) = told(&resource(json!({})), &exposed, &SERVING).unwrap();
    assert!(truth == "False SingleWriterUnsafe" && message.contains("is not set any more"), "{message}");
}

#[test]
fn the_limit_that_is_in_force_is_told_and_what_is_beyond_the_quota() {
    use crate::quota::{Claim, Quotas, share};
    let mine = resource(json!({}));
    let quotas: Quotas = serde_json::from_value(json!({"default": {"databases": 0}})).unwrap();
    let beyond = |held| share(&quotas.of("apps").unwrap(), &mine, vec![Claim::of(&mine, held)]);
    let seen = Observed { held: Some(1 << 20), share: beyond(Some(1 << 20)), ..served() };
    let status = status_of(&seen, &SERVING);
    assert_eq!(status.max_size, Some((1 << 20).into()));
    assert!(is_ready(&status), "what was let in stays");
    let within = find(&status, WITHIN_QUOTA).unwrap();
    assert_eq!((within.status.as_str(), within.reason.as_str()), ("False", "QuotaExceeded"));
    assert!(find(&status_of(&served(), &SERVING), WITHIN_QUOTA).is_none());
    let previous = next(&mine, &status, &Observed { held: None, ..seen }, &said(&Verdict::Suspended));
    assert_eq!(previous.max_size, None);
}
