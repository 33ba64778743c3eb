//! The database is declared before the Secret that it names.

use crate::support::{DATABASE, Release, Resource, Scenario};

#[tokio::test]
async fn a_database_without_its_secret_says_which_is_missing_and_is_served_once_it_is_there() {
    let scenario = Scenario::begin("secret").await;
    let _release = Release::install(&scenario).await;
    let resource = Resource::database(scenario.name).with("/spec/credentials/secretRef/name", "later");
    scenario.apply(&resource).await;

    let message = scenario.wait_reason(DATABASE, "Ready", "CredentialsMissing").await;
    assert!(message.contains("later"), "{message}");
    scenario.apply(&Resource::credentials().with("/metadata/name", "later")).await;
    let database = scenario.serve(&resource).await;
    database.sql("create table written (x)").await;
    database.flush().await;
    scenario.end().await;
}
