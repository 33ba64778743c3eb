use engine::DatabaseName;
use serde_json::json;

use crate::crd::BucketDatabase;
use crate::error::Error;
use crate::fixtures::*;
use crate::plan::{AT_ONCE, FLUSH_REQUESTED_AT, Observed, Plan, SOON, Step, Verdict, plan};
use crate::problem::{LOOK_AGAIN, Problem};
use crate::reason::Reason;
use engine::State;

fn suspended() -> BucketDatabase {
    resource(json!({"spec": {"suspend": true}}))
}

fn suspend() -> Step {
    Step::Suspend(Box::new(config()))
}

fn resting(released: bool) -> State {
    State::Suspended { released, last_snapshot: facts().last_snapshot }
}

fn missing() -> Problem {
    Problem::passing(Reason::CredentialsMissing, "there is no Secret")
}

#[test]
fn whatever_the_host_has_is_led_to_rest_and_then_nothing_is_done() {
    let at = |hosted| plan(&suspended(), &Observed { hosted, ..seen() });
    let work = |serves| Plan { steps: vec![suspend()], look_again: AT_ONCE, verdict: Verdict::Suspending { serves } };
    assert_eq!(at(State::Open(facts())), work(true));
    for hosted in [State::Absent, failed(unreachable(), 3, second(0)), resting(false)] {
        assert_eq!(at(hosted.clone()), work(false), "{hosted:?}: an earlier process may have died without a release");
    }
    for hosted in [State::Opening, State::Closing] {
        assert_eq!(at(hosted), Plan { steps: vec![], look_again: SOON, verdict: Verdict::Suspending { serves: false } });
    }
    let rests = Observed { hosted: resting(true), applied: Some(config()), ..seen() };
    assert_eq!(plan(&suspended(), &rests), Plan { steps: vec![], look_again: LOOK_AGAIN, verdict: Verdict::Suspended });
}

#[test]
fn a_suspended_resource_makes_no_branch_switches_to_none_and_flushes_nothing() {
    let asking = resource(json!({
        "metadata": {"annotations": {FLUSH_REQUESTED_AT: "noon"}},
        "spec": {"suspend": true, "branch": "next", "branches": [{"name": "next"}]},
    }));
    for hosted in [State::Open(facts()), State::Absent] {
        assert_eq!(plan(&asking, &Observed { hosted, ..seen() }).steps, [suspend()]);
    }
    let rests = Observed { hosted: resting(true), applied: Some(config()), rival: Some(DatabaseName::new("apps", "other")), ..seen() };
    assert_eq!(plan(&asking, &rests).steps, []);
}

#[test]
fn who_may_ask_it_is_kept_as_the_secrets_say_while_it_rests() {
    let rests = Observed { hosted: resting(true), applied: None, ..seen() };
    assert_eq!(plan(&suspended(), &rests).steps, [Step::Reconfigure(Box::new(config()))]);
}

#[test]
fn without_its_secrets_it_is_saved_with_what_it_was_opened_with() {
    let gone = || Observed { config: Err(missing()), ..served() };
    assert_eq!(plan(&suspended(), &gone()).steps, [suspend()]);
    let unknown = Observed { applied: None, hosted: State::Absent, ..gone() };
    assert_eq!(plan(&suspended(), &unknown).verdict, Verdict::Failed(missing()), "nobody can look whether it is released");
    let rests = Observed { applied: None, hosted: resting(true), ..gone() };
    assert_eq!(plan(&suspended(), &rests).verdict, Verdict::Suspended);
}

#[test]
fn a_failed_last_flush_keeps_it_serving_and_is_told() {
    let error: Result<(), Error> = Err(Error::Engine(std::sync::Arc::new(unreachable())));
    let Verdict::Serving { but: Some(problem) } = (Verdict::Suspending { serves: true }).after(&suspended(), &error) else {
        panic!("it serves")
    };
    assert_eq!((problem.reason, problem.stuck), (Reason::EndpointUnreachable, false));
    assert!(problem.message.contains("the last flush before the suspension failed"), "{}", problem.message);
    let closed = (Verdict::Suspending { serves: false }).after(&suspended(), &error);
    assert!(matches!(&closed, Verdict::Failed(problem) if problem.reason == Reason::EndpointUnreachable), "{closed:?}");
}

#[test]
fn a_resumed_resource_is_opened_unless_somebody_came_before_it() {
    let resumed = resource(json!({}));
    let open = Step::Open(Box::new(config()));
    for released in [true, false] {
        assert_eq!(plan(&resumed, &Observed { hosted: resting(released), ..seen() }).steps, std::slice::from_ref(&open));
    }
    let rival = Some(DatabaseName::new("apps", "older"));
    let held = plan(&resumed, &Observed { hosted: resting(true), rival, ..seen() });
    assert_eq!(held.steps, [Step::Forget], "it does not say any more that it is suspended");
    assert!(matches!(&held.verdict, Verdict::Failed(problem) if problem.reason == Reason::HeldElsewhere), "{held:?}");
}
