//! Overwrites by id: once, whatever happened in between, and only what was meant.

use super::branches::{branch, orders, wish};
use super::*;
use crate::config::AskedPromotion;
use crate::flusher::Overwritten;
use crate::host::OverwriteRequest;

const MAIN: &str = "apps/orders.db";

/// From `next`, under one id.
fn release() -> OverwriteRequest {
    OverwriteRequest { id: Some("release-7".to_owned()), ..wish("next") }
}

impl Bench {
    async fn promote(&self, to: &str, asked: OverwriteRequest) -> Result<Overwritten, Arc<Error>> {
        self.host.overwrite_branch(&orders(), &branch(to), asked).await
    }

    /// `main` with two rows, `next` with one.
    async fn with_next() -> (Self, Database) {
        let (bench, database) = Self::with_rows(1).await;
        bench.create("next", None).await.unwrap();
        write(&database, "insert into t values (9)").await;
        database.flush(Flush::Forced).await.unwrap();
        (bench, database)
    }

    /// Those of deltas of `main`.
    fn refuse_delta(&self, after: u64, times: u64) {
        let fault = Fault::new(FaultEffect::Refuse).on(Operation::PutObject).key(|at| at.contains(".ltx/main/0000/"));
        self.store.faults().add(fault.after(after).times(times));
    }

    fn refuse_put(&self, key: &'static str, after: u64, times: u64) {
        let fault = Fault::new(FaultEffect::Refuse).on(Operation::PutObject).key(move |at| at == key);
        self.store.faults().add(fault.after(after).times(times));
    }

    async fn remove(&self, key: &str) {
        self.bucket().delete(&ObjectKey::new(key)).await.unwrap();
    }

    fn asking(&self, name: &str, id: &str) -> DatabaseConfig {
        let promotion = Some(AskedPromotion { to: BranchName::main(), id: id.to_owned() });
        DatabaseConfig { promotion, ..self.config(name) }
    }
}

#[tokio::test]
async fn one_that_was_done_is_told_as_it_was_though_its_source_is_gone() {
    let (mut bench, database) = Bench::with_next().await;
    let done = bench.promote("main", release()).await.unwrap();
    assert_eq!((done.before + 1, done.from.clone()), (done.txid, Some(("next".to_owned(), 2))));
    write(&database, "insert into t values (10)").await;
    database.flush(Flush::Forced).await.unwrap();
    bench.host.delete_branch(&orders(), &branch("next")).await.unwrap();
    bench.restart();
    let database = bench.open(bench.config("orders")).await;
    let again = bench.promote("main", release()).await.unwrap();
    assert_eq!(again, Overwritten { snapshot: None, ..done });
    assert_eq!(count(&database).await, 2, "what was written since stays");
}

#[tokio::test]
async fn one_that_was_cut_off_on_a_branch_nobody_serves_is_settled_before_its_source_is_looked_for() {
    let (bench, _database) = Bench::with_next().await;
    bench.create("prod", None).await.unwrap();
    // The record is raised and says `begun`, and then no more.
    bench.refuse_put("apps/orders.db.head/prod.json", 2, 100);
    bench.promote("prod", release()).await.unwrap_err();
    bench.store.faults().clear();
    bench.host.delete_branch(&orders(), &branch("next")).await.unwrap();
    assert!(bench.promote("prod", release()).await.unwrap().was_done());
}

#[tokio::test]
async fn one_that_the_store_refused_is_not_taken_for_done_by_the_next_try() {
    let (bench, database) = Bench::with_next().await;
    bench.refuse_delta(0, 1);
    // After `begun` nothing is noted, not even that it was not made.
    bench.refuse_put("apps/orders.db.head/main.json", 1, 1);
    bench.promote("main", release()).await.unwrap_err();
    assert_eq!(count(&database).await, 2);
    assert!(!bench.promote("main", release()).await.unwrap().was_done());
    assert_eq!(count(&database).await, 1);
}

#[tokio::test]
async fn what_a_failed_try_kept_is_renewed_by_the_next() {
    let (bench, database) = Bench::with_next().await;
    let asked = OverwriteRequest { keep_as: Some(branch("before")), ..release() };
    bench.refuse_delta(0, 1);
    bench.promote("main", asked.clone()).await.unwrap_err();
    write(&database, "insert into t values (10)").await;
    bench.promote("main", asked).await.unwrap();
    bench.switch("before").await.unwrap();
    assert_eq!(count(&database).await, 3, "all that was acknowledged before the overwrite");
}

#[tokio::test]
async fn what_is_kept_never_takes_the_place_of_another_branch() {
    let (bench, database) = Bench::with_next().await;
    bench.create("before", Some("next")).await.unwrap();
    let asked = OverwriteRequest { keep_as: Some(branch("before")), ..release() };
    let refused = bench.promote("main", asked.clone()).await.unwrap_err();
    assert!(matches!(&*refused, Error::BranchExists { .. }), "{refused}");
    assert_eq!(count(&database).await, 2);
    // One that an earlier try kept, and that somebody has opened since, is theirs.
    let asked = OverwriteRequest { keep_as: Some(branch("kept")), ..asked };
    bench.refuse_delta(0, 1);
    bench.promote("main", asked.clone()).await.unwrap_err();
    bench.switch("kept").await.unwrap();
    bench.switch("main").await.unwrap();
    write(&database, "insert into t values (10)").await;
    let refused = bench.promote("main", asked).await.unwrap_err();
    assert!(matches!(&*refused, Error::BranchExists { .. }), "{refused}");
}

#[tokio::test]
async fn an_undo_is_another_one_from_what_was_kept() {
    let (bench, database) = Bench::with_next().await;
    let asked = OverwriteRequest { keep_as: Some(branch("before")), ..release() };
    bench.promote("main", asked.clone()).await.unwrap();
    assert_eq!(count(&database).await, 1);
    let undo = OverwriteRequest { id: Some("undo-7".to_owned()), ..wish("before") };
    assert!(!bench.promote("main", undo).await.unwrap().was_done());
    assert_eq!(count(&database).await, 2);
    assert!(bench.promote("main", asked).await.unwrap().was_done(), "the first one stays done");
    assert_eq!(count(&database).await, 2);
}

#[tokio::test]
async fn what_is_expected_is_compared_with_what_stands_not_with_what_was_noted() {
    let (bench, database) = Bench::with_next().await;
    let expected = Some(database.facts().txid);
    write(&database, "insert into t values (10)").await;
    bench.refuse_put("apps/orders.db.head/main.json", 0, 1);
    database.flush(Flush::Forced).await.unwrap();
    let refused = bench.promote("main", OverwriteRequest { expected, ..release() }).await.unwrap_err();
    assert!(matches!(&*refused, Error::ContentChanged { .. }), "{refused}");
    assert_eq!(count(&database).await, 3);
}

#[tokio::test]
async fn a_txid_names_its_content_until_that_changes_whatever_number_a_fence_gave_it() {
    let (mut bench, database) = Bench::with_next().await;
    let reviewed = database.facts().txid;
    bench.restart();
    let database = bench.open(bench.config("orders")).await;
    assert!(database.facts().txid > reviewed, "the last process did not release the branch");
    let main = BranchName::main();
    let pinned = bench.host.create_branch_of(&orders(), &branch("pinned"), Some(&main), Point::Txid(reviewed)).await.unwrap();
    write(&database, "insert into t values (10)").await;
    let moved = bench.host.create_branch_of(&orders(), &branch("late"), Some(&main), Point::Txid(reviewed)).await.unwrap();
    assert_eq!(moved.parent, Some(("main".to_owned(), reviewed)));
    bench.promote("main", OverwriteRequest { txid: Some(pinned.txid), ..wish("pinned") }).await.unwrap();
    assert_eq!(count(&database).await, 2);
}

#[tokio::test]
async fn writers_wait_for_it_and_none_fails() {
    let (bench, database) = Bench::with_next().await;
    let mut writers = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let database = database.clone();
        writers.spawn(async move {
            for _ in 0..30 {
                database.write(request("insert into t values (1)")).await.unwrap();
            }
        });
    }
    let keep_as = Some(branch("before"));
    bench.promote("main", OverwriteRequest { keep_as, ..release() }).await.unwrap();
    writers.join_all().await;
    let main = count(&database).await;
    bench.switch("before").await.unwrap();
    assert_eq!(main + count(&database).await, 1 + 2 + 120, "each row was written before or after it");
}

#[tokio::test]
async fn what_another_database_serves_is_flushed_as_a_source_and_left_alone_as_a_target() {
    let (bench, database) = Bench::with_next().await;
    let at_next = |config: DatabaseConfig| DatabaseConfig { location: Location { branch: branch("next"), ..config.location }, ..config };
    let preview = bench.open(at_next(bench.config("preview"))).await;
    write(&preview, "insert into t values (7), (8), (9)").await;
    let name = DatabaseName::new("apps", "preview");
    let refused = bench.host.overwrite_branch(&name, &BranchName::main(), release()).await.unwrap_err();
    assert!(matches!(&*refused, Error::ServedElsewhere { by, .. } if *by == orders()), "{refused}");
    bench.promote("main", release()).await.unwrap();
    assert_eq!(count(&database).await, 4, "the source was saved first");
    assert!(bench.host.overwrite_branch(&name, &BranchName::main(), release()).await.unwrap().was_done(), "whoever asks");
}

#[tokio::test]
async fn a_branch_that_another_database_is_meant_to_serve_is_left_to_it_though_it_is_not_open() {
    let (bench, _database) = Bench::with_next().await;
    bench.create("prod", None).await.unwrap();
    let by_hand = OverwriteRequest { id: Some("by-hand".to_owned()), ..wish("next") };
    bench.promote("prod", by_hand.clone()).await.unwrap();
    let other = Some(DatabaseName::new("apps", "prod"));
    let refused = bench.promote("prod", OverwriteRequest { meant_for: other.clone(), ..release() }).await.unwrap_err();
    assert!(matches!(&*refused, Error::ServedElsewhere { by, .. } if Some(by) == other.as_ref()), "{refused}");
    assert!(bench.promote("prod", OverwriteRequest { meant_for: other.clone(), ..by_hand }).await.unwrap().was_done());
    bench.promote("main", OverwriteRequest { meant_for: other, ..release() }).await.unwrap();
}

#[tokio::test]
async fn one_for_a_branch_that_is_about_to_be_served_here_waits_for_that() {
    let bench = Bench::start().await;
    bench.refuse_put("apps/orders.db.head/main.json", 0, 100);
    assert!(matches!(bench.settle(bench.config("orders")).await, State::Failed { .. }));
    let refused = bench.promote("main", release()).await.unwrap_err();
    assert!(matches!(&*refused, Error::NotServed { why: NotServed::Failed, .. }), "{refused}");
}

#[tokio::test]
async fn what_its_slot_calls_done_is_done_though_the_head_record_is_lost() {
    let (mut bench, database) = Bench::with_next().await;
    let done = bench.promote("main", release()).await.unwrap();
    write(&database, "insert into t values (10)").await;
    bench.close("orders").await.unwrap();
    bench.remove("apps/orders.db.head/main.json").await;
    bench.restart();
    bench.open(bench.asking("orders", "release-7")).await;
    let again = bench.promote("main", release()).await.unwrap();
    assert_eq!((again.was_done(), again.txid), (true, done.txid));
}

#[tokio::test]
async fn an_id_that_was_in_the_spec_when_the_head_record_was_lost_is_in_doubt_for_ever() {
    let (mut bench, _database) = Bench::with_next().await;
    bench.close("orders").await.unwrap();
    bench.remove("apps/orders.db.head/main.json").await;
    for _ in 0..2 {
        bench.restart();
        bench.open(bench.asking("orders", "release-7")).await;
        let doubtful = bench.promote("main", release()).await.unwrap_err();
        assert!(matches!(&*doubtful, Error::HistoryLost { .. }), "{doubtful}");
    }
    let renamed = OverwriteRequest { id: Some("release-7-again".to_owned()), ..release() };
    assert!(!bench.promote("main", renamed).await.unwrap().was_done());
}

#[tokio::test]
async fn one_that_nobody_asked_for_before_the_record_was_lost_is_carried_out() {
    let (mut bench, _database) = Bench::with_next().await;
    bench.close("orders").await.unwrap();
    bench.remove("apps/orders.db.head/main.json").await;
    bench.restart();
    bench.open(bench.config("orders")).await;
    assert!(!bench.promote("main", release()).await.unwrap().was_done());
}

#[tokio::test]
async fn a_database_of_the_python_package_has_no_history_that_could_be_lost() {
    let (mut bench, _database) = Bench::with_next().await;
    bench.close("orders").await.unwrap();
    let (_, bytes) = bench.object(MAIN).await.unwrap();
    bench.before_chains(true).await;
    for key in [MAIN, "apps/orders.db.prev", "apps/orders.db.head/main.json"] {
        bench.remove(key).await;
    }
    bench.overwrite(MAIN, bytes.to_vec().leak()).await;
    bench.restart();
    let database = bench.open(bench.asking("orders", "release-7")).await;
    assert!(!bench.promote("main", release()).await.unwrap().was_done());
    assert_eq!(count(&database).await, 1);
}

#[tokio::test]
async fn a_branch_that_is_there_is_told_so_though_its_source_is_gone() {
    let (bench, _database) = Bench::with_next().await;
    bench.create("pinned", Some("next")).await.unwrap();
    bench.host.delete_branch(&orders(), &branch("next")).await.unwrap();
    let exists = bench.create("pinned", Some("next")).await.unwrap_err();
    assert!(matches!(&*exists, Error::BranchExists { .. }), "{exists}");
    let gone = bench.create("other", Some("next")).await.unwrap_err();
    assert!(matches!(&*gone, Error::BranchDeleted { branch: gone, .. } if *gone == branch("next")), "{gone}");
}
