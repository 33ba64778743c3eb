//! What is the case: the resource's Secrets and its Service, the host, other resources. I/O only; decides nothing.
//!
//! Secrets are read by name at each look and never listed or watched, so the operator needs no right to see others.

mod service;

use std::collections::BTreeMap;
use std::sync::Arc;

use engine::WallTime;
use k8s_openapi::api::core::v1::Secret;

use crate::context::{Cluster, Context};
use crate::crd::{Auth, BucketDatabase, BucketDatabaseStatus};
use crate::guarded::Guarded;
use crate::memory::Remembered;
use crate::objects::{self, Found, Source, Standing, Tokens};
use crate::plan::{self, Connection, Observed, OwnService, Rotation, name_of, wants_survey};
use crate::problem::Problem;
use crate::quota::{self, Share};
use crate::reason::Reason;
use crate::resolve::{Defaults, SecretData, Secrets, resolve};
use crate::rival::{gives_way, neighbours, rival};
use crate::status;

/// Looks at everything that the plan asks for. `broken` is what keeps the resource from being read.
pub(crate) async fn observe(ctx: &Context, resource: &BucketDatabase, broken: Option<Problem>) -> Observed {
    let name = name_of(resource);
    let remembered = ctx.cluster.memory.of(resource);
    let hosted = ctx.host.state(&name);
    let Wanted { config, connection, service, rotation } = match broken {
        Some(problem) => Wanted::refused(problem),
        None => wanted(&ctx.cluster, resource, ctx.shown(resource)).await,
    };
    let status = remembered.status.clone().or_else(|| resource.status.clone()).unwrap_or_default();
    let now = ctx.cluster.options.clock.wall();
    let known = ctx.known();
    let others = || known.iter().filter_map(|other| other.0.as_ref().ok());
    let reaching = config.as_ref().ok().or(remembered.applied.as_ref()).filter(|_| wants_survey(resource, &hosted));
    let remains = match reaching {
        Some(config) => Some(ctx.host.survey(config).await),
        None => None,
    };
    let gc = gc(ctx, resource, &status, &known, &remembered, now);
    Observed {
        now,
        config,
        applied: remembered.applied,
        made: remembered.made,
        lineage: ctx.cluster.memory.lineage(resource, ctx.cluster.options.clock.wall()),
        hosted,
        rival: rival(resource, others()).filter(|rival| !gives_way(&ctx.host.state(rival), resource)),
        neighbours: neighbours(resource, others()),
        remains,
        held: ctx.cluster.memory.held(resource),
        share: share(ctx, resource, others()),
        connection,
        service,
        rotation,
        gc,
        said: remembered.said,
        troubled_since: status::troubled_since(&status),
        flush_handled: status.last_handled.and_then(|handled| handled.flush),
    }
}

/// What the quota of its namespace leaves to a resource.
fn share<'a>(ctx: &Context, resource: &BucketDatabase, known: impl Iterator<Item = &'a BucketDatabase>) -> Share {
    let name = name_of(resource);
    let Some(quota) = ctx.cluster.options.quotas.of(name.namespace()) else { return Share::Whole };
    quota::share(&quota, resource, quota::claims(name.namespace(), known, |other| ctx.cluster.memory.held(other)))
}

fn gc(
    ctx: &Context,
    resource: &BucketDatabase,
    status: &BucketDatabaseStatus,
    known: &[Arc<Guarded>],
    remembered: &Remembered,
    now: WallTime,
) -> plan::gc::Seen {
    let files = status.files.clone().unwrap_or_default();
    plan::gc::Seen {
        jobs: ctx.jobs.seen(resource, files.gc_job.as_deref(), now),
        handled: status.last_handled.as_ref().and_then(|handled| handled.gc.clone()),
        sharers: crate::gc::sharers(resource, known.iter().filter_map(|other| other.0.as_ref().ok())),
        files,
        hindered: remembered.gc_hindered,
        inspected: remembered.gc_inspected,
    }
}

/// What the spec and its Secrets ask for, and how what we make for it stands.
#[derive(Debug)]
struct Wanted {
    config: Result<engine::DatabaseConfig, Problem>,
    connection: Connection,
    service: OwnService,
    rotation: Rotation,
}

impl Wanted {
    fn refused(problem: Problem) -> Self {
        let service = OwnService::Unknown(problem.clone());
        Self { config: Err(problem), connection: Connection::Unknown, service, rotation: Rotation::default() }
    }
}

/// `shown` is what the watches show of its Service.
async fn wanted(cluster: &Cluster, resource: &BucketDatabase, shown: Found) -> Wanted {
    let service = match service::look(cluster, resource, shown).await {
        Ok(found) => objects::own_service(resource, cluster.options.pod.as_ref(), &found),
        Err(problem) => OwnService::Unknown(problem),
    };
    let (secrets, standing) = match read(cluster, resource, &service).await {
        Ok(read) => read,
        Err(problem) => return Wanted { service, ..Wanted::refused(problem) },
    };
    let mut config =
        resolve(resource, &secrets, &Defaults { ambient: cluster.options.ambient.clone(), ..Defaults::default() }).map_err(Problem::from);
    if let Ok(config) = &mut config {
        // By the name of somebody else's Service nobody comes who means this database.
        config.own_service &= !matches!(service, OwnService::Refused(_));
    }
    Wanted { config, connection: standing.connection, service, rotation: standing.rotation }
}

async fn read(cluster: &Cluster, resource: &BucketDatabase, service: &OwnService) -> Result<(Secrets, Standing), Problem> {
    let spec = &resource.spec;
    let credentials = named(cluster, resource, spec.credentials.as_ref().map(|credentials| &*credentials.secret_ref.name)).await?;
    let ca = named(cluster, resource, spec.endpoint_tls.as_ref().map(|tls| &*tls.ca_ref.name)).await?;
    let given = named(cluster, resource, spec.api.token_secret_ref.as_ref().map(|token| &*token.name)).await?;
    let connection = secret(cluster, resource, &objects::connection_secret_name(resource)).await?;
    let is_kubernetes = spec.api.auth == Auth::Kubernetes;
    let compared = |source| compare(cluster, resource, service, connection.as_ref(), source);
    let standing = match (&spec.api.token_secret_ref, given.as_ref().map(objects::tokens_of)) {
        (_, _) if is_kubernetes => compared(Source::Kubernetes)?,
        (None, _) => compared(Source::Drawn)?,
        (Some(_), Some(given @ Tokens { token: Some(_), .. })) => compared(Source::Given(given))?,
        // Without the named token nothing can be said of the Secret that repeats it.
        (Some(_), _) => Standing { connection: Connection::Unknown, previous: Tokens::default(), rotation: Rotation::default() },
    };
    let token = if spec.api.token_secret_ref.is_some() { given } else { connection };
    let secrets = Secrets {
        credentials: credentials.map(into_data),
        ca: ca.map(into_data),
        token: token.map(into_data),
        previous: standing.previous.clone(),
    };
    Ok((secrets, standing))
}

fn compare(
    cluster: &Cluster,
    resource: &BucketDatabase,
    service: &OwnService,
    found: Option<&Secret>,
    source: Source,
) -> Result<Standing, Problem> {
    let wish = objects::Wish {
        resource,
        url: objects::told_url(resource, cluster.options.ways(), service, found.and_then(objects::url_of)),
        source,
        now: cluster.options.clock.wall(),
        overlap: cluster.options.token_overlap,
    };
    objects::compare(&wish, found).map_err(|objects::NotOurs| {
        let name = objects::connection_secret_name(resource);
        let message = format!("there is a Secret `{name}` that is not ours: delete or rename it, the connection Secret takes its place");
        Problem::stuck(Reason::ConnectionSecretTaken, message)
    })
}

async fn named(cluster: &Cluster, resource: &BucketDatabase, name: Option<&str>) -> Result<Option<Secret>, Problem> {
    match name {
        Some(name) => secret(cluster, resource, name).await,
        None => Ok(None),
    }
}

async fn secret(cluster: &Cluster, resource: &BucketDatabase, name: &str) -> Result<Option<Secret>, Problem> {
    cluster.secrets(resource).get_opt(name).await.map_err(|error| {
        let message = format!("the Secret `{name}` could not be read: {error}; the operator needs the right to get it");
        Problem::passing(Reason::ClusterRequestFailed, message)
    })
}

fn into_data(secret: Secret) -> SecretData {
    let data = secret.data.unwrap_or_default();
    SecretData::from(data.into_iter().map(|(key, value)| (key, value.0)).collect::<BTreeMap<_, _>>())
}

#[cfg(test)]
mod tests;
