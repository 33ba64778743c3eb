//! The definition itself: tries every order, and knows nothing of what answers say about it. For histories of a few operations.

use super::super::operation::{Operation, Outcome, Seen};

/// Whether some order of the operations explains all answers, ends with this log, and puts nothing before what had ended when it was sent.
/// No operation may be a plain read.
pub(super) fn has_order(operations: &[Operation], log: &[u64]) -> bool {
    let tried: Vec<&Operation> = operations.iter().filter(|operation| !matches!(operation.outcome, Outcome::Failed(_))).collect();
    can_go_on(&Seen::at_first(), &mut Vec::new(), &tried, log)
}

/// From a state, with the transfers that made it and with what is left to be placed.
fn can_go_on(state: &Seen, done: &mut Vec<u64>, left: &[&Operation], log: &[u64]) -> bool {
    // What is unknown need not have happened.
    if done == log && left.iter().all(|operation| operation.seen().is_none()) {
        return true;
    }
    (0..left.len()).any(|which| {
        let mut rest = left.to_vec();
        let next = rest.remove(which);
        if rest.iter().any(|other| other.seen().is_some() && other.ended < next.sent) {
            return false;
        }
        let after = next.transfer().map_or_else(|| state.clone(), |transfer| state.after(transfer));
        if next.seen().is_some_and(|seen| *seen != after) {
            return false;
        }
        done.extend(next.transfer().map(|transfer| transfer.id));
        let is_possible = can_go_on(&after, done, &rest, log);
        if next.transfer().is_some() {
            done.pop();
        }
        is_possible
    })
}
