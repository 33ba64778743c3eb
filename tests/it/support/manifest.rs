//! Resources as values, so that a test shows only what it is about.

use serde_json::{Value, json};

use super::store::{Account, Place};

/// The name of a test's only database, and of its Secret.
pub(crate) const DATABASE: &str = "orders";

/// A Kubernetes object that is about to be applied.
#[derive(Debug, Clone)]
pub(crate) struct Resource(Value);

impl Resource {
    /// A database at `key`, with the credentials in the Secret [`DATABASE`], saved only when asked or at the end.
    pub(crate) fn database(name: &str, place: &Place, key: &str) -> Self {
        Self(json!({
            "apiVersion": "buckethead.dev/v1alpha1",
            "kind": "BucketDatabase",
            "metadata": {"name": name},
            "spec": {
                "bucket": place.bucket,
                "key": key,
                "endpoint": place.account.endpoint,
                "region": place.account.region,
                "credentials": {"secretRef": {"name": DATABASE}},
                "interval": "1h",
                "durability": {"mode": "snapshot", "retention": "0s"},
            },
        }))
    }

    /// The same as most people have it: what changed goes to the bucket by itself, this long after a commit.
    pub(crate) fn streaming(name: &str, place: &Place, key: &str, interval: &str) -> Self {
        Self::database(name, place, key).with("/spec/durability", json!({"streamInterval": interval}))
    }

    /// The same where a reply means that the bucket has it.
    pub(crate) fn synced(name: &str, place: &Place, key: &str) -> Self {
        Self::database(name, place, key).with("/spec/durability", json!({"mode": "sync"}))
    }

    /// A resource whose spec is still to be given.
    pub(crate) fn empty(name: &str) -> Self {
        Self(json!({"apiVersion": "buckethead.dev/v1alpha1", "kind": "BucketDatabase", "metadata": {"name": name}, "spec": {}}))
    }

    /// A database as a folder of `dev` declares it: the store is the embedded one.
    pub(crate) fn local(name: &str, bucket: &str) -> Self {
        Self(json!({
            "apiVersion": "buckethead.dev/v1alpha1",
            "kind": "BucketDatabase",
            "metadata": {"name": name},
            "spec": {"bucket": bucket, "key": "app.db", "interval": "1h", "durability": {"mode": "snapshot", "retention": "0s"}},
        }))
    }

    /// The Secret [`DATABASE`] with the keys of an account.
    pub(crate) fn credentials(account: &Account) -> Self {
        Self(json!({
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": DATABASE},
            "stringData": {"AWS_ACCESS_KEY_ID": account.access_key_id, "AWS_SECRET_ACCESS_KEY": account.secret_access_key},
        }))
    }

    /// Several, applied at once.
    pub(crate) fn list(resources: impl Iterator<Item = Self>) -> Self {
        let items: Vec<Value> = resources.map(|resource| resource.0).collect();
        Self(json!({"apiVersion": "v1", "kind": "List", "items": items}))
    }

    /// The same with one more field, named by a JSON pointer.
    pub(crate) fn with(mut self, pointer: &str, value: impl Into<Value>) -> Self {
        let (parent, field) = pointer.rsplit_once('/').unwrap();
        self.0.pointer_mut(parent).unwrap()[field] = value.into();
        self
    }

    /// The same without a field.
    pub(crate) fn without(mut self, pointer: &str) -> Self {
        let (parent, field) = pointer.rsplit_once('/').unwrap();
        self.0.pointer_mut(parent).unwrap().as_object_mut().unwrap().remove(field).unwrap();
        self
    }

    /// JSON is YAML.
    pub(crate) fn yaml(&self) -> String {
        self.0.to_string()
    }
}
