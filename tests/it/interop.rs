//! The seed's own package and we read each other's snapshots.

use std::process::Stdio;

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
