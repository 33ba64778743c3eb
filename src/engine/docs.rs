//! Documents, in the table of the Python package.
//!
//! Owns: the calls of the view, and the statements that change documents. Does not own: how documents are looked up (`docs/find.rs`).
//! Invariants: a document's text carries the `_id` of its row; what a caller gives is bound, and the only text of his that becomes SQL is
//! the path of an index (`docs/index.rs`).

mod document;
mod filter;
mod find;
mod index;
mod json;
mod matches;
mod path;
mod projection;
mod sort;
mod spans;
#[cfg(test)]
mod tests;

use rand::Rng as _;
use rusqlite::{Connection, params};

use crate::database::Database;
use crate::error::Error;
use crate::seed::{altered, rows_counted, unix_seconds};
use crate::sql::{QueryLimits, SqlError};

pub use document::{DocumentError, Name, NameError, NewDocument};
pub use filter::{Filter, FilterError};
pub use find::{Cursor, Find, Found, Page};
pub use index::{IndexPath, IndexPathError};
pub use path::{Path, PathError};
pub use projection::{Projection, ProjectionError};
pub use sort::{Sort, SortError};

/// The documents of a database.
pub struct Docs<'a> {
    database: &'a Database,
}

/// Some of its documents, under one name.
pub struct Collection<'a> {
    docs: Docs<'a>,
    name: Name,
}

/// The collections that there are.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Collections {
    /// By name, each with how many documents it has.
    pub collections: Vec<(String, u64)>,
    /// There are more than `max_rows`, and the rest was cut off.
    pub truncated: bool,
}

impl Database {
    /// Its documents.
    pub fn docs(&self) -> Docs<'_> {
        Docs { database: self }
    }
}

impl<'a> Docs<'a> {
    /// The collection of this name; it is there as soon as it has a document.
    pub fn collection(self, name: Name) -> Collection<'a> {
        Collection { docs: self, name }
    }

    /// The collections that have documents.
    pub async fn collections(&self) -> Result<Collections, Error> {
        let limits = self.database.limits();
        self.ask(move |sql| collections(sql, &limits)).await
    }

    /// The paths that have an index.
    pub async fn indexes(&self) -> Result<Vec<IndexPath>, Error> {
        self.ask(index::list).await
    }

    /// Makes an index on the path, for all collections; `false` if there is one.
    pub async fn create_index(&self, path: IndexPath) -> Result<bool, Error> {
        self.change(move |sql| index::create(sql, &path)).await
    }

    /// Drops the index on the path; `false` if there is none.
    pub async fn drop_index(&self, path: IndexPath) -> Result<bool, Error> {
        self.change(move |sql| index::remove(sql, &path)).await
    }

    async fn ask<T: Send + 'static>(&self, ask: impl FnOnce(&Connection) -> Result<T, SqlError> + Send + 'static) -> Result<T, Error> {
        self.database.ask(|sql| ask(sql).map_err(altered("bh_docs"))).await
    }

    async fn change<T: Send + 'static>(
        &self,
        change: impl FnOnce(&Connection) -> Result<T, SqlError> + Send + 'static,
    ) -> Result<T, Error> {
        self.database.change(|sql| change(sql).map_err(altered("bh_docs"))).await
    }
}

impl Collection<'_> {
    /// Inserts all of them or none; answers with their ids. Fails as a constraint where one of the ids is taken.
    pub async fn insert(&self, documents: Vec<(Name, NewDocument)>) -> Result<Vec<Name>, Error> {
        let (name, now) = (self.name.clone(), self.now());
        self.docs.change(move |sql| insert(sql, &name, documents, now)).await
    }

    /// Puts another document in the place of this one; `false` if there is none.
    pub async fn replace(&self, id: Name, document: NewDocument) -> Result<bool, Error> {
        let (name, now) = (self.name.clone(), self.now());
        self.docs.change(move |sql| store(sql, &name, &id, &document.text(&id), now)).await
    }

    /// Replaces members of a document by those of `patch`, in one step; answers with what became of it, if there is one.
    pub async fn update(&self, id: Name, patch: NewDocument) -> Result<Option<String>, Error> {
        let (name, now) = (self.name.clone(), self.now());
        self.docs.change(move |sql| update(sql, &name, &id, patch, now)).await
    }

    /// Deletes a document; `false` if there is none.
    pub async fn delete(&self, id: Name) -> Result<bool, Error> {
        let name = self.name.clone();
        self.docs.change(move |sql| delete(sql, &name, &id)).await
    }

    /// Deletes all documents; answers with how many there were.
    pub async fn clear(&self) -> Result<u64, Error> {
        let name = self.name.clone();
        self.docs.change(move |sql| clear(sql, &name)).await
    }

    /// A document as JSON text.
    pub async fn get(&self, id: Name) -> Result<Option<String>, Error> {
        let name = self.name.clone();
        self.docs.ask(move |sql| get(sql, &name, &id)).await
    }

    /// The documents that are meant.
    pub async fn find(&self, find: Find) -> Result<Found, Error> {
        let (name, limits) = (self.name.clone(), self.docs.database.limits());
        self.docs.ask(move |sql| find::find(sql, &name, &find, &limits)).await
    }

    /// The first of the documents that are meant.
    pub async fn find_one(&self, filter: Filter) -> Result<Option<String>, Error> {
        Ok(self.find(Find { filter, limit: Some(1), ..Find::default() }).await?.documents.pop())
    }

    /// How many documents are meant.
    pub async fn count(&self, filter: Filter) -> Result<u64, Error> {
        let name = self.name.clone();
        self.docs.ask(move |sql| find::count(sql, &name, &filter)).await
    }

    /// All documents by their age, page by page.
    pub async fn page(&self, after: Option<Cursor>, limit: u64) -> Result<Page, Error> {
        let (name, limits) = (self.name.clone(), self.docs.database.limits());
        self.docs.ask(move |sql| find::page(sql, &name, after.as_ref(), limit, &limits)).await
    }

    fn now(&self) -> f64 {
        unix_seconds(self.docs.database.wall())
    }
}

impl NewDocument {
    /// With the id that it wants, or one of its own.
    pub fn with_id(self) -> Result<(Name, Self), DocumentError> {
        let id = match self.wanted_id()? {
            Some(id) => id,
            None => fresh_id(draw()),
        };
        Ok((id, self))
    }
}

/// Nobody guesses it, and no two are alike.
#[allow(clippy::disallowed_methods, reason = "ids of documents are drawn here alone")]
fn draw() -> u128 {
    rand::rng().random()
}

/// As the package makes them: the hexadecimal digits of a random UUID (RFC 9562, version 4).
fn fresh_id(random: u128) -> Name {
    let marked = random & !(0xf << 76) & !(0x3 << 62) | (0x4 << 76) | (0x2 << 62);
    Name::id(format!("{marked:032x}")).expect("32 digits are an id")
}

fn insert(sql: &Connection, collection: &Name, documents: Vec<(Name, NewDocument)>, now: f64) -> Result<Vec<Name>, SqlError> {
    let mut insert = sql.prepare_cached("INSERT INTO bh_docs (collection, id, doc, created_at, updated_at) VALUES (?1, ?2, ?3, ?4, ?4)")?;
    let mut ids = Vec::with_capacity(documents.len());
    let mut time = now;
    for (id, document) in documents {
        insert
            .execute(params![collection.as_str(), id.as_str(), document.text(&id), time])
            .map_err(|error| taken(error, collection, &id))?;
        ids.push(id);
        // They are listed by their age, so those of one request get each its own.
        time += 1e-6;
    }
    Ok(ids)
}

fn taken(error: rusqlite::Error, collection: &Name, id: &Name) -> SqlError {
    let said = SqlError::from(error);
    match said.extended_code {
        rusqlite::ffi::SQLITE_CONSTRAINT_PRIMARYKEY => {
            SqlError { message: format!("the collection `{collection}` has a document `{id}` already; none was inserted"), ..said }
        }
        _ => said,
    }
}

fn store(sql: &Connection, collection: &Name, id: &Name, text: &str, now: f64) -> Result<bool, SqlError> {
    let mut update = sql.prepare_cached("UPDATE bh_docs SET doc = ?3, updated_at = ?4 WHERE collection = ?1 AND id = ?2")?;
    Ok(update.execute(params![collection.as_str(), id.as_str(), text, now])? > 0)
}

fn update(sql: &Connection, collection: &Name, id: &Name, patch: NewDocument, now: f64) -> Result<Option<String>, SqlError> {
    let Some(stored) = find::get(sql, collection, id.as_str())? else { return Ok(None) };
    let merged = patch.merged_into(&stored, id).map_err(|problem| find::unreadable(id.as_str(), &problem))?;
    store(sql, collection, id, &merged, now)?;
    Ok(Some(merged))
}

fn delete(sql: &Connection, collection: &Name, id: &Name) -> Result<bool, SqlError> {
    let mut delete = sql.prepare_cached("DELETE FROM bh_docs WHERE collection = ?1 AND id = ?2")?;
    Ok(delete.execute([collection.as_str(), id.as_str()])? > 0)
}

fn clear(sql: &Connection, collection: &Name) -> Result<u64, SqlError> {
    Ok(sql.prepare_cached("DELETE FROM bh_docs WHERE collection = ?1")?.execute([collection.as_str()])? as u64)
}

fn get(sql: &Connection, collection: &Name, id: &Name) -> Result<Option<String>, SqlError> {
    let Some(stored) = find::get(sql, collection, id.as_str())? else { return Ok(None) };
    document::answer(stored, id.as_str()).map(Some).map_err(|problem| find::unreadable(id.as_str(), &problem))
}

fn collections(sql: &Connection, limits: &QueryLimits) -> Result<Collections, SqlError> {
    let mut select = sql.prepare_cached("SELECT collection, count(*) FROM bh_docs GROUP BY collection ORDER BY collection")?;
    let mut rows = select.query([])?;
    let (mut found, mut size) = (Collections::default(), 0);
    while let Some(row) = rows.next()? {
        let name: String = row.get(0)?;
        size += name.len() as u64;
        if found.collections.len() as u64 >= limits.max_rows || size > limits.max_result_size {
            found.truncated = true;
            break;
        }
        found.collections.push((name, rows_counted(row, 1)?));
    }
    Ok(found)
}
