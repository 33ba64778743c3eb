//! A process is stopped (SIGSTOP), another takes its branch over, and the first wakes up (SIGCONT): it confirms nothing any more, and nothing
//! of it gets into the bucket.
//!
//! Both serve the same resource on the same bucket from data folders of their own. So they are two clusters, of which the one that was built
//! later takes the branch over once, and the other never takes it back by itself.

use std::time::Duration;

use rand::Rng as _;
use reqwest::StatusCode;

use crate::support::{DATABASE, Database, Dev, End, Folders, Found, Place, Resource, Rows, Seed, ServedBy, Signal, until};

const KEY: &str = "apps/orders.db";

/// The folders of one cluster.
fn cluster(place: &Place, interval: &str) -> Folders {
    let folders = Folders::with(&Resource::credentials(&place.account));
    folders.declare("database.yaml", &Resource::streaming(DATABASE, place, KEY, interval));
    folders
}

/// Waits until a process says that the branch is not its own.
async fn gives_up(dev: &Dev) {
    until("the old process says who has the branch", async || dev.program.output().contains("HeldElsewhere").then_some(())).await;
}

async fn is_refused(database: &Database) {
    for sql in ["select 1", "insert into rows values (0, 0)"] {
        let answer = database.try_sql(sql).await;
        assert!([StatusCode::CONFLICT, StatusCode::SERVICE_UNAVAILABLE].contains(&answer.status()), "{sql}: {}", answer.status());
    }
}

#[tokio::test]
async fn a_process_that_sleeps_through_a_takeover_confirms_nothing_any_more_and_counts_what_it_lost() {
    let place = Place::create(ServedBy::Minio, "sleeper").await;
    // Nothing goes to the bucket by itself, so the old process learns of the new one only when it is asked to flush.
    let (old_cluster, new_cluster) = (cluster(&place, "1h"), cluster(&place, "1h"));
    let sleeper = old_cluster.start("standard").await;
    let old = sleeper.database(DATABASE);
    let mut asleep = Rows::of(&old).await;
    asleep.write_some(&old, 20).await;
    asleep.flush(&old).await;
    asleep.write_some(&old, 5).await;
    sleeper.program.send(Signal::Stop).await;

    let successor = new_cluster.start("standard").await;
    let new = successor.database(DATABASE);
    let found = Found::by(&new).await;
    assert_eq!(found.count, 20, "what was flushed, and nothing else");
    // The new one has written nothing yet: if the slot that the old one writes to is taken, then by the fence.
    let objects = place.objects().await;

    sleeper.program.send(Signal::Continue).await;
    // In the mode `stream` a reply means memory. Until the old process writes to the bucket nothing tells it that its memory is nobody's.
    let durable = asleep.durable;
    asleep.write_some(&old, 3).await;
    assert_eq!(asleep.durable, durable, "it calls nothing durable that was not before");
    let (status, reply) = asleep.flush(&old).await;
    assert_eq!(status, StatusCode::CONFLICT, "{reply}");
    assert!(reply.contains("8 commits were not in the bucket"), "{reply}");
    is_refused(&old).await;
    gives_up(&sleeper).await;
    is_refused(&old).await;
    assert_eq!(place.objects().await, objects, "nothing of the old process is in the bucket");

    asleep.compare(found, 20);
    let mut rows = Rows::of(&new).await;
    rows.write_some(&new, 10).await;
    assert_eq!(rows.flush(&new).await.0, StatusCode::OK);
    successor.program.kill().await;
    sleeper.program.kill().await;
    let last = new_cluster.start("standard").await;
    rows.settle(Found::by(&last.database(DATABASE)).await, 10);
}

#[tokio::test]
async fn under_load_each_of_several_sleepers_ends_and_what_it_called_durable_is_with_its_successor() {
    let seed = Seed::of("BUCKETHEAD_TAKEOVER_SEED");
    let mut rng = seed.rng();
    let place = Place::create(ServedBy::Minio, "sleepers").await;
    let mut clusters = vec![cluster(&place, "100ms")];
    let mut current = clusters[0].start("standard").await;
    let mut rows = Rows::of(&current.database(DATABASE)).await;
    rows.flush(&current.database(DATABASE)).await;
    for _ in 0..6 {
        let old = current.database(DATABASE);
        let moment = Duration::from_millis(rng.random_range(20..400));
        clusters.push(cluster(&place, "100ms"));
        let taken_over = async {
            tokio::time::sleep(moment).await;
            current.program.send(Signal::Stop).await;
            let successor = clusters.last().unwrap().start("standard").await;
            let new = successor.database(DATABASE);
            let found = Found::by(&new).await;
            let mut rows = Rows::of(&new).await;
            rows.write_some(&new, 20).await;
            assert_eq!(rows.flush(&new).await.0, StatusCode::OK);
            current.program.send(Signal::Continue).await;
            (successor, found, rows)
        };
        let (end, (successor, found, next)) = tokio::join!(rows.write(&old), taken_over);
        let End::Refused(status, reply) = end else { panic!("the old process ended: {end:?}") };
        assert!([StatusCode::CONFLICT, StatusCode::SERVICE_UNAVAILABLE].contains(&status), "{status}: {reply}");
        // A delta that came before the fence is part of the chain, even if the sleeper heard of it only when it woke up.
        rows.compare(found, 0);
        gives_up(&current).await;
        is_refused(&old).await;
        assert!(current.program.output().contains("commits were not in the bucket"), "it says what is lost");
        current.program.kill().await;
        (current, rows) = (successor, next);
    }
    current.program.kill().await;
    let last = clusters.last().unwrap().start("standard").await;
    rows.settle(Found::by(&last.database(DATABASE)).await, 20);
}
