//! What happened, in words: one event for each change that people want to hear of.
//!
//! Owns: which changes of a status are news. Pure but for [`publish`].

mod promotion;

use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::runtime::events::{Event, EventType, Recorder};

use crate::crd::{BucketDatabaseStatus, FilesStatus, GcStatus};
use crate::reason::Reason;
use crate::status::condition::{DURABLE, GARBAGE_COLLECTED, READY, RECONCILING, RESTORED, SECOND_WRITER_EXCLUDED, STALLED, VERIFIED};
use crate::status::find;

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Notice {
    /// Somebody should look at it.
    pub(crate) is_warning: bool,
    /// In one word.
    pub(crate) reason: String,
    /// In a sentence.
    pub(crate) note: String,
}

impl Notice {
    pub(crate) fn normal(reason: &str, note: &str) -> Self {
        Self { is_warning: false, reason: reason.to_owned(), note: note.to_owned() }
    }

    pub(crate) fn warning(reason: &str, note: &str) -> Self {
        Self { is_warning: true, reason: reason.to_owned(), note: note.to_owned() }
    }
}

/// What happened between two statuses.
pub(crate) fn between(previous: &BucketDatabaseStatus, next: &BucketDatabaseStatus) -> Vec<Notice> {
    let told = [restored, unsafe_writes, uploads, verified, promotion::notice, trouble, final_flush, suspended, gc, dangling];
    told.iter().filter_map(|told| told(previous, next)).collect()
}

fn restored(previous: &BucketDatabaseStatus, next: &BucketDatabaseStatus) -> Option<Notice> {
    let now = find(next, RESTORED).filter(|now| now.status == "True")?;
    if find(previous, RESTORED).is_some_and(|before| before.status == "True" && before.reason == now.reason) {
        return None;
    }
    let is_warning = [Reason::PreviousAccepted, Reason::StateAccepted, Reason::OutsideSnapshotAdopted]
        .iter()
        .any(|reason| now.reason == reason.as_str());
    Some(Notice { is_warning, ..Notice::normal(&now.reason, &now.message) })
}

fn unsafe_writes(previous: &BucketDatabaseStatus, next: &BucketDatabaseStatus) -> Option<Notice> {
    let exposed = |status| find(status, SECOND_WRITER_EXCLUDED).filter(|excluded| excluded.status == "False");
    let now = exposed(next)?;
    exposed(previous).is_none().then(|| Notice::warning(&now.reason, &now.message))
}

fn uploads(previous: &BucketDatabaseStatus, next: &BucketDatabaseStatus) -> Option<Notice> {
    let failed_before = find(previous, DURABLE).is_some_and(|before| before.status == "False");
    let now = find(next, DURABLE)?;
    match (failed_before, now.status.as_str()) {
        (false, "False") => Some(Notice::warning("SnapshotFailed", &now.message)),
        (_, "True") if is_kept(now) && find(previous, DURABLE).is_none_or(|before| before.message != now.message) => {
            Some(Notice::warning(&now.reason, &now.message))
        }
        (true, "True") => Some(Notice::normal("SnapshotRecovered", "snapshots reach the bucket again")),
        _ => None,
    }
}

/// Damage, each time, and that it can be restored after it could not.
fn verified(previous: &BucketDatabaseStatus, next: &BucketDatabaseStatus) -> Option<Notice> {
    let (before, now) = (find(previous, VERIFIED), find(next, VERIFIED)?);
    let is_healed = now.reason == Reason::DamageHealed.as_str();
    let is_news = before.is_none_or(|before| before.reason != now.reason || (is_healed && before.message != now.message));
    match now.status.as_str() {
        "False" if is_news => Some(Notice::warning(&now.reason, &now.message)),
        "True" if is_news && is_healed => Some(Notice::warning(&now.reason, &now.message)),
        "True" if before.is_some_and(|before| before.status == "False") => Some(Notice::normal(&now.reason, &now.message)),
        _ => None,
    }
}

fn is_kept(durable: &Condition) -> bool {
    durable.reason == Reason::OutsideSnapshotKept.as_str()
}

/// What keeps the newest spec from being in force, told once for each reason.
fn trouble(previous: &BucketDatabaseStatus, next: &BucketDatabaseStatus) -> Option<Notice> {
    let now = hindrance(next).filter(|now| !promotion::tells(next, now))?;
    let is_told = hindrance(previous).is_some_and(|before| before.reason == now.reason);
    (!is_told).then(|| Notice::warning(&now.reason, &now.message))
}

fn hindrance(status: &BucketDatabaseStatus) -> Option<&Condition> {
    let is_work = |condition: &&Condition| {
        [Reason::Restoring, Reason::Closing, Reason::Suspending].map(Reason::as_str).contains(&condition.reason.as_str())
    };
    find(status, STALLED).or_else(|| find(status, RECONCILING)).filter(|condition| !is_work(condition))
}

fn final_flush(previous: &BucketDatabaseStatus, next: &BucketDatabaseStatus) -> Option<Notice> {
    let now = unsaved(next)?;
    let is_told = unsaved(previous).is_some_and(|before| before.reason == now.reason);
    (!is_told).then(|| Notice::warning("FinalFlushFailed", &now.message))
}

fn suspended(previous: &BucketDatabaseStatus, next: &BucketDatabaseStatus) -> Option<Notice> {
    let rests = |status| find(status, READY).filter(|ready| ready.reason == Reason::Suspended.as_str());
    let now = rests(next)?;
    rests(previous).is_none().then(|| Notice::normal(&now.reason, &now.message))
}

/// What a run of gc did, and each time what kept one from its end, told once for each reason.
fn gc(previous: &BucketDatabaseStatus, next: &BucketDatabaseStatus) -> Option<Notice> {
    let now = find(next, GARBAGE_COLLECTED)?;
    let has_ended = files(next).gc_job != files(previous).gc_job || last_gc(next) != last_gc(previous);
    let is_told = find(previous, GARBAGE_COLLECTED).is_some_and(|before| before.reason == now.reason);
    match now.status.as_str() {
        "False" if has_ended || !is_told => Some(Notice::warning(&now.reason, &now.message)),
        _ if has_ended && last_gc(next).is_some() => Some(Notice::normal(&now.reason, &now.message)),
        _ => None,
    }
}

fn dangling(previous: &BucketDatabaseStatus, next: &BucketDatabaseStatus) -> Option<Notice> {
    let now = last_gc(next).filter(|now| now.dangling > 0)?;
    let is_news = last_gc(previous).is_none_or(|before| before.time != now.time);
    let note = format!("rows of files whose content is gone: {}; put each content again, the log of gc has the names", now.dangling);
    is_news.then(|| Notice::warning("FilesDangling", &note))
}

fn files(status: &BucketDatabaseStatus) -> FilesStatus {
    status.files.clone().unwrap_or_default()
}

/// Of the runs alone, not whether one goes on after them.
fn last_gc(status: &BucketDatabaseStatus) -> Option<GcStatus> {
    files(status).last_gc.map(|last| GcStatus { wait_until: None, ..last })
}

/// `Ready` of a resource that is being deleted and could not be saved so far.
fn unsaved(status: &BucketDatabaseStatus) -> Option<&Condition> {
    find(status, RECONCILING).filter(|work| work.reason == Reason::Closing.as_str())?;
    find(status, READY).filter(|ready| ready.reason != Reason::Closing.as_str())
}

/// Tells it to the cluster. A lost event is logged, nothing more: the status says the same.
pub(crate) async fn publish(recorder: &Recorder, about: &ObjectReference, notices: Vec<Notice>) {
    for notice in notices {
        let event = Event {
            type_: if notice.is_warning { EventType::Warning } else { EventType::Normal },
            reason: notice.reason,
            note: Some(shortened(notice.note)),
            action: "Reconcile".to_owned(),
            secondary: None,
        };
        if let Err(error) = recorder.publish(&event, about).await {
            tracing::warn!(%error, reason = event.reason, name = about.name, namespace = about.namespace, "an event was not published");
        }
    }
}

/// The API server refuses more than a kilobyte.
fn shortened(mut note: String) -> String {
    note.truncate(note.floor_char_boundary(1000));
    note
}

#[cfg(test)]
mod tests;
