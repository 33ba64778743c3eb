//! `kubectl buckethead status`: what the resource tells, its events, and what the database itself knows better.

use std::time::Duration;

use anyhow::Context as _;
use controller::crd::BucketDatabase;
use engine::{Clock as _, SystemClock};
use k8s_openapi::api::core::v1::Event;
use kube::api::ListParams;
use kube::{Api, ResourceExt as _};
use serde_json::{Value, json};

use super::cluster::Cluster;
use super::page::{self, Page};
use crate::cli::session::{Purpose, TargetArguments};
use crate::cli::{Output, logs, show};

/// Tells how a database stands, on one page; without a name, all of them in a table.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The name of the `BucketDatabase`; without it, those of the namespace.
    #[arg(value_name = "DATABASE")]
    database: Option<String>,
    /// Those of all namespaces.
    #[arg(long, short = 'A', conflicts_with = "database")]
    all_namespaces: bool,
    /// The form of the report.
    #[arg(long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

/// The database is not waited for longer: the resource says most of it.
const PATIENCE: Duration = Duration::from_secs(5);

pub(super) async fn run(cluster: &Cluster, arguments: Arguments) -> anyhow::Result<()> {
    logs::start(logs::Format::Text, "warn")?;
    let Arguments { database, all_namespaces, output } = arguments;
    match database {
        Some(name) => one(cluster, &name, output).await,
        None => all(cluster, all_namespaces, output).await,
    }
}

async fn one(cluster: &Cluster, name: &str, output: Output) -> anyhow::Result<()> {
    let resource = cluster.database(name).await?;
    let events = events(cluster, &resource).await.map_err(|error| format!("{error:#}"));
    let asked = tokio::time::timeout(PATIENCE, ask(cluster, name)).await;
    let live =
        asked.map_err(|_| anyhow::anyhow!("no answer within {} s", PATIENCE.as_secs())).flatten().map_err(|error| format!("{error:#}"));
    let page = Page { resource, events, live, now: SystemClock.wall() };
    show::answer(output, &page.as_json(), || page.in_words())
}

/// What the database tells of itself.
async fn ask(cluster: &Cluster, name: &str) -> anyhow::Result<Value> {
    let way = cluster.way(name).await?;
    let target = TargetArguments::default().settings(way.environment())?;
    target.work(Purpose::Look, async |session| session.read("").await).await
}

/// The newest events about a resource first.
pub(super) async fn events(cluster: &Cluster, resource: &BucketDatabase) -> anyhow::Result<Vec<Event>> {
    let events: Api<Event> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    let about = format!("involvedObject.kind=BucketDatabase,involvedObject.name={}", resource.name_any());
    let mut found = events.list(&ListParams::default().fields(&about)).await.context("listing events")?.items;
    found.sort_by_key(|event| std::cmp::Reverse(page::time_of(event)));
    Ok(found)
}

async fn all(cluster: &Cluster, everywhere: bool, output: Output) -> anyhow::Result<()> {
    let databases: Api<BucketDatabase> = if everywhere { Api::all(cluster.client.clone()) } else { cluster.databases() };
    let found = databases.list(&ListParams::default()).await.context("listing bucketdatabases")?.items;
    let now = SystemClock.wall();
    let listed: Vec<Value> = found.iter().map(page::brief).collect();
    show::answer(output, &json!({"databases": listed}), || {
        if found.is_empty() {
            let place = if everywhere { "the cluster".to_owned() } else { format!("the namespace {}", cluster.namespace) };
            return format!("there are no databases in {place}");
        }
        page::table(&found, everywhere, now)
    })
}
