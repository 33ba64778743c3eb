//! The crate `libsql`, on a remote database. Each check is a function; the first that fails ends the program.

use libsql::{Builder, Connection, TransactionBehavior, Value, params};

type Outcome = Result<(), Box<dyn std::error::Error>>;

async fn open() -> Result<Connection, libsql::Error> {
    let token = std::env::var("BUCKETHEAD_TOKEN").unwrap_or_default();
    Builder::new_remote(std::env::var("BUCKETHEAD_URL").expect("BUCKETHEAD_URL is set"), token).build().await?.connect()
}

async fn count(connection: &Connection, table: &str) -> Result<i64, Box<dyn std::error::Error>> {
    let mut rows = connection.query(&format!("SELECT count(*) FROM {table}"), ()).await?;
    Ok(rows.next().await?.ok_or("no row")?.get(0)?)
}

async fn each_type_of_value_comes_back_as_it_was_bound() -> Outcome {
    let connection = open().await?;
    let mut rows = connection.query("SELECT ?, ?, ?, ?, ?", params![Value::Null, i64::MAX, -1.5, "ä'", vec![0_u8, 255]]).await?;
    let row = rows.next().await?.ok_or("no row")?;
    assert_eq!(row.get_value(0)?, Value::Null);
    assert_eq!(row.get::<i64>(1)?, i64::MAX);
    assert_eq!(row.get::<f64>(2)?, -1.5);
    assert_eq!(row.get::<String>(3)?, "ä'");
    assert_eq!(row.get::<Vec<u8>>(4)?, [0, 255]);
    Ok(())
}

async fn counts_and_row_ids_are_told() -> Outcome {
    let connection = open().await?;
    connection.execute("CREATE TABLE rs_counts(id INTEGER PRIMARY KEY, v)", ()).await?;
    assert_eq!(connection.execute("INSERT INTO rs_counts(v) VALUES (1), (2)", ()).await?, 2);
    assert_eq!(connection.last_insert_rowid(), 2);
    Ok(())
}

async fn a_transaction_commits_and_rolls_back() -> Outcome {
    let connection = open().await?;
    connection.execute("CREATE TABLE rs_transactions(v)", ()).await?;
    for behavior in [TransactionBehavior::Deferred, TransactionBehavior::Immediate] {
        let transaction = connection.transaction_with_behavior(behavior).await?;
        transaction.execute("INSERT INTO rs_transactions VALUES (?)", [1]).await?;
        transaction.rollback().await?;
    }
    let transaction = connection.transaction().await?;
    transaction.execute("INSERT INTO rs_transactions VALUES (?)", [1]).await?;
    transaction.commit().await?;
    assert_eq!(count(&connection, "rs_transactions").await?, 1);
    Ok(())
}

async fn a_dropped_transaction_leaves_nothing() -> Outcome {
    let connection = open().await?;
    connection.execute("CREATE TABLE rs_dropped(v)", ()).await?;
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate).await?;
    transaction.execute("INSERT INTO rs_dropped VALUES (1)", ()).await?;
    drop(transaction);
    open().await?.execute("INSERT INTO rs_dropped VALUES (2)", ()).await?;
    assert_eq!(count(&open().await?, "rs_dropped").await?, 1);
    Ok(())
}

async fn batches_and_prepared_statements_run() -> Outcome {
    let connection = open().await?;
    connection.execute_batch("CREATE TABLE rs_batch(v); INSERT INTO rs_batch VALUES (1); INSERT INTO rs_batch VALUES (2)").await?;
    let statement = connection.prepare("SELECT v FROM rs_batch WHERE v > :least ORDER BY v").await?;
    let mut rows = statement.query([(":least", 1)]).await?;
    assert_eq!(rows.next().await?.ok_or("no row")?.get::<i64>(0)?, 2);
    assert!(rows.next().await?.is_none());
    Ok(())
}

async fn an_error_names_what_sqlite_says() -> Outcome {
    let connection = open().await?;
    let error = connection.query("SELECT nope", ()).await.err().ok_or("it succeeded")?;
    assert!(error.to_string().contains("no such column: nope"), "{error}");
    assert!(connection.query("SELECT 1", ()).await.is_ok());
    Ok(())
}

async fn a_large_result_arrives_whole() -> Outcome {
    let sql = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 20000) SELECT i FROM n";
    let mut rows = open().await?.query(sql, ()).await?;
    let mut seen = 0;
    while rows.next().await?.is_some() {
        seen += 1;
    }
    assert_eq!(seen, 20_000);
    Ok(())
}

/// As `docs/clients.md` shows it.
async fn the_documented_lines() -> Outcome {
    let url = std::env::var("BUCKETHEAD_URL")?;
    let token = std::env::var("BUCKETHEAD_TOKEN").unwrap_or_default();
    let connection = libsql::Builder::new_remote(url, token).build().await?.connect()?;
    let mut rows = connection.query("select 1 + 1", ()).await?;
    println!("{}", rows.next().await?.expect("a row").get::<i64>(0)?);
    Ok(())
}

#[tokio::main]
async fn main() -> Outcome {
    each_type_of_value_comes_back_as_it_was_bound().await?;
    counts_and_row_ids_are_told().await?;
    a_transaction_commits_and_rolls_back().await?;
    a_dropped_transaction_leaves_nothing().await?;
    batches_and_prepared_statements_run().await?;
    an_error_names_what_sqlite_says().await?;
    a_large_result_arrives_whole().await?;
    the_documented_lines().await
}
