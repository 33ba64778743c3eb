//! The operator: all watches together, from the first list to the last look.
//!
//! Owns: readiness and the order of shutdown. The host outlives it: whoever called [`run`] shuts the host down after it.

use std::sync::Arc;

use engine::Host;
use futures::future::join_all;
use futures::{FutureExt as _, StreamExt as _};
use kube::Client;
use kube::runtime::Controller;
use kube::runtime::controller::{self, Config};
use kube::runtime::reflector::Store;
use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;

use crate::context::{Cluster, Context, OperatorOptions};
use crate::error::Error;
use crate::watch::{self, Watch};
use crate::{group, problem, reconcile};

/// How many names of freed places a slow watch may lag behind before it looks at all.
const FREED_KEPT: usize = 1024;

/// Carries out what `BucketDatabase`s ask for until `shutdown`; then what runs is ended, and nothing new begun.
pub async fn run(client: Client, host: Arc<Host>, options: OperatorOptions, shutdown: CancellationToken) -> Result<(), Error> {
    if shutdown.run_until_cancelled(watch::until_established(&client, &options.namespaces)).await.is_none() {
        return Ok(());
    }
    let group = options.group.clone();
    let (watches, owned, gone) = watch::watches(&client, &options.namespaces, group.as_ref());
    let (jobs, job_events) = watch::jobs::watches(&client, &options.namespaces);
    let stores: Vec<_> = watches.iter().map(|watch| watch.store.clone()).collect();
    if let Some(group) = &group {
        group.attend(stores.clone(), owned.clone());
    }
    options.metrics.attend(stores.clone());
    let freed = broadcast::Sender::new(FREED_KEPT);
    let ctx = Arc::new(Context { host, cluster: Cluster::new(client, options), freed, stores, jobs, owned });
    let stop = shutdown.child_token();
    let controllers: Vec<_> = watches.into_iter().map(|watch| control(Arc::clone(&ctx), watch, stop.clone())).collect();
    let looks = async {
        join_all(controllers).await;
        stop.cancel();
    };
    tokio::join!(
        looks,
        announce(&ctx, &stop),
        share(&ctx, &stop),
        watch::follow_gone(Arc::clone(&ctx), gone, stop.clone()),
        watch::jobs::follow(Arc::clone(&ctx), job_events, stop.clone())
    );
    if shutdown.is_cancelled() { Ok(()) } else { Err(Error::WatchEnded) }
}

/// Looks at the resources of one watch.
fn control(ctx: Arc<Context>, watch: Watch, stop: CancellationToken) -> impl Future<Output = ()> + Send + use<> {
    let pokes = watch::pokes(&ctx.host, &ctx.freed, ctx.cluster.options.group.as_ref(), &watch.store);
    Controller::for_stream(watch.touched, watch.store)
        .with_config(Config::default().concurrency(ctx.cluster.options.concurrency).debounce(problem::DEBOUNCE))
        .reconcile_on(pokes)
        .reconcile_on(watch.services)
        .graceful_shutdown_on(stop.cancelled_owned())
        .run(reconcile::run, reconcile::after_failure, ctx)
        .for_each(|looked| async move {
            match looked {
                // Looked at, or failed and told by `after_failure`, or gone before its turn.
                Ok(_) | Err(controller::Error::ReconcilerFailed(..) | controller::Error::ObjectNotFound(_)) => {}
                Err(error) => tracing::warn!(error = &error as &dyn std::error::Error, "a watch failed; it is tried again"),
            }
        })
        .boxed()
}

/// Says that the operator is ready once every watch is synced, and that it is not from the moment it stops.
async fn announce(ctx: &Context, stop: &CancellationToken) {
    let synced = join_all(ctx.stores.iter().map(Store::wait_until_ready));
    if let Some(synced) = stop.run_until_cancelled(synced).await
        && synced.iter().all(Result::is_ok)
        && stop.run_until_cancelled(joined(ctx)).await.is_some()
    {
        tracing::info!("all watches are synced");
        ctx.cluster.options.ready.send_replace(true);
        stop.cancelled().await;
    }
    ctx.cluster.options.ready.send_replace(false);
}

/// Returns once this process is one of its group.
async fn joined(ctx: &Context) {
    if let Some(group) = &ctx.cluster.options.group {
        group.note_synced();
        group.joined().await;
    }
}

/// What is done for the group besides looks: databases are handed over, who waits is woken, and what is unsaved is saved while nobody else can have it.
async fn share(ctx: &Context, stop: &CancellationToken) {
    let Some(group) = &ctx.cluster.options.group else { return };
    tokio::join!(
        group::hand_over(Arc::clone(group), stop.clone()),
        stop.run_until_cancelled(group.follow()),
        stop.run_until_cancelled(group.save_in_time())
    );
}
