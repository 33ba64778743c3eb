//! How clients come to a database: its connection Secret, its tokens, and a Service of its own.

use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::support::{DATABASE, Database, Namespace, Operator, Place, Resource, ServedBy, until};

const KEY: &str = "apps/orders.db";
const CONNECTION: &str = "orders-buckethead";

/// A database that is served, and who serves it.
struct Served {
    namespace: Namespace,
    place: Place,
    operator: Operator,
}

impl Served {
    async fn begin(name: &'static str) -> Self {
        let (namespace, place) = Namespace::with_place(name, ServedBy::Minio).await;
        let operator = Operator::start(&namespace).await;
        let served = Self { namespace, place, operator };
        served.apply(json!({})).await;
        served.namespace.wait_ready(DATABASE).await;
        served
    }

    /// The database with this `spec.api`.
    async fn apply(&self, api: Value) {
        self.namespace.apply(&Resource::database(DATABASE, &self.place, KEY).with("/spec/api", api)).await;
    }

    async fn told(&self, key: &str) -> String {
        self.namespace.secret_value(CONNECTION, key).await
    }

    async fn until_told(&self, url: &str) {
        until(&format!("the connection Secret tells {url}"), async || (self.told("url").await == url).then_some(())).await;
    }

    fn own_url(&self) -> String {
        format!("http://{DATABASE}.{}.svc/", self.namespace.name())
    }

    fn public_url(&self) -> String {
        format!("{}/{}/{DATABASE}/", Operator::PUBLIC_URL, self.namespace.name())
    }

    async fn annotate(&self, annotation: &str) {
        self.namespace.kubectl(&["annotate", "bucketdatabase", DATABASE, annotation, "--overwrite"]).await;
    }

    async fn rotate(&self, value: &str) {
        self.annotate(&format!("buckethead.dev/rotate-token-at={value}")).await;
        until("the rotation in the status", async || (self.status().await["lastHandled"]["rotate"] == value).then_some(())).await;
    }

    async fn status(&self) -> Value {
        self.namespace.get("bucketdatabase", DATABASE).await["status"].take()
    }

    async fn uid(&self) -> Value {
        self.namespace.get("bucketdatabase", DATABASE).await["metadata"]["uid"].take()
    }

    /// Whether a token opens the database.
    async fn admits(&self, token: &str) -> bool {
        let address = format!("{}/{}/{DATABASE}/", self.operator.api, self.namespace.name());
        let status = Database::new(address, Some(token.to_owned())).try_sql("select 1").await.status();
        // Whoever asks on and on with a token that is not valid is told so in another way.
        assert!([StatusCode::OK, StatusCode::UNAUTHORIZED, StatusCode::TOO_MANY_REQUESTS].contains(&status), "{status}");
        status == StatusCode::OK
    }

    async fn keys(&self) -> Vec<String> {
        let secret = self.namespace.get("secret", CONNECTION).await;
        secret["data"].as_object().unwrap().keys().cloned().collect()
    }
}

#[tokio::test]
async fn the_connection_secret_binds_an_app_and_the_status_names_it() {
    let served = Served::begin("binding").await;
    assert_eq!(served.status().await["binding"]["name"], CONNECTION);
    assert_eq!(served.namespace.get("secret", CONNECTION).await["type"], "servicebinding.io/sqlite");
    assert_eq!(served.keys().await, ["host", "libsql-url", "port", "provider", "read-only-token", "token", "type", "uri", "url"]);
    assert_eq!((served.told("url").await, served.told("uri").await), (served.public_url(), served.public_url()));
    assert!(served.admits(&served.told("token").await).await);
}

#[tokio::test]
async fn a_token_is_rotated_by_an_annotation_and_the_one_before_is_valid_for_a_while() {
    let served = Served::begin("rotated").await;
    let first = served.told("token").await;
    served.rotate("noon").await;
    let second = served.told("token").await;
    assert_ne!(second, first);
    assert_eq!(served.told("previous-token").await, first);
    assert!(served.admits(&first).await && served.admits(&second).await, "both are valid");

    until("the first token is refused", async || (!served.admits(&first).await).then_some(())).await;
    assert!(served.admits(&second).await);
    until("nothing is told of it", async || (!served.keys().await.iter().any(|key| key.starts_with("previous"))).then_some(())).await;
    assert_eq!(served.told("token").await, second, "the annotation's value is dealt with");
    served.rotate("evening").await;
    assert_ne!(served.told("token").await, second);
}

#[tokio::test]
async fn a_token_of_ones_own_is_changed_in_its_secret_alone() {
    let served = Served::begin("own-token").await;
    let made = served.told("token").await;
    let secret = |token: &str| {
        Resource::credentials(&served.place.account).with("/metadata/name", "mine").with("/stringData", json!({"token": token}))
    };
    served.namespace.apply(&secret("one")).await;
    served.apply(json!({"tokenSecretRef": {"name": "mine"}})).await;
    until("the connection Secret repeats it", async || (served.told("token").await == "one").then_some(())).await;
    until("it is admitted", async || served.admits("one").await.then_some(())).await;
    assert!(served.admits(&made).await, "for a while");

    served.annotate("buckethead.dev/rotate-token-at=noon").await;
    let refused = served.namespace.wait_condition(DATABASE, "Stalled", "True", "TokenGiven").await;
    assert!(refused.message.contains("spec.api.tokenSecretRef"), "{refused:?}");
    assert!(served.admits("one").await, "it serves all the same");
    served.namespace.apply(&secret("two")).await;
    // Any change of the resource has its Secrets read at once.
    served.annotate("buckethead.dev/rotate-token-at-").await;
    until("the new one is admitted", async || served.admits("two").await.then_some(())).await;
    assert!(served.admits("one").await, "both are valid");
    until("the one before is refused", async || (!served.admits("one").await).then_some(())).await;
}

#[tokio::test]
async fn a_service_of_its_own_leads_to_the_operators_pod_and_its_name_to_the_database() {
    let served = Served::begin("exposed").await;
    served.apply(json!({"service": true})).await;
    served.until_told(&served.own_url()).await;
    served.namespace.wait_ready(DATABASE).await;
    let service = served.namespace.get("service", DATABASE).await;
    assert_eq!((&service["spec"]["selector"], &service["spec"]["ports"][0]["port"]), (&Value::Null, &json!(80)), "{service}");
    let slice = served.namespace.get("endpointslice", CONNECTION).await;
    assert_eq!(slice["metadata"]["labels"]["kubernetes.io/service-name"], DATABASE);
    assert_eq!(slice["endpoints"][0]["addresses"], json!([Operator::POD_IP]));
    assert_eq!(slice["endpoints"][0]["conditions"]["ready"], true);
    let port = served.operator.api.rsplit_once(':').unwrap().1;
    assert_eq!(slice["ports"][0]["port"].to_string(), port);
    assert_eq!(served.status().await["url"], served.own_url());

    let host = format!("{DATABASE}.{}.svc", served.namespace.name());
    let named = Database::by_name(&served.operator.api, &host, &served.told("token").await).answers().await;
    assert_eq!(named.sql("select 1").await, json!([[1]]));
    assert_eq!(named.with_token(None).try_sql("select 1").await.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(named.ask("GET", "metrics", "").await.0, StatusCode::NOT_FOUND, "nothing else is at that name");

    // What somebody breaks is mended at once, because it is watched.
    let theirs = r#"{"spec": {"selector": {"app": "theirs"}}}"#;
    served.namespace.kubectl(&["patch", "service", DATABASE, "--type=merge", "--patch", theirs]).await;
    until("the selector is gone", async || served.namespace.get("service", DATABASE).await["spec"]["selector"].is_null().then_some(()))
        .await;
    served.namespace.kubectl(&["delete", "service,endpointslice", "--all"]).await;
    until("both are there again", async || {
        let found = served.namespace.kubectl(&["get", "services,endpointslices", "--output=name"]).await;
        (found.lines().count() == 2).then_some(())
    })
    .await;

    served.apply(json!({"service": false})).await;
    served.until_told(&served.public_url()).await;
    until("both are gone", async || {
        served.namespace.kubectl(&["get", "services,endpointslices", "--output=name"]).await.is_empty().then_some(())
    })
    .await;
    until("its name leads nowhere", async || (named.try_sql("select 1").await.status() == StatusCode::NOT_FOUND).then_some(())).await;
}

#[tokio::test]
async fn a_service_of_somebody_else_is_left_alone_and_the_database_serves_without_its_own() {
    let served = Served::begin("service-taken").await;
    served.namespace.kubectl(&["create", "service", "clusterip", DATABASE, "--tcp=80"]).await;
    let theirs = served.namespace.get("service", DATABASE).await;
    served.apply(json!({"service": true})).await;
    let told = served.namespace.wait_condition(DATABASE, "Stalled", "True", "ServiceTaken").await;
    assert!(told.message.contains("Service `orders`"), "{told:?}");
    assert_eq!(served.namespace.get("service", DATABASE).await["metadata"]["resourceVersion"], theirs["metadata"]["resourceVersion"]);
    assert_eq!(served.told("url").await, served.public_url());
    let host = format!("{DATABASE}.{}.svc", served.namespace.name());
    let named = Database::by_name(&served.operator.api, &host, &served.told("token").await);
    assert_eq!(named.try_sql("select 1").await.status(), StatusCode::NOT_FOUND, "that name is theirs");
    assert!(served.admits(&served.told("token").await).await);

    served.namespace.kubectl(&["delete", "service", DATABASE]).await;
    served.until_told(&served.own_url()).await;
    served.namespace.wait_ready(DATABASE).await;
}

#[tokio::test]
async fn what_went_with_an_earlier_life_of_the_resource_is_taken_over_if_it_is_still_there() {
    let served = Served::begin("applied-again").await;
    served.apply(json!({"service": true})).await;
    served.until_told(&served.own_url()).await;
    let (uid, token) = (served.uid().await, served.told("token").await);
    // The API server alone collects nothing.
    served.namespace.kubectl(&["delete", "bucketdatabase", DATABASE, "--timeout=60s"]).await;
    served.apply(json!({"service": true})).await;
    served.namespace.wait_ready(DATABASE).await;
    served.until_told(&served.own_url()).await;
    let anew = served.uid().await;
    assert_ne!(anew, uid);
    for (kind, name) in [("secret", CONNECTION), ("service", DATABASE), ("endpointslice", CONNECTION)] {
        let owners = served.namespace.get(kind, name).await["metadata"]["ownerReferences"].take();
        assert_eq!((owners.as_array().unwrap().len(), &owners[0]["uid"]), (1, &anew), "{kind}");
    }
    assert!(served.admits(&token).await, "clients go on with what they have");
}

/// What somebody gets who asks with a token of the cluster.
async fn asked_with(served: &Served, token: &str, sql: &'static str) -> StatusCode {
    let address = format!("{}/{}/{DATABASE}/", served.operator.api, served.namespace.name());
    Database::new(address, Some(token.to_owned())).try_sql(sql).await.status()
}

#[tokio::test]
async fn the_clusters_own_tokens_open_a_database_as_far_as_rbac_lets_them() {
    let served = Served::begin("cluster-tokens").await;
    let made = served.told("token").await;
    served.apply(json!({"auth": "Kubernetes"})).await;
    until("the Secret holds no token", async || (!served.keys().await.iter().any(|key| key.ends_with("token"))).then_some(())).await;
    until("the token of before is refused", async || (!served.admits(&made).await).then_some(())).await;

    for (name, verbs) in [("reader", "--verb=get"), ("writer", "--verb=update"), ("stranger", "--verb=list")] {
        served.namespace.kubectl(&["create", "serviceaccount", name]).await;
        let resource = "--resource=bucketdatabases.buckethead.dev/data";
        served.namespace.kubectl(&["create", "role", name, verbs, resource, "--resource-name=orders"]).await;
        let account = format!("--serviceaccount={}:{name}", served.namespace.name());
        served.namespace.kubectl(&["create", "rolebinding", name, &format!("--role={name}"), &account]).await;
    }
    let token = async |name| served.namespace.kubectl(&["create", "token", name]).await.trim().to_owned();
    let (reader, writer, stranger) = (token("reader").await, token("writer").await, token("stranger").await);
    assert_eq!(asked_with(&served, &writer, "create table t(a)").await, StatusCode::OK);
    assert_eq!(asked_with(&served, &reader, "select * from t").await, StatusCode::OK);
    assert_eq!(asked_with(&served, &reader, "insert into t values (1)").await, StatusCode::FORBIDDEN);
    assert_eq!(asked_with(&served, &stranger, "select * from t").await, StatusCode::UNAUTHORIZED);
    assert_eq!(asked_with(&served, &made, "select * from t").await, StatusCode::UNAUTHORIZED);

    served.apply(json!({})).await;
    until("there is a token again", async || served.keys().await.contains(&"token".to_owned()).then_some(())).await;
    until("the cluster's are refused", async || {
        (asked_with(&served, &writer, "select * from t").await == StatusCode::UNAUTHORIZED).then_some(())
    })
    .await;
}
