//! A resource as the API server gives it, whether it can be read or not.
//!
//! Owns: that one resource that another version of the definition let in does not end the watch of all others, and that its fault is told with
//! the field. Does not own: what is done about it (`reconcile`).

use std::borrow::Cow;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use kube::core::NamespaceResourceScope;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use crate::crd::BucketDatabase;

/// A resource, or what is known of one that cannot be read.
#[derive(Debug, Clone)]
pub(crate) struct Guarded(pub(crate) Result<BucketDatabase, Unreadable>);

/// A resource that cannot be read.
#[derive(Debug, Clone)]
pub(crate) struct Unreadable {
    /// Enough to tell its owner, and to let it go.
    pub(crate) metadata: ObjectMeta,
    /// The field, and what is wrong with it.
    pub(crate) error: String,
}

/// Reads a resource. The error names the field.
pub(crate) fn read(value: Value) -> Result<BucketDatabase, String> {
    serde_path_to_error::deserialize(value).map_err(|error| error.to_string())
}

impl<'de> Deserialize<'de> for Guarded {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        // Without these it is no object at all.
        let metadata = ObjectMeta::deserialize(&value["metadata"]).map_err(D::Error::custom)?;
        Ok(Self(read(value).map_err(|error| Unreadable { metadata, error })))
    }
}

impl Resource for Guarded {
    type DynamicType = ();
    type Scope = NamespaceResourceScope;

    fn kind((): &()) -> Cow<'_, str> {
        BucketDatabase::kind(&())
    }

    fn group((): &()) -> Cow<'_, str> {
        BucketDatabase::group(&())
    }

    fn version((): &()) -> Cow<'_, str> {
        BucketDatabase::version(&())
    }

    fn plural((): &()) -> Cow<'_, str> {
        BucketDatabase::plural(&())
    }

    fn meta(&self) -> &ObjectMeta {
        match &self.0 {
            Ok(resource) => resource.meta(),
            Err(unreadable) => &unreadable.metadata,
        }
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        match &mut self.0 {
            Ok(resource) => resource.meta_mut(),
            Err(unreadable) => &mut unreadable.metadata,
        }
    }
}

#[cfg(test)]
mod tests {
    use kube::ResourceExt as _;
    use serde_json::json;

    use super::*;

    fn guarded(spec: &Value) -> Guarded {
        let metadata = json!({"name": "orders", "namespace": "apps", "uid": "u", "finalizers": ["buckethead.dev/final-flush"]});
        serde_json::from_value(
            json!({"apiVersion": "buckethead.dev/v1alpha1", "kind": "BucketDatabase", "metadata": metadata, "spec": spec}),
        )
        .unwrap()
    }

    #[test]
    fn what_cannot_be_read_names_its_field_and_keeps_its_metadata() {
        for (spec, words) in [
            (json!({"bucket": "orders-data", "interval": 60}), "spec.interval: "),
            (json!({"bucket": "orders-data", "branches": [{"name": "a"}, {"nam": "b"}]}), "spec.branches[1]: missing field `name`"),
            (json!({}), "spec: missing field `bucket`"),
        ] {
            let guarded = guarded(&spec);
            assert_eq!((guarded.name_any().as_str(), guarded.finalizers().len()), ("orders", 1));
            let error = guarded.0.unwrap_err().error;
            assert!(error.starts_with(words), "{error}");
        }
        assert_eq!(guarded(&json!({"bucket": "orders-data"})).0.unwrap().spec.bucket, "orders-data");
    }

    #[test]
    fn what_has_no_metadata_is_no_object() {
        serde_json::from_value::<Guarded>(json!({"metadata": 7, "spec": {"bucket": "orders-data"}})).unwrap_err();
    }
}
