//! What a run did and costs, and how that reads.

use serde::{Deserialize, Serialize};

use super::load::{Asked, Flushes, Mode, Span, Writes};
use super::prices::{Bill, Cost, dollars};
use super::scenario::Scenario;
use crate::cli::measure::{Chart, Latency, Machine, Paper, digits, real};
use crate::cli::show;

/// The results of one run, as they are written down.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Results {
    pub(super) version: String,
    pub(super) scenario: Scenario,
    /// `None` is the server's own.
    pub(super) mode: Option<Mode>,
    pub(super) started: String,
    /// From the first write to the end of the last flush.
    pub(super) took_seconds: f64,
    pub(super) machine: Machine,
    /// Where the database was, in words.
    pub(super) place: String,
    pub(super) writes: Writes,
    pub(super) spans: Vec<Span>,
    pub(super) flushes: Vec<Flushes>,
    /// As the store saw them; of a server those of all that it serves.
    pub(super) requests: Vec<Asked>,
    /// In the bucket at the end.
    pub(super) stored_bytes: u64,
    pub(super) bill: Bill,
    pub(super) costs: Vec<Cost>,
}

const LATENCY: [&str; 7] = Latency::NAMES;

/// What it is about, for this time and for a month.
pub(super) fn bill_rows(bill: &Bill) -> Vec<Vec<String>> {
    let row = |what: &str, bill: &Bill| {
        let [a, b] = [bill.class_a, bill.class_b].map(|count| format!("{count:.0}"));
        vec![what.to_owned(), a, b, show::bytes(whole(bill.stored_bytes))]
    };
    vec![row("run", bill), row("30 days like it", &bill.month())]
}

pub(super) const BILL: [&str; 4] = ["time", "class A", "class B", "stored"];

pub(super) fn cost_rows(costs: &[Cost]) -> Vec<Vec<String>> {
    let row =
        |cost: &Cost| vec![cost.prices.table().name.to_owned(), dollars(cost.run), dollars(cost.month), dollars(cost.month_after_free)];
    costs.iter().map(row).collect()
}

pub(super) const COST: [&str; 4] = ["prices", "run", "30 days", "30 days after what is free"];

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "bytes in a bucket")]
fn whole(bytes: f64) -> u64 {
    bytes.max(0.0) as u64
}

impl Results {
    fn write_rows(&self) -> Vec<Vec<String>> {
        let Writes { wanted, done, failed, error: _, per_second, latency } = &self.writes;
        let mut row = vec![wanted.to_string(), done.to_string(), failed.to_string(), digits(*per_second)];
        row.extend(latency.map_or_else(Default::default, |latency| latency.in_words()));
        vec![row]
    }

    fn write_names() -> Vec<&'static str> {
        ["wanted", "done", "failed", "per second"].into_iter().chain(LATENCY).collect()
    }

    fn flush_rows(&self) -> Vec<Vec<String>> {
        let row = |flushes: &Flushes| {
            let Flushes { kind, completed, failed, bytes, latency } = flushes;
            let mut row = vec![kind.clone(), completed.to_string(), failed.to_string(), show::bytes(*bytes)];
            row.extend(latency.map_or_else(Default::default, |latency| latency.in_words()));
            row
        };
        self.flushes.iter().map(row).collect()
    }

    fn flush_names() -> Vec<&'static str> {
        ["flush", "completed", "failed", "uploaded"].into_iter().chain(LATENCY).collect()
    }

    fn request_rows(&self) -> Vec<Vec<String>> {
        let row = |asked: &Asked| {
            let Asked { operation, class, count, failed, sent_bytes, received_bytes } = asked;
            let (sent, received) = (show::bytes(*sent_bytes), show::bytes(*received_bytes));
            vec![operation.clone(), class.to_uppercase(), count.to_string(), failed.to_string(), sent, received]
        };
        self.requests.iter().map(row).collect()
    }

    const REQUESTS: [&str; 6] = ["request", "class", "count", "failed", "sent", "received"];

    fn chart(&self) -> Chart {
        let of = |value: fn(&Latency) -> f64| self.spans.iter().map(|span| span.latency.as_ref().map(value)).collect();
        let kinds = [("p50", of(|latency| latency.p50)), ("p99", of(|latency| latency.p99)), ("max", of(|latency| latency.max))];
        // Not each has room for its name.
        let step = self.spans.len().div_ceil(15).max(1);
        let name = |(at, span): (usize, &Span)| if at % step == 0 { format!("{} s", span.second) } else { String::new() };
        let groups = self.spans.iter().enumerate().map(name).collect();
        Chart {
            title: "writes, in µs, by the time since the start".to_owned(),
            groups,
            kinds: kinds.map(|(n, v)| (n.to_owned(), v)).into(),
        }
    }

    fn done(&self) -> Chart {
        let step = self.spans.len().div_ceil(15).max(1);
        let name = |(at, span): (usize, &Span)| if at % step == 0 { format!("{} s", span.second) } else { String::new() };
        let groups = self.spans.iter().enumerate().map(name).collect();
        let done = self.spans.iter().map(|span| Some(real(span.done))).collect();
        Chart { title: "writes done, by the time since the start".to_owned(), groups, kinds: vec![("done".to_owned(), done)] }
    }

    /// A run that was given up is no success, whatever was written of it.
    pub(super) fn check(&self) -> anyhow::Result<()> {
        let Writes { wanted, done, failed, error, .. } = &self.writes;
        let why = error.as_deref().unwrap_or_default();
        anyhow::ensure!(done + failed == *wanted, "given up after {failed} writes that failed, {done} that did not: {why}");
        Ok(())
    }

    pub(super) fn paper(&self) -> Paper {
        let Self { version, scenario, mode, started, took_seconds, machine, place, .. } = self;
        let mut paper = Paper::new(format!("buckethead {version}: stress {}", scenario.name));
        let mode = mode.as_ref().and_then(clap::ValueEnum::to_possible_value);
        let mode = mode.map_or_else(
            || "in the server's own mode, flushed as its resource says".to_owned(),
            |mode| format!("in {} mode", mode.get_name()),
        );
        paper.text(&format!("{}, {mode}.", scenario.in_words()));
        paper.text(&format!(
            "Measured from {started} on for {} s, on {}. The database: {place}.",
            digits(*took_seconds),
            machine.in_words()
        ));
        paper.heading("Writes");
        paper.text("Times count from the moment at which a write was due.");
        paper.chart(self.done());
        paper.chart(self.chart());
        paper.table(&Self::write_names(), self.write_rows());
        if let Some(error) = &self.writes.error {
            paper.text(&format!("The last that failed: {error}"));
        }
        if !self.flushes.is_empty() {
            paper.heading("Flushes");
            paper.table(&Self::flush_names(), self.flush_rows());
        }
        paper.heading("Requests");
        let since = if self.mode.is_some() {
            "from opening the database to its last flush"
        } else {
            "from the first write to the last flush, for all that the server serves"
        };
        paper.text(&format!("As the store saw them, {since}; retries and parts count by themselves."));
        paper.table(&Self::REQUESTS, self.request_rows());
        paper.heading("Cost");
        paper.text("In US dollars. The month has the run's requests over and over but for those of the opening, and in the bucket what is there at the end of the run. Traffic out of the store's cloud is not in it.");
        paper.table(&BILL, bill_rows(&self.bill));
        paper.table(&COST, cost_rows(&self.costs));
        paper
    }

    /// Tables for a terminal.
    pub(super) fn in_words(&self) -> String {
        [
            show::table(&Self::write_names(), self.write_rows()),
            show::table(&Self::flush_names(), self.flush_rows()),
            show::table(&Self::REQUESTS, self.request_rows()),
            show::table(&BILL, bill_rows(&self.bill)),
            show::table(&COST, cost_rows(&self.costs)),
        ]
        .join("\n\n")
    }
}
