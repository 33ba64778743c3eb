//! Which fields of a spec ask for parts that this build does not have.
//!
//! Owns: the list of such parts. Whoever builds one removes its lines here.
//! Invariant: a field is never ignored: it works, or it is in this list when it differs from its default.

use super::{BucketDatabaseSpec, Durability};

/// A field that is set to what this build cannot do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unsupported {
    /// Where it stands, such as `spec.durability.mode`.
    pub field: &'static str,
    /// Why it is refused, and what to write instead.
    pub reason: &'static str,
}

impl std::fmt::Display for Unsupported {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.field, self.reason)
    }
}

const VERIFY: &str = "this version does not verify by itself: remove the field";

/// What the spec asks for and this build cannot do, in the order of the schema; empty if nothing.
pub fn unsupported(spec: &BucketDatabaseSpec) -> Vec<Unsupported> {
    let mut found = Found(Vec::new());
    found.durability(&spec.durability);
    found.0
}

struct Found(Vec<Unsupported>);

impl Found {
    fn check(&mut self, is_asked: bool, field: &'static str, reason: &'static str) {
        if is_asked {
            self.0.push(Unsupported { field, reason });
        }
    }

    fn durability(&mut self, asked: &Durability) {
        let known = Durability::default();
        self.check(asked.verify_interval != known.verify_interval, "spec.durability.verifyInterval", VERIFY);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn fields(spec: Value) -> Vec<&'static str> {
        let spec: BucketDatabaseSpec = serde_json::from_value(spec).unwrap();
        unsupported(&spec).into_iter().map(|unsupported| unsupported.field).collect()
    }

    #[test]
    fn what_this_build_does_is_not_refused() {
        assert_eq!(fields(json!({"bucket": "b-1"})), Vec::<&str>::new());
        let spec = json!({
            "bucket": "b-1", "key": "k", "endpoint": "https://minio.storage:9000", "region": "us-east-1", "interval": "5s", "minInterval": "1s",
            "keepPrevious": false, "endpointTls": {"caRef": {"name": "ca"}}, "encryption": {"kmsKeyId": "k"},
            "credentials": {"secretRef": {"name": "s"}}, "snapshotInterval": "2h", "files": {"prefix": "blobs/", "gc": {"schedule": "@daily", "graceSeconds": 1, "dryRun": true, "includeUnowned": true}},
            "limits": {"maxSize": "1Gi", "statementTimeout": "1s", "maxRows": 5, "maxResultSize": "1Mi"},
            "api": {"auth": "None", "tokenSecretRef": {"name": "t"}, "branches": "Write", "service": true},
            "branch": "next", "branches": [{"name": "next", "deletionPolicy": "Delete"}, {"name": "later", "from": "next", "txid": 3}, {"name": "then", "at": "2026-11-23T08:00:00Z"}],
            "promotion": {"id": "1", "from": {"branch": "next"}}, "durability": {"mode": "snapshot", "retention": "48h", "streamInterval": "2s", "maxLag": "1m", "onMaxLag": "Continue", "unsafeSingleWriter": true},
            "suspend": true, "deletionPolicy": "Delete",
        });
        assert_eq!(fields(spec), Vec::<&str>::new());
        assert_eq!(fields(json!({"bucket": "b-1", "durability": {"mode": "sync"}})), Vec::<&str>::new());
        assert_eq!(fields(json!({"bucket": "b-1", "api": {"auth": "Kubernetes"}})), Vec::<&str>::new());
    }

    #[test]
    fn each_field_of_an_unbuilt_part_is_refused_when_it_differs_from_its_default() {
        let each = [(json!({"durability": {"verifyInterval": "0s"}}), "spec.durability.verifyInterval")];
        for (mut spec, field) in each {
            spec["bucket"] = json!("b-1");
            assert_eq!(fields(spec), [field]);
        }
    }
}
