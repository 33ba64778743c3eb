//! The one place that writes a status.

use std::time::Duration;

use engine::WallTime;
use kube::api::{Patch, PatchParams};
use kube::{Resource as _, ResourceExt};

use super::{Due, Said, due, next};
use crate::act::{Outcome, is_gone};
use crate::context::Cluster;
use crate::crd::{BucketDatabase, BucketDatabaseStatus};
use crate::error::Error;
use crate::events;
use crate::memory::Remembered;
use crate::objects::{self, FIELD_MANAGER};
use crate::plan::{Connection, Observed, Verdict, elapsed};
use crate::problem::LOOK_AGAIN;

/// Writes the status if it is due, and tells what changed. Returns when to look again at the latest so that nothing stays untold.
pub(crate) async fn publish(
    cluster: &Cluster,
    resource: &BucketDatabase,
    seen: &Observed,
    verdict: &Verdict,
    outcome: &Outcome,
) -> Result<Duration, Error> {
    if outcome.let_go {
        return Ok(LOOK_AGAIN);
    }
    let remembered = cluster.memory.of(resource);
    let previous = remembered.status.clone().or_else(|| resource.status.clone()).unwrap_or_default();
    let said = Said {
        verdict,
        flushed: outcome.flushed.as_deref(),
        gc: outcome.gc.as_ref(),
        url: &objects::told_url(resource, cluster.options.ways(), &seen.service, previous.url.clone()),
        host: &cluster.options.instance,
        binding: (seen.connection == Connection::Current || outcome.connected).then(|| objects::connection_secret_name(resource)),
    };
    let status = next(resource, &previous, seen, &said);
    cluster.memory.update(resource, |known| known.said = Some(verdict.clone()));
    let is_lost = is_lost(resource, &remembered, seen.now);
    match due(&previous, &status, remembered.written, seen.now, cluster.options.status_interval) {
        Due::Never if !is_lost => return Ok(LOOK_AGAIN),
        Due::In(left) if !is_lost => return Ok(left),
        Due::Never | Due::In(_) | Due::Now => write(cluster, resource, &status).await?,
    }
    let notices = events::between(&previous, &status);
    cluster.memory.update(resource, |known| {
        known.status = Some(status);
        known.written = Some(seen.now);
    });
    events::publish(&cluster.recorder, &resource.object_ref(&()), notices).await;
    Ok(LOOK_AGAIN)
}

/// By then the watch shows what was written.
const SHOWN: Duration = Duration::from_mins(1);

/// Whether the status that was written last is not there any more: somebody edited it, or put an older one back.
fn is_lost(resource: &BucketDatabase, remembered: &Remembered, now: WallTime) -> bool {
    let is_old = remembered.written.is_some_and(|written| elapsed(written, now) > SHOWN);
    is_old && remembered.status.is_some() && remembered.status != resource.status
}

/// Says that this process has a database no more, and leaves the rest as it is.
pub(crate) async fn give_up(cluster: &Cluster, resource: &BucketDatabase) -> Result<(), Error> {
    let status = BucketDatabaseStatus { host: None, ..cluster.memory.status(resource) };
    write(cluster, resource, &status).await
}

async fn write(cluster: &Cluster, resource: &BucketDatabase, status: &BucketDatabaseStatus) -> Result<(), Error> {
    let patch = objects::status_patch(resource, status);
    let params = PatchParams::apply(FIELD_MANAGER).force();
    match cluster.resources(resource).patch_status(&resource.name_any(), &params, &Patch::Apply(&patch)).await {
        Err(error) if !is_gone(&error) => Err(Error::cluster("writing the status")(error)),
        Ok(_) | Err(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests;
