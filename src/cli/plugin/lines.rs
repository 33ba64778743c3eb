//! `kubectl buckethead logs`: the lines of the operator's Pods that name a database.

use anyhow::Context as _;
use futures::stream::select_all;
use futures::{AsyncBufReadExt as _, StreamExt as _, TryStreamExt as _};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::LogParams;

use super::cluster::{Cluster, Place};
use crate::cli::signals::Signals;
use crate::cli::{logs, show};

/// Prints what the operator logs about a database.
///
/// Of all its Pods, since a database may have moved from one to another. A line belongs to a database if it names it.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The name of the `BucketDatabase`.
    #[arg(value_name = "DATABASE")]
    database: String,
    /// Go on with lines as they come, until Ctrl-C.
    #[arg(long, short)]
    follow: bool,
    /// Only lines that are at most so old.
    #[arg(long, value_name = "SECONDS")]
    since: Option<i64>,
    /// Look at so many lines of each Pod, the newest.
    #[arg(long, value_name = "LINES")]
    tail: Option<i64>,
    /// Lines about everything, as the operator's `kubectl logs` has them.
    #[arg(long)]
    all: bool,
}

pub(super) async fn run(cluster: &Cluster, arguments: Arguments) -> anyhow::Result<()> {
    logs::start(logs::Format::Text, "warn")?;
    let Arguments { database, follow, since, tail, all } = arguments;
    let mut signals = Signals::listen()?;
    let resource = cluster.database(&database).await?;
    let pods = cluster.pods(&resource).await?;
    let name = (!all).then(|| format!("{}/{database}", cluster.namespace));
    let parameters = LogParams { follow, since_seconds: since, tail_lines: tail, ..LogParams::default() };
    let is_alone = pods.len() == 1;
    let mut streams = Vec::new();
    for place in &pods {
        let prefix = if is_alone { String::new() } else { format!("{} ", place.pod) };
        streams.push(lines(cluster, place, &parameters).await?.map_ok(move |line| (prefix.clone(), line)).boxed());
    }
    let mut merged = select_all(streams);
    loop {
        let line = tokio::select! {
            line = merged.next() => line,
            _ = signals.next() => return Ok(()),
        };
        let Some(line) = line else { return Ok(()) };
        let (prefix, line) = line.context("the log broke off")?;
        if name.as_deref().is_none_or(|name| names(&line, name)) {
            show::say(&format!("{prefix}{line}"))?;
        }
    }
}

/// The log of a Pod.
pub(super) async fn lines(
    cluster: &Cluster,
    place: &Place,
    parameters: &LogParams,
) -> anyhow::Result<impl futures::Stream<Item = std::io::Result<String>> + Send + use<>> {
    let pods: Api<Pod> = Api::namespaced(cluster.client.clone(), &place.namespace);
    let log = pods.log_stream(&place.pod, parameters).await.with_context(|| format!("reading the log of pod {}", place.pod))?;
    Ok(log.lines())
}

/// Whether a line names a database, and not only one whose name has this one in it.
pub(super) fn names(line: &str, database: &str) -> bool {
    let goes_on = |character: char| character.is_ascii_alphanumeric() || "-._".contains(character);
    line.match_indices(database).any(|(at, _)| {
        let (before, after) = (line[..at].chars().next_back(), line[at + database.len()..].chars().next());
        !before.is_some_and(goes_on) && !after.is_some_and(goes_on)
    })
}

#[cfg(test)]
mod tests {
    use super::names;

    #[test]
    fn a_line_belongs_to_the_database_that_it_names_and_to_no_other() {
        for line in [r#"{"database":"apps/orders"}"#, "saved database=apps/orders", "apps/orders: it failed", "GET /apps/orders/sql"] {
            assert!(names(line, "apps/orders"), "{line}");
        }
        for line in ["database=apps/orders-2", "database=my-apps/orders", "apps/orders.db", "orders", ""] {
            assert!(!names(line, "apps/orders"), "{line}");
        }
    }
}
