//! Conditions as metrics, so that alerts know the reasons that people read.
//!
//! Invariant: a series is there only while a resource says so, and most resources have one: what is as it should be is not told, but `Ready`.

use std::fmt;
use std::sync::{Arc, OnceLock};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::ResourceExt as _;
use kube::runtime::reflector::Store;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::metrics::MetricType;

use crate::guarded::Guarded;
use crate::reason::Reason;
use crate::status::condition::{DURABLE, READY, RECONCILING, STALLED};

/// Asks the watches at each scrape.
#[derive(Clone, Default)]
pub(super) struct Conditions(Arc<OnceLock<Source>>);

enum Source {
    Watches(Vec<Store<Guarded>>),
    Example,
}

impl fmt::Debug for Conditions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Conditions")
    }
}

impl Conditions {
    pub(super) fn attend(&self, stores: Vec<Store<Guarded>>) {
        // Only the operator does, once.
        let _ = self.0.set(Source::Watches(stores));
    }

    pub(super) fn show_example(&self) {
        let _ = self.0.set(Source::Example);
    }
}

impl Collector for Conditions {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let help = "1 for the condition `Ready` of each resource, and for each other one that is not as it should be. Every Pod tells of all resources.";
        let mut family = encoder.encode_descriptor("buckethead_database_condition", help, None, MetricType::Gauge)?;
        let stores = match self.0.get() {
            None => &[][..],
            Some(Source::Watches(stores)) => stores,
            Some(Source::Example) => {
                let labels = ["namespace", "name", "type", "status", "reason"].map(|name| (name, ""));
                return family.encode_family(&labels)?.encode_gauge(&1_i64);
            }
        };
        let mut seen: Vec<_> = stores.iter().flat_map(Store::state).collect();
        seen.sort_by_cached_key(|seen| (seen.namespace(), seen.name_any()));
        for resource in seen.iter().filter_map(|seen| seen.0.as_ref().ok()) {
            let (namespace, name) = (resource.namespace().unwrap_or_default(), resource.name_any());
            for condition in resource.status.iter().flat_map(|status| &status.conditions).filter(|condition| is_told(condition)) {
                let Condition { type_, status, reason, .. } = condition;
                let labels = [("namespace", &*namespace), ("name", &name), ("type", type_), ("status", status), ("reason", reason)];
                family.encode_family(&labels)?.encode_gauge(&1_i64)?;
            }
        }
        Ok(())
    }
}

fn is_told(condition: &Condition) -> bool {
    let is_true = condition.status == "True";
    match &*condition.type_ {
        READY => true,
        // They are there only while they hold.
        RECONCILING | STALLED => is_true,
        // Commits reach the bucket, and somebody else writes there as well.
        DURABLE => !is_true || condition.reason == Reason::OutsideSnapshotKept.as_str(),
        _ => !is_true,
    }
}

#[cfg(test)]
mod tests {
    use kube::runtime::reflector::store;
    use kube::runtime::watcher::Event;
    use prometheus_client::encoding::text;
    use prometheus_client::registry::Registry;
    use serde_json::{Value, json};

    use super::*;
    use crate::fixtures;

    fn condition(kind: &str, status: &str, reason: &str) -> Value {
        json!({"type": kind, "status": status, "reason": reason, "message": "", "lastTransitionTime": "2026-11-23T08:00:00Z"})
    }

    #[test]
    fn what_is_not_as_it_should_be_is_told_with_its_reason_and_ready_always() {
        let conditions = [
            condition("Ready", "False", "MemoryBudget"),
            condition("Stalled", "True", "MemoryBudget"),
            condition("Durable", "Unknown", "MemoryBudget"),
            condition("Restored", "True", "Restored"),
        ];
        let resource = fixtures::resource(json!({"status": {"conditions": conditions}}));
        let (seen, mut writer) = store();
        writer.apply_watcher_event(&Event::Apply(Guarded(Ok(resource.clone()))));
        let (conditions, mut registry) = (Conditions::default(), Registry::default());
        registry.register_collector(Box::new(conditions.clone()));
        let told = || {
            let mut out = String::new();
            text::encode(&mut out, &registry).unwrap();
            out.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(told(), Vec::<String>::new(), "nothing is known yet");
        conditions.attend(vec![seen]);
        let of = |rest: &str| format!("buckethead_database_condition{{namespace=\"apps\",name=\"orders\",{rest}}} 1");
        assert_eq!(
            told(),
            [
                of("type=\"Ready\",status=\"False\",reason=\"MemoryBudget\""),
                of("type=\"Stalled\",status=\"True\",reason=\"MemoryBudget\""),
                of("type=\"Durable\",status=\"Unknown\",reason=\"MemoryBudget\""),
            ]
        );
        writer.apply_watcher_event(&Event::Delete(Guarded(Ok(resource))));
        assert_eq!(told(), Vec::<String>::new());
    }
}
