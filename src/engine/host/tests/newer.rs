//! What a newer build may have left in the bucket: it is refused by its format, with a word that says so, and stays as it is, byte for byte.
//! Records of gc and of owners of files are tested beside those (`files/tests.rs`, `gc/tests/runs.rs`), damage in general in `damage.rs`.

use std::collections::BTreeMap;

use super::branches::{branch, orders, wish};
use super::damage::keeping;
use super::*;

const MAIN: &str = "apps/orders.db";
/// One more than this build writes.
const NEXT_HEAD: &[u8] = br#"{"format": 3, "state": "unheard-of"}"#;

impl Bench {
    /// Which object is at which key, but for the record of `main`: its epoch is raised before anything else is read.
    async fn etags(&self) -> BTreeMap<String, Etag> {
        let all = self.bucket().list("", None, usize::MAX).await.unwrap();
        let others = all.into_iter().filter(|object| object.key.as_str() != "apps/orders.db.head/main.json");
        others.map(|object| (object.key.as_str().to_owned(), object.etag)).collect()
    }

    /// Tries to open it twice, in another process each time, and hears why not. Nothing else is written meanwhile.
    async fn refused(&mut self, config: &DatabaseConfig) -> Arc<Error> {
        let before = self.etags().await;
        let mut refusal = None;
        for _ in 0..2 {
            self.restart();
            match self.settle(config.clone()).await {
                State::Failed { error, .. } => refusal = Some(error),
                state => panic!("it must not open: {state:?}"),
            }
        }
        assert_eq!(self.etags().await, before);
        refusal.unwrap()
    }
}

/// Rows in two deltas behind the plain file.
async fn closed_with_deltas() -> Bench {
    let bench = Bench::start().await;
    let database = bench.open(keeping(&bench)).await;
    for row in 1..=3 {
        write(&database, &format!("create table if not exists t(x); insert into t values ({row})")).await;
        database.save().await.unwrap();
    }
    bench.close("orders").await.unwrap();
    bench
}

#[tokio::test]
async fn a_head_record_of_a_newer_format_closes_its_branch_alone() {
    let (mut bench, database) = Bench::with_rows(2).await;
    bench.create("next", None).await.unwrap();
    bench.create("other", None).await.unwrap();
    bench.overwrite("apps/orders.db.head/next.json", NEXT_HEAD).await;
    let before = bench.etags().await;

    let is_newer = |what: &str, error: Arc<Error>| {
        assert!(matches!(&*error, Error::NewerFormat { format: 3, .. }), "{what}: {error}");
    };
    is_newer("made", bench.create("next", None).await.unwrap_err());
    is_newer("switched to", bench.switch("next").await.unwrap_err());
    is_newer("made another of", bench.create("third", Some("next")).await.unwrap_err());
    is_newer("overwritten", bench.host.overwrite_branch(&orders(), &branch("next"), wish("main")).await.unwrap_err());
    is_newer("overwritten with", bench.host.overwrite_branch(&orders(), &branch("other"), wish("next")).await.unwrap_err());
    is_newer("deleted", bench.host.delete_branch(&orders(), &branch("next")).await.unwrap_err());
    assert_eq!(bench.etags().await, before);

    // The one that is served goes on, and the newer build's branch is not opened by its name either.
    write(&database, "insert into t values (9)").await;
    bench.close("orders").await.unwrap();
    let mut config = bench.config("orders");
    config.location.branch = branch("next");
    is_newer("opened", bench.refused(&config).await);
}

#[tokio::test]
async fn a_newest_delta_of_a_newer_format_is_named_and_no_older_state_goes_on_in_its_place() {
    for (at, bytes, says) in [(0, *b"LTX2", "[4c, 54, 58, 32], not with \"LTX1\""), (4, [0, 0, 0, 4], "its flags are 0x00000004")] {
        let mut bench = closed_with_deltas().await;
        let newest = bench.etags().await.into_keys().filter(|key| key.contains(".ltx/main/0000/")).max().unwrap();
        let (_, sound) = bench.object(&newest).await.unwrap();
        let mut newer = sound.to_vec();
        newer[at..at + 4].copy_from_slice(&bytes);
        bench.overwrite(&newest, newer.leak()).await;
        // Otherwise it holds the same state.
        bench.bucket().delete(&ObjectKey::new(MAIN)).await.unwrap();
        let config = keeping(&bench);
        let error = bench.refused(&config).await;
        let Error::ChainBroken { detail, .. } = &*error else { panic!("{error}") };
        assert!(detail.contains(says), "{detail}");
    }
}

#[tokio::test]
async fn a_plain_file_of_a_newer_sqlite_is_refused_and_nothing_begins_empty() {
    let mut bench = Bench::start().await;
    let (other, database) = Bench::with_rows(2).await;
    database.flush(Flush::Forced).await.unwrap();
    let (_, plain) = other.object(MAIN).await.unwrap();
    let mut newer = plain.to_vec();
    newer[18..20].fill(3);
    // Nobody has opened it yet: the file is all that there is.
    bench.overwrite(MAIN, newer.leak()).await;
    let config = bench.config("orders");
    let error = bench.refused(&config).await;
    let Error::SnapshotCorrupt { detail, .. } = &*error else { panic!("{error}") };
    assert!(detail.contains("its file format versions are 3 and 3"), "{detail}");
}
