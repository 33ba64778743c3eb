//! Whether the promotion of a spec is due, and what came of it. Pure.
//!
//! The bucket remembers what was carried out; what is settled for one block of the spec is not asked again.
//! Invariant: a promotion that can only end as it did is not tried again until its block changes.

use std::time::Duration;

use engine::{BranchName, DatabaseName, Error, OverwriteRequest, Overwritten, WallTime};
use sha2::Digest as _;

use super::lineage::{End, Settlement};
use super::{Observed, Step, until};
use crate::crd::{BucketDatabase, BucketDatabaseStatus, Promotion, PromotionPhase};
use crate::problem::{self, LOOK_AGAIN, Problem};
use crate::reason::Reason;
use crate::status;

/// What is to be done about a promotion.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Due {
    pub(super) step: Option<Step>,
    /// Why it is not carried out.
    pub(super) problem: Option<Problem>,
    pub(super) look_again: Duration,
}

/// Of an open database.
pub(super) fn due(resource: &BucketDatabase, seen: &Observed) -> Due {
    let nothing = Due { step: None, problem: None, look_again: LOOK_AGAIN };
    let Some(promotion) = &resource.spec.promotion else { return nothing };
    let Some(step) = step(promotion, seen) else {
        let message = "spec.promotion: a branch name has letters, digits, `_` and `-`, and at most 63 of them";
        return Due { problem: Some(Problem::stuck(Reason::InvalidSpec, message)), ..nothing };
    };
    match settled(promotion, seen.lineage.promotion.as_ref()) {
        None => Due { step: Some(step), ..nothing },
        Some(End::Applied { .. }) => nothing,
        Some(End::Failed { problem, pause: None, .. }) => Due { problem: Some(problem.clone()), ..nothing },
        Some(End::Failed { problem, at, pause: Some(pause), .. }) => match until(seen.now, *at, *pause) {
            Duration::ZERO => Due { step: Some(step), ..nothing },
            left => Due { step: None, problem: Some(problem.clone()), look_again: left.min(LOOK_AGAIN) },
        },
    }
}

/// How this very block ended, as far as anybody remembers.
pub(crate) fn settled<'a>(promotion: &Promotion, known: Option<&'a Settlement>) -> Option<&'a End> {
    known.filter(|known| known.digest == digest(promotion)).map(|known| &known.end)
}

/// Whether its source is still needed.
pub(super) fn is_pending(promotion: &Promotion, known: Option<&Settlement>) -> bool {
    !matches!(settled(promotion, known), Some(End::Applied { .. }))
}

fn step(promotion: &Promotion, seen: &Observed) -> Option<Step> {
    let branch = |name: &String| BranchName::parse(name).ok();
    let keep_as = match &promotion.keep_previous_as {
        Some(name) => Some(branch(name)?),
        None => None,
    };
    let to = branch(&promotion.to)?;
    let request = OverwriteRequest {
        id: Some(promotion.id.clone()),
        from: branch(&promotion.from.branch)?,
        txid: promotion.from.txid,
        expected: promotion.expected_txid,
        keep_as,
        // It may not be open yet, just after a restart of the operator, and must find the branch as it left it.
        meant_for: seen.neighbours.iter().find(|other| other.serves.as_ref() == Some(&to)).map(|other| other.name.clone()),
    };
    Some(Step::Promote { to, request: Box::new(request), at: seen.now })
}

/// Tells one block of the spec from another, in a few letters.
pub(crate) fn digest(promotion: &Promotion) -> String {
    let text = serde_json::to_string(promotion).expect("a promotion is plain data");
    sha2::Sha256::digest(text.as_bytes()).iter().take(8).fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
}

/// It was carried out, now or before.
pub(crate) fn applied(promotion: &Promotion, done: &Overwritten) -> Settlement {
    let from = match &done.from {
        Some((branch, txid)) => format!("{branch} at txid {txid}"),
        None => promotion.from.branch.clone(),
    };
    let kept = promotion.keep_previous_as.as_ref().map(|name| format!("; what it held before is kept as branch {name}"));
    let message = format!("branch {} took the content of {from}, as its txid {}{}", promotion.to, done.txid, kept.unwrap_or_default());
    Settlement { digest: digest(promotion), end: End::Applied { txid: Some(done.txid), time: Some(done.time), message } }
}

/// A try failed.
pub(crate) fn failed(
    promotion: &Promotion,
    before: Option<&Settlement>,
    database: &DatabaseName,
    error: &Error,
    at: WallTime,
) -> Settlement {
    let attempts = match settled(promotion, before) {
        Some(End::Failed { attempts, .. }) => attempts.saturating_add(1),
        Some(End::Applied { .. }) | None => 1,
    };
    let pause = if is_final(error) { None } else { problem::pause(error, attempts) };
    Settlement { digest: digest(promotion), end: End::Failed { problem: explain(promotion, database, error), attempts, at, pause } }
}

/// Whether the same block can only end in the same way again.
fn is_final(error: &Error) -> bool {
    match error {
        Error::ContentChanged { .. }
        | Error::PromotionIdUsed { .. }
        | Error::HistoryLost { .. }
        | Error::BranchExists { .. }
        | Error::BranchDeleted { .. }
        | Error::BranchRefused { .. } => true,
        // A number that is not there yet may come.
        Error::NoSuchState { asked, newest, .. } => asked < newest,
        _ => false,
    }
}

/// Reasons that a status remembers of a promotion that can only end so.
const FINAL: [Reason; 6] = [
    Reason::ContentChanged,
    Reason::PromotionIdUsed,
    Reason::HistoryUnknown,
    Reason::BranchDeleted,
    Reason::BranchRefused,
    Reason::TxidNotAvailable,
];

fn explain(promotion: &Promotion, database: &DatabaseName, error: &Error) -> Problem {
    let Promotion { id, from, to, .. } = promotion;
    match error {
        Error::ServedElsewhere { by, .. } | Error::HeldElsewhere { by, .. } => served_elsewhere(to, &by.to_string()),
        Error::HeldByOther { branch, by, .. } if branch.as_str() == to => served_elsewhere(to, &by.to_string()),
        Error::ContentChanged { expected, found, .. } => Problem::stuck(
            Reason::ContentChanged,
            format!(
                "spec.promotion.expectedTxid: branch {to} is at txid {found} and does not have the content of txid {expected} any more: review what \
                 changed, and promote under a new id with the txid that you reviewed"
            ),
        ),
        Error::NoSuchState { asked, newest, .. } => {
            let (reason, stands) =
                (Reason::TxidNotAvailable, format!("spec.promotion.from.txid: branch {} is at txid {newest}", from.branch));
            if asked < newest {
                let remedy = "review the newer content, and promote it under a new id";
                Problem::stuck(reason, format!("{stands}, and its state at txid {asked} cannot be had any more: {remedy}"))
            } else {
                Problem::passing(reason, format!("{stands}, and {asked} is not there yet; it is looked for again"))
            }
        }
        Error::BranchExists { branch, .. } => Problem::stuck(
            Reason::BranchRefused,
            format!("spec.promotion.keepPreviousAs: there is a branch {branch} with another content: choose another name and a new id"),
        ),
        Error::PromotionIdUsed { .. } => Problem::stuck(
            Reason::PromotionIdUsed,
            format!("spec.promotion.id: branch {to} was overwritten under the id {id} with something else: choose another id"),
        ),
        Error::HistoryLost { .. } => Problem::stuck(
            Reason::HistoryUnknown,
            format!(
                "spec.promotion.id: the head record of branch {to} was lost, so it cannot be told whether {id} was carried out before: look at what \
                 {to} holds, and promote under a new id, or remove spec.promotion"
            ),
        ),
        Error::BranchRefused { .. } => Problem::stuck(Reason::BranchRefused, format!("spec.promotion: {error}; correct it under a new id")),
        error => Problem::of(database, error),
    }
}

fn served_elsewhere(to: &str, by: &str) -> Problem {
    Problem::stuck(
        Reason::TargetServedElsewhere,
        format!(
            "spec.promotion.to: branch {to} is served by {by}, which alone can overwrite it: put the promotion into that resource, or delete or \
             suspend it"
        ),
    )
}

/// What a status remembers, for a process that has just started.
pub(crate) fn recalled(status: &BucketDatabaseStatus, now: WallTime) -> Option<Settlement> {
    let applied = status::find(status, status::condition::PROMOTION_APPLIED);
    let status = status.promotion.as_ref()?;
    let (digest, message) = (status.digest.clone()?, status.message.clone().unwrap_or_default());
    let end = match status.phase? {
        PromotionPhase::Applied => End::Applied { txid: status.txid, time: status.time.as_ref().map(|time| time.0), message },
        PromotionPhase::Failed => {
            let reason = applied.and_then(|condition| Reason::named(&condition.reason)).filter(|reason| FINAL.contains(reason))?;
            End::Failed { problem: Problem::stuck(reason, message), attempts: 1, at: now, pause: None }
        }
        PromotionPhase::Pending => return None,
    };
    Some(Settlement { digest, end })
}

#[cfg(test)]
mod tests;
