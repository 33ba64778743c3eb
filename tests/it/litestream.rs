//! A chain in a real bucket is one of Litestream's: the real tool restores what we do, and what it wrote is ours to serve.

mod tools;

use std::collections::BTreeSet;
use std::time::Duration;

use engine::WallTime;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use rusqlite::Connection;
use serde_json::{Value, json};

use self::tools::{Litestream, Restored, ours, ours_at_txid};
use crate::support::{DATABASE, Database, Namespace, Operator, Place, Resource, ServedBy, Snapshot, until};

const KEY: &str = "apps/orders.db";
const SEED: u64 = 8;
const PAGE: usize = 4096;

/// A database of which every delta stays.
fn kept(place: &Place) -> Resource {
    Resource::database(DATABASE, place, KEY).with("/spec/durability/retention", "24h")
}

async fn head(place: &Place, branch: &str) -> Value {
    serde_json::from_slice(&place.find(&format!("{KEY}.head/{branch}.json")).await.unwrap()).unwrap()
}

async fn start(namespace: &Namespace) -> (Operator, Database) {
    let operator = Operator::start(namespace).await;
    namespace.wait_ready(DATABASE).await;
    let database = namespace.connect(&operator, DATABASE).await;
    (operator, database)
}

/// Rows of noise, since nothing else takes a page each.
fn fill(table: &str, rows: u32) -> String {
    format!(
        "insert into {table} (noise) with recursive n(i) as (select 1 union all select i + 1 from n where i < {rows}) \
         select randomblob(3000) from n"
    )
}

/// One delta; answers with its txid.
async fn save(database: &Database, sql: &str) -> u64 {
    database.sql(sql).await;
    database.flush().await["txid"].as_u64().unwrap()
}

/// A few deltas of the kind that an application makes.
async fn write_some(database: &Database, random: &mut StdRng, count: u32) {
    for _ in 0..count {
        let (key, third) = (random.random_range(1..60), random.random_range(0..3));
        let sql = match random.random_range(0..4) {
            0 => fill("t", random.random_range(1..8)),
            1 => format!("update t set noise = randomblob(2500) where id = {key}"),
            2 => format!("delete from t where id % 3 = {third}"),
            _ => {
                format!("create table if not exists t{third} (x); insert into t{third} values ({key}); drop table if exists t{}", third + 1)
            }
        };
        save(database, &sql).await;
    }
}

/// Rows of the first table are gone with the transaction that made them, those of the second one stay: SQLite never writes the pages of the first.
fn with_holes() -> String {
    format!(
        "create table gone (id integer primary key, noise); {}; create table stays (id integer primary key, noise); {}; delete from gone",
        fill("gone", 30),
        fill("stays", 5),
    )
}

/// The pages that are all zeros.
fn empty_pages(database: &[u8]) -> BTreeSet<usize> {
    database.chunks(PAGE).enumerate().filter(|(_, page)| page.iter().all(|byte| *byte == 0)).map(|(number, _)| number).collect()
}

/// Compares these states, those at and shortly before their times, and the newest.
async fn compare(place: &Place, branch: &str, txids: BTreeSet<u64>, random: &mut StdRng) {
    let litestream = Litestream::of(place, KEY, branch);
    let newest = ours(place, KEY, branch, &[]).await.unwrap();
    assert!(litestream.restore(&[]).await.unwrap() == newest.bytes, "the newest of {branch}");
    let (mut first, mut last) = (WallTime::MAX, WallTime::MIN);
    for txid in txids {
        let Restored { time, bytes, .. } = ours_at_txid(place, KEY, branch, txid).await;
        assert!(litestream.at_txid(txid).await == bytes, "txid {txid} of {branch}");
        (first, last) = (first.min(time), last.max(time));
    }
    let span = i64::try_from(last.duration_since(first).as_millis()).unwrap();
    for after in [0, span].into_iter().chain((0..6).map(|_| random.random_range(0..=span))) {
        let at = first + Duration::from_millis(after.unsigned_abs());
        let ours = ours(place, KEY, branch, &["--at", &at.to_string()]).await.unwrap();
        // Litestream takes what is strictly before.
        assert!(litestream.before(at + Duration::from_millis(1)).await == ours.bytes, "{branch} at {at}, which is txid {}", ours.txid);
    }
}

#[tokio::test]
async fn litestream_restores_what_we_restore_at_any_txid_and_time() {
    let mut random = StdRng::seed_from_u64(SEED);
    let (namespace, place) = Namespace::with_place("litestream-restores", ServedBy::Minio).await;
    namespace.apply(&kept(&place)).await;
    let (operator, database) = start(&namespace).await;
    let large = save(&database, &format!("create table t (id integer primary key, noise); {}", fill("t", 60))).await;
    write_some(&database, &mut random, 8).await;

    // It is killed, and what was not in the bucket is lost.
    database.sql("delete from t").await;
    drop(operator);
    let (operator, database) = start(&namespace).await;
    let fences = head(&place, "main").await["fences"].clone();
    let fence = fences[0].as_u64().unwrap_or_else(|| panic!("no fence: {fences}"));
    write_some(&database, &mut random, 4).await;
    operator.end().await;

    // Somebody makes it small with their own SQLite, and behind that it has holes where it had pages.
    let vacuumed = vacuumed(&place.find(KEY).await.unwrap());
    place.put(KEY, vacuumed).await;
    let (operator, database) = start(&namespace).await;
    let shrunk = save(&database, "create table after_vacuum (x)").await;
    let holes = save(&database, &with_holes()).await;
    write_some(&database, &mut random, 4).await;

    // `next` goes its own way, and becomes `main`.
    namespace.apply(&kept(&place).with("/spec/branches", json!([{"name": "next"}]))).await;
    until("the branch", async || place.find(&format!("{KEY}.branch.next")).await).await;
    let on_next = Resource::database("preview", &place, KEY).with("/spec/branch", "next").with("/spec/durability/retention", "24h");
    namespace.apply(&on_next).await;
    namespace.wait_ready("preview").await;
    let next = namespace.connect(&operator, "preview").await;
    write_some(&next, &mut random, 4).await;
    write_some(&database, &mut random, 2).await;
    let promoted = kept(&place).with("/spec/branches", json!([{"name": "next"}]));
    namespace.apply(&promoted.with("/spec/promotion", json!({"id": "release-7", "from": {"branch": "next"}}))).await;
    namespace.wait_condition(DATABASE, "PromotionApplied", "True", "Promoted").await;
    let promotion = namespace.get("bucketdatabase", DATABASE).await["status"]["promotion"]["txid"].as_u64().unwrap();

    // Deltas that outgrow the database make a whole one.
    let wholes = async || place.list(&format!("{KEY}.ltx/main/0009/")).await;
    let before = wholes().await.len();
    while wholes().await.len() == before {
        save(&database, &format!("delete from t where id % 2 = 0; {}", fill("t", 40))).await;
    }
    write_some(&database, &mut random, 4).await;
    let past = past(&namespace, &operator, promotion).await;
    operator.end().await;

    let newest = ours(&place, KEY, "main", &[]).await.unwrap().txid;
    let mut txids = BTreeSet::from([1, large, fence, fence + 1, shrunk, holes, promotion - 1, promotion, newest]);
    txids.extend((0..8).map(|_| random.random_range(1..newest)));
    compare(&place, "main", txids, &mut random).await;
    let horizon = head(&place, "next").await["horizon"].as_u64().unwrap();
    let newest = ours(&place, KEY, "next", &[]).await.unwrap().txid;
    compare(&place, "next", (horizon..=newest).collect(), &mut random).await;

    assert!(ours_at_txid(&place, KEY, "main", promotion).await.bytes == past, "over HTTP it is the same");
    let [large, shrunk, holes] = [large, shrunk, holes].map(async |txid| ours_at_txid(&place, KEY, "main", txid).await.bytes);
    let (large, shrunk, holes) = (large.await, shrunk.await, holes.await);
    assert!(shrunk.len() < large.len());
    // Pages that were never written where there had been others: what a reader that merges files must not bring back.
    let stale = empty_pages(&holes).into_iter().filter(|page| page * PAGE >= shrunk.len() && page * PAGE < large.len()).count();
    assert!(stale > 10, "{stale} holes");
}

/// A state as the API hands it out.
async fn past(namespace: &Namespace, operator: &Operator, txid: u64) -> Vec<u8> {
    let url = format!("{}/{}/{DATABASE}/snapshot?txid={txid}", operator.api, namespace.name());
    let token = namespace.secret_value(&format!("{DATABASE}-buckethead"), "token").await;
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let response = client.get(url).bearer_auth(token).send().await.unwrap();
    assert_eq!(response.status(), 200);
    response.bytes().await.unwrap().to_vec()
}

fn vacuumed(bytes: &[u8]) -> Vec<u8> {
    let folder = tempfile::TempDir::new().unwrap();
    let path = folder.path().join("outside.db");
    std::fs::write(&path, bytes).unwrap();
    Connection::open(&path).unwrap().execute_batch("delete from t where id > 20; vacuum").unwrap();
    std::fs::read(path).unwrap()
}

/// What Litestream writes while an application works on a file, each step of it.
async fn replicated(litestream: &Litestream<'_>, steps: &[&str], last: &[&str]) {
    let connection = Connection::open(litestream.database()).unwrap();
    connection.pragma_update(None, "journal_mode", "wal").unwrap();
    for (number, step) in (1..).zip(steps) {
        connection.execute_batch(step).unwrap();
        litestream.replicate(if number == steps.len() { last } else { &[] }).await;
    }
}

/// A database in WAL mode as we have it: the file says so in two bytes.
fn in_rollback_mode(mut database: Vec<u8>) -> Vec<u8> {
    assert_eq!(database[18..20], [2, 2]);
    database[18..20].fill(1);
    database
}

async fn takes_over(name: &'static str, last: &[&str]) {
    let (namespace, place) = Namespace::with_place(name, ServedBy::Minio).await;
    let litestream = Litestream::of(&place, KEY, "main");
    let fill = fill("t", 40);
    let steps =
        ["create table t (id integer primary key, noise)", &*fill, "delete from t where id > 7; vacuum", "update t set noise = 'short'"];
    replicated(&litestream, &steps, last).await;
    let newest = place.list(&format!("{KEY}.ltx/main/0000/")).await.len() as u64;
    assert!(newest >= 4);
    let mut states = Vec::new();
    for txid in 1..=newest {
        states.push(litestream.at_txid(txid).await);
    }

    namespace.apply(&kept(&place)).await;
    let (operator, database) = start(&namespace).await;
    assert_eq!(database.sql("select count(*), max(noise) from t").await, json!([[7, "short"]]));
    let written = save(&database, "insert into t (noise) values ('ours')").await;
    operator.end().await;
    assert_eq!(Snapshot::open(&place.find(KEY).await.unwrap()).value::<i64>("select count(*) from t"), 8);
    let first = head(&place, "main").await["chain"]["first"].as_u64().unwrap();
    for (txid, state) in (1..).zip(states).filter(|(txid, _)| *txid >= first) {
        assert!(ours_at_txid(&place, KEY, "main", txid).await.bytes == in_rollback_mode(state), "txid {txid}");
    }
    compare(&place, "main", (newest + 1..=written).collect(), &mut StdRng::seed_from_u64(SEED)).await;
}

#[tokio::test]
async fn what_litestream_wrote_is_served_and_goes_on() {
    takes_over("litestream-wrote", &["-force-snapshot"]).await;
}

#[tokio::test]
async fn what_litestream_wrote_needs_no_file_of_its_highest_level() {
    takes_over("litestream-began", &[]).await;
}

/// Litestream reads it, because it leads furthest. A slot is guarded by its name, and such a file is in none.
#[tokio::test]
async fn a_longer_file_among_the_deltas_is_never_read() {
    let (namespace, place) = Namespace::with_place("litestream-longer", ServedBy::Minio).await;
    namespace.apply(&kept(&place)).await;
    let (operator, database) = start(&namespace).await;
    for sql in ["create table t (x)", "insert into t values (1)", "insert into t values (2)"] {
        save(&database, sql).await;
    }
    operator.end().await;
    let newest = ours(&place, KEY, "main", &[]).await.unwrap();
    let mut states = Vec::new();
    for txid in 1..=newest.txid {
        states.push(ours_at_txid(&place, KEY, "main", txid).await.bytes);
    }

    let other = Litestream::of(&place, "other.db", "main");
    let steps: Vec<String> = (0..newest.txid + 3).map(|step| format!("create table planted{step} (x)")).collect();
    replicated(&other, &steps.iter().map(String::as_str).collect::<Vec<_>>(), &["-force-snapshot"]).await;
    let whole = place.list("other.db.ltx/main/0009/").await.pop().unwrap();
    let planted = whole.replace("other.db", KEY).replace("/0009/", "/0000/");
    place.put(&planted, place.find(&whole).await.unwrap()).await;
    let litestream = Litestream::of(&place, KEY, "main");
    assert!(litestream.restore(&[]).await.unwrap() == other.restore(&[]).await.unwrap(), "Litestream takes {planted}");

    let again = ours(&place, KEY, "main", &[]).await.unwrap();
    assert!((again.txid, &again.bytes) == (newest.txid, &newest.bytes));
    for (txid, state) in (1..).zip(&states) {
        assert!(ours_at_txid(&place, KEY, "main", txid).await.bytes == *state, "txid {txid}");
    }
    let (operator, database) = start(&namespace).await;
    assert_eq!(database.sql("select x from t").await, json!([[1], [2]]));
    assert_eq!(save(&database, "insert into t values (3)").await, newest.txid + 1);
    // Not released, so the next one lists and fences.
    drop(operator);
    let (operator, database) = start(&namespace).await;
    assert_eq!(database.sql("select x from t").await, json!([[1], [2], [3]]));
    operator.end().await;
}
