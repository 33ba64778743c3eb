//! The `CustomResourceDefinition`, as an object and as the text of `crds/`.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;
use serde_json::Value;

use super::BucketDatabase;

/// The definition of `BucketDatabase`.
pub fn crd() -> CustomResourceDefinition {
    let mut definition = serde_json::to_value(BucketDatabase::crd()).expect("the derived definition is plain data");
    tidy(&mut definition);
    serde_json::from_value(definition).expect("tidying leaves it a definition")
}

/// Drops `nullable`: a null field then counts as absent, while the API server would store the null, and `has()` would find it.
/// Joins the lines of descriptions, since `kubectl explain` breaks them by itself.
fn tidy(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|name, value| name != "nullable" || !value.is_boolean());
            if let Some(Value::String(description)) = fields.get_mut("description") {
                *description = description.replace("\n\n", "\0").replace('\n', " ").replace('\0', "\n\n");
            }
            fields.values_mut().for_each(tidy);
        }
        Value::Array(items) => items.iter_mut().for_each(tidy),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// The definition as YAML, the same text each time.
pub fn crd_yaml() -> String {
    let mut definition = serde_json::to_value(crd()).expect("the definition is plain data");
    write_whole_numbers(&mut definition);
    let yaml = serde_yaml::to_string(&definition).expect("plain data has a YAML form");
    format!("# Printed by `buckethead crd`; do not edit.\n---\n{yaml}")
}

/// The definition's type holds bounds as floating point; `minimum: 1.0` would say something else to a reader.
fn write_whole_numbers(value: &mut Value) {
    match value {
        Value::Object(fields) => fields.values_mut().for_each(write_whole_numbers),
        Value::Array(items) => items.iter_mut().for_each(write_whole_numbers),
        Value::Number(number) => {
            if let Some(whole) = number.as_f64().and_then(|float| format!("{float}").parse::<i64>().ok()) {
                *number = whole.into();
            }
        }
        Value::Null | Value::Bool(_) | Value::String(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folder_crds_holds_what_the_types_say() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../crds/buckethead.dev_bucketdatabases.yaml");
        let stored = std::fs::read_to_string(path).unwrap_or_default();
        assert!(stored == crd_yaml(), "{path} is out of date; renew it with: cargo run -- crd > crds/buckethead.dev_bucketdatabases.yaml");
    }

    #[test]
    fn no_field_is_nullable() {
        assert!(!crd_yaml().contains("nullable"));
    }
}
