//! Buckets as others left them, byte for byte: release 0.1.2 of the Python package, and the last build that knew no deltas.
//!
//! `frozen/README.md` says how they were made.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::branches::{branch, orders, wish};
use super::entry::whole;
use super::*;
use crate::head::Epoch;
use crate::host::OverwriteRequest;

const MAIN: &str = "apps/orders.db";

/// What is in `main`, and what its chain begins with.
pub(super) struct Frozen {
    pub(super) name: &'static str,
    pub(super) rows: i64,
    first: u64,
    epoch: Epoch,
}

const fn frozen(name: &'static str, rows: i64, first: u64, epoch: u64) -> Frozen {
    Frozen { name, rows, first, epoch: Epoch(epoch) }
}

/// All that the Python package left, and all that the earlier build did.
pub(super) const FROZEN: [Frozen; 6] = [
    frozen("seed", 2, 1, 1),
    frozen("released", 2, 4, 2),
    frozen("killed", 2, 4, 2),
    frozen("promotion-made", 1, 5, 2),
    frozen("promotion-not-made", 2, 4, 2),
    frozen("creating", 1, 3, 2),
];

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

impl Bench {
    /// A bucket of a folder of `frozen`.
    pub(super) async fn thawed(name: &str) -> Self {
        let bench = Self::start().await;
        let home = Path::new(env!("CARGO_MANIFEST_DIR")).join("host/tests/frozen").join(name);
        let metadata = fs::read(home.join("metadata.json")).unwrap();
        let mut metadata: BTreeMap<String, BTreeMap<String, String>> = serde_json::from_slice(&metadata).unwrap();
        for path in files(&home.join("apps")) {
            let key = path.strip_prefix(&home).unwrap().to_str().unwrap();
            let form = Form { metadata: metadata.remove(key).unwrap_or_default(), content_type: "application/octet-stream" };
            let put = Put { condition: Condition::IfAbsent, form };
            bench.bucket().put(&ObjectKey::new(key), Content::from_bytes(fs::read(&path).unwrap().into()), put).await.unwrap();
        }
        assert_eq!(metadata, BTreeMap::new(), "{name}: metadata of objects that are not there");
        bench
    }

    pub(super) async fn head_record(&self, branch: &str) -> Option<serde_json::Value> {
        let (_, bytes) = self.object(&format!("{MAIN}.head/{branch}.json")).await?;
        Some(serde_json::from_slice(&bytes).unwrap())
    }
}

#[tokio::test]
async fn what_others_left_enters_the_chain_as_it_is() {
    for Frozen { name, rows, first, epoch } in FROZEN {
        let mut bench = Bench::thawed(name).await;
        let before = bench.head_record("main").await;
        assert!(before.is_none_or(|record| record["format"] == 1 && record.get("chain").is_none()), "{name}");
        let etag = bench.object(MAIN).await.unwrap().0;
        let database = bench.open(bench.config("orders")).await;
        let facts = database.facts();
        assert_eq!((count(&database).await, facts.txid, facts.epoch), (rows, first, epoch), "{name}");
        assert_eq!(bench.chain("main").await, [whole(first)], "{name}");
        assert_ne!(bench.object(MAIN).await.unwrap().0, etag, "{name}: the fence");
        let record = bench.head_record("main").await.unwrap();
        assert_eq!((&record["format"], &record["chain"]["first"], &record["horizon"]), (&2.into(), &first.into(), &first.into()), "{name}");
        assert!(record["snapshot"]["txid"] == first && record["released"] == false, "{name}: {record}");
        assert!(bench.names().await.iter().all(|branch| !branch.starts_with("outside")), "{name}");

        write(&database, "insert into t values (100)").await;
        bench.close("orders").await.unwrap();
        bench.restart();
        let database = bench.open(bench.config("orders")).await;
        assert_eq!((count(&database).await, database.facts().txid), (rows + 1, first + 1), "{name}");
    }
}

#[tokio::test]
async fn branches_that_others_left_enter_chains_of_their_own() {
    for (name, next, rows) in [("seed", "theirs", 3), ("released", "next", 1)] {
        let mut bench = Bench::thawed(name).await;
        let database = bench.open(bench.config("orders")).await;
        assert_eq!(bench.names().await, ["main", next]);
        bench.switch(next).await.unwrap();
        assert_eq!(count(&database).await, rows);
        write(&database, "insert into t values (100)").await;
        bench.close("orders").await.unwrap();
        let record = bench.head_record(next).await.unwrap();
        let first = record["chain"]["first"].as_u64().unwrap();
        assert_eq!(bench.chain(next).await.last(), Some(&whole(first)), "{record}");
        bench.restart();
        let mut config = bench.config("orders");
        config.location.branch = branch(next);
        assert_eq!(count(&bench.open(config).await).await, rows + 1);
    }
}

#[tokio::test]
async fn a_promotion_that_the_earlier_build_began_is_settled_by_what_is_in_the_snapshot() {
    let asked = OverwriteRequest { id: Some("release-7".to_owned()), ..wish("next") };
    for (name, was_made, rows) in [("promotion-made", true, 1), ("promotion-not-made", false, 2)] {
        let bench = Bench::thawed(name).await;
        assert_eq!(bench.head_record("main").await.unwrap()["promotions"][0]["state"], "begun");
        let database = bench.open(bench.config("orders")).await;
        let record = bench.head_record("main").await.unwrap();
        let settled = record["promotions"].as_array().unwrap().first().map(|entry| (&entry["id"], &entry["state"]));
        assert_eq!(settled, was_made.then_some((&"release-7".into(), &"done".into())), "{name}");
        assert_eq!(count(&database).await, rows, "{name}");
        let again = bench.host.overwrite_branch(&orders(), &branch("main"), asked.clone()).await.unwrap();
        assert_eq!((again.was_done(), count(&database).await), (was_made, 1), "{name}");
    }
}

#[tokio::test]
async fn a_promotion_of_the_earlier_build_of_which_nothing_tells_is_in_doubt() {
    let bench = Bench::thawed("promotion-not-made").await;
    let (_, bytes) = bench.object(MAIN).await.unwrap();
    let other = [&bytes[..24], &[7; 4], &bytes[28..92], &[7; 4], &bytes[96..]].concat();
    bench.overwrite(MAIN, other.leak()).await;
    let state = bench.settle(bench.config("orders")).await;
    assert!(matches!(&state, State::Failed { error, .. } if matches!(&**error, Error::PromotionUnknown { .. })), "{state:?}");
    assert_eq!(bench.chain("main").await, Vec::<String>::new());
}

#[tokio::test]
async fn branches_that_the_earlier_build_began_are_finished_by_whoever_wants_them() {
    let bench = Bench::thawed("creating").await;
    let database = bench.open(bench.config("orders")).await;
    assert_eq!(bench.names().await, ["main"]);
    write(&database, "insert into t values (100)").await;
    for (next, rows) in [("reserved", 2), ("copied", 1)] {
        assert_eq!(bench.head_record(next).await.unwrap()["state"], "creating");
        bench.create(next, None).await.unwrap();
        bench.switch(next).await.unwrap();
        assert_eq!(count(&database).await, rows, "{next}");
        assert_eq!(bench.head_record(next).await.unwrap()["format"], 2);
        bench.switch("main").await.unwrap();
    }
    assert_eq!(bench.names().await, ["main", "copied", "reserved"]);
}
