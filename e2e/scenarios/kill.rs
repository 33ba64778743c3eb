//! The operator ends without a word: SIGKILL, as by the kernel when memory runs out.

use serde_json::json;

use crate::support::{DATABASE, Release, Resource, Scenario};

#[tokio::test]
async fn after_sigkill_everything_flushed_is_there_and_the_database_takes_writes() {
    let scenario = Scenario::begin("kill").await;
    let release = Release::install(&scenario).await;
    let database = scenario.serve(&Resource::database(scenario.name)).await;
    database.sql("create table written (x); insert into written values (1)").await;
    database.flush().await;
    database.sql("insert into written values (2)").await;

    scenario.apply_in("default", &Resource::killer(&release.pod().await)).await;
    release.wait_pod("jsonpath={.status.containerStatuses[0].lastState.terminated.exitCode}=137").await;
    release.wait_pod("condition=Ready").await;

    let rows = database.sql_once_it_answers("select x from written order by x").await;
    // The mode `snapshot` promises the first row. The second was in memory alone, but nobody promises that it is lost.
    assert!(rows == json!([[1]]) || rows == json!([[1], [2]]), "{rows}");
    database.sql("insert into written values (3)").await;
    database.flush().await;
    scenario.wait(&format!("bucketdatabase/{DATABASE}"), "condition=Ready").await;
    scenario.kubectl_in("default", &["delete", "pod", "killer"]).await;
    scenario.end().await;
}
