//! Telling what commits change, to those who listen.
//!
//! Owns: when a commit may be told, and which tables are told of. Does not own: what is known of commits (`feed.rs`), nor names of states.
//! Invariant: a commit is told only when readers see it, and commits are told in their order.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use parking_lot::Mutex;
use rusqlite::Connection;
use tokio_util::task::AbortOnDropHandle;

use super::{Commits, MemoryDatabase, Sees};
use crate::feed::{Found, Listening, Noted, Position, RowKind};
use crate::sql::{QueryLimits, Spent, SqlError};
use crate::tasks::spawn_owned;

/// A table of the engine's own, of which nobody is told.
const RESERVED: &str = "bh_idempotency";

/// Part of what one commit changed. Nothing tells the values: whoever wants them reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowChange {
    /// The table; none if it is the schema.
    pub table: Option<String>,
    /// What was done.
    pub kind: ChangeKind,
    /// The row. None in a table without row ids, and where it is not one row.
    pub rowid: Option<i64>,
}

/// What was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChangeKind {
    /// A row came.
    Insert,
    /// A row changed.
    Update,
    /// A row went.
    Delete,
    /// Rows of the table, of which nobody says which.
    Many,
    /// Tables, indexes, views or triggers.
    Schema,
}

/// What a listener hears.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Heard {
    /// All that follows this position will be told. Comes once, unless it is a reset.
    Begun(Position),
    /// One commit; nothing of it if it changed what nobody is told of.
    Commit { commits: Commits, position: Position, changes: Vec<RowChange> },
    /// What changed before this position is not known: read anew.
    Reset(Position),
}

/// What the listeners of a database share.
#[derive(Default)]
pub(super) struct Shared {
    /// Ends the feed when nobody has listened for long enough.
    keeper: Mutex<Option<AbortOnDropHandle<()>>>,
    catalogue: Mutex<Option<Arc<Catalogue>>>,
}

/// What kind of tables there are.
struct Catalogue {
    /// Read under this schema,
    schema: u32,
    /// or a later one, that of this version.
    at: Commits,
    tables: HashMap<String, Sort>,
}

/// Those that are told of in another way than most.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Sort {
    WithoutRowid,
    /// It holds what this virtual table shows.
    Shadow(String),
}

/// Somebody who listens.
pub(crate) struct MemoryListener {
    database: MemoryDatabase,
    listening: Listening,
    place: Place,
}

#[derive(Clone, Copy)]
enum Place {
    /// Begins here, if all that follows is known; at the newest commit that is seen, if nothing is said.
    Beginning(Option<Position>),
    At(Position),
}

impl MemoryDatabase {
    /// Listens from a position on, or from now on. `None` if too many do.
    pub(crate) fn listen(&self, after: Option<Position>) -> Option<MemoryListener> {
        let feed = self.0.file.feed();
        let (listening, is_first) = feed.join(|| self.0.file.store().commits())?;
        if is_first {
            *self.0.listening.keeper.lock() = Some(spawn_owned(Arc::clone(feed).keep()));
        }
        Some(MemoryListener { database: self.clone(), listening, place: Place::Beginning(after) })
    }

    /// The tables of the schema that a commit left, or of a later one: a change of the schema is told by itself.
    async fn catalogue(&self, noted: &Noted, limits: &QueryLimits) -> Result<Arc<Catalogue>, SqlError> {
        let known = self.0.listening.catalogue.lock().clone();
        if let Some(known) = known.filter(|known| known.schema == noted.schema || known.at >= noted.commits) {
            return Ok(known);
        }
        let ((schema, tables), at) = self.ask(limits, &mut Spent::default(), |connection| Ok(read(connection)?)).await?;
        let read = Arc::new(Catalogue { schema, at: at.unwrap_or_default(), tables });
        *self.0.listening.catalogue.lock() = Some(Arc::clone(&read));
        Ok(read)
    }
}

impl MemoryListener {
    /// Waits for what is next. An error means that this cannot be told now; `limits` bound how long it takes to find out. Nothing is lost if the
    /// future is dropped.
    pub(crate) async fn next(&mut self, limits: &QueryLimits) -> Result<Heard, SqlError> {
        loop {
            self.listening.look();
            if let Some(heard) = self.look(limits).await? {
                self.place = Place::At(match heard {
                    Heard::Begun(position) | Heard::Reset(position) | Heard::Commit { position, .. } => position,
                });
                return Ok(heard);
            }
            self.listening.woken().await;
        }
    }

    async fn look(&self, limits: &QueryLimits) -> Result<Option<Heard>, SqlError> {
        let visible = self.database.commits_for(Sees::Shown);
        let seen = |position: &Position| position.commits() <= visible;
        match self.place {
            Place::Beginning(None) => Ok(self.listening.begin(visible).filter(seen).map(Heard::Begun)),
            Place::Beginning(Some(position)) if self.listening.holds(position) && seen(&position) => Ok(Some(Heard::Begun(position))),
            Place::Beginning(Some(_)) => Ok(self.listening.begin(visible).filter(seen).map(Heard::Reset)),
            Place::At(position) => match self.listening.next(position, visible) {
                Found::Nothing => Ok(None),
                Found::Lost(position) => Ok(Some(position).filter(seen).map(Heard::Reset)),
                Found::Commit(position, noted) => {
                    let catalogue = self.database.catalogue(&noted, limits).await?;
                    Ok(Some(Heard::Commit { commits: noted.commits, position, changes: catalogue.changes(&noted) }))
                }
            },
        }
    }
}

impl Catalogue {
    /// What is told of a commit.
    fn changes(&self, noted: &Noted) -> Vec<RowChange> {
        let schema = noted.changes_schema.then_some(RowChange { table: None, kind: ChangeKind::Schema, rowid: None });
        let mut changes: Vec<_> = schema.into_iter().collect();
        let mut told = HashSet::new();
        let mut many = |table: &str| {
            told.insert(table.to_owned()).then(|| RowChange { table: Some(table.to_owned()), kind: ChangeKind::Many, rowid: None })
        };
        match noted.touched.rows() {
            Some(rows) => changes.extend(rows.filter_map(|(table, row)| match self.tables.get(table) {
                _ if table == RESERVED => None,
                Some(Sort::Shadow(of)) => many(of),
                Some(Sort::WithoutRowid) => Some(RowChange { table: Some(table.to_owned()), kind: row.kind.into(), rowid: None }),
                None => Some(RowChange { table: Some(table.to_owned()), kind: row.kind.into(), rowid: Some(row.rowid) }),
            })),
            None => changes.extend(noted.touched.tables().filter_map(|table| match self.tables.get(table) {
                _ if table == RESERVED => None,
                Some(Sort::Shadow(of)) => many(of),
                Some(Sort::WithoutRowid) | None => many(table),
            })),
        }
        changes
    }
}

impl From<RowKind> for ChangeKind {
    fn from(kind: RowKind) -> Self {
        match kind {
            RowKind::Insert => Self::Insert,
            RowKind::Update => Self::Update,
            RowKind::Delete => Self::Delete,
        }
    }
}

/// The schema's cookie, and the tables of that schema or of a later one.
fn read(connection: &Connection) -> Result<(u32, HashMap<String, Sort>), rusqlite::Error> {
    // SQLite keeps 32 bits, and shows them with a sign.
    let schema = connection.query_row("PRAGMA schema_version", [], |row| row.get::<_, i32>(0))?.cast_unsigned();
    let mut list = connection.prepare("PRAGMA main.table_list")?;
    let mut rows = list.query([])?;
    let mut tables = HashMap::new();
    while let Some(row) = rows.next()? {
        let (name, sort, is_without_rowid): (String, String, bool) = (row.get("name")?, row.get("type")?, row.get("wr")?);
        if sort == "shadow" {
            // SQLite finds the virtual table by what comes before the last underscore.
            let of = name.rsplit_once('_').map_or_else(|| name.clone(), |(of, _)| of.to_owned());
            tables.insert(name, Sort::Shadow(of));
        } else if is_without_rowid {
            tables.insert(name, Sort::WithoutRowid);
        }
    }
    Ok((schema, tables))
}
