//! What is uploaded, and what stores are asked.
//!
//! Invariant: there are series of databases alone that the host knows.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use engine::{DatabaseName, FlushEnd, FlushKind, FlushOf, Hooks, StoreRequest};
use parking_lot::Mutex;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Unit;

/// In seconds: from a small object on the same machine to a gigabyte far away.
const DURATIONS: [f64; 12] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 30.0, 300.0];
/// From a page to a large database.
const SIZES: [f64; 8] = [4096.0, 65_536.0, 1_048_576.0, 8_388_608.0, 67_108_864.0, 268_435_456.0, 1_073_741_824.0, 4_294_967_296.0];

/// Counts what it is told: give it to the host and the stores, and to the API, which shows it.
#[derive(Default)]
pub struct Work {
    flushes: Mutex<BTreeMap<(DatabaseName, FlushKind), Arc<Flushes>>>,
    requests: Mutex<BTreeMap<Asked, Arc<Requests>>>,
}

impl fmt::Debug for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Work")
    }
}

struct Flushes {
    started: Counter,
    completed: Counter,
    skipped: Counter,
    failed: Counter,
    duration: Histogram,
    bytes: Histogram,
}

impl Default for Flushes {
    fn default() -> Self {
        Self {
            started: Counter::default(),
            completed: Counter::default(),
            skipped: Counter::default(),
            failed: Counter::default(),
            duration: Histogram::new(DURATIONS),
            bytes: Histogram::new(SIZES),
        }
    }
}

/// Operations are few: the store's protocol has them.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Asked {
    operation: Cow<'static, str>,
    status: &'static str,
}

struct Requests {
    class: &'static str,
    count: Counter,
    sent: Counter,
    received: Counter,
    duration: Histogram,
}

impl Hooks for Work {
    fn flush_started(&self, flush: &FlushOf) {
        self.of(flush).started.inc();
    }

    fn flush_ended(&self, flush: &FlushOf, end: &FlushEnd) {
        let of = self.of(flush);
        match end {
            FlushEnd::Completed { txid: _, bytes, took } => {
                of.completed.inc();
                of.duration.observe(took.as_secs_f64());
                of.bytes.observe(super::real(*bytes));
            }
            FlushEnd::Skipped => drop(of.skipped.inc()),
            FlushEnd::Failed { .. } => drop(of.failed.inc()),
        }
    }

    fn store_request(&self, request: &StoreRequest) {
        let status = request.status.and_then(|status| StatusCode::from_u16(status).ok()).map_or("none", super::status_label);
        let asked = Asked { operation: request.operation.clone(), status };
        let of = Arc::clone(self.requests.lock().entry(asked).or_insert_with(|| Arc::new(Requests::of_class(request.class().as_str()))));
        of.observe(request.sent, request.received, request.took);
    }
}

impl Requests {
    fn of_class(class: &'static str) -> Self {
        let (count, sent, received) = Default::default();
        Self { class, count, sent, received, duration: Histogram::new(DURATIONS) }
    }

    fn observe(&self, sent: u64, received: u64, took: Duration) {
        self.count.inc();
        self.sent.inc_by(sent);
        self.received.inc_by(received);
        self.duration.observe(took.as_secs_f64());
    }
}

/// One of the counters of flushes.
type Which = fn(&Flushes) -> &Counter;
/// One of those of requests.
type Bytes = fn(&Requests) -> &Counter;

impl Work {
    fn of(&self, flush: &FlushOf) -> Arc<Flushes> {
        Arc::clone(self.flushes.lock().entry((flush.database.clone(), flush.kind)).or_default())
    }

    /// Writes down those of databases that are known still, and forgets the others.
    pub(super) fn encode(&self, known: &[&DatabaseName], encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let known: HashSet<_> = known.iter().copied().collect();
        let flushes: Vec<_> = {
            let mut flushes = self.flushes.lock();
            flushes.retain(|(name, _), _| known.contains(name));
            flushes.iter().map(|(of, counts)| (of.clone(), Arc::clone(counts))).collect()
        };
        let labelled = |(name, kind): &(DatabaseName, FlushKind)| {
            [("namespace", name.namespace().to_owned()), ("name", name.name().to_owned()), ("kind", kind.as_str().to_owned())]
        };
        let counters: [(&str, &str, Which); 4] = [
            ("started", "Uploads of commits that began: of a delta, or of the whole as a snapshot.", |of| &of.started),
            ("completed", "Uploads of commits that are in the bucket.", |of| &of.completed),
            ("skipped", "Flushes that were asked for, and that found everything in the bucket, or the last one too young.", |of| {
                &of.skipped
            }),
            ("failed", "Uploads of commits that failed; they are tried again.", |of| &of.failed),
        ];
        for (name, help, counter) in counters {
            let name = format!("buckethead_database_flushes_{name}");
            let mut family = encoder.encode_descriptor(&name, help, None, MetricType::Counter)?;
            for (of, counts) in &flushes {
                family.encode_family(&labelled(of))?.encode_counter::<NoLabelSet, _, u64>(&counter(counts).get(), None)?;
            }
        }
        let help = "From the pin to the store's answer, of uploads that completed.";
        let name = "buckethead_database_flush_duration";
        let mut family = encoder.encode_descriptor(name, help, Some(&Unit::Seconds), MetricType::Histogram)?;
        for (of, counts) in &flushes {
            counts.duration.encode(family.encode_family(&labelled(of))?)?;
        }
        let help = "What was uploaded, of uploads that completed.";
        let name = "buckethead_database_flush";
        let mut family = encoder.encode_descriptor(name, help, Some(&Unit::Bytes), MetricType::Histogram)?;
        for (of, counts) in &flushes {
            counts.bytes.encode(family.encode_family(&labelled(of))?)?;
        }
        self.encode_requests(encoder)
    }

    fn encode_requests(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let requests: Vec<_> = self
            .requests
            .lock()
            .iter()
            .map(|(Asked { operation, status }, of)| {
                ([("operation", operation.to_string()), ("status", (*status).to_owned())], Arc::clone(of))
            })
            .collect();
        let help = "Requests to stores, retries and parts included, with the class that they are charged as.";
        let mut family = encoder.encode_descriptor("buckethead_store_requests", help, None, MetricType::Counter)?;
        for ([operation, status], of) in &requests {
            let labels = [operation.clone(), status.clone(), ("class", of.class.to_owned())];
            family.encode_family(&labels)?.encode_counter::<NoLabelSet, _, u64>(&of.count.get(), None)?;
        }
        let bytes: [(&str, &str, Bytes); 2] = [
            ("buckethead_store_sent", "Bytes of the bodies of requests to stores.", |of| &of.sent),
            ("buckethead_store_received", "Bytes of the bodies of their answers, as their headers tell.", |of| &of.received),
        ];
        for (name, help, counter) in bytes {
            let mut family = encoder.encode_descriptor(name, help, Some(&Unit::Bytes), MetricType::Counter)?;
            for (labels, of) in &requests {
                family.encode_family(labels)?.encode_counter::<NoLabelSet, _, u64>(&counter(of).get(), None)?;
            }
        }
        let help = "From a request to a store to the head of its answer.";
        let name = "buckethead_store_request_duration";
        let mut family = encoder.encode_descriptor(name, help, Some(&Unit::Seconds), MetricType::Histogram)?;
        for (labels, of) in &requests {
            of.duration.encode(family.encode_family(labels)?)?;
        }
        Ok(())
    }
}
