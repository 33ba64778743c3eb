//! What a query asks of documents, as it is written and as it is kept. Pure.
//!
//! Owns: which operators there are and what may stand behind them. Does not own: what they mean (`docs/matches.rs`).
//! Invariant: a filter that exists is valid and of bounded size; nothing of its text becomes SQL.

use regex::{Regex, RegexBuilder};
use serde_json::{Map, Value};

use super::json;
use super::path::{Path, PathError};

/// Which documents are meant.
#[derive(Debug, Clone, Default)]
pub struct Filter(pub(super) All);

/// What is wrong with a filter, and what to write instead.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FilterError {
    /// It is no JSON.
    #[error("the filter is not JSON: {0}")]
    Json(String),
    /// A path in it is none.
    #[error(transparent)]
    Path(#[from] PathError),
    /// An operator that there is not, or not at this place.
    #[error("{operator} is not known {place}; there are {known}")]
    Unknown {
        /// As it was written.
        operator: String,
        /// Where it stands.
        place: &'static str,
        /// What may stand there.
        known: &'static str,
    },
    /// An operator with something that it does not take.
    #[error("{operator} takes {expected}")]
    Operand {
        /// The operator.
        operator: String,
        /// What it takes.
        expected: &'static str,
    },
    /// A regular expression that cannot be used.
    #[error("$regex: {0}")]
    Regex(String),
    /// It asks too much.
    #[error("the filter has more than {limit} {what}")]
    TooLarge {
        /// How many there may be.
        limit: usize,
        /// Of what.
        what: &'static str,
    },
}

/// All of these hold.
pub(super) type All = Vec<Clause>;

#[derive(Debug, Clone)]
pub(super) enum Clause {
    /// What is at the path passes the test.
    Field(Path, Test),
    And(Vec<All>),
    Or(Vec<All>),
    Nor(Vec<All>),
}

/// What is asked of a value, or of the elements of an array.
#[derive(Debug, Clone)]
pub(super) enum Test {
    In(Vec<Value>),
    /// Of the same type as the value, and in this relation to it.
    Compare(Relation, Value),
    Exists,
    Regex(Regex),
    /// An array of which one element fits.
    Element(Element),
    Not(Box<Test>),
    /// All of these, each by a value of its own.
    All(Vec<Test>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Relation {
    Less,
    AtMost,
    Greater,
    AtLeast,
}

#[derive(Debug, Clone)]
pub(super) enum Element {
    /// One that passes all of these tests itself.
    Value(Vec<Test>),
    /// One that is a document of this kind.
    Document(All),
}

const OPERATORS: &str = "$eq, $ne, $gt, $gte, $lt, $lte, $in, $nin, $exists, $not, $regex (with $options) and $elemMatch";
const COMBINATIONS: &str = "paths, $and, $or and $nor";

impl Filter {
    /// How deep clauses and tests stand in each other.
    const DEEPEST: usize = 32;
    /// Clauses, tests, and values of `$in` and `$nin` together.
    const MOST: usize = 2000;
    /// Each is a program of its own.
    const MOST_REGEXES: usize = 16;
    /// In bytes.
    const LONGEST_REGEX: usize = 1024;
    /// In bytes, compiled.
    const LARGEST_REGEX: usize = 256 << 10;

    /// Reads a filter: a JSON object.
    pub fn parse(text: &str) -> Result<Self, FilterError> {
        match json::parse(text).map_err(FilterError::Json)? {
            Value::Object(fields) => Ok(Self(Parser::default().all(fields, 0)?)),
            _ => Err(operand("the filter", "an object, such as {\"age\": {\"$gte\": 18}}")),
        }
    }

    /// Whether every document is meant.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

fn operand(operator: &str, expected: &'static str) -> FilterError {
    FilterError::Operand { operator: operator.to_owned(), expected }
}

/// Counts what it reads.
#[derive(Default)]
struct Parser {
    parts: usize,
    regexes: usize,
}

impl Parser {
    fn count(&mut self, parts: usize, depth: usize) -> Result<(), FilterError> {
        self.parts += parts;
        if self.parts > Filter::MOST {
            return Err(FilterError::TooLarge { limit: Filter::MOST, what: "clauses and values" });
        }
        if depth > Filter::DEEPEST {
            return Err(FilterError::TooLarge { limit: Filter::DEEPEST, what: "levels of operators" });
        }
        Ok(())
    }

    fn all(&mut self, fields: Map<String, Value>, depth: usize) -> Result<All, FilterError> {
        self.count(fields.len(), depth)?;
        fields.into_iter().map(|(name, value)| self.clause(name, value, depth)).collect()
    }

    fn clause(&mut self, name: String, value: Value, depth: usize) -> Result<Clause, FilterError> {
        match name.as_str() {
            "$and" => Ok(Clause::And(self.list(&name, value, depth)?)),
            "$or" => Ok(Clause::Or(self.list(&name, value, depth)?)),
            "$nor" => Ok(Clause::Nor(self.list(&name, value, depth)?)),
            operator if operator.starts_with('$') => {
                Err(FilterError::Unknown { operator: name, place: "in the place of a path", known: COMBINATIONS })
            }
            path => Ok(Clause::Field(Path::parse(path)?, self.field(value, depth)?)),
        }
    }

    fn list(&mut self, operator: &str, value: Value, depth: usize) -> Result<Vec<All>, FilterError> {
        const EXPECTED: &str = "an array of one or more filters";
        let Value::Array(filters) = value else { return Err(operand(operator, EXPECTED)) };
        if filters.is_empty() {
            return Err(operand(operator, EXPECTED));
        }
        self.count(filters.len(), depth)?;
        let filter = |filter| match filter {
            Value::Object(fields) => self.all(fields, depth + 1),
            _ => Err(operand(operator, EXPECTED)),
        };
        filters.into_iter().map(filter).collect()
    }

    /// A value alone means equality.
    fn field(&mut self, value: Value, depth: usize) -> Result<Test, FilterError> {
        match value {
            Value::Object(operators) if has_operators(&operators) => Ok(Test::All(self.tests(operators, depth + 1)?)),
            value => Ok(Test::In(vec![value])),
        }
    }

    fn tests(&mut self, mut operators: Map<String, Value>, depth: usize) -> Result<Vec<Test>, FilterError> {
        self.count(operators.len(), depth)?;
        let options = operators.remove("$options");
        if options.is_some() && !operators.contains_key("$regex") {
            return Err(operand("$options", "its place beside a $regex"));
        }
        operators.into_iter().map(|(operator, value)| self.test(operator, value, options.as_ref(), depth)).collect()
    }

    fn test(&mut self, operator: String, value: Value, options: Option<&Value>, depth: usize) -> Result<Test, FilterError> {
        let not = |test| Test::Not(Box::new(test));
        match operator.as_str() {
            "$eq" => Ok(Test::In(vec![value])),
            "$ne" => Ok(not(Test::In(vec![value]))),
            "$gt" => comparison(&operator, Relation::Greater, value),
            "$gte" => comparison(&operator, Relation::AtLeast, value),
            "$lt" => comparison(&operator, Relation::Less, value),
            "$lte" => comparison(&operator, Relation::AtMost, value),
            "$in" => Ok(Test::In(self.values(&operator, value, depth)?)),
            "$nin" => Ok(not(Test::In(self.values(&operator, value, depth)?))),
            "$exists" => match value {
                Value::Bool(true) => Ok(Test::Exists),
                Value::Bool(false) => Ok(not(Test::Exists)),
                _ => Err(operand(&operator, "true or false")),
            },
            "$not" => match value {
                Value::Object(operators) if has_operators(&operators) => Ok(not(Test::All(self.tests(operators, depth + 1)?))),
                _ => Err(operand(&operator, "an object of operators, such as {\"$gt\": 5}")),
            },
            "$regex" => Ok(Test::Regex(self.regex(&value, options)?)),
            "$elemMatch" => Ok(Test::Element(self.element(value, depth + 1)?)),
            _ => Err(FilterError::Unknown { operator, place: "behind a path", known: OPERATORS }),
        }
    }

    fn values(&mut self, operator: &str, value: Value, depth: usize) -> Result<Vec<Value>, FilterError> {
        let Value::Array(values) = value else { return Err(operand(operator, "an array of values")) };
        self.count(values.len(), depth)?;
        Ok(values)
    }

    fn element(&mut self, value: Value, depth: usize) -> Result<Element, FilterError> {
        match value {
            Value::Object(operators) if has_operators(&operators) && !operators.keys().any(|name| is_combination(name)) => {
                Ok(Element::Value(self.tests(operators, depth)?))
            }
            Value::Object(fields) => Ok(Element::Document(self.all(fields, depth)?)),
            _ => Err(operand("$elemMatch", "an object: operators for the element itself, or a filter for elements that are objects")),
        }
    }

    fn regex(&mut self, pattern: &Value, options: Option<&Value>) -> Result<Regex, FilterError> {
        let Value::String(pattern) = pattern else { return Err(operand("$regex", "a string")) };
        self.regexes += 1;
        if self.regexes > Filter::MOST_REGEXES {
            return Err(FilterError::TooLarge { limit: Filter::MOST_REGEXES, what: "regular expressions" });
        }
        if pattern.len() > Filter::LONGEST_REGEX {
            return Err(FilterError::Regex(format!("the pattern has more than {} bytes", Filter::LONGEST_REGEX)));
        }
        let mut builder = RegexBuilder::new(pattern);
        builder.size_limit(Filter::LARGEST_REGEX).dfa_size_limit(Filter::LARGEST_REGEX);
        for option in options.map(|options| options.as_str().unwrap_or("?")).unwrap_or_default().chars() {
            match option {
                'i' => builder.case_insensitive(true),
                'm' => builder.multi_line(true),
                's' => builder.dot_matches_new_line(true),
                'x' => builder.ignore_whitespace(true),
                _ => return Err(operand("$options", "a string of the letters i, m, s and x")),
            };
        }
        builder.build().map_err(|error| FilterError::Regex(error.to_string()))
    }
}

fn comparison(operator: &str, relation: Relation, value: Value) -> Result<Test, FilterError> {
    match value {
        Value::Number(_) | Value::String(_) | Value::Bool(_) => Ok(Test::Compare(relation, value)),
        Value::Null | Value::Array(_) | Value::Object(_) => Err(operand(operator, "a number, a string or a boolean")),
    }
}

/// An object with any operator in it is no value, or a misspelt operator would silently be compared with.
fn has_operators(object: &Map<String, Value>) -> bool {
    object.keys().any(|name| name.starts_with('$'))
}

fn is_combination(name: &str) -> bool {
    matches!(name, "$and" | "$or" | "$nor")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn refusal(text: &str) -> String {
        Filter::parse(text).unwrap_err().to_string()
    }

    #[test]
    fn every_operator_is_read() {
        for text in [
            "{}",
            r#"{"a": 1, "b.c": null, "d": [1], "e": {"f": 1}, "g": {}}"#,
            r#"{"a": {"$eq": 1, "$ne": 2, "$gt": 0, "$gte": "x", "$lt": 9, "$lte": true, "$in": [], "$nin": [1, null], "$exists": false}}"#,
            r#"{"a": {"$not": {"$regex": "^x", "$options": "imsx"}}, "b": {"$elemMatch": {"$gt": 1}}, "c": {"$elemMatch": {"x": 1}}}"#,
            r#"{"$and": [{}, {"a": 1}], "$or": [{"b": {"$not": {"$in": [1]}}}], "$nor": [{"c": {"$elemMatch": {"$or": [{"d": 1}]}}}]}"#,
            r#"{"\"$set\"": 1, "a.$b": 1}"#,
        ] {
            Filter::parse(text).unwrap();
        }
        assert!(Filter::parse(" {} ").unwrap().is_empty());
        assert!(!Filter::parse(r#"{"a":null}"#).unwrap().is_empty());
    }

    #[test]
    fn an_unknown_operator_is_named_with_what_there_is() {
        for (text, name) in [
            (r#"{"a": {"$size": 2}}"#, "$size"),
            (r#"{"$where": "1"}"#, "$where"),
            (r#"{"a": {"$gt": 1, "b": 2}}"#, "b"),
            (r#"{"a": {"$not": {"$foo": 1}}}"#, "$foo"),
            (r#"{"a": {"$elemMatch": {"$foo": 1}}}"#, "$foo"),
            (r#"{"$or": [{"$gt": 1}]}"#, "$gt"),
            (r#"{"a": {"$' OR 1=1 --": 1}}"#, "$' OR 1=1 --"),
        ] {
            let said = refusal(text);
            assert!(said.starts_with(&format!("{name} is not known")) && said.contains("there are"), "{said}");
        }
    }

    #[test]
    fn an_operator_says_what_it_takes() {
        for text in [
            "[]",
            "1",
            "null",
            r#"{"$and": []}"#,
            r#"{"$or": {}}"#,
            r#"{"$nor": [1]}"#,
            r#"{"a": {"$in": 1}}"#,
            r#"{"a": {"$nin": {}}}"#,
            r#"{"a": {"$exists": 1}}"#,
            r#"{"a": {"$gt": null}}"#,
            r#"{"a": {"$lt": []}}"#,
            r#"{"a": {"$not": 1}}"#,
            r#"{"a": {"$not": {}}}"#,
            r#"{"a": {"$regex": 1}}"#,
            r#"{"a": {"$regex": "x", "$options": "g"}}"#,
            r#"{"a": {"$regex": "x", "$options": 1}}"#,
            r#"{"a": {"$options": "i"}}"#,
            r#"{"a": {"$elemMatch": 1}}"#,
        ] {
            assert!(refusal(text).contains(" takes "), "{text}: {}", refusal(text));
        }
    }

    #[test]
    fn what_is_no_filter_is_refused() {
        for text in ["", "{", r#"{"a":1,"a":2}"#] {
            assert!(refusal(text).starts_with("the filter is not JSON"), "{text}");
        }
        assert!(refusal(r#"{"a..b":1}"#).starts_with("the path `a..b`"));
        assert!(refusal(r#"{"":1}"#).starts_with("the path ``"));
    }

    #[test]
    fn what_costs_too_much_is_refused() {
        let deep = (0..40).fold(r#"{"a":1}"#.to_owned(), |inner, _| format!(r#"{{"$and":[{inner}]}}"#));
        assert!(refusal(&deep).contains("levels"), "{}", refusal(&deep));
        let nots = (0..40).fold(r#"{"$gt":1}"#.to_owned(), |inner, _| format!(r#"{{"$not":{inner}}}"#));
        assert!(refusal(&format!(r#"{{"a":{nots}}}"#)).contains("levels"));
        let wide = format!(r#"{{"a":{{"$in":[{}]}}}}"#, vec!["1"; 2001].join(","));
        assert!(refusal(&wide).contains("clauses and values"));
        let many = format!(r#"{{"$or":[{}]}}"#, vec![r#"{"a":{"$regex":"x"}}"#; 17].join(","));
        assert!(refusal(&many).contains("regular expressions"));
        assert!(refusal(&format!(r#"{{"a":{{"$regex":"{}"}}}}"#, "x".repeat(1025))).contains("1024 bytes"));
        assert!(refusal(r#"{"a":{"$regex":"(\\w{100}){100}"}}"#).starts_with("$regex: "));
        assert!(refusal(r#"{"a":{"$regex":"("}}"#).starts_with("$regex: "));
    }

    proptest! {
        #[test]
        fn no_text_breaks_the_parser(text in r#"[{}\[\]":,$a-z0-9. ]{0,60}"#) {
            let _ = Filter::parse(&text);
        }
    }
}
