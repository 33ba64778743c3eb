//! Dotted paths into documents. Pure.
//!
//! `a.b.0` walks through members and, where it meets an array, to an element by its number or through all elements that are objects.
//! A name that holds a dot, is empty or begins with a quote is written in quotes, with `\"` and `\\` inside: `a."b.c"`.

use std::fmt;

use serde_json::Value;

/// One or more names.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Path(Vec<String>);

/// What is wrong with a path.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the path `{path}` {problem}")]
pub struct PathError {
    path: String,
    problem: &'static str,
}

impl Path {
    /// In bytes.
    const LONGEST: usize = 1024;
    /// In names: no document is deeper.
    const DEEPEST: usize = 128;

    /// Reads a path as it is written in filters.
    pub fn parse(text: &str) -> Result<Self, PathError> {
        let refuse = |problem| Err(PathError { path: text.chars().take(100).collect(), problem });
        if text.len() > Self::LONGEST {
            return refuse("has more than 1024 bytes");
        }
        let mut names = Vec::new();
        let mut rest = text;
        loop {
            let (name, behind) = if let Some(quoted) = rest.strip_prefix('"') {
                let Some(split) = unquote(quoted) else { return refuse("opens a quote that it does not close") };
                split
            } else {
                let (name, behind) = rest.split_at(rest.find('.').unwrap_or(rest.len()));
                if name.is_empty() {
                    return refuse("has an empty name; write it as `\"\"` if it is meant");
                }
                (name.to_owned(), behind)
            };
            names.push(name);
            match behind.strip_prefix('.') {
                Some(more) => rest = more,
                None if behind.is_empty() => break,
                None => return refuse("has something other than a dot behind a quoted name"),
            }
        }
        if names.len() > Self::DEEPEST {
            return refuse("has more than 128 names");
        }
        Ok(Self(names))
    }

    /// The names in their order.
    pub(super) fn names(&self) -> &[String] {
        &self.0
    }

    /// Calls `found` for each value at this path, with `None` where an object has no such member, until it says that it has seen enough.
    /// An array on the way stands for its elements that are objects, and for the element that the name counts.
    pub(super) fn visit<'a>(&self, document: &'a Value, found: &mut dyn FnMut(Option<&'a Value>) -> bool) -> bool {
        visit(document, &self.0, found)
    }
}

/// The text up to the closing quote, and what stands behind it.
fn unquote(text: &str) -> Option<(String, &str)> {
    let mut name = String::new();
    let mut characters = text.char_indices();
    while let Some((place, character)) = characters.next() {
        match character {
            '"' => return Some((name, &text[place + 1..])),
            '\\' => name.push(characters.next()?.1),
            _ => name.push(character),
        }
    }
    None
}

fn visit<'a>(value: &'a Value, names: &[String], found: &mut dyn FnMut(Option<&'a Value>) -> bool) -> bool {
    let [name, rest @ ..] = names else { return found(Some(value)) };
    match value {
        Value::Object(members) => match members.get(name) {
            Some(member) => visit(member, rest, found),
            None => found(None),
        },
        Value::Array(elements) if is_number(name) => {
            let counted = name.parse().ok().and_then(|place: usize| elements.get(place));
            let mut any = counted.is_some();
            counted.is_some_and(|element| visit(element, rest, found))
                || elements.iter().filter_map(|element| element.as_object()?.get(name)).any(|member| {
                    any = true;
                    visit(member, rest, found)
                })
                || (!any && found(None))
        }
        Value::Array(elements) => elements.iter().filter(|element| element.is_object()).any(|element| visit(element, names, found)),
        _ => found(None),
    }
}

/// Whether the name could count an element of an array.
pub(super) fn is_number(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_digit())
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, name) in self.0.iter().enumerate() {
            let dot = if place == 0 { "" } else { "." };
            if name.is_empty() || name.starts_with('"') || name.contains('.') {
                write!(f, "{dot}\"{}\"", name.replace('\\', r"\\").replace('"', r#"\""#))?;
            } else {
                write!(f, "{dot}{name}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn at(document: &Value, path: &str) -> Vec<Option<Value>> {
        let mut all = Vec::new();
        Path::parse(path).unwrap().visit(document, &mut |value| {
            all.push(value.cloned());
            false
        });
        all
    }

    #[test]
    fn names_are_parted_by_dots_and_quoted_where_they_hold_one() {
        for (text, names) in [
            ("a", &["a"][..]),
            ("a.b.0", &["a", "b", "0"]),
            (r#"a."b.c".d"#, &["a", "b.c", "d"]),
            (r#""""#, &[""]),
            (r#""a\"b\\c""#, &[r#"a"b\c"#]),
            (r#"say"so"#, &[r#"say"so"#]),
            ("' OR 1=1 --", &["' OR 1=1 --"]),
            ("ü.ключ", &["ü", "ключ"]),
        ] {
            assert_eq!(Path::parse(text).unwrap().names(), names, "{text}");
        }
    }

    #[test]
    fn a_path_with_a_hole_or_an_open_quote_is_refused() {
        for text in ["", ".", "a.", ".a", "a..b", r#""a"#, r#"a."b"#, r#""a"b"#, r#""a\"#, &"a".repeat(1025), &"a.".repeat(200)] {
            let error = Path::parse(text).unwrap_err().to_string();
            assert!(error.starts_with("the path `"), "{error}");
        }
    }

    #[test]
    fn a_path_finds_members_elements_and_members_of_all_elements() {
        let document = json!({"a": {"b": 1}, "list": [{"n": 1}, 7, {"n": 2}, {}, [{"n": 3}]], "0": "zero", "s": "text"});
        assert_eq!(at(&document, "a.b"), [Some(json!(1))]);
        assert_eq!(at(&document, "a.c"), [None]);
        assert_eq!(at(&document, "s.c"), [None]);
        assert_eq!(at(&document, "list.n"), [Some(json!(1)), Some(json!(2)), None]);
        assert_eq!(at(&document, "list.1"), [Some(json!(7))]);
        assert_eq!(at(&document, "list.4.0.n"), [Some(json!(3))]);
        assert_eq!(at(&document, "0"), [Some(json!("zero"))]);
        assert_eq!(at(&document, "list.99999999999999999999999"), [None]);
    }

    proptest! {
        #[test]
        fn a_path_is_read_as_it_was_shown(names in prop::collection::vec("[a.\"\\\\ü$]{0,4}", 1..4)) {
            let path = Path(names);
            prop_assert_eq!(Path::parse(&path.to_string()), Ok(path));
        }

        #[test]
        fn no_text_breaks_the_parser(text in ".{0,20}") {
            let _ = Path::parse(&text);
        }
    }
}
