//! Who may take a branch over, and what it takes. Pure.
//!
//! Invariants: two clusters, or two Pods, never take a branch from each other by themselves, again and again; whoever opens a branch of which the last
//! tenure did not end by itself makes that tenure's late writes harmless before it serves anything.

use crate::head::{Epoch, HeadRecord, HeadState, Holder};

/// What an opener brings along.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Claim<'a> {
    pub(crate) me: &'a Holder,
    /// The epoch that this very resource has held, as far as it remembers; `None` at its first open.
    pub(crate) held: Option<Epoch>,
    /// The epoch that a person said may be taken over.
    pub(crate) take_over: Option<Epoch>,
    /// The epoch by which another Pod of the resource ended a tenure of this very process.
    pub(crate) ousted: Option<Epoch>,
}

/// A branch may be opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Entry {
    /// The last tenure ended by itself: nothing of it is under way.
    AfterRelease,
    /// It may still have a write under way, so the branch's object is replaced before it is served.
    Fence,
}

/// Why a branch is not opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// It was deleted.
    Deleted,
    /// Its name is reserved, and it is not made yet.
    NotMadeYet,
    /// Somebody else has it.
    Held { by: Holder, epoch: Epoch },
}

/// Whether the branch with this head record may be opened.
pub(crate) fn enter(found: Option<&HeadRecord>, claim: Claim<'_>) -> Result<Entry, Refusal> {
    let Some(record) = found else { return Ok(Entry::Fence) };
    match record.state {
        HeadState::Tombstone => return Err(Refusal::Deleted),
        HeadState::Creating => return Err(Refusal::NotMadeYet),
        HeadState::Ready => {}
    }
    match &record.holder {
        _ if record.released => Ok(Entry::AfterRelease),
        None => Ok(Entry::Fence),
        Some(holder) if may_take_over(holder, record.epoch, claim) => Ok(Entry::Fence),
        Some(holder) => Err(Refusal::Held { by: holder.clone(), epoch: record.epoch }),
    }
}

/// Whether a branch that may be opened is held by another Pod of the same resource, which may be about to end: in Kubernetes the next Pod
/// starts while the last one still saves.
pub(crate) fn may_still_save(found: Option<&HeadRecord>, claim: Claim<'_>) -> bool {
    let Some(HeadRecord { epoch, holder: Some(holder), .. }) = found else { return false };
    let named = claim.take_over == Some(*epoch);
    enter(found, claim) == Ok(Entry::Fence) && holder.cluster == claim.me.cluster && holder.pod != claim.me.pod && !named
}

fn may_take_over(holder: &Holder, epoch: Epoch, claim: Claim<'_>) -> bool {
    let same_name = holder.resource == claim.me.resource;
    // Whoever took over from us came later, and is who Kubernetes wants; or a person started both.
    let has_ousted_us = holder.pod != claim.me.pod && claim.ousted.is_some_and(|by| by <= epoch);
    // An earlier process of the same resource, or a person's word.
    (same_name && holder.cluster == claim.me.cluster && !has_ousted_us) || claim.take_over == Some(epoch)
        // A cluster that was built anew on the same bucket. Once it has held the branch, whoever holds it now took it away.
        || (same_name && claim.held.is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holder(cluster: &str, resource: &str) -> Holder {
        Holder { cluster: cluster.to_owned(), resource: resource.to_owned(), pod: "p".to_owned() }
    }

    fn held_by(holder: Holder) -> HeadRecord {
        HeadRecord::found(Epoch(6), 1).raised(holder)
    }

    fn claim(me: &Holder) -> Claim<'_> {
        Claim { me, held: None, take_over: None, ousted: None }
    }

    #[test]
    fn what_nobody_recorded_is_fenced() {
        let me = holder("c", "apps/orders");
        assert_eq!(enter(None, claim(&me)), Ok(Entry::Fence));
        assert_eq!(enter(Some(&HeadRecord::found(Epoch(0), 0)), claim(&me)), Ok(Entry::Fence));
    }

    #[test]
    fn after_a_release_anybody_may_come_and_needs_no_fence() {
        let me = holder("c", "apps/orders");
        let record = held_by(holder("elsewhere", "other/one")).released();
        assert_eq!(enter(Some(&record), claim(&me)), Ok(Entry::AfterRelease));
    }

    #[test]
    fn a_resource_takes_over_from_its_own_earlier_process() {
        let me = holder("c", "apps/orders");
        let record = held_by(me.clone());
        assert_eq!(enter(Some(&record), Claim { held: Some(Epoch(7)), ..claim(&me) }), Ok(Entry::Fence));
    }

    #[test]
    fn a_cluster_built_anew_takes_over_once_and_never_steals_back() {
        let me = holder("new", "apps/orders");
        let record = held_by(holder("old", "apps/orders"));
        assert_eq!(enter(Some(&record), claim(&me)), Ok(Entry::Fence));
        let refused = enter(Some(&record), Claim { held: Some(Epoch(3)), ..claim(&me) });
        assert_eq!(refused, Err(Refusal::Held { by: holder("old", "apps/orders"), epoch: Epoch(7) }));
    }

    #[test]
    fn a_pod_does_not_take_back_what_another_pod_took_from_it() {
        let me = holder("c", "apps/orders");
        let other_pod = Holder { pod: "after".to_owned(), ..me.clone() };
        let ousted = Claim { ousted: Some(Epoch(7)), held: Some(Epoch(6)), ..claim(&me) };
        let record = held_by(other_pod.clone());
        assert_eq!(enter(Some(&record), ousted), Err(Refusal::Held { by: other_pod, epoch: Epoch(7) }));
        assert_eq!(enter(Some(&record), Claim { take_over: Some(Epoch(7)), ..ousted }), Ok(Entry::Fence));
        assert_eq!(enter(Some(&record.released()), ousted), Ok(Entry::AfterRelease));
        assert_eq!(enter(Some(&held_by(me.clone())), ousted), Ok(Entry::Fence), "its own is no other's");
    }

    #[test]
    fn another_resource_waits_until_a_person_names_the_epoch() {
        let me = holder("c", "apps/preview");
        let record = held_by(holder("c", "apps/orders"));
        assert!(matches!(enter(Some(&record), claim(&me)), Err(Refusal::Held { .. })));
        assert!(matches!(enter(Some(&record), Claim { take_over: Some(Epoch(6)), ..claim(&me) }), Err(Refusal::Held { .. })));
        assert_eq!(enter(Some(&record), Claim { take_over: Some(Epoch(7)), ..claim(&me) }), Ok(Entry::Fence));
    }

    #[test]
    fn only_another_pod_of_the_same_resource_may_still_be_saving() {
        let me = holder("c", "apps/orders");
        let other_pod = Holder { pod: "before".to_owned(), ..me.clone() };
        assert!(may_still_save(Some(&held_by(other_pod.clone())), claim(&me)));
        assert!(!may_still_save(Some(&held_by(me.clone())), claim(&me)), "a restarted container is its own predecessor");
        assert!(!may_still_save(Some(&held_by(other_pod.clone()).released()), claim(&me)));
        assert!(!may_still_save(Some(&held_by(other_pod)), Claim { take_over: Some(Epoch(7)), ..claim(&me) }));
        assert!(!may_still_save(Some(&held_by(holder("elsewhere", "apps/orders"))), claim(&me)), "another cluster's is not waited for");
        assert!(!may_still_save(None, claim(&me)));
    }

    #[test]
    fn a_branch_that_is_deleted_or_half_made_is_not_opened() {
        let me = holder("c", "apps/orders");
        let ready = HeadRecord::found(Epoch(1), 0);
        assert_eq!(enter(Some(&ready.tombstone()), claim(&me)), Err(Refusal::Deleted));
        let reserved = HeadRecord::reserved(crate::head::Parent { branch: "main".to_owned(), txid: 1 }, 1, &crate::head::Birth::default());
        assert_eq!(enter(Some(&reserved), claim(&me)), Err(Refusal::NotMadeYet));
    }
}
