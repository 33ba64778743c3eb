//! What was measured, and how it reads.

use serde::{Deserialize, Serialize};

use super::plan::{Preset, Suite};
use crate::cli::measure::{Chart, Latency, Machine, Paper, Times, digits, real};
use crate::cli::show;

/// The results of one run, as they are written down.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Results {
    pub(super) version: String,
    pub(super) preset: Preset,
    pub(super) started: String,
    pub(super) took_seconds: f64,
    pub(super) machine: Machine,
    /// Where the database was, in words.
    pub(super) place: String,
    pub(super) suites: Vec<OfSuite>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct OfSuite {
    pub(super) suite: Suite,
    pub(super) figures: Vec<Figure>,
}

/// One kind of operation under one condition.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Figure {
    /// What was done.
    pub(super) operation: String,
    /// With which size, by how many clients, where.
    pub(super) at: String,
    pub(super) count: u64,
    /// Where it was done as fast as it went.
    pub(super) per_second: Option<f64>,
    /// In microseconds.
    pub(super) latency: Option<Latency>,
}

impl Figure {
    /// One after the other.
    pub(super) fn of(operation: &str, at: impl Into<String>, times: &Times) -> Self {
        Self { operation: operation.to_owned(), at: at.into(), count: times.count(), per_second: None, latency: times.latency() }
    }

    /// As many as went, in so much time.
    pub(super) fn rate(operation: &str, at: impl Into<String>, times: &Times, seconds: f64) -> Self {
        Self { per_second: Some(real(times.count()) / seconds), ..Self::of(operation, at, times) }
    }
}

impl OfSuite {
    fn chart(&self) -> Chart {
        let is_rate = self.figures.iter().any(|figure| figure.per_second.is_some());
        let value = |figure: &Figure| if is_rate { figure.per_second } else { figure.latency.map(|latency| latency.p50) };
        let mut groups: Vec<String> = Vec::new();
        let mut names: Vec<&str> = Vec::new();
        for figure in &self.figures {
            if !groups.contains(&figure.at) {
                groups.push(figure.at.clone());
            }
            if !names.contains(&figure.operation.as_str()) {
                names.push(&figure.operation);
            }
        }
        let at =
            |name: &str, group: &String| self.figures.iter().find(|figure| figure.operation == name && figure.at == *group).and_then(value);
        let kinds = names.iter().map(|name| ((*name).to_owned(), groups.iter().map(|group| at(name, group)).collect())).collect();
        let of = if is_rate { "operations in a second" } else { "median, in µs" };
        Chart { title: format!("{}: {of}", self.suite.name()), groups, kinds }
    }

    fn rows(&self) -> Vec<Vec<String>> {
        self.figures
            .iter()
            .map(|figure| {
                let mut row = vec![figure.operation.clone(), figure.at.clone(), figure.count.to_string()];
                row.push(figure.per_second.map_or_else(String::new, digits));
                row.extend(figure.latency.map_or_else(Default::default, |latency| latency.in_words()));
                row
            })
            .collect()
    }

    fn names() -> Vec<&'static str> {
        ["operation", "at", "count", "per second"].into_iter().chain(Latency::NAMES).collect()
    }
}

impl Results {
    pub(super) fn paper(&self) -> Paper {
        let mut paper = Paper::new(format!("buckethead {}: bench {}", self.version, self.preset.name()));
        paper.text(&format!("Measured from {} on for {} s, on {}.", self.started, digits(self.took_seconds), self.machine.in_words()));
        paper.text(&format!("The database: {}.", self.place));
        for suite in &self.suites {
            paper.heading(suite.suite.name());
            paper.text(suite.suite.about());
            paper.chart(suite.chart());
            paper.table(&OfSuite::names(), suite.rows());
        }
        paper
    }

    /// Tables for a terminal.
    pub(super) fn in_words(&self) -> String {
        let words = |suite: &OfSuite| format!("{}\n{}\n", suite.suite.about(), show::table(&OfSuite::names(), suite.rows()));
        self.suites.iter().map(words).collect::<Vec<_>>().join("\n")
    }
}
