//! Figures: measured several times in one run, beside their peers, written as one JSON file an area.

use std::path::Path;
use std::time::{Duration, Instant};

use serde::Serialize;

/// One line of a report. `peer`, `peer_value` and `ratio` are null where a figure stands alone.
#[derive(Debug, Serialize)]
pub struct Figure {
    name: String,
    value: f64,
    unit: &'static str,
    peer: Option<&'static str>,
    peer_value: Option<f64>,
    ratio: Option<f64>,
    /// The most that the ratio, or without a peer the value, may be; for a figure that should be large, the least.
    bound: Option<f64>,
    met: Option<bool>,
}

/// What a figure must reach.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Bound {
    /// Times, sizes.
    AtMost(f64),
    /// Rates.
    AtLeast(f64),
}

impl Bound {
    fn value(self) -> f64 {
        let (Self::AtMost(value) | Self::AtLeast(value)) = self;
        value
    }

    fn is_met(self, value: f64) -> bool {
        match self {
            Self::AtMost(bound) => value <= bound,
            Self::AtLeast(bound) => value >= bound,
        }
    }
}

/// The figures of one area.
#[derive(Debug, Serialize)]
pub struct Report {
    commit: String,
    machine: Machine,
    figures: Vec<Figure>,
}

#[derive(Debug, Serialize)]
struct Machine {
    cpu: String,
    cores: usize,
}

impl Report {
    /// With nothing measured yet.
    pub fn new() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self { commit: commit(), machine: Machine { cpu: cpu(), cores }, figures: Vec::new() }
    }

    /// A figure and its peer; the bound, if there is one, is for the ratio.
    pub fn compare(&mut self, name: &str, unit: &'static str, ours: f64, (peer, theirs): (&'static str, f64), bound: Option<Bound>) {
        let ratio = ours / theirs;
        println!("{name}: {ours:.2} {unit}, {peer} {theirs:.2} {unit}, ratio {ratio:.2}, {}", verdict(bound, ratio));
        self.figures.push(Figure {
            name: name.to_owned(),
            value: ours,
            unit,
            peer: Some(peer),
            peer_value: Some(theirs),
            ratio: Some(ratio),
            bound: bound.map(Bound::value),
            met: bound.map(|bound| bound.is_met(ratio)),
        });
    }

    /// A figure that stands alone.
    pub fn alone(&mut self, name: &str, unit: &'static str, value: f64, bound: impl Into<Option<Bound>>) {
        let bound = bound.into();
        println!("{name}: {value:.2} {unit}, {}", verdict(bound, value));
        self.figures.push(Figure {
            name: name.to_owned(),
            value,
            unit,
            peer: None,
            peer_value: None,
            ratio: None,
            bound: bound.map(Bound::value),
            met: bound.map(|bound| bound.is_met(value)),
        });
    }

    /// Writes `target/bench/<area>.json`.
    pub fn write(&self, area: &str) -> std::io::Result<()> {
        let package = Path::new(env!("CARGO_MANIFEST_DIR"));
        let checkout = package.ancestors().find(|folder| folder.join("Cargo.lock").exists()).unwrap_or(package);
        let folder = checkout.join("target/bench");
        std::fs::create_dir_all(&folder)?;
        let path = folder.join(format!("{area}.json"));
        std::fs::write(&path, serde_json::to_vec_pretty(self)?)?;
        println!("written to {}", path.display());
        Ok(())
    }
}

fn verdict(bound: Option<Bound>, value: f64) -> String {
    let Some(bound) = bound else { return "no bound".to_owned() };
    format!("bound {}: {}", bound.value(), if bound.is_met(value) { "met" } else { "NOT MET" })
}

/// How long `work` takes.
pub fn time(work: impl FnOnce()) -> Duration {
    let begun = now();
    work();
    begun.elapsed()
}

/// The moment at which something begins that does not fit into a closure.
#[allow(clippy::disallowed_methods, reason = "this is what a benchmark measures")]
pub fn now() -> Instant {
    Instant::now()
}

/// Microseconds for each of `count`.
pub fn micros(duration: Duration, count: usize) -> f64 {
    duration.as_secs_f64() * 1e6 / count as f64
}

/// What so many of a hundred do not exceed.
pub fn percentile(values: &[f64], of_a_hundred: usize) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    values[(values.len() * of_a_hundred / 100).min(values.len() - 1)]
}

/// The middle one of several.
pub fn median(values: &[f64]) -> f64 {
    percentile(values, 50)
}

fn commit() -> String {
    let output = std::process::Command::new("git").args(["rev-parse", "--short=12", "HEAD"]).output();
    output.map_or_else(|_| "unknown".to_owned(), |output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn cpu() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    name.map_or_else(|| "unknown".to_owned(), |(_, name)| name.trim().to_owned())
}

/// What this process has in memory, in bytes.
pub fn resident() -> i64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").trim().parse::<i64>().unwrap() * 1024
}
