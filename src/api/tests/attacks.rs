//! What a hostile tenant may try, as data: `tests/attacks/*.toml`. Here by SQL: each attack has a database of its own; after it the database
//! answers, and so does a neighbour, who sees nothing of it. Those by other ways are below.

use std::path::Path;

use serde::de::DeserializeOwned;

use super::*;

mod batons;
mod wire;

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct File<T> {
    attack: Vec<T>,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Attack {
    name: String,
    sql: String,
    status: u16,
    /// The last word of the problem's type, or `ok`.
    is: String,
}

#[tokio::test]
async fn nobody_reads_files_or_other_databases() {
    run("files.toml").await;
}

#[tokio::test]
async fn nobody_sets_what_is_not_theirs() {
    run("pragmas.toml").await;
}

#[tokio::test]
async fn nobody_changes_the_schema_behind_sqlite() {
    run("schema.toml").await;
}

#[tokio::test]
async fn nobody_leaves_the_transaction_of_a_request() {
    run("transactions.toml").await;
}

#[tokio::test]
async fn nobody_takes_memory_or_time_without_end() {
    run("exhaustion.toml").await;
}

/// What a file says.
fn read<T: DeserializeOwned>(file: &str) -> Vec<T> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/attacks").join(file);
    let File { attack } = toml::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    attack
}

async fn run(file: &str) {
    let attacks: Vec<Attack> = read(file);
    let query = QueryLimits { statement_timeout: Duration::from_millis(500), ..QueryLimits::default() };
    let limit = |config: DatabaseConfig| DatabaseConfig { limits: Limits { max_size: 64 << 20, query }, ..config };
    let (host, store) = Server::host_with_database(limit).await;
    let server = Server::of(host, Guard::Operator, Some(store));
    server.run("create table secrets(x); insert into secrets values (42)").await.rows();
    let (store, _) = server.store.as_ref().unwrap();
    let mut wrong = Vec::new();
    for (number, Attack { name, sql, status, is }) in attacks.into_iter().enumerate() {
        let mut attacked = limit(config("attacked", store));
        attacked.location.key = DatabaseKey::parse(&format!("{number}.db")).unwrap();
        let database = attacked.name.clone();
        open(&server.host, attacked).await;
        let reply = server.ask("POST", "/apps/attacked/sql", &[], sql.clone()).await;
        let told = if reply.status == StatusCode::OK { "ok".to_owned() } else { reply.problem().1 };
        if (reply.status.as_u16(), &told) != (status, &is) {
            wrong.push(format!("{name}: {} {told}: {}", reply.status, String::from_utf8_lossy(&reply.body[..reply.body.len().min(300)])));
        }
        // Streams have other rules for transactions alone.
        if file != "transactions.toml" && is != "ok" {
            let body = json!({"requests": [{"type": "sequence", "sql": sql}]}).to_string();
            let reply = server.ask("POST", "/apps/attacked/v3/pipeline", &[], body).await.json();
            // A sequence gives no rows.
            if reply["results"][0]["type"] != "error" && is != "sql-result-too-large" {
                wrong.push(format!("{name}, by a stream: {reply}"));
            }
        }
        assert_eq!(server.ask("POST", "/apps/attacked/sql", &[], "select 1").await.rows(), json!([[1]]), "{name}");
        assert_eq!(server.run("select x from secrets").await.rows(), json!([[42]]), "{name}");
        server.host.close(&database).await.unwrap();
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
