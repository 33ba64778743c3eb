use rusqlite::Connection;

use super::*;
use crate::pages::PageSize;

async fn filled() -> MemoryDatabase {
    let database = database();
    write(&database, "CREATE TABLE t(a INTEGER PRIMARY KEY, b); INSERT INTO t(b) VALUES('one')").await.unwrap();
    database
}

fn fork(database: &MemoryDatabase) -> MemoryDatabase {
    MemoryDatabase::fork(&database.pin(), options())
}

async fn texts(database: &MemoryDatabase) -> Vec<Vec<Value>> {
    rows(database, "SELECT b FROM t ORDER BY a").await
}

fn text(text: &str) -> Vec<Value> {
    vec![Value::Text(text.into())]
}

#[tokio::test]
async fn a_fork_and_its_origin_go_their_own_ways() {
    let main = filled().await;
    let branch = fork(&main);
    assert!(image(&branch.pin()) == image(&main.pin()));
    assert_eq!(*branch.commits().borrow(), *main.commits().borrow());
    write(&branch, "INSERT INTO t(b) VALUES('branch'); CREATE TABLE more(a)").await.unwrap();
    write(&main, "UPDATE t SET b = 'main'").await.unwrap();
    assert_eq!(texts(&branch).await, [text("one"), text("branch")]);
    assert_eq!(texts(&main).await, [text("main")]);
    drop(main);
    assert_eq!(branch.check(), Ok(()));
    write(&branch, "DELETE FROM t WHERE b = 'one'").await.unwrap();
    assert_eq!(texts(&branch).await, [text("branch")]);
}

#[tokio::test]
async fn a_switch_is_seen_by_every_open_connection() {
    let main = filled().await;
    let branch = fork(&main);
    // As many commits on both sides, so that change counter and schema cookie are the same and the pages are not.
    write(&main, "CREATE TABLE u(x); INSERT INTO u VALUES('main'); INSERT INTO t(b) VALUES('main')").await.unwrap();
    write(&branch, "CREATE TABLE u(y, z); INSERT INTO u VALUES('branch', 7); INSERT INTO t(b) VALUES('branch')").await.unwrap();
    let connection = main.connect().unwrap();
    let mut all = connection.prepare("SELECT * FROM u").unwrap();
    assert_eq!(all.query_row([], |row| row.get::<_, String>(0)).unwrap(), "main");
    assert_eq!(texts(&main).await, [text("one"), text("main")]);
    let before = *main.commits().borrow();
    main.switch(&branch.pin()).await.unwrap();
    assert_eq!(all.query_row([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, i64>(1)?))).unwrap(), ("branch".into(), 7));
    assert_eq!(texts(&main).await, [text("one"), text("branch")]);
    assert_eq!(*main.commits().borrow(), Commits(before.0 + 1));
    assert_eq!(main.check(), Ok(()));
    write(&main, "INSERT INTO t(b) VALUES('after'); INSERT INTO u VALUES('after', 8)").await.unwrap();
    connection.execute("INSERT INTO t(b) VALUES('there')", []).unwrap();
    assert_eq!(texts(&main).await, [text("one"), text("branch"), text("after"), text("there")]);
    assert_eq!(texts(&branch).await, [text("one"), text("branch")]);
}

#[tokio::test]
async fn switching_to_and_fro_never_shows_an_older_state() {
    let main = filled().await;
    let connection = main.connect().unwrap();
    let value = |connection: &Connection| connection.query_row("SELECT b FROM t", [], |row| row.get::<_, String>(0)).unwrap();
    let one = fork(&main);
    let mut two = fork(&main);
    write(&two, "UPDATE t SET b = 'two'").await.unwrap();
    for round in 0..20 {
        main.switch(&one.pin()).await.unwrap();
        assert_eq!(value(&connection), "one");
        main.switch(&two.pin()).await.unwrap();
        assert_eq!(value(&connection), if round == 0 { "two".to_owned() } else { format!("two {}", round - 1) });
        two = fork(&main);
        write(&two, &format!("UPDATE t SET b = 'two {round}'")).await.unwrap();
    }
}

#[tokio::test]
async fn a_statement_that_runs_reads_its_own_version_to_the_end() {
    let main = filled().await;
    write(
        &main,
        "WITH RECURSIVE n(i) AS (VALUES (2) UNION ALL SELECT i + 1 FROM n WHERE i < 500) INSERT INTO t SELECT i, zeroblob(700) FROM n",
    )
    .await
    .unwrap();
    let empty = database();
    let connection = main.connect().unwrap();
    let mut all = connection.prepare("SELECT a FROM t").unwrap();
    let mut running = all.query([]).unwrap();
    assert!(running.next().unwrap().is_some());
    main.switch(&empty.pin()).await.unwrap();
    let mut seen = 1;
    while running.next().unwrap().is_some() {
        seen += 1;
    }
    drop(running);
    assert_eq!(seen, 500);
    assert!(all.query([]).unwrap().next().is_err(), "the table is gone");
}

#[tokio::test]
async fn a_connection_that_read_before_a_switch_may_not_write_after_it() {
    let main = filled().await;
    let branch = fork(&main);
    let connection = main.connect().unwrap();
    connection.execute_batch("BEGIN; SELECT * FROM t").unwrap();
    main.switch(&branch.pin()).await.unwrap();
    let error = connection.execute_batch("INSERT INTO t(b) VALUES('late')").unwrap_err();
    // SQLITE_BUSY_SNAPSHOT
    assert_eq!(error.sqlite_error().unwrap().extended_code, 517);
    connection.execute_batch("ROLLBACK; INSERT INTO t(b) VALUES('now')").unwrap();
    assert_eq!(texts(&main).await, [text("one"), text("now")]);
}

#[tokio::test]
async fn an_image_takes_the_place_of_a_live_database() {
    let main = filled().await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("wide.db");
    // Another encoding than the one that open connections have learnt.
    let setup = "PRAGMA encoding = 'UTF-16le'; CREATE TABLE t(a INTEGER PRIMARY KEY, b); INSERT INTO t(b) VALUES('wide')";
    Connection::open(&path).unwrap().execute_batch(setup).unwrap();
    let restored = MemoryDatabase::load(std::fs::File::open(path).unwrap(), options()).unwrap();
    // A setting keeps its connection open over the switch.
    let mut stream = main.stream(false);
    let limits = StreamLimits::of(QueryLimits::default());
    stream.run(stream::Each::of(["SELECT b FROM t", "PRAGMA foreign_keys = ON"]), &limits, &|| Ok(())).await;
    assert!(stream.has_connection());
    main.switch(&restored.pin()).await.unwrap();
    let read = stream.run(stream::Each::of(["SELECT b FROM t"]), &limits, &|| Ok(())).await;
    assert_eq!(read.outcomes[0].as_ref().unwrap().0, [text("wide")]);
    assert_eq!(texts(&main).await, [text("wide")]);
    assert_eq!(main.check(), Ok(()));
    write(&main, "INSERT INTO t(b) VALUES('more')").await.unwrap();
    assert_eq!(texts(&main).await, [text("wide"), text("more")]);
}

#[tokio::test]
async fn another_page_size_is_refused_by_name() {
    let main = filled().await;
    let other = MemoryDatabase::new(MemoryOptions { page_size: PageSize::new(1024).unwrap(), ..options() }).unwrap();
    assert_eq!(main.switch(&other.pin()).await, Err(SwitchError::PageSize { ours: 4096, theirs: 1024 }));
    let refusal = SwitchError::PageSize { ours: 4096, theirs: 1024 };
    assert_eq!(refusal.to_string(), "its pages have 1024 bytes, those of this database 4096");
    assert_eq!(texts(&main).await, [text("one")]);
}

#[tokio::test]
async fn a_switch_beside_a_writer_outside_the_queue_is_busy_and_changes_nothing() {
    let main = filled().await;
    let outside = main.connect().unwrap();
    outside.execute_batch("BEGIN IMMEDIATE; INSERT INTO t(b) VALUES('outside')").unwrap();
    assert_eq!(main.switch(&fork(&main).pin()).await, Err(SwitchError::Busy));
    outside.execute_batch("COMMIT").unwrap();
    assert_eq!(texts(&main).await, [text("one"), text("outside")]);
    main.switch(&fork(&main).pin()).await.unwrap();
}

#[tokio::test]
async fn a_switch_names_the_pages_that_differ() {
    let main = filled().await;
    write(&main, "INSERT INTO t(b) VALUES(zeroblob(100000))").await.unwrap();
    let branch = fork(&main);
    write(&branch, "UPDATE t SET b = 'other' WHERE a = 1").await.unwrap();
    let (before, _) = main.pin_with_changes(Commits(0));
    main.switch(&branch.pin()).await.unwrap();
    let (after, changes) = main.pin_with_changes(before.commits());
    let pages: Vec<u32> = changes.unwrap().pages.into_iter().map(PageNo::get).collect();
    assert_eq!(pages, [1, 2]);
    assert_eq!(after.differences(&before).len(), 2);
}
