//! What becomes of branches that the spec declares no more, or declares otherwise. Pure.
//!
//! A branch whose `deletionPolicy` is `Delete` is noted as leaving when it leaves the list, and deleted after `durability.retention`.
//! Invariants: only branches that this resource made are touched; one that somebody needs is neither noted nor deleted: the served one,
//! one that somebody holds, one that another resource names, the source of a promotion that is not carried out yet.

use std::time::Duration;

use engine::{BranchFacts, BranchName, Facts, Fate, OnLeave, State};
use kube::ResourceExt;

use super::promotion::is_pending;
use super::{AT_ONCE, Observed, Step, until};
use crate::crd::{BucketDatabase, DeletionPolicy};
use crate::problem::LOOK_AGAIN;

/// Brings a branch back that left the list, and keeps it.
pub(crate) const KEEP_BRANCH: &str = "buckethead.dev/keep-branch";

/// While something falls due by itself. A look that is asked for sooner than [`LOOK_AGAIN`] is never put off for the sake of many resources.
const WAKEFUL: Duration = LOOK_AGAIN.saturating_sub(Duration::from_secs(1));

/// What is to be done, and when to look again at the latest.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Upkeep {
    pub(super) steps: Vec<Step>,
    pub(super) look_again: Duration,
}

/// Of an open database whose branches were listed.
pub(super) fn due(resource: &BucketDatabase, seen: &Observed, facts: &Facts) -> Upkeep {
    let mut upkeep = Upkeep { steps: Vec::new(), look_again: LOOK_AGAIN };
    let Some(listed) = &seen.lineage.listed else { return upkeep };
    for (name, since) in &listed.found.half_deleted {
        upkeep.steps.push(Step::DeleteLeaving { name: name.clone(), since: *since });
    }
    let retention = resource.spec.durability.retention.as_duration();
    for branch in listed.found.branches.iter().filter(|branch| branch.made_here && !branch.name.is_main()) {
        let is_needed = is_needed(resource, seen, facts, branch);
        let wanted = wanted(resource, seen, branch, is_needed);
        match wanted.leaving {
            _ if wanted != branch.fate => upkeep.steps.push(Step::NoteFate { name: branch.name.clone(), fate: wanted }),
            Some(since) => match until(seen.now, since, retention) {
                Duration::ZERO => upkeep.steps.push(Step::DeleteLeaving { name: branch.name.clone(), since }),
                left => upkeep.look_again = upkeep.look_again.min(left).min(WAKEFUL),
            },
            None => {}
        }
    }
    upkeep
}

/// When to look again for the sake of what was listed by the steps of the plan itself.
pub(crate) fn look_again(resource: &BucketDatabase, seen: &Observed) -> Duration {
    let State::Open(facts) = &seen.hosted else { return LOOK_AGAIN };
    let upkeep = due(resource, seen, facts);
    if upkeep.steps.is_empty() { upkeep.look_again } else { AT_ONCE }
}

fn wanted(resource: &BucketDatabase, seen: &Observed, branch: &BranchFacts, is_needed: bool) -> Fate {
    if let Some(declared) = resource.spec.branches.iter().find(|declared| declared.name == branch.name.as_str()) {
        return Fate { policy: on_leave(declared.deletion_policy), leaving: None };
    }
    if resource.annotations().get(KEEP_BRANCH).is_some_and(|kept| kept.trim() == branch.name.as_str()) {
        return Fate::default();
    }
    match branch.fate {
        Fate { policy: OnLeave::Retain, .. } => branch.fate,
        Fate { policy: OnLeave::Delete, .. } if is_needed => Fate { leaving: None, ..branch.fate },
        Fate { policy: OnLeave::Delete, leaving } => Fate { leaving: leaving.or(Some(seen.now)), ..branch.fate },
    }
}

fn is_needed(resource: &BucketDatabase, seen: &Observed, facts: &Facts, branch: &BranchFacts) -> bool {
    let is_source = |name: &BranchName| {
        let pending = resource.spec.promotion.as_ref().filter(|promotion| is_pending(promotion, seen.lineage.promotion.as_ref()));
        pending.is_some_and(|promotion| promotion.from.branch == name.as_str())
    };
    branch.holder.is_some()
        || branch.name.as_str() == resource.spec.branch
        || branch.name == facts.branch
        || seen.neighbours.iter().any(|neighbour| neighbour.names(&branch.name))
        || is_source(&branch.name)
}

/// What the engine calls it.
pub(super) fn on_leave(policy: DeletionPolicy) -> OnLeave {
    match policy {
        DeletionPolicy::Retain => OnLeave::Retain,
        DeletionPolicy::Delete => OnLeave::Delete,
    }
}

#[cfg(test)]
mod tests;
