//! When gc runs, and what is heard of its Job.
//!
//! Owns: which wish is due (an annotation's new value, a moment of the schedule, the run that goes on after another), and that one place has
//! one run at a time. Does not own: how a run is carried out (`act::gc`, `local::gc`), nor what a run does (`engine`). Pure.
//!
//! Invariants:
//! - However long nobody looked, one run makes up for all moments that passed: the next one is reckoned from now.
//! - What is due is known by the status; a Job that is there counts in its place, so a restart between the Job and the status begins no second run.
//! - A run begins only where it is known which Jobs there are.

use std::time::Duration;

use engine::{DatabaseConfig, DatabaseName, WallTime};
use kube::ResourceExt;

use super::elapsed;
use crate::crd::{BucketDatabase, BucketDatabaseStatus, FilesStatus};
use crate::gc::Run;
use crate::objects::gc_job::{Job, JobState};
use crate::problem::LOOK_AGAIN;
use crate::schedule::Schedule;

/// Asks for one chain of runs for each new value.
pub(crate) const GC_REQUESTED_AT: &str = "buckethead.dev/gc-requested-at";

/// How long a Pod may take to start before somebody asks why it does not.
const STARTING: Duration = Duration::from_secs(30);
/// After something kept a run from beginning. Looks come with each flush, so they alone would try all the time.
const AFTER_HINDRANCE: Duration = Duration::from_mins(1);
/// While another resource runs. The end of its Job is reported; that it came to none is not. Less than what is put off at rest.
const QUEUED: Duration = Duration::from_mins(4);
/// While the watch of Jobs is not synced, and after something was done.
const SOON: Duration = Duration::from_secs(2);

/// What is the case.
#[derive(Debug, Clone, Default)]
pub(crate) struct Seen {
    /// The Jobs.
    pub(crate) jobs: Jobs,
    /// The value of the annotation that was dealt with last.
    pub(crate) handled: Option<String>,
    /// What the status says of files.
    pub(crate) files: FilesStatus,
    /// The other databases that keep files at the place.
    pub(crate) sharers: Vec<DatabaseName>,
    /// When something last kept a run from beginning, or its report from being read.
    pub(crate) hindered: Option<WallTime>,
    /// When it was last asked why no Pod starts.
    pub(crate) inspected: Option<WallTime>,
}

/// What is known of the Jobs of gc.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) enum Jobs {
    /// The watch has not told yet.
    #[default]
    Unknown,
    /// All of them.
    Known {
        /// The resource's own.
        mine: Option<Job>,
        /// It was asked for, and no watch has shown it.
        begun: bool,
        /// Another resource that runs at the place.
        elsewhere: Option<DatabaseName>,
    },
}

impl Jobs {
    /// Where there are no Jobs.
    pub(crate) const NONE: Self = Self::Known { mine: None, begun: false, elsewhere: None };
}

/// One thing to do.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Work {
    /// Flush all who keep files there, then run.
    Start(Box<Start>),
    /// Read what came of the run.
    Take(Job),
    /// Ask why its Pod does not start.
    Inspect(Job),
}

/// A run that is to begin.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Start {
    /// Which one.
    pub(crate) run: Run,
    /// Where the database lies.
    pub(crate) config: DatabaseConfig,
    /// Whose commits must be in the bucket before.
    pub(crate) flush: Vec<DatabaseName>,
    /// The UID of the Job before, whose name is needed.
    pub(crate) replaces: Option<String>,
}

/// How gc stands, besides what was said before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Stands {
    /// No run is under way, as far as is known.
    Idle,
    /// One is wanted, and another resource has the place.
    Queued(DatabaseName),
    /// One is under way.
    Running {
        /// Its Pod has started.
        is_up: bool,
    },
    /// It is not known.
    Unknown,
}

/// What to do about gc.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Decision {
    /// At most one thing at a time.
    pub(crate) work: Option<Work>,
    /// At the latest, besides [`next_run`].
    pub(crate) look_again: Duration,
    /// When the next run by the schedule is due.
    pub(crate) due: Option<WallTime>,
    /// For the status.
    pub(crate) stands: Stands,
}

/// What must be done about gc of an open database.
pub(crate) fn decide(resource: &BucketDatabase, config: &DatabaseConfig, now: WallTime, seen: &Seen) -> Decision {
    let due = due(resource, now, seen);
    let wish = wish(resource, now, seen, due);
    let (work, stands, look_again) = match &seen.jobs {
        Jobs::Unknown => (None, Stands::Unknown, if wish.is_some() { SOON } else { LOOK_AGAIN }),
        Jobs::Known { mine: Some(job), .. } if is_news(job, seen) => follow(job, now, seen),
        Jobs::Known { begun: true, .. } => (None, Stands::Running { is_up: false }, AFTER_HINDRANCE),
        Jobs::Known { mine, elsewhere, .. } => match (wish, elsewhere) {
            (None, _) => (None, Stands::Idle, LOOK_AGAIN),
            (Some(_), Some(other)) => (None, Stands::Queued(other.clone()), QUEUED),
            (Some(run), None) => match pause(now, seen.hindered) {
                Some(left) => (None, Stands::Idle, left),
                None => (Some(Work::Start(Box::new(start(resource, config, run, mine.as_ref(), seen)))), Stands::Idle, LOOK_AGAIN),
            },
        },
    };
    // What comes of the work may ask for the next at once: a run is heard of late, and the one that goes on after it may be due by then.
    let look_again = if work.is_some() { SOON } else { look_again };
    Decision { work, look_again, due, stands }
}

/// How long until the next run by what the status says, which a look must not miss however long looks are put off; `MAX` if none is due.
pub(crate) fn next_run(status: &BucketDatabaseStatus, now: WallTime) -> Duration {
    let ahead = |files: &FilesStatus| {
        let moments = [files.next_gc.as_ref().map(|time| time.0), follow_up(files)];
        moments.into_iter().flatten().filter(|at| *at > now).map(|at| elapsed(now, at)).min()
    };
    status.files.as_ref().and_then(ahead).unwrap_or(Duration::MAX)
}

/// The next moment of the schedule, which may have passed: the one that the status holds, as long as it is one of this schedule.
fn due(resource: &BucketDatabase, now: WallTime, seen: &Seen) -> Option<WallTime> {
    let schedule = schedule(resource)?;
    let due = match seen.files.next_gc.as_ref().map(|time| time.0).filter(|at| schedule.is_due_at(*at)) {
        Some(due) => due,
        // A schedule that is new to us: what lies behind was not asked for.
        None => schedule.due_after(now)?,
    };
    // A run that began later counts for it, whoever asked for that one.
    match begun_at(seen) {
        Some(begun) if due <= begun => schedule.due_after(begun),
        Some(_) | None => Some(due),
    }
}

/// The schedule of a resource, if it has one. One that cannot be read was refused before.
fn schedule(resource: &BucketDatabase) -> Option<Schedule> {
    let expression = Some(&resource.spec.files.gc.schedule).filter(|expression| !expression.is_empty())?;
    Schedule::parse(expression, resource.metadata.uid.as_deref().unwrap_or_default()).ok()
}

/// The moment after which the next run by the schedule is due, once one began at `begun`.
pub(crate) fn due_after(resource: &BucketDatabase, begun: WallTime) -> Option<WallTime> {
    schedule(resource)?.due_after(begun)
}

fn begun_at(seen: &Seen) -> Option<WallTime> {
    mine(seen).map(|job| job.created)
}

fn mine(seen: &Seen) -> Option<&Job> {
    match &seen.jobs {
        Jobs::Known { mine, .. } => mine.as_ref(),
        Jobs::Unknown => None,
    }
}

/// Whether the end of a Job was not told yet.
fn is_news(job: &Job, seen: &Seen) -> bool {
    seen.files.gc_job.as_ref() != Some(&job.uid)
}

/// When the run that goes on after the last one is due.
fn follow_up(files: &FilesStatus) -> Option<WallTime> {
    files.last_gc.as_ref()?.wait_until.as_ref().map(|time| time.0)
}

/// The run that is due, if one is. One run answers all wishes at once.
fn wish(resource: &BucketDatabase, now: WallTime, seen: &Seen, due: Option<WallTime>) -> Option<Run> {
    let is_answered =
        |asked: &&String| seen.handled.as_ref() == Some(*asked) || mine(seen).is_some_and(|job| job.run.request.as_ref() == Some(*asked));
    let asked = resource.annotations().get(GC_REQUESTED_AT).filter(|asked| !is_answered(asked)).cloned();
    if asked.is_some() || due.is_some_and(|due| due <= now) {
        return Some(Run::first(asked));
    }
    let last = seen.files.last_gc.as_ref().filter(|_| follow_up(&seen.files).is_some_and(|at| at <= now))?;
    Some(Run::after(last))
}

fn start(resource: &BucketDatabase, config: &DatabaseConfig, run: Run, before: Option<&Job>, seen: &Seen) -> Start {
    let mut flush = vec![super::name_of(resource)];
    flush.extend(seen.sharers.iter().cloned());
    Start { run, config: config.clone(), flush, replaces: before.map(|job| job.uid.clone()) }
}

/// What is done about a Job of ours until its end is told.
fn follow(job: &Job, now: WallTime, seen: &Seen) -> (Option<Work>, Stands, Duration) {
    match &job.state {
        JobState::Running => (None, Stands::Running { is_up: true }, LOOK_AGAIN),
        JobState::Ended { .. } => match pause(now, seen.hindered) {
            Some(left) => (None, Stands::Running { is_up: false }, left),
            None => (Some(Work::Take(job.clone())), Stands::Running { is_up: false }, LOOK_AGAIN),
        },
        JobState::Starting => {
            let left = STARTING.saturating_sub(elapsed(job.created, now)).max(pause(now, seen.inspected).unwrap_or_default());
            let inspect = left.is_zero().then(|| Work::Inspect(job.clone()));
            (inspect, Stands::Running { is_up: false }, if left.is_zero() { AFTER_HINDRANCE } else { left })
        }
    }
}

/// How long to wait after a try that came to nothing.
fn pause(now: WallTime, last: Option<WallTime>) -> Option<Duration> {
    let left = AFTER_HINDRANCE.saturating_sub(elapsed(last?, now));
    Some(left).filter(|left| !left.is_zero())
}

#[cfg(test)]
mod tests;
