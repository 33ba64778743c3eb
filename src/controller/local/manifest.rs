//! From the text of a manifest to what it declares. Pure.
//!
//! Owns: which kinds are read, and what is said of a file that cannot be. Applies the defaults and rules of the schema, as the API server
//! would.

use std::collections::BTreeMap;

use engine::DatabaseName;
use k8s_openapi::api::core::v1::Secret;
use kube::{Resource as _, ResourceExt as _};
use serde_json::Value;

use crate::crd::{BucketDatabase, admit};
use crate::plan::name_of;
use crate::resolve::SecretData;

/// Where a resource lives that names no namespace.
const DEFAULT_NAMESPACE: &str = "default";

/// What one file declares.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Manifest {
    pub(super) databases: Vec<BucketDatabase>,
    pub(super) secrets: BTreeMap<DatabaseName, SecretData>,
    /// The kinds of what is not for us.
    pub(super) skipped: Vec<String>,
}

/// Reads all documents of a file, or says what is wrong with the first that is not sound.
pub(super) fn parse(text: &str) -> Result<Manifest, String> {
    let documents: Vec<Value> = serde_yaml::from_multiple(text).map_err(|error| format!("this is no YAML: {error}"))?;
    let mut manifest = Manifest::default();
    for document in documents.iter().filter(|document| !document.is_null()) {
        let kind = document["kind"].as_str().ok_or("a document has no `kind`")?;
        let api_version = document["apiVersion"].as_str().ok_or("a document has no `apiVersion`")?;
        if kind == BucketDatabase::kind(&()) && api_version == BucketDatabase::api_version(&()) {
            let resource = database(document)?;
            if manifest.databases.iter().any(|other| name_of(other) == name_of(&resource)) {
                return Err(format!("BucketDatabase {} is declared twice", name_of(&resource)));
            }
            manifest.databases.push(resource);
        } else if kind == "Secret" && api_version == "v1" {
            let (name, data) = secret(document)?;
            manifest.secrets.insert(name, data);
        } else {
            manifest.skipped.push(kind.to_owned());
        }
    }
    Ok(manifest)
}

fn database(document: &Value) -> Result<BucketDatabase, String> {
    let name = named(document)?;
    let mut resource = admit(document.clone()).map_err(|refused| format!("BucketDatabase {name}: {refused}"))?;
    resource.metadata.namespace.get_or_insert_with(|| DEFAULT_NAMESPACE.to_owned());
    Ok(resource)
}

fn secret(document: &Value) -> Result<(DatabaseName, SecretData), String> {
    let name = named(document)?;
    let secret: Secret = serde_json::from_value(document.clone()).map_err(|error| format!("Secret {name}: {error}"))?;
    let mut data: BTreeMap<String, Vec<u8>> = secret.data.unwrap_or_default().into_iter().map(|(key, value)| (key, value.0)).collect();
    data.extend(secret.string_data.unwrap_or_default().into_iter().map(|(key, value)| (key, value.into_bytes())));
    let namespace = secret.metadata.namespace.unwrap_or_else(|| DEFAULT_NAMESPACE.to_owned());
    Ok((DatabaseName::new(namespace, name), data.into()))
}

fn named(document: &Value) -> Result<&str, String> {
    let kind = document["kind"].as_str().unwrap_or_default();
    let name = document["metadata"]["name"].as_str().filter(|name| !name.is_empty());
    name.ok_or_else(|| format!("a {kind} has no `metadata.name`"))
}

/// Whether two states of a resource ask for the same.
pub(super) fn asks_the_same(one: &BucketDatabase, other: &BucketDatabase) -> bool {
    one.spec == other.spec && one.annotations() == other.annotations()
}

#[cfg(test)]
mod tests;
