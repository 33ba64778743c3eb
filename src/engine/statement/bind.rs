//! Binds values to a statement's parameters, and refuses what does not fit them exactly.

use std::collections::HashMap;

use rusqlite::ToSql;
use rusqlite::types::{ToSqlOutput, ValueRef};

use crate::sql::{Params, SqlError, SqlErrorKind, Value};

/// Binds every parameter of the statement.
pub(super) fn all(statement: &mut rusqlite::Statement<'_>, params: &Params) -> Result<(), SqlError> {
    match params {
        Params::None => positional(statement, &[]),
        Params::Positional(values) => positional(statement, values),
        Params::Named(values) => named(statement, values),
    }
}

fn positional(statement: &mut rusqlite::Statement<'_>, values: &[Value]) -> Result<(), SqlError> {
    let wanted = statement.parameter_count();
    if values.len() != wanted {
        return Err(refuse(format!("the statement has {wanted} parameters, but {} values are bound", values.len())));
    }
    for (index, value) in (1..).zip(values) {
        bind(statement, index, value)?;
    }
    Ok(())
}

fn named(statement: &mut rusqlite::Statement<'_>, values: &[(String, Value)]) -> Result<(), SqlError> {
    let mut given: HashMap<&str, &Value> = HashMap::new();
    for (name, value) in values {
        if given.insert(bare(name), value).is_some() {
            return Err(refuse(format!("parameter {name} is bound twice")));
        }
    }
    let mut used = 0;
    for index in 1..=statement.parameter_count() {
        let Some(name) = statement.parameter_name(index).map(str::to_owned) else {
            return Err(refuse(format!("parameter {index} has no name, but values are bound by name")));
        };
        let Some(value) = given.get(bare(&name)).copied() else {
            return Err(refuse(format!("no value is bound to parameter {name}")));
        };
        bind(statement, index, value)?;
        used += 1;
    }
    if used < given.len() { Err(refuse(unknown(statement, values))) } else { Ok(()) }
}

fn unknown(statement: &rusqlite::Statement<'_>, values: &[(String, Value)]) -> String {
    let names: Vec<&str> = (1..=statement.parameter_count()).filter_map(|index| statement.parameter_name(index)).map(bare).collect();
    let surplus = values.iter().map(|(name, _)| name.as_str()).find(|name| !names.contains(&bare(name)));
    format!("the statement has no parameter {}", surplus.unwrap_or_default())
}

/// A name without the sign that SQL writes before it.
fn bare(name: &str) -> &str {
    name.strip_prefix([':', '@', '$', '?']).unwrap_or(name)
}

fn bind(statement: &mut rusqlite::Statement<'_>, index: usize, value: &Value) -> Result<(), SqlError> {
    statement.raw_bind_parameter(index, Bound(value)).map_err(|error| SqlError::from(&error))
}

fn refuse(message: String) -> SqlError {
    SqlError::ours(SqlErrorKind::Arguments, message)
}

struct Bound<'a>(&'a Value);

impl ToSql for Bound<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self.0 {
            Value::Null => ValueRef::Null,
            Value::Integer(integer) => ValueRef::Integer(*integer),
            Value::Real(real) => ValueRef::Real(*real),
            Value::Text(text) => ValueRef::Text(text.as_bytes()),
            Value::Blob(bytes) => ValueRef::Blob(bytes),
        }))
    }
}
