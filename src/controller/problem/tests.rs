use super::*;
use crate::fixtures::*;

fn message(error: &Error) -> String {
    Problem::of(&name(), error).message
}

#[test]
fn a_corrupt_snapshot_names_the_command_that_accepts_the_one_before_it() {
    let text = message(&corrupt(Previous::Intact(Etag::new("e8"))));
    assert!(text.contains("`kubectl annotate bdb orders -n apps buckethead.dev/accept-snapshot=e8 --overwrite`"), "{text}");
    assert!(text.contains("orders.db.prev is intact") && text.contains("ETag e9"), "{text}");
}

#[test]
fn without_an_intact_one_before_it_no_command_is_offered() {
    for (previous, says) in
        [(Previous::Damaged, "damaged, too"), (Previous::Absent, "There is no orders.db.prev"), (Previous::Unknown, "did not tell")]
    {
        let text = message(&corrupt(previous));
        assert!(text.contains(says) && !text.contains("kubectl"), "{text}");
    }
}

#[test]
fn what_only_a_person_can_heal_is_stuck_and_the_rest_is_not() {
    let stuck = |error: &Error| Problem::of(&name(), error).stuck;
    assert!(stuck(&corrupt(Previous::Absent)));
    assert!(stuck(&of_bucket(bucket::Error::EndpointRefused { reason: String::new() })));
    assert!(stuck(&Error::HeldElsewhere { database: name(), by: name() }));
    for heals in [bucket::Error::NoSuchBucket, bucket::Error::Unavailable { message: String::new() }, bucket::Error::PreconditionFailed] {
        assert!(!stuck(&of_bucket(heals)));
    }
}

#[test]
fn what_costs_a_whole_download_is_tried_more_rarely_the_longer_it_lasts() {
    let pauses: Vec<_> =
        [1, 2, 4, 5, 90].map(|attempts| pause(&corrupt(Previous::Absent), attempts).map(|pause| pause.as_secs() / 60)).into();
    assert_eq!(pauses, [Some(5), Some(10), Some(40), Some(60), Some(60)]);
    assert_eq!(pause(&corrupt(Previous::Unknown), 1), Some(FIRST_PAUSE), "the store may answer the next time");
}

#[test]
fn a_missing_secret_is_waited_for_and_a_wrong_field_is_not() {
    let missing = ResolveError::CredentialsMissing { secret: "s".to_owned(), key: "k".to_owned(), gap: crate::resolve::Gap::NoKey };
    let problem = Problem::from(missing);
    assert_eq!((problem.reason, problem.stuck), (Reason::CredentialsMissing, false));
    assert!(problem.message.contains("`s`") && problem.message.contains("`k`"), "{}", problem.message);
    assert!(Problem::from(ResolveError::Spec { field: "key", problem: "is empty".to_owned() }).stuck);
}

#[test]
fn a_state_that_is_offered_is_named_with_the_command_that_accepts_it() {
    let broken = |offered| Error::ChainBroken { database: name(), branch: BranchName::main(), detail: "0000/6: cut".to_owned(), offered };
    assert!(!message(&broken(None)).contains("kubectl"));
    let state = engine::ProvedState { epoch: engine::Epoch(3), txid: 1204 };
    let text = message(&broken(Some(Offered { state, time: second(0) })));
    assert!(text.contains("`kubectl annotate bdb orders -n apps buckethead.dev/accept-state=3.1204 --overwrite`"), "{text}");
    assert!(text.contains("0000/6: cut"), "{text}");
}

#[test]
fn a_store_that_keeps_no_two_writers_apart_is_told_with_what_it_does_and_both_ways_out() {
    let ignored = Error::ConditionsIgnored { database: name(), detail: "PUT with If-Match is refused".to_owned() };
    let problem = Problem::of(&name(), &ignored);
    assert!(problem.stuck && problem.reason == Reason::ConditionsIgnored);
    for word in ["PUT with If-Match is refused", "use a store that does", "spec.durability.unsafeSingleWriter"] {
        assert!(problem.message.contains(word), "{}", problem.message);
    }
}
