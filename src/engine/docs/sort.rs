//! In which order documents are found. Pure.

use std::cmp::Ordering;

use serde_json::Value;

use super::json::{self, Members};
use super::path::{Path, PathError};

/// By which paths documents are sorted, the first one first. Those that are alike in all of them stay in the order of their age.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sort(Vec<(Path, Direction)>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Direction {
    Up,
    Down,
}

/// What is wrong with a sort.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SortError {
    /// It has another form.
    #[error("the sort must be an object such as {{\"age\": -1, \"name\": 1}}: {0}")]
    Form(String),
    /// A path in it is none.
    #[error(transparent)]
    Path(#[from] PathError),
}

impl Sort {
    const MOST: usize = 16;

    /// Reads a JSON object of paths with 1, for the smallest value first, or -1. The order of its members counts.
    pub fn parse(text: &str) -> Result<Self, SortError> {
        json::parse(text).map_err(SortError::Form)?;
        let Members(members) = Members::parse(text).map_err(SortError::Form)?;
        if members.len() > Self::MOST {
            return Err(SortError::Form(format!("it has more than {} paths", Self::MOST)));
        }
        let by = members.into_iter().map(|(path, direction)| {
            let direction = match direction.get() {
                "1" => Direction::Up,
                "-1" => Direction::Down,
                other => return Err(SortError::Form(format!("behind `{path}` stands {}, neither 1 nor -1", cut(other)))),
            };
            Ok((Path::parse(&path)?, direction))
        });
        Ok(Self(by.collect::<Result<_, _>>()?))
    }

    /// What a document is sorted by.
    pub(super) fn key(&self, document: &Value) -> Vec<Value> {
        self.0.iter().map(|(path, direction)| value(path, *direction, document)).collect()
    }

    /// Which of two keys comes first.
    pub(super) fn compare(&self, left: &[Value], right: &[Value]) -> Ordering {
        let orders = self.0.iter().zip(left.iter().zip(right)).map(|((_, direction), (left, right))| match direction {
            Direction::Up => json::compare(left, right),
            Direction::Down => json::compare(right, left),
        });
        orders.fold(Ordering::Equal, Ordering::then)
    }
}

/// The smallest value at the path, or the largest if those come first; elements of an array count each by itself. Nothing counts as null.
fn value(path: &Path, direction: Direction, document: &Value) -> Value {
    let mut best: Option<&Value> = None;
    path.visit(document, &mut |found| {
        let values = match found {
            Some(Value::Array(elements)) => elements.as_slice(),
            Some(value) => std::slice::from_ref(value),
            None => &[],
        };
        for value in values {
            let is_better = best.is_none_or(|best| match direction {
                Direction::Up => json::compare(value, best).is_lt(),
                Direction::Down => json::compare(value, best).is_gt(),
            });
            if is_better {
                best = Some(value);
            }
        }
        false
    });
    best.cloned().unwrap_or_default()
}

fn cut(text: &str) -> String {
    text.chars().take(40).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn sorted(sort: &str, documents: &[Value]) -> Vec<Value> {
        let sort = Sort::parse(sort).unwrap();
        let mut documents = documents.to_vec();
        documents.sort_by(|left, right| sort.compare(&sort.key(left), &sort.key(right)));
        documents
    }

    #[test]
    fn types_have_a_place_and_nothing_counts_as_null() {
        let all = [
            json!({"a": true}),
            json!({"a": "x"}),
            json!({}),
            json!({"a": 2}),
            json!({"a": {"b": 1}}),
            json!({"a": null}),
            json!({"a": 1.5}),
        ];
        let up = sorted(r#"{"a":1}"#, &all);
        assert_eq!(
            up,
            [
                json!({}),
                json!({"a": null}),
                json!({"a": 1.5}),
                json!({"a": 2}),
                json!({"a": "x"}),
                json!({"a": {"b": 1}}),
                json!({"a": true})
            ]
        );
        let down = sorted(r#"{"a":-1}"#, &all);
        assert_eq!(down[0], json!({"a": true}));
        // Those that are alike stay as they were.
        assert_eq!(down[5..], [json!({}), json!({"a": null})]);
    }

    #[test]
    fn the_first_path_counts_first() {
        let all = [json!({"a": 1, "b": 1}), json!({"a": 2, "b": 2}), json!({"a": 1, "b": 3})];
        assert_eq!(sorted(r#"{"b":-1,"a":1}"#, &all)[0]["b"], 3);
        assert_eq!(sorted(r#"{"a":1,"b":-1}"#, &all), [all[2].clone(), all[0].clone(), all[1].clone()]);
    }

    #[test]
    fn an_array_is_sorted_by_the_element_that_comes_first() {
        let all = [json!({"a": [5, 1]}), json!({"a": 3}), json!({"a": [{"b": 9}, {"b": 0}]}), json!({"a": []})];
        assert_eq!(sorted(r#"{"a":1}"#, &all)[..3], [json!({"a": []}), json!({"a": [5, 1]}), json!({"a": 3})]);
        assert_eq!(sorted(r#"{"a":-1}"#, &all[..2])[0], json!({"a": [5, 1]}));
        assert_eq!(sorted(r#"{"a.b":-1}"#, &all)[0], all[2]);
    }

    #[test]
    fn what_is_no_sort_says_what_one_is() {
        for text in ["", "[]", r#"{"a":2}"#, r#"{"a":"asc"}"#, r#"{"a":1,"a":1}"#, r#"{"a":1.0}"#, r#"{"a..b":1}"#] {
            let said = Sort::parse(text).unwrap_err().to_string();
            assert!(said.contains("such as") || said.contains("empty name"), "{said}");
        }
        let many: Vec<String> = (0..17).map(|n| format!("\"a{n}\":1")).collect();
        assert!(Sort::parse(&format!("{{{}}}", many.join(","))).is_err());
        assert_eq!(Sort::parse("{}").unwrap(), Sort::default());
    }
}
