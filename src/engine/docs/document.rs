//! Documents as they are given, stored and answered. Pure.
//!
//! Invariant: the text of a stored document is the text that was given, with the `_id` of its row in it.

use std::fmt;

use serde_json::Value;

use super::json::{self, Members, quoted};

/// The name of a collection, or the id of a document: 1 to [`Name::LONGEST`] bytes of UTF-8 without NUL.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name(String);

/// Why a text is no name, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} must be a string of 1 to {} bytes of UTF-8 without NUL{hint}", Name::LONGEST)]
pub struct NameError {
    what: &'static str,
    hint: &'static str,
}

/// A document that is given: a JSON object without repeated members.
#[derive(Debug, Clone)]
pub struct NewDocument(Members);

/// Why a text is no document.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DocumentError {
    /// It is no JSON, or too deep, or names a member twice.
    #[error("the document is not JSON as documents are: {0}")]
    Json(String),
    /// It is another type.
    #[error("a document is a JSON object")]
    NoObject,
    /// Its `_id` cannot be one.
    #[error(transparent)]
    Id(#[from] NameError),
}

impl Name {
    /// In bytes. A name percent-encoded whole still fits into a request's line.
    pub const LONGEST: usize = 1024;

    /// Takes the name of a collection.
    pub fn collection(text: impl Into<String>) -> Result<Self, NameError> {
        Self::parse(text.into(), "the name of a collection", "")
    }

    /// Takes the id of a document.
    pub fn id(text: impl Into<String>) -> Result<Self, NameError> {
        Self::parse(text.into(), "the id of a document", "; leave `_id` out to be given one")
    }

    fn parse(text: String, what: &'static str, hint: &'static str) -> Result<Self, NameError> {
        let is_name = (1..=Self::LONGEST).contains(&text.len()) && !text.contains('\0');
        if is_name { Ok(Self(text)) } else { Err(NameError { what, hint }) }
    }

    /// As it was given.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl NewDocument {
    /// Reads a document, or what is to be merged into one.
    pub fn parse(text: &str) -> Result<Self, DocumentError> {
        match json::parse(text).map_err(DocumentError::Json)? {
            Value::Object(_) => Ok(Self(Members::parse(text).map_err(DocumentError::Json)?)),
            _ => Err(DocumentError::NoObject),
        }
    }

    /// The id that it wants; none if its `_id` is missing, null or empty, as in the package.
    pub(super) fn wanted_id(&self) -> Result<Option<Name>, DocumentError> {
        match self.0.0.iter().find(|(name, _)| name == "_id").map(|(_, value)| value.get()) {
            None | Some("null" | "\"\"") => Ok(None),
            // Another type is refused in the words for a text that is none.
            Some(text) => Ok(Some(Name::id(serde_json::from_str::<String>(text).unwrap_or_default())?)),
        }
    }

    /// As it is stored under this id, whatever id it had.
    pub(super) fn text(mut self, id: &Name) -> String {
        self.0.set("_id", quoted(id.as_str()));
        self.0.write()
    }

    /// What becomes of a stored document when the members of this one replace its own.
    pub(super) fn merged_into(self, stored: &str, id: &Name) -> Result<String, String> {
        let mut document = Members::parse(stored)?;
        for (name, value) in self.0.0 {
            document.set(&name, value);
        }
        Ok(Self(document).text(id))
    }
}

/// A stored document as filters see it.
pub(super) fn value(stored: &str, id: &str) -> Result<Value, String> {
    match serde_json::from_str(stored).map_err(|error| error.to_string())? {
        Value::Object(mut members) => {
            members.insert("_id".to_owned(), Value::String(id.to_owned()));
            Ok(Value::Object(members))
        }
        _ => Err("it is another type".to_owned()),
    }
}

/// A stored document as it is answered: its text, unless somebody stored another `_id` than that of the row.
pub(super) fn answer(stored: String, id: &str) -> Result<String, String> {
    let mut members = Members::parse(&stored)?;
    let own = members.0.iter().find(|(name, _)| name == "_id");
    if own.is_some_and(|(_, value)| serde_json::from_str::<String>(value.get()).is_ok_and(|own| own == id)) {
        return Ok(stored);
    }
    members.set("_id", quoted(id));
    Ok(members.write())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        Name::id(text).unwrap()
    }

    #[test]
    fn names_are_bounded_texts() {
        for text in ["", "a\0", &"a".repeat(Name::LONGEST + 1)] {
            assert!(Name::id(text).unwrap_err().to_string().starts_with("the id of a document must"));
            assert!(Name::collection(text).unwrap_err().to_string().starts_with("the name of a collection must"));
        }
        assert_eq!(Name::collection("o'; --/ü").unwrap().as_str(), "o'; --/ü");
    }

    #[test]
    fn a_document_is_stored_as_it_was_written_with_its_id() {
        let stored = |text: &str| NewDocument::parse(text).unwrap().text(&name("x\"y"));
        assert_eq!(stored(r#"{"b":1.0, "a":{"z":1}}"#), r#"{"b":1.0,"a":{"z":1},"_id":"x\"y"}"#);
        assert_eq!(stored(r#"{"_id":7,"a":1}"#), r#"{"_id":"x\"y","a":1}"#);
        assert_eq!(stored("{}"), r#"{"_id":"x\"y"}"#);
    }

    #[test]
    fn what_is_no_document_is_refused() {
        for text in ["[]", "1", "null", "\"x\""] {
            assert_eq!(NewDocument::parse(text).unwrap_err(), DocumentError::NoObject);
        }
        let deep = format!("{{\"a\":{}{}}}", "[".repeat(200), "]".repeat(200));
        for text in ["", "{", r#"{"a":1,"a":2}"#, r#"{"a":{"b":1,"b":2}}"#, r#"{"a":NaN}"#, &deep] {
            assert!(matches!(NewDocument::parse(text), Err(DocumentError::Json(_))), "{text}");
        }
    }

    #[test]
    fn a_document_may_want_an_id() {
        let wanted = |text: &str| NewDocument::parse(text).unwrap().wanted_id();
        for text in ["{}", r#"{"_id":null}"#, r#"{"_id":""}"#] {
            assert_eq!(wanted(text), Ok(None));
        }
        assert_eq!(wanted(r#"{"_id":"\u00fc"}"#), Ok(Some(name("ü"))));
        for text in [r#"{"_id":1}"#, r#"{"_id":{}}"#, r#"{"_id":"\u0000"}"#] {
            assert!(matches!(wanted(text), Err(DocumentError::Id(_))), "{text}");
        }
    }

    #[test]
    fn a_merge_replaces_whole_members_and_never_the_id() {
        let patch = NewDocument::parse(r#"{"a":{"y":2},"c":null,"_id":"other"}"#).unwrap();
        assert_eq!(
            patch.merged_into(r#"{"_id":"i","a":{"x":1},"b":1.50}"#, &name("i")).unwrap(),
            r#"{"_id":"i","a":{"y":2},"b":1.50,"c":null}"#
        );
        assert!(NewDocument::parse("{}").unwrap().merged_into("[]", &name("i")).is_err());
    }

    #[test]
    fn an_answer_bears_the_id_of_its_row() {
        let text = r#"{"_id": "\u00fc", "a": 1}"#;
        assert_eq!(answer(text.to_owned(), "ü").unwrap(), text);
        assert_eq!(answer(r#"{"a":1}"#.to_owned(), "i").unwrap(), r#"{"a":1,"_id":"i"}"#);
        assert_eq!(value(r#"{"_id":1}"#, "i").unwrap()["_id"], "i");
        for text in ["", "[]", "NaN", r#"{"a":NaN}"#] {
            assert!(answer(text.to_owned(), "i").is_err() && value(text, "i").is_err(), "{text}");
        }
    }
}
