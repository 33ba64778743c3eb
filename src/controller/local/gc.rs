//! gc in `dev`: the decisions of the cluster's controller, carried out in this process, where there are no Jobs.
//!
//! A run is part of a look, so its database is not looked at meanwhile; it answers requests all the same.

use engine::GcError;

use super::look::{Looks, Subject};
use crate::act;
use crate::crd::{BucketDatabase, BucketDatabaseStatus};
use crate::gc::{Ended, News};
use crate::plan::gc::{Jobs, Seen, Start, Work};
use crate::problem::Problem;
use crate::reason::Reason;

/// What is the case.
pub(super) fn seen(subject: &Subject, status: &BucketDatabaseStatus, hindered: Option<engine::WallTime>) -> Seen {
    Seen {
        jobs: Jobs::NONE,
        handled: status.last_handled.as_ref().and_then(|handled| handled.gc.clone()),
        files: status.files.clone().unwrap_or_default(),
        sharers: subject.sharers.clone(),
        hindered,
        inspected: None,
    }
}

/// Runs to the end. Without Jobs there is none to follow.
pub(super) async fn run(looks: &Looks, resource: &BucketDatabase, work: &Work) -> Option<News> {
    let Work::Start(start) = work else { return None };
    let news = match act::gc::flush(&looks.host, &start.flush).await {
        Ok(()) => News::Ended(collect(looks, resource, start).await),
        Err(problem) => News::Hindered(problem),
    };
    let now = looks.clock.wall();
    looks.memory.update(resource, |known| known.gc_hindered = matches!(news, News::Hindered(_)).then_some(now));
    Some(news)
}

async fn collect(looks: &Looks, resource: &BucketDatabase, start: &Start) -> Ended {
    let gc = &resource.spec.files.gc;
    let found = looks.host.collect_garbage(&start.config, gc.dry_run, gc.include_unowned).await;
    let result = found.map(|report| report.summary(gc.dry_run)).map_err(|error| stopped(&error));
    Ended { job: None, time: looks.clock.wall(), run: start.run.clone(), result }
}

fn stopped(error: &GcError) -> Problem {
    let source = std::error::Error::source(error).map(|source| format!(": {source}")).unwrap_or_default();
    Problem::passing(Reason::GcStopped, format!("{error}{source}; nothing is deleted on doubt"))
}
