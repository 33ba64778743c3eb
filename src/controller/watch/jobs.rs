//! The watch of gc's Jobs: what tells that one ended, and which there are.
//!
//! Owns: who is looked at when a Job changes: its database, and those that wait for the same place. Does not own: what is done then.
//! Invariant: nothing is said of Jobs before all of them are known; a right that is missing keeps gc from running, and nothing else.

use std::sync::Arc;

use engine::{DatabaseName, WallTime};
use futures::stream::{BoxStream, select_all};
use futures::{FutureExt as _, StreamExt as _};
use k8s_openapi::api::batch::v1::Job;
use kube::Client;
use kube::runtime::reflector::Store;
use kube::runtime::{WatchStreamExt as _, reflector, watcher};
use tokio_util::sync::CancellationToken;

use super::apis;
use crate::context::Context;
use crate::crd::BucketDatabase;
use crate::gc::Place;
use crate::gc::claims::Claims;
use crate::objects::gc_job::{self, JobState};
use crate::objects::is_owned_by;
use crate::plan::gc::Jobs as Seen;
use crate::plan::name_of;
use crate::reason::Reason;
use crate::status::condition::GARBAGE_COLLECTED;
use crate::status::find;

/// The Jobs of all watched namespaces.
pub(crate) struct Jobs {
    /// What each watch has seen.
    pub(crate) stores: Vec<Store<Job>>,
    /// What this process began, and no watch has shown.
    pub(crate) begun: Claims,
}

/// News of Jobs.
pub(crate) type JobEvents = BoxStream<'static, watcher::Result<watcher::Event<Job>>>;

/// One watch for each namespace, or one for all.
pub(crate) fn watches(client: &Client, namespaces: &[String]) -> (Jobs, JobEvents) {
    let (stores, events): (Vec<_>, Vec<_>) = apis::<Job>(client, namespaces)
        .into_iter()
        .map(|api| {
            let (store, writer) = reflector::store();
            let config = watcher::Config::default().labels(gc_job::SELECTOR);
            (store, watcher(api, config).default_backoff().reflect(writer).boxed())
        })
        .unzip();
    (Jobs { stores, begun: Claims::default() }, select_all(events).boxed())
}

impl Jobs {
    /// What is known of the Jobs, as far as one resource is concerned. `told` is the UID of the Job whose end is told already.
    pub(crate) fn seen(&self, resource: &BucketDatabase, told: Option<&str>, now: WallTime) -> Seen {
        if !self.stores.iter().all(|store| store.wait_until_ready().now_or_never().is_some_and(|ready| ready.is_ok())) {
            return Seen::Unknown;
        }
        let (name, place) = (name_of(resource), Place::of(&resource.spec));
        let jobs: Vec<Arc<Job>> = self.stores.iter().flat_map(Store::state).collect();
        let mut own: Vec<_> = jobs.iter().filter(|job| is_owned_by(&***job, resource)).filter_map(|job| gc_job::read(job)).collect();
        own.sort_by_key(|job| job.created);
        let mine = own.pop();
        if mine.as_ref().is_some_and(|job| told != Some(&*job.uid)) {
            self.begun.give_back(&place, &name);
        }
        let holder = self.begun.holder(&place, now);
        let begun = holder.as_ref() == Some(&name);
        let runs = |job: &&Arc<Job>| {
            let is_other = gc_job::is_at(job, &place) && !is_owned_by(&***job, resource) && job.metadata.deletion_timestamp.is_none();
            is_other && gc_job::read(job).is_some_and(|job| !matches!(job.state, JobState::Ended { .. }))
        };
        let elsewhere = jobs.iter().find(runs).and_then(|job| gc_job::database_of(job)).or_else(|| holder.filter(|_| !begun));
        Seen::Known { mine, begun, elsewhere }
    }
}

/// Looks at whoever a change of a Job concerns, until `stop`.
pub(crate) async fn follow(ctx: Arc<Context>, mut events: JobEvents, stop: CancellationToken) {
    while let Some(Some(event)) = stop.run_until_cancelled(events.next()).await {
        let changed = match event {
            Ok(watcher::Event::Apply(job) | watcher::Event::Delete(job)) => vec![Arc::new(job)],
            Ok(watcher::Event::InitDone) => ctx.jobs.stores.iter().flat_map(Store::state).collect(),
            Ok(watcher::Event::Init | watcher::Event::InitApply(_)) => Vec::new(),
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(
                    error,
                    "the watch of gc's Jobs failed, and no gc begins until it succeeds; it needs the right to list and watch Jobs"
                );
                Vec::new()
            }
        };
        for name in changed.iter().flat_map(|job| concerned(&ctx, job)) {
            // Without a receiver the controllers have ended, and nobody waits any more.
            let _ = ctx.freed.send(name);
        }
    }
}

/// The database of a Job, and those that wait for the place.
fn concerned(ctx: &Context, job: &Job) -> Vec<DatabaseName> {
    let known = ctx.known();
    let waits = |other: &&BucketDatabase| {
        let status = ctx.cluster.memory.status(other);
        let waits = find(&status, GARBAGE_COLLECTED).is_some_and(|gc| gc.reason == Reason::GcWaiting.as_str());
        waits && gc_job::is_at(job, &Place::of(&other.spec))
    };
    let waiting = known.iter().filter_map(|other| other.0.as_ref().ok()).filter(waits);
    waiting.map(name_of).chain(gc_job::database_of(job)).collect()
}
