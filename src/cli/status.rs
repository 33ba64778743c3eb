//! `buckethead status` and `buckethead flush`: how far the bucket is.

use anyhow::Context as _;
use http::Method;
use serde_json::Value;

use super::session::{self, Purpose, Sent, Session, Target, TargetArguments, environment};
use super::show;
use super::store::SettingsError;
use super::{Output, logs};

/// Tells at which state a database is, and what of it is in the bucket.
///
/// A server tells what it has in memory as well; in a bucket it is what lies there, and who has the branch.
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(super) struct Arguments {
    #[command(flatten)]
    target: TargetArguments,
    /// The form of the report.
    #[arg(long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

const HELP: &str = concat!(
    environment!(),
    "\
Examples:
  buckethead status --url http://127.0.0.1:8080/default/quickstart
  buckethead status --bucket orders-data --key apps/orders.db --output json"
);

/// Brings everything that is committed into the snapshot, the plain SQLite file in the bucket.
#[derive(Debug, clap::Args)]
#[command(after_help = FLUSH_HELP)]
pub(super) struct Flush {
    #[command(flatten)]
    target: TargetArguments,
    /// The form of the report.
    #[arg(long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

const FLUSH_HELP: &str = concat!(
    environment!(),
    "\
Examples:
  buckethead flush --url http://127.0.0.1:8080/default/quickstart
  buckethead flush --bucket orders-data --key apps/orders.db"
);

/// Everything that it takes.
#[derive(Debug, PartialEq)]
pub(super) struct Settings {
    target: Target,
    output: Output,
    branch: Option<String>,
}

impl Arguments {
    /// With what the environment says where an argument is absent.
    pub(super) fn settings(self, env: impl Fn(&str) -> Option<String>) -> Result<Settings, SettingsError> {
        let target = self.target.settings(env)?.newest_only("this tells of the present")?;
        Ok(Settings { branch: target.branch(), target, output: self.output })
    }
}

impl Flush {
    /// With what the environment says where an argument is absent.
    pub(super) fn settings(self, env: impl Fn(&str) -> Option<String>) -> Result<Settings, SettingsError> {
        let target = self.target.settings(env)?.newest_only("what is flushed is the present")?;
        Ok(Settings { branch: None, target, output: self.output })
    }
}

/// Tells it.
pub(super) async fn run(settings: Settings) -> anyhow::Result<()> {
    logs::start(logs::Format::Text, "warn")?;
    let Settings { target, output, branch } = settings;
    let known = target.work(Purpose::Branches, async |session| known(session, branch.as_deref()).await).await?;
    show::answer(output, &known, || in_words(&known))
}

pub(super) async fn known(session: &Session, branch: Option<&str>) -> anyhow::Result<Value> {
    let Some(branch) = branch else { return session.read("").await };
    let listed: Value = session.read("branches").await?;
    let found = listed["branches"].as_array().into_iter().flatten().find(|found| found["name"] == branch);
    found.cloned().with_context(|| format!("there is no branch {branch}"))
}

fn in_words(known: &Value) -> String {
    let members = known.as_object().into_iter().flatten().filter(|(name, _)| *name != "links");
    let rows = members.map(|(name, value)| {
        let shown = match (name.as_str(), value) {
            ("size", Value::Number(size)) => size.as_u64().map_or_else(|| size.to_string(), show::bytes),
            (_, Value::String(text)) => text.clone(),
            (_, Value::Null) => "-".to_owned(),
            (_, other) => other.to_string(),
        };
        vec![name.replace('_', " "), shown]
    });
    show::table(&["what", "value"], rows)
}

/// Does it.
pub(super) async fn flush(settings: Settings) -> anyhow::Result<()> {
    logs::start(logs::Format::Text, "warn")?;
    let Settings { target, output, branch: _ } = settings;
    let done: Value = target
        .work(Purpose::Change, async |session| session::parsed(session.send(Method::POST, "flush", Sent::default()).await?).await)
        .await?;
    show::answer(output, &done, || {
        let snapshot = &done["snapshot"];
        let what = if done["uploaded"] == true { "uploaded" } else { "unchanged" };
        format!("{what}: txid {} of {}", snapshot["txid"], snapshot["time"].as_str().unwrap_or("an unknown time"))
    })
}
