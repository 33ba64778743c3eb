//! What SQL that comes from outside may do. Pure: an action in, a verdict out.
//!
//! Everything is refused that is not listed. What concerns rows and tables is left to SQLite's defensive mode, which protects the schema
//! and the shadow tables.

use rusqlite::hooks::{AuthAction, AuthContext};
use rusqlite::limits::Limit;

use super::Rules;
use crate::sql::SqlErrorKind;

/// Why an action is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Denial {
    pub(super) kind: SqlErrorKind,
    pub(super) message: String,
}

/// PRAGMAs that only tell something; an argument names what they tell of.
const TELLING: [&str; 14] = [
    "data_version",
    "foreign_key_check",
    "foreign_key_list",
    "function_list",
    "index_info",
    "index_list",
    "index_xinfo",
    "integrity_check",
    "optimize",
    "quick_check",
    "table_info",
    "table_list",
    "table_xinfo",
    "collation_list",
];

/// PRAGMAs that tell something without an argument, and with one would change what is not the caller's.
const TELLING_WITHOUT_ARGUMENT: [&str; 16] = [
    "auto_vacuum",
    "busy_timeout",
    "cache_size",
    "compile_options",
    "database_list",
    "encoding",
    "freelist_count",
    "journal_mode",
    "max_page_count",
    "module_list",
    "page_count",
    "page_size",
    "pragma_list",
    "read_uncommitted",
    "schema_version",
    "synchronous",
];

/// PRAGMAs that change the database, or end with the transaction.
const CHANGEABLE: [&str; 3] = ["application_id", "defer_foreign_keys", "user_version"];

/// PRAGMAs that change the connection; no other request gets that connection. SQLite ignores `foreign_keys` within a transaction.
const SETTINGS: [&str; 2] = ["foreign_keys", "recursive_triggers"];

/// Functions that reach into the process. SQLite has them switched off as well.
const FUNCTIONS: [&str; 2] = ["fts3_tokenizer", "load_extension"];

/// Modules of virtual tables.
const MODULES: [&str; 4] = ["fts5", "fts5vocab", "rtree", "rtree_i32"];

/// Against statements that would take SQLite's stack or memory. Bulk inserts of ORMs fit.
pub(super) const LIMITS: [(Limit, i32); 12] = [
    (Limit::SQLITE_LIMIT_LENGTH, 16 << 20),
    (Limit::SQLITE_LIMIT_SQL_LENGTH, 256 << 10),
    (Limit::SQLITE_LIMIT_COLUMN, 500),
    (Limit::SQLITE_LIMIT_EXPR_DEPTH, 100),
    (Limit::SQLITE_LIMIT_COMPOUND_SELECT, 50),
    (Limit::SQLITE_LIMIT_VDBE_OP, 250_000),
    (Limit::SQLITE_LIMIT_FUNCTION_ARG, 127),
    (Limit::SQLITE_LIMIT_ATTACHED, 0),
    (Limit::SQLITE_LIMIT_LIKE_PATTERN_LENGTH, 256),
    (Limit::SQLITE_LIMIT_VARIABLE_NUMBER, 4096),
    (Limit::SQLITE_LIMIT_TRIGGER_DEPTH, 16),
    (Limit::SQLITE_LIMIT_WORKER_THREADS, 0),
];

/// Whether SQL from outside may do this.
pub(super) fn judge(context: &AuthContext<'_>, rules: Rules) -> Result<(), Denial> {
    let temporary = context.database_name.is_some_and(|name| name.eq_ignore_ascii_case("temp"));
    match context.action {
        AuthAction::Select
        | AuthAction::Recursive
        | AuthAction::Read { .. }
        // ALTER TABLE looks for temporary views and triggers to change. SQLite itself lets no other statement write to a schema.
        | AuthAction::Update { table_name: "sqlite_temp_master", .. } => Ok(()),
        AuthAction::Function { function_name } => function(function_name),
        AuthAction::Pragma { pragma_name, pragma_value } => pragma(pragma_name, pragma_value),
        AuthAction::Transaction { .. } | AuthAction::Savepoint { .. } if rules == Rules::Stream => Ok(()),
        AuthAction::Transaction { .. } | AuthAction::Savepoint { .. } => Err(Denial {
            kind: SqlErrorKind::Statement,
            message: "BEGIN, COMMIT, ROLLBACK and SAVEPOINT are refused: the request is the transaction".to_owned(),
        }),
        AuthAction::CreateVtable { module_name, .. } | AuthAction::DropVtable { module_name, .. } if !temporary => module(module_name),
        AuthAction::CreateIndex { .. }
        | AuthAction::CreateTable { .. }
        | AuthAction::CreateTrigger { .. }
        | AuthAction::CreateView { .. }
        | AuthAction::DropIndex { .. }
        | AuthAction::DropTable { .. }
        | AuthAction::DropTrigger { .. }
        | AuthAction::DropView { .. }
        | AuthAction::AlterTable { .. }
        | AuthAction::Reindex { .. }
        | AuthAction::Analyze { .. }
        | AuthAction::Insert { .. }
        | AuthAction::Update { .. }
        | AuthAction::Delete { .. }
            if !temporary =>
        {
            Ok(())
        }
        // VACUUM, too, asks for ATTACH.
        AuthAction::Attach { .. } | AuthAction::Detach { .. } => Err(forbidden("ATTACH, DETACH and VACUUM are not allowed")),
        _ if temporary => Err(forbidden("temporary tables, views, indexes and triggers are not allowed")),
        _ => Err(forbidden("this is not allowed")),
    }
}

/// Whether this allowed action changes the connection and not the database.
pub(super) fn changes_setting(action: &AuthAction<'_>) -> bool {
    matches!(action, AuthAction::Pragma { pragma_name, pragma_value: Some(_) } if lists(&SETTINGS, pragma_name))
}

fn forbidden(message: impl Into<String>) -> Denial {
    Denial { kind: SqlErrorKind::Forbidden, message: message.into() }
}

fn function(name: &str) -> Result<(), Denial> {
    if lists(&FUNCTIONS, name) { Err(forbidden(format!("{name}() is not allowed"))) } else { Ok(()) }
}

fn module(name: &str) -> Result<(), Denial> {
    if lists(&MODULES, name) { Ok(()) } else { Err(forbidden(format!("virtual tables of module {name} are not allowed"))) }
}

fn pragma(name: &str, value: Option<&str>) -> Result<(), Denial> {
    if lists(&TELLING, name) || lists(&CHANGEABLE, name) || lists(&SETTINGS, name) {
        return Ok(());
    }
    match value {
        None if lists(&TELLING_WITHOUT_ARGUMENT, name) => Ok(()),
        Some(_) if lists(&TELLING_WITHOUT_ARGUMENT, name) => Err(forbidden(format!("PRAGMA {name} may be read but not set"))),
        _ => Err(forbidden(format!("PRAGMA {name} is not allowed"))),
    }
}

fn lists(names: &[&str], name: &str) -> bool {
    names.iter().any(|listed| listed.eq_ignore_ascii_case(name))
}
