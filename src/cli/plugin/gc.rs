//! `kubectl buckethead gc`: asks by the annotation, and waits for what came of it.

use std::time::Duration;

use anyhow::Context as _;
use controller::crd::{BucketDatabase, GcStatus};
use engine::{Clock as _, SystemClock};
use kube::api::{Patch, PatchParams};
use kube::runtime::wait::await_condition;
use serde_json::json;

use super::cluster::Cluster;
use crate::cli::signals::Signals;
use crate::cli::{Output, logs, show};

const ASKED: &str = "buckethead.dev/gc-requested-at";

/// Has the operator delete files' contents that no database uses any more, and tells what came of it.
///
/// What nobody uses is marked by the first run and deleted by a later one, at the earliest after twice the interval.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The name of the `BucketDatabase`.
    #[arg(value_name = "DATABASE")]
    database: String,
    /// How long to wait until nothing is left to do.
    #[arg(long, value_name = "SECONDS", default_value_t = 600)]
    timeout: u64,
    /// Only ask.
    #[arg(long, conflicts_with = "timeout")]
    no_wait: bool,
    /// The form of the answer.
    #[arg(long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

pub(super) async fn run(cluster: &Cluster, arguments: Arguments) -> anyhow::Result<()> {
    logs::start(logs::Format::Text, "warn")?;
    let Arguments { database, timeout, no_wait, output } = arguments;
    let mut signals = Signals::listen()?;
    let before = cluster.database(&database).await?;
    let asked = SystemClock.wall().to_string();
    let patch = json!({"metadata": {"annotations": {ASKED: asked}}});
    let databases = cluster.databases();
    databases.patch(&database, &PatchParams::default(), &Patch::Merge(patch)).await.with_context(|| format!("annotating {database}"))?;
    if no_wait {
        return show::answer(output, &json!({"asked": asked}), || {
            format!("asked as of {asked}; `kubectl buckethead status {database}` tells more")
        });
    }
    let last = last_run(&before).map(|run| run.time.0);
    // Of a chain of runs each says when the next is due, the last does not.
    let is_done = move |found: Option<&BucketDatabase>| found.is_none_or(|found| is_handled(found, &asked) && ended_after(found, last));
    let waiting = tokio::time::timeout(Duration::from_secs(timeout), await_condition(databases, &database, is_done));
    let found = tokio::select! {
        found = waiting => found,
        signal = signals.next() => anyhow::bail!("{signal}: gc goes on without us"),
    };
    let late = || format!("gc did not end within {timeout} s; `kubectl buckethead status {database}` tells how it stands");
    let found = found.with_context(late)??.with_context(|| format!("{database} was deleted meanwhile"))?;
    let Some(run) = last_run(&found) else { anyhow::bail!("no run of gc came to its end") };
    show::answer(output, run, || in_words(run))
}

fn is_handled(found: &BucketDatabase, asked: &str) -> bool {
    let handled = found.status.as_ref().and_then(|status| status.last_handled.as_ref()?.gc.as_deref());
    handled == Some(asked)
}

fn ended_after(found: &BucketDatabase, before: Option<engine::WallTime>) -> bool {
    last_run(found).is_some_and(|run| run.wait_until.is_none() && before.is_none_or(|before| run.time.0 > before))
}

fn last_run(resource: &BucketDatabase) -> Option<&GcStatus> {
    resource.status.as_ref()?.files.as_ref()?.last_gc.as_ref()
}

/// A run on one line.
pub(super) fn in_words(run: &GcStatus) -> String {
    let GcStatus { stage, deleted, freed, marked, skipped, dangling, unowned, dry_run, .. } = run;
    let would = if *dry_run { ", dry run" } else { "" };
    let more = |count: u64, what: &str| if count > 0 { format!(", {count} {what}") } else { String::new() };
    let (lost, others) = (more(*dangling, "files without content"), more(*unowned, "of others"));
    format!("{stage}{would}: {deleted} deleted ({freed}), {marked} marked, {skipped} too young{lost}{others}")
}
