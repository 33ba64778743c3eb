//! What `GET /metrics` shows, as OTLP has it. Pure.
//!
//! Counters are monotonic sums since the process began, histograms have the same bounds. One that counts anew, as those of a database that was
//! opened again, is seen by its smaller value. Exemplars are left out.

use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, Gauge, Histogram, HistogramDataPoint, Metric, NumberDataPoint, Sum, metric, number_data_point,
};

use crate::cli::exposition::{Family, Sample, families, whole};

/// From when to when something was counted, in nanoseconds since 1970.
#[derive(Debug, Clone, Copy)]
pub(super) struct Span {
    pub(super) from: u64,
    pub(super) to: u64,
}

/// Reads the text that `GET /metrics` shows.
pub(super) fn metrics(text: &str, span: Span) -> Vec<Metric> {
    families(text).into_iter().filter_map(|family| metric(family, span)).collect()
}

/// Nothing if there is no value of it.
fn metric(family: Family<'_>, span: Span) -> Option<Metric> {
    let Family { name, help, kind, unit, samples } = family;
    let temporality = AggregationTemporality::Cumulative.into();
    let (name, data) = match kind {
        "counter" => {
            let data_points = points(&samples, &format!("{name}_total"), span);
            (name.to_owned(), metric::Data::Sum(Sum { data_points, aggregation_temporality: temporality, is_monotonic: true }))
        }
        "histogram" => {
            let data_points = histograms(name, samples, span);
            (name.to_owned(), metric::Data::Histogram(Histogram { data_points, aggregation_temporality: temporality }))
        }
        // What does not change while we run, as the version, has the value 1.
        "info" => {
            let name = format!("{name}_info");
            let data_points = points(&samples, &name, span);
            (name, metric::Data::Gauge(Gauge { data_points }))
        }
        _ => (name.to_owned(), metric::Data::Gauge(Gauge { data_points: points(&samples, name, span) })),
    };
    let is_empty = match &data {
        metric::Data::Sum(sum) => sum.data_points.is_empty(),
        metric::Data::Histogram(histogram) => histogram.data_points.is_empty(),
        metric::Data::Gauge(gauge) => gauge.data_points.is_empty(),
        _ => true,
    };
    // As UCUM writes them.
    let unit = match unit {
        "seconds" => "s",
        "bytes" => "By",
        other => other,
    };
    let (description, unit) = (help.to_owned(), unit.to_owned());
    (!is_empty).then(|| Metric { name, description, unit, data: Some(data), ..Metric::default() })
}

/// Those that are called so.
fn points(samples: &[Sample<'_>], name: &str, span: Span) -> Vec<NumberDataPoint> {
    samples
        .iter()
        .filter(|sample| sample.name == name)
        .map(|sample| NumberDataPoint {
            attributes: attributes(&sample.labels),
            start_time_unix_nano: span.from,
            time_unix_nano: span.to,
            value: Some(number_data_point::Value::AsDouble(sample.value)),
            ..NumberDataPoint::default()
        })
        .collect()
}

/// The samples of one histogram stand together. What its buckets hold is told with all that is below; OTLP has each by itself.
fn histograms(name: &str, samples: Vec<Sample<'_>>, span: Span) -> Vec<HistogramDataPoint> {
    let mut points: Vec<(Vec<(&str, String)>, HistogramDataPoint)> = Vec::new();
    for Sample { name: full, mut labels, value } in samples {
        let bound = labels.iter().position(|(label, _)| *label == "le").map(|at| labels.remove(at).1);
        if points.last().is_none_or(|(known, _)| *known != labels) {
            let point = HistogramDataPoint {
                attributes: attributes(&labels),
                start_time_unix_nano: span.from,
                time_unix_nano: span.to,
                ..HistogramDataPoint::default()
            };
            points.push((labels, point));
        }
        let Some((_, point)) = points.last_mut() else { continue };
        match (full.strip_prefix(name), bound.and_then(|bound| bound.parse::<f64>().ok())) {
            (Some("_sum"), _) => point.sum = Some(value),
            (Some("_count"), _) => point.count = whole(value),
            (Some("_bucket"), Some(bound)) => {
                let below: u64 = point.bucket_counts.iter().sum();
                point.bucket_counts.push(whole(value).saturating_sub(below));
                point.explicit_bounds.extend(bound.is_finite().then_some(bound));
            }
            _ => {}
        }
    }
    points.into_iter().map(|(_, point)| point).collect()
}

fn attributes(labels: &[(&str, String)]) -> Vec<KeyValue> {
    let value = |text: &str| Some(AnyValue { value: Some(any_value::Value::StringValue(text.to_owned())) });
    labels.iter().map(|(key, text)| KeyValue { key: (*key).to_owned(), value: value(text), ..KeyValue::default() }).collect()
}

#[cfg(test)]
mod tests {
    use prometheus_client::encoding::text;
    use prometheus_client::metrics::counter::Counter;
    use prometheus_client::metrics::family::Family as Labelled;
    use prometheus_client::metrics::gauge::Gauge as Level;
    use prometheus_client::metrics::histogram::Histogram as Spread;
    use prometheus_client::metrics::info::Info;
    use prometheus_client::registry::{Registry, Unit};

    use super::*;

    const SPAN: Span = Span { from: 1, to: 2 };

    fn of(registry: &Registry) -> Vec<Metric> {
        let mut encoded = String::new();
        text::encode(&mut encoded, registry).unwrap();
        metrics(&encoded, SPAN)
    }

    fn labels_of(attributes: &[KeyValue]) -> Vec<(&str, &str)> {
        let text = |value: &'_ Option<AnyValue>| match value.as_ref()?.value.as_ref()? {
            any_value::Value::StringValue(text) => Some(text.as_str().to_owned()),
            _ => None,
        };
        attributes.iter().map(|pair| (pair.key.as_str(), &*text(&pair.value).unwrap().leak())).collect()
    }

    fn value(point: &NumberDataPoint) -> f64 {
        match point.value {
            Some(number_data_point::Value::AsDouble(value)) => value,
            _ => panic!("no number: {point:?}"),
        }
    }

    #[test]
    fn counters_are_sums_since_the_process_began() {
        let mut registry = Registry::default();
        let asked = Labelled::<[(&str, &str); 2], Counter>::default();
        registry.register("asked", "What was asked", asked.clone());
        asked.get_or_create(&[("route", "/a"), ("text", "say \"no\",\n\\}")]).inc_by(7);
        let [Metric { name, description, unit, data: Some(metric::Data::Sum(sum)), .. }] = &of(&registry)[..] else { panic!() };
        assert_eq!((&**name, &**description, &**unit), ("asked", "What was asked.", ""));
        assert!(sum.is_monotonic && sum.aggregation_temporality() == AggregationTemporality::Cumulative);
        let [point] = &sum.data_points[..] else { panic!("{sum:?}") };
        assert_eq!((point.start_time_unix_nano, point.time_unix_nano, value(point)), (1, 2, 7.0));
        assert_eq!(labels_of(&point.attributes), [("route", "/a"), ("text", "say \"no\",\n\\}")]);
    }

    #[test]
    fn gauges_and_what_is_known_of_the_program_are_gauges() {
        let mut registry = Registry::default();
        let size = Level::<i64>::default();
        size.set(-3);
        registry.register_with_unit("size", "How large", Unit::Bytes, size);
        registry.register("build", "The program", Info::new([("version", "1.2.3")]));
        let all = of(&registry);
        let gauges: Vec<_> = all
            .iter()
            .map(|metric| {
                let Some(metric::Data::Gauge(gauge)) = &metric.data else { panic!("{metric:?}") };
                let [point] = &gauge.data_points[..] else { panic!("{gauge:?}") };
                (&*metric.name, &*metric.unit, value(point), labels_of(&point.attributes))
            })
            .collect();
        assert_eq!(gauges, [("size_bytes", "By", -3.0, vec![]), ("build_info", "", 1.0, vec![("version", "1.2.3")])]);
    }

    #[test]
    fn a_histogram_tells_each_bucket_by_itself() {
        let mut registry = Registry::default();
        let took = Labelled::<[(&str, &str); 1], Spread>::new_with_constructor(|| Spread::new([0.1, 1.0, 10.0]));
        registry.register_with_unit("took", "How long", Unit::Seconds, took.clone());
        for (route, seconds) in [("/a", 0.05), ("/a", 0.5), ("/a", 0.6), ("/a", 60.0), ("/b", 5.0)] {
            took.get_or_create(&[("route", route)]).observe(seconds);
        }
        let [Metric { name, unit, data: Some(metric::Data::Histogram(histogram)), .. }] = &of(&registry)[..] else { panic!() };
        assert_eq!((&**name, &**unit), ("took_seconds", "s"));
        let mut points: Vec<_> = histogram
            .data_points
            .iter()
            .map(|point| {
                assert_eq!(point.explicit_bounds, [0.1, 1.0, 10.0]);
                (labels_of(&point.attributes), point.count, point.sum, point.bucket_counts.clone())
            })
            .collect();
        points.sort_by_key(|(labels, ..)| labels.clone());
        assert_eq!(points[0], (vec![("route", "/a")], 4, Some(61.15), vec![1, 2, 0, 1]));
        assert_eq!(points[1], (vec![("route", "/b")], 1, Some(5.0), vec![0, 0, 1, 0]));
    }

    #[test]
    fn what_is_no_metric_and_what_has_no_value_is_left_out() {
        let text =
            "# HELP a A.\n# TYPE a counter\n# HELP b B.\n# TYPE b gauge\nb 1 # {x=\"y\"} 2\nb{x=\"y 3\nb{x=\"y\"} high\nc\n\n# EOF\n";
        let all = metrics(text, SPAN);
        let [Metric { name, data: Some(metric::Data::Gauge(gauge)), .. }] = &all[..] else { panic!("{all:?}") };
        assert_eq!((&**name, gauge.data_points.len(), value(&gauge.data_points[0])), ("b", 1, 1.0));
    }
}
