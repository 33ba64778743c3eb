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
