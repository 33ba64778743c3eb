//! Scripts of SQL with their answers, `tests/sql/*.slt`, in the format of sqllogictest: on stock SQLite, so that no script is wrong, and on
//! our file system. Values are written as SQL literals, so that 1, 1.0 and '1' are three answers.

use std::path::{Path, PathBuf};

use parking_lot::Mutex;
use rusqlite::Batch;
use rusqlite::config::DbConfig;
use rusqlite::fallible_iterator::FallibleIterator as _;
use rusqlite::types::ValueRef;
use sqllogictest::{DBOutput, DefaultColumnType, Runner};

use super::*;

/// The least that SQLite takes seriously: most transactions spill.
const CACHE: &str = "PRAGMA cache_size = 8";

/// Fills in the answers that stock SQLite gives, where the scripts have others or none.
const UPDATE: &str = "BUCKETHEAD_UPDATE_SCRIPTS";

/// A connection that the runner of a script and the checks after it use by turns.
#[derive(Clone)]
struct Shared(Arc<Mutex<Connection>>);

impl sqllogictest::DB for Shared {
    type Error = rusqlite::Error;
    type ColumnType = DefaultColumnType;

    /// Runs all statements of a record; the last one's answer is the record's.
    fn run(&mut self, sql: &str) -> Result<DBOutput<DefaultColumnType>, rusqlite::Error> {
        let connection = self.0.lock();
        let mut statements = Batch::new(&connection, sql);
        let mut output = DBOutput::StatementComplete(0);
        while let Some(mut statement) = statements.next()? {
            let width = statement.column_count();
            let mut rows = statement.raw_query();
            let mut table = Table { types: vec![None; width], rows: Vec::new() };
            while let Some(row) = rows.next()? {
                table.push(row, width)?;
            }
            output = if width > 0 { table.output() } else { DBOutput::StatementComplete(connection.changes()) };
        }
        Ok(output)
    }
}

/// The rows of one statement, and what the values of each column are as long as all are the same, NULL aside.
struct Table {
    types: Vec<Option<DefaultColumnType>>,
    rows: Vec<Vec<String>>,
}

impl Table {
    fn push(&mut self, row: &rusqlite::Row<'_>, width: usize) -> Result<(), rusqlite::Error> {
        let mut cells = Vec::new();
        for at in 0..width {
            let value = row.get_ref(at)?;
            let seen = match value {
                ValueRef::Null => None,
                ValueRef::Integer(_) => Some(DefaultColumnType::Integer),
                ValueRef::Real(_) => Some(DefaultColumnType::FloatingPoint),
                ValueRef::Text(_) => Some(DefaultColumnType::Text),
                ValueRef::Blob(_) => Some(DefaultColumnType::Any),
            };
            self.types[at] = match (self.types[at].take(), seen) {
                (Some(one), Some(other)) if one != other => Some(DefaultColumnType::Any),
                (one, other) => one.or(other),
            };
            cells.push(literal(value));
        }
        self.rows.push(cells);
        Ok(())
    }

    fn output(self) -> DBOutput<DefaultColumnType> {
        let types = self.types.into_iter().map(|column| column.unwrap_or(DefaultColumnType::Any)).collect();
        DBOutput::Rows { types, rows: self.rows }
    }
}

/// On one line, whatever is in it.
fn literal(value: ValueRef<'_>) -> String {
    match value {
        ValueRef::Null => "NULL".to_owned(),
        ValueRef::Integer(integer) => integer.to_string(),
        // As many digits as tell it from its neighbours.
        ValueRef::Real(real) => format!("{real:?}"),
        ValueRef::Text(text) => {
            let text = String::from_utf8_lossy(text).replace('\'', "''");
            let plain = |character: char| if character.is_control() { character.escape_default().collect() } else { character.to_string() };
            format!("'{}'", text.chars().map(plain).collect::<String>())
        }
        ValueRef::Blob(blob) => format!("x'{}'", hex::encode(blob)),
    }
}

/// A column without values, or with values of several types, goes by any letter.
fn columns_agree(actual: &[DefaultColumnType], expected: &[DefaultColumnType]) -> bool {
    let agree = |(actual, expected): (&DefaultColumnType, &DefaultColumnType)| *actual == DefaultColumnType::Any || actual == expected;
    actual.len() == expected.len() && actual.iter().zip(expected).all(agree)
}

fn stock(page_size: PageSize) -> Shared {
    let stock = Connection::open_in_memory().unwrap();
    stock.execute_batch(&format!("PRAGMA page_size = {}; PRAGMA user_version = 0", page_size.get())).unwrap();
    // As our connections have it; the rest is SQLite's own.
    stock.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_FKEY, false).unwrap();
    stock.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true).unwrap();
    stock.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false).unwrap();
    Shared(Arc::new(Mutex::new(stock)))
}

fn run(script: &Path, connection: &Shared) -> Result<(), String> {
    let connection = connection.clone();
    let mut runner = Runner::new(move || futures::future::ready(Ok(connection.clone())));
    runner.with_normalizer(String::clone);
    runner.with_column_validator(|actual, expected| columns_agree(actual, expected));
    runner.run_file(script).map_err(|error| error.to_string())
}

fn update(script: &Path) {
    let connection = stock(PageSize::DEFAULT);
    let mut runner = Runner::new(move || futures::future::ready(Ok(connection.clone())));
    let update = runner
        .update_test_file(script, " ", sqllogictest::default_validator, String::clone, |actual, expected| columns_agree(actual, expected));
    futures::executor::block_on(update).unwrap();
}

/// Or the error: some virtual tables cannot give all.
type Rows = Result<Vec<Vec<String>>, String>;

/// All rows of all tables, shadow tables with them, in the order in which SQLite keeps them.
fn content(connection: &Connection) -> Vec<(String, Rows)> {
    let mut tables = connection.prepare("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name").unwrap();
    let names: Vec<String> = tables.query_map([], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap();
    let rows = |name: &str| -> rusqlite::Result<Vec<Vec<String>>> {
        let mut select = connection.prepare(&format!("SELECT * FROM \"{name}\""))?;
        let width = select.column_count();
        select.query_map([], |row| (0..width).map(|at| Ok(literal(row.get_ref(at)?))).collect())?.collect()
    };
    let all = names.iter().map(String::as_str).chain(["sqlite_schema"]);
    all.map(|name| (name.to_owned(), rows(name).map_err(|error| error.to_string()))).collect()
}

fn check(script: &Path, page_size: u32) -> Result<(), String> {
    let page_size = PageSize::new(page_size).unwrap();
    let stock = stock(page_size);
    run(script, &stock).map_err(|error| format!("stock SQLite: {error}"))?;
    let database = MemoryDatabase::new(MemoryOptions { page_size, ..options() }).unwrap();
    let ours = Shared(Arc::new(Mutex::new(database.connect().unwrap())));
    ours.0.lock().execute_batch(CACHE).unwrap();
    run(script, &ours)?;
    let (stock, ours) = (stock.0.lock(), ours.0.lock());
    ensure(stock.is_autocommit(), || "the script leaves a transaction open".to_owned())?;
    let expected = content(&stock);
    database.check()?;
    let bytes = image(&database.pin());
    let pages: i64 = ours.query_row("PRAGMA page_count", [], |row| row.get(0)).unwrap();
    ensure(bytes.len() as u64 == pages.cast_unsigned() * u64::from(page_size.get()), || {
        "the image has not as many pages as it says".to_owned()
    })?;
    let again = MemoryDatabase::load(bytes.as_slice(), options()).unwrap();
    ensure(image(&again.pin()) == bytes, || "the image changes when it is loaded".to_owned())?;
    again.check()?;
    for connection in [&*ours, &again.connect().unwrap()] {
        for (ours, stock) in content(connection).into_iter().zip(&expected) {
            ensure(ours == *stock, || format!("we hold {ours:?}, and stock SQLite {stock:?}"))?;
        }
    }
    Ok(())
}

fn ensure(holds: bool, otherwise: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(otherwise()) }
}

fn scripts() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/sql");
    let files = folder.read_dir().unwrap().map(|entry| entry.unwrap().path());
    let mut scripts: Vec<PathBuf> = files.filter(|file| file.extension().is_some_and(|extension| extension == "slt")).collect();
    scripts.sort();
    scripts
}

#[test]
fn scripts_give_the_same_on_our_file_system_and_on_stock_sqlite() {
    let scripts = scripts();
    assert!(scripts.len() > 20, "the scripts are not where they should be");
    if std::env::var_os(UPDATE).is_some() {
        for script in &scripts {
            update(script);
        }
    }
    let mut failures = Vec::new();
    for script in &scripts {
        for page_size in [512, 4096] {
            if let Err(error) = check(script, page_size) {
                failures.push(format!("{} with pages of {page_size} bytes: {error}", script.display()));
            }
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
}

#[test]
fn a_script_with_a_wrong_answer_is_found_out() {
    for wrong in [
        "query I\nSELECT 1\n----\n2\n",
        "query I\nSELECT '1'\n----\n1\n",
        "query T\nSELECT 1\n----\n1\n",
        "query I\nSELECT 1, 2\n----\n1 2\n",
        "query T\nSELECT 'a  b'\n----\n'a b'\n",
        "statement ok\nSELECT nothing\n",
        "statement error\nSELECT 1\n",
        "statement error no such table\nSELECT nothing\n",
        "statement count 2\nCREATE TABLE t(a); INSERT INTO t VALUES(1)\n",
    ] {
        let folder = tempfile::tempdir().unwrap();
        let script = folder.path().join("wrong.slt");
        std::fs::write(&script, wrong).unwrap();
        assert!(run(&script, &stock(PageSize::DEFAULT)).is_err(), "{wrong}");
    }
}
