//! Where in the index of a path the documents lie that a filter may mean. Pure.
//!
//! The index holds what `json_extract` makes of the value at the path: SQL's NULL where there is none, 0 and 1 for booleans, and the text of
//! arrays and objects. So several values share a place, and what is found there must still be asked.
//! Invariant: a document that the filter means lies in one of the spans. They are in order and apart, so none is found twice.

use std::cmp::Ordering;
use std::collections::BTreeSet;

use serde_json::{Number, Value};

use super::filter::{All, Clause, Filter, Relation, Test};
use super::json;
use super::path::Path;

/// A place in the index, in SQLite's order.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Place {
    Null,
    Number(f64),
    Text(String),
    /// Behind every text.
    End,
}

/// From one place to another, both inclusive.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Span {
    pub(super) from: Place,
    pub(super) to: Place,
}

/// Where to look.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Search {
    /// At every document of the collection.
    All,
    /// At those with these ids.
    Ids(BTreeSet<String>),
    /// At those in these spans of a path's index.
    Indexed(Path, Vec<Span>),
}

impl Search {
    /// The shortest way to what `filter` means, given the paths that have an index.
    pub(super) fn of(filter: &Filter, indexed: &[Path]) -> Self {
        let mut tests = Vec::new();
        conjuncts(&filter.0, &mut tests);
        if let Some(ids) = tests.iter().find_map(|(path, test)| if path.names() == ["_id"] { ids(test) } else { None }) {
            return Self::Ids(ids);
        }
        let search = |path: &Path| {
            let nested = path.names().len() > 1;
            let tests = tests.iter().filter(|(tested, _)| *tested == path).filter_map(|(_, test)| spans(test, nested));
            tests.reduce(|left, right| intersection(&left, &right)).map(|spans| (path.clone(), spans))
        };
        let best = indexed.iter().filter_map(search).min_by_key(|(_, spans)| openness(spans));
        best.map_or(Self::All, |(path, spans)| Self::Indexed(path, spans))
    }
}

/// What must hold in any case.
fn conjuncts<'a>(clauses: &'a All, tests: &mut Vec<(&'a Path, &'a Test)>) {
    for clause in clauses {
        match clause {
            Clause::Field(path, Test::All(all)) => tests.extend(all.iter().map(|test| (path, test))),
            Clause::Field(path, test) => tests.push((path, test)),
            Clause::And(filters) => filters.iter().for_each(|filter| conjuncts(filter, tests)),
            Clause::Or(_) | Clause::Nor(_) => {}
        }
    }
}

/// A document's own id is a text, and never an array of them.
fn ids(test: &Test) -> Option<BTreeSet<String>> {
    let Test::In(values) = test else { return None };
    Some(values.iter().filter_map(Value::as_str).map(str::to_owned).collect())
}

/// Where the documents lie that pass a test; `None` if that can be anywhere.
fn spans(test: &Test, nested: bool) -> Option<Vec<Span>> {
    let mut spans = match test {
        Test::In(values) => values.iter().map(of_value).collect::<Option<Vec<_>>>()?,
        Test::Compare(relation, than) => vec![of_relation(*relation, than)?],
        Test::Exists | Test::Regex(_) | Test::Element(_) | Test::Not(_) | Test::All(_) => return None,
    };
    if spans.is_empty() {
        return Some(spans);
    }
    // One of its elements may pass.
    spans.push(texts_from('['));
    if nested {
        // An array on the way to it has no value at the path, though its elements may have.
        spans.push(Span { from: Place::Null, to: Place::Null });
    }
    Some(union(spans))
}

/// Where documents lie whose value equals this one.
fn of_value(value: &Value) -> Option<Span> {
    let at = |place: Place| Span { from: place.clone(), to: place };
    Some(match value {
        Value::Null => at(Place::Null),
        Value::Bool(flag) => at(Place::Number(f64::from(u8::from(*flag)))),
        Value::Number(number) => around(number),
        // SQLite's JSON ends a text at a NUL.
        Value::String(text) if text.contains('\0') => return None,
        Value::String(text) => at(Place::Text(text.clone())),
        Value::Array(_) => texts_from('['),
        Value::Object(_) => texts_from('{'),
    })
}

/// Inclusive on both sides: a value that is cut off at a NUL may look like the bound itself.
fn of_relation(relation: Relation, than: &Value) -> Option<Span> {
    let Span { from, to } = of_value(than)?;
    Some(match (relation, than) {
        (_, Value::Bool(_)) => Span { from: Place::Number(0.0), to: Place::Number(1.0) },
        (Relation::Less | Relation::AtMost, Value::Number(_)) => Span { from: Place::Number(f64::NEG_INFINITY), to },
        (Relation::Greater | Relation::AtLeast, Value::Number(_)) => Span { from, to: Place::Number(f64::INFINITY) },
        (Relation::Less | Relation::AtMost, _) => Span { from: Place::Text(String::new()), to },
        (Relation::Greater | Relation::AtLeast, _) => Span { from, to: Place::End },
    })
}

/// A number with its neighbours: SQLite and we may read the digits of a real differently in the last place.
fn around(number: &Number) -> Span {
    let real = json::real(number);
    let (mut from, mut to) = (real, real);
    for _ in 0..4 {
        (from, to) = (from.next_down(), to.next_up());
    }
    Span { from: Place::Number(from), to: Place::Number(to) }
}

/// Where the texts lie that begin with this character.
fn texts_from(first: char) -> Span {
    let next = char::from_u32(u32::from(first) + 1).expect("a bracket is followed by a character");
    Span { from: Place::Text(first.to_string()), to: Place::Text(next.to_string()) }
}

fn union(mut spans: Vec<Span>) -> Vec<Span> {
    spans.sort_by(|left, right| left.from.compare(&right.from));
    let mut apart: Vec<Span> = Vec::with_capacity(spans.len());
    for span in spans {
        match apart.last_mut() {
            Some(last) if span.from.compare(&last.to).is_le() => {
                if span.to.compare(&last.to).is_gt() {
                    last.to = span.to;
                }
            }
            _ => apart.push(span),
        }
    }
    apart
}

fn intersection(left: &[Span], right: &[Span]) -> Vec<Span> {
    let both = left.iter().flat_map(|one| {
        right.iter().filter_map(move |other| {
            let from = if one.from.compare(&other.from).is_ge() { &one.from } else { &other.from };
            let to = if one.to.compare(&other.to).is_le() { &one.to } else { &other.to };
            from.compare(to).is_le().then(|| Span { from: from.clone(), to: to.clone() })
        })
    });
    union(both.collect())
}

/// How far the spans reach, roughly: first those that end on both sides, then few of them.
fn openness(spans: &[Span]) -> (usize, usize) {
    let open = spans.iter().filter(|span| {
        matches!(&span.from, Place::Number(from) if *from == f64::NEG_INFINITY)
            || matches!(&span.from, Place::Text(from) if from.is_empty())
            || matches!(&span.to, Place::Number(to) if *to == f64::INFINITY)
            || span.to == Place::End
    });
    (open.count(), spans.len())
}

impl Place {
    fn compare(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Number(left), Self::Number(right)) => left.total_cmp(right),
            (Self::Text(left), Self::Text(right)) => left.cmp(right),
            _ => self.rank().cmp(&other.rank()),
        }
    }

    fn rank(&self) -> u8 {
        match self {
            Self::Null => 0,
            Self::Number(_) => 1,
            Self::Text(_) => 2,
            Self::End => 3,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn search(filter: &str, indexed: &[&str]) -> Search {
        let paths: Vec<Path> = indexed.iter().map(|path| Path::parse(path).unwrap()).collect();
        Search::of(&Filter::parse(filter).unwrap(), &paths)
    }

    fn path_of(search: &Search) -> Option<String> {
        if let Search::Indexed(path, _) = search { Some(path.to_string()) } else { None }
    }

    fn text(from: &str, to: &str) -> Span {
        Span { from: Place::Text(from.to_owned()), to: Place::Text(to.to_owned()) }
    }

    fn null() -> Span {
        Span { from: Place::Null, to: Place::Null }
    }

    #[test]
    fn a_value_lies_at_its_place_or_in_an_array() {
        let Search::Indexed(_, spans) = search(r#"{"a": "x"}"#, &["a"]) else { panic!() };
        assert_eq!(spans, [text("[", "\\"), text("x", "x")]);
        let Search::Indexed(_, spans) = search(r#"{"a.b": "x"}"#, &["a.b"]) else { panic!() };
        assert_eq!(spans, [null(), text("[", "\\"), text("x", "x")]);
        let Search::Indexed(_, spans) = search(r#"{"a": null}"#, &["a"]) else { panic!() };
        assert_eq!(spans, [null(), text("[", "\\")]);
        assert_eq!(search(r#"{"a": {"$in": []}}"#, &["a"]), Search::Indexed(Path::parse("a").unwrap(), vec![]));
    }

    #[test]
    fn bounds_on_one_path_meet() {
        let Search::Indexed(_, spans) = search(r#"{"a": {"$gte": "b", "$lt": "d"}}"#, &["a"]) else { panic!() };
        assert_eq!(spans, [text("[", "\\"), text("b", "d")]);
        let Search::Indexed(_, spans) = search(r#"{"$and": [{"a": "x"}, {"a": {"$in": ["y", "z"]}}]}"#, &["a"]) else { panic!() };
        assert_eq!(spans, [text("[", "\\")]);
    }

    #[test]
    fn values_that_lie_together_are_looked_up_once() {
        let Search::Indexed(_, spans) = search(r#"{"a": {"$in": ["[", "x", "x", 1, 1.0, true]}}"#, &["a"]) else { panic!() };
        assert_eq!(spans.len(), 3, "{spans:?}");
    }

    #[test]
    fn an_id_needs_no_index_and_the_narrowest_index_is_taken() {
        let both = Search::Ids(["x".to_owned(), "y".to_owned()].into());
        assert_eq!(search(r#"{"_id": {"$in": ["x", "y", 1]}, "a": 1}"#, &["a"]), both);
        assert_eq!(path_of(&search(r#"{"a": {"$gt": 1}, "b": 2}"#, &["a", "b"])).as_deref(), Some("b"));
        assert_eq!(path_of(&search(r#"{"a": {"$gt": 1, "$lt": 2}, "b": {"$gt": 1}}"#, &["b", "a"])).as_deref(), Some("a"));
    }

    #[test]
    fn what_may_lie_anywhere_is_looked_for_everywhere() {
        for filter in [
            "{}",
            r#"{"b": 1}"#,
            r#"{"a": {"$ne": 1}}"#,
            r#"{"a": {"$exists": true}}"#,
            r#"{"a": {"$regex": "x"}}"#,
            r#"{"a": {"$elemMatch": {"$gt": 1}}}"#,
            r#"{"a": {"$not": {"$gt": 1}}}"#,
            r#"{"a": "x\u0000y"}"#,
            r#"{"$or": [{"a": 1}, {"a": 2}]}"#,
            r#"{"$nor": [{"a": 1}]}"#,
        ] {
            assert_eq!(search(filter, &["a", "a.b"]), Search::All, "{filter}");
        }
    }
}
