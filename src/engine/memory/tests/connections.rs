use super::*;

#[tokio::test]
async fn connections_are_kept_for_the_databases_used_last() {
    let pool = SqlPool { connections: Arc::new(Connections::new(3)), ..options().pool };
    let open = || MemoryDatabase::new(MemoryOptions { pool: pool.clone(), ..options() }).unwrap();
    let databases = [open(), open(), open()];
    let kept = || [0, 1, 2].map(|at: usize| pool.connections.of(databases[at].0.file.id()));
    for database in &databases {
        write(database, "CREATE TABLE t(a)").await.unwrap();
        read(database, "SELECT * FROM t").await.unwrap();
    }
    assert_eq!(kept(), [0, 1, 2]);
    // One that was closed is opened again.
    assert_eq!(integer(&databases[0], "SELECT count(*) FROM t").await, 0);
    assert_eq!(kept(), [1, 0, 2]);
}

#[tokio::test]
async fn a_database_that_is_dropped_leaves_no_connection() {
    let pool = options().pool;
    let database = MemoryDatabase::new(MemoryOptions { pool: pool.clone(), ..options() }).unwrap();
    write(&database, "CREATE TABLE t(a)").await.unwrap();
    let file = database.0.file.id();
    assert_eq!(pool.connections.of(file), 1);
    drop(database);
    assert_eq!(pool.connections.of(file), 0);
}

#[test]
fn a_thread_reads_on_the_connection_that_it_used_before_and_writes_on_the_last_one() {
    let numbered = |number| {
        let connection = Connection::open_in_memory().unwrap();
        connection.pragma_update(None, "user_version", number).unwrap();
        Open::Plain(connection)
    };
    let number = |open| match open {
        Some(Open::Plain(connection)) => connection.pragma_query_value(None, "user_version", |row| row.get(0)).unwrap(),
        Some(Open::Session(_)) | None => 0,
    };
    let connections = Connections::new(9);
    let taken = |purpose| {
        connections.put(7, purpose, numbered(1));
        std::thread::scope(|scope| drop(scope.spawn(|| connections.put(7, purpose, numbered(2)))));
        [number(connections.take(7, purpose)), number(connections.take(7, purpose)), number(connections.take(7, purpose))]
    };
    assert_eq!(taken(Use::Read), [1, 2, 0]);
    assert_eq!(taken(Use::Stream { read_only: false }), [1, 2, 0]);
    assert_eq!(taken(Use::Write), [2, 1, 0]);
}
