//! What became of requests that were to be passed on, as a metric.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

/// What became of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The host answered.
    Forwarded,
    /// There was no connection to the host.
    Unreachable,
    /// There was one, and it broke off before there was an answer.
    Broken,
    /// It had been passed on too often.
    Looped,
}

impl Outcome {
    fn word(self) -> &'static str {
        match self {
            Self::Forwarded => "forwarded",
            Self::Unreachable => "unreachable",
            Self::Broken => "broken",
            Self::Looped => "looped",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    outcome: &'static str,
}

/// Of all.
pub(crate) struct Outcomes(Family<Labels, Counter>);

impl Outcomes {
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let total = Family::default();
        registry.register(
            "buckethead_forwarded_requests",
            "Requests for databases of other processes: they were `forwarded` and answered; the host was `unreachable`; the connection was `broken` before the answer; they had been passed on too often (`looped`)",
            total.clone(),
        );
        Self(total)
    }

    pub(crate) fn count(&self, outcome: Outcome) {
        self.0.get_or_create(&Labels { outcome: outcome.word() }).inc();
    }
}
