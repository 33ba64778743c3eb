//! A chain stays short, and what is older than the retention goes.

use super::*;
use crate::past::Point;

fn orders() -> DatabaseName {
    DatabaseName::new("apps", "orders")
}

/// Flushes what outgrows the database, so often that it takes several whole databases.
async fn grow(bench: &Bench, database: &Database, rounds: i64) -> Vec<u64> {
    write(database, "create table if not exists t(x, noise)").await;
    let mut states = Vec::new();
    for round in 0..rounds {
        write(database, &format!("delete from t; insert into t values ({round}, randomblob(60000))")).await;
        database.flush(Flush::Forced).await.unwrap();
        states.push(database.facts().txid);
    }
    // What is done beside is through once the chain has a whole database of the newest state, or of one shortly before it.
    until(bench, |files| files.iter().any(|file| file.starts_with("0009/"))).await;
    states
}

/// Waits until the files of the chain are as they should be.
async fn until(bench: &Bench, is_so: impl Fn(&[String]) -> bool) {
    let mut changes = bench.host.changes();
    while !is_so(&bench.chain("main").await) {
        changes.recv().await.unwrap();
    }
}

/// A database whose states can be had for an hour.
async fn keeping_states(bench: &Bench) -> Database {
    let mut config = bench.config("orders");
    config.durability.retention = Some(HOUR);
    bench.open(config).await
}

async fn round_of(bench: &Bench, txid: u64) -> Result<Value, Arc<Error>> {
    let past = bench.host.past(&orders(), Point::Txid(txid)).await?;
    assert_eq!(past.facts().txid, txid);
    let response = past.read(request("select x from t")).await?;
    Ok(response.results[0].rows[0][0].clone())
}

#[tokio::test]
async fn every_state_within_the_retention_can_be_had_and_the_present_stays() {
    let bench = Bench::start().await;
    let database = keeping_states(&bench).await;
    let states = grow(&bench, &database, 6).await;
    for (round, txid) in states.iter().enumerate() {
        assert_eq!(round_of(&bench, *txid).await.unwrap(), Value::Integer(i64::try_from(round).unwrap()));
    }
    let newest = *states.last().unwrap();
    let refused = round_of(&bench, newest + 1).await.unwrap_err();
    assert!(matches!(&*refused, Error::NoSuchState { asked, newest: last, .. } if (*asked, *last) == (newest + 1, newest)), "{refused}");
    assert_eq!(count(&database).await, 1);
}

#[tokio::test]
async fn a_moment_is_the_newest_state_that_was_made_no_later() {
    let bench = Bench::start().await;
    let database = keeping_states(&bench).await;
    let states = grow(&bench, &database, 5).await;
    for txid in &states {
        let time = bench.host.past(&orders(), Point::Txid(*txid)).await.unwrap().facts().durable_time.unwrap();
        let name = orders();
        let at = async |time| bench.host.past(&name, Point::At(time)).await.unwrap().facts().txid;
        // The second time it is known.
        assert_eq!([at(time).await, at(time).await], [*txid; 2]);
        assert_eq!(at(time - Duration::from_millis(1)).await, *txid - 1);
    }
    let now = bench.host.options.clock.wall();
    assert_eq!(bench.host.past(&orders(), Point::At(now)).await.unwrap().facts().txid, *states.last().unwrap());
    for never in [now + HOUR, WallTime::UNIX_EPOCH] {
        let refused = bench.host.past(&orders(), Point::At(never)).await.map(drop).unwrap_err();
        assert!(matches!(&*refused, Error::NoStateAt { .. }), "{refused}");
    }
}

#[tokio::test]
async fn what_is_older_than_the_retention_goes_and_the_horizon_says_so_first() {
    let mut bench = Bench::start().await;
    // Nothing is kept but the newest whole database and what came after it.
    let database = bench.open(bench.config("orders")).await;
    let states = grow(&bench, &database, 8).await;
    let first = "0009/0000000000000001-0000000000000001.ltx";
    until(&bench, |files| !files.iter().any(|file| file == first)).await;
    let (_, record) = bench.object("apps/orders.db.head/main.json").await.unwrap();
    let record: serde_json::Value = serde_json::from_slice(&record).unwrap();
    let horizon = record["horizon"].as_u64().unwrap();
    assert!(horizon > 1, "{record}");
    let gone = round_of(&bench, 1).await.unwrap_err();
    assert!(matches!(&*gone, Error::NoSuchState { asked: 1, .. }), "{gone}");
    assert_eq!(round_of(&bench, *states.last().unwrap()).await.unwrap(), Value::Integer(7));
    bench.restart();
    assert_eq!(count(&bench.open(bench.config("orders")).await).await, 1);
}

#[tokio::test]
async fn whoever_does_not_say_how_long_states_stay_deletes_none() {
    let bench = Bench::start().await;
    let mut config = bench.config("orders");
    config.durability.retention = None;
    let database = bench.open(config).await;
    let states = grow(&bench, &database, 8).await;
    // It has been done with all that is kept up beside.
    until(&bench, |files| files.iter().filter(|file| file.starts_with("0009/")).count() > 2).await;
    for (round, txid) in states.iter().enumerate() {
        assert_eq!(round_of(&bench, *txid).await.unwrap(), Value::Integer(i64::try_from(round).unwrap()));
    }
}

/// It was stopped before its PUT, and all that was there then is covered and gone.
#[tokio::test]
async fn a_late_writer_finds_the_slot_of_the_fence_taken_though_a_whole_database_covers_it() {
    let mut bench = Bench::start().await;
    let stopped = bench.open(bench.config("orders")).await;
    write(&stopped, "create table t(x, noise); insert into t values (0, '')").await;
    stopped.flush(Flush::Forced).await.unwrap();
    let last = stopped.facts().txid;
    let _runs_on = Arc::clone(&bench.host);
    bench.restart();
    let database = bench.open(bench.config("orders")).await;
    assert_eq!(database.facts().txid, last + 1, "the fence");
    let states = grow(&bench, &database, 8).await;
    let delta = |txid: u64| format!("0000/{txid:016x}-{txid:016x}.ltx");
    until(&bench, |files| !files.iter().any(|file| [delta(last), delta(last + 2)].contains(file))).await;
    assert!(bench.chain("main").await.contains(&delta(last + 1)));

    write(&stopped, "insert into t values (1, 'late')").await;
    let refused = stopped.flush(Flush::Forced).await.unwrap_err();
    assert!(matches!(&*refused, Error::Fenced { .. }), "{refused}");
    assert_eq!(round_of(&bench, *states.last().unwrap()).await.unwrap(), Value::Integer(7));
}
