//! JSON as documents need it: no member twice, the order of members kept, numbers compared as numbers. Pure.
//!
//! Invariant: what is stored is the text that was given, so numbers and nested members stay as they were written.

use std::cmp::Ordering;
use std::collections::HashSet;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use serde_json::{Number, Value};

/// Reads JSON in which no object names a member twice: readers would not agree on which one counts.
pub(super) fn parse(text: &str) -> Result<Value, String> {
    serde_json::from_str::<Strict>(text).and_then(|Strict| serde_json::from_str(text)).map_err(|error| error.to_string())
}

/// The members of an object in their order, with the text of their values.
#[derive(Debug, Clone)]
pub(super) struct Members(pub(super) Vec<(String, Box<RawValue>)>);

impl Members {
    /// Reads an object. If it names a member twice, the last one counts, as in Python.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        serde_json::from_str(text).map_err(|error| error.to_string())
    }

    /// Sets a member where it stands, or behind all others.
    pub(super) fn set(&mut self, name: &str, value: Box<RawValue>) {
        match self.0.iter_mut().find(|(known, _)| known == name) {
            Some((_, place)) => *place = value,
            None => self.0.push((name.to_owned(), value)),
        }
    }

    /// As text again.
    pub(super) fn write(&self) -> String {
        let mut text = String::from("{");
        for (place, (name, value)) in self.0.iter().enumerate() {
            let comma = if place == 0 { "" } else { "," };
            text += comma;
            text += quoted(name).get();
            text.push(':');
            text += value.get();
        }
        text.push('}');
        text
    }
}

/// A text as a JSON string.
pub(super) fn quoted(text: &str) -> Box<RawValue> {
    serde_json::value::to_raw_value(text).expect("a string can be written as JSON")
}

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect;
        impl<'de> Visitor<'de> for Collect {
            type Value = Members;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                let mut members = Members(Vec::new());
                let mut seen = HashSet::new();
                while let Some((name, value)) = map.next_entry::<String, Box<RawValue>>()? {
                    if seen.insert(name.clone()) {
                        members.0.push((name, value));
                    } else {
                        members.set(&name, value);
                    }
                }
                Ok(members)
            }
        }
        deserializer.deserialize_map(Collect)
    }
}

/// Any JSON that names no member twice. Holds nothing: it only looks.
struct Strict;

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Look;
        impl<'de> Visitor<'de> for Look {
            type Value = Strict;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("JSON")
            }
            fn visit_unit<E>(self) -> Result<Strict, E> {
                Ok(Strict)
            }
            fn visit_bool<E>(self, _: bool) -> Result<Strict, E> {
                Ok(Strict)
            }
            fn visit_i64<E>(self, _: i64) -> Result<Strict, E> {
                Ok(Strict)
            }
            fn visit_u64<E>(self, _: u64) -> Result<Strict, E> {
                Ok(Strict)
            }
            fn visit_f64<E>(self, _: f64) -> Result<Strict, E> {
                Ok(Strict)
            }
            fn visit_str<E>(self, _: &str) -> Result<Strict, E> {
                Ok(Strict)
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Strict, A::Error> {
                while let Some(Strict) = elements.next_element()? {}
                Ok(Strict)
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Strict, A::Error> {
                let mut seen = HashSet::new();
                while let Some((name, Strict)) = map.next_entry::<String, Strict>()? {
                    if seen.contains(&name) {
                        return Err(A::Error::custom(format!("the member `{name}` is given twice")));
                    }
                    seen.insert(name);
                }
                Ok(Strict)
            }
        }
        deserializer.deserialize_any(Look)
    }
}

/// The order of all JSON values: null, numbers, texts, objects, arrays, false, true. Texts compare by their code points, objects by their
/// members in the order of their names, whatever order they stand in.
pub(super) fn compare(left: &Value, right: &Value) -> Ordering {
    match (left, right) {
        (Value::Null, Value::Null) => Ordering::Equal,
        (Value::Bool(left), Value::Bool(right)) => left.cmp(right),
        (Value::Number(left), Value::Number(right)) => compare_numbers(left, right),
        (Value::String(left), Value::String(right)) => left.cmp(right),
        (Value::Array(left), Value::Array(right)) => {
            all(left.iter().zip(right).map(|(left, right)| compare(left, right)), left.len(), right.len())
        }
        (Value::Object(left), Value::Object(right)) => {
            let members = left.iter().zip(right).map(|(left, right)| left.0.cmp(right.0).then_with(|| compare(left.1, right.1)));
            all(members, left.len(), right.len())
        }
        _ => rank(left).cmp(&rank(right)),
    }
}

/// Whether both have the same type, so that one can be said to be larger.
pub(super) fn same_type(left: &Value, right: &Value) -> bool {
    rank(left) == rank(right)
}

fn all(mut pairs: impl Iterator<Item = Ordering>, left: usize, right: usize) -> Ordering {
    pairs.find(|order| order.is_ne()).unwrap_or_else(|| left.cmp(&right))
}

fn rank(value: &Value) -> u8 {
    match value {
        Value::Null => 0,
        Value::Number(_) => 1,
        Value::String(_) => 2,
        Value::Object(_) => 3,
        Value::Array(_) => 4,
        Value::Bool(_) => 5,
    }
}

/// Exact, also between integers and reals beyond 2^53.
fn compare_numbers(left: &Number, right: &Number) -> Ordering {
    match (integer(left), integer(right)) {
        (Some(left), Some(right)) => left.cmp(&right),
        (Some(left), None) => with_real(left, real(right)),
        (None, Some(right)) => with_real(right, real(left)).reverse(),
        // Adding zero makes one zero of both.
        (None, None) => (real(left) + 0.0).total_cmp(&(real(right) + 0.0)),
    }
}

fn integer(number: &Number) -> Option<i128> {
    number.as_i64().map(i128::from).or_else(|| number.as_u64().map(i128::from))
}

pub(super) fn real(number: &Number) -> f64 {
    number.as_f64().expect("without the feature for arbitrary precision every number is one of these three")
}

/// An integer of up to 64 bits beside a real.
#[allow(clippy::cast_possible_truncation, reason = "a real of less than 10^30 fits when its fraction is cut off")]
fn with_real(integer: i128, real: f64) -> Ordering {
    const BEYOND: f64 = 1e30;
    if real.abs() >= BEYOND {
        return if real > 0.0 { Ordering::Less } else { Ordering::Greater };
    }
    let whole = real.floor();
    integer.cmp(&(whole as i128)).then(if real > whole { Ordering::Less } else { Ordering::Equal })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_member_given_twice_is_refused_however_deep_it_stands() {
        assert_eq!(parse(r#"{"a": [1, {"b": null}], "c": -1.5e3}"#), Ok(json!({"a": [1, {"b": null}], "c": -1500.0})));
        for text in [r#"{"a":1,"a":1}"#, r#"{"x":[{"a":1,"b":2,"a":1}]}"#, r#"{"a":1,"\u0061":2}"#] {
            assert!(parse(text).unwrap_err().contains("the member `a` is given twice"), "{text}");
        }
    }

    #[test]
    fn what_is_no_json_or_too_deep_is_refused() {
        let deep = "[".repeat(200) + &"]".repeat(200);
        for text in ["", "{", "{a:1}", "NaN", "[1,]", "\"\\ud800\"", "1e999", &deep] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn members_keep_their_order_and_the_text_of_their_values() {
        let mut members = Members::parse(r#"{ "z": 1.50, "a": {"y":2, "x":1}, "n": 12345678901234567890123 }"#).unwrap();
        members.set("a", quoted("ü\""));
        members.set("b", quoted(""));
        assert_eq!(members.write(), r#"{"z":1.50,"a":"ü\"","n":12345678901234567890123,"b":""}"#);
        assert_eq!(Members::parse(r#"{"a":1,"b":2,"a":3}"#).unwrap().write(), r#"{"a":3,"b":2}"#);
        assert!(Members::parse("[]").is_err());
    }

    #[test]
    fn numbers_compare_by_their_value_alone() {
        let order = |left: &str, right: &str| compare(&parse(left).unwrap(), &parse(right).unwrap());
        for (left, right) in [("1", "1.0"), ("0", "-0.0"), ("1e3", "1000"), ("18446744073709551615", "18446744073709551615")] {
            assert_eq!(order(left, right), Ordering::Equal, "{left} {right}");
        }
        for (left, right) in [
            ("1", "1.5"),
            ("-1.5", "-1"),
            ("9007199254740992.0", "9007199254740993"),
            ("9223372036854775807", "9223372036854775808"),
            ("18446744073709551615", "1e300"),
            ("-1e300", "-9223372036854775808"),
            ("-1", "18446744073709551615"),
        ] {
            assert_eq!(order(left, right), Ordering::Less, "{left} {right}");
            assert_eq!(order(right, left), Ordering::Greater, "{left} {right}");
        }
    }

    #[test]
    fn types_have_an_order_and_objects_are_compared_by_name() {
        let sorted = [
            json!(null),
            json!(-1),
            json!(2.5),
            json!(""),
            json!("a"),
            json!("é"),
            json!({}),
            json!({"a": 1}),
            json!({"a": 1, "b": 0}),
            json!({"b": 0}),
            json!([]),
            json!([1]),
            json!([1, 2]),
            json!([2]),
            json!(false),
            json!(true),
        ];
        for (place, left) in sorted.iter().enumerate() {
            for (other, right) in sorted.iter().enumerate() {
                assert_eq!(compare(left, right), place.cmp(&other), "{left} {right}");
            }
        }
        assert_eq!(compare(&parse(r#"{"a":1,"b":[2.0]}"#).unwrap(), &parse(r#"{"b":[2],"a":1.0}"#).unwrap()), Ordering::Equal);
    }
}
