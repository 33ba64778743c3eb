//! What each route is asked, and how long that takes.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::http::{Method, StatusCode};
use parking_lot::RwLock;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Unit;

use super::{LATENCIES, status_label};

/// The methods that are told apart.
const METHODS: [&str; 9] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "QUERY", "other"];

/// By the route's template. Clones are the same.
#[derive(Debug, Clone, Default)]
pub(crate) struct Routes(Arc<RwLock<BTreeMap<Box<str>, Arc<OfRoute>>>>);

/// By method and by class of status, from 1xx on. Most do not come.
#[derive(Debug, Default)]
struct OfRoute([[OnceLock<Answered>; 5]; METHODS.len()]);

#[derive(Debug)]
struct Answered {
    requests: Counter,
    duration: Histogram,
}

impl Routes {
    /// `route` is a template of the router, never the path itself.
    pub(crate) fn observe(&self, route: &str, method: &Method, status: StatusCode, took: Duration) {
        if let Some(of) = self.0.read().get(route) {
            return of.observe(method, status, took);
        }
        self.0.write().entry(route.into()).or_default().observe(method, status, took);
    }
}

impl OfRoute {
    fn observe(&self, method: &Method, status: StatusCode, took: Duration) {
        let method = METHODS.iter().position(|known| *known == method.as_str()).unwrap_or(METHODS.len() - 1);
        let class = usize::from(status.as_u16() / 100).clamp(1, 5) - 1;
        let Answered { requests, duration } =
            self.0[method][class].get_or_init(|| Answered { requests: Counter::default(), duration: Histogram::new(LATENCIES) });
        requests.inc();
        duration.observe(took.as_secs_f64());
    }
}

impl Collector for Routes {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        let routes: Vec<_> = self.0.read().iter().map(|(route, of)| (route.clone(), Arc::clone(of))).collect();
        let all = || {
            routes.iter().flat_map(|(route, of)| {
                METHODS.iter().zip(&of.0).flat_map(move |(method, classes)| {
                    let answered = (1_u16..).zip(classes).filter_map(|(class, answered)| Some((class, answered.get()?)));
                    answered.map(move |(class, answered)| {
                        let status = StatusCode::from_u16(class * 100).map_or("", status_label);
                        ([("route", &**route), ("method", *method), ("status", status)], answered)
                    })
                })
            })
        };
        let mut family = encoder.encode_descriptor(
            "buckethead_http_requests",
            "Requests answered; `route` is a template, `status` a class such as `2xx`.",
            None,
            MetricType::Counter,
        )?;
        for (labels, answered) in all() {
            family.encode_family(&labels)?.encode_counter::<NoLabelSet, _, u64>(&answered.requests.get(), None)?;
        }
        let help = "From a request's head to its answer's head.";
        let name = "buckethead_http_request_duration";
        let mut family = encoder.encode_descriptor(name, help, Some(&Unit::Seconds), MetricType::Histogram)?;
        for (labels, answered) in all() {
            answered.duration.encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }
}
