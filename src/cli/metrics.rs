//! `buckethead metrics`

use std::fmt::Write as _;
use std::io::Write as _;

use controller::Metrics;
use prometheus_client::encoding::text;
use prometheus_client::registry::Registry;

/// What metrics are about, by the beginnings of their names.
const GROUPS: [(&str, &[&str]); 4] = [
    (
        "Requests, and this process",
        &[
            "buckethead_build",
            "buckethead_http_",
            "buckethead_forwarded_",
            "buckethead_authentication_",
            "buckethead_memory_",
            "buckethead_past_",
        ],
    ),
    ("Databases", &["buckethead_database_"]),
    ("Stores", &["buckethead_store_"]),
    ("In a cluster", &["buckethead_"]),
];

const BEGIN: &str = "\
# Metrics

<!-- Made from the code by `make metrics-docs`; do not edit. -->

`GET /metrics` shows them as OpenMetrics text, and OTLP sends them by the same names without `_total` ([telemetry.md](telemetry.md#metrics)). [monitoring.md](monitoring.md) has alerts and a dashboard.

Counters begin at 0 with the process, those of a database each time it is opened. Labels are bounded: routes are templates, and `namespace` and `name` are those of databases that are declared.
";

/// Prints all metrics, as `docs/metrics.md` tells of them.
pub(super) fn run() -> anyhow::Result<()> {
    std::io::stdout().write_all(page(&shown()?).as_bytes())?;
    Ok(())
}

/// Each metric with a series, as a scrape would see it.
fn shown() -> Result<String, std::fmt::Error> {
    let mut registry = Registry::default();
    api::register_examples(&mut registry);
    Metrics::register(&mut registry).fill();
    let mut shown = String::new();
    text::encode(&mut shown, &registry)?;
    Ok(shown)
}

fn page(shown: &str) -> String {
    let rows = rows(shown);
    let group = |row: &Row| GROUPS.iter().position(|(_, beginnings)| beginnings.iter().any(|beginning| row.name.starts_with(beginning)));
    let mut page = BEGIN.to_owned();
    for (at, (title, _)) in GROUPS.iter().enumerate() {
        let _ = write!(page, "\n## {title}\n\n| Metric | Type | Labels | Tells |\n| --- | --- | --- | --- |\n");
        for row in rows.iter().filter(|row| group(row) == Some(at)) {
            let Row { name, kind, labels, help } = row;
            let labels: Vec<_> = labels.iter().map(|label| format!("`{label}`")).collect();
            let _ = writeln!(page, "| `{name}` | {kind} | {} | {} |", labels.join(", "), help.trim_end_matches('.'));
        }
    }
    page
}

/// One metric.
#[derive(Debug, PartialEq, Eq)]
struct Row<'a> {
    name: String,
    kind: &'a str,
    labels: Vec<&'a str>,
    help: &'a str,
}

/// The descriptions in a text, each with the labels of its first series.
fn rows(shown: &str) -> Vec<Row<'_>> {
    let mut rows: Vec<Row<'_>> = Vec::new();
    let mut is_first = false;
    for line in shown.lines() {
        if let Some(described) = line.strip_prefix("# HELP ") {
            let (name, help) = described.split_once(' ').unwrap_or((described, ""));
            rows.push(Row { name: name.to_owned(), kind: "", labels: Vec::new(), help });
            is_first = true;
        } else if let (Some(typed), Some(row)) = (line.strip_prefix("# TYPE "), rows.last_mut()) {
            row.kind = typed.rsplit(' ').next().unwrap_or_default();
            // Samples are called so.
            match row.kind {
                "counter" => row.name.push_str("_total"),
                "info" => row.name.push_str("_info"),
                _ => {}
            }
        } else if let (false, true, Some(row)) = (line.starts_with('#'), is_first, rows.last_mut()) {
            row.labels = labels(line);
            is_first = false;
        }
    }
    rows
}

/// Of a series, without what tells the buckets of a histogram apart. Values of examples have no quotes.
fn labels(series: &str) -> Vec<&str> {
    let within = series.split_once('{').and_then(|(_, rest)| rest.split_once('}')).map_or("", |(within, _)| within);
    let names = within.split("\",").filter_map(|pair| pair.split_once('=')).map(|(name, _)| name);
    names.filter(|name| *name != "le").collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_metric_has_a_series_by_which_its_labels_are_known() {
        let shown = shown().unwrap();
        let described = shown.lines().filter(|line| line.starts_with("# HELP ")).count();
        let rows = rows(&shown);
        assert!(described > 50 && rows.len() == described, "{described}");
        for row in &rows {
            let name = row.name.trim_end_matches("_total");
            assert!(shown.lines().any(|line| !line.starts_with('#') && line.starts_with(name)), "{name} has no series");
            assert!(!row.help.is_empty() && row.name.starts_with("buckethead_"), "{row:?}");
        }
        let of = |name: &str| rows.iter().find(|row| row.name == name).unwrap_or_else(|| panic!("{name}"));
        assert_eq!(of("buckethead_build_info").labels, ["version"]);
        assert_eq!(of("buckethead_http_request_duration_seconds").labels, ["route", "method", "status"]);
        assert_eq!(of("buckethead_database_condition").labels, ["namespace", "name", "type", "status", "reason"]);
        assert_eq!((of("buckethead_past_bytes").kind, of("buckethead_past_bytes").labels.len()), ("gauge", 0));
        assert_eq!(page(&shown).matches("\n| `buckethead_").count(), described, "each is in one group");
    }
}
