//! What the status says of gc: `files`, the value of the annotation that was dealt with, the condition `GarbageCollected`.
//!
//! The condition is absent until a run is wanted. It is true once all that was unused when somebody asked was marked, waited for and deleted;
//! unknown while that is under way; false when a run could not begin or come to its end. Pure.

use engine::{GcStage, GcSummary, State, WallTime};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

use super::condition::GARBAGE_COLLECTED;
use super::{Finding, Truth, carry, find, finding, whole_seconds};
use crate::crd::{BucketDatabase, BucketDatabaseStatus, ByteSize, FilesStatus, GcStatus, LastHandled};
use crate::gc::{Ended, News};
use crate::plan::Observed;
use crate::plan::gc::{self, Jobs, Stands};
use crate::reason::Reason;

/// Adds it to the status that follows `previous`.
pub(super) fn tell(
    status: &mut BucketDatabaseStatus,
    previous: &BucketDatabaseStatus,
    resource: &BucketDatabase,
    seen: &Observed,
    news: Option<&News>,
) {
    let mut files = status.files.take().unwrap_or_default();
    let stands = match (&seen.hosted, &seen.config) {
        (State::Open(_), Ok(config)) => {
            let decision = gc::decide(resource, config, seen.now, &seen.gc);
            files.next_gc = decision.due.map(Time);
            decision.stands
        }
        _ => Stands::Unknown,
    };
    if let Some(request) = answered(seen, news) {
        status.last_handled = Some(LastHandled { gc: Some(request), ..status.last_handled.take().unwrap_or_default() });
    }
    match news {
        Some(News::Started(_)) => begun(&mut files, resource, seen.now),
        Some(News::Ended(ended)) => take_over(&mut files, resource, ended),
        Some(News::Hindered(_)) | None => {}
    }
    let found = match news {
        Some(news) => Said::Now(of_news(news, &files)),
        None => of_stands(&stands, find(previous, GARBAGE_COLLECTED), &files),
    };
    status.conditions.extend(match found {
        Said::Now(finding) => Some(carry(finding, &previous.conditions, status.observed_generation, seen.now)),
        Said::Before => {
            find(previous, GARBAGE_COLLECTED).map(|before| Condition { observed_generation: status.observed_generation, ..before.clone() })
        }
        Said::Nothing => None,
    });
    status.files = Some(files).filter(|files| *files != FilesStatus::default());
}

/// The value of the annotation that a run of ours answers. A Job tells it, too: nobody may have written it down.
fn answered(seen: &Observed, news: Option<&News>) -> Option<String> {
    match (news, &seen.gc.jobs) {
        (Some(News::Started(run) | News::Ended(Ended { run, .. })), _) => run.request.clone(),
        (_, Jobs::Known { mine: Some(job), .. }) if seen.gc.files.gc_job.as_ref() != Some(&job.uid) => job.run.request.clone(),
        _ => None,
    }
}

fn begun(files: &mut FilesStatus, resource: &BucketDatabase, now: WallTime) {
    files.next_gc = gc::due_after(resource, now).map(Time);
    wait(files, None);
}

fn take_over(files: &mut FilesStatus, resource: &BucketDatabase, ended: &Ended) {
    match &ended.job {
        Some(job) => files.gc_job = Some(job.clone()),
        None => begun(files, resource, ended.time),
    }
    match &ended.result {
        Ok(found) => files.last_gc = Some(report(ended, found)),
        // Nothing is tried again by itself: the next wish begins anew.
        Err(_) => wait(files, None),
    }
}

fn wait(files: &mut FilesStatus, until: Option<Time>) {
    if let Some(last) = &mut files.last_gc {
        last.wait_until = until;
    }
}

fn report(ended: &Ended, found: &GcSummary) -> GcStatus {
    GcStatus {
        time: whole_seconds(ended.time),
        stage: found.stage.as_str().to_owned(),
        dry_run: found.dry_run,
        run: ended.run.number,
        wait_until: ended.run.next(found).map(next_second),
        marked: found.marked,
        deleted: found.deleted,
        skipped: found.skipped,
        dangling: found.dangling,
        unowned: found.unowned,
        freed: ByteSize::from(found.freed),
    }
}

/// Not a moment too early.
fn next_second(time: WallTime) -> Time {
    WallTime::from_second(time.as_second().saturating_add(1)).map_or_else(|_| whole_seconds(time), Time)
}

/// What is said.
enum Said {
    Now(Finding),
    /// The same as before.
    Before,
    Nothing,
}

fn of_news(news: &News, files: &FilesStatus) -> Finding {
    let failed = |reason, message: &str| finding(GARBAGE_COLLECTED, Truth::False, reason, message);
    match news {
        News::Started(_) => running(),
        News::Hindered(problem) | News::Ended(Ended { result: Err(problem), .. }) => failed(problem.reason, &problem.message),
        News::Ended(Ended { result: Ok(found), .. }) => {
            let until = files.last_gc.as_ref().and_then(|last| last.wait_until.as_ref());
            let (truth, reason) = match (found.dry_run, until) {
                (true, _) => (Truth::True, Reason::GcDryRun),
                (false, Some(_)) => (Truth::Unknown, Reason::GcWaiting),
                (false, None) => (Truth::True, Reason::GcSucceeded),
            };
            finding(GARBAGE_COLLECTED, truth, reason, in_words(found, until))
        }
    }
}

fn running() -> Finding {
    finding(GARBAGE_COLLECTED, Truth::Unknown, Reason::GcRunning, "a run is under way")
}

/// What may keep a Job's Pod from starting, or its report from being read. It was told, and holds until it does.
const KEEPS_IT: [Reason; 4] = [Reason::GcImageMissing, Reason::GcPodRefused, Reason::GcPodPending, Reason::GcJobRefused];

fn of_stands(stands: &Stands, before: Option<&Condition>, files: &FilesStatus) -> Said {
    let said = |reason: Reason| before.is_some_and(|before| before.reason == reason.as_str());
    match stands {
        Stands::Queued(other) => {
            let message = format!("{other} runs under the same prefix; this run follows");
            Said::Now(finding(GARBAGE_COLLECTED, Truth::Unknown, Reason::GcWaiting, message))
        }
        Stands::Running { is_up: false } if KEEPS_IT.into_iter().any(said) => Said::Before,
        Stands::Running { .. } => Said::Now(running()),
        Stands::Idle if said(Reason::GcRunning) => {
            let message = "the run's Job is gone, and nobody knows what it did; the next run tells what is left";
            Said::Now(finding(GARBAGE_COLLECTED, Truth::False, Reason::GcReportMissing, message))
        }
        // It waited for another resource, and nobody wants it any more.
        Stands::Idle if said(Reason::GcWaiting) && files.last_gc.as_ref().is_none_or(|last| last.wait_until.is_none()) => Said::Nothing,
        Stands::Idle | Stands::Unknown => Said::Before,
    }
}

fn in_words(found: &GcSummary, until: Option<&Time>) -> String {
    let GcSummary { deleted, freed, marked, skipped, unowned, dangling, .. } = found;
    let mut words = if found.dry_run {
        vec![format!("nothing was changed; a run would delete {deleted} ({freed} bytes) and mark {marked}")]
    } else {
        vec![format!("deleted: {deleted} ({freed} bytes)")]
    };
    match (until, found.stage) {
        (Some(until), GcStage::Busy) => words.push(format!("another run deletes just now; the next one begins after {}", until.0)),
        (Some(until), _) => words.push(format!("marked: {marked}; a run after {} deletes what stays unused", until.0)),
        (None, _) if *marked > 0 && !found.dry_run => words.push(format!("marked for the next time: {marked}")),
        (None, _) => {}
    }
    let rest = [
        (skipped, "skipped, being younger than the grace"),
        (unowned, "unowned, not written by buckethead"),
        (dangling, "dangling, rows whose content must be put again"),
    ];
    words.extend(rest.iter().filter(|(count, _)| **count > 0).map(|(count, what)| format!("{what}: {count}")));
    words.join("; ")
}

#[cfg(test)]
mod tests;
