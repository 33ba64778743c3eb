//! Carries out the steps of a plan, one after the other. I/O only; decides nothing.

mod access;
pub(crate) mod gc;
mod lineage;

use std::sync::Arc;

use engine::{Epoch, Flush, Host, Remembered};
use kube::api::{Patch, PatchParams};
use kube::{Resource as _, ResourceExt};
use rand::RngCore as _;

use crate::context::{Cluster, Context};
use crate::crd::BucketDatabase;
use crate::error::Error;
use crate::events;
use crate::gc::News;
use crate::memory::Memory;
use crate::objects::{self, Contents, FIELD_MANAGER, Token};
use crate::plan::{Step, StepKind, name_of};

/// How far the steps came.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// The request of the flush annotation that was carried out.
    pub(crate) flushed: Option<String>,
    /// What came of gc.
    pub(crate) gc: Option<News>,
    /// The connection Secret was written.
    pub(crate) connected: bool,
    /// The resource was let go: there is nobody to tell anything any more.
    pub(crate) let_go: bool,
    /// What ended the steps, if not all were done.
    pub(crate) result: Result<(), Error>,
}

/// Does the steps in order, and stops at the first that fails.
pub(crate) async fn run(ctx: &Context, resource: &BucketDatabase, steps: &[Step]) -> Outcome {
    let mut outcome = Outcome { flushed: None, gc: None, connected: false, let_go: false, result: Ok(()) };
    for step in steps {
        let done = match step {
            Step::AddFinalizer
            | Step::RemoveFinalizer
            | Step::EnsureConnectionSecret(_)
            | Step::EnsureService { .. }
            | Step::EnsureEndpoints { .. }
            | Step::RemoveService { .. }
            | Step::RemoveEndpoints { .. }
            | Step::Tell(_) => on_cluster(&ctx.cluster, resource, step).await,
            Step::Gc(work) => {
                outcome.gc = gc::run(ctx, resource, work).await;
                Ok(())
            }
            step => on_host(&ctx.host, &ctx.cluster.memory, resource, step).await,
        };
        if let Err(error) = done {
            outcome.result = Err(error);
            break;
        }
        match step {
            Step::Flush { request } => outcome.flushed = Some(request.clone()),
            Step::EnsureConnectionSecret(_) => outcome.connected = true,
            Step::RemoveFinalizer => outcome.let_go = true,
            Step::Suspend(_) => ctx.free(resource),
            Step::Reconfigure(_) => ctx.free_share(resource),
            _ => {}
        }
        let step = StepKind::from(step).as_str();
        ctx.cluster.options.metrics.count_step(step);
        ctx.cluster.options.after_step.tell(name_of(resource), step).await;
    }
    outcome
}

/// A step that concerns the host alone. Those that concern the cluster are none here.
pub(crate) async fn on_host(host: &Arc<Host>, memory: &Memory, resource: &BucketDatabase, step: &Step) -> Result<(), Error> {
    let name = name_of(resource);
    match step {
        Step::Open(config) => {
            let status = memory.of(resource).status.or_else(|| resource.status.clone());
            let remembered = status.map_or_else(Remembered::default, |status| Remembered {
                epoch: status.epoch.map(Epoch),
                verified: status.last_verified.map(|last| last.time.0),
                size: status.size.map_or(0, |size| size.as_bytes()),
            });
            host.open((**config).clone(), remembered);
            memory.update(resource, |known| known.apply(config));
        }
        Step::Reconfigure(config) => {
            host.reconfigure((**config).clone());
            memory.update(resource, |known| known.apply(config));
        }
        Step::CreateBranch { .. }
        | Step::SwitchBranch { .. }
        | Step::Promote { .. }
        | Step::NoteFate { .. }
        | Step::DeleteLeaving { .. }
        | Step::ListBranches => lineage::run(host, memory, resource, step).await?,
        Step::Flush { .. } => {
            let handle = host.get(&name).map_err(|error| Error::Engine(Arc::new(error)))?;
            handle.database.flush(Flush::Forced).await.map_err(Error::Engine)?;
        }
        Step::Close => {
            host.close(&name).await.map_err(Error::Engine)?;
        }
        Step::Abandon => {
            let lost = host.abandon(&name);
            tracing::warn!(database = %name, lost, "given up, as its annotation asks for");
        }
        Step::Suspend(config) => {
            host.suspend((**config).clone()).await.map_err(Error::Engine)?;
            memory.update(resource, |known| known.rest(config));
        }
        Step::Forget => host.forget(&name),
        Step::DeleteBranch { config, name } => host.delete_own_branch(config, name).await.map_err(Error::Deletion)?,
        Step::DeleteRest(config) => host.delete_rest(config).await.map_err(Error::Deletion)?,
        Step::AddFinalizer
        | Step::RemoveFinalizer
        | Step::EnsureConnectionSecret(_)
        | Step::EnsureService { .. }
        | Step::EnsureEndpoints { .. }
        | Step::RemoveService { .. }
        | Step::RemoveEndpoints { .. }
        | Step::Tell(_)
        | Step::Gc(_) => {}
    }
    Ok(())
}

/// A step that concerns the API server alone. Those that concern the host are none here.
async fn on_cluster(cluster: &Cluster, resource: &BucketDatabase, step: &Step) -> Result<(), Error> {
    match step {
        Step::AddFinalizer => patch(cluster, resource, &objects::add_finalizer(resource), "adding the finalizer").await,
        Step::RemoveFinalizer => let_go(cluster, resource).await,
        Step::EnsureConnectionSecret(contents) => ensure_connection_secret(cluster, resource, contents).await,
        Step::EnsureService { over } => access::ensure_service(cluster, resource, over.as_ref()).await,
        Step::EnsureEndpoints { over } => access::ensure_endpoints(cluster, resource, over.as_ref()).await,
        Step::RemoveService { uid } => access::remove_service(cluster, resource, uid).await,
        Step::RemoveEndpoints { uid } => access::remove_endpoints(cluster, resource, uid).await,
        Step::Tell(notice) => {
            events::publish(&cluster.recorder, &resource.object_ref(&()), vec![notice.clone()]).await;
            Ok(())
        }
        Step::CreateBranch { .. }
        | Step::SwitchBranch { .. }
        | Step::Promote { .. }
        | Step::NoteFate { .. }
        | Step::DeleteLeaving { .. }
        | Step::ListBranches
        | Step::Open(_)
        | Step::Reconfigure(_)
        | Step::Flush { .. }
        | Step::Gc(_)
        | Step::Close
        | Step::Suspend(_)
        | Step::Abandon
        | Step::Forget
        | Step::DeleteBranch { .. }
        | Step::DeleteRest(_) => Ok(()),
    }
}

async fn ensure_connection_secret(cluster: &Cluster, resource: &BucketDatabase, contents: &Contents) -> Result<(), Error> {
    let secret = objects::connection_secret(resource, &contents.drawn(draw));
    let name = objects::connection_secret_name(resource);
    let params = PatchParams::apply(FIELD_MANAGER).force();
    let doing = "writing the connection Secret";
    cluster.secrets(resource).patch(&name, &params, &Patch::Apply(&secret)).await.map_err(Error::cluster(doing))?;
    Ok(())
}

fn draw() -> Token {
    let mut bytes = [0; 32];
    #[allow(clippy::disallowed_methods, reason = "tokens are drawn here alone")]
    rand::rng().fill_bytes(&mut bytes);
    Token::from_random(bytes)
}

/// A resource that is gone already is let go.
async fn let_go(cluster: &Cluster, resource: &BucketDatabase) -> Result<(), Error> {
    // Remembered first, or it could come after the news that the resource is gone, and nobody would forget it.
    cluster.memory.update(resource, |known| known.let_go = true);
    match patch(cluster, resource, &objects::remove_finalizer(resource), "removing the finalizer").await {
        Err(Error::Cluster { source, .. }) if is_gone(&source) => Ok(()),
        done => {
            cluster.memory.update(resource, |known| known.let_go = done.is_ok());
            done
        }
    }
}

async fn patch(cluster: &Cluster, resource: &BucketDatabase, patch: &serde_json::Value, doing: &'static str) -> Result<(), Error> {
    let params = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
    cluster.resources(resource).patch(&resource.name_any(), &params, &Patch::Merge(patch)).await.map_err(Error::cluster(doing))?;
    Ok(())
}

/// Whether the API server says that there is no such object.
pub(crate) fn is_gone(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 404)
}

#[cfg(test)]
mod tests;
