//! The chart is upgraded, uninstalled, and installed again.

use serde_json::json;

use crate::support::{DATABASE, KEY, Release, Resource, Scenario};

#[tokio::test]
async fn rows_outlive_an_upgrade_of_the_chart_and_databases_outlive_its_uninstall() {
    let scenario = Scenario::begin("upgrade").await;
    let release = Release::install_for_the_cluster(&scenario).await;
    let database = scenario.serve(&Resource::database(scenario.name)).await;
    database.sql("create table written (x); insert into written values (1)").await;

    let before = release.pod().await;
    release.set(&["--set=parallelRestores=2"]).await;
    assert_ne!(release.pod().await, before, "the upgrade replaced the Pod");
    assert_eq!(database.sql_once_it_answers("select x from written").await, json!([[1]]));
    database.sql("insert into written values (2)").await;

    let declared = scenario.get(&format!("bucketdatabase/{DATABASE}")).await["metadata"]["uid"].take();
    release.uninstall().await;
    assert_eq!(scenario.store().find::<i64>(KEY, "select count(*) from written").await, Some(2), "the operator saved it and ended");
    assert_eq!(scenario.get(&format!("bucketdatabase/{DATABASE}")).await["metadata"]["uid"], declared, "nobody deleted it");

    let _release = Release::install_for_the_cluster(&scenario).await;
    assert_eq!(database.sql_once_it_answers("select x from written order by x").await, json!([[1], [2]]));
    scenario.end().await;
}
