//! The body of a batch: `{"operations": [{"set": "key", "value": …}, {"delete": "key"}]}`.

use base64::Engine as _;
use engine::kv::{Key, KvChange};
use serde::Deserialize;
use utoipa::ToSchema;

use crate::body::BASE64;
use crate::error::Problem;

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = KeyBatch)]
pub(super) struct Batch {
    operations: Vec<Operation>,
}

/// `set` with `value`, or `delete`.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = KeyChange)]
struct Operation {
    set: Option<String>,
    value: Option<Value>,
    delete: Option<String>,
}

#[derive(Deserialize, ToSchema)]
#[schema(as = KeyValue)]
#[serde(untagged, expecting = "a value is a string or {\"base64\": …}")]
enum Value {
    Text(String),
    Bytes(Base64),
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = KeyBytes)]
struct Base64 {
    base64: String,
}

/// The changes in their order. Errors name the operation.
pub(super) fn parse(body: &str) -> Result<Vec<KvChange>, Problem> {
    let batch: Batch = serde_json::from_str(body).map_err(|error| Problem::bad_request(format!("the body: {error}")))?;
    let changes = batch
        .operations
        .into_iter()
        .enumerate()
        .map(|(index, operation)| change(operation).map_err(|problem| Problem::bad_request(format!("operations[{index}]: {problem}"))));
    changes.collect()
}

fn change(operation: Operation) -> Result<KvChange, String> {
    let key = |text: String| Key::parse(text).map_err(|error| error.to_string());
    match operation {
        Operation { set: Some(set), value: Some(value), delete: None } => {
            let value = match value {
                Value::Text(text) => text.into_bytes(),
                Value::Bytes(Base64 { base64 }) => BASE64.decode(base64).map_err(|error| format!("`base64` is not base64: {error}"))?,
            };
            Ok(KvChange::Set { key: key(set)?, value: value.into() })
        }
        Operation { set: None, value: None, delete: Some(delete) } => Ok(KvChange::Delete { key: key(delete)? }),
        _ => Err("give `set` with `value`, or `delete`".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_are_read_in_their_order() {
        let body = r#"{"operations": [{"set": "a", "value": "ü"}, {"set": "b", "value": {"base64": "AP8"}}, {"delete": "c"}]}"#;
        let key = |text: &str| Key::parse(text).unwrap();
        assert_eq!(
            parse(body).unwrap(),
            [
                KvChange::Set { key: key("a"), value: "ü".into() },
                KvChange::Set { key: key("b"), value: b"\0\xff"[..].into() },
                KvChange::Delete { key: key("c") }
            ]
        );
        assert_eq!(parse(r#"{"operations": []}"#), Ok(Vec::new()));
    }

    #[test]
    fn what_is_wrong_is_told_by_the_number_of_its_operation() {
        for operation in [
            "{}",
            r#"{"set": "a"}"#,
            r#"{"set": "a", "delete": "a", "value": ""}"#,
            r#"{"delete": "a", "value": "x"}"#,
            r#"{"set": "", "value": "x"}"#,
            r#"{"set": "a\u0000", "value": "x"}"#,
            r#"{"set": "a", "value": {"base64": "?"}}"#,
        ] {
            let detail = parse(&format!("{{\"operations\": [{{\"delete\": \"x\"}}, {operation}]}}")).unwrap_err().detail;
            assert!(detail.starts_with("operations[1]: "), "{detail}");
        }
        for body in ["", "[]", "{}", r#"{"operations": [{"set": "a", "value": 1}]}"#, r#"{"operations": [], "x": 1}"#] {
            assert!(parse(body).unwrap_err().detail.starts_with("the body: "), "{body}");
        }
    }
}
