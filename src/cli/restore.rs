//! `buckethead restore`: a state of a branch as a plain SQLite file.
//!
//! Of a bucket it is put together here, so that not even a table is added to it.
//! Invariant: nothing is written but the file, which appears whole or not at all and replaces none.

use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use engine::{PastState, Pin, past_state};
use serde_json::json;

use super::branch::StateSettings;
use super::session::{self, Purpose, Target, TargetArguments, environment};
use super::show::{self, Destination};
use super::store::SettingsError;
use super::{Output, logs};

/// Writes a state of a database's branch into a file: the newest that is in the bucket, or a past one.
///
/// In a bucket no operator has to run, and one that does is not disturbed. The file is a plain SQLite database.
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(super) struct Arguments {
    #[command(flatten)]
    target: TargetArguments,
    /// The form of the report.
    #[arg(long, value_enum, default_value_t = Output::Text)]
    output: Output,
    /// The file to write. It must not exist.
    file: PathBuf,
}

const HELP: &str = concat!(
    environment!(),
    "\
Examples:
  buckethead restore --bucket orders-data --key apps/orders.db orders.db
  buckethead restore --bucket orders-data --key apps/orders.db --branch next --txid 1204 next.db
  buckethead restore --bucket orders-data --key apps/orders.db --at 2026-11-23T08:00:00Z before.db
  buckethead restore --url http://127.0.0.1:8080/default/quickstart now.db"
);

/// Everything that it takes.
#[derive(Debug, PartialEq)]
pub(super) struct Settings {
    target: Target,
    output: Output,
    file: PathBuf,
}

impl Arguments {
    /// With what the environment says where an argument is absent.
    pub(super) fn settings(self, env: impl Fn(&str) -> Option<String>) -> Result<Settings, SettingsError> {
        let Self { target, output, file } = self;
        Ok(Settings { target: target.settings(env)?, output, file })
    }
}

/// Writes the file.
pub(super) async fn run(settings: Settings) -> anyhow::Result<()> {
    logs::start(logs::Format::Text, "warn")?;
    let Settings { target, output, file } = settings;
    let destination = Destination::File(file.clone());
    destination.check()?;
    match target {
        Target::Bucket(place) => from_bucket(place.state(), output, file).await,
        target @ Target::Server { .. } => {
            let size = target.work(Purpose::Look, async |session| {
                let snapshot = session.get(&format!("snapshot{}", session::query_at(session, &[]))).await?;
                destination.take("database", snapshot).await
            });
            let size = size.await?;
            show::answer(output, &json!({"file": file, "size": size}), || format!("{}: {size} bytes", file.display()))
        }
    }
}

async fn from_bucket(state: StateSettings, output: Output, file: PathBuf) -> anyhow::Result<()> {
    let StateSettings { store, key, branch, point } = state;
    let PastState { txid, time, memory } = past_state(store.reach()?, key, &branch, point, super::shared::one_database()).await?;
    let (pin, target) = (memory.pin(), file.clone());
    let size = pin.size();
    tokio::task::spawn_blocking(move || write(&pin, &target)).await??;
    let report = json!({"file": file, "branch": branch.as_str(), "txid": txid, "time": time.to_string(), "size": size});
    show::answer(output, &report, || format!("{}: branch {branch} at txid {txid} of {time}, {size} bytes", file.display()))
}

/// Beside it first, so that nobody takes a part for the whole.
fn write(pin: &Pin, file: &Path) -> anyhow::Result<()> {
    let mut part = show::beside(file)?;
    let (mut image, mut chunk) = (pin.image(), vec![0; 1 << 20]);
    loop {
        match image.read(&mut chunk)? {
            0 => break,
            len => part.write_all(&chunk[..len])?,
        }
    }
    part.as_file().sync_all()?;
    part.persist_noclobber(file).with_context(|| format!("writing {}", file.display()))?;
    Ok(())
}
