//! The whole chain of monitoring: a real Prometheus has the chart's rules, scrapes an operator under load, and answers what the dashboard asks.

use std::collections::BTreeSet;

use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::support::{DATABASE, Database, Namespace, Operator, OwnStore, Prometheus, Resource, document, until};

/// Queries that have nothing to show here, by a part of theirs, and why.
const SILENT: [(&str, &str); 4] = [
    ("(buckethead_database_up{job=~\".+\"}) == 0", "it counts databases that are not open, and there is none"),
    ("(buckethead_database_restorable{job=~\".+\"}) == 0", "it counts databases that cannot be restored, and there is none"),
    ("buckethead_forwarded_requests_total", "the only Pod passes nothing on"),
    ("buckethead_reconcile_failures_total", "no look at a resource fails"),
];

/// Those that begin when the store is gone.
const LATER: [&str; 3] =
    ["status=\"5xx\"", "buckethead_database_flushes_failed_total", "(buckethead_database_refuses_writes{job=~\".+\"}) == 1"];

/// What a store that is gone sets off, with a `maxLag` of a second.
const ALARMS: [&str; 3] = ["BucketheadStoreUnreachable", "BucketheadUploadFailing", "BucketheadWritesRefused"];

/// The files of rules, but that nobody waits: a window of five minutes is one of ten seconds, and what holds for a second is told.
fn rules() -> Vec<Value> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/charts/buckethead/files/rules");
    let files = std::fs::read_dir(folder).unwrap().map(|file| std::fs::read_to_string(file.unwrap().path()).unwrap());
    let mut all: Vec<Value> = files.map(|text| serde_yaml::from_str(&text).unwrap()).collect();
    for group in all.iter_mut().flat_map(|file| file["groups"].as_array_mut().unwrap()) {
        group.as_object_mut().unwrap().remove("interval");
        for rule in group["rules"].as_array_mut().unwrap() {
            rule["expr"] = rule["expr"].as_str().unwrap().replace("[5m]", "[10s]").into();
            if rule["for"].is_string() {
                rule["for"] = "1s".into();
            }
        }
    }
    all
}

/// What rules of this kind have in a field.
fn each<'a>(rules: &'a [Value], kind: &'a str, field: &'a str) -> impl Iterator<Item = &'a str> {
    let groups = rules.iter().flat_map(|file| file["groups"].as_array().unwrap());
    let rules = groups.flat_map(|group| group["rules"].as_array().unwrap()).filter(move |rule| rule[kind].is_string());
    rules.map(move |rule| rule[field].as_str().unwrap())
}

/// A query as Grafana sends it, with everything chosen that there is.
fn chosen(query: &str) -> String {
    let values = [("$job", ".+"), ("$namespace", ".+"), ("$database", DATABASE), ("$__rate_interval", "10s")];
    let query = values.iter().fold(query.to_owned(), |query, (name, value)| query.replace(name, value));
    assert!(!query.contains('$'), "a variable that this does not know: {query}");
    query
}

/// The queries of all panels, in their order.
fn queries(dashboard: &Value) -> Vec<String> {
    let panels = dashboard["panels"].as_array().unwrap().iter();
    let targets = panels.filter_map(|panel| panel["targets"].as_array()).flatten();
    targets.map(|target| chosen(target["expr"].as_str().unwrap())).collect()
}

/// The names of metrics and records in an expression.
fn names(expression: &str) -> impl Iterator<Item = &str> {
    let words = expression.split(|letter: char| !(letter.is_ascii_alphanumeric() || letter == '_' || letter == ':'));
    words.filter(|word| word.contains("buckethead_"))
}

/// Somebody writes and reads.
async fn use_it(database: &Database) {
    for sql in ["insert into t values (1)", "select count(*) from t"] {
        let status = database.try_sql(sql).await.status();
        assert!(status == StatusCode::OK || status == StatusCode::SERVICE_UNAVAILABLE, "{status}");
    }
}

/// Whether it has a value that is a number: the quantile of nothing is none.
async fn has_number(prometheus: &Prometheus, query: &str) -> bool {
    prometheus.query(query).await.iter().any(|value| !value.is_nan())
}

fn is_of<'a>(query: &str, mut parts: impl Iterator<Item = &'a str>) -> bool {
    parts.any(|part| query.contains(part))
}

#[tokio::test]
async fn prometheus_answers_what_rules_and_dashboard_ask_and_a_store_that_ends_is_told() {
    let store = OwnStore::start("monitored").await;
    let namespace = Namespace::create("monitored").await;
    namespace.apply(&Resource::credentials(&store.place.account)).await;
    let durability = json!({"streamInterval": "100ms", "maxLag": "1s"});
    let resource = Resource::database(DATABASE, &store.place, "apps/orders.db").with("/spec/durability", durability);
    namespace.apply(&resource.with("/spec/files", json!({"gc": {"graceSeconds": 0}}))).await;
    let operator = Operator::once_ready(Operator::spawn_with(&namespace, &["--memory-budget", "2Gi"])).await;
    namespace.wait_ready(DATABASE).await;
    let database = namespace.connect(&operator, DATABASE).await;
    let _kubelet = namespace.kubelet();
    let rules = rules();
    let prometheus = Prometheus::start(operator.api.strip_prefix("http://").unwrap(), &rules).await;

    database.sql("create table t (x)").await;
    database.flush().await;
    assert_eq!(database.ask("POST", "verify", "").await.0, StatusCode::OK);
    assert_eq!(database.with_token(None).try_sql("select 1").await.status(), StatusCode::UNAUTHORIZED);
    namespace.kubectl(&["annotate", "bucketdatabase", DATABASE, "buckethead.dev/gc-requested-at=now"]).await;

    let dashboard: Value = serde_json::from_str(&document("charts/buckethead/files/dashboard.json")).unwrap();
    let shown = queries(&dashboard);
    let recorded: Vec<_> = each(&rules, "record", "record").map(str::to_owned).collect();
    let expressions = each(&rules, "record", "expr").chain(each(&rules, "alert", "expr"));
    let counted: Vec<_> = expressions.flat_map(names).collect::<BTreeSet<_>>().into_iter().map(|name| format!("count({name})")).collect();
    assert!(shown.len() > 60 && recorded.len() > 10 && counted.len() > 20, "{shown:?} {recorded:?} {counted:?}");
    let silent = || SILENT.iter().map(|(part, _)| *part);
    let all: Vec<_> = [shown, recorded, counted].concat().into_iter().filter(|query| !is_of(query, silent())).collect();
    let (later, now): (Vec<_>, Vec<_>) = all.into_iter().partition(|query| is_of(query, LATER.into_iter()));

    let has_one = async |query: &str| {
        until(&format!("a number of {query}"), async || {
            use_it(&database).await;
            has_number(&prometheus, query).await.then_some(())
        })
        .await;
    };
    for query in &now {
        has_one(query).await;
    }
    for variable in dashboard["templating"]["list"].as_array().unwrap().iter().filter(|variable| variable["type"] == "query") {
        let asked = variable["query"]["query"].as_str().unwrap();
        let (selector, label) = asked.strip_prefix("label_values(").and_then(|asked| asked.strip_suffix(')')?.rsplit_once(", ")).unwrap();
        assert!(!prometheus.label_values(label, &chosen(selector)).await.is_empty(), "{asked}");
    }
    let nothing = [""; 0];
    until("the end of all alerts of the start", async || {
        use_it(&database).await;
        (prometheus.alerts("firing").await == nothing && prometheus.alerts("pending").await == nothing).then_some(())
    })
    .await;

    store.end().await;
    for alert in ALARMS {
        until(&format!("the alert {alert}"), async || {
            use_it(&database).await;
            prometheus.alerts("firing").await.iter().any(|firing| firing == alert).then_some(())
        })
        .await;
    }
    for query in &later {
        has_one(query).await;
    }
    store.start_again().await;
    until("the end of all alerts", async || {
        use_it(&database).await;
        (prometheus.alerts("firing").await == nothing).then_some(())
    })
    .await;

    // A reason that is none any more would let a query be silent for another one.
    for (part, why) in SILENT {
        let all = queries(&dashboard).into_iter().chain(each(&rules, "alert", "expr").map(str::to_owned));
        let meant: Vec<_> = all.filter(|query| query.contains(part)).collect();
        assert!(!meant.is_empty(), "nobody asks for {part}");
        for query in meant {
            let found = prometheus.query(&query).await;
            assert!(found.is_empty(), "{why}, and yet {query} is {found:?}");
        }
    }
    assert_eq!(prometheus.failing_rules().await, nothing);
    operator.end().await;
}
