//! The database that everything is measured with, and its commits.

use std::time::Duration;

use engine::{Database, Durability, Params, Request, Statement, Transaction, Value};

use crate::hosted::Hosted;

/// Four on a page.
pub const ROWS: i64 = 51_500;
pub const ROWS_PER_PAGE: i64 = 4;
/// Some 54 MB, which nothing compresses.
const FILL: &str = "CREATE TABLE orders(id INTEGER PRIMARY KEY, customer TEXT NOT NULL, body BLOB NOT NULL); \
                    CREATE INDEX orders_by_customer ON orders(customer); \
                    WITH RECURSIVE n(i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n WHERE i < 51500) \
                    INSERT INTO orders SELECT i, printf('customer-%05d', i * 7919 % 51500), randomblob(900) FROM n";
const SIZE: std::ops::Range<u64> = 53_000_000..56_000_000;

/// The default mode with another interval between deltas.
pub fn streamed(each: Duration) -> Durability {
    Durability { stream_interval: each, ..Durability::default() }
}

/// Opens it, fills it, and waits until the bucket holds it whole.
pub async fn open(hosted: &Hosted, name: &str, durability: Durability) -> Database {
    let database = hosted.open_as(engine::DatabaseConfig { durability, ..hosted.config(name) }).await;
    fill(hosted, &database).await;
    database
}

/// Fills it, and waits until the bucket holds it whole and nothing is left to do.
pub async fn fill(hosted: &Hosted, database: &Database) {
    database.write(request(FILL, Vec::new())).await.unwrap();
    assert!(SIZE.contains(&database.facts().size), "{}", database.facts().size);
    database.flush(engine::Flush::Forced).await.unwrap();
    quiet(hosted).await;
    assert!(!database.facts().pending);
}

/// One row anew, whichever.
pub async fn update(database: &Database, id: i64, numbers: &mut Numbers) {
    let body = Value::Blob(numbers.bytes(900));
    let response = database.write(request("UPDATE orders SET body = ?2 WHERE id = ?1", vec![Value::Integer(id), body])).await.unwrap();
    assert_eq!(response.results[0].rows_affected, 1);
}

/// One more row.
pub async fn insert(database: &Database, numbers: &mut Numbers) {
    let customer = Value::Text(format!("customer-{:05}", numbers.below(ROWS)));
    let values = vec![customer, Value::Blob(numbers.bytes(900))];
    let response = database.write(request("INSERT INTO orders(customer, body) VALUES (?1, ?2)", values)).await.unwrap();
    assert_eq!(response.results[0].rows_affected, 1);
}

pub async fn count(database: &Database) -> i64 {
    let response = database.read(request("SELECT count(*) FROM orders", Vec::new())).await.unwrap();
    let [Value::Integer(count)] = response.results[0].rows[0][..] else { panic!("no count") };
    count
}

/// Waits until every commit is in the bucket.
pub async fn durable(hosted: &Hosted, database: &Database) {
    let mut changes = hosted.host.changes();
    while database.facts().pending {
        // Who lags has missed some, and looks.
        changes.recv().await.ok();
    }
}

/// Waits until nobody has asked the store for anything in a while: snapshots and whole databases that were due are there.
pub async fn quiet(hosted: &Hosted) {
    let mut before = hosted.store.requests().total();
    loop {
        tokio::time::sleep(Duration::from_secs(2)).await;
        let after = hosted.store.requests().total();
        if after == before {
            return;
        }
        before = after;
    }
}

fn request(sql: &str, params: Vec<Value>) -> Request {
    let params = if params.is_empty() { Params::None } else { Params::Positional(params) };
    let transaction = if params == Params::None { Transaction::Immediate } else { Transaction::None };
    Request { statements: vec![Statement { sql: sql.to_owned(), params }], transaction }
}

/// Without a pattern, the same for everyone.
pub struct Numbers(pub u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        // The lower half of such a number has short periods.
        self.0 >> 33
    }

    pub fn below(&mut self, end: i64) -> i64 {
        i64::try_from(self.next()).unwrap() % end
    }

    pub fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count.div_ceil(2)).flat_map(|_| u16::try_from(self.next() & 0xffff).unwrap().to_le_bytes()).take(count).collect()
    }
}
