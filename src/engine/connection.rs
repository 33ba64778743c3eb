//! Connections to a database in memory: how they are opened, what they may do, how a statement on them is stopped.
//!
//! Owns: the settings that every connection gets, and the state that its hooks share. Does not own: which request runs on which
//! connection, nor what a request is.
//! Invariant: SQL from outside runs only on a [`Session`], whose authorizer is in force whenever the engine itself is not speaking; and
//! what the engine prepares never enters the session's statement cache.

mod program;
mod sandbox;
pub(crate) mod threads;
mod watch;

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use rusqlite::config::DbConfig;
use rusqlite::hooks::{Action, AuthContext, Authorization};
use rusqlite::{Connection, OpenFlags};
use tokio::time::Instant;

use crate::clock::Clock;
use crate::pages::Sees;
use crate::sql::{SqlError, SqlErrorKind};
use crate::vfs::{self, Registered};
use sandbox::Denial;
pub(crate) use watch::{Brief, Cancel, Pause};
use watch::{Stop, Watch};

/// What a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// Sees one version at a time and cannot write.
    Reader,
    /// The one whose turn it is in the queue.
    Writer,
}

impl Role {
    /// Which version its transactions begin with.
    pub(crate) fn sees(self) -> Sees {
        match self {
            Self::Reader => Sees::Shown,
            Self::Writer => Sees::Newest,
        }
    }
}

/// Who says where transactions begin and end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rules {
    /// The engine: each request is one.
    Request,
    /// The caller, with BEGIN, COMMIT, ROLLBACK and SAVEPOINT.
    Stream,
}

/// Statements are kept prepared, the last used ones.
const CACHED_STATEMENTS: usize = 64;

/// A connection without a sandbox, for the engine's own statements.
pub(crate) fn open_trusted(database: &Registered, role: Role) -> Result<Connection, rusqlite::Error> {
    // A connection is used by one thread at a time, so SQLite needs no mutex. CREATE only lets it write the first page.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let vfs = vfs::vfs_name().map_err(|code| rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(code), None))?;
    let connection = Connection::open_with_flags_and_vfs(database.file_name(), flags, vfs)?;
    for (config, on) in [
        (DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true),
        (DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false),
        (DbConfig::SQLITE_DBCONFIG_ENABLE_ATTACH_CREATE, role == Role::Writer),
        (DbConfig::SQLITE_DBCONFIG_ENABLE_FTS3_TOKENIZER, false),
        // Off as in stock SQLite; the bundled build turns it on.
        (DbConfig::SQLITE_DBCONFIG_ENABLE_FKEY, false),
    ] {
        connection.set_db_config(config, on)?;
    }
    // The page cache holds little: readers get the store's own pages. A writer's holds what a transaction changes, so that it spills late.
    let cache = match role {
        Role::Reader => "PRAGMA cache_size = -256; PRAGMA query_only = ON;",
        Role::Writer => "PRAGMA cache_size = -8192;",
    };
    connection.execute_batch(cache)?;
    // A commit reaches no disk here. Any mmap size turns `xFetch` on.
    connection.execute_batch("PRAGMA temp_store = MEMORY; PRAGMA mmap_size = 1099511627776; PRAGMA synchronous = OFF;")?;
    // Whoever writes has waited for its turn in our queue; SQLite has nothing to wait for.
    connection.busy_timeout(Duration::ZERO)?;
    connection.set_prepared_statement_cache_capacity(CACHED_STATEMENTS);
    Ok(connection)
}

/// Whether the feed is told of the rows that this connection touches from now on. What is prepared is prepared anew: without the hook SQLite
/// makes `DELETE FROM t` one step that tells of no row.
pub(crate) fn record(connection: &Connection, records: bool) -> Result<(), rusqlite::Error> {
    vfs::record(connection, records).map_err(|code| rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(code), None))?;
    connection.flush_prepared_statement_cache();
    Ok(())
}

/// What the hooks of a session tell.
struct Hooks {
    /// The engine's own statements run, which may do what the caller's may not.
    engine_speaks: AtomicBool,
    /// What the authorizer refused last.
    denial: Mutex<Option<Denial>>,
    /// Some table with row ids got a row.
    inserted: AtomicBool,
    /// A PRAGMA that lasts with the connection was allowed.
    settings_changed: AtomicBool,
    rules: Rules,
    watch: Watch,
}

/// A sandboxed connection.
pub(crate) struct Session {
    connection: Connection,
    hooks: Arc<Hooks>,
    /// The cookie of the schema that it has read at least.
    schema: Cell<Option<u32>>,
    sees: Cell<Sees>,
    /// The feed is told of the rows that it touches.
    records: Cell<bool>,
}

impl Session {
    pub(crate) fn open(database: &Registered, role: Role, rules: Rules, clock: Arc<dyn Clock>) -> Result<Self, rusqlite::Error> {
        let mut connection = open_trusted(database, role)?;
        for (limit, value) in sandbox::LIMITS {
            connection.set_limit(limit, value)?;
        }
        let hooks = Arc::new(Hooks {
            engine_speaks: AtomicBool::new(false),
            denial: Mutex::new(None),
            inserted: AtomicBool::new(false),
            settings_changed: AtomicBool::new(false),
            rules,
            watch: Watch::new(clock),
        });
        let seen = Arc::clone(&hooks);
        connection.authorizer(Some(move |context: AuthContext<'_>| seen.authorize(&context)))?;
        let (seen, interrupt) = (Arc::clone(&hooks), connection.get_interrupt_handle());
        let ask = move || {
            // SQLite asks once more when a statement has ended, and with the answer it tells of one that is done and committed that it was
            // interrupted. An interrupt stops what still runs at its next jump, and nothing else.
            if seen.watch.must_stop() {
                interrupt.interrupt();
            }
            false
        };
        connection.progress_handler(watch::STEPS, Some(ask))?;
        let seen = Arc::clone(&hooks);
        connection.update_hook(Some(move |action, _: &str, _: &str, _| {
            if action == Action::SQLITE_INSERT {
                seen.inserted.store(true, Ordering::Relaxed);
            }
        }))?;
        let session = Self { connection, hooks, schema: Cell::new(None), sees: Cell::default(), records: Cell::default() };
        session.see(role.sees())?;
        Ok(session)
    }

    /// Which version its next transaction begins with; one that is open goes on with its own.
    pub(crate) fn see(&self, sees: Sees) -> Result<(), rusqlite::Error> {
        if self.sees.get() != sees {
            vfs::see(&self.connection, sees).map_err(|code| rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(code), None))?;
            self.sees.set(sees);
        }
        Ok(())
    }

    /// Whether the feed is told of the rows that its statements touch from now on.
    pub(crate) fn record(&self, records: bool) -> Result<(), rusqlite::Error> {
        if self.records.get() != records {
            record(&self.connection, records)?;
            self.records.set(records);
        }
        Ok(())
    }

    /// For statements of the caller.
    pub(crate) fn connection(&self) -> &Connection {
        &self.connection
    }

    /// Runs a statement of the engine's own. Deadline and cancellation do not touch it.
    pub(crate) fn speak(&self, sql: &str) -> Result<(), rusqlite::Error> {
        self.hooks.watch.end();
        self.speak_within(sql)
    }

    /// The same while deadline and cancellation are those of the caller's statement.
    pub(crate) fn speak_within(&self, sql: &str) -> Result<(), rusqlite::Error> {
        self.speaking(|connection| connection.execute_batch(sql))
    }

    /// What the engine does on the connection while the authorizer lets it.
    fn speaking<T>(&self, speak: impl FnOnce(&Connection) -> T) -> T {
        self.hooks.engine_speaks.store(true, Ordering::Relaxed);
        let said = speak(&self.connection);
        self.hooks.engine_speaks.store(false, Ordering::Relaxed);
        said
    }

    /// From here the caller's statement runs, until [`Session::speak`] or the next `begin`.
    pub(crate) fn begin(&self, timeout: Duration, cancel: &Cancel) {
        self.hooks.inserted.store(false, Ordering::Relaxed);
        *self.hooks.denial.lock() = None;
        self.hooks.watch.begin(timeout, cancel.clone());
    }

    /// What begins from now on must be brief, or is stopped; see [`Session::is_brief`]. For a thread on which others wait.
    /// `worked` is what this thread has worked so far.
    pub(crate) fn briefly(&self, worked: Duration) -> Brief<'_> {
        self.hooks.watch.briefly(worked)
    }

    /// Whether no step of a statement takes long by itself: it may still have many. `sql` is known to be one that may run.
    pub(crate) fn is_brief(&self, sql: &str) -> bool {
        let records = self.records.get();
        // While it tells of rows SQLite deletes one by one what it else deletes in one long step, and nobody may take that for brief.
        let is_brief = self.record(false).and_then(|()| self.speaking(|connection| program::is_brief(connection, sql)));
        self.record(records).and(is_brief).unwrap_or(false)
    }

    /// The cookie of the schema that it has read: its statements need not be prepared anew as long as it is the database's.
    pub(crate) fn schema(&self) -> Option<u32> {
        self.schema.get()
    }

    pub(crate) fn set_schema(&self, cookie: u32) {
        self.schema.set(Some(cookie));
    }

    /// By the clock of its deadlines.
    pub(crate) fn now(&self) -> Instant {
        self.hooks.watch.now()
    }

    /// The deadline stands still until what is returned is dropped.
    pub(crate) fn pause(&self) -> Pause<'_> {
        self.hooks.watch.pause()
    }

    /// What `last_insert_rowid()` tells before anything is inserted here.
    pub(crate) fn set_last_insert_rowid(&self, rowid: i64) {
        vfs::set_last_insert_rowid(&self.connection, rowid);
    }

    /// Whether another request may run here: no transaction is left open and no setting changed. Setting it back would make SQLite
    /// prepare every cached statement again, so a changed connection is opened anew instead.
    pub(crate) fn is_reusable(&self) -> bool {
        self.connection.is_autocommit() && !self.hooks.settings_changed.load(Ordering::Relaxed)
    }

    /// Whether the statement that ran last put a row into a table with row ids.
    pub(crate) fn has_inserted(&self) -> bool {
        self.hooks.inserted.load(Ordering::Relaxed)
    }

    /// Whether the deadline, or whoever left, ended what ran last.
    pub(crate) fn was_stopped(&self) -> bool {
        self.hooks.watch.stopped().is_some()
    }

    /// What SQLite said, in the words of whoever made it say so: the sandbox, the deadline, the caller who left.
    pub(crate) fn explain(&self, error: &rusqlite::Error) -> SqlError {
        self.refine(SqlError::from(error))
    }

    /// The same for an error that is one of ours already.
    pub(crate) fn refine(&self, said: SqlError) -> SqlError {
        if said.primary_code() == rusqlite::ffi::SQLITE_INTERRUPT {
            return match self.hooks.watch.stopped() {
                Some(Stop::Deadline) => SqlError { kind: SqlErrorKind::Timeout, message: "the statement took too long".to_owned(), ..said },
                Some(Stop::Cancelled | Stop::NotBrief) | None => SqlError { kind: SqlErrorKind::Cancelled, ..said },
            };
        }
        // What the authorizer denies fails the statement, but not always with SQLITE_AUTH.
        match self.hooks.denial.lock().take() {
            Some(Denial { kind, message }) => SqlError { kind, message, ..said },
            None => said,
        }
    }
}

impl Hooks {
    fn authorize(&self, context: &AuthContext<'_>) -> Authorization {
        if self.engine_speaks.load(Ordering::Relaxed) {
            return Authorization::Allow;
        }
        match sandbox::judge(context, self.rules) {
            Ok(()) => {
                self.settings_changed.fetch_or(sandbox::changes_setting(&context.action), Ordering::Relaxed);
                Authorization::Allow
            }
            Err(denial) => {
                *self.denial.lock() = Some(denial);
                Authorization::Deny
            }
        }
    }
}
