//! Profiles: what was uploaded and what stores were asked, written down as it happens; where the time and the memory go, when somebody asks.
//!
//! Owns: the files under the folder of profiles. Does not own: who asks for more while the program runs (`admin.rs`).
//! Invariant: SQL, values, keys and tokens are in none of it.

pub(super) mod cpu;
pub(super) mod heap;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;

use anyhow::Context as _;
use engine::{Clock as _, FlushEnd, FlushOf, Hooks, StoreRequest, SystemClock};
use parking_lot::Mutex;
use serde::Serialize;

/// Whether and where profiles are written.
#[derive(Debug, Clone, clap::Args)]
#[group(skip)]
pub(super) struct Arguments {
    /// Write `flushes.jsonl`, a line for each upload, and at the end `io-summary.json`, what stores were asked, into the folder of profiles.
    #[arg(long)]
    profile: bool,
    /// The folder of profiles; naming it asks for them.
    #[arg(long, value_name = "FOLDER", env = "BUCKETHEAD_PROFILE_DIR")]
    profile_dir: Option<PathBuf>,
}

pub(super) const DEFAULT_FOLDER: &str = "buckethead-profiles";

impl Arguments {
    /// The folder, if profiles are wanted.
    pub(super) fn folder(self) -> Option<PathBuf> {
        self.profile_dir.or_else(|| self.profile.then(|| PathBuf::from(DEFAULT_FOLDER)))
    }

    /// Begins, if profiles are wanted.
    pub(super) fn begin(self, io: &Arc<Io>) -> anyhow::Result<Option<Arc<Profile>>> {
        self.folder().map(|folder| Profile::begin(&folder, io)).transpose()
    }
}

/// What stores were asked, by operation.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub(super) struct Asked {
    class: &'static str,
    operations: u64,
    failed: u64,
    bytes_sent: u64,
    bytes_received: u64,
    /// Of all of them together.
    seconds: f64,
}

/// Counts what stores are asked.
#[derive(Debug, Default)]
pub(super) struct Io(Mutex<BTreeMap<String, Asked>>);

impl Io {
    /// So far, by operation.
    pub(super) fn asked(&self) -> BTreeMap<String, Asked> {
        self.0.lock().clone()
    }
}

impl Hooks for Io {
    fn store_request(&self, request: &StoreRequest) {
        let mut asked = self.0.lock();
        let of = asked.entry(request.operation.to_string()).or_default();
        of.class = request.class().as_str();
        of.operations += 1;
        of.failed += u64::from(request.has_failed());
        of.bytes_sent += request.sent;
        of.bytes_received += request.received;
        of.seconds += request.took.as_secs_f64();
    }
}

/// One upload.
#[derive(Debug, Serialize)]
struct Line {
    /// When it ended.
    time: String,
    database: String,
    branch: String,
    kind: &'static str,
    outcome: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    txid: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    duration_s: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

/// Who is told of lines, and the thread that writes them.
type Writer = (mpsc::Sender<Line>, JoinHandle<std::io::Result<()>>);

/// Writes them down.
pub(super) struct Profile {
    folder: PathBuf,
    io: Arc<Io>,
    /// Whoever uploads must not wait for a disk.
    lines: Mutex<Option<Writer>>,
}

impl Profile {
    pub(super) fn begin(folder: &Path, io: &Arc<Io>) -> anyhow::Result<Arc<Self>> {
        let cannot = || format!("cannot write profiles into {}: name another folder with --profile-dir", folder.display());
        std::fs::create_dir_all(folder).with_context(cannot)?;
        let mut file = File::options().create(true).append(true).open(folder.join("flushes.jsonl")).with_context(cannot)?;
        let (sender, lines) = mpsc::channel::<Line>();
        let writer = std::thread::Builder::new().name("profile".to_owned()).spawn(move || {
            for line in lines {
                let mut text = serde_json::to_vec(&line)?;
                text.push(b'\n');
                file.write_all(&text)?;
            }
            Ok(())
        });
        let lines = Mutex::new(Some((sender, writer.context("starting a thread")?)));
        Ok(Arc::new(Self { folder: folder.to_owned(), io: Arc::clone(io), lines }))
    }

    /// A profile of its own beside them.
    pub(super) fn keep(&self, name: &str, profile: &[u8]) -> anyhow::Result<()> {
        let path = self.folder.join(name);
        std::fs::write(&path, profile).with_context(|| format!("writing {}", path.display()))
    }

    /// Everything that was told by now is in the files.
    pub(super) fn end(&self) -> anyhow::Result<()> {
        let folder = self.folder.display();
        if let Some((sender, writer)) = self.lines.lock().take() {
            drop(sender);
            let written = writer.join().map_err(|_| anyhow::anyhow!("the thread that writes flushes.jsonl failed"))?;
            written.with_context(|| format!("writing {folder}/flushes.jsonl"))?;
        }
        let summary = serde_json::to_string_pretty(&self.io.asked())?;
        std::fs::write(self.folder.join("io-summary.json"), summary + "\n").with_context(|| format!("writing {folder}/io-summary.json"))
    }
}

impl Hooks for Profile {
    fn flush_ended(&self, flush: &FlushOf, end: &FlushEnd) {
        let (outcome, txid, bytes, took, error) = match end {
            FlushEnd::Completed { txid, bytes, took } => ("completed", Some(*txid), Some(*bytes), Some(*took), None),
            FlushEnd::Skipped => ("skipped", None, None, None, None),
            FlushEnd::Failed { error, took } => ("failed", None, None, Some(*took), Some(error.to_string())),
        };
        let line = Line {
            time: SystemClock.wall().to_string(),
            database: flush.database.to_string(),
            branch: flush.branch.to_string(),
            kind: flush.kind.as_str(),
            outcome,
            txid,
            bytes,
            duration_s: took.map(|took| took.as_secs_f64()),
            error,
        };
        if let Some((lines, _)) = &*self.lines.lock() {
            // A thread that cannot write has ended, and says why at the end.
            lines.send(line).ok();
        }
    }
}
