//! An app in another Pod asks over TLS, and is admitted by the token that Kubernetes gave to its account.

use serde_json::json;

use crate::support::{DATABASE, Release, Resource, Scenario, make_certificate, until};

#[tokio::test]
async fn a_pod_asks_over_tls_with_the_token_of_its_service_account() {
    let scenario = Scenario::begin("secure").await;
    let (operator, name) = (scenario.operator_namespace(), format!("{DATABASE}.{}.svc", scenario.name));
    let folder = tempfile::tempdir().unwrap();
    let (cert, key) = (folder.path().join("tls.crt"), folder.path().join("tls.key"));
    make_certificate(folder.path(), &[&format!("subjectAltName=DNS:{name}"), "basicConstraints=critical,CA:FALSE"]);
    let files = [format!("--cert={}", cert.display()), format!("--key={}", key.display())];
    scenario.kubectl_in(&operator, &["create", "secret", "tls", "served", &files[0], &files[1]]).await;
    scenario.trust(&std::fs::read_to_string(&cert).unwrap()).await;
    let release = Release::install(&scenario).await;
    release.set(&["--reuse-values", "--set=tls.secretName=served"]).await;

    let resource = Resource::database(scenario.name).with("/spec/api", json!({"service": true}));
    scenario.apply(&resource).await;
    let url = format!("https://{name}/");
    scenario.wait(&format!("bucketdatabase/{DATABASE}"), &format!("jsonpath={{.status.url}}={url}")).await;
    let database = scenario.serve(&resource).await;
    assert_eq!(database.url(), url);
    database.sql("create table orders (x); insert into orders values (1)").await;

    let sql = format!("sql {DATABASE} --format csv 'select x from orders'");
    let refusal = scenario.plugin(&sql).await.unwrap_err();
    assert!(refusal.contains("--server-ca-file"), "{refusal}");
    let trusting = format!("--server-ca-file '{}' {sql}", cert.display());
    assert_eq!(scenario.plugin(&trusting).await.unwrap().lines().last(), Some("1"));

    // As docs/credentials.md says of an operator that sees some namespaces only.
    let account = format!("--serviceaccount={operator}:buckethead");
    scenario.kubectl(&["create", "clusterrolebinding", "secure-reviews", "--clusterrole=system:auth-delegator", &account]).await;
    scenario.follow("credentials", "Tokens of Kubernetes").await;
    until("its own token to end", async || database.try_sql("select 1").await.err().filter(|said| said.contains("/problems/unauthorized")))
        .await;
    let token = scenario.kubectl(&["create", "token", "reports"]).await;
    let reports = database.asked_with(token.trim());
    assert_eq!(reports.sql_once_it_answers("select x from orders").await, json!([[1]]));
    let refusal = reports.try_sql("insert into orders values (2)").await.unwrap_err();
    assert!(refusal.contains("/problems/sql-forbidden"), "{refusal}");
    let file = folder.path().join("token");
    std::fs::write(&file, token).unwrap();
    assert_eq!(scenario.plugin(&format!("{trusting} --token-file '{}'", file.display())).await.unwrap().lines().last(), Some("1"));
    let stranger = scenario.kubectl(&["create", "token", "client"]).await;
    let said = database.asked_with(stranger.trim()).try_sql("select 1").await.unwrap_err();
    assert!(said.contains("/problems/unauthorized"), "{said}");
    scenario.kubectl(&["delete", "clusterrolebinding", "secure-reviews"]).await;
    scenario.end().await;
}
