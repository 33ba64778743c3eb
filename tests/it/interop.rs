//! The seed's own package and we read each other's snapshots.

use std::process::Stdio;

use reqwest::StatusCode;
use serde_json::{Value, json};
use tokio::process::Command;

use crate::support::{DATABASE, Namespace, Operator, Place, Resource, ServedBy};

const KEY: &str = "shared/app.db";

#[tokio::test]
async fn the_seed_reads_what_we_wrote() {
    let (namespace, place) = Namespace::with_place("seed-reads", ServedBy::Minio).await;
    namespace.apply(&Resource::database(DATABASE, &place, KEY)).await;
    let operator = Operator::start(&namespace).await;
    namespace.wait_ready(DATABASE).await;
    let database = namespace.connect(&operator, DATABASE).await;
    database
        .sql(
            "create table written (x integer, y blob); insert into written values (9007199254740993, x'00ff'); \
             insert into bh_kv values ('greeting', cast('grüße' as blob), 1.5, 2.5)",
        )
        .await;
    operator.end().await;

    assert_eq!(seed("read.py", &place).await, json!({"rows": [[9_007_199_254_740_993_i64, "00ff"]], "greeting": "grüße"}));
}

#[tokio::test]
async fn we_read_what_the_seed_wrote() {
    let (namespace, place) = Namespace::with_place("seed-writes", ServedBy::Minio).await;
    namespace.apply(&Resource::database(DATABASE, &place, KEY)).await;
    let wrote = seed("write.py", &place).await;

    let operator = Operator::start(&namespace).await;
    namespace.wait_ready(DATABASE).await;
    let database = namespace.connect(&operator, DATABASE).await;
    assert_eq!(database.sql("select x, y from written").await, json!([[9_007_199_254_740_993_i64, {"base64": "AP8="}]]));
    assert_eq!(database.sql("select key, cast(value as text) from bh_kv").await, json!([["greeting", "grüße"]]));
    assert_eq!(database.sql("select bh_key, size, filename from filestore").await, json!([[wrote["file"], 5, "hello.txt"]]));
    assert_eq!(database.sql("select collection, id, doc ->> 'name' from bh_docs").await, json!([["people", "1", "Ada"]]));
}

#[tokio::test]
async fn keys_and_documents_of_either_side_are_right_for_the_other() {
    let (namespace, place) = Namespace::with_place("seed-views", ServedBy::Minio).await;
    namespace.apply(&Resource::database(DATABASE, &place, KEY)).await;
    let operator = Operator::start(&namespace).await;
    namespace.wait_ready(DATABASE).await;
    let database = namespace.connect(&operator, DATABASE).await;
    for (method, route, body) in [
        ("PUT", "kv/user/1", "grüße"),
        ("PUT", "kv/both", "ours"),
        ("POST", "docs/people", r#"[{"_id": "ü", "name": "Ada", "age": 36, "big": 12345678901234567890123}, {"_id": "2", "tags": ["x"]}]"#),
        ("POST", "docs/people/indexes", r#"{"path": "name"}"#),
    ] {
        let (status, reply) = database.ask(method, route, body).await;
        assert!(status.is_success(), "{method} {route}: {status} {reply}");
    }
    let first = database.sql("select created_at from bh_kv where key = 'both'").await;
    operator.end().await;

    let seen = seed("views.py", &place).await;
    assert_eq!(seen["keys"], json!(["both", "user/1"]));
    assert_eq!(seen["values"], json!(["ours", "grüße"]));
    let people = json!([{"_id": "ü", "name": "Ada", "age": 36, "big": "12345678901234567890123"}, {"_id": "2", "tags": ["x"]}]);
    assert_eq!(seen["people"], people);
    assert_eq!(seen["found"], json!(["ü"]));

    let operator = Operator::start(&namespace).await;
    namespace.wait_ready(DATABASE).await;
    let database = namespace.connect(&operator, DATABASE).await;
    assert_eq!(database.ask("GET", "kv?prefix=b", "").await.1, r#"{"keys":["both","bytes"],"next":null}"#);
    assert_eq!(database.ask("GET", "kv/both", "").await.1, "théirs");
    assert_eq!(database.sql("select created_at from bh_kv where key = 'both'").await, first);
    assert_eq!(database.ask("GET", "kv/user/1", "").await.0, StatusCode::NOT_FOUND);
    let found = async |filter: Value| {
        let (status, reply) = database.ask("POST", "docs/people/find", &json!({"filter": filter}).to_string()).await;
        assert_eq!(status, StatusCode::OK, "{reply}");
        serde_json::from_str::<Value>(&reply).unwrap()["documents"].clone()
    };
    // By the index, which the seed has kept up, and without it.
    assert_eq!(found(json!({"name": "Bo"})).await, json!([{"_id": seen["inserted"], "name": "Bo", "city": {"name": "Zürich"}}]));
    assert_eq!(found(json!({"city": {"name": "Zürich"}})).await[0]["_id"], seen["inserted"]);
    assert_eq!(found(json!({"name": "Eve"})).await[0]["age"], 37);
    assert_eq!(found(json!({"name": "Ada"})).await, json!([]));
    assert_eq!(database.ask("GET", "docs/people/2", "").await.0, StatusCode::NOT_FOUND);
    operator.end().await;
}

/// Runs a script of `tests/it/seed` with the seed's own settings; answers with the JSON that it prints.
async fn seed(script: &str, place: &Place) -> Value {
    let home = env!("CARGO_MANIFEST_DIR");
    let output = Command::new("sh")
        .args(["-c", r#"exec "$("$1/testbench/tools.sh" seed)/python" "$1/tests/it/seed/$2""#, "sh", home, script])
        .env("R2_ENDPOINT_URL", &place.account.endpoint)
        .env("R2_BUCKET", &place.bucket)
        .env("R2_ACCESS_KEY_ID", &place.account.access_key_id)
        .env("R2_SECRET_ACCESS_KEY", &place.account.secret_access_key)
        .env("BUCKETHEAD_KEY", KEY)
        .env_remove("AWS_CA_BUNDLE")
        .stderr(Stdio::piped())
        .output()
        .await
        .unwrap();
    assert!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}
