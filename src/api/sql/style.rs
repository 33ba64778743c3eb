//! How results are written as JSON: what a client may choose, and each value.
//!
//! Invariant: the type of each value can be read back, unless the client chose otherwise. An INTEGER is written exactly and in digits alone; a
//! REAL always has a point or an exponent.

use base64::engine::general_purpose::STANDARD;
use engine::{Column, ValueRef};

use crate::error::Problem;
use crate::hrana;
use crate::json::{base64, list, plain};

/// What a client chose in the query string.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Style {
    shape: Shape,
    integers: Integers,
    values: Values,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Shape {
    /// Each row is an array, so that columns of the same name stay apart.
    #[default]
    Arrays,
    /// Each row is an object. Of columns of the same name a reader sees one.
    Objects,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Integers {
    #[default]
    Numbers,
    /// For readers whose numbers do not hold 64 bits.
    Strings,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Values {
    #[default]
    Plain,
    /// Each with its type, as libSQL's clients have them.
    Tagged,
}

impl Style {
    /// Takes a parameter of the query string, if it is one of ours.
    pub(super) fn take(&mut self, name: &str, value: &str) -> Result<bool, Problem> {
        let unknown = |choices: &str| Err(Problem::bad_request(format!("query parameter `{name}` may be {choices}, not `{value}`")));
        match (name, value) {
            ("shape", "arrays") => self.shape = Shape::Arrays,
            ("shape", "objects") => self.shape = Shape::Objects,
            ("shape", _) => return unknown("`arrays` or `objects`"),
            ("ints", "number") => self.integers = Integers::Numbers,
            ("ints", "string") => self.integers = Integers::Strings,
            ("ints", _) => return unknown("`number` or `string`"),
            ("values", "plain") => self.values = Values::Plain,
            ("values", "tagged") => self.values = Values::Tagged,
            ("values", _) => return unknown("`plain` or `tagged`"),
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// One row.
    pub(super) fn row<'a, E>(
        self,
        out: &mut Vec<u8>,
        columns: &[Column],
        values: impl Iterator<Item = Result<ValueRef<'a>, E>>,
    ) -> Result<(), E> {
        let (open, close) = if self.shape == Shape::Objects { (b'{', b'}') } else { (b'[', b']') };
        out.push(open);
        for (index, (column, value)) in columns.iter().zip(values).enumerate() {
            if index > 0 {
                out.push(b',');
            }
            if self.shape == Shape::Objects {
                plain(out, &column.name);
                out.push(b':');
            }
            self.value(out, value?);
        }
        out.push(close);
        Ok(())
    }

    pub(super) fn value(self, out: &mut Vec<u8>, value: ValueRef<'_>) {
        if self.values == Values::Tagged {
            return hrana::value(out, value);
        }
        match value {
            ValueRef::Null => out.extend_from_slice(b"null"),
            ValueRef::Integer(integer) if self.integers == Integers::Strings => {
                out.push(b'"');
                plain(out, &integer);
                out.push(b'"');
            }
            ValueRef::Integer(integer) => plain(out, &integer),
            ValueRef::Real(real) if real.is_infinite() => {
                out.extend_from_slice(if real > 0.0 { b"{\"float\":\"Infinity\"}" } else { b"{\"float\":\"-Infinity\"}" });
            }
            // NaN becomes null, as in SQLite.
            ValueRef::Real(real) => plain(out, &real),
            ValueRef::Text(text) => plain(out, text),
            ValueRef::Blob(bytes) => {
                out.extend_from_slice(b"{\"base64\":\"");
                base64(out, &STANDARD, bytes);
                out.extend_from_slice(b"\"}");
            }
        }
    }
}

/// A value as results have it unless a client chose otherwise.
pub(crate) fn plain_value(out: &mut Vec<u8>, value: ValueRef<'_>) {
    Style::default().value(out, value);
}

/// `{"name", "type"}` of each.
pub(super) fn columns(out: &mut Vec<u8>, columns: &[Column]) {
    list(out, columns, |out, column| {
        out.extend_from_slice(b"{\"name\":");
        plain(out, &column.name);
        out.extend_from_slice(b",\"type\":");
        plain(out, &column.decltype);
        out.push(b'}');
    });
}
