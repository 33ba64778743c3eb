//! The chart is upgraded and rolled back under load, uninstalled, and installed again.

use serde_json::json;
use tempfile::TempDir;

use crate::support::{DATABASE, KEY, Load, Release, Resource, Scenario, rounds};

const NEXT: &str = "0.1.1-next";

#[tokio::test]
async fn rows_outlive_an_upgrade_and_the_way_back_and_databases_outlive_an_uninstall() {
    let scenario = Scenario::begin_alone("upgrade").await;
    let release = Release::install_for_the_cluster(&scenario).await;
    let database = scenario.serve(&Resource::database(scenario.name)).await;
    let folder = TempDir::new().unwrap();
    let next = release.pack(NEXT, folder.path()).await;
    let first = release.version().await;
    let mut rows = 0;
    for _ in 0..rounds() {
        let load = Load::begin(&database, "load").await;
        release.set_to(&next, &["--set=image.tag=next"]).await;
        release.rolled_out().await;
        assert_eq!(release.version().await, format!("buckethead-{NEXT} buckethead:next"));
        load.goes_on().await;
        let there = load.end().await;

        let load = Load::begin(&database, "load").await;
        release.roll_back().await;
        release.rolled_out().await;
        assert_eq!(release.version().await, first);
        load.goes_on().await;
        let back = load.end().await;
        for (way, written) in [("upgraded", there), ("rolled back", back)] {
            let what = format!("{way}: the longest wait for an answer, of {} rows; {} refusals", written.rows, written.refused);
            scenario.took(&what, written.longest);
        }
        rows = back.rows;
    }

    let declared = scenario.get(&format!("bucketdatabase/{DATABASE}")).await["metadata"]["uid"].take();
    database.sql(&format!("insert into written values ({})", rows + 1)).await;
    release.uninstall().await;
    let saved = scenario.store().find::<i64>(KEY, "select count(*) from written").await;
    assert_eq!(saved, Some(rows + 1), "the operator saved it and ended");
    assert_eq!(scenario.get(&format!("bucketdatabase/{DATABASE}")).await["metadata"]["uid"], declared, "nobody deleted it");

    let _release = Release::install_for_the_cluster(&scenario).await;
    assert_eq!(database.sql_once_it_answers("select count(*) from written").await, json!([[rows + 1]]));
    scenario.end().await;
}
