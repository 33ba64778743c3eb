//! Deleting a database: only what its resource made, never what somebody has, and nothing that is late brings it back.

use super::*;
use crate::remains::{BranchRemains, MadeBy, Remains};

fn branch(name: &str) -> BranchName {
    BranchName::parse(name).unwrap()
}

fn of<'a>(remains: &'a Remains, name: &str) -> &'a BranchRemains {
    remains.branches.iter().find(|found| found.name.as_str() == name).unwrap()
}

impl Bench {
    /// `main` and `next`, saved and closed.
    async fn with_two_branches(&self) -> DatabaseConfig {
        let config = self.config("orders");
        let database = self.open(config.clone()).await;
        write(&database, "create table t(x); insert into t values (1)").await;
        self.host.create_branch_of(&config.name, &branch("next"), Some(&branch("main")), Point::Newest).await.unwrap();
        self.close("orders").await.unwrap();
        config
    }

    /// As an owner of files, and with what a killed process left of its probe.
    async fn register(&self, config: &DatabaseConfig) {
        self.overwrite(config.files.prefix.owner(&config.location.key).as_str(), b"{}").await;
        self.overwrite("apps/orders.db.head/.probe-1", b"1").await;
    }

    async fn keys(&self) -> Vec<String> {
        let listed = self.bucket().list("", None, 100).await.unwrap();
        listed.into_iter().map(|object| object.key.as_str().to_owned()).collect()
    }
}

#[tokio::test]
async fn a_survey_tells_who_made_what_and_who_has_it() {
    let bench = Bench::start().await;
    let config = bench.with_two_branches().await;
    bench.overwrite("apps/orders.db.branch.seeds", b"theirs").await;
    let remains = bench.host.survey(&config).await.unwrap();
    let made_by = |name| of(&remains, name).made_by.clone();
    assert_eq!((made_by("main"), made_by("next"), made_by("seeds")), (MadeBy::Us, MadeBy::Us, MadeBy::Unknown));
    assert!(!remains.has_rest);
    bench.register(&config).await;
    assert!(bench.host.survey(&config).await.unwrap().has_rest, "it is an owner of files");
    let mut other = bench.config("preview");
    other.location.branch = branch("next");
    bench.open(other).await;
    let remains = bench.host.survey(&config).await.unwrap();
    assert_eq!(of(&remains, "next").served_by, Some(DatabaseName::new("apps", "preview")));
    assert_eq!(of(&remains, "next").held_by.as_ref().map(|by| &*by.resource), Some("apps/preview"));
    let elsewhere = DatabaseConfig { cluster: "another".to_owned(), ..config };
    let remains = new_host().survey(&elsewhere).await.unwrap();
    assert!(
        matches!(&of(&remains, "main").made_by, MadeBy::Other(by) if by.contains("apps/orders")),
        "an earlier life is another resource"
    );
}

#[tokio::test]
async fn a_main_that_was_there_before_is_not_ours() {
    let mut bench = Bench::start().await;
    let config = bench.with_two_branches().await;
    let snapshot = bench.object("apps/orders.db").await.unwrap().1;
    bench.bucket().delete(&ObjectKey::new("apps/orders.db.head/main.json")).await.unwrap();
    bench.overwrite("apps/orders.db", Box::leak(snapshot.to_vec().into_boxed_slice())).await;
    bench.restart();
    bench.open(config.clone()).await;
    bench.close("orders").await.unwrap();
    assert_eq!(of(&bench.host.survey(&config).await.unwrap(), "main").made_by, MadeBy::Unknown);
    let refused = bench.host.delete_own_branch(&config, &branch("main")).await.unwrap_err();
    assert!(matches!(&*refused, Error::BranchRefused { .. }), "{refused}");
    assert!(bench.object("apps/orders.db").await.is_some());
}

#[tokio::test]
async fn after_a_deletion_only_tombstones_are_left_and_nobody_begins_there_again() {
    let bench = Bench::start().await;
    let config = bench.with_two_branches().await;
    bench.register(&config).await;
    for name in ["next", "main"] {
        bench.host.delete_own_branch(&config, &branch(name)).await.unwrap();
    }
    bench.host.delete_rest(&config).await.unwrap();
    assert_eq!(bench.keys().await, ["apps/orders.db.head/main.json", "apps/orders.db.head/next.json"]);
    let remains = bench.host.survey(&config).await.unwrap();
    assert!(remains.branches.iter().all(|left| left.is_deleted && !left.has_objects) && !remains.has_rest, "{remains:?}");
    let State::Failed { error, .. } = bench.settle(config).await else { panic!("a deleted name is used again") };
    assert!(matches!(&*error, Error::BranchDeleted { .. }), "{error}");
}

#[tokio::test]
async fn a_deletion_that_was_interrupted_between_tombstone_and_objects_is_finished() {
    let bench = Bench::start().await;
    let config = bench.with_two_branches().await;
    bench.store.faults().add(Fault::new(FaultEffect::Refuse).on(Operation::DeleteObject));
    bench.host.delete_own_branch(&config, &branch("main")).await.unwrap_err();
    let left = bench.host.survey(&config).await.unwrap();
    assert!(of(&left, "main").is_deleted && of(&left, "main").has_objects);
    bench.store.faults().clear();
    bench.host.delete_own_branch(&config, &branch("main")).await.unwrap();
    assert!(!of(&bench.host.survey(&config).await.unwrap(), "main").has_objects);
}

#[tokio::test]
async fn a_process_that_still_lives_cannot_bring_back_what_was_deleted() {
    let bench = Bench::start().await;
    let config = bench.config("orders");
    let old = bench.open(config.clone()).await;
    write(&old, "create table t(x)").await;
    let next = new_host();
    next.delete_own_branch(&config, &branch("main")).await.unwrap();
    assert!(matches!(&*old.flush(Flush::Forced).await.unwrap_err(), Error::Fenced { .. }));
    assert!(bench.object("apps/orders.db").await.is_none());
}

#[tokio::test]
async fn a_branch_that_another_resource_has_is_not_deleted_by_its_maker() {
    let mut bench = Bench::start().await;
    let config = bench.with_two_branches().await;
    let mut other = bench.config("preview");
    other.location.branch = branch("next");
    bench.open(other).await;
    let served = bench.host.delete_own_branch(&config, &branch("next")).await.unwrap_err();
    assert!(matches!(&*served, Error::BranchRefused { .. }), "{served}");
    bench.restart();
    let held = bench.host.delete_own_branch(&config, &branch("next")).await.unwrap_err();
    assert!(matches!(&*held, Error::HeldByOther { .. }), "{held}");
}
