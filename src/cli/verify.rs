//! `buckethead verify`: whether a state of a branch can be restored from its bucket.

use std::io::Write as _;

use anyhow::Context as _;
use engine::{Damage, Sound, Verification, verify};
use serde_json::{Value, json};

use super::branch::{StateArguments, StateSettings, environment};
use super::store::SettingsError;
use super::{Output, logs};

/// Restores a database's branch from its bucket and tells whether it is sound: the newest state and a past one, chosen by chance, or the one
/// that is named.
///
/// It reads the bucket alone: no operator has to run, and one that does is not disturbed. Each file's and each state's checksum is compared,
/// and SQLite checks the integrity of what they make. It takes as much memory as the database.
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(super) struct Arguments {
    #[command(flatten)]
    state: StateArguments,
    /// The form of the report.
    #[arg(long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

const HELP: &str = concat!(
    environment!(),
    "\
Exit codes: 0 it is sound; 1 it is not, or that could not be found out, and standard error says why; 2 settings are missing or wrong.

Examples:
  buckethead verify --bucket orders-data --key apps/orders.db
  buckethead verify --bucket orders-data --key apps/orders.db --branch next --txid 1204 --output json"
);

/// Everything that it takes.
#[derive(Debug, PartialEq)]
pub(super) struct Settings {
    state: StateSettings,
    output: Output,
}

impl Arguments {
    /// With what the environment says where an argument is absent.
    pub(super) fn settings(self, env: impl Fn(&str) -> Option<String>) -> Result<Settings, SettingsError> {
        let Self { state, output } = self;
        Ok(Settings { state: state.settings(env)?, output })
    }
}

/// Tells what it found.
pub(super) async fn run(settings: Settings) -> anyhow::Result<()> {
    logs::start(logs::Format::Text, "off");
    let Settings { state: StateSettings { store, key, branch, point }, output } = settings;
    let Verification { state, past } = verify(store.reach()?, key, &branch, point, super::sql::one_database()).await?;
    let mut out = std::io::stdout().lock();
    match output {
        Output::Text => {
            for sound in [Some(&state), past.as_ref()].into_iter().flatten() {
                writeln!(out, "{}", in_words(branch.as_str(), sound))?;
            }
        }
        Output::Json => {
            let report = json!({"branch": branch.as_str(), "state": as_json(&state), "past": past.as_ref().map(as_json)});
            writeln!(out, "{report}")?;
        }
    }
    let damage: Vec<String> = state.damage.iter().chain(past.iter().flat_map(|past| &past.damage)).map(Damage::to_string).collect();
    anyhow::ensure!(damage.is_empty(), "files are damaged, and others could be taken for them: {}", damage.join("; "));
    out.flush().context("writing the report")
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
