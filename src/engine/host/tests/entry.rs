//! The way into the chain: of databases that builds before it left, and of the Python package's.

use super::frozen::{FROZEN, Frozen};
use super::*;
use crate::head::Epoch;

const MAIN: &str = "apps/orders.db";
const HEAD: &str = "apps/orders.db.head/main.json";

impl Bench {
    /// Leaves the bucket as a build that knew no deltas would have: closed in order, or dead.
    pub(super) async fn before_chains(&self, released: bool) {
        let (_, bytes) = self.object(HEAD).await.unwrap();
        let mut record: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
        let fields = record.as_object_mut().unwrap();
        for field in ["chain", "horizon", "fences", "checksum"] {
            fields.remove(field);
        }
        fields.insert("format".to_owned(), 1.into());
        fields.insert("released".to_owned(), released.into());
        self.overwrite(HEAD, serde_json::to_vec(&record).unwrap().leak()).await;
        for object in self.bucket().list("apps/orders.db.ltx/main/", None, usize::MAX).await.unwrap() {
            self.bucket().delete(&object.key).await.unwrap();
        }
    }

    /// A database with one row of an earlier build, which nobody serves.
    async fn of_an_earlier_build(released: bool) -> Self {
        let mut bench = Self::start().await;
        let database = bench.open(bench.config("orders")).await;
        write(&database, "create table t(x); insert into t values (1)").await;
        bench.close("orders").await.unwrap();
        bench.before_chains(released).await;
        bench.restart();
        bench
    }

    pub(super) async fn chain(&self, branch: &str) -> Vec<String> {
        let begins = format!("apps/orders.db.ltx/{branch}/");
        let listed = self.bucket().list(&begins, None, usize::MAX).await.unwrap();
        listed.into_iter().map(|object| object.key.as_str()[begins.len()..].to_owned()).collect()
    }
}

pub(super) fn whole(txid: u64) -> String {
    format!("0009/0000000000000001-{txid:016x}.ltx")
}

#[tokio::test]
async fn a_database_of_an_earlier_build_gets_a_chain_that_begins_above_its_numbers() {
    for released in [true, false] {
        let mut bench = Bench::of_an_earlier_build(released).await;
        let before = bench.object(MAIN).await.unwrap();
        let database = bench.open(bench.config("orders")).await;
        assert_eq!((count(&database).await, database.facts().txid), (1, 3), "the earlier build had come to 2");
        assert_eq!(bench.chain("main").await, [whole(3)]);
        assert_ne!(bench.object(MAIN).await.unwrap().0, before.0, "an earlier process cannot replace it any more");
        write(&database, "insert into t values (2)").await;
        bench.close("orders").await.unwrap();
        bench.restart();
        let database = bench.open(bench.config("orders")).await;
        assert_eq!((count(&database).await, database.facts().epoch), (2, Epoch(3)));
        assert!(matches!(database.facts().origin, Origin::Chain { txid: 4, .. }), "{:?}", database.facts().origin);
    }
}

#[tokio::test]
async fn a_database_of_the_python_package_gets_a_chain() {
    let mut bench = Bench::of_an_earlier_build(true).await;
    let (_, bytes) = bench.object(MAIN).await.unwrap();
    for key in [MAIN, "apps/orders.db.prev", HEAD] {
        bench.bucket().delete(&ObjectKey::new(key)).await.unwrap();
    }
    bench.overwrite(MAIN, bytes.to_vec().leak()).await;
    let database = bench.open(bench.config("orders")).await;
    assert_eq!((count(&database).await, bench.chain("main").await), (1, vec![whole(1)]));
    bench.close("orders").await.unwrap();
    bench.restart();
    bench.open(bench.config("orders")).await;
}

#[tokio::test]
async fn an_entry_that_ends_after_any_request_is_gone_on_with() {
    for Frozen { name, rows, .. } in FROZEN {
        for lost in [FaultEffect::Refuse, FaultEffect::LoseAnswer] {
            for after in 0.. {
                let mut bench = Bench::thawed(name).await;
                // The store's probe is no part of it.
                let fault = Fault::new(lost).on(Operation::PutObject).key(|key| !key.contains(".probe-"));
                bench.store.faults().add(fault.after(after).times(u64::MAX));
                let came_through = matches!(bench.settle(bench.config("orders")).await, State::Open(_));
                bench.store.faults().clear();
                let what = format!("{name}: {lost:?} after {after}");
                if after > 0 || lost == FaultEffect::LoseAnswer {
                    assert_eq!(bench.head_record("main").await.unwrap()["format"], 2, "{what}: an earlier build would take part");
                }
                bench.restart();
                let database = bench.open(bench.config("orders")).await;
                assert_eq!(count(&database).await, rows, "{what}");
                write(&database, "insert into t values (100)").await;
                bench.close("orders").await.unwrap();
                bench.restart();
                assert_eq!(count(&bench.open(bench.config("orders")).await).await, rows + 1, "{what}");
                if came_through {
                    assert!(after > 3 || lost == FaultEffect::LoseAnswer, "the epoch, the snapshot, the chain, the record");
                    break;
                }
            }
        }
    }
}

#[tokio::test]
async fn what_an_earlier_process_writes_late_changes_nothing() {
    for Frozen { name, rows, .. } in FROZEN.into_iter().filter(|frozen| !["seed", "released"].contains(&frozen.name)) {
        let bench = Bench::thawed(name).await;
        let (etag, bytes) = bench.object(MAIN).await.unwrap();
        let record = bench.object(HEAD).await.unwrap().0;
        let database = bench.open(bench.config("orders")).await;
        // It was stopped before its PUT, and goes on now.
        let late = |condition| Put { condition, form: Form::plain("application/vnd.sqlite3") };
        let put = bench.bucket().put(&ObjectKey::new(MAIN), Content::from_bytes(bytes), late(Condition::IfUnchanged(etag))).await;
        assert!(matches!(put, Err(bucket::Error::PreconditionFailed)), "{name}: {put:?}");
        let note = bench.bucket().put(&ObjectKey::new(HEAD), Content::from_bytes(Bytes::new()), late(Condition::IfUnchanged(record))).await;
        assert!(matches!(note, Err(bucket::Error::PreconditionFailed)), "{name}: {note:?}");
        write(&database, "insert into t values (100)").await;
        database.flush(Flush::Forced).await.unwrap();
        assert_eq!(count(&database).await, rows + 1, "{name}");
    }
}

#[tokio::test]
async fn what_was_left_of_an_earlier_try_is_not_taken_for_the_chain() {
    let mut bench = Bench::of_an_earlier_build(true).await;
    for place in [whole(9), "0000/000000000000000a-000000000000000a.ltx".to_owned()] {
        bench.overwrite(&format!("apps/orders.db.ltx/main/{place}"), b"left over").await;
    }
    let database = bench.open(bench.config("orders")).await;
    assert_eq!((count(&database).await, database.facts().txid), (1, 11));
    bench.close("orders").await.unwrap();
    bench.restart();
    assert_eq!(count(&bench.open(bench.config("orders")).await).await, 1);
}
