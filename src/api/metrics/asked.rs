//! What each database is asked, and how long that takes.
//!
//! Invariant: there are series of databases alone that the host knows: of those that a caller was admitted to, until they are gone.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use engine::DatabaseName;
use parking_lot::RwLock;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Unit;

use super::{LATENCIES, status_label};

/// By database.
#[derive(Debug, Default)]
pub(crate) struct Asked(RwLock<HashMap<DatabaseName, Arc<OfDatabase>>>);

/// Of one database.
#[derive(Debug)]
pub(crate) struct OfDatabase {
    /// By class of status, from 1xx on.
    requests: [Counter; 5],
    duration: Histogram,
    queued: Histogram,
    /// Of bodies that were sent, before they are compressed.
    pub(crate) bytes: Counter,
}

impl Default for OfDatabase {
    fn default() -> Self {
        Self {
            requests: Default::default(),
            duration: Histogram::new(LATENCIES),
            queued: Histogram::new(LATENCIES),
            bytes: Counter::default(),
        }
    }
}

impl OfDatabase {
    /// A request that was answered, `took` after it came; of that it waited for `queued`.
    pub(crate) fn observe(&self, status: StatusCode, took: Duration, queued: Duration) {
        let class = usize::from(status.as_u16() / 100).clamp(1, 5);
        self.requests[class - 1].inc();
        self.duration.observe(took.as_secs_f64());
        self.queued.observe(queued.as_secs_f64());
    }
}

/// One of its histograms.
type Which = fn(&OfDatabase) -> &Histogram;

impl Asked {
    pub(crate) fn of(&self, database: &DatabaseName) -> Arc<OfDatabase> {
        if let Some(known) = self.0.read().get(database) {
            return Arc::clone(known);
        }
        Arc::clone(self.0.write().entry(database.clone()).or_default())
    }

    /// Writes down those that are known still, and forgets the others.
    pub(super) fn encode(&self, known: &[&DatabaseName], encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let known: HashSet<_> = known.iter().copied().collect();
        self.0.write().retain(|name, _| known.contains(name));
        let mut all: Vec<_> = self.0.read().iter().map(|(name, of)| (name.clone(), Arc::clone(of))).collect();
        all.sort_by(|(one, _), (other, _)| one.cmp(other));
        let help = "Requests of callers that were admitted to the database.";
        let mut family = encoder.encode_descriptor("buckethead_database_requests", help, None, MetricType::Counter)?;
        for (name, of) in &all {
            for (class, requests) in (1..).zip(&of.requests) {
                let status = StatusCode::from_u16(class * 100).map_or("", status_label);
                let labels = [("namespace", name.namespace()), ("name", name.name()), ("status", status)];
                family.encode_family(&labels)?.encode_counter::<NoLabelSet, _, u64>(&requests.get(), None)?;
            }
        }
        let help = "Bytes of bodies sent, before they are compressed.";
        let mut family = encoder.encode_descriptor("buckethead_database_response", help, Some(&Unit::Bytes), MetricType::Counter)?;
        for (name, of) in &all {
            let labels = [("namespace", name.namespace()), ("name", name.name())];
            family.encode_family(&labels)?.encode_counter::<NoLabelSet, _, u64>(&of.bytes.get(), None)?;
        }
        let histograms: [(&str, &str, Which); 2] = [
            ("buckethead_database_request_duration", "From a request's head to its answer's head.", |of| &of.duration),
            (
                "buckethead_database_queue_duration",
                "How long they waited of that: for their turn to write, for a place among the readers, for a thread.",
                |of| &of.queued,
            ),
        ];
        for (name, help, histogram) in histograms {
            let mut family = encoder.encode_descriptor(name, help, Some(&Unit::Seconds), MetricType::Histogram)?;
            for (database, of) in &all {
                let labels = [("namespace", database.namespace()), ("name", database.name())];
                histogram(of).encode(family.encode_family(&labels)?)?;
            }
        }
        Ok(())
    }
}
