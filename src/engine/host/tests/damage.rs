//! Files in the bucket that are not what they were: what is found, what is led around it, what is healed, and what is offered.

use super::*;
use crate::error::Offered;
use crate::facts::Verified;
use crate::naming::ProvedState;

const CHAIN: &str = "apps/orders.db.ltx/main";

fn delta(txid: u64) -> String {
    format!("{CHAIN}/0000/{txid:016x}-{txid:016x}.ltx")
}

fn whole(txid: u64) -> String {
    format!("{CHAIN}/0009/{:016x}-{txid:016x}.ltx", 1)
}

pub(super) fn keeping(bench: &Bench) -> DatabaseConfig {
    // The plain file follows only when it is asked to.
    let durability = Durability { stream_interval: HOUR, retention: Some(HOUR), verify_interval: Duration::ZERO, ..Durability::default() };
    DatabaseConfig { durability, ..bench.config("orders") }
}

impl Bench {
    async fn delete(&self, key: &str) {
        self.bucket().delete(&ObjectKey::new(key)).await.unwrap();
    }

    /// A byte in the middle is another one.
    async fn flip(&self, key: &str) {
        let (_, bytes) = self.object(key).await.unwrap();
        let mut bytes = bytes.to_vec();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        self.replace(key, bytes).await;
    }

    /// Other bytes under the same name, with the metadata that was there.
    async fn replace(&self, key: &str, bytes: Vec<u8>) {
        let key = ObjectKey::new(key);
        let metadata = self.bucket().head(&key).await.unwrap().unwrap().metadata;
        let put = Put { condition: Condition::Always, form: Form { metadata, content_type: "application/octet-stream" } };
        self.bucket().put(&key, Content::from_bytes(bytes.into()), put).await.unwrap();
    }

    async fn proved(&self, database: &Database) -> Verified {
        self.host.verify(database.name()).await.unwrap()
    }

    async fn broken(&self, config: DatabaseConfig) -> (String, Option<Offered>) {
        match self.settle(config).await {
            State::Failed { error, .. } => match &*error {
                Error::ChainBroken { detail, offered, .. } => (detail.clone(), *offered),
                error => panic!("{error}"),
            },
            state => panic!("it must not open: {state:?}"),
        }
    }
}

/// Why the newest state cannot be restored. Of past ones chance says which is asked for.
fn newest(failure: Option<String>) -> Option<String> {
    failure.filter(|failure| !failure.starts_with("a past state"))
}

/// One row in each delta, from txid 2 on; the plain file holds the first.
async fn of_rows(bench: &Bench, rows: i64) -> Database {
    let database = bench.open(keeping(bench)).await;
    write(&database, "create table t(x); insert into t values (1)").await;
    database.flush(Flush::Forced).await.unwrap();
    for row in 2..=rows {
        write(&database, &format!("insert into t values ({row})")).await;
        database.save().await.unwrap();
    }
    database
}

#[tokio::test]
async fn what_is_in_the_bucket_is_proved_together_with_a_past_state() {
    let bench = Bench::start().await;
    let database = of_rows(&bench, 3).await;
    let proof = bench.proved(&database).await;
    assert_eq!((proof.txid, &proof.failure), (4, &None), "{proof:?}");
    assert!(proof.past.is_some_and(|past| past < 4), "{proof:?}");
    let facts = database.facts();
    assert_eq!((facts.verified, facts.damaged, facts.txid), (Some(proof), None, 4));
}

#[tokio::test]
async fn damage_on_the_way_to_the_newest_state_is_found_and_healed_from_memory() {
    for cut in [false, true] {
        let mut bench = Bench::start().await;
        let database = of_rows(&bench, 3).await;
        if cut {
            bench.delete(&delta(3)).await;
        } else {
            bench.flip(&delta(3)).await;
        }
        let proof = bench.proved(&database).await;
        assert_eq!(newest(proof.failure), None);
        let damaged = database.facts().damaged.unwrap();
        assert_eq!(damaged.renewed, Some(5), "{damaged:?}");
        assert!(bench.object(&whole(5)).await.is_some());
        bench.restart();
        let database = bench.open(keeping(&bench)).await;
        assert_eq!(count(&database).await, 3);
        assert_eq!(database.facts().damaged, None, "the newest state needs none of it");
    }
}

#[tokio::test]
async fn a_newest_delta_that_went_away_under_us_is_put_again_with_the_next_number() {
    let bench = Bench::start().await;
    let database = of_rows(&bench, 3).await;
    bench.delete(&delta(4)).await;
    let proof = bench.proved(&database).await;
    assert_eq!((newest(proof.failure), proof.txid), (None, 5));
    let config = bench.config("orders");
    let state = bench.host.opener(&config).await.unwrap().archive(&config).state(&database.branch(), Point::Newest).await.unwrap();
    assert_eq!(state.txid, 5);
}

#[tokio::test]
async fn a_newest_delta_that_was_changed_into_another_sound_one_is_found() {
    let bench = Bench::start().await;
    let database = of_rows(&bench, 3).await;
    // The same slot of another life of the database, which had other rows.
    let other = Bench::start().await;
    let lived = other.open(keeping(&other)).await;
    write(&lived, "create table t(x); insert into t values (1)").await;
    lived.flush(Flush::Forced).await.unwrap();
    let (_, theirs) = other.object(&delta(2)).await.unwrap();
    bench.replace(&delta(4), theirs.to_vec()).await;
    let proof = bench.proved(&database).await;
    assert_eq!((newest(proof.failure), proof.txid), (None, 5));
    assert!(database.facts().damaged.is_some_and(|damaged| damaged.renewed == Some(5)));
}

#[tokio::test]
async fn a_past_state_that_cannot_be_had_is_told_and_the_newest_stays_sound() {
    let bench = Bench::start().await;
    let database = of_rows(&bench, 2).await;
    bench.flip(&delta(2)).await;
    // It has one of the states.
    bench.delete("apps/orders.db").await;
    bench.proved(&database).await;
    assert_eq!(database.facts().damaged.and_then(|damaged| damaged.renewed), Some(4));
    for txid in [2, 3] {
        let lost = bench.host.past(database.name(), Point::Txid(txid)).await.map(drop).unwrap_err();
        assert!(matches!(&*lost, Error::NoSuchState { detail, .. } if detail.contains("0000/0000000000000002")), "{lost}");
    }
    // Of the states 1 to 3 the last two are lost, and chance says which is asked for.
    let (mut told, mut sound) = (false, false);
    while !(told && sound) {
        match bench.proved(&database).await.failure {
            Some(failure) => told |= failure.contains("a past state") && failure.contains("0000/0000000000000002"),
            None => sound = true,
        }
    }
}

#[tokio::test]
async fn damage_that_is_led_around_at_the_opening_is_healed_at_once() {
    let mut bench = Bench::start().await;
    let config = keeping(&bench);
    let database = bench.open(config.clone()).await;
    write(&database, "create table t(x); insert into t values (1)").await;
    // The plain file has all of it, and says so.
    bench.close("orders").await.unwrap();
    bench.flip(&delta(2)).await;
    bench.restart();
    let database = bench.open(config.clone()).await;
    assert_eq!(count(&database).await, 1);
    let damaged = database.facts().damaged.unwrap();
    assert!(damaged.files[0].file.contains("0000/0000000000000002"), "{damaged:?}");
    let mut changes = bench.host.changes();
    while database.facts().damaged.is_some_and(|damaged| damaged.renewed.is_none()) {
        changes.recv().await.unwrap();
    }
    bench.close("orders").await.unwrap();
    bench.delete("apps/orders.db").await;
    bench.restart();
    let database = bench.open(config).await;
    assert_eq!((count(&database).await, database.facts().damaged), (1, None));
}

#[tokio::test]
async fn the_plain_file_counts_for_nothing_but_the_state_whose_checksum_it_has() {
    let mut bench = Bench::closed_with_one_row_before_two().await;
    let newest = bench.bucket().head(&ObjectKey::new("apps/orders.db")).await.unwrap().unwrap();
    // An older state, with the metadata of the newest.
    let (_, before) = bench.object("apps/orders.db.prev").await.unwrap();
    bench.replace("apps/orders.db", before.to_vec()).await;
    assert_eq!(bench.bucket().head(&ObjectKey::new("apps/orders.db")).await.unwrap().unwrap().metadata, newest.metadata);
    bench.flip(&delta(3)).await;
    bench.restart();
    let (detail, offered) = bench.broken(keeping(&bench)).await;
    assert!(detail.contains("0000/0000000000000003"), "{detail}");
    assert_eq!(offered.map(|offered| offered.state.txid), Some(2));
}

#[tokio::test]
async fn where_the_newest_state_cannot_be_proved_the_last_that_can_is_offered_and_taken_only_by_its_name() {
    let mut bench = Bench::start().await;
    let database = of_rows(&bench, 4).await;
    let stopped = (database, Arc::clone(&bench.host));
    bench.flip(&delta(4)).await;
    bench.restart();
    let (detail, offered) = bench.broken(keeping(&bench)).await;
    assert!(detail.contains("0000/0000000000000004"), "{detail}");
    let state = offered.unwrap().state;
    assert_eq!(state.txid, 3);
    let other = ProvedState { txid: 2, ..state };
    bench.restart();
    assert_eq!(bench.broken(DatabaseConfig { accept_state: Some(other), ..keeping(&bench) }).await.1, offered);
    bench.restart();
    let accepted = DatabaseConfig { accept_state: Some(state), ..keeping(&bench) };
    let database = bench.open(accepted.clone()).await;
    assert_eq!(count(&database).await, 2);
    let facts = database.facts();
    assert_eq!(facts.origin, Origin::Accepted { state, instead_of: 5 });
    assert_eq!((facts.txid, facts.damaged), (6, None), "no number is given twice, and it needs nothing that is damaged");
    write(&database, "insert into t values (7)").await;
    bench.close("orders").await.unwrap();
    // Whoever had it before finds its slot taken.
    write(&stopped.0, "insert into t values (8)").await;
    let late = stopped.0.save().await.unwrap_err();
    assert!(matches!(&*late, Error::Fenced { .. }), "{late}");
    // It goes on from there, with and without the annotation, and what came before can be had.
    for config in [accepted, keeping(&bench)] {
        bench.restart();
        let database = bench.open(config).await;
        assert_eq!(count(&database).await, 3);
        assert!(matches!(database.facts().origin, Origin::Chain { .. }));
        let past = bench.host.past(database.name(), Point::Txid(2)).await.unwrap();
        assert_eq!(past.facts().txid, 2);
        assert_eq!(newest(bench.proved(&database).await.failure), None);
        bench.close("orders").await.unwrap();
    }
}

#[tokio::test]
async fn files_that_end_before_what_the_record_knows_are_not_taken_for_all() {
    let mut bench = Bench::start().await;
    let database = of_rows(&bench, 3).await;
    bench.close("orders").await.unwrap();
    drop(database);
    // Of the newest state there is nothing left: neither its delta nor the plain file.
    bench.delete(&delta(4)).await;
    bench.delete("apps/orders.db").await;
    bench.restart();
    let (detail, offered) = bench.broken(keeping(&bench)).await;
    assert!(detail.contains("txid 4") && detail.contains("txid 3"), "{detail}");
    let state = offered.unwrap().state;
    assert_eq!(state.txid, 3);
    bench.restart();
    let database = bench.open(DatabaseConfig { accept_state: Some(state), ..keeping(&bench) }).await;
    assert_eq!((count(&database).await, database.facts().txid), (2, 5));
}

#[tokio::test]
async fn what_takes_more_memory_than_a_proof_may_is_not_tried() {
    let mut bench = Bench::start().await;
    bench.host = Host::new(HostOptions { verify_memory: 1, ..options_of("pod", HOUR) });
    let database = of_rows(&bench, 1).await;
    let why = bench.host.verify(database.name()).await.unwrap_err();
    assert!(why.contains("a verification may take 1"), "{why}");
    let facts = database.facts();
    assert_eq!((facts.verified, facts.unverified), (None, Some(why)));
}
