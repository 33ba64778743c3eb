//! The rows of `filestore`, as the Python package writes and reads them.
//!
//! Whoever may run SQL may write anything into this table. So a row never decides which object is read: the object's name is made of the
//! prefix and the row's key, and a row that names another object is told as such.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use rusqlite::types::{FromSql, FromSqlResult, Type, ValueRef};
use rusqlite::{Connection, OptionalExtension as _, Row, params};

use super::names::{FileKey, FilesPrefix};
use crate::clock::WallTime;
use crate::sql::SqlError;

/// What a client says about a file.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Description {
    /// The media type.
    pub mime: Option<String>,
    /// A name for people; no path is ever made of it.
    pub filename: Option<String>,
    /// Whatever else the client wants to find again.
    pub metadata: BTreeMap<String, String>,
}

/// A file that a database has.
#[derive(Debug, Clone, PartialEq)]
pub struct FileRecord {
    /// SHA-256 of its content.
    pub key: FileKey,
    /// Where the row says that the content lies.
    pub(crate) object_key: String,
    /// In bytes.
    pub size: u64,
    /// What its client said about it.
    pub description: Description,
    /// Seconds since 1970.
    pub created_at: f64,
}

/// Casts, because a column holds whatever was put into it.
const COLUMNS: &str = "bh_key, CAST(object_key AS TEXT), CAST(size AS INTEGER), CAST(mime AS TEXT), CAST(filename AS TEXT), \
                       CAST(created_at AS REAL), CAST(metadata AS TEXT)";
/// Rows whose key can name a file. The package writes no others.
const SOUND: &str = "typeof(bh_key) = 'text' AND length(bh_key) = 64 AND bh_key NOT GLOB '*[^0-9a-f]*'";

/// The row of a file, if there is one.
pub(crate) fn find(connection: &Connection, key: &FileKey) -> Result<Option<FileRecord>, SqlError> {
    let mut statement = connection.prepare_cached(&format!("SELECT {COLUMNS} FROM filestore WHERE bh_key = ?"))?;
    Ok(statement.query_row([key.to_string()], record).optional()?)
}

/// Newest first, those of the same moment by their keys, from behind `after`. A file that is not there has nothing behind it.
pub(crate) fn list(connection: &Connection, limit: u32, after: Option<&FileKey>) -> Result<Vec<FileRecord>, SqlError> {
    let behind = "AND (created_at, bh_key) < (SELECT created_at, bh_key FROM filestore WHERE bh_key = ?2)";
    let behind = if after.is_some() { behind } else { "" };
    let sql = format!("SELECT {COLUMNS} FROM filestore WHERE {SOUND} {behind} ORDER BY created_at DESC, bh_key DESC LIMIT ?1");
    let mut statement = connection.prepare_cached(&sql)?;
    let rows = match after {
        Some(after) => statement.query_map(params![limit, after.to_string()], record)?,
        None => statement.query_map(params![limit], record)?,
    };
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Makes sure that there is a row for a content that is in the bucket; tells whether it is new. Of a row that is there already only what
/// is wrong with it changes, as in the package.
pub(crate) fn keep(
    connection: &Connection,
    prefix: &FilesPrefix,
    (key, size): (&FileKey, u64),
    description: &Description,
    now: WallTime,
) -> Result<(FileRecord, bool), SqlError> {
    let before = find(connection, key)?;
    let object_key = prefix.blob(key);
    let mut statement = connection.prepare_cached(
        "INSERT INTO filestore (bh_key, object_key, size, mime, filename, created_at, metadata) VALUES (?, ?, ?, ?, ?, ?, ?) \
         ON CONFLICT (bh_key) DO UPDATE SET object_key = excluded.object_key, size = excluded.size \
         WHERE object_key IS NOT excluded.object_key OR size IS NOT excluded.size",
    )?;
    let Description { mime, filename, metadata } = description;
    let created_at = now.as_duration().as_secs_f64();
    // SQLite counts in 64 bits with a sign; no store takes an object that needs more.
    let size = i64::try_from(size).unwrap_or(i64::MAX);
    statement.execute(params![key.to_string(), object_key.as_str(), size, mime, filename, created_at, python_json(metadata)])?;
    let record = find(connection, key)?.ok_or(rusqlite::Error::QueryReturnedNoRows)?;
    Ok((record, before.is_none()))
}

/// Whether there was a row.
pub(crate) fn delete(connection: &Connection, key: &FileKey) -> Result<bool, SqlError> {
    Ok(connection.prepare_cached("DELETE FROM filestore WHERE bh_key = ?")?.execute([key.to_string()])? > 0)
}

fn record(row: &Row<'_>) -> Result<FileRecord, rusqlite::Error> {
    let key = row.get_ref(0)?.as_str().ok().and_then(|text| FileKey::parse(text).ok());
    let key = key.ok_or_else(|| rusqlite::Error::InvalidColumnType(0, "bh_key".to_owned(), Type::Text))?;
    Ok(FileRecord {
        key,
        object_key: row.get::<_, Lossy>(1)?.0.unwrap_or_default(),
        // A size that cannot be is none that an object has.
        size: row.get::<_, Option<i64>>(2)?.and_then(|size| u64::try_from(size).ok()).unwrap_or(u64::MAX),
        description: Description {
            mime: row.get::<_, Lossy>(3)?.0,
            filename: row.get::<_, Lossy>(4)?.0,
            metadata: row.get::<_, Lossy>(6)?.0.and_then(|json| serde_json::from_str(&json).ok()).unwrap_or_default(),
        },
        created_at: row.get::<_, Option<f64>>(5)?.unwrap_or_default(),
    })
}

/// Text, whatever bytes were put there.
struct Lossy(Option<String>);

impl FromSql for Lossy {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        Ok(Self(value.as_bytes_or_null()?.map(|bytes| String::from_utf8_lossy(bytes).into_owned())))
    }
}

/// As `json.dumps` writes it, so that either side's rows are the same: a blank after each comma and colon, and nothing but ASCII. Nothing for
/// an empty map.
fn python_json(metadata: &BTreeMap<String, String>) -> Option<String> {
    let pairs: Vec<_> = metadata.iter().map(|(name, value)| format!("{}: {}", python_string(name), python_string(value))).collect();
    (!pairs.is_empty()).then(|| format!("{{{}}}", pairs.join(", ")))
}

fn python_string(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            '\u{8}' => quoted.push_str("\\b"),
            '\u{c}' => quoted.push_str("\\f"),
            ' '..='~' => quoted.push(c),
            _ => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    write!(quoted, "\\u{unit:04x}").expect("a string takes all that is written");
                }
            }
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seed;

    const NOW: &str = "2026-11-23T08:00:00.25Z";

    fn key(byte: u8) -> FileKey {
        FileKey::of_digest([byte; 32])
    }

    fn prefix() -> FilesPrefix {
        FilesPrefix::parse("files/").unwrap()
    }

    fn empty() -> Connection {
        let connection = Connection::open_in_memory().unwrap();
        connection.execute_batch(seed::TABLES).unwrap();
        connection
    }

    fn put(connection: &Connection, byte: u8, at: &str) -> (FileRecord, bool) {
        keep(connection, &prefix(), (&key(byte), 5), &Description::default(), at.parse().unwrap()).unwrap()
    }

    #[test]
    fn a_row_is_written_as_the_package_writes_it() {
        let connection = empty();
        let metadata = [("b", "grü\u{1f600}ße"), ("a", "\"\\\n\u{7f}")].map(|(k, v)| (k.to_owned(), v.to_owned())).into();
        let description = Description { mime: Some("text/plain".to_owned()), filename: Some("ä.txt".to_owned()), metadata };
        let (record, is_new) = keep(&connection, &prefix(), (&key(1), 5), &description, NOW.parse().unwrap()).unwrap();
        assert!(is_new);
        assert_eq!(record.description, description);
        let row: (String, String, i64, f64, String, String) = connection
            .query_row("SELECT bh_key, object_key, size, created_at, typeof(created_at), metadata FROM filestore", [], |row| {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?, row.get(5)?))
            })
            .unwrap();
        let json = r#"{"a": "\"\\\n\u007f", "b": "gr\u00fc\ud83d\ude00\u00dfe"}"#;
        let name = "01".repeat(32);
        assert_eq!(row, (name.clone(), format!("files/{name}"), 5, 1_795_420_800.25, "real".to_owned(), json.to_owned()));
        put(&connection, 2, NOW);
        let bare: bool = connection
            .query_row("SELECT mime IS NULL AND filename IS NULL AND metadata IS NULL FROM filestore WHERE bh_key LIKE '02%'", [], |row| {
                row.get(0)
            })
            .unwrap();
        assert!(bare);
    }

    #[test]
    fn a_row_that_is_there_keeps_all_but_what_is_wrong_with_it() {
        let connection = empty();
        let described = Description { filename: Some("first".to_owned()), ..Description::default() };
        keep(&connection, &prefix(), (&key(1), 5), &described, NOW.parse().unwrap()).unwrap();
        connection.execute("UPDATE filestore SET size = 4, object_key = 'elsewhere'", []).unwrap();
        let other = Description { filename: Some("second".to_owned()), ..Description::default() };
        let (record, is_new) = keep(&connection, &prefix(), (&key(1), 5), &other, "2026-11-24T08:00:00Z".parse().unwrap()).unwrap();
        assert!(!is_new);
        assert_eq!((record.size, record.object_key.as_str()), (5, prefix().blob(&key(1)).as_str()));
        assert_eq!((record.description, record.created_at), (described, 1_795_420_800.25));
    }

    #[test]
    fn a_listing_goes_from_the_newest_to_the_oldest_by_pages() {
        let connection = empty();
        for (byte, at) in [(1, "08:00:02"), (2, "08:00:01"), (3, "08:00:01"), (4, "08:00:03")] {
            put(&connection, byte, &format!("2026-11-23T{at}Z"));
        }
        let page = |limit, after: Option<u8>| {
            let records = list(&connection, limit, after.map(key).as_ref()).unwrap();
            records.into_iter().map(|record| u8::from_str_radix(&record.key.to_string()[..2], 16).unwrap()).collect::<Vec<_>>()
        };
        assert_eq!(page(100, None), [4, 1, 3, 2]);
        assert_eq!(page(2, None), [4, 1]);
        assert_eq!(page(2, Some(1)), [3, 2]);
        assert_eq!(page(100, Some(2)), [0_u8; 0]);
        assert_eq!(page(100, Some(9)), [0_u8; 0]);
    }

    #[test]
    fn rows_that_sql_put_there_are_read_as_far_as_they_make_sense() {
        let connection = empty();
        let name = "01".repeat(32);
        let odd = "INSERT INTO filestore VALUES (?, x'ff', 'much', 7, x'80', 'now', 'no json')";
        connection.execute(odd, [&name]).unwrap();
        for name in ["x", "../../etc/passwd", &"0A".repeat(32), &"é".repeat(64)] {
            connection.execute("INSERT INTO filestore VALUES (?, 'k', 1, NULL, NULL, 1.0, NULL)", [name]).unwrap();
        }
        let listed = list(&connection, 100, None).unwrap();
        assert_eq!(listed.len(), 1);
        assert_eq!((listed[0].size, listed[0].created_at), (0, 0.0));
        assert_eq!(listed[0].description.mime.as_deref(), Some("7"));
        assert!(listed[0].description.metadata.is_empty());
        connection.execute("UPDATE filestore SET size = -1", []).unwrap();
        assert_eq!(find(&connection, &key(1)).unwrap().unwrap().size, u64::MAX);
    }

    #[test]
    fn deleting_tells_whether_there_was_a_row() {
        let connection = empty();
        put(&connection, 1, NOW);
        assert!(delete(&connection, &key(1)).unwrap());
        assert!(!delete(&connection, &key(1)).unwrap());
    }
}
