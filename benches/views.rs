//! What the typed views cost beside the statements that they run, and what branches, files and those who listen do: `make bench AREA=views`.
//!
//! Each figure is the median of [`ROUNDS`] rounds, in which the view and its peer take turns, so that a busy machine hurts them alike.
//! Each call asserts its result.
#![allow(clippy::print_stdout, clippy::unwrap_used, clippy::cast_precision_loss, missing_docs, unreachable_pub, reason = "a benchmark")]

mod branches;
mod files;
#[allow(dead_code, reason = "all areas share it, and none needs all of it")]
mod hosted;
mod listening;
#[allow(dead_code, reason = "all areas share it, and none needs all of it")]
mod report;

use engine::docs::{Filter, Find, IndexPath, Name, NewDocument, Path};
use engine::kv::{Changed, Condition, Key};
use engine::{Database, Params, Request, Statement, Transaction, Value};
use hosted::Hosted;
use report::{Bound, Report, median, micros};

const ROUNDS: usize = 5;
const KEYS: usize = 20_000;
const CALLS: usize = 20_000;
const DOCUMENTS: usize = 100_000;

/// The statements of the key-value view, as somebody would write them who has no view.
const GET: &str = "SELECT value, created_at, updated_at FROM bh_kv WHERE key = ?1";
const SET: &str = "INSERT INTO bh_kv (key, value, created_at, updated_at) VALUES (?1, ?2, ?3, ?3) \
                   ON CONFLICT(key) DO UPDATE SET value = excluded.value, updated_at = excluded.updated_at";

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let mut report = Report::new();
    runtime.block_on(async {
        let hosted = Hosted::start().await;
        let database = hosted.open("views").await;
        keys_and_values(&database, &mut report).await;
        documents(&database, &mut report).await;
        drop((database, hosted));
        listening::beside_nobody(&mut report).await;
        branches::in_memory(&mut report).await;
        files::large_file(&mut report).await;
    });
    report.write("views").unwrap();
}

fn statement(sql: &str, params: Vec<Value>) -> Request {
    // A statement alone needs no transaction around it.
    Request { statements: vec![Statement { sql: sql.to_owned(), params: Params::Positional(params) }], transaction: Transaction::None }
}

/// Rounds of the view and of the statements take turns, so that both see the same machine.
async fn keys_and_values(database: &Database, report: &mut Report) {
    let mut value = [7_u8; 100];
    let keys: Vec<String> = (0..KEYS).map(|n| format!("user/{n}")).collect();
    for key in &keys {
        database.kv().set(Key::parse(key.as_str()).unwrap(), value.to_vec().into(), Condition::default()).await.unwrap();
    }
    let (mut gets, mut sets) = ((Vec::new(), Vec::new()), (Vec::new(), Vec::new()));
    for round in 0..ROUNDS {
        let begun = Begun::now();
        for n in 0..CALLS {
            let entry = database.kv().get(Key::parse(keys[n * 7 % KEYS].as_str()).unwrap()).await.unwrap().unwrap();
            assert_eq!(entry.value.len(), 100);
        }
        gets.0.push(begun.micros(CALLS));
        let begun = Begun::now();
        for n in 0..CALLS {
            let response = database.read(statement(GET, vec![Value::Text(keys[n * 7 % KEYS].clone())])).await.unwrap();
            assert!(matches!(&response.results[0].rows[0][0], Value::Blob(value) if value.len() == 100));
        }
        gets.1.push(begun.micros(CALLS));
        let begun = Begun::now();
        for n in 0..CALLS {
            value[..8].copy_from_slice(&(round * CALLS + n).to_le_bytes());
            let key = Key::parse(keys[n * 7 % KEYS].as_str()).unwrap();
            assert_eq!(database.kv().set(key, value.to_vec().into(), Condition::default()).await.unwrap(), Changed::Done);
        }
        sets.0.push(begun.micros(CALLS));
        let begun = Begun::now();
        for n in 0..CALLS {
            value[..8].copy_from_slice(&(round * CALLS + n + 1).to_le_bytes());
            let params = vec![Value::Text(keys[n * 7 % KEYS].clone()), Value::Blob(value.to_vec()), Value::Real(1.5)];
            assert_eq!(database.write(statement(SET, params)).await.unwrap().results[0].rows_affected, 1);
        }
        sets.1.push(begun.micros(CALLS));
    }
    let bound = Some(Bound::AtMost(1.3));
    report.compare("KV get", "µs", median(&gets.0), ("the same statement on the engine", median(&gets.1)), bound);
    report.compare("KV set", "µs", median(&sets.0), ("the same statement on the engine", median(&sets.1)), bound);
}

async fn documents(database: &Database, report: &mut Report) {
    let people = || database.docs().collection(Name::collection("people").unwrap());
    for first in (0..DOCUMENTS).step_by(10_000) {
        let some = (first..first + 10_000).map(|n| {
            let text =
                format!(r#"{{"email":"user{n}@example.com","age":{},"address":{{"city":"City {}"}},"tags":["a","b"]}}"#, n % 90, n % 500);
            NewDocument::parse(&text).unwrap().with_id().unwrap()
        });
        people().insert(some.collect()).await.unwrap();
    }
    let search = |n: usize| Find { filter: Filter::parse(&format!(r#"{{"email":"user{n}@example.com"}}"#)).unwrap(), ..Find::default() };
    let begun = Begun::now();
    assert_eq!(people().find(search(4711)).await.unwrap().documents.len(), 1);
    let whole = begun.micros(1) / 1e3;
    let index = IndexPath::new(Path::parse("email").unwrap()).unwrap();
    assert!(database.docs().create_index(index).await.unwrap());
    let mut rounds = Vec::new();
    for round in 0..ROUNDS {
        let begun = Begun::now();
        for n in 0..1000 {
            let found = people().find(search((n * 97 + round) % DOCUMENTS)).await.unwrap();
            assert_eq!(found.documents.len(), 1);
        }
        rounds.push(begun.micros(1000) / 1e3);
    }
    report.alone("find by an indexed path in 100,000 documents", "ms", median(&rounds), Bound::AtMost(1.0));
    report.alone("find by a path without index in 100,000 documents", "ms", whole, Bound::AtMost(2000.0));
    let begun = Begun::now();
    let by_age = Find { filter: Filter::parse(r#"{"age":{"$gte":60}}"#).unwrap(), limit: Some(10), ..Find::default() };
    assert_eq!(people().find(by_age).await.unwrap().documents.len(), 10);
    report.alone("find of the first ten of 33,000 matches", "ms", begun.micros(1) / 1e3, Bound::AtMost(2000.0));
}

/// When something began that does not fit into a closure.
struct Begun(std::time::Instant);

impl Begun {
    #[allow(clippy::disallowed_methods, reason = "this is what a benchmark measures")]
    fn now() -> Self {
        Self(std::time::Instant::now())
    }

    fn micros(&self, count: usize) -> f64 {
        micros(self.0.elapsed(), count)
    }
}
