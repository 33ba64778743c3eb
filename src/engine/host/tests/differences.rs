//! What an overwrite would change, before anybody asks for it.

use super::branches::{branch, orders, wish};
use super::*;
use crate::host::Compared;

impl Bench {
    async fn between(&self, to: &str, from: &str, point: Point) -> Result<Compared, Arc<Error>> {
        self.host.differences(&orders(), &branch(to), &branch(from), point).await
    }
}

/// How many rows of the only table that differs were added, removed and changed.
fn counts(compared: &Compared) -> [u64; 3] {
    match compared.differences.tables.as_slice() {
        [] => [0; 3],
        [table] => [&table.added, &table.removed, &table.changed].map(|rows| rows.count),
        tables => panic!("{tables:?}"),
    }
}

/// What every object of the store is.
async fn objects(bench: &Bench) -> Vec<(String, Etag)> {
    let all = bench.bucket().list("", None, usize::MAX).await.unwrap();
    all.into_iter().map(|object| (object.key.as_str().to_owned(), object.etag)).collect()
}

#[tokio::test]
async fn a_branch_is_compared_with_what_is_served_and_nothing_is_written() {
    let (bench, database) = Bench::with_rows(2).await;
    bench.create("next", None).await.unwrap();
    assert!(bench.between("main", "next", Point::Newest).await.unwrap().differences.is_empty());
    bench.switch("next").await.unwrap();
    write(&database, "update t set x = 10 where x = 1; insert into t values (2), (3)").await;
    // Otherwise it may still be released.
    bench.host.await_left(&bench.config("orders"), &branch("main")).await;
    let before = objects(&bench).await;

    // Also what is not in the bucket yet: an overwrite would bring it there first.
    let found = bench.between("main", "next", Point::Newest).await.unwrap();
    assert_eq!(counts(&found), [2, 0, 1]);
    assert_eq!((found.before.branch, found.after.branch, found.before.txid), (branch("main"), branch("next"), 2));
    assert_eq!(counts(&bench.between("next", "main", Point::Newest).await.unwrap()), [0, 2, 1]);
    assert_eq!(objects(&bench).await, before);

    bench.host.overwrite_branch(&orders(), &branch("main"), wish("next")).await.unwrap();
    assert!(bench.between("main", "next", Point::Newest).await.unwrap().differences.is_empty());
}

#[tokio::test]
async fn a_past_state_is_compared_as_it_was() {
    let (bench, database) = Bench::with_rows(3).await;
    database.flush(Flush::Forced).await.unwrap();
    let then = database.facts().txid;
    write(&database, "delete from t where x = 0").await;
    database.flush(Flush::Forced).await.unwrap();
    let found = bench.between("main", "main", Point::Txid(then)).await.unwrap();
    assert_eq!((counts(&found), found.after.txid), ([1, 0, 0], then));
}

#[tokio::test]
async fn what_is_not_there_or_has_no_room_is_refused_by_name() {
    let (mut bench, _database) = Bench::with_rows(1).await;
    let missing = bench.between("main", "none", Point::Newest).await.unwrap_err();
    assert!(matches!(&*missing, Error::BranchNotFound { branch, .. } if branch.as_str() == "none"), "{missing}");
    bench.create("next", None).await.unwrap();
    bench.host.shutdown(HOUR).await;
    bench.host = Host::new(HostOptions { past_memory: 1 << 10, ..options_of("pod", HOUR) });
    bench.open(bench.config("orders")).await;
    let refused = bench.between("main", "next", Point::Newest).await.unwrap_err();
    assert!(matches!(&*refused, Error::PastTooLarge { limit: 1024, .. }), "{refused}");
}
