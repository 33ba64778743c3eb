//! What a branch would have different with the content of another: what is looked at before it is overwritten.

use axum::extract::{Path, State};
use axum::http::{StatusCode, Uri};
use axum::response::Response;
use engine::{Compared, RowsOf, SchemaChange, Side, TableChange, Value, ValueRef};
use serde::{Serialize, Serializer};
use utoipa::ToSchema;

use super::{OF_LOOKING, branch};
use crate::access::Known;
use crate::error::{Kind, Problem};
use crate::openapi::{Operation, Schema, Tag};
use crate::query::Query;
use crate::{App, point, reply, sql};

#[derive(Serialize, ToSchema)]
struct Differences<'a> {
    before: ComparedState<'a>,
    after: ComparedState<'a>,
    /// Nothing would change.
    same: bool,
    schema: Vec<ChangedSchema<'a>>,
    tables: Vec<ChangedTable<'a>>,
    /// Tables that have the same rows.
    unchanged_tables: u64,
    /// There is more than is told.
    truncated: bool,
}

#[derive(Serialize, ToSchema)]
struct ComparedState<'a> {
    branch: &'a str,
    /// Of a branch that is served here, the newest that is in the bucket; what is committed since was compared, too. 0 where its writer did not
    /// number it.
    txid: u64,
    #[schema(format = DateTime)]
    time: String,
    size: u64,
}

#[derive(Serialize, ToSchema)]
struct ChangedSchema<'a> {
    /// `table`, `view`, `index` or `trigger`.
    #[serde(rename = "type")]
    kind: &'a str,
    name: &'a str,
    /// The SQL that made it; null if it was not there.
    #[schema(required)]
    before: Option<&'a str>,
    /// The SQL that makes it; null if it is gone.
    #[schema(required)]
    after: Option<&'a str>,
}

#[derive(Serialize, ToSchema)]
struct ChangedTable<'a> {
    name: &'a str,
    /// Null if it was not there, or was not compared.
    #[schema(required)]
    rows_before: Option<u64>,
    /// Null if it is gone, or was not compared.
    #[schema(required)]
    rows_after: Option<u64>,
    /// What tells which row is which: the primary key, or the row id. All columns where both sides have neither in common, and for rows with NULL in their primary key.
    key: &'a [String],
    added: ChangedRows<'a>,
    removed: ChangedRows<'a>,
    changed: ChangedRows<'a>,
    /// Why its rows were not compared; null if they were.
    #[schema(required)]
    not_compared: Option<&'a str>,
}

#[derive(Serialize, ToSchema)]
struct ChangedRows<'a> {
    count: u64,
    /// The keys of the first ten. Values beyond 100 bytes are cut.
    #[schema(value_type = Vec<Vec<serde_json::Value>>)]
    keys: Vec<Vec<Scalar<'a>>>,
}

/// As in the results of SQL.
struct Scalar<'a>(&'a Value);

impl Serialize for Scalar<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::Error as _;
        let mut written = Vec::new();
        sql::plain_value(&mut written, ValueRef::from(self.0));
        let raw: Box<serde_json::value::RawValue> = serde_json::from_slice(&written).map_err(S::Error::custom)?;
        raw.serialize(serializer)
    }
}

impl<'a> From<&'a Compared> for Differences<'a> {
    fn from(compared: &'a Compared) -> Self {
        let found = &compared.differences;
        Self {
            before: ComparedState::from(&compared.before),
            after: ComparedState::from(&compared.after),
            same: found.is_empty(),
            schema: found.schema.iter().map(ChangedSchema::from).collect(),
            tables: found.tables.iter().map(ChangedTable::from).collect(),
            unchanged_tables: found.unchanged_tables,
            truncated: found.truncated,
        }
    }
}

impl<'a> From<&'a Side> for ComparedState<'a> {
    fn from(Side { branch, txid, time, size }: &'a Side) -> Self {
        Self { branch: branch.as_str(), txid: *txid, time: time.to_string(), size: *size }
    }
}

impl<'a> From<&'a SchemaChange> for ChangedSchema<'a> {
    fn from(SchemaChange { kind, name, before, after }: &'a SchemaChange) -> Self {
        Self { kind, name, before: before.as_deref(), after: after.as_deref() }
    }
}

impl<'a> From<&'a TableChange> for ChangedTable<'a> {
    fn from(table: &'a TableChange) -> Self {
        let TableChange { name, rows_before, rows_after, key, added, removed, changed, not_compared } = table;
        Self {
            name,
            rows_before: *rows_before,
            rows_after: *rows_after,
            key,
            added: added.into(),
            removed: removed.into(),
            changed: changed.into(),
            not_compared: not_compared.as_deref(),
        }
    }
}

impl<'a> From<&'a RowsOf> for ChangedRows<'a> {
    fn from(RowsOf { count, keys }: &'a RowsOf) -> Self {
        Self { count: *count, keys: keys.iter().map(|key| key.iter().map(Scalar).collect()).collect() }
    }
}

/// Compares a branch with another that it may be overwritten with, and changes nothing.
pub(crate) async fn differences(
    State(app): State<App>,
    known: Known,
    Path((_, _, to)): Path<(String, String, String)>,
    uri: Uri,
) -> Result<Response, Problem> {
    let query = Query::parse(uri.query(), &["from", "txid", "at"])?;
    let from =
        query.get("from").ok_or_else(|| Problem::bad_request("query parameter `from` is missing: name the branch to compare with"))?;
    let (to, from) = (branch("the path", &to)?, branch("`from`", from)?);
    let point = point::of(query.get("txid").map(point::number).transpose()?, query.get("at"))?;
    let compared = app.host.differences(&known.name, &to, &from, point).await.map_err(|error| Problem::from(&*error))?;
    Ok(reply::document(&Differences::from(&compared)))
}

/// What the document tells of it.
pub(super) fn operation() -> Operation {
    const SUMMARY: &str = "Tells what a branch would have different with the content of another.";
    const MORE: &str = "Tables that differ and how many of their rows were added, removed and changed, and what of the schema is not the same. \
                        Of a branch that is served here all that is committed is compared. Nothing is written.";
    Operation::of_database(Tag::Branches, "get", "/branches/{branch}/differences", "compareBranches", SUMMARY)
        .more(MORE)
        .only_now()
        .with(["branch"])
        .needs_query("from", crate::openapi::named("BranchName"), "The branch whose content would come.")
        .with(["txid", "at"])
        .gives(StatusCode::OK, Schema::of::<Differences<'static>>(), "What is different.")
        .fails(OF_LOOKING)
        .fails(&[Kind::TooManyPasts])
}
