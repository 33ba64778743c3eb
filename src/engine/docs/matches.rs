//! Whether a document is one that a filter means. Pure.
//!
//! This is the meaning of filters: an index only leads to documents that might match. Documents are asked as Mongo does it: a test holds
//! at a path if it holds for one of the values there, or for an element of an array there.

use std::cmp::Ordering;

use serde_json::Value;

use super::filter::{All, Clause, Element, Filter, Relation, Test};
use super::json;

impl Filter {
    /// Whether it means this document.
    pub(super) fn matches(&self, document: &Value) -> bool {
        all(&self.0, document)
    }
}

fn all(clauses: &All, document: &Value) -> bool {
    clauses.iter().all(|clause| match clause {
        Clause::Field(path, test) => at(test, &mut |found| path.visit(document, found)),
        Clause::And(filters) => filters.iter().all(|filter| all(filter, document)),
        Clause::Or(filters) => filters.iter().any(|filter| all(filter, document)),
        Clause::Nor(filters) => !filters.iter().any(|filter| all(filter, document)),
    })
}

/// Shows the values at a path one after the other, until one is what was looked for.
type Visit<'v, 'a> = &'v mut dyn FnMut(&mut dyn FnMut(Option<&'a Value>) -> bool) -> bool;

fn at(test: &Test, visit: Visit<'_, '_>) -> bool {
    match test {
        Test::Not(test) => !at(test, visit),
        Test::All(tests) => tests.iter().all(|test| at(test, visit)),
        Test::Exists => visit(&mut |value| value.is_some()),
        Test::Element(element) => {
            visit(&mut |value| matches!(value, Some(Value::Array(elements)) if elements.iter().any(|one| fits(element, one))))
        }
        Test::In(_) | Test::Compare(..) | Test::Regex(_) => visit(&mut |value| {
            let value = value.unwrap_or(&Value::Null);
            holds(test, value) || value.as_array().is_some_and(|elements| elements.iter().any(|element| holds(test, element)))
        }),
    }
}

/// What is missing counts as null.
fn holds(test: &Test, value: &Value) -> bool {
    match test {
        Test::In(values) => values.iter().any(|wanted| json::compare(value, wanted).is_eq()),
        Test::Compare(relation, than) => json::same_type(value, than) && relation.holds(json::compare(value, than)),
        Test::Regex(regex) => value.as_str().is_some_and(|text| regex.is_match(text)),
        Test::Exists | Test::Element(_) | Test::Not(_) | Test::All(_) => at(test, &mut |found| found(Some(value))),
    }
}

fn fits(element: &Element, value: &Value) -> bool {
    match element {
        Element::Value(tests) => tests.iter().all(|test| at(test, &mut |found| found(Some(value)))),
        Element::Document(filter) => value.is_object() && all(filter, value),
    }
}

impl Relation {
    fn holds(self, order: Ordering) -> bool {
        match self {
            Self::Less => order.is_lt(),
            Self::AtMost => order.is_le(),
            Self::Greater => order.is_gt(),
            Self::AtLeast => order.is_ge(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// Each filter with documents that it means, and documents that it does not.
    #[track_caller]
    fn means(filter: &Value, these: &[Value], but_not: &[Value]) {
        let parsed = Filter::parse(&filter.to_string()).unwrap();
        for document in these {
            assert!(parsed.matches(document), "{filter} does not find {document}");
        }
        for document in but_not {
            assert!(!parsed.matches(document), "{filter} finds {document}");
        }
    }

    #[test]
    fn fields_are_anded_and_no_field_means_all() {
        means(&json!({}), &[json!({}), json!({"a": 1})], &[]);
        means(&json!({"a": 1, "b": 2}), &[json!({"a": 1, "b": 2, "c": 3})], &[json!({"a": 1}), json!({"a": 1, "b": 3})]);
    }

    #[test]
    fn equality_keeps_types_apart_and_numbers_together() {
        means(
            &json!({"a": 1}),
            &[json!({"a": 1}), json!({"a": 1.0})],
            &[json!({"a": true}), json!({"a": "1"}), json!({"a": null}), json!({})],
        );
        means(&json!({"a": true}), &[json!({"a": true})], &[json!({"a": 1}), json!({"a": "true"}), json!({"a": false})]);
        means(&json!({"a": "x"}), &[json!({"a": "x"})], &[json!({"a": "X"}), json!({"a": "x "})]);
        means(&json!({"a": ""}), &[json!({"a": ""})], &[json!({"a": null}), json!({})]);
        means(
            &json!({"a": 9_007_199_254_740_993_i64}),
            &[json!({"a": 9_007_199_254_740_993_i64})],
            &[json!({"a": 9_007_199_254_740_992_i64}), json!({"a": 9_007_199_254_740_992.0})],
        );
    }

    #[test]
    fn null_means_null_or_missing() {
        means(
            &json!({"a": null}),
            &[json!({"a": null}), json!({}), json!({"a": [1, null]})],
            &[json!({"a": 0}), json!({"a": []}), json!({"a": ""})],
        );
        means(
            &json!({"a.b": null}),
            &[json!({"a": 1}), json!({"a": {}}), json!({"a": [{"b": 1}, {}]})],
            &[json!({"a": {"b": 1}}), json!({"a": []})],
        );
        means(&json!({"a": {"$ne": null}}), &[json!({"a": 0})], &[json!({"a": null}), json!({})]);
        means(&json!({"a": {"$eq": null, "$exists": true}}), &[json!({"a": null})], &[json!({})]);
    }

    #[test]
    fn a_value_is_found_in_an_array_and_an_array_as_a_whole() {
        means(&json!({"a": "x"}), &[json!({"a": ["x", "y"]}), json!({"a": ["x"]})], &[json!({"a": [["x"]]}), json!({"a": []})]);
        means(
            &json!({"a": ["x", "y"]}),
            &[json!({"a": ["x", "y"]}), json!({"a": [["x", "y"]]})],
            &[json!({"a": ["y", "x"]}), json!({"a": ["x"]})],
        );
        means(&json!({"a": {"$gt": 5}}), &[json!({"a": [1, 9]})], &[json!({"a": [1, 5]}), json!({"a": ["9"]})]);
        means(&json!({"a": {"$ne": "x"}}), &[json!({"a": ["y"]}), json!({})], &[json!({"a": ["x", "y"]})]);
    }

    #[test]
    fn objects_are_equal_whatever_the_order_of_their_members() {
        let filter = json!({"a": {"x": 1, "y": [true, null]}});
        let same: Value = serde_json::from_str(r#"{"a": {"y": [true, null], "x": 1.0}}"#).unwrap();
        means(
            &filter,
            &[same],
            &[json!({"a": {"x": 1}}), json!({"a": {"x": 1, "y": [true, null], "z": 1}}), json!({"a": {"x": 1, "y": [1, null]}})],
        );
        means(&json!({"a": {}}), &[json!({"a": {}})], &[json!({"a": {"b": 1}}), json!({"a": []}), json!({})]);
    }

    #[test]
    fn relations_hold_within_one_type() {
        means(
            &json!({"a": {"$gt": 1, "$lte": 3}}),
            &[json!({"a": 2}), json!({"a": 3.0}), json!({"a": 1.1})],
            &[json!({"a": 1}), json!({"a": 4}), json!({"a": "2"}), json!({})],
        );
        means(
            &json!({"a": {"$gte": "b"}}),
            &[json!({"a": "b"}), json!({"a": "ü"})],
            &[json!({"a": "B"}), json!({"a": 9}), json!({"a": null})],
        );
        means(&json!({"a": {"$lt": true}}), &[json!({"a": false})], &[json!({"a": true}), json!({"a": 0})]);
        // Two bounds may be met by two elements.
        means(&json!({"a": {"$gt": 5, "$lt": 3}}), &[json!({"a": [1, 9]})], &[json!({"a": [4]})]);
    }

    #[test]
    fn lists_of_values_and_their_opposites() {
        means(
            &json!({"a": {"$in": [1, "x", null]}}),
            &[json!({"a": 1}), json!({"a": ["x"]}), json!({})],
            &[json!({"a": 2}), json!({"a": true})],
        );
        means(
            &json!({"a": {"$nin": [1, null]}}),
            &[json!({"a": 2}), json!({"a": []})],
            &[json!({"a": 1}), json!({"a": [1, 2]}), json!({})],
        );
        means(&json!({"a": {"$in": []}}), &[], &[json!({"a": 1}), json!({})]);
        means(&json!({"a": {"$nin": []}}), &[json!({"a": 1}), json!({})], &[]);
        means(&json!({"a": {"$in": [[1]]}}), &[json!({"a": [1]}), json!({"a": [[1]]})], &[json!({"a": 1})]);
    }

    #[test]
    fn existing_means_to_be_there_even_as_null() {
        means(&json!({"a": {"$exists": true}}), &[json!({"a": null}), json!({"a": []})], &[json!({}), json!({"b": 1})]);
        means(
            &json!({"a.b": {"$exists": false}}),
            &[json!({}), json!({"a": 1}), json!({"a": []})],
            &[json!({"a": {"b": null}}), json!({"a": [{}, {"b": 1}]})],
        );
    }

    #[test]
    fn combinations_mean_what_they_say() {
        means(&json!({"$or": [{"a": 1}, {"b": 1}], "c": 1}), &[json!({"b": 1, "c": 1})], &[json!({"a": 1}), json!({"c": 1})]);
        means(&json!({"$and": [{"a": {"$gt": 1}}, {"a": {"$lt": 3}}]}), &[json!({"a": 2})], &[json!({"a": 3})]);
        means(&json!({"$nor": [{"a": 1}, {"b": 1}]}), &[json!({}), json!({"a": 2})], &[json!({"a": 1}), json!({"b": 1, "a": 2})]);
        means(
            &json!({"a": {"$not": {"$gt": 1}}}),
            &[json!({"a": 1}), json!({}), json!({"a": "x"})],
            &[json!({"a": 2}), json!({"a": [0, 2]})],
        );
        means(&json!({"a": {"$not": {"$gt": 1, "$lt": 3}}}), &[json!({"a": 3})], &[json!({"a": 2})]);
    }

    #[test]
    fn regular_expressions_look_into_strings_alone() {
        means(
            &json!({"a": {"$regex": "^x.z$"}}),
            &[json!({"a": "xyz"}), json!({"a": ["", "xyz"]})],
            &[json!({"a": "xyzz"}), json!({"a": 1}), json!({})],
        );
        means(&json!({"a": {"$regex": "GRÜ", "$options": "i"}}), &[json!({"a": "grüße"})], &[json!({"a": "gruss"})]);
        means(&json!({"a": {"$not": {"$regex": "x"}}}), &[json!({"a": "y"}), json!({})], &[json!({"a": "x"})]);
    }

    #[test]
    fn one_element_must_fit_whole() {
        let both = json!({"a": {"$elemMatch": {"$gt": 1, "$lt": 3}}});
        means(&both, &[json!({"a": [0, 2]})], &[json!({"a": [0, 4]}), json!({"a": 2}), json!({"a": []})]);
        let document = json!({"a": {"$elemMatch": {"x": 1, "y": {"$ne": 2}}}});
        means(
            &document,
            &[json!({"a": [{"x": 1, "y": 3}]}), json!({"a": [{"x": 1}]})],
            &[json!({"a": [{"x": 1, "y": 2}, {"y": 3}]}), json!({"a": {"x": 1}})],
        );
        means(&json!({"a": {"$elemMatch": {"$or": [{"x": 1}, {"y": 1}]}}}), &[json!({"a": [{"y": 1}]})], &[json!({"a": [1]})]);
    }

    #[test]
    fn paths_walk_through_members_elements_and_odd_names() {
        means(
            &json!({"a.b": 1}),
            &[json!({"a": {"b": 1}}), json!({"a": [{"b": 2}, {"b": 1}]}), json!({"a": {"b": [1]}})],
            &[json!({"a.b": 1}), json!({"a": 1})],
        );
        means(&json!({"a.1": 5}), &[json!({"a": [0, 5]}), json!({"a": {"1": 5}})], &[json!({"a": [5]}), json!({"a": 5})]);
        means(&json!({r#""a.b""#: 1}), &[json!({"a.b": 1})], &[json!({"a": {"b": 1}})]);
        means(&json!({r"a'b$ü": 1}), &[json!({r"a'b$ü": 1})], &[json!({})]);
    }
}
