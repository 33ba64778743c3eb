//! Databases that somebody looks at without serving them.

use super::branches::{branch, orders, wish};
use super::*;
use crate::head::OnLeave;
use crate::host::NewBranch;

async fn names(bench: &Bench) -> Vec<(String, Etag)> {
    let listed = bench.bucket().list("", None, usize::MAX).await.unwrap();
    listed.into_iter().map(|object| (object.key.as_str().to_owned(), object.etag)).collect()
}

#[tokio::test]
async fn a_state_is_shown_beside_whoever_serves_the_branch_and_nothing_is_written() {
    let (bench, served) = Bench::with_rows(1).await;
    served.flush(Flush::Forced).await.unwrap();
    let then = served.facts().txid;
    write(&served, "insert into t values (8)").await;
    served.flush(Flush::Forced).await.unwrap();
    let before = names(&bench).await;

    let looker = host_in("looker", HOUR);
    looker.show(bench.config("orders"), Point::Newest).await.unwrap();
    let shown = looker.get(&orders()).unwrap().database;
    assert_eq!(count(&shown).await, 2);
    assert_eq!((shown.facts().txid, shown.facts().epoch), (served.facts().txid, served.facts().epoch));
    let refused = shown.write(request("insert into t values (9)")).await.unwrap_err();
    assert!(matches!(refused, Error::OnlyShown { .. }), "{refused}");
    let refused = shown.flush(Flush::Forced).await.unwrap_err();
    assert!(matches!(&*refused, Error::OnlyShown { .. }), "{refused}");
    assert!(shown.check_tenure().await.is_err(), "nobody can promise that it is the newest");
    looker.show(bench.config("orders"), Point::Txid(then)).await.unwrap();
    assert_eq!(count(&looker.get(&orders()).unwrap().database).await, 1);
    for (_, ended) in looker.shutdown(HOUR).await {
        ended.unwrap();
    }
    assert_eq!(names(&bench).await, before);

    // Nobody took the branch from whoever serves it.
    write(&served, "insert into t values (9)").await;
    served.flush(Flush::Forced).await.unwrap();
    served.check_tenure().await.unwrap();
}

#[tokio::test]
async fn a_branch_that_is_not_there_is_not_shown() {
    let bench = Bench::start().await;
    let missing = bench.host.show(bench.config("orders"), Point::Newest).await.unwrap_err();
    assert!(matches!(missing, Error::BranchNotFound { .. }), "{missing}");
    assert_eq!(names(&bench).await, []);
}

#[tokio::test]
async fn branches_are_worked_with_though_nobody_opens_the_database() {
    let bench = Bench::closed_with_one_row_before_two().await;
    bench.host.declare(bench.config("orders"));
    assert!(matches!(bench.host.get(&orders()).map(|_| ()), Err(Error::NotServed { why: NotServed::Unknown, .. })));
    assert!(matches!(bench.host.state(&orders()), State::Absent));
    let new = NewBranch { name: branch("next"), from: BranchName::main(), point: Point::Newest, policy: OnLeave::Retain };
    bench.host.create_branch(&bench.config("orders"), &new).await.unwrap();
    bench.create("third", None).await.unwrap();
    assert_eq!(bench.names().await, ["main", "next", "third"]);
    bench.host.delete_branch(&orders(), &branch("third")).await.unwrap();
    bench.host.overwrite_branch(&orders(), &BranchName::main(), wish("next")).await.unwrap();
    assert_eq!(bench.names().await, ["main", "next"]);
}

#[tokio::test]
async fn whoever_only_looks_is_in_nobodys_way() {
    let bench = Bench::closed_with_one_row_before_two().await;
    bench.host.show(bench.config("looker"), Point::Newest).await.unwrap();
    bench.host.declare(bench.config("declared"));
    let database = bench.open(bench.config("orders")).await;
    write(&database, "insert into t values (3)").await;
    assert_eq!(count(&bench.host.get(&DatabaseName::new("apps", "looker")).unwrap().database).await, 2, "it is as it was");
    // A branch is made of what is served, not of what is shown of it.
    let made = bench.host.create_branch_of(&DatabaseName::new("apps", "looker"), &branch("next"), None, Point::Newest).await.unwrap();
    assert_eq!(made.txid, database.facts().txid);
}
