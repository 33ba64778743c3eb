//! What a promotion's condition tells in events. Pure.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use super::Notice;
use crate::crd::BucketDatabaseStatus;
use crate::status::condition::PROMOTION_APPLIED;
use crate::status::find;

/// It was carried out, or will not be, or cannot be so far: told once for each.
pub(super) fn notice(previous: &BucketDatabaseStatus, next: &BucketDatabaseStatus) -> Option<Notice> {
    let now = find(next, PROMOTION_APPLIED)?;
    let is_told = find(previous, PROMOTION_APPLIED).is_some_and(|before| says_the_same(before, now)) && same_id(previous, next);
    match (is_told, now.status.as_str()) {
        (false, "True") => Some(Notice::normal("Promoted", &now.message)),
        (false, "False") => Some(Notice::warning("PromotionFailed", &now.message)),
        _ => None,
    }
}

fn says_the_same(before: &Condition, now: &Condition) -> bool {
    (&before.status, &before.reason) == (&now.status, &now.reason)
}

fn same_id(previous: &BucketDatabaseStatus, next: &BucketDatabaseStatus) -> bool {
    let digest = |status: &BucketDatabaseStatus| status.promotion.as_ref().and_then(|promotion| promotion.digest.clone());
    digest(previous) == digest(next)
}

/// Whether a hindrance is the promotion's, which is told by its own event.
pub(super) fn tells(status: &BucketDatabaseStatus, hindrance: &Condition) -> bool {
    find(status, PROMOTION_APPLIED).is_some_and(|applied| applied.status == "False" && applied.reason == hindrance.reason)
}
