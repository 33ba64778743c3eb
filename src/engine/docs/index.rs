//! Indexes on a path of all documents.
//!
//! Owns: their names and their SQL, which is the only SQL that holds a path. SQLite uses such an index where a query has the very
//! expression, so the path stands in it as a literal.
//! Invariant: a path that becomes SQL consists of names of ASCII letters, digits, `_` and `-`, which mean the same in every version of
//! SQLite and need no escape, neither in SQL nor in a JSON path.

use rusqlite::{Connection, OptionalExtension as _};

use super::path::{Path, is_number};
use crate::sql::{SqlError, SqlErrorKind};

/// A path that may have an index.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct IndexPath(Path);

/// Why a path can have no index.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` can have no index: its names may hold ASCII letters, digits, `_` and `-` only, no number of an element, and 200 bytes altogether; \
     `_id` has one already"
)]
pub struct IndexPathError(String);

/// The path follows.
const PREFIX: &str = "idx_bh_docs_path_";
const LONGEST: usize = 200;

impl IndexPath {
    /// Takes a path whose names are plain.
    pub fn new(path: Path) -> Result<Self, IndexPathError> {
        let text = path.to_string();
        let plain = |name: &String| {
            !name.is_empty() && !is_number(name) && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-')
        };
        if text == "_id" || text.len() > LONGEST || !path.names().iter().all(plain) {
            return Err(IndexPathError(text));
        }
        Ok(Self(path))
    }

    /// The path.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Its index, as SQL names it.
    pub(super) fn name(&self) -> String {
        quoted(&format!("{PREFIX}{}", self.0), '"')
    }

    /// What the index holds.
    pub(super) fn expression(&self) -> String {
        let names = self.0.names().iter().map(|name| quoted(name, '"'));
        let path = names.fold("$".to_owned(), |path, name| path + "." + &name);
        format!("json_extract(doc, {})", quoted(&path, '\''))
    }

    /// The statement that makes the index; SQLite keeps its text.
    fn definition(&self) -> String {
        format!("CREATE INDEX {} ON bh_docs(collection, {})", self.name(), self.expression())
    }
}

/// In quotes, with quotes inside doubled. In a JSON path no name holds one.
fn quoted(text: &str, quote: char) -> String {
    let doubled = text.replace(quote, &format!("{quote}{quote}"));
    format!("{quote}{doubled}{quote}")
}

/// The indexes that there are, in the order of their paths. One that somebody defined otherwise is not ours to use.
pub(super) fn list(sql: &Connection) -> Result<Vec<IndexPath>, SqlError> {
    let mut select =
        sql.prepare_cached("SELECT name, sql FROM sqlite_schema WHERE type = 'index' AND tbl_name = 'bh_docs' AND sql IS NOT NULL")?;
    let mut rows = select.query([])?;
    let mut paths = Vec::new();
    while let Some(row) = rows.next()? {
        let (name, definition): (String, String) = (row.get(0)?, row.get(1)?);
        if let Some(path) = path_of(&name)
            && path.definition() == definition
        {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

fn path_of(name: &str) -> Option<IndexPath> {
    IndexPath::new(Path::parse(name.strip_prefix(PREFIX)?).ok()?).ok()
}

/// Makes the index; `false` if it was there.
pub(super) fn create(sql: &Connection, path: &IndexPath) -> Result<bool, SqlError> {
    let name = format!("{PREFIX}{}", path.0);
    let known: Option<Option<String>> = sql
        .prepare_cached("SELECT sql FROM sqlite_schema WHERE name = ?1 COLLATE NOCASE")?
        .query_row([&name], |row| row.get(0))
        .optional()?;
    match known {
        None => {
            sql.execute(&path.definition(), [])?;
            Ok(true)
        }
        Some(Some(definition)) if definition == path.definition() => Ok(false),
        Some(_) => {
            let message = format!("something else is called {name} in this database, or its letters differ in case alone; drop it first");
            Err(SqlError::ours(SqlErrorKind::Constraint, message))
        }
    }
}

/// Drops the index; `false` if there is none.
pub(super) fn remove(sql: &Connection, path: &IndexPath) -> Result<bool, SqlError> {
    if !list(sql)?.contains(path) {
        return Ok(false);
    }
    sql.execute(&format!("DROP INDEX {}", path.name()), [])?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> Result<IndexPath, IndexPathError> {
        IndexPath::new(Path::parse(text).unwrap())
    }

    #[test]
    fn a_path_becomes_one_literal() {
        let definition = path("address.zip-code").unwrap().definition();
        assert_eq!(
            definition,
            r#"CREATE INDEX "idx_bh_docs_path_address.zip-code" ON bh_docs(collection, json_extract(doc, '$."address"."zip-code"'))"#
        );
        assert_eq!(path_of("idx_bh_docs_path_a.b"), path("a.b").ok());
        assert_eq!(quoted("a'b\"c", '\''), "'a''b\"c'");
    }

    #[test]
    fn a_path_that_would_need_an_escape_has_no_index() {
        for text in [
            "_id",
            "a'b",
            r#""a.b""#,
            r#"a"b"#,
            r"a\b",
            "a b",
            "ü",
            "a.0",
            "0",
            "a[0]",
            "a);DROP TABLE bh_docs;--",
            "$",
            "a\nb",
            &"a".repeat(201),
        ] {
            let said = path(text).unwrap_err().to_string();
            assert!(said.contains("can have no index"), "{said}");
        }
        for text in ["a", "_id.x", "a.b-c_d.E9", "-", "0a"] {
            path(text).unwrap();
        }
    }
}
