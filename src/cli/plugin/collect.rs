//! What the cluster adds to a report: the resource, its events, its Jobs, and the operator's Pods with their logs.
//!
//! Invariant: of Secrets nothing at all.

use anyhow::Context as _;
use controller::crd::BucketDatabase;
use futures::TryStreamExt as _;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{ListParams, LogParams};
use kube::{Api, ResourceExt as _};
use serde_json::{Value, json};

use super::cluster::{Cluster, Place};
use super::{lines, status};
use crate::cli::report::Parts;

/// Lines of each Pod's log that are looked at.
const LINES: i64 = 10_000;

/// Adds what can be had.
pub(super) async fn all(cluster: &Cluster, name: &str, parts: &mut Parts) {
    let resource = match cluster.database(name).await {
        Ok(resource) => resource,
        Err(error) => return parts.json("resource.json", Err::<Value, _>(error)),
    };
    parts.json("events.json", status::events(cluster, &resource).await);
    parts.json("jobs.json", jobs(cluster, &resource).await);
    match cluster.pods(&resource).await {
        Err(error) => parts.json("pods.json", Err::<Value, _>(error)),
        Ok(places) => {
            parts.json("pods.json", pods(cluster, &places).await);
            for place in &places {
                parts.bytes(&format!("logs/{}.txt", place.pod), log(cluster, place, &format!("{}/{name}", cluster.namespace)).await);
            }
        }
    }
    parts.json("resource.json", Ok(without_fields(resource)));
}

/// Without what only tells who wrote which field.
fn without_fields(mut resource: BucketDatabase) -> BucketDatabase {
    resource.metadata.managed_fields = None;
    resource.annotations_mut().remove("kubectl.kubernetes.io/last-applied-configuration");
    resource
}

/// The runs of gc that are still there.
async fn jobs(cluster: &Cluster, resource: &BucketDatabase) -> anyhow::Result<Vec<Value>> {
    let jobs: Api<Job> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    let found = jobs.list(&ListParams::default()).await.context("listing jobs")?;
    let uid = resource.uid();
    let own = found.into_iter().filter(|job| job.owner_references().iter().any(|owner| Some(&owner.uid) == uid.as_ref()));
    Ok(own.map(|job| json!({"name": job.name_any(), "created": job.creation_timestamp(), "status": job.status})).collect())
}

async fn pods(cluster: &Cluster, places: &[Place]) -> anyhow::Result<Vec<Value>> {
    let mut found = Vec::new();
    for place in places {
        let pods: Api<Pod> = Api::namespaced(cluster.client.clone(), &place.namespace);
        let pod = pods.get(&place.pod).await.with_context(|| format!("reading pod {}", place.pod))?;
        let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
        // Arguments are options of the operator; its environment may hold what others put there.
        let containers: Vec<Value> = containers
            .map(|container| json!({"name": container.name, "image": container.image, "args": container.args, "resources": container.resources}))
            .collect();
        let node = pod.spec.as_ref().and_then(|spec| spec.node_name.clone());
        found.push(json!({"name": pod.name_any(), "node": node, "containers": containers, "status": pod.status}));
    }
    Ok(found)
}

/// The lines that name the database.
async fn log(cluster: &Cluster, place: &Place, name: &str) -> anyhow::Result<Vec<u8>> {
    let parameters = LogParams { tail_lines: Some(LINES), ..LogParams::default() };
    let mut lines = Box::pin(lines::lines(cluster, place, &parameters).await?);
    let mut text = String::new();
    while let Some(line) = lines.try_next().await? {
        if lines::names(&line, name) {
            text += &line;
            text.push('\n');
        }
    }
    Ok(text.into_bytes())
}
