//! `kubectl buckethead promote`: what a promotion would change, and the promotion itself, by the resource.

use std::time::Duration;

use anyhow::Context as _;
use controller::crd::{BucketDatabase, PromotionPhase, PromotionStatus};
use kube::ResourceExt as _;
use kube::api::{Patch, PatchParams};
use kube::runtime::wait::await_condition;
use serde_json::json;

use super::cluster::Cluster;
use crate::cli::branches::{self, Promotion, Wanted};
use crate::cli::signals::Signals;
use crate::cli::{Output, logs, show};

/// Puts the content of a branch into `main`, or into another branch, by `spec.promotion`; with --dry-run, tells what that would change.
///
/// Where the resource comes from Git, put the block there instead: the next sync may take this one back, of which this command warns where it
/// finds the marks of Argo CD, Flux or Config Sync. Without --id it is named after the branch and its state, so the same state is promoted
/// once.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The name of the `BucketDatabase`.
    #[arg(value_name = "DATABASE")]
    database: String,
    #[command(flatten)]
    promotion: Promotion,
    /// How long to wait until it is carried out.
    #[arg(long, value_name = "SECONDS", default_value_t = 120)]
    timeout: u64,
}

pub(super) async fn run(cluster: &Cluster, arguments: Arguments) -> anyhow::Result<()> {
    let Arguments { database, promotion, timeout } = arguments;
    if promotion.is_dry_run() {
        let way = cluster.way(&database).await?;
        return branches::run(promotion.settings(way.environment())?).await;
    }
    logs::start(logs::Format::Text, "warn")?;
    let mut signals = Signals::listen()?;
    let Wanted { to, from, from_txid, expected_txid, id, keep_previous_as, output } = promotion.wanted();
    let resource = cluster.database(&database).await?;
    if let Some((who, mark)) = synced_by(&resource) {
        tracing::warn!(
            "{who} applies {database} ({mark}), and may take this block back at its next sync: put it into the manifest in Git, too"
        );
    }
    let id = match id {
        Some(id) => id,
        None => named_after(&resource, &from, from_txid)?,
    };
    let block = json!({"id": id, "from": {"branch": from, "txid": from_txid}, "to": to, "expectedTxid": expected_txid, "keepPreviousAs": keep_previous_as});
    let databases = cluster.databases();
    let patch = Patch::Merge(json!({"spec": {"promotion": block}}));
    let patched = databases.patch(&database, &PatchParams::default(), &patch).await.with_context(|| format!("patching {database}"))?;
    let generation = patched.metadata.generation;
    let is_over = move |found: Option<&BucketDatabase>| found.is_none_or(|found| ended(found, &id, generation).is_some());
    let waiting = tokio::time::timeout(Duration::from_secs(timeout), await_condition(databases, &database, is_over));
    let found = tokio::select! {
        found = waiting => found,
        signal = signals.next() => anyhow::bail!("{signal}: the block is in the resource, and the operator carries it out without us"),
    };
    let late =
        || format!("not carried out within {timeout} s; the block stays, and `kubectl buckethead status {database}` tells how it stands");
    let found = found.with_context(late)??.with_context(|| format!("{database} was deleted meanwhile"))?;
    let promotion = found.status.and_then(|status| status.promotion).context("the resource tells of no promotion")?;
    tell(&promotion, output)
}

fn tell(promotion: &PromotionStatus, output: Output) -> anyhow::Result<()> {
    let PromotionStatus { id, phase, from, to, txid, message, .. } = promotion;
    let name = |name: &Option<String>| name.clone().unwrap_or_default();
    let said = message.clone().unwrap_or_default();
    anyhow::ensure!(*phase == Some(PromotionPhase::Applied), "the promotion {id} was not carried out: {said}");
    show::answer(output, promotion, || {
        format!("{id}: branch {} has the content of {} at txid {}", name(to), name(from), txid.unwrap_or_default())
    })
}

/// What tools mark the resources with that they apply from Git.
const MARKS: [(&str, &str); 5] = [
    ("Argo CD", "argocd.argoproj.io/tracking-id"),
    ("Argo CD", "argocd.argoproj.io/instance"),
    ("Flux", "kustomize.toolkit.fluxcd.io/name"),
    ("Flux", "helm.toolkit.fluxcd.io/name"),
    ("Config Sync", "configsync.gke.io/resource-id"),
];

/// Who applies a resource from Git, and by which label or annotation that is known.
fn synced_by(resource: &BucketDatabase) -> Option<(&'static str, &'static str)> {
    MARKS.into_iter().find(|(_, mark)| resource.labels().contains_key(*mark) || resource.annotations().contains_key(*mark))
}

/// How the promotion of this id came to its end.
fn ended<'a>(found: &'a BucketDatabase, id: &str, generation: Option<i64>) -> Option<&'a PromotionStatus> {
    let status = found.status.as_ref().filter(|status| status.observed_generation >= generation)?;
    let promotion = status.promotion.as_ref().filter(|promotion| promotion.id == id)?;
    matches!(promotion.phase, Some(PromotionPhase::Applied | PromotionPhase::Failed)).then_some(promotion)
}

/// The state is part of the name, or the next one could not be promoted without a name.
fn named_after(resource: &BucketDatabase, from: &str, txid: Option<u64>) -> anyhow::Result<String> {
    let known = resource.status.iter().flat_map(|status| &status.branches).find(|branch| branch.name == from);
    let txid = txid.or_else(|| known.and_then(|branch| branch.txid));
    let txid = txid.with_context(|| {
        let name = resource.name_any();
        format!("the status of {name} has no branch {from}. `branches {name} list` tells which there are; if it is one of them, name the promotion by --id")
    })?;
    Ok(format!("{from}-{txid}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_applies_a_resource_from_git_is_known_by_its_marks() {
        let marked = |metadata: serde_json::Value| {
            let spec = json!({"bucket": "orders", "key": "orders.db"});
            let manifest = json!({"apiVersion": "buckethead.dev/v1alpha1", "kind": "BucketDatabase", "metadata": metadata, "spec": spec});
            synced_by(&serde_json::from_value(manifest).unwrap()).map(|(who, _)| who)
        };
        assert_eq!(marked(json!({"name": "orders"})), None);
        assert_eq!(marked(json!({"name": "orders", "labels": {"app.kubernetes.io/managed-by": "Helm"}})), None);
        let tracking = "orders:buckethead.dev/BucketDatabase:apps/orders";
        assert_eq!(marked(json!({"name": "orders", "annotations": {"argocd.argoproj.io/tracking-id": tracking}})), Some("Argo CD"));
        assert_eq!(marked(json!({"name": "orders", "labels": {"kustomize.toolkit.fluxcd.io/name": "data"}})), Some("Flux"));
    }
}
