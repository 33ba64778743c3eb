//! `buckethead report`: what somebody needs to help, in one file, and no secrets.
//!
//! Invariant: no contents: names, sizes, times and structure alone; of the environment the names of what is set, of URLs no passwords.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use engine::bucket::{Bucket, Listed};
use engine::{Clock as _, SystemClock, WallTime};
use futures::TryStreamExt as _;
use serde::Serialize;
use serde_json::{Value, json};

use super::session::{self, InBucket, Purpose, Session, Target, TargetArguments, environment};
use super::show;
use super::store::SettingsError;
use super::{Output, inspect, logs, status};

/// Writes what somebody needs to help into one file: versions, states, structure, figures, the names of objects; no contents and no secrets.
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(super) struct Arguments {
    #[command(flatten)]
    target: TargetArguments,
    /// The form of what is printed.
    #[arg(long, value_enum, default_value_t = Output::Text)]
    output: Output,
    /// The file to write, which must not exist.
    #[arg(default_value = "buckethead-report.tar.gz")]
    file: PathBuf,
}

const HELP: &str = concat!(
    environment!(),
    "\
What cannot be had is named in errors.json in the file; the rest is there all the same.

Examples:
  buckethead report --url http://127.0.0.1:8080/default/quickstart
  buckethead report --bucket orders-data --key apps/orders.db orders.tar.gz"
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
        Ok(Settings { target: target.settings(env)?.newest_only("this is about the present")?, output, file })
    }
}

/// What goes into the file, and what could not be had.
#[derive(Default)]
pub(super) struct Parts {
    files: BTreeMap<String, Vec<u8>>,
    errors: BTreeMap<String, String>,
}

impl Parts {
    pub(super) fn json(&mut self, name: &str, made: anyhow::Result<impl Serialize>) {
        match made.and_then(|made| Ok(serde_json::to_vec_pretty(&made)?)) {
            Ok(bytes) => drop(self.files.insert(name.to_owned(), bytes)),
            Err(error) => drop(self.errors.insert(name.to_owned(), format!("{error:#}"))),
        }
    }

    pub(super) fn bytes(&mut self, name: &str, made: anyhow::Result<Vec<u8>>) {
        match made {
            Ok(bytes) => drop(self.files.insert(name.to_owned(), bytes)),
            Err(error) => drop(self.errors.insert(name.to_owned(), format!("{error:#}"))),
        }
    }
}

/// Collects and writes it.
pub(super) async fn run(settings: Settings) -> anyhow::Result<()> {
    run_with(settings, async |_| ()).await
}

/// The same with what somebody else knows besides.
pub(super) async fn run_with(settings: Settings, more: impl AsyncFnOnce(&mut Parts)) -> anyhow::Result<()> {
    logs::start(logs::Format::Text, "warn")?;
    let Settings { target, output, file } = settings;
    anyhow::ensure!(!file.exists(), "{} exists already: name another file", file.display());
    let mut parts = Parts::default();
    parts.json("about.json", Ok(about(&target)));
    let branch = target.branch();
    let of_branches = target.clone().work(Purpose::Branches, async |session| Ok(branches(session, branch.as_deref()).await)).await;
    match of_branches {
        Ok(told) => told.into_iter().for_each(|(name, told)| parts.json(name, told)),
        Err(error) => parts.json("status.json", Err::<Value, _>(error)),
    }
    let schema = target.clone().work(Purpose::Look, async |session| inspect::tables(session).await).await;
    parts.json("schema.json", schema);
    match target {
        Target::Server { .. } => {
            let metrics =
                target.work(Purpose::Look, async |session| Ok(session::whole(session.get("/metrics").await?).await?.to_vec())).await;
            parts.bytes("metrics.txt", metrics);
        }
        Target::Bucket(place) => bucket(*place, &mut parts).await,
    }
    more(&mut parts).await;
    let names: Vec<String> = parts.files.keys().cloned().collect();
    let errors = parts.errors.clone();
    parts.json("errors.json", Ok(&errors));
    write(&file, &parts.files).with_context(|| format!("writing {}", file.display()))?;
    show::answer(output, &json!({"file": file, "parts": names, "errors": errors}), || {
        let failed = errors.iter().map(|(name, why)| format!("\n  not {name}: {why}"));
        format!("{}: {}{}", file.display(), names.join(", "), failed.collect::<String>())
    })
}

fn about(target: &Target) -> Value {
    let set = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    let ours = ["BUCKETHEAD_", "R2_", "AWS_", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "RUST_LOG"];
    let names: Vec<String> = set.filter(|name| ours.iter().any(|begin| name.to_uppercase().starts_with(begin))).collect();
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "time": SystemClock.wall().to_string(),
        "system": format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
        "target": target.to_string(),
        "set": names,
    })
}

async fn branches(session: &Session, branch: Option<&str>) -> Vec<(&'static str, anyhow::Result<Value>)> {
    vec![("status.json", status::known(session, branch).await), ("branches.json", session.read("branches").await)]
}

/// What lies there of the database, by name; of head records the text, which has no contents.
async fn bucket(place: InBucket, parts: &mut Parts) {
    let state = place.state();
    let store = match state.store.reach() {
        Ok(store) => store,
        Err(error) => return parts.json("objects.json", Err::<Value, _>(error)),
    };
    let listed = store.list(state.key.as_str(), None, usize::MAX).await;
    let heads: Vec<Listed> = match &listed {
        Ok(listed) => listed.iter().filter(|object| object.key.as_str().starts_with(&format!("{}.head/", state.key))).cloned().collect(),
        Err(_) => Vec::new(),
    };
    let described = listed.map(|listed| listed.iter().map(described).collect::<Vec<_>>());
    parts.json("objects.json", described.map_err(anyhow::Error::new));
    for head in heads {
        let name = head.key.as_str().rsplit('/').next().unwrap_or_default();
        parts.bytes(&format!("heads/{name}"), text(&*store, &head).await);
    }
}

fn described(object: &Listed) -> Value {
    let time = object.last_modified.as_ref().map(WallTime::to_string);
    json!({"key": object.key.as_str(), "size": object.size, "last_modified": time, "etag": object.etag.as_str()})
}

async fn text(store: &dyn Bucket, object: &Listed) -> anyhow::Result<Vec<u8>> {
    let found = store.get(&object.key, None).await?.context("it went away")?;
    let parts: Vec<bytes::Bytes> = found.body.try_collect().await?;
    Ok(parts.concat())
}

fn write(file: &Path, parts: &BTreeMap<String, Vec<u8>>) -> anyhow::Result<()> {
    let mut archive = tar::Builder::new(flate2::write::GzEncoder::new(show::beside(file)?, flate2::Compression::default()));
    for (name, bytes) in parts {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        archive.append_data(&mut header, format!("buckethead-report/{name}"), bytes.as_slice())?;
    }
    archive.into_inner()?.finish()?.persist_noclobber(file)?;
    Ok(())
}
