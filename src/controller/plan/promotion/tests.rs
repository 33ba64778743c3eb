use engine::{Holder, NotServed, State};
use serde_json::{Value, json};

use super::{failed, *};
use crate::fixtures::*;
use crate::plan::{Plan, Verdict, plan};

fn asking(patch: Value) -> BucketDatabase {
    let mut whole = json!({"spec": {"promotion": {"id": "r-7", "from": {"branch": "next"}}}});
    if let (Value::Object(into), Value::Object(from)) = (&mut whole["spec"]["promotion"], patch) {
        into.extend(from);
    }
    resource(whole)
}

fn asked(resource: &BucketDatabase) -> &Promotion {
    resource.spec.promotion.as_ref().unwrap()
}

fn branch(name: &str) -> BranchName {
    BranchName::parse(name).unwrap()
}

fn done() -> Overwritten {
    Overwritten { txid: 5, time: second(-9), from: Some(("next".to_owned(), 3)), before: 4, snapshot: None }
}

/// The database is open, and this is known of the promotion.
fn knowing(settlement: Option<Settlement>) -> Observed {
    let mut seen = served();
    seen.lineage.promotion = settlement;
    seen
}

fn promotes(plan: &Plan) -> bool {
    plan.steps.iter().any(|step| matches!(step, Step::Promote { .. }))
}

fn problem_of(plan: &Plan) -> Option<Reason> {
    match &plan.verdict {
        Verdict::Serving { but: Some(problem) } => Some(problem.reason),
        _ => None,
    }
}

#[test]
fn an_open_database_carries_out_what_nobody_has_settled() {
    let resource = asking(json!({"from": {"branch": "next", "txid": 3}, "expectedTxid": 4, "keepPreviousAs": "before"}));
    let request = OverwriteRequest {
        id: Some("r-7".to_owned()),
        from: branch("next"),
        txid: Some(3),
        expected: Some(4),
        keep_as: Some(branch("before")),
        meant_for: None,
    };
    let step = Step::Promote { to: branch("main"), request: Box::new(request), at: second(0) };
    assert_eq!(plan(&resource, &knowing(None)).steps, [step, Step::ListBranches]);
}

#[test]
fn a_branch_that_another_resource_declares_to_serve_is_meant_for_that_one() {
    let for_whom = |other: Value| {
        let other = resource(json!({"metadata": {"name": "other"}, "spec": other}));
        let seen = Observed { neighbours: crate::rival::neighbours(&resource(json!({})), [&other]), ..knowing(None) };
        let plan = plan(&asking(json!({"to": "prod"})), &seen);
        plan.steps
            .into_iter()
            .find_map(|step| if let Step::Promote { request, .. } = step { Some(request.meant_for) } else { None })
            .unwrap()
    };
    assert_eq!(for_whom(json!({"branch": "prod"})), Some(DatabaseName::new("apps", "other")));
    assert_eq!(for_whom(json!({"branch": "next"})), None);
    assert_eq!(for_whom(json!({"branch": "prod", "suspend": true})), None);
}

#[test]
fn a_database_that_is_not_open_is_opened_first() {
    for hosted in [State::Absent, State::Opening, State::Closing] {
        assert!(!promotes(&plan(&asking(json!({})), &Observed { hosted, ..knowing(None) })));
    }
}

#[test]
fn what_is_done_is_not_asked_again_until_the_block_changes() {
    let resource = asking(json!({}));
    let settled = Some(applied(asked(&resource), &done()));
    let plan = plan(&resource, &knowing(settled.clone()));
    assert_eq!((plan.steps, plan.verdict), (vec![], Verdict::Serving { but: None }));
    for changed in [json!({"id": "r-8"}), json!({"expectedTxid": 4}), json!({"from": {"branch": "next", "txid": 3}})] {
        assert!(promotes(&super::super::plan(&asking(changed), &knowing(settled.clone()))));
    }
}

/// Each failure: whether it is tried again, and what the resource is told.
fn failures() -> Vec<(Error, Option<u64>, Reason, bool)> {
    let (database, to, next) = (name(), branch("main"), branch("next"));
    let holder = Holder { cluster: "c".to_owned(), resource: "apps/other".to_owned(), pod: "p".to_owned() };
    let id = "r-7".to_owned();
    vec![
        (Error::BranchNotFound { database: database.clone(), branch: next.clone() }, Some(1), Reason::BranchNotFound, false),
        (
            Error::NoSuchState { database: database.clone(), branch: next.clone(), asked: 9, newest: 8, detail: String::new() },
            Some(1),
            Reason::TxidNotAvailable,
            false,
        ),
        (
            Error::NoSuchState { database: database.clone(), branch: next.clone(), asked: 7, newest: 8, detail: String::new() },
            None,
            Reason::TxidNotAvailable,
            true,
        ),
        (unreachable(), Some(1), Reason::EndpointUnreachable, false),
        (Error::NotServed { database: database.clone(), why: NotServed::Opening }, Some(1), Reason::InternalError, false),
        (
            Error::ContentChanged { database: database.clone(), branch: to.clone(), expected: 1, found: 2 },
            None,
            Reason::ContentChanged,
            true,
        ),
        (Error::PromotionIdUsed { database: database.clone(), branch: to.clone(), id: id.clone() }, None, Reason::PromotionIdUsed, true),
        (Error::HistoryLost { database: database.clone(), branch: to.clone(), id }, None, Reason::HistoryUnknown, true),
        (Error::BranchExists { database: database.clone(), branch: branch("before") }, None, Reason::BranchRefused, true),
        (Error::BranchDeleted { database: database.clone(), branch: next }, None, Reason::BranchDeleted, true),
        (
            Error::ServedElsewhere { database: database.clone(), branch: to.clone(), by: name() },
            Some(30),
            Reason::TargetServedElsewhere,
            true,
        ),
        (
            Error::HeldByOther { database, branch: to, by: Box::new(holder), epoch: engine::Epoch(3) },
            Some(30),
            Reason::TargetServedElsewhere,
            true,
        ),
    ]
}

#[test]
fn each_failure_has_its_reason_and_only_what_may_end_otherwise_is_tried_again() {
    let resource = asking(json!({}));
    for (error, pause, reason, stuck) in failures() {
        let settlement = failed(asked(&resource), None, &name(), &error, second(0));
        let End::Failed { problem, pause: left, .. } = &settlement.end else { panic!("{settlement:?}") };
        assert_eq!((problem.reason, problem.stuck), (reason, stuck), "{error}");
        assert_eq!(*left, pause.map(Duration::from_secs), "{error}");
        let now = plan(&resource, &knowing(Some(settlement.clone())));
        assert_eq!((promotes(&now), problem_of(&now)), (false, Some(reason)), "{error}");
        let later = Observed { now: second(90_000), ..knowing(Some(settlement)) };
        assert_eq!(promotes(&plan(&resource, &later)), pause.is_some(), "{error}");
    }
}

#[test]
fn the_pauses_grow_with_each_try() {
    let resource = asking(json!({}));
    let missing = Error::BranchNotFound { database: name(), branch: branch("next") };
    let mut known = None;
    for seconds in [1, 2, 4, 8] {
        let settlement = failed(asked(&resource), known.as_ref(), &name(), &missing, second(0));
        let End::Failed { pause, .. } = settlement.end else { panic!("it failed") };
        assert_eq!(pause, Some(Duration::from_secs(seconds)));
        let early = Observed { now: second(0), ..knowing(Some(settlement.clone())) };
        assert_eq!(plan(&resource, &early).look_again, Duration::from_secs(seconds));
        known = Some(settlement);
    }
}

#[test]
fn what_the_status_remembers_is_settled_for_the_next_process() {
    let resource = asking(json!({}));
    let table = [
        (applied(asked(&resource), &done()), false),
        (
            failed(
                asked(&resource),
                None,
                &name(),
                &Error::ContentChanged { database: name(), branch: branch("main"), expected: 1, found: 2 },
                second(0),
            ),
            false,
        ),
        (failed(asked(&resource), None, &name(), &unreachable(), second(0)), true),
        (
            failed(
                asked(&resource),
                None,
                &name(),
                &Error::ServedElsewhere { database: name(), branch: branch("main"), by: name() },
                second(0),
            ),
            true,
        ),
    ];
    for (settlement, tries_again) in table {
        let told = status::Said { verdict: &Verdict::Serving { but: None }, flushed: None, url: "u", host: "h", binding: None, gc: None };
        let status = status::next(&resource, &BucketDatabaseStatus::default(), &knowing(Some(settlement.clone())), &told);
        let recalled = recalled(&status, second(0));
        assert_eq!(promotes(&plan(&resource, &knowing(recalled))), tries_again, "{settlement:?}");
    }
}

#[test]
fn the_branch_that_it_takes_from_is_made_first_and_the_others_last() {
    let mut resource = asking(json!({}));
    let declared = json!([{"name": "aside"}, {"name": "next"}]);
    resource.spec.branches = serde_json::from_value(declared).unwrap();
    let told = |step: &Step| match step {
        Step::CreateBranch { new, .. } => new.name.to_string(),
        Step::Promote { .. } => "promote".to_owned(),
        Step::ListBranches => "list".to_owned(),
        other => format!("{other:?}"),
    };
    let steps: Vec<_> = plan(&resource, &knowing(None)).steps.iter().map(told).collect();
    assert_eq!(steps, ["next", "promote", "aside", "list"]);
}

#[test]
fn a_failed_try_is_told_in_the_verdict() {
    let resource = asking(json!({}));
    let problem = Problem::stuck(Reason::ContentChanged, "m");
    let result = Err(crate::error::Error::Promotion(problem.clone()));
    assert_eq!(Verdict::Serving { but: None }.after(&resource, &result), Verdict::Serving { but: Some(problem) });
}
