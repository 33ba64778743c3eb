//! Suspension: all is in the bucket, nothing is in anybody's way, and it goes on where it was.

use super::*;
use crate::document;
use crate::head::HeadRecord;

async fn record(bench: &Bench) -> HeadRecord {
    document::parse(&bench.object("apps/orders.db.head/main.json").await.unwrap().1).unwrap()
}

fn why(host: &Host, name: &DatabaseName) -> NotServed {
    let Err(Error::NotServed { why, .. }) = host.get(name) else { panic!("it is served") };
    why
}

fn is_released(state: &State) -> bool {
    matches!(state, State::Suspended { released: true, .. })
}

#[tokio::test]
async fn a_suspended_database_is_saved_released_and_says_what_it_is_until_it_is_opened_again() {
    let bench = Bench::start().await;
    let config = bench.config("orders");
    let database = bench.open(config.clone()).await;
    write(&database, "create table t(x); insert into t values (1), (2)").await;
    bench.host.suspend(config.clone()).await.unwrap();
    let State::Suspended { released: true, last_snapshot: Some(last) } = bench.host.state(&config.name) else { panic!("suspended") };
    assert_eq!(Some(last.etag), bench.object("apps/orders.db").await.map(|(etag, _)| etag));
    assert!(record(&bench).await.released);
    assert_eq!(why(&bench.host, &config.name), NotServed::Suspended);
    assert!(bench.host.access(&config.name).is_some(), "strangers do not learn that it is suspended");
    assert!(matches!(&*bench.host.branches(&config.name).await.unwrap_err(), Error::NotServed { why: NotServed::Suspended, .. }));
    assert_eq!(count(&bench.open(config).await).await, 2);
}

#[tokio::test]
async fn a_suspension_that_cannot_flush_leaves_the_database_open_and_a_later_close_is_a_close() {
    let bench = Bench::start().await;
    let config = bench.config("orders");
    let database = bench.open(config.clone()).await;
    write(&database, "create table t(x)").await;
    bench.store.faults().add(Fault::new(FaultEffect::Refuse));
    bench.host.suspend(config.clone()).await.unwrap_err();
    assert_eq!(count(&bench.host.get(&config.name).unwrap().database).await, 0);
    bench.store.faults().clear();
    bench.close("orders").await.unwrap();
    assert!(matches!(bench.host.state(&config.name), State::Absent));
}

#[tokio::test]
async fn what_a_killed_process_held_is_fenced_and_released_without_being_served() {
    let mut bench = Bench::start().await;
    let config = bench.config("orders");
    let before = bench.open(config.clone()).await;
    write(&before, "create table t(x)").await;
    before.flush(Flush::Forced).await.unwrap();
    write(&before, "insert into t values (1)").await;
    // It is not over for the process itself.
    let _killed = Arc::clone(&bench.host);
    bench.restart();
    bench.host.suspend(config.clone()).await.unwrap();
    assert!(is_released(&bench.host.state(&config.name)) && record(&bench).await.released);
    assert!(matches!(&*before.flush(Flush::Forced).await.unwrap_err(), Error::Fenced { .. }), "its late writes are harmless");
    let released = bench.object("apps/orders.db.head/main.json").await;
    bench.restart();
    bench.host.suspend(config).await.unwrap();
    assert_eq!(bench.object("apps/orders.db.head/main.json").await, released, "what is released is only looked at");
}

#[tokio::test]
async fn a_database_that_was_never_opened_is_suspended_without_a_write() {
    let bench = Bench::start().await;
    let config = bench.config("orders");
    bench.host.suspend(config.clone()).await.unwrap();
    assert!(is_released(&bench.host.state(&config.name)));
    assert_eq!(bench.bucket().list("", None, 10).await.unwrap(), []);
}

#[tokio::test]
async fn a_suspension_without_an_answer_of_the_store_is_not_called_released() {
    let bench = Bench::start().await;
    let config = bench.config("orders");
    bench.store.faults().add(Fault::new(FaultEffect::Refuse));
    bench.host.suspend(config.clone()).await.unwrap_err();
    assert!(matches!(bench.host.state(&config.name), State::Suspended { released: false, .. }));
    assert_eq!(why(&bench.host, &config.name), NotServed::Suspended);
    bench.store.faults().clear();
    bench.host.suspend(config.clone()).await.unwrap();
    assert!(is_released(&bench.host.state(&config.name)));
}

#[tokio::test]
async fn another_resource_takes_the_place_of_a_suspended_one_and_keeps_it() {
    let bench = Bench::start().await;
    let (first, second) = (bench.config("orders"), bench.config("preview"));
    bench.open(first.clone()).await;
    bench.host.suspend(first.clone()).await.unwrap();
    bench.open(second).await;
    let State::Failed { error, .. } = bench.settle(first).await else { panic!("two serve one branch") };
    assert!(matches!(&*error, Error::HeldElsewhere { .. }), "{error}");
}
