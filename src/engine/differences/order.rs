//! The order of values, as SQLite has it without a collation. Pure.

use std::cmp::Ordering;

use rusqlite::Row;
use rusqlite::types::ValueRef;

/// The order of two rows by their keys, which are their first columns. Where a key does not tell one row of a table from the next, because it
/// is all there is or has NULL in it, by everything: first by the values, then by their types.
pub(super) fn of_rows(one: &Row<'_>, other: &Row<'_>, key: usize, all: usize) -> Result<Ordering, rusqlite::Error> {
    let order = of_columns(one, other, key, of_values)?;
    if order.is_ne() || (key < all && !has_null(one, key)?) {
        return Ok(order);
    }
    let order = of_columns(one, other, all, of_values)?;
    if order.is_ne() { Ok(order) } else { of_columns(one, other, all, of_types) }
}

/// By the first column that differs.
fn of_columns(
    one: &Row<'_>,
    other: &Row<'_>,
    columns: usize,
    order: fn(ValueRef<'_>, ValueRef<'_>) -> Ordering,
) -> Result<Ordering, rusqlite::Error> {
    for column in 0..columns {
        let order = order(one.get_ref(column)?, other.get_ref(column)?);
        if order.is_ne() {
            return Ok(order);
        }
    }
    Ok(Ordering::Equal)
}

fn has_null(row: &Row<'_>, columns: usize) -> Result<bool, rusqlite::Error> {
    for column in 0..columns {
        if row.get_ref(column)? == ValueRef::Null {
            return Ok(true);
        }
    }
    Ok(false)
}

/// As SQLite orders their names. Only numbers of two types are equal otherwise.
fn of_types(one: ValueRef<'_>, other: ValueRef<'_>) -> Ordering {
    let is_real = |value| matches!(value, ValueRef::Real(_));
    is_real(one).cmp(&is_real(other))
}

/// Whether the first columns hold the same, of the same types.
pub(super) fn are_same(one: &Row<'_>, other: &Row<'_>, columns: usize) -> Result<bool, rusqlite::Error> {
    for column in 0..columns {
        if one.get_ref(column)? != other.get_ref(column)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// NULL comes before numbers, these before texts, these before blobs.
pub(super) fn of_values(one: ValueRef<'_>, other: ValueRef<'_>) -> Ordering {
    match (one, other) {
        (ValueRef::Integer(one), ValueRef::Integer(other)) => one.cmp(&other),
        (ValueRef::Real(one), ValueRef::Real(other)) => of_reals(one, other),
        (ValueRef::Integer(one), ValueRef::Real(other)) => of_mixed(one, other),
        (ValueRef::Real(one), ValueRef::Integer(other)) => of_mixed(other, one).reverse(),
        (ValueRef::Text(one), ValueRef::Text(other)) | (ValueRef::Blob(one), ValueRef::Blob(other)) => one.cmp(other),
        (one, other) => class(one).cmp(&class(other)),
    }
}

fn class(value: ValueRef<'_>) -> u8 {
    match value {
        ValueRef::Null => 0,
        ValueRef::Integer(_) | ValueRef::Real(_) => 1,
        ValueRef::Text(_) => 2,
        ValueRef::Blob(_) => 3,
    }
}

/// SQLite keeps no NaN.
fn of_reals(one: f64, other: f64) -> Ordering {
    one.partial_cmp(&other).unwrap_or(Ordering::Equal)
}

/// Without rounding the integer: a real has no room for all of its digits.
fn of_mixed(integer: i64, real: f64) -> Ordering {
    const BEYOND: f64 = 9_223_372_036_854_775_808.0;
    if real >= BEYOND {
        return Ordering::Less;
    }
    if real < -BEYOND {
        return Ordering::Greater;
    }
    #[allow(clippy::cast_possible_truncation, reason = "it is whole, and within the range")]
    let whole = real.trunc() as i64;
    integer.cmp(&whole).then_with(|| of_reals(0.0, real.fract()))
}
