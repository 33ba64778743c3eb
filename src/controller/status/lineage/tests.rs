use std::time::Duration;

use engine::{BranchName, Etag, Fate, Listing};
use serde_json::json;

use super::*;
use crate::crd::BucketDatabaseStatus;
use crate::fixtures::*;
use crate::plan::Observed;
use crate::plan::lineage::Settlement;
use crate::problem::Problem;
use crate::status::{Due, Said, due, find, next};

fn asking() -> BucketDatabase {
    resource(json!({"spec": {"promotion": {"id": "r-7", "from": {"branch": "next"}}}}))
}

fn told(resource: &BucketDatabase, seen: &Observed, verdict: &Verdict) -> BucketDatabaseStatus {
    let said = Said { verdict, flushed: None, url: "u", host: "h", binding: None, gc: None };
    next(resource, &BucketDatabaseStatus::default(), seen, &said)
}

fn knowing(end: End) -> Observed {
    let digest = digest(asking().spec.promotion.as_ref().unwrap());
    let mut seen = served();
    seen.lineage.promotion = Some(Settlement { digest, end });
    seen
}

fn failed(problem: Problem) -> End {
    End::Failed { problem, attempts: 1, at: second(0), pause: None }
}

const SERVING: Verdict = Verdict::Serving { but: None };

#[test]
fn a_resource_without_promotion_says_nothing_of_one() {
    let status = told(&resource(json!({})), &knowing(failed(Problem::stuck(Reason::ContentChanged, "m"))), &SERVING);
    assert_eq!((find(&status, PROMOTION_APPLIED), &status.promotion), (None, &None));
}

#[test]
fn each_end_of_a_promotion_has_its_phase_and_its_condition() {
    let applied = End::Applied { txid: Some(5), time: Some(second(-9)), message: "main took it".to_owned() };
    let table = vec![
        (knowing(applied), SERVING, PromotionPhase::Applied, "True Promoted"),
        (knowing(failed(Problem::stuck(Reason::ContentChanged, "m"))), SERVING, PromotionPhase::Failed, "False ContentChanged"),
        (knowing(failed(Problem::passing(Reason::BranchNotFound, "m"))), SERVING, PromotionPhase::Pending, "False BranchNotFound"),
        (
            knowing(failed(Problem::passing(Reason::EndpointUnreachable, "m"))),
            SERVING,
            PromotionPhase::Pending,
            "Unknown EndpointUnreachable",
        ),
        (served(), SERVING, PromotionPhase::Pending, "Unknown PromotionPending"),
        (seen(), Verdict::Restoring, PromotionPhase::Pending, "Unknown PromotionPending"),
    ];
    for (seen, verdict, phase, condition) in table {
        let status = told(&asking(), &seen, &verdict);
        let found = find(&status, PROMOTION_APPLIED).unwrap();
        assert_eq!(format!("{} {}", found.status, found.reason), condition);
        let promotion = status.promotion.unwrap();
        assert_eq!((promotion.id.as_str(), promotion.phase), ("r-7", Some(phase)), "{condition}");
        assert_eq!(promotion.txid.is_some(), phase == PromotionPhase::Applied);
    }
}

fn listed_branch(name: &str) -> BranchFacts {
    BranchFacts {
        name: BranchName::parse(name).unwrap(),
        txid: 2,
        size: 4096,
        etag: Etag::new("e2"),
        last_modified: Some(second(-60)),
        parent: Some(("main".to_owned(), 2)),
        holder: None,
        made_here: true,
        fate: Fate::default(),
    }
}

#[test]
fn branches_are_told_as_they_were_listed_and_the_served_one_as_it_is_now() {
    let branches = vec![listed_branch("main"), listed_branch("next")];
    let seen = Observed { lineage: listed(Listing { branches, half_deleted: Vec::new() }), ..served() };
    let status = told(&resource(json!({})), &seen, &SERVING);
    let txids: Vec<_> = status.branches.iter().map(|branch| (branch.name.as_str(), branch.txid)).collect();
    assert_eq!(txids, [("main", Some(4)), ("next", Some(2))]);
    assert_eq!(status.branches[1].parent.as_deref(), Some("main"));
    // A snapshot of the served branch is no news that people wait for; another branch is.
    let mut moved = status.clone();
    moved.branches[0].txid = Some(5);
    let (now, interval) = (second(0), Duration::from_secs(30));
    assert_eq!(due(&status, &moved, Some(now), now, interval), Due::In(interval));
    moved.branches.pop();
    assert_eq!(due(&status, &moved, Some(now), now, interval), Due::Now);
}

#[test]
fn no_more_branches_are_told_than_the_list_may_have() {
    let branches = (0..70).map(|number| listed_branch(&format!("b{number}"))).collect();
    let seen = Observed { lineage: listed(Listing { branches, half_deleted: Vec::new() }), ..served() };
    assert_eq!(told(&resource(json!({})), &seen, &SERVING).branches.len(), MOST_BRANCHES);
}
