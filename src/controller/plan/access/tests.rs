use serde_json::json;

use super::super::plan;
use super::*;
use crate::crd::BucketDatabase;
use crate::fixtures::{config, deleted, resource, second, seen, served};
use crate::objects::Contents;
use crate::plan::Connection;
use crate::problem::LOOK_AGAIN;
use crate::reason::Reason;

fn asked(service: Stand, endpoints: Stand) -> OwnService {
    OwnService::Asked { service, endpoints }
}

fn uid() -> Uid {
    "old".to_owned()
}

fn problem(reason: Reason) -> Problem {
    Problem::stuck(reason, "because")
}

fn plain() -> BucketDatabase {
    resource(json!({}))
}

/// The plan of a database that lacks nothing but this.
fn plan_for(service: OwnService) -> Plan {
    plan(&plain(), &Observed { service, ..served() })
}

#[test]
fn a_service_is_made_and_clients_are_told_of_it_at_once() {
    let plan = plan_for(asked(Stand::Missing, Stand::Missing));
    assert_eq!(plan.steps, [Step::EnsureService { over: None }, Step::EnsureEndpoints { over: None }]);
    assert_eq!((plan.look_again, plan.verdict), (AT_ONCE, Verdict::Serving { but: None }));
}

#[test]
fn a_service_that_is_as_it_should_be_costs_nothing() {
    let plan = plan_for(asked(Stand::Current, Stand::Current));
    assert_eq!((plan.steps, plan.look_again), (vec![], LOOK_AGAIN));
}

#[test]
fn what_is_ours_is_corrected_and_what_cannot_be_is_replaced() {
    let corrected = plan_for(asked(Stand::Stale(uid()), Stand::Stale(uid())));
    assert_eq!(corrected.steps, [Step::EnsureService { over: Some(uid()) }, Step::EnsureEndpoints { over: Some(uid()) }]);
    let replaced = plan_for(asked(Stand::Misfit(uid()), Stand::Misfit(uid())));
    let wanted = [
        Step::RemoveService { uid: uid() },
        Step::EnsureService { over: None },
        Step::RemoveEndpoints { uid: uid() },
        Step::EnsureEndpoints { over: None },
    ];
    assert_eq!(replaced.steps, wanted);
}

#[test]
fn what_nobody_asks_for_any_more_goes_endpoints_first() {
    let plan = plan_for(OwnService::Surplus { service: Some(uid()), endpoints: Some(uid()) });
    assert_eq!(plan.steps, [Step::RemoveEndpoints { uid: uid() }, Step::RemoveService { uid: uid() }]);
}

#[test]
fn a_service_that_cannot_be_had_is_told_and_the_database_serves() {
    let plan = plan_for(OwnService::Refused(problem(Reason::ServiceTaken)));
    assert_eq!((plan.steps, plan.verdict), (vec![], Verdict::Serving { but: Some(problem(Reason::ServiceTaken)) }));
    assert!(plan.look_again < LOOK_AGAIN, "somebody may make room, and nobody reports it");
}

#[test]
fn nothing_about_a_service_keeps_a_database_from_being_opened_given_tokens_suspended_or_closed() {
    let services = || {
        let refused = problem(Reason::ClusterRequestFailed);
        [OwnService::Refused(refused.clone()), OwnService::Unknown(refused), asked(Stand::Missing, Stand::Missing)]
    };
    let stale = Connection::Stale(Contents::default());
    for service in services() {
        let first = |resource: &BucketDatabase, seen: &Observed| plan(resource, seen).steps[0].clone();
        let opened = first(&plain(), &Observed { service: service.clone(), ..seen() });
        assert_eq!(opened, Step::Open(Box::new(config())));
        let told = first(&plain(), &Observed { connection: stale.clone(), service: service.clone(), ..served() });
        assert_eq!(told, Step::EnsureConnectionSecret(Contents::default()));
        let suspended = first(&resource(json!({"spec": {"suspend": true}})), &Observed { service: service.clone(), ..served() });
        assert_eq!(suspended, Step::Suspend(Box::new(config())));
        let closed = plan(&deleted(json!({})), &Observed { service, ..served() });
        assert_eq!(closed.steps, [Step::Close], "what we made goes with its resource");
    }
}

#[test]
fn a_branch_that_cannot_be_made_does_not_keep_clients_of_an_open_database_from_its_service() {
    let resource = resource(json!({"spec": {"branches": [{"name": "next"}]}}));
    let plan = plan(&resource, &Observed { service: asked(Stand::Missing, Stand::Current), ..served() });
    let kinds: Vec<_> = plan.steps.iter().map(|step| super::super::StepKind::from(step).as_str()).collect();
    assert_eq!(kinds, ["EnsureService", "CreateBranch", "ListBranches"]);
}

#[test]
fn a_token_that_was_replaced_is_looked_at_again_when_its_time_is_over() {
    for (until, pause) in [(60, Duration::from_mins(1)), (0, AT_ONCE), (-5, AT_ONCE), (3600, DURING_OVERLAP)] {
        let rotation = Rotation { overlaps_until: Some(second(until)), ..Rotation::default() };
        assert_eq!(plan(&plain(), &Observed { rotation, ..served() }).look_again, pause, "{until}");
    }
}

#[test]
fn a_rotation_that_is_refused_is_told_and_worse_news_first() {
    let rotation = Rotation { refused: Some(problem(Reason::TokenGiven)), ..Rotation::default() };
    let told = plan(&plain(), &Observed { rotation: rotation.clone(), ..served() });
    assert_eq!(told.verdict, Verdict::Serving { but: Some(problem(Reason::TokenGiven)) });
    let service = OwnService::Refused(problem(Reason::ServiceTaken));
    let told = plan(&plain(), &Observed { rotation: rotation.clone(), service, ..served() });
    assert_eq!(told.verdict, Verdict::Serving { but: Some(problem(Reason::ServiceTaken)) });
    let refused = Observed { config: Err(problem(Reason::InvalidSpec)), rotation, ..served() };
    assert_eq!(plan(&plain(), &refused).verdict, Verdict::Serving { but: Some(problem(Reason::InvalidSpec)) });
}
