//! Branches that their maker declares no more.

use super::branches::{branch, orders};
use super::*;
use crate::branches::Listing;
use crate::head::{Fate, OnLeave};
use crate::host::NewBranch;

const DELETE: Fate = Fate { policy: OnLeave::Delete, leaving: None };

fn second(n: i64) -> WallTime {
    WallTime::from_second(1_700_000_000 + n).unwrap()
}

fn leaving(n: i64) -> Fate {
    Fate { leaving: Some(second(n)), ..DELETE }
}

impl Bench {
    /// A database whose branch `next` is to go when it is declared no more.
    async fn with_temporary() -> (Self, Database) {
        let (bench, database) = Self::with_rows(1).await;
        let new = NewBranch { name: branch("next"), from: BranchName::main(), point: Point::Newest, policy: OnLeave::Delete };
        bench.host.create_branch(&bench.config("orders"), &new).await.unwrap();
        (bench, database)
    }

    async fn listing(&self) -> Listing {
        self.host.branches(&orders()).await.unwrap()
    }

    async fn fate(&self) -> (bool, Fate) {
        let next = self.listing().await.branches.pop().unwrap();
        (next.made_here, next.fate)
    }

    async fn note(&self, fate: Fate) -> Result<(), Arc<Error>> {
        self.host.note_fate(&orders(), &branch("next"), fate).await
    }

    async fn delete_since(&self, n: i64) -> Result<(), Arc<Error>> {
        self.host.delete_leaving_branch(&orders(), &branch("next"), second(n)).await
    }
}

#[tokio::test]
async fn one_that_leaves_is_noted_in_the_bucket_and_deleted_later() {
    let (mut bench, _database) = Bench::with_temporary().await;
    assert_eq!(bench.fate().await, (true, DELETE));
    bench.note(leaving(1)).await.unwrap();
    bench.restart();
    bench.open(bench.config("orders")).await;
    assert_eq!(bench.fate().await, (true, leaving(1)), "the next process knows");
    bench.delete_since(1).await.unwrap();
    assert_eq!(bench.names().await, ["main"]);
    assert!(bench.object("apps/orders.db.branch.next").await.is_none());
    bench.delete_since(1).await.unwrap();
}

#[tokio::test]
async fn one_that_was_brought_back_stays() {
    let (bench, _database) = Bench::with_temporary().await;
    bench.note(leaving(1)).await.unwrap();
    bench.note(DELETE).await.unwrap();
    bench.delete_since(1).await.unwrap();
    bench.note(leaving(2)).await.unwrap();
    bench.delete_since(1).await.unwrap();
    assert_eq!(bench.names().await, ["main", "next"], "it left again later");
}

#[tokio::test]
async fn one_that_somebody_serves_is_neither_noted_nor_deleted() {
    let (bench, _database) = Bench::with_temporary().await;
    let config = bench.config("preview");
    let preview = DatabaseConfig { location: Location { branch: branch("next"), ..config.location.clone() }, ..config };
    bench.open(preview.clone()).await;
    assert!(matches!(&*bench.note(leaving(1)).await.unwrap_err(), Error::HeldByOther { .. }));
    bench.note(Fate { policy: OnLeave::Retain, leaving: None }).await.unwrap();
    bench.close("preview").await.unwrap();
    bench.note(leaving(1)).await.unwrap();
    bench.open(preview).await;
    assert!(matches!(&*bench.delete_since(1).await.unwrap_err(), Error::BranchRefused { .. }));
    assert_eq!(bench.names().await, ["main", "next"]);
}

#[tokio::test]
async fn nobody_but_its_maker_says_what_becomes_of_one() {
    let (bench, _database) = Bench::with_temporary().await;
    bench.note(leaving(1)).await.unwrap();
    let config = bench.config("preview");
    let at_next = Location { branch: branch("other"), ..config.location.clone() };
    bench.create("other", None).await.unwrap();
    bench.open(DatabaseConfig { location: at_next, ..config }).await;
    let preview = DatabaseName::new("apps", "preview");
    let refused = bench.host.note_fate(&preview, &branch("next"), DELETE).await.unwrap_err();
    assert!(matches!(&*refused, Error::BranchRefused { .. }), "{refused}");
    bench.host.delete_leaving_branch(&preview, &branch("next"), second(1)).await.unwrap();
    assert_eq!(bench.names().await, ["main", "next", "other"]);
    assert!(!bench.host.branches(&preview).await.unwrap().branches[1].made_here);
}

#[tokio::test]
async fn a_deletion_that_was_cut_off_is_seen_and_finished() {
    let (bench, _database) = Bench::with_temporary().await;
    bench.note(leaving(1)).await.unwrap();
    bench.store.faults().add(Fault::new(FaultEffect::Refuse).on(Operation::DeleteObject).times(1));
    bench.delete_since(1).await.unwrap_err();
    let listing = bench.listing().await;
    assert_eq!((listing.branches.len(), listing.half_deleted), (1, vec![(branch("next"), second(1))]));
    bench.delete_since(1).await.unwrap();
    assert_eq!(bench.listing().await.half_deleted, []);
}
