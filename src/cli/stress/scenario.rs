//! What is written, how fast and for how long.

use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

/// A scenario, as the Python package writes it down.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Scenario {
    pub(super) name: String,
    pub(super) duration_s: f64,
    pub(super) writes_per_second: f64,
    pub(super) row_size_bytes: u32,
    pub(super) flush_interval_s: f64,
    #[serde(default = "yes")]
    pub(super) keep_previous: bool,
    #[serde(default)]
    pub(super) cpu_profile: bool,
    #[serde(default)]
    pub(super) memory_profile: bool,
}

fn yes() -> bool {
    true
}

/// The longest run and the longest interval: 30 days, in seconds.
const LONGEST: f64 = 30.0 * 24.0 * 3600.0;
const MOST_WRITES: f64 = 1e6;
/// A row has to fit into a value.
const LARGEST_ROW: u32 = 8 << 20;

impl Scenario {
    fn named(name: &str, duration_s: f64, writes_per_second: f64, row_size_bytes: u32, flush_interval_s: f64) -> Self {
        Self {
            name: name.to_owned(),
            duration_s,
            writes_per_second,
            row_size_bytes,
            flush_interval_s,
            keep_previous: true,
            cpu_profile: false,
            memory_profile: false,
        }
    }

    /// Those that need no file.
    pub(super) fn known() -> [Self; 3] {
        [
            Self::named("smoke", 10.0, 100.0, 128, 5.0),
            Self::named("free-tier-safe", 120.0, 500.0, 256, 30.0),
            Self::named("free-tier-max", 600.0, 2000.0, 512, 60.0),
        ]
    }

    /// One of those, or a file in YAML or JSON.
    pub(super) fn find(name: &str) -> anyhow::Result<Self> {
        if let Some(known) = Self::known().into_iter().find(|known| known.name == name) {
            return Ok(known);
        }
        let path = Path::new(name);
        if !path.exists() {
            let known = Self::known().map(|known| known.name).join(", ");
            anyhow::bail!("`{name}` is neither a scenario ({known}) nor a file with one");
        }
        let text = std::fs::read_to_string(path).with_context(|| format!("reading {name}"))?;
        Self::parse(&text).with_context(|| format!("{name} holds no scenario"))
    }

    /// JSON is YAML, too.
    pub(super) fn parse(text: &str) -> anyhow::Result<Self> {
        let scenario: Self = serde_yaml::from_str(text)?;
        let Self { name, duration_s, writes_per_second, row_size_bytes, flush_interval_s, .. } = &scenario;
        let within = |field: &str, value: f64, least: f64, most: f64| {
            anyhow::ensure!((least..=most).contains(&value), "{field}: must be {least} to {most}, and is {value}");
            anyhow::Ok(())
        };
        let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        anyhow::ensure!(
            (1..=64).contains(&name.len()) && name.chars().all(is_plain),
            "name: must have 1 to 64 letters, digits, `-` and `_`, because reports are named after it"
        );
        within("duration_s", *duration_s, 1.0, LONGEST)?;
        within("writes_per_second", *writes_per_second, 0.001, MOST_WRITES)?;
        within("row_size_bytes", f64::from(*row_size_bytes), 1.0, f64::from(LARGEST_ROW))?;
        within("flush_interval_s", *flush_interval_s, 0.1, LONGEST)?;
        Ok(scenario)
    }

    pub(super) fn duration(&self) -> Duration {
        Duration::from_secs_f64(self.duration_s)
    }

    pub(super) fn flush_interval(&self) -> Duration {
        Duration::from_secs_f64(self.flush_interval_s)
    }

    pub(super) fn in_words(&self) -> String {
        let Self { duration_s, writes_per_second, row_size_bytes, flush_interval_s, keep_previous, .. } = self;
        let previous = if *keep_previous { "" } else { ", without the snapshot before" };
        format!("{duration_s} s, {writes_per_second} writes/s of {row_size_bytes} bytes, flushed each {flush_interval_s} s{previous}")
    }
}
