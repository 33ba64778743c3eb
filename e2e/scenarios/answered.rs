//! Where a reply means that the bucket has it, the operator is killed again and again, and no row is missing whose write was answered.

use serde_json::json;

use crate::support::{Release, Resource, Scenario, rounds};

const KILLS: usize = 10;

#[tokio::test]
async fn after_ten_kills_no_row_is_missing_whose_write_was_answered() {
    let scenario = Scenario::begin("answered").await;
    let release = Release::install(&scenario).await;
    let database = scenario.serve(&Resource::database(scenario.name).with("/spec/durability", json!({"mode": "sync"}))).await;
    database.sql("create table written (x integer primary key)").await;
    let (mut answered, mut sent) = (0, 0);
    for kill in 1..=KILLS * rounds() {
        let pod = release.pod().await;
        let writing = async {
            loop {
                sent += 1;
                if database.try_sql(&format!("insert into written values ({sent})")).await.is_err() {
                    break;
                }
                answered = sent;
            }
        };
        tokio::join!(writing, scenario.kill(&pod));
        scenario.stop_killing().await;

        let rows = database.sql_once_it_answers("select count(*), coalesce(max(x), 0) from written").await;
        let (count, newest) = (rows[0][0].as_i64().unwrap(), rows[0][1].as_i64().unwrap());
        assert_eq!(count, newest, "none is missing before one that is there");
        assert!((answered..=sent).contains(&newest), "kill {kill}: {answered} rows were answered, {sent} sent, and {newest} are there");
        (answered, sent) = (newest, newest);
        // Kubernetes waits ever longer before it starts a container again, but not in another Pod.
        release.kubectl(&["delete", "pod", &pod]).await;
        release.wait_pod("condition=Ready").await;
        database.sql_once_it_answers("select 1").await;
    }
    scenario.end().await;
}
