//! Which parts of a document are answered. Pure.
//!
//! Invariant: what is answered keeps its order and its text, numbers among it.

use std::collections::BTreeMap;

use serde_json::Value;
use serde_json::value::RawValue;

use super::json::{self, Members};
use super::path::{Path, PathError};

/// The parts of a document that are wanted, or all but some.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Projection {
    wanted: Wanted,
    paths: Tree,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wanted {
    These,
    AllBut,
}

/// Names with what is named within them; nothing where the whole value is meant.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Tree(BTreeMap<String, Tree>);

/// What is wrong with a projection.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProjectionError {
    /// It has another form.
    #[error("the projection must be an object such as {{\"name\": 1, \"address.city\": 1}} or {{\"secret\": 0}}: {0}")]
    Form(String),
    /// A path in it is none.
    #[error(transparent)]
    Path(#[from] PathError),
}

impl Projection {
    const MOST: usize = 256;

    /// Reads a JSON object of paths, all with 1 (only these, and `_id`) or all with 0 (all but these); `_id` may be left out of either.
    pub fn parse(text: &str) -> Result<Option<Self>, ProjectionError> {
        let form = |problem: String| ProjectionError::Form(problem);
        let value = json::parse(text).map_err(form)?;
        let Value::Object(members) = value else { return Err(form("it is another type".to_owned())) };
        if members.len() > Self::MOST {
            return Err(form(format!("it has more than {} paths", Self::MOST)));
        }
        let (mut these, mut all_but, mut id) = (Vec::new(), Vec::new(), None);
        for (path, value) in members {
            let wanted = match value {
                Value::Bool(wanted) => wanted,
                Value::Number(number) if number.as_u64() == Some(1) => true,
                Value::Number(number) if number.as_u64() == Some(0) => false,
                _ => return Err(form(format!("behind `{path}` stands neither 1 nor 0"))),
            };
            match (path.as_str(), wanted) {
                ("_id", _) => id = Some(wanted),
                (_, true) => these.push(Path::parse(&path)?),
                (_, false) => all_but.push(Path::parse(&path)?),
            }
        }
        let (wanted, mut paths) = match (these.is_empty(), all_but.is_empty(), id) {
            (true, true, None) => return Ok(None),
            (false, false, _) => return Err(form("it has both 1 and 0, which only `_id` may".to_owned())),
            (true, true, Some(true)) | (false, true, _) => (Wanted::These, Tree::of(&these).map_err(form)?),
            (true, _, _) => (Wanted::AllBut, Tree::of(&all_but).map_err(form)?),
        };
        let id = match wanted {
            Wanted::These => id != Some(false),
            Wanted::AllBut => id == Some(false),
        };
        if id {
            paths.0.insert("_id".to_owned(), Tree::default());
        }
        Ok(Some(Self { wanted, paths }))
    }

    /// The wanted parts of a document.
    pub(super) fn of(&self, document: &str) -> Result<String, String> {
        self.object(document, &self.paths)
    }

    fn object(&self, text: &str, tree: &Tree) -> Result<String, String> {
        let Members(members) = Members::parse(text)?;
        let mut kept = Members(Vec::new());
        for (name, value) in members {
            match (tree.0.get(&name), self.wanted) {
                (None, Wanted::These) => {}
                (None, Wanted::AllBut) => kept.0.push((name, value)),
                (Some(within), wanted) if within.0.is_empty() => {
                    if wanted == Wanted::These {
                        kept.0.push((name, value));
                    }
                }
                (Some(within), _) => {
                    if let Some(value) = self.within(&value, within)? {
                        kept.0.push((name, value));
                    }
                }
            }
        }
        Ok(kept.write())
    }

    /// The wanted parts of a member. What has no parts is not what was wanted.
    fn within(&self, value: &RawValue, tree: &Tree) -> Result<Option<Box<RawValue>>, String> {
        let text = match value.get().as_bytes().first() {
            Some(b'{') => self.object(value.get(), tree)?,
            Some(b'[') => {
                let elements: Vec<&RawValue> = serde_json::from_str(value.get()).map_err(|error| error.to_string())?;
                let elements = elements.into_iter().map(|element| self.within(element, tree)).collect::<Result<Vec<_>, _>>()?;
                let texts: Vec<&str> = elements.iter().flatten().map(|element| element.get()).collect();
                format!("[{}]", texts.join(","))
            }
            _ => return Ok((self.wanted == Wanted::AllBut).then(|| value.to_owned())),
        };
        RawValue::from_string(text).map(Some).map_err(|error| error.to_string())
    }
}

impl Tree {
    fn of(paths: &[Path]) -> Result<Self, String> {
        let mut root = Self::default();
        for path in paths {
            let mut node = &mut root;
            let mut is_known = true;
            for (depth, name) in path.names().iter().enumerate() {
                if is_known && depth > 0 && node.0.is_empty() {
                    return Err(format!("`{path}` lies within another of its paths"));
                }
                is_known = node.0.contains_key(name);
                node = node.0.entry(name.clone()).or_default();
            }
            if is_known {
                return Err(format!("another of its paths lies within `{path}`"));
            }
        }
        Ok(root)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOCUMENT: &str = r#"{"z":1.50,"a":{"y":[1],"x":{"n":2}},"list":[{"p":1,"q":2},7,[{"p":3}]],"_id":"i","dotted.name":3}"#;

    #[track_caller]
    fn gives(projection: &str, expected: &str) {
        assert_eq!(Projection::parse(projection).unwrap().unwrap().of(DOCUMENT).unwrap(), expected, "{projection}");
    }

    #[test]
    fn wanted_parts_come_with_the_id_in_their_order() {
        gives(r#"{"a.x":1,"z":true}"#, r#"{"z":1.50,"a":{"x":{"n":2}},"_id":"i"}"#);
        gives(r#"{"z":1,"_id":0}"#, r#"{"z":1.50}"#);
        gives(r#"{"_id":1}"#, r#"{"_id":"i"}"#);
        gives(r#"{"list.p":1,"_id":0}"#, r#"{"list":[{"p":1},[{"p":3}]]}"#);
        gives(r#"{"z.deeper":1,"none":1,"_id":0}"#, "{}");
        gives(r#"{"\"dotted.name\"":1,"_id":0}"#, r#"{"dotted.name":3}"#);
    }

    #[test]
    fn all_but_some_leaves_the_rest_as_it_is() {
        gives(r#"{"a.x":0,"list":0}"#, r#"{"z":1.50,"a":{"y":[1]},"_id":"i","dotted.name":3}"#);
        gives(r#"{"list.p":0,"a":0,"z":0,"_id":0}"#, r#"{"list":[{"q":2},7,[{}]],"dotted.name":3}"#);
        gives(r#"{"_id":0,"a":false,"list":0,"\"dotted.name\"":0}"#, r#"{"z":1.50}"#);
    }

    #[test]
    fn an_empty_projection_wants_everything() {
        assert_eq!(Projection::parse("{}"), Ok(None));
    }

    #[test]
    fn what_is_no_projection_says_what_one_is() {
        for text in [
            "",
            "[]",
            r#"{"a":2}"#,
            r#"{"a":"x"}"#,
            r#"{"a":1,"b":0}"#,
            r#"{"a":1,"a.b":1}"#,
            r#"{"a.b":1,"a":1}"#,
            r#"{"a":{"$slice":1}}"#,
        ] {
            assert!(Projection::parse(text).unwrap_err().to_string().contains("such as"), "{text}");
        }
        assert!(Projection::parse(r#"{"a..b":1}"#).unwrap_err().to_string().contains("empty name"));
    }
}
