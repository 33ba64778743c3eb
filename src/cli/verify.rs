//! `buckethead verify`: whether a state of a branch can be restored from its bucket.

use std::io::Write as _;

use anyhow::Context as _;
use engine::{Damage, Sound, Verification, verify};
use http::Method;
use serde_json::{Value, json};

use super::branch::StateSettings;
use super::session::{self, Purpose, Sent, Session, Target, TargetArguments, environment};
use super::store::SettingsError;
use super::{Output, logs, show};

/// Restores a database's branch from its bucket and tells whether it is sound: the newest state and a past one, chosen by chance, or the one
/// that is named.
///
/// In a bucket no operator has to run, and one that does is not disturbed; a server proves the branch that it serves. Each file's and each state's checksum is compared,
/// and SQLite checks the integrity of what they make. It takes as much memory as the database.
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
  buckethead verify --url http://127.0.0.1:8080/default/quickstart
  buckethead verify --bucket orders-data --key apps/orders.db
  buckethead verify --bucket orders-data --key apps/orders.db --branch next --txid 1204 --output json"
);

/// Everything that it takes.
#[derive(Debug, PartialEq)]
pub(super) struct Settings {
    target: Target,
    output: Output,
}

impl Arguments {
    /// With what the environment says where an argument is absent.
    pub(super) fn settings(self, env: impl Fn(&str) -> Option<String>) -> Result<Settings, SettingsError> {
        let Self { target, output } = self;
        let present = "a server proves the present; of the past it is done in the bucket";
        let target = target.settings(env)?.newest_unless_in_bucket(Purpose::Look, present)?;
        Ok(Settings { target, output })
    }
}

/// Tells what it found.
pub(super) async fn run(settings: Settings) -> anyhow::Result<()> {
    logs::start(logs::Format::Text, "off")?;
    let Settings { target, output } = settings;
    match target {
        Target::Bucket(place) => in_bucket(place.state(), output).await,
        target @ Target::Server { .. } => target.work(Purpose::Look, async |session| by_server(session, output).await).await,
    }
}

async fn by_server(session: &Session, output: Output) -> anyhow::Result<()> {
    let proved: Value = session::parsed(session.send(Method::POST, "verify", Sent::default()).await?).await?;
    let text = |member: &str| proved[member].as_str().map(str::to_owned);
    show::answer(output, &proved, || {
        let past = proved["past"].as_u64().map_or_else(String::new, |past| format!(", and txid {past} of the past"));
        let verdict = if proved["failure"].is_null() { "sound" } else { "not restored" };
        format!("txid {}{past}: {verdict}", proved["txid"])
    })?;
    text("failure").map_or(Ok(()), |failure| Err(anyhow::anyhow!("it cannot be restored: {failure}")))
}

async fn in_bucket(state: StateSettings, output: Output) -> anyhow::Result<()> {
    let StateSettings { store, key, branch, point } = state;
    let Verification { state, past } = verify(store.reach()?, key, &branch, point, super::shared::one_database()).await?;
    let (past, lost) = past.map_or_else(|lost| (None, Some(lost)), |past| (past, None));
    let mut out = std::io::stdout().lock();
    match output {
        Output::Text => {
            for sound in [Some(&state), past.as_ref()].into_iter().flatten() {
                writeln!(out, "{}", in_words(branch.as_str(), sound))?;
            }
        }
        Output::Json => {
            let report = json!({"branch": branch.as_str(), "state": as_json(&state), "past": past.as_ref().map(as_json), "failure": lost});
            writeln!(out, "{report}")?;
        }
    }
    let damage: Vec<String> = state.damage.iter().chain(past.iter().flat_map(|past| &past.damage)).map(Damage::to_string).collect();
    anyhow::ensure!(damage.is_empty(), "files are damaged, and others could be taken for them: {}", damage.join("; "));
    out.flush().context("writing the report")?;
    lost.map_or(Ok(()), |lost| Err(anyhow::anyhow!(lost)))
}

fn in_words(branch: &str, sound: &Sound) -> String {
    let Sound { txid, time, size, checksum, damage: _ } = sound;
    let checksum = checksum.as_ref().map_or_else(String::new, |checksum| format!(", checksum {checksum}"));
    format!("branch {branch} at txid {txid} of {time}: {size} bytes{checksum}: sound")
}

fn as_json(sound: &Sound) -> Value {
    let Sound { txid, time, size, checksum, damage } = sound;
    let damage: Vec<Value> = damage.iter().map(|Damage { file, detail }| json!({"file": file, "detail": detail})).collect();
    json!({"txid": txid, "time": time.to_string(), "size": size, "checksum": checksum, "damage": damage})
}
