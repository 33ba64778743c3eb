//! Reads a manifest as strictly as the API server with `kubectl` in front: for `dev`, which has neither.
//!
//! Owns: that both say yes to the same manifests. Does not own: the rules, which it takes from the schema.

use serde_json::Value;

use super::{BucketDatabase, crd};

/// Why a manifest is refused: one sentence for each fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.join("; "))]
pub struct Refused(Vec<String>);

/// The resource that a manifest declares, with the schema's defaults. Rules about changes are `validate_cel_update`'s.
pub fn admit(mut manifest: Value) -> Result<BucketDatabase, Refused> {
    remove_nulls(&mut manifest);
    let schema = crd().spec.versions.swap_remove(0).schema.and_then(|schema| schema.open_api_v3_schema);
    let schema = serde_json::to_value(schema).expect("a schema is plain data");
    let mut faults = Vec::new();
    check("spec", &manifest["spec"], &schema["properties"]["spec"], &mut faults);
    if !faults.is_empty() {
        return Err(Refused(faults));
    }
    let resource: BucketDatabase = crate::guarded::read(manifest).map_err(|error| Refused(vec![error]))?;
    match resource.validate_cel() {
        Ok(()) => Ok(resource),
        Err(faults) => Err(Refused(faults.as_slice().iter().map(ToString::to_string).collect())),
    }
}

/// A field that is null counts as absent.
fn remove_nulls(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|_, value| !value.is_null());
            fields.values_mut().for_each(remove_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(remove_nulls),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// What the types of the spec do not say by themselves: unknown fields and bounds.
fn check(path: &str, value: &Value, schema: &Value, faults: &mut Vec<String>) {
    let bound = |name: &str| schema[name].as_f64();
    let is_beyond = |least: &str, most: &str, number: f64| {
        bound(least).is_some_and(|least| number < least) || bound(most).is_some_and(|most| number > most)
    };
    let is_refused = match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                match schema["properties"].get(name) {
                    Some(schema) => check(&format!("{path}.{name}"), value, schema, faults),
                    None => faults.push(format!("there is no field `{path}.{name}`")),
                }
            }
            false
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                check(&format!("{path}[{index}]"), item, &schema["items"], faults);
            }
            is_beyond("minItems", "maxItems", length(items.len()))
        }
        Value::String(text) => is_beyond("minLength", "maxLength", length(text.chars().count())),
        Value::Number(number) => number.as_f64().is_some_and(|number| is_beyond("minimum", "maximum", number)),
        Value::Null | Value::Bool(_) => false,
    };
    if is_refused {
        faults.push(format!("{path}: longer, larger, shorter or smaller than it may be: {}", bounds(schema)));
    }
}

/// Of texts and lists in a manifest, far below what a float holds exactly.
fn length(count: usize) -> f64 {
    u32::try_from(count).unwrap_or(u32::MAX).into()
}

fn bounds(schema: &Value) -> String {
    let names = ["minItems", "maxItems", "minLength", "maxLength", "minimum", "maximum"];
    let said = names.iter().filter(|name| !schema[**name].is_null()).map(|name| format!("{name} {}", schema[*name]));
    said.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn manifest(spec: &Value) -> Value {
        json!({"apiVersion": "buckethead.dev/v1alpha1", "kind": "BucketDatabase", "metadata": {"name": "orders", "namespace": "apps"}, "spec": spec})
    }

    fn refusal(spec: &Value) -> String {
        admit(manifest(spec)).unwrap_err().to_string()
    }

    #[test]
    fn a_good_manifest_is_read_with_its_defaults() {
        let resource = admit(manifest(&json!({"bucket": "orders-data", "endpoint": null, "key": null}))).unwrap();
        assert_eq!((resource.spec.key.as_str(), resource.spec.endpoint), ("bucketsqlite/snap.db", None));
    }

    #[test]
    fn a_misspelt_field_is_named() {
        assert_eq!(refusal(&json!({"bucket": "orders-data", "limits": {"maxsize": "1Gi"}})), "there is no field `spec.limits.maxsize`");
        assert!(refusal(&json!({"bucket": "orders-data", "branches": [{"name": "a", "form": "b"}]})).contains("`spec.branches[0].form`"));
    }

    #[test]
    fn bounds_types_and_rules_of_the_schema_hold() {
        assert!(
            refusal(&json!({"bucket": "ab"}))
                .contains("spec.bucket: longer, larger, shorter or smaller than it may be: minLength 3, maxLength 63")
        );
        assert!(refusal(&json!({"bucket": "orders-data", "limits": {"maxRows": 0}})).contains("spec.limits.maxRows"));
        let branches: Vec<Value> = (0..65).map(|number| json!({"name": format!("b{number}")})).collect();
        assert!(refusal(&json!({"bucket": "orders-data", "branches": branches})).contains("maxItems 64"));
        assert!(refusal(&json!({})).contains("bucket"));
        assert!(refusal(&json!({"bucket": "orders-data", "interval": "soon"})).contains("`soon` is not a length of time"));
        assert!(refusal(&json!({"bucket": "orders-data", "key": "a.prev"})).contains("may not end in .prev"));
    }
}
