//! What the status says of branches and of the promotion. Pure.

use engine::{BranchFacts, Facts};

use super::condition::PROMOTION_APPLIED;
use super::{Finding, Truth, finding, whole_seconds};
use crate::crd::{BranchStatus, BucketDatabase, Promotion, PromotionPhase, PromotionStatus};
use crate::plan::Verdict;
use crate::plan::lineage::{End, Lineage};
use crate::plan::promotion::{digest, settled};
use crate::reason::Reason;

/// As many as the schema's list may have.
const MOST_BRANCHES: usize = 64;

/// The branches that were listed; of the one that is served, what is known now.
pub(super) fn branches(lineage: &Lineage, facts: &Facts) -> Option<Vec<BranchStatus>> {
    let listed = lineage.listed.as_ref()?;
    Some(listed.found.branches.iter().take(MOST_BRANCHES).map(|branch| describe(branch, facts)).collect())
}

fn describe(branch: &BranchFacts, facts: &Facts) -> BranchStatus {
    let newest = facts.last_snapshot.as_ref().filter(|_| branch.name == facts.branch);
    BranchStatus {
        name: branch.name.as_str().to_owned(),
        txid: Some(newest.map_or(branch.txid, |newest| newest.txid)),
        size: Some(newest.map_or(branch.size, |newest| newest.size).into()),
        etag: Some(newest.map_or(&branch.etag, |newest| &newest.etag).as_str().to_owned()),
        last_modified: newest.map(|newest| newest.time).or(branch.last_modified).map(whole_seconds),
        parent: branch.parent.as_ref().map(|(parent, _)| parent.clone()),
    }
}

/// The same without what moves with commits: of the branch that is served.
pub(super) fn steady(branches: &[BranchStatus], served: Option<&str>) -> Vec<BranchStatus> {
    let steady = |branch: &BranchStatus| {
        if served == Some(&*branch.name) {
            BranchStatus { txid: None, size: None, etag: None, last_modified: None, ..branch.clone() }
        } else {
            branch.clone()
        }
    };
    branches.iter().map(steady).collect()
}

/// How the promotion of the spec stands.
pub(super) fn promotion(resource: &BucketDatabase, lineage: &Lineage, verdict: &Verdict) -> Option<PromotionStatus> {
    let promotion = resource.spec.promotion.as_ref()?;
    let end = settled(promotion, lineage.promotion.as_ref());
    let (phase, txid, time, message) = match end {
        Some(End::Applied { txid, time, message }) => (PromotionPhase::Applied, *txid, time.map(whole_seconds), message.clone()),
        Some(End::Failed { problem, .. }) if problem.stuck => (PromotionPhase::Failed, None, None, problem.message.clone()),
        Some(End::Failed { problem, .. }) => (PromotionPhase::Pending, None, None, problem.message.clone()),
        None => (PromotionPhase::Pending, None, None, waiting(verdict).to_owned()),
    };
    Some(PromotionStatus {
        id: promotion.id.clone(),
        digest: Some(digest(promotion)),
        phase: Some(phase),
        from: Some(promotion.from.branch.clone()),
        to: Some(promotion.to.clone()),
        txid,
        time,
        message: Some(message),
    })
}

/// Only of a resource that asks for one.
pub(super) fn promotion_applied(asked: &Promotion, lineage: &Lineage, verdict: &Verdict) -> Finding {
    match settled(asked, lineage.promotion.as_ref()) {
        Some(End::Applied { message, .. }) => finding(PROMOTION_APPLIED, Truth::True, Reason::Promoted, message),
        Some(End::Failed { problem, .. }) => {
            // Of a try whose end is not known nobody may say that it did not happen.
            let is_known = problem.stuck || matches!(problem.reason, Reason::BranchNotFound | Reason::TxidNotAvailable);
            finding(PROMOTION_APPLIED, if is_known { Truth::False } else { Truth::Unknown }, problem.reason, &problem.message)
        }
        None => finding(PROMOTION_APPLIED, Truth::Unknown, Reason::PromotionPending, waiting(verdict)),
    }
}

fn waiting(verdict: &Verdict) -> &'static str {
    match verdict {
        Verdict::Serving { .. } => "it is about to be carried out",
        Verdict::Restoring | Verdict::Failed(_) | Verdict::Closing { .. } | Verdict::Suspending { .. } | Verdict::Suspended => {
            "it waits until the database is open"
        }
    }
}

#[cfg(test)]
mod tests;
