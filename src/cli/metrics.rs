//! `buckethead metrics`

use std::fmt::Write as _;
use std::io::Write as _;

use controller::Metrics;
use prometheus_client::encoding::text;
use prometheus_client::registry::Registry;

use super::exposition::{Family, families};

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
    let families: Vec<_> = families(shown).into_iter().filter(|family| !family.samples.is_empty()).collect();
    let group = |name: &str| GROUPS.iter().position(|(_, beginnings)| beginnings.iter().any(|beginning| name.starts_with(beginning)));
    let mut page = BEGIN.to_owned();
    for (at, (title, _)) in GROUPS.iter().enumerate() {
        let _ = write!(page, "\n## {title}\n\n| Metric | Type | Labels | Tells |\n| --- | --- | --- | --- |\n");
        for family in families.iter().filter(|family| group(family.name) == Some(at)) {
            let labels: Vec<_> = labels(family).into_iter().map(|label| format!("`{label}`")).collect();
            let (name, kind, help) = (name(family), family.kind, family.help.trim_end_matches('.'));
            let _ = writeln!(page, "| `{name}` | {kind} | {} | {help} |", labels.join(", "));
        }
    }
    page
}

/// What its samples are called: without what tells the parts of a histogram apart.
fn name(family: &Family<'_>) -> String {
    let ending = match family.kind {
        "counter" => "_total",
        "info" => "_info",
        _ => "",
    };
    format!("{}{ending}", family.name)
}

/// Those of its first series, without what tells the buckets of a histogram apart.
fn labels<'a>(family: &Family<'a>) -> Vec<&'a str> {
    let first = family.samples.first().map_or(&[][..], |sample| &sample.labels);
    first.iter().map(|(name, _)| *name).filter(|name| *name != "le").collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_metric_has_a_series_by_which_its_labels_are_known() {
        let shown = shown().unwrap();
        let described = shown.lines().filter(|line| line.starts_with("# HELP ")).count();
        let all: Vec<_> = families(&shown).into_iter().filter(|family| !family.name.is_empty()).collect();
        assert!(described > 50 && all.len() == described, "{described}");
        for family in &all {
            assert!(!family.samples.is_empty(), "{} has no series", family.name);
            assert!(!family.help.is_empty() && family.name.starts_with("buckethead_"), "{family:?}");
        }
        let of = |wanted: &str| all.iter().find(|family| name(family) == wanted).unwrap_or_else(|| panic!("{wanted}"));
        assert_eq!(labels(of("buckethead_build_info")), ["version"]);
        assert_eq!(labels(of("buckethead_http_request_duration_seconds")), ["route", "method", "status"]);
        assert_eq!(labels(of("buckethead_database_condition")), ["namespace", "name", "type", "status", "reason"]);
        assert_eq!((of("buckethead_past_bytes").kind, labels(of("buckethead_past_bytes")).len()), ("gauge", 0));
        assert_eq!(page(&shown).matches("\n| `buckethead_").count(), described, "each is in one group");
    }
}
