//! Looks documents up: where they may lie, which of them are meant, and in which order they come.
//!
//! Owns: the statements that read many documents. Does not own: what a filter means (`docs/matches.rs`), where an index leads
//! (`docs/spans.rs`).
//! Invariant: one search sees one version of the database, and holds of the documents that it passes only what they are sorted by.

use std::cmp::Ordering;

use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, Row, ToSql, params};
use serde_json::Value;

use super::document::{self, Name};
use super::filter::Filter;
use super::index::{self, IndexPath};
use super::projection::Projection;
use super::sort::Sort;
use super::spans::{Place, Search, Span};
use crate::seed::{rows_counted, seconds};
use crate::sql::{QueryLimits, SqlError, SqlErrorKind};

/// Which documents, in which order, and what of them.
#[derive(Debug, Clone, Default)]
pub struct Find {
    /// Which ones.
    pub filter: Filter,
    /// In which order; by age where it says nothing.
    pub sort: Sort,
    /// How many of the first are left out.
    pub skip: u64,
    /// How many there may be at most.
    pub limit: Option<u64>,
    /// Which parts; everything without one.
    pub projection: Option<Projection>,
}

/// Documents as JSON text.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Found {
    /// In order.
    pub documents: Vec<String>,
    /// There are more than `max_rows`, and the rest was cut off.
    pub truncated: bool,
}

/// What a search may hold to sort documents, in bytes.
const SORT_MEMORY: usize = 64 << 20;

/// What a document that is to be sorted takes beside its texts.
const EACH: usize = 128;

/// The documents that are meant.
pub(super) fn find(sql: &Connection, collection: &Name, find: &Find, limits: &QueryLimits) -> Result<Found, SqlError> {
    // SQLite keeps a version as long as a statement that reads it is under way.
    let mut anchor = sql.prepare_cached("SELECT 1 FROM bh_docs")?;
    let mut held = anchor.query([])?;
    if held.next()?.is_none() {
        return Ok(Found::default());
    }

    let limit = find.limit.unwrap_or(u64::MAX).min(limits.max_rows);
    let is_cut = find.limit.is_none_or(|limit| limit > limits.max_rows);
    // One more, to know whether there is more.
    let wanted = find.skip.saturating_add(limit).saturating_add(u64::from(is_cut));
    let mut first = First { sort: &find.sort, most: usize::try_from(wanted).unwrap_or(usize::MAX), kept: Vec::new(), size: 0 };
    let as_they_are = find.filter.is_empty() && find.sort == Sort::default();
    each(sql, collection, &find.filter, |candidate| {
        let mut key = Vec::new();
        if !as_they_are {
            let value = candidate.value()?;
            if !find.filter.matches(&value) {
                return Ok(());
            }
            key = find.sort.key(&value);
        }
        first.offer(Candidate { key, created_at: candidate.created_at, id: candidate.id.to_owned() })
    })?;

    let skip = usize::try_from(find.skip).unwrap_or(usize::MAX);
    let mut meant = first.in_order().into_iter().skip(skip);
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let mut documents = Documents { limits, texts: Vec::new(), size: 0 };
    for candidate in meant.by_ref().take(limit) {
        if let Some(text) = get(sql, collection, &candidate.id)? {
            documents.push(text, &candidate.id, find.projection.as_ref())?;
        }
    }
    Ok(Found { documents: documents.texts, truncated: is_cut && meant.next().is_some() })
}

/// How many documents are meant.
pub(super) fn count(sql: &Connection, collection: &Name, filter: &Filter) -> Result<u64, SqlError> {
    if filter.is_empty() {
        let mut count = sql.prepare_cached("SELECT count(*) FROM bh_docs WHERE collection = ?1")?;
        return Ok(count.query_row([collection.as_str()], |row| rows_counted(row, 0))?);
    }
    let mut anchor = sql.prepare_cached("SELECT 1 FROM bh_docs")?;
    let mut held = anchor.query([])?;
    if held.next()?.is_none() {
        return Ok(0);
    }
    let mut count = 0;
    each(sql, collection, filter, |candidate| {
        count += u64::from(filter.matches(&candidate.value()?));
        Ok(())
    })?;
    Ok(count)
}

/// The stored text of one document.
pub(super) fn get(sql: &Connection, collection: &Name, id: &str) -> Result<Option<String>, SqlError> {
    let mut get = sql.prepare_cached("SELECT doc FROM bh_docs WHERE collection = ?1 AND id = ?2")?;
    let mut rows = get.query([collection.as_str(), id])?;
    rows.next()?.map(|row| Ok(text(row, 0, id)?.to_owned())).transpose()
}

/// A row that may hold what is looked for.
struct Stored<'a> {
    id: &'a str,
    created_at: f64,
    row: &'a Row<'a>,
}

impl Stored<'_> {
    fn value(&self) -> Result<Value, SqlError> {
        document::value(text(self.row, 2, self.id)?, self.id).map_err(|problem| unreadable(self.id, &problem))
    }
}

/// The text of a document, which SQL may have stored as bytes.
fn text<'a>(row: &'a Row<'_>, column: usize, id: &str) -> Result<&'a str, SqlError> {
    row.get_ref(column)?.as_bytes().ok().and_then(|bytes| str::from_utf8(bytes).ok()).ok_or_else(|| unreadable(id, "it is no text"))
}

/// SQL and the package can store what is no JSON; `NaN` is an example.
pub(super) fn unreadable(id: &str, problem: &str) -> SqlError {
    let message = format!("the document `{id}` is not a JSON object that can be read ({problem}); replace or delete it");
    SqlError::ours(SqlErrorKind::Constraint, message)
}

/// Calls `visit` once for each document that `filter` may mean.
fn each(
    sql: &Connection,
    collection: &Name,
    filter: &Filter,
    mut visit: impl FnMut(Stored<'_>) -> Result<(), SqlError>,
) -> Result<(), SqlError> {
    let indexes = index::list(sql)?;
    let paths: Vec<_> = indexes.iter().map(|index| index.path().clone()).collect();
    let collection = collection.as_str();
    match Search::of(filter, &paths) {
        Search::All => all(sql, "SELECT id, created_at, doc FROM bh_docs WHERE collection = ?1", &[&collection], &mut visit),
        Search::Ids(ids) => {
            let one = "SELECT id, created_at, doc FROM bh_docs WHERE collection = ?1 AND id = ?2";
            ids.iter().try_for_each(|id| all(sql, one, &[&collection, id], &mut visit))
        }
        Search::Indexed(path, spans) => {
            let Some(index) = indexes.iter().find(|index| *index.path() == path) else { return Ok(()) };
            spans.iter().try_for_each(|span| match span {
                Span { to: Place::Null, .. } => all(sql, &lookup(index, "IS NULL"), &[&collection], &mut visit),
                Span { from, to } => all(sql, &lookup(index, "BETWEEN ?2 AND ?3"), &[&collection, from, to], &mut visit),
            })
        }
    }
}

/// The index is named, so that SQLite takes no other that begins with the collection, and fails rather than read all of it.
pub(super) fn lookup(index: &IndexPath, condition: &str) -> String {
    let (name, expression) = (index.name(), index.expression());
    format!("SELECT id, created_at, doc FROM bh_docs INDEXED BY {name} WHERE collection = ?1 AND {expression} {condition}")
}

fn all(
    sql: &Connection,
    select: &str,
    values: &[&dyn ToSql],
    visit: &mut dyn FnMut(Stored<'_>) -> Result<(), SqlError>,
) -> Result<(), SqlError> {
    let mut select = sql.prepare_cached(select)?;
    let mut rows = select.query(values)?;
    while let Some(row) = rows.next()? {
        let id = row.get_ref(0)?.as_str().map_err(rusqlite::Error::from)?;
        visit(Stored { id, created_at: seconds(row, 1)?, row })?;
    }
    Ok(())
}

impl ToSql for Place {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        match self {
            Self::Null => Ok(ToSqlOutput::Borrowed(ValueRef::Null)),
            Self::Number(number) => number.to_sql(),
            Self::Text(text) => text.to_sql(),
            // Every blob comes after all texts.
            Self::End => Ok(ToSqlOutput::Borrowed(ValueRef::Blob(&[]))),
        }
    }
}

/// A document that is meant.
struct Candidate {
    key: Vec<Value>,
    created_at: f64,
    id: String,
}

impl Candidate {
    fn size(&self) -> usize {
        EACH + self.id.len() + self.key.iter().map(size).sum::<usize>()
    }
}

fn size(value: &Value) -> usize {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => EACH,
        Value::String(text) => EACH + text.len(),
        Value::Array(elements) => EACH + elements.iter().map(size).sum::<usize>(),
        Value::Object(members) => EACH + members.iter().map(|(name, value)| name.len() + size(value)).sum::<usize>(),
    }
}

/// The first of those that were offered.
struct First<'a> {
    sort: &'a Sort,
    most: usize,
    kept: Vec<Candidate>,
    size: usize,
}

impl First<'_> {
    fn offer(&mut self, candidate: Candidate) -> Result<(), SqlError> {
        self.size += candidate.size();
        self.kept.push(candidate);
        // Seldom enough that sorting costs little for each.
        if self.kept.len() >= self.most.saturating_mul(2).saturating_add(64) || self.size > SORT_MEMORY {
            self.cut();
        }
        if self.size > SORT_MEMORY {
            let message = format!("more than {SORT_MEMORY} bytes would have to be sorted; narrow the filter, or skip fewer documents");
            return Err(SqlError::ours(SqlErrorKind::ResultTooLarge, message));
        }
        Ok(())
    }

    fn cut(&mut self) {
        self.kept.sort_by(|left, right| self.sort.order(left, right));
        self.kept.truncate(self.most);
        self.size = self.kept.iter().map(Candidate::size).sum();
    }

    fn in_order(mut self) -> Vec<Candidate> {
        self.cut();
        self.kept
    }
}

impl Sort {
    fn order(&self, left: &Candidate, right: &Candidate) -> Ordering {
        let age = || left.created_at.total_cmp(&right.created_at).then_with(|| left.id.cmp(&right.id));
        self.compare(&left.key, &right.key).then_with(age)
    }
}

/// What is answered, within the limits.
struct Documents<'a> {
    limits: &'a QueryLimits,
    texts: Vec<String>,
    size: u64,
}

impl Documents<'_> {
    fn push(&mut self, stored: String, id: &str, projection: Option<&Projection>) -> Result<(), SqlError> {
        let text = document::answer(stored, id).and_then(|text| match projection {
            Some(projection) => projection.of(&text),
            None => Ok(text),
        });
        let text = text.map_err(|problem| unreadable(id, &problem))?;
        self.size += text.len() as u64;
        if self.size > self.limits.max_result_size {
            let message =
                format!("the documents have more than {} bytes; ask for fewer, or for parts of them", self.limits.max_result_size);
            return Err(SqlError::ours(SqlErrorKind::ResultTooLarge, message));
        }
        self.texts.push(text);
        Ok(())
    }
}

/// Where a page of all documents ended.
#[derive(Debug, Clone, PartialEq)]
pub struct Cursor {
    created_at: f64,
    id: String,
}

/// Some documents of a collection in the order of their age.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Page {
    /// As JSON text.
    pub documents: Vec<String>,
    /// Where the next page begins, if there is one.
    pub next: Option<Cursor>,
}

impl std::fmt::Display for Cursor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.created_at, self.id)
    }
}

impl Cursor {
    /// Reads what it shows.
    pub fn parse(text: &str) -> Option<Self> {
        let (created_at, id) = text.split_once(':')?;
        let created_at: f64 = created_at.parse().ok()?;
        (!created_at.is_nan()).then(|| Self { created_at, id: id.to_owned() })
    }
}

/// The documents after the cursor; fewer than `limit` where the limits of the database are reached, but one at least.
pub(super) fn page(
    sql: &Connection,
    collection: &Name,
    after: Option<&Cursor>,
    limit: u64,
    limits: &QueryLimits,
) -> Result<Page, SqlError> {
    const PAGE: &str = "SELECT id, created_at, doc FROM bh_docs WHERE collection = ?1 AND (created_at, id) > (?2, ?3) \
                        ORDER BY created_at, id LIMIT ?4";
    let limit = limit.min(limits.max_rows).max(1);
    let (created_at, id) = after.map_or((f64::NEG_INFINITY, ""), |cursor| (cursor.created_at, &cursor.id));
    let mut select = sql.prepare_cached(PAGE)?;
    // One more, to know whether there is more.
    let mut rows = select.query(params![collection.as_str(), created_at, id, i64::try_from(limit + 1).unwrap_or(i64::MAX)])?;
    let (mut page, mut size, mut last) = (Page::default(), 0, None);
    while let Some(row) = rows.next()? {
        let id: String = row.get(0)?;
        let answer = document::answer(text(row, 2, &id)?.to_owned(), &id).map_err(|problem| unreadable(&id, &problem))?;
        size += answer.len() as u64;
        let is_full = page.documents.len() as u64 >= limit || size > limits.max_result_size;
        if is_full && last.is_some() {
            page.next = last;
            break;
        }
        last = Some(Cursor { created_at: seconds(row, 1)?, id });
        page.documents.push(answer);
    }
    Ok(page)
}
