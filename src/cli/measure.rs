//! What `bench` and `stress` have in common: times, the machine, a place to work on, and reports.

mod chart;
mod ground;
mod paper;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use hdrhistogram::Histogram;
use indicatif::{ProgressBar, ProgressStyle};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use super::signals::Signals;
pub(super) use chart::Chart;
pub(super) use ground::{Ground, GroundArguments, GroundSettings, Wish};
pub(super) use paper::Paper;

/// Times that one kind of operation took.
#[derive(Debug)]
pub(super) struct Times(Histogram<u64>);

/// An hour, in nanoseconds: what takes longer counts as that.
const LONGEST: u64 = 3_600_000_000_000;

impl Times {
    pub(super) fn new() -> Self {
        Self(Histogram::new_with_bounds(1, LONGEST, 3).expect("bounds and digits that the library takes"))
    }

    pub(super) fn record(&mut self, took: Duration) {
        self.0.saturating_record(u64::try_from(took.as_nanos()).unwrap_or(LONGEST).max(1));
    }

    pub(super) fn add(&mut self, others: &Self) {
        self.0.add(&others.0).expect("all have the same bounds");
    }

    pub(super) fn count(&self) -> u64 {
        self.0.len()
    }

    /// `None` before the first.
    pub(super) fn latency(&self) -> Option<Latency> {
        let at = |quantile| micros(self.0.value_at_quantile(quantile));
        (!self.0.is_empty()).then(|| Latency {
            min: micros(self.0.min()),
            mean: self.0.mean() / 1e3,
            p50: at(0.5),
            p95: at(0.95),
            p99: at(0.99),
            p99_9: at(0.999),
            max: micros(self.0.max()),
        })
    }
}

/// In microseconds, to three digits.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(super) struct Latency {
    pub(super) min: f64,
    pub(super) mean: f64,
    pub(super) p50: f64,
    pub(super) p95: f64,
    pub(super) p99: f64,
    #[serde(rename = "p99.9")]
    pub(super) p99_9: f64,
    pub(super) max: f64,
}

impl Latency {
    pub(super) const NAMES: [&str; 7] = ["min", "mean", "p50", "p95", "p99", "p99.9", "max"];

    pub(super) fn in_words(&self) -> [String; 7] {
        let Self { min, mean, p50, p95, p99, p99_9, max } = *self;
        [min, mean, p50, p95, p99, p99_9, max].map(time)
    }
}

/// Microseconds, with the unit in which people read them.
pub(super) fn time(micros: f64) -> String {
    match micros {
        ..1e3 => format!("{} µs", digits(micros)),
        1e3..1e6 => format!("{} ms", digits(micros / 1e3)),
        _ => format!("{} s", digits(micros / 1e6)),
    }
}

/// A number with three digits that say something.
pub(super) fn digits(number: f64) -> String {
    match number.abs() {
        0.0..10.0 => format!("{number:.2}"),
        10.0..100.0 => format!("{number:.1}"),
        _ => format!("{number:.0}"),
    }
}

#[allow(clippy::cast_precision_loss, reason = "nanoseconds of an hour are exact")]
fn micros(nanos: u64) -> f64 {
    nanos as f64 / 1e3
}

/// Counts are exact up to 2^53.
#[allow(clippy::cast_precision_loss, reason = "argued above")]
pub(super) fn real(count: u64) -> f64 {
    count as f64
}

/// Where it was measured.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Machine {
    pub(super) cpu: String,
    pub(super) cores: usize,
    pub(super) memory_bytes: u64,
    pub(super) kernel: String,
    /// Of this program: one for debugging says nothing about speed.
    pub(super) build: String,
}

impl Machine {
    pub(super) fn this() -> Self {
        let read = |file| std::fs::read_to_string(file).unwrap_or_default();
        let (cpus, memory) = (read("/proc/cpuinfo"), read("/proc/meminfo"));
        let after = |text: &str, name: &str| {
            text.lines().find_map(|line| line.strip_prefix(name)?.split_once(':').map(|(_, value)| value.trim().to_owned()))
        };
        let kib = after(&memory, "MemTotal").and_then(|value| value.split(' ').next()?.parse::<u64>().ok());
        Self {
            cpu: after(&cpus, "model name").unwrap_or_else(|| std::env::consts::ARCH.to_owned()),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            memory_bytes: kib.unwrap_or_default() * 1024,
            kernel: rustix::system::uname().release().to_string_lossy().into_owned(),
            build: if cfg!(debug_assertions) { "debug" } else { "release" }.to_owned(),
        }
    }

    pub(super) fn in_words(&self) -> String {
        let Self { cpu, cores, memory_bytes, kernel, build } = self;
        let note = if build == "debug" { ". A debug build: its figures say nothing about the speed of a release" } else { "" };
        format!("{cores} cores ({cpu}), {} of memory, Linux {kernel}, a {build} build{note}", super::show::bytes(*memory_bytes))
    }
}

/// Tells how far long work is, on standard error, if somebody looks at it there.
pub(super) struct Steps(ProgressBar);

impl Steps {
    pub(super) fn of(what: &str, count: usize) -> Self {
        let bar = ProgressBar::new(count as u64);
        bar.set_style(ProgressStyle::with_template("{prefix} {bar:30} {pos} of {len}, {elapsed}: {msg}").expect("our own words"));
        bar.enable_steady_tick(Duration::from_millis(200));
        bar.set_prefix(what.to_owned());
        Self(bar)
    }

    /// So much is done.
    pub(super) fn at(&self, done: u64) {
        self.0.set_position(done);
    }

    /// What is done next.
    pub(super) fn next(&self, what: impl Into<String>) {
        self.0.set_message(what.into());
        self.0.inc(1);
    }
}

impl Drop for Steps {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

/// Does long work that a signal stops. The work is told, and cleans up what it began before it ends.
pub(super) async fn until_stopped<T>(work: impl AsyncFnOnce(&CancellationToken) -> anyhow::Result<T>) -> anyhow::Result<T> {
    let (mut signals, stop) = (Signals::listen()?, CancellationToken::new());
    let mut working = std::pin::pin!(work(&stop));
    let signal = tokio::select! {
        done = &mut working => return done,
        signal = signals.next() => signal,
    };
    stop.cancel();
    tokio::select! {
        done = working => match done {
            Err(error) if !error.is::<Stopped>() => Err(error),
            _ => anyhow::bail!("{signal}: stopped; nothing was written, and nothing is left"),
        },
        again = signals.next() => anyhow::bail!("{again} came again: given up; what was begun in a bucket or on a server is still there"),
    }
}

/// Somebody wanted it to end.
#[derive(Debug, thiserror::Error)]
#[error("stopped")]
pub(super) struct Stopped;

/// A part of such work that needs no time to end.
pub(super) async fn unless_stopped<T>(stop: &CancellationToken, work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    tokio::select! {
        done = work => done,
        () = stop.cancelled() => Err(Stopped.into()),
    }
}

/// Results, and what people read of them, beside each other.
pub(super) struct Written {
    pub(super) json: PathBuf,
    pub(super) markdown: PathBuf,
    pub(super) html: PathBuf,
}

impl Written {
    /// Tells where they are.
    pub(super) fn tell(&self) -> anyhow::Result<()> {
        super::show::say(&format!("{}\n{}\n{}", self.json.display(), self.markdown.display(), self.html.display()))
    }
}

/// The results that are named, or the newest in a folder, and where they are.
pub(super) fn read<T: DeserializeOwned>(named: Option<PathBuf>, folder: &Path, of: &str) -> anyhow::Result<(PathBuf, T)> {
    let json = named.map_or_else(|| newest(folder, of), Ok)?;
    let text = std::fs::read(&json).with_context(|| format!("reading {}", json.display()))?;
    let results = serde_json::from_slice(&text).with_context(|| format!("{} holds no results of {of}", json.display()))?;
    Ok((json, results))
}

/// Writes results, and the reports of them.
pub(super) fn write(folder: &Path, name: &str, results: &impl Serialize, paper: &Paper) -> anyhow::Result<Written> {
    std::fs::create_dir_all(folder).with_context(|| format!("cannot write into {}: name another folder", folder.display()))?;
    let json = folder.join(format!("{name}.json"));
    let text = serde_json::to_string_pretty(results)?;
    std::fs::write(&json, text).with_context(|| format!("writing {}", json.display()))?;
    report(&json, paper)
}

/// Writes the reports beside their results.
pub(super) fn report(json: &Path, paper: &Paper) -> anyhow::Result<Written> {
    let (markdown, html) = (json.with_extension("md"), json.with_extension("html"));
    std::fs::write(&markdown, paper.markdown()).with_context(|| format!("writing {}", markdown.display()))?;
    std::fs::write(&html, paper.html()).with_context(|| format!("writing {}", html.display()))?;
    Ok(Written { json: json.to_owned(), markdown, html })
}

/// The newest results in a folder. Names begin with the time, so the last one is the newest.
fn newest(folder: &Path, of: &str) -> anyhow::Result<PathBuf> {
    let entries = std::fs::read_dir(folder).with_context(|| format!("there are no results in {}: run it first", folder.display()))?;
    let files = entries.filter_map(|entry| Some(entry.ok()?.path()));
    let is_result = |path: &PathBuf| {
        path.extension().is_some_and(|extension| extension == "json")
            && path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(&format!("{of}-")))
    };
    files.filter(is_result).max().with_context(|| format!("there are no results in {}: run it first", folder.display()))
}

/// A name for results of this moment.
pub(super) fn name_of(what: &str, which: &str) -> String {
    use engine::Clock as _;
    let time = engine::SystemClock.wall().strftime("%Y%m%dT%H%M%SZ");
    format!("{what}-{time}-{which}")
}

#[cfg(test)]
mod tests;
