//! Carries out what is planned about gc, in a cluster. I/O only; decides nothing.
//!
//! What goes wrong here is news about gc, never a failure of the look: the database serves on, and the condition `GarbageCollected` tells.

use std::sync::Arc;

use engine::{DatabaseName, Error as EngineError, Flush, Host, NotServed, WallTime};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams, Preconditions};

use super::is_gone;
use crate::context::{Cluster, Context};
use crate::crd::BucketDatabase;
use crate::gc::{Ended, News, Place, own_keys, pods};
use crate::objects::gc_job::{self, GcJobOptions, Job, JobState};
use crate::objects::{FIELD_MANAGER, is_owned_by};
use crate::plan::gc::{Start, Work};
use crate::plan::name_of;
use crate::problem::Problem;
use crate::reason::Reason;

/// Does it, and tells what came of it.
pub(crate) async fn run(ctx: &Context, resource: &BucketDatabase, work: &Work) -> Option<News> {
    let now = ctx.cluster.options.clock.wall();
    let news = match work {
        Work::Start(start) => begin(ctx, resource, start, now).await,
        Work::Take(job) => take(&ctx.cluster, resource, job).await,
        Work::Inspect(job) => inspect(&ctx.cluster, resource, job).await,
    };
    ctx.cluster.memory.update(resource, |known| match work {
        Work::Inspect(_) => known.gc_inspected = Some(now),
        Work::Start(_) | Work::Take(_) => known.gc_hindered = matches!(news, Some(News::Hindered(_))).then_some(now),
    });
    if let Some(news) = &news {
        ctx.cluster.options.metrics.count_gc(news);
    }
    news
}

/// Claims the place, flushes, and makes the Job. Without one the place is given back.
async fn begin(ctx: &Context, resource: &BucketDatabase, start: &Start, now: WallTime) -> Option<News> {
    let (name, place) = (name_of(resource), Place::of(&resource.spec));
    if !ctx.jobs.begun.take(place.clone(), &name, now) {
        // Somebody was quicker. The news of that Job bring us here again.
        return None;
    }
    let made = async {
        let options = options(&ctx.cluster)?;
        own_keys(&start.config)?;
        flush(&ctx.host, &start.flush).await?;
        make(&ctx.cluster, resource, start, options).await
    };
    match made.await {
        Ok(()) => Some(News::Started(start.run.clone())),
        Err(problem) => {
            ctx.jobs.begun.give_back(&place, &name);
            Some(News::Hindered(problem))
        }
    }
}

fn options(cluster: &Cluster) -> Result<&GcJobOptions, Problem> {
    let message = "the operator was not told which image runs gc: give it --gc-job, as its chart does, or run `buckethead gc` yourself";
    cluster.options.gc.as_ref().ok_or_else(|| Problem::passing(Reason::GcNotConfigured, message))
}

async fn make(cluster: &Cluster, resource: &BucketDatabase, start: &Start, options: &GcJobOptions) -> Result<(), Problem> {
    ensure_account(cluster, resource).await?;
    let job = gc_job::job(resource, &start.config, &start.run, options);
    if let Some(uid) = &start.replaces {
        remove(cluster, resource, job.metadata.name.as_deref().unwrap_or_default(), uid).await?;
    }
    cluster.jobs(resource).create(&PostParams::default(), &job).await.map_err(refused("making the Job"))?;
    Ok(())
}

/// What a database of this process has committed must count, or its files would be taken for unused until its next flush. One that is not
/// open has nothing in memory alone.
pub(crate) async fn flush(host: &Host, names: &[DatabaseName]) -> Result<(), Problem> {
    for name in names {
        let flushed = match host.get(name) {
            Ok(handle) => handle.database.flush(Flush::Forced).await.map(drop),
            Err(EngineError::NotServed {
                why: NotServed::Unknown | NotServed::Opening | NotServed::Failed | NotServed::Suspended, ..
            }) => Ok(()),
            Err(error) => Err(Arc::new(error)),
        };
        flushed.map_err(|error| {
            let why = Problem::of(name, &error).message;
            Problem::passing(Reason::GcFlushFailed, format!("no run begins before {name} is flushed: {why}"))
        })?;
    }
    Ok(())
}

async fn ensure_account(cluster: &Cluster, resource: &BucketDatabase) -> Result<(), Problem> {
    let name = gc_job::account_name(resource);
    let accounts = cluster.service_accounts(resource);
    let wanted = gc_job::account(resource);
    match accounts.get_opt(&name).await.map_err(refused("reading the ServiceAccount of gc"))? {
        Some(found) if !is_owned_by(&found, resource) => Err(Problem::passing(
            Reason::GcJobRefused,
            format!("there is a ServiceAccount `{name}` that is not ours: delete or rename it, that of gc takes its place"),
        )),
        Some(found) if found.automount_service_account_token == wanted.automount_service_account_token => Ok(()),
        Some(_) | None => {
            let params = PatchParams::apply(FIELD_MANAGER).force();
            accounts.patch(&name, &params, &Patch::Apply(&wanted)).await.map_err(refused("making the ServiceAccount of gc"))?;
            Ok(())
        }
    }
}

/// Makes room for the next Job of the same name, if it is still the one that was seen.
async fn remove(cluster: &Cluster, resource: &BucketDatabase, name: &str, uid: &str) -> Result<(), Problem> {
    let preconditions = Preconditions { uid: Some(uid.to_owned()), resource_version: None };
    let params = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::background() };
    match cluster.jobs(resource).delete(name, &params).await {
        Err(error) if !is_gone(&error) => Err(refused("deleting the Job before")(error)),
        Ok(_) | Err(_) => Ok(()),
    }
}

async fn take(cluster: &Cluster, resource: &BucketDatabase, job: &Job) -> Option<News> {
    let JobState::Ended { end, at } = &job.state else { return None };
    Some(match list(cluster, resource, job).await {
        Ok(pods) => {
            let result = pods::report(job, end, &pods);
            News::Ended(Ended { job: Some(job.uid.clone()), time: *at, run: job.run.clone(), result })
        }
        Err(problem) => News::Hindered(problem),
    })
}

async fn inspect(cluster: &Cluster, resource: &BucketDatabase, job: &Job) -> Option<News> {
    match list(cluster, resource, job).await {
        Ok(pods) => pods::hindrance(job, &pods).map(News::Hindered),
        Err(problem) => Some(News::Hindered(problem)),
    }
}

async fn list(cluster: &Cluster, resource: &BucketDatabase, job: &Job) -> Result<Vec<Pod>, Problem> {
    let params = ListParams::default().labels(&format!("batch.kubernetes.io/controller-uid={}", job.uid));
    Ok(cluster.pods(resource).list(&params).await.map_err(refused("listing the Pods of gc"))?.items)
}

/// The API server's words, and where to look.
fn refused(doing: &'static str) -> impl Fn(kube::Error) -> Problem {
    move |error| {
        let remedy = match &error {
            kube::Error::Api(status) if status.code == 403 => {
                "; give the operator the rights of its chart, and look at the namespace's quotas and at what admits objects there"
            }
            _ => "; it is tried again",
        };
        Problem::passing(Reason::GcJobRefused, format!("the API server refused or failed while {doing}: {error}{remedy}"))
    }
}

#[cfg(test)]
mod tests;
