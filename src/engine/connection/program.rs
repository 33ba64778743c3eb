//! What a prepared statement does step by step, as EXPLAIN tells it: whether each step is over soon, whatever the data, and whether the
//! statement by itself is all or nothing.
//!
//! Everything is long that is not listed: steps that walk over a whole table by themselves, functions whose work grows with their
//! arguments, virtual tables, changes of the schema, the ends of transactions.

use rusqlite::Connection;

/// The columns of EXPLAIN.
const OPCODE: usize = 1;
const P2: usize = 3;
const P4: usize = 5;

/// More are not looked at.
const LONGEST: usize = 500;

/// Steps that touch a few pages, or a value, which has at most 16 MiB. `Abortable` and `ReleaseReg` do nothing, and stand only in what SQLite's
/// debug builds prepare.
const BRIEF: &str = "
    Init Goto Gosub InitCoroutine Yield MustBeInt Jump Once If IfNot IsType Not IfNullRow SeekLT SeekLE SeekGE SeekGT IfNoHope
    NoConflict NotFound Found SeekRowid NotExists Last IfSizeBetween SorterSort Sort Rewind IfEmpty SorterNext Prev Next IdxLE IdxGT
    IdxLT IdxGE Or And IFindKey RowSetRead RowSetTest RowSetAdd Program Param FkIfZero FkCheck FkCounter IsNull NotNull Ne Eq Gt Le Lt
    Ge ElseEq IfPos IfNotZero DecrJumpZero Filter FilterAdd Return EndCoroutine Integer Int64 Real String String8 BeginSubrtn Null
    SoftNull Blob Variable Move Copy SCopy IntCopy ResultRow CollSeq AddImm RealAffinity Cast Permutation Compare IsTrue ZeroOrNull
    Column TypeCheck Affinity MakeRecord BitAnd BitOr BitNot ShiftLeft ShiftRight Add Subtract Multiply Divide Remainder Concat
    Transaction OpenRead OpenWrite ReopenIdx OpenDup OpenAutoindex OpenEphemeral SorterOpen SequenceTest OpenPseudo Close ColumnsUsed
    SeekScan SeekHit SeekEnd Sequence NewRowid Insert RowCell Delete ResetCount SorterCompare SorterData RowData Rowid NullRow
    IdxInsert SorterInsert IdxDelete DeferredSeek IdxRowid FinishSeek MemMax OffsetLimit CursorHint Abortable ReleaseReg Noop Explain
    Trace TableLock
";

/// Steps that call a function.
const CALLS: &str = "Function PureFunc AggStep AggStep1 AggFinal AggValue AggInverse";

/// Functions that do the same little work for any argument.
const FUNCTIONS: &str = "
    abs avg changes coalesce count date datetime ifnull iif julianday last_insert_rowid max min nullif random round sum time total
    total_changes typeof unixepoch
";

/// What a conflict does to what the statement did before: nothing. It is `OE_Fail`, the second operand of the steps that end a statement.
const FAIL: i64 = 3;

/// Whether the statement consists of such steps alone, and undoes all that it did if it fails.
pub(super) fn is_brief(connection: &Connection, sql: &str) -> Result<bool, rusqlite::Error> {
    let mut explain = connection.prepare(&format!("EXPLAIN {sql}"))?;
    let mut steps = explain.raw_query();
    let mut count = 0;
    while let Some(step) = steps.next()? {
        count += 1;
        let opcode = step.get_ref(OPCODE)?.as_str()?;
        let is_brief = match opcode {
            _ if count > LONGEST => false,
            "Halt" | "HaltIfNull" => step.get_ref(P2)?.as_i64()? != FAIL,
            _ if lists(CALLS, opcode) => step.get_ref(P4)?.as_str_or_null()?.is_some_and(is_brief_call),
            _ => lists(BRIEF, opcode),
        };
        if !is_brief {
            return Ok(false);
        }
    }
    Ok(count > 0)
}

fn lists(words: &str, word: &str) -> bool {
    words.split_ascii_whitespace().any(|listed| listed == word)
}

/// `count(0)`, as EXPLAIN writes a function and the number of its arguments.
fn is_brief_call(call: &str) -> bool {
    call.split_once('(').is_some_and(|(name, _)| lists(FUNCTIONS, name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connection() -> Connection {
        let connection = Connection::open_in_memory().unwrap();
        connection
            .execute_batch(
                "CREATE TABLE t(id INTEGER PRIMARY KEY, a TEXT UNIQUE, b REAL); CREATE INDEX by_b ON t(b); CREATE TABLE loud(a);
                 CREATE TRIGGER heard AFTER INSERT ON loud BEGIN UPDATE t SET a = hex(zeroblob(1000000)); END; CREATE TABLE soft(a);
                 CREATE TRIGGER kept AFTER INSERT ON soft BEGIN INSERT INTO t(b) VALUES(new.a); END;
                 CREATE VIRTUAL TABLE words USING fts5(w);",
            )
            .unwrap();
        connection
    }

    #[test]
    fn statements_of_few_pages_are_brief() {
        let connection = connection();
        for sql in [
            "SELECT a FROM t WHERE id = ?",
            "SELECT a, b FROM t WHERE b BETWEEN ? AND ? ORDER BY b DESC LIMIT 10",
            "SELECT max(b), count(a), sum(b) FROM t WHERE id > ? GROUP BY a HAVING count(*) > 1",
            "SELECT x.a FROM t x JOIN t y ON y.a = x.a WHERE x.id = ? UNION SELECT a FROM t",
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5) SELECT i FROM n",
            "INSERT INTO t(a, b) VALUES(?, ?) ON CONFLICT(a) DO UPDATE SET b = excluded.b",
            "INSERT INTO t(a) SELECT a FROM t WHERE id = ?",
            "UPDATE t SET b = b + 1, a = coalesce(a, typeof(b)) WHERE id = ?",
            "DELETE FROM t WHERE id = ? RETURNING a",
            "INSERT INTO soft VALUES(1)",
            "VALUES(1, 'x', datetime('now'), last_insert_rowid())",
        ] {
            assert_eq!(is_brief(&connection, sql), Ok(true), "{sql}");
        }
    }

    #[test]
    fn whatever_may_take_long_in_a_single_step_is_not() {
        let connection = connection();
        for sql in [
            "SELECT count(*) FROM t",
            "DELETE FROM t",
            "SELECT hex(zeroblob(?))",
            "SELECT a FROM t WHERE a LIKE ?",
            "SELECT a FROM t WHERE a GLOB ?",
            "SELECT group_concat(a) FROM t",
            "SELECT printf(?, 1)",
            "SELECT value FROM json_each(?)",
            "SELECT * FROM words WHERE words MATCH ?",
            "INSERT INTO words VALUES(?)",
            "INSERT INTO loud VALUES(1)",
            "INSERT OR FAIL INTO t(a) VALUES(1)",
            "UPDATE OR FAIL t SET a = 1 WHERE id = 1",
            "CREATE TABLE u(a)",
            "DROP TABLE t",
            "ALTER TABLE t ADD COLUMN c",
            "BEGIN",
            "COMMIT",
            "SAVEPOINT s",
            "VACUUM",
            "ANALYZE",
            "REINDEX",
            "PRAGMA integrity_check",
            "PRAGMA user_version = 1",
            "PRAGMA user_version",
        ] {
            assert_eq!(is_brief(&connection, sql), Ok(false), "{sql}");
        }
        for sql in ["EXPLAIN SELECT 1", "SELECT nope", "", "SELECT 1; SELECT 2 FROM"] {
            assert_ne!(is_brief(&connection, sql), Ok(true), "{sql}");
        }
    }
}
