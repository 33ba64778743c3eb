//! What the controller counts, and what conditions say.

mod conditions;

use std::time::Duration;

use kube::runtime::reflector::Store;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

use crate::error::Error;
use crate::gc::{Ended, News};
use crate::guarded::Guarded;
use conditions::Conditions;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct FailureLabels {
    kind: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    method: String,
    resource: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StepLabels {
    step: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct GcLabels {
    outcome: &'static str,
}

/// Clones count together.
#[derive(Debug, Clone)]
pub struct Metrics {
    reconciles: Counter,
    failures: Family<FailureLabels, Counter>,
    duration: Histogram,
    requests: Family<RequestLabels, Counter>,
    steps: Family<StepLabels, Counter>,
    gc_runs: Family<GcLabels, Counter>,
    conditions: Conditions,
}

impl Metrics {
    /// Registers all metrics of the controller.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            reconciles: Counter::default(),
            failures: Family::default(),
            duration: Histogram::new(exponential_buckets(0.001, 4.0, 9)),
            requests: Family::default(),
            steps: Family::default(),
            gc_runs: Family::default(),
            conditions: Conditions::default(),
        };
        registry.register("buckethead_reconciles", "Looks at BucketDatabases", metrics.reconciles.clone());
        registry.register("buckethead_reconcile_failures", "Looks that failed, by the kind of the error", metrics.failures.clone());
        registry.register_with_unit("buckethead_reconcile_duration", "How long looks took", Unit::Seconds, metrics.duration.clone());
        registry.register(
            "buckethead_kubernetes_requests",
            "Requests to the API server, watches included; `resource` is a kind with its subresource",
            metrics.requests.clone(),
        );
        registry.register(
            "buckethead_controller_steps",
            "Steps that looks carried out, such as `Open`, `Promote` or `EnsureConnectionSecret`",
            metrics.steps.clone(),
        );
        registry.register(
            "buckethead_gc_runs",
            "Runs of gc that ended: how far they came (`clean`, `marked`, `waiting`, `busy`, `deleted`), or `failed`",
            metrics.gc_runs.clone(),
        );
        registry.register_collector(Box::new(metrics.conditions.clone()));
        metrics
    }

    /// As if everything had been done once, and some condition were not as it should be.
    pub fn fill(&self) {
        self.reconciles.inc();
        self.duration.observe(0.0);
        self.failures.get_or_create(&FailureLabels { kind: "" }).inc();
        self.count_request("", String::new());
        self.count_step("");
        self.gc_runs.get_or_create(&GcLabels { outcome: "" }).inc();
        self.conditions.show_example();
    }

    /// Shows what the conditions of these say, as the watches see them.
    pub(crate) fn attend(&self, stores: Vec<Store<Guarded>>) {
        self.conditions.attend(stores);
    }

    pub(crate) fn count_request(&self, method: &str, resource: String) {
        self.requests.get_or_create(&RequestLabels { method: method.to_owned(), resource }).inc();
    }

    pub(crate) fn count_step(&self, step: &'static str) {
        self.steps.get_or_create(&StepLabels { step }).inc();
    }

    /// Counts a run that ended: by how far it came, or as one that failed.
    pub(crate) fn count_gc(&self, news: &News) {
        let outcome = match news {
            News::Ended(Ended { result: Ok(found), .. }) => found.stage.as_str(),
            News::Ended(Ended { result: Err(_), .. }) => "failed",
            News::Started(_) | News::Hindered(_) => return,
        };
        self.gc_runs.get_or_create(&GcLabels { outcome }).inc();
    }

    pub(crate) fn count<T>(&self, took: Duration, result: &Result<T, Error>) {
        self.reconciles.inc();
        self.duration.observe(took.as_secs_f64());
        if let Err(error) = result {
            self.failures.get_or_create(&FailureLabels { kind: error.kind() }).inc();
        }
    }
}
