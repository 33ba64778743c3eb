use futures::FutureExt as _;

use super::stream::Each;
use super::*;
use crate::feed::Position;
use crate::pages::Sees;

/// Somebody who listens, and understands at once.
struct Ear(MemoryListener);

impl Ear {
    /// From now on.
    async fn of(database: &MemoryDatabase) -> Self {
        let (ear, heard) = Self::after(database, None).await;
        assert!(matches!(heard, Heard::Begun(_)), "{heard:?}");
        ear
    }

    async fn after(database: &MemoryDatabase, position: Option<Position>) -> (Self, Heard) {
        let mut ear = Self(database.listen(position).unwrap());
        let heard = ear.next().await;
        (ear, heard)
    }

    async fn next(&mut self) -> Heard {
        self.0.next(&QueryLimits::default()).await.unwrap()
    }

    /// What the next commit changed.
    async fn changes(&mut self) -> Vec<String> {
        match self.next().await {
            Heard::Commit { changes, .. } => changes.iter().map(in_words).collect(),
            other => panic!("{other:?}"),
        }
    }

    fn hears_nothing(&mut self) -> bool {
        self.0.next(&QueryLimits::default()).now_or_never().is_none()
    }

    async fn is_reset(&mut self) -> bool {
        matches!(self.next().await, Heard::Reset(_))
    }
}

fn in_words(RowChange { table, kind, rowid }: &RowChange) -> String {
    let table = table.as_deref().unwrap_or("-");
    rowid.map_or_else(|| format!("{kind:?} {table}"), |rowid| format!("{kind:?} {table} {rowid}"))
}

/// With the tables that these statements make, and somebody who listens.
async fn listened(sql: &str) -> (MemoryDatabase, Ear) {
    let database = database();
    write(&database, sql).await.unwrap();
    let ear = Ear::of(&database).await;
    (database, ear)
}

async fn told(sql: &str, writes: &[&str]) -> Vec<Vec<String>> {
    let (database, mut ear) = listened(sql).await;
    let mut told = Vec::new();
    for sql in writes {
        write(&database, sql).await.unwrap();
        told.push(ear.changes().await);
    }
    assert!(ear.hears_nothing());
    told
}

#[tokio::test]
async fn each_row_is_told_that_a_commit_inserts_changes_or_deletes() {
    let told = told(
        "CREATE TABLE t(a INTEGER PRIMARY KEY, b UNIQUE); CREATE TABLE u(a)",
        &[
            "INSERT INTO t VALUES(5, 1), (6, 2)",
            "UPDATE t SET b = b + 10 WHERE a = 5; DELETE FROM t WHERE a = 6; INSERT INTO u VALUES(1)",
            "UPDATE t SET a = -1",
            "INSERT OR REPLACE INTO t VALUES(-1, 3)",
            "INSERT OR REPLACE INTO t VALUES(8, 3)",
            "INSERT INTO t VALUES(8, 9) ON CONFLICT(a) DO UPDATE SET b = 4",
        ],
    )
    .await;
    let expected: [&[&str]; 6] = [
        &["Insert t 5", "Insert t 6"],
        &["Update t 5", "Delete t 6", "Insert u 1"],
        &["Delete t 5", "Insert t -1"],
        &["Delete t -1", "Insert t -1"],
        &["Delete t -1", "Insert t 8"],
        &["Update t 8"],
    ];
    assert_eq!(told, expected);
}

#[tokio::test]
async fn rows_that_triggers_and_foreign_keys_change_are_told() {
    let told = told(
        "CREATE TABLE t(a); CREATE TABLE log(a); CREATE TRIGGER heard AFTER INSERT ON t BEGIN INSERT INTO log VALUES(new.a); END;
         CREATE TABLE counted(a INTEGER PRIMARY KEY AUTOINCREMENT); CREATE TABLE copy(a)",
        &[
            "INSERT INTO t VALUES(1)",
            "INSERT INTO counted DEFAULT VALUES",
            "INSERT INTO log SELECT a FROM log",
            "INSERT INTO copy SELECT * FROM t",
        ],
    )
    .await;
    assert_eq!(told, [&["Insert t 1", "Insert log 1"][..], &["Insert counted 1"], &["Insert log 2"], &["Insert copy 1"]]);
}

#[tokio::test]
async fn a_table_that_is_emptied_tells_of_each_row_even_if_the_statement_was_prepared_before() {
    let database = database();
    write(&database, "CREATE TABLE t(a); CREATE TABLE u(a)").await.unwrap();
    for _ in 0..4 {
        write(&database, "INSERT INTO t VALUES(1)").await.unwrap();
        write(&database, "DELETE FROM t").await.unwrap();
    }
    let mut ear = Ear::of(&database).await;
    for _ in 0..4 {
        for table in ["t", "u"] {
            write(&database, &format!("INSERT INTO {table} VALUES(1)")).await.unwrap();
            write(&database, &format!("DELETE FROM {table}")).await.unwrap();
            assert_eq!((ear.changes().await, ear.changes().await), (vec![format!("Insert {table} 1")], vec![format!("Delete {table} 1")]));
        }
    }
    assert!(database.runs_at_once("INSERT INTO t VALUES(1)"));
    // Of the second it was seen first while somebody listened, which nobody does for ever.
    for sql in ["DELETE FROM t", "DELETE FROM u"] {
        assert!(!database.runs_at_once(sql), "{sql}");
    }
}

#[tokio::test]
async fn what_is_rolled_back_is_not_told() {
    let (database, mut ear) = listened("CREATE TABLE t(a UNIQUE)").await;
    // Row ids of their own: the same row again would be told once all the same.
    write(&database, "INSERT INTO t(rowid, a) VALUES(7, 1), (8, 1)").await.unwrap_err();
    let mut stream = database.stream(false);
    run(&mut stream, &["BEGIN", "INSERT INTO t(rowid, a) VALUES(9, 1)", "ROLLBACK", "BEGIN", "INSERT INTO t(rowid, a) VALUES(10, 1)"])
        .await;
    drop(stream);
    write(&database, "INSERT INTO t VALUES(3)").await.unwrap();
    assert_eq!(ear.changes().await, ["Insert t 1"]);
    assert!(ear.hears_nothing());
}

#[tokio::test]
async fn a_savepoint_that_is_rolled_back_is_told_rather_too_much_than_too_little() {
    let (database, mut ear) = listened("CREATE TABLE t(a INTEGER PRIMARY KEY)").await;
    let mut stream = database.stream(false);
    let statements =
        ["BEGIN", "INSERT INTO t VALUES(1)", "SAVEPOINT s", "INSERT INTO t VALUES(2)", "ROLLBACK TO s", "INSERT INTO t VALUES(3)"];
    run(&mut stream, &statements).await;
    assert!(ear.hears_nothing(), "it has not committed");
    run(&mut stream, &["COMMIT"]).await;
    assert_eq!(ear.changes().await, ["Insert t 1", "Insert t 2", "Insert t 3"]);
    // All that it did is undone, so there is no commit.
    run(&mut stream, &["BEGIN", "SAVEPOINT s", "INSERT INTO t VALUES(4)", "ROLLBACK TO s", "COMMIT"]).await;
    write(&database, "INSERT INTO t VALUES(5)").await.unwrap();
    let mut changes = ear.changes().await;
    if changes == ["Insert t 4"] {
        changes = ear.changes().await;
    }
    assert_eq!(changes, ["Insert t 5"]);
}

#[tokio::test]
async fn rows_without_row_ids_are_told_without() {
    let told = told(
        "CREATE TABLE t(a PRIMARY KEY, b) WITHOUT ROWID; CREATE TABLE r(a INTEGER PRIMARY KEY)",
        &[
            "INSERT INTO t VALUES('x', 1), ('y', 2)",
            "UPDATE t SET b = 3 WHERE a = 'x'",
            "INSERT OR REPLACE INTO t VALUES('x', 4)",
            "DELETE FROM t",
            "INSERT INTO r VALUES(0)",
        ],
    )
    .await;
    assert!(told[0].iter().all(|change| change == "Insert t"), "{told:?}");
    assert_eq!((&told[1][..], &told[4][..]), (&["Update t".to_owned()][..], &["Insert r 0".to_owned()][..]));
    assert!(told[2].contains(&"Insert t".to_owned()) && told[3].contains(&"Delete t".to_owned()), "{told:?}");
}

#[tokio::test]
async fn a_change_of_the_schema_is_told_as_such() {
    let told = told(
        "CREATE TABLE t(a); INSERT INTO t VALUES(1)",
        &[
            "CREATE TABLE u(a PRIMARY KEY) WITHOUT ROWID; INSERT INTO u VALUES(1)",
            "ALTER TABLE t ADD COLUMN b",
            "CREATE INDEX i ON t(a)",
            "DROP TABLE u",
        ],
    )
    .await;
    assert_eq!(told[0], ["Schema -", "Insert u"]);
    assert!(told[1..].iter().all(|changes| changes[0] == "Schema -"), "{told:?}");
}

#[tokio::test]
async fn of_virtual_tables_it_is_told_that_they_changed_and_of_reserved_ones_nothing() {
    let (database, mut ear) = listened(
        "CREATE VIRTUAL TABLE words USING fts5(w); CREATE VIRTUAL TABLE my_boxes USING rtree(id, x0, x1);
         CREATE TABLE bh_idempotency(a); CREATE VIEW v AS SELECT missing FROM nowhere",
    )
    .await;
    write(&database, "INSERT INTO words VALUES('a'); INSERT INTO words VALUES('b')").await.unwrap();
    write(&database, "INSERT INTO my_boxes VALUES(1, 2, 3)").await.unwrap();
    assert_eq!((ear.changes().await, ear.changes().await), (vec!["Many words".to_owned()], vec!["Many my_boxes".to_owned()]));
    write(&database, "INSERT INTO bh_idempotency VALUES(1)").await.unwrap();
    assert!(ear.changes().await.is_empty());
    write(&database, "PRAGMA user_version = 3").await.unwrap();
    assert!(ear.hears_nothing());
}

#[tokio::test]
async fn of_a_commit_with_too_many_rows_the_tables_are_told() {
    let rows =
        |rows| format!("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {rows}) INSERT INTO t SELECT i FROM n");
    let told = told("CREATE TABLE t(a); CREATE TABLE u(a)", &[&rows(10_000), &format!("{}; INSERT INTO u VALUES(1)", rows(10_001))]).await;
    assert_eq!((told[0].len(), &told[1][..]), (10_000, &["Many t".to_owned(), "Many u".to_owned()][..]));
}

#[tokio::test]
async fn whoever_comes_during_a_transaction_or_cannot_know_is_told_to_read_anew() {
    let database = database();
    write(&database, "CREATE TABLE t(a)").await.unwrap();
    let mut stream = database.stream(false);
    run(&mut stream, &["BEGIN", "INSERT INTO t VALUES(1)"]).await;
    let mut ear = Ear::of(&database).await;
    run(&mut stream, &["INSERT INTO t VALUES(2)", "COMMIT"]).await;
    assert!(ear.is_reset().await);
    run(&mut stream, &["BEGIN", "INSERT INTO t VALUES(3)", "COMMIT"]).await;
    assert_eq!(ear.changes().await, ["Insert t 3"], "the next one tells");

    database.connect().unwrap().execute_batch("INSERT INTO t VALUES(4)").unwrap();
    assert!(ear.is_reset().await, "a connection of the program's own tells nothing");
    database.update(|transaction| Ok(transaction.execute("INSERT INTO t VALUES(5)", [])?)).await.unwrap();
    assert_eq!(ear.changes().await, ["Insert t 5"]);

    let other = MemoryDatabase::fork(&database.pin(), options());
    write(&other, "INSERT INTO t VALUES(6)").await.unwrap();
    database.switch(&other.pin()).await.unwrap();
    assert!(ear.is_reset().await, "another branch");
    write(&database, "INSERT INTO t VALUES(7)").await.unwrap();
    assert_eq!(ear.changes().await, ["Insert t 7"]);
    assert!(ear.hears_nothing());
}

#[tokio::test]
async fn nothing_is_told_that_readers_do_not_see() {
    let (database, mut before) = listened("CREATE TABLE t(a)").await;
    database.show(Some(&database.pin()));
    write(&database, "INSERT INTO t VALUES(1)").await.unwrap();
    assert!(before.hears_nothing());
    database.show(Some(&database.pin()));
    assert_eq!(before.changes().await, ["Insert t 1"]);
    drop(before);

    // The first to listen begins behind what readers see, and is not told before they see it.
    let database = MemoryDatabase::fork(&database.pin(), options());
    database.show(Some(&database.pin()));
    write(&database, "INSERT INTO t VALUES(2)").await.unwrap();
    let mut ear = Ear(database.listen(None).unwrap());
    assert!(ear.hears_nothing());
    let newest = database.commits_for(Sees::Newest);
    database.show(Some(&database.pin()));
    assert!(matches!(ear.next().await, Heard::Begun(position) if position.commits() == newest));
    assert!(ear.hears_nothing());
}

#[tokio::test]
async fn whoever_was_away_for_a_while_goes_on_where_they_were() {
    let (database, mut ear) = listened("CREATE TABLE t(a)").await;
    write(&database, "INSERT INTO t VALUES(1)").await.unwrap();
    let Heard::Commit { position, .. } = ear.next().await else { panic!("a commit") };
    drop(ear);
    write(&database, "INSERT INTO t VALUES(2)").await.unwrap();
    let (mut ear, heard) = Ear::after(&database, Some(position)).await;
    assert_eq!(heard, Heard::Begun(position));
    assert_eq!(ear.changes().await, ["Insert t 2"]);

    let elsewhere = MemoryDatabase::fork(&database.pin(), options());
    let (_ear, heard) = Ear::after(&elsewhere, Some(position)).await;
    assert!(matches!(heard, Heard::Reset(_)), "another host does not know the position: {heard:?}");
}

#[tokio::test(start_paused = true)]
async fn sqlite_tells_of_rows_only_as_long_as_somebody_may_want_to_know() {
    let database = database();
    write(&database, "CREATE TABLE t(a)").await.unwrap();
    let rows = || database.file().feed().rows();
    write(&database, "INSERT INTO t VALUES(1)").await.unwrap();
    assert_eq!(rows(), 0);
    let mut ear = Ear::of(&database).await;
    write(&database, "INSERT INTO t VALUES(2)").await.unwrap();
    assert_eq!(rows(), 1);
    let Heard::Commit { position, .. } = ear.next().await else { panic!("a commit") };
    drop(ear);

    tokio::time::sleep(Duration::from_mins(9)).await;
    write(&database, "INSERT INTO t VALUES(3)").await.unwrap();
    assert_eq!(rows(), 2);
    let (mut ear, _) = Ear::after(&database, Some(position)).await;
    assert_eq!(ear.changes().await, ["Insert t 3"]);
    drop(ear);

    tokio::time::sleep(Duration::from_mins(11)).await;
    assert!(!database.file().feed().is_on());
    for _ in 0..3 {
        write(&database, "INSERT INTO t VALUES(4)").await.unwrap();
    }
    assert_eq!(rows(), 2);
    let (_ear, heard) = Ear::after(&database, Some(position)).await;
    assert!(matches!(heard, Heard::Reset(_)), "{heard:?}");
}

#[tokio::test]
async fn what_is_not_listened_to_takes_no_more_than_its_share_of_memory() {
    let (database, ear) = listened("CREATE TABLE t(a)").await;
    drop(ear);
    let many = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 9000) INSERT INTO t SELECT i FROM n";
    let mut commits = 0;
    while database.file().feed().is_on() {
        write(&database, many).await.unwrap();
        commits += 1;
        assert!(commits < 1000);
    }
    assert!(commits > 20, "{commits}");
}

#[tokio::test]
async fn so_many_may_listen_and_not_one_more() {
    let database = database();
    let mut ears: Vec<_> = (0..100).map(|_| database.listen(None).unwrap()).collect();
    assert!(database.listen(None).is_none());
    ears.pop();
    assert!(database.listen(None).is_some());
}

async fn run(stream: &mut MemoryStream, statements: &[&str]) {
    let limits = StreamLimits::of(QueryLimits::default());
    for outcome in stream.run(Each::of(statements.iter().copied()), &limits, &|| Ok(())).await.outcomes {
        outcome.unwrap();
    }
}
