use std::time::Duration;

use axum::http::Method;
use engine::{FlushEnd, FlushKind, FlushOf, Hooks as _, StoreRequest};

use super::examples::facts;
use super::*;

#[derive(Debug)]
struct Fixed(Vec<(DatabaseName, DatabaseState)>);

impl Collector for Fixed {
    fn encode(&self, encoder: DescriptorEncoder) -> Result<(), fmt::Error> {
        encode_databases(&self.0, encoder)
    }
}

fn shown(databases: Vec<(DatabaseName, DatabaseState)>) -> String {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Fixed(databases)));
    let mut out = String::new();
    text::encode(&mut out, &registry).unwrap();
    out
}

#[test]
fn an_open_database_shows_all_its_figures() {
    let failing = Uploads::Failing {
        error: Arc::new(engine::Error::OutOfTime { database: DatabaseName::new("apps", "orders") }),
        since: "2026-11-23T08:00:00Z".parse().unwrap(),
        attempts: 3,
    };
    let out = shown(vec![(DatabaseName::new("apps", "orders"), DatabaseState::Open(Facts { uploads: failing, ..facts() }))]);
    for (name, value) in [
        ("up", "1.0"),
        ("size_bytes", "12288.0"),
        ("live_bytes", "13056.0"),
        ("pinned_bytes", "4352.0"),
        ("staged_bytes", "0.0"),
        ("oldest_pin_seconds", "2.5"),
        ("slow_readers", "2.0"),
        ("txid", "4.0"),
        ("durable_timestamp_seconds", "1795420800.0"),
        ("snapshot_timestamp_seconds", "1795420799.0"),
        ("durability_target_seconds", "90.0"),
        ("verified_timestamp_seconds", "1795420700.0"),
        ("verify_interval_seconds", "129600.0"),
        ("restorable", "1.0"),
        ("pending", "1.0"),
        ("failed_uploads", "3.0"),
        ("epoch", "2.0"),
        ("rows_returned_total", "7.0"),
        ("rows_changed_total", "3.0"),
        ("statement_seconds_total", "1.5"),
        ("queued_seconds_total", "0.25"),
        ("slow_statements_total", "1.0"),
    ] {
        let line = format!("buckethead_database_{name}{{namespace=\"apps\",name=\"orders\"}} {value}\n");
        assert!(out.contains(&line), "{line} is not in\n{out}");
    }
}

#[test]
fn a_database_that_is_not_open_is_down_and_has_no_figures() {
    let out = shown(vec![(DatabaseName::new("apps", "orders"), DatabaseState::Opening)]);
    assert!(out.contains("buckethead_database_up{namespace=\"apps\",name=\"orders\"} 0.0\n"), "{out}");
    assert!(!out.contains("buckethead_database_size_bytes{"), "{out}");
}

#[test]
fn a_database_that_nobody_proves_has_no_interval_of_proofs() {
    let facts = Facts { verify_interval: Duration::ZERO, interval: Duration::ZERO, ..facts() };
    let out = shown(vec![(DatabaseName::new("apps", "orders"), DatabaseState::Open(facts))]);
    assert!(!out.contains("buckethead_database_verify_interval_seconds{"), "{out}");
    assert!(out.contains("buckethead_database_durability_target_seconds{namespace=\"apps\",name=\"orders\"} 0.0\n"), "{out}");
}

#[test]
fn each_metric_is_described_once_however_many_databases_there_are() {
    let databases = (0..3).map(|index| (DatabaseName::new("apps", format!("db-{index}")), DatabaseState::Open(facts()))).collect();
    assert_eq!(shown(databases).matches("# TYPE buckethead_database_up gauge").count(), 1);
}

#[test]
fn what_a_caller_invents_makes_no_new_series() {
    let routes = Routes::default();
    for method in ["BREW", "POST", "QUERY", "brew"] {
        routes.observe("/x", &Method::from_bytes(method.as_bytes()).unwrap(), StatusCode::NOT_FOUND, Duration::from_millis(2));
    }
    let mut registry = Registry::default();
    registry.register_collector(Box::new(routes));
    let mut out = String::new();
    text::encode(&mut out, &registry).unwrap();
    for (method, count) in [("other", 2), ("POST", 1), ("QUERY", 1)] {
        let labels = format!("{{route=\"/x\",method=\"{method}\",status=\"4xx\"");
        for line in [
            format!("buckethead_http_requests_total{labels}}} {count}\n"),
            format!("buckethead_http_request_duration_seconds_bucket{{le=\"0.0025\",{}}} {count}\n", &labels[1..]),
            format!("buckethead_http_request_duration_seconds_count{labels}}} {count}\n"),
        ] {
            assert!(out.contains(&line), "{line} is not in\n{out}");
        }
    }
    assert_eq!(out.matches("# TYPE buckethead_http_requests counter").count(), 1);
    assert!(!out.contains("BREW") && !out.contains("GET"), "{out}");
    for (status, label) in [(204, "2xx"), (404, "4xx"), (499, "4xx"), (503, "5xx")] {
        assert_eq!(status_label(StatusCode::from_u16(status).unwrap()), label);
    }
}

#[test]
fn uploads_and_requests_are_counted_by_how_they_ended() {
    #[derive(Debug)]
    struct Shown(Arc<Work>, Vec<DatabaseName>);

    impl Collector for Shown {
        fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), fmt::Error> {
            self.0.encode(&self.1.iter().collect::<Vec<_>>(), &mut encoder)
        }
    }

    let work = Arc::new(Work::default());
    let of = |name: &str| FlushOf { database: DatabaseName::new("apps", name), branch: engine::BranchName::main(), kind: FlushKind::Delta };
    let took = Duration::from_millis(3);
    let error = Arc::new(engine::Error::OutOfTime { database: DatabaseName::new("apps", "orders") });
    for end in [FlushEnd::Completed { txid: 2, bytes: 5000, took }, FlushEnd::Skipped, FlushEnd::Failed { error, took }] {
        work.flush_started(&of("orders"));
        work.flush_ended(&of("orders"), &end);
    }
    work.flush_started(&of("gone"));
    for status in [Some(200), Some(412), None] {
        work.store_request(&StoreRequest { operation: "PutObject".into(), status, sent: 5000, received: 10, took });
    }
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Shown(Arc::clone(&work), vec![DatabaseName::new("apps", "orders")])));
    let mut out = String::new();
    text::encode(&mut out, &registry).unwrap();
    let of = "namespace=\"apps\",name=\"orders\",kind=\"delta\"";
    for line in [
        format!("buckethead_database_flushes_started_total{{{of}}} 3\n"),
        format!("buckethead_database_flushes_completed_total{{{of}}} 1\n"),
        format!("buckethead_database_flushes_skipped_total{{{of}}} 1\n"),
        format!("buckethead_database_flushes_failed_total{{{of}}} 1\n"),
        format!("buckethead_database_flush_duration_seconds_bucket{{le=\"0.005\",{of}}} 1\n"),
        format!("buckethead_database_flush_bytes_sum{{{of}}} 5000.0\n"),
        "buckethead_store_requests_total{operation=\"PutObject\",status=\"2xx\",class=\"a\"} 1\n".to_owned(),
        "buckethead_store_requests_total{operation=\"PutObject\",status=\"none\",class=\"a\"} 1\n".to_owned(),
        "buckethead_store_sent_bytes_total{operation=\"PutObject\",status=\"4xx\"} 5000\n".to_owned(),
        "buckethead_store_request_duration_seconds_count{operation=\"PutObject\",status=\"2xx\"} 1\n".to_owned(),
    ] {
        assert!(out.contains(&line), "{line} is not in\n{out}");
    }
    assert!(!out.contains("gone"), "a database that is gone has no series\n{out}");
}
