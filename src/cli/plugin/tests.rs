//! What is typed behind `kubectl buckethead`, and what is shown.

use controller::crd::{Auth, BucketDatabase};
use k8s_openapi::api::core::v1::Event;
use serde_json::{Value, json};

use super::page::{self, Page};
use super::*;

fn typed(line: &[&str]) -> Result<Arguments, clap::Error> {
    parse(std::iter::once(NAME).chain(line.iter().copied()).map(OsString::from))
}

#[test]
fn the_program_is_the_plugin_by_its_name_alone() {
    for name in ["kubectl-buckethead", "/usr/local/bin/kubectl-buckethead", "./kubectl-buckethead.exe"] {
        assert!(is_meant(Some(OsStr::new(name))), "{name}");
    }
    for name in ["buckethead", "/opt/kubectl-buckethead/buckethead", ""] {
        assert!(!is_meant(Some(OsStr::new(name))), "{name}");
    }
    assert!(!is_meant(None));
}

#[test]
fn commands_take_the_database_first_and_then_what_they_take_everywhere() {
    for line in [
        &["status"][..],
        &["status", "-A"],
        &["status", "orders", "-n", "apps", "--output", "json"],
        &["-n", "apps", "sql", "orders", "select 1", "--format", "csv"],
        &["sql", "orders", "--txid", "12", "select 1"],
        &["sql", "orders", "--token-file", "/token"],
        &["branches", "orders", "list"],
        &["branches", "orders", "create", "next", "--from", "main"],
        &["promote", "orders", "release-7", "--dry-run"],
        &["promote", "orders", "release-7", "--to", "main", "--id", "r7", "--timeout", "5"],
        &["kv", "orders", "get", "a"],
        &["report", "orders", "there.tar.gz"],
        &["port-forward", "orders", "--listen", "127.0.0.1:8080"],
        &["logs", "orders", "-f", "--since", "60"],
        &["gc", "orders", "--no-wait"],
    ] {
        if let Err(error) = typed(line) {
            panic!("{line:?}: {error}");
        }
    }
}

#[test]
fn what_names_a_server_or_a_bucket_has_no_place_here() {
    for (line, name) in [
        (&["sql", "orders", "--url", "http://a/b/c"][..], "--url"),
        (&["inspect", "orders", "--bucket", "b"], "--bucket"),
        (&["branches", "orders", "list", "--key", "k"], "--key"),
        (&["kv", "orders", "get", "a", "--files-prefix", "f/"], "--files-prefix"),
    ] {
        let refused = typed(line).unwrap_err().to_string();
        assert!(refused.contains(name) && refused.contains("not needed here"), "{line:?}: {refused}");
    }
    let elsewhere = typed(&["files", "orders", "gc"]).unwrap_err().to_string();
    assert!(elsewhere.contains("kubectl buckethead gc"), "{elsewhere}");
    assert!(typed(&["sql"]).unwrap_err().to_string().contains("DATABASE"));
}

#[test]
fn the_help_says_nothing_of_other_ways_to_name_a_database() {
    fn pages(command: &clap::Command, found: &mut Vec<String>) {
        found.push(command.clone().render_long_help().to_string());
        command.get_subcommands().filter(|inner| !inner.is_hide_set()).for_each(|inner| pages(inner, found));
    }
    let mut command = fitted(Arguments::command());
    command.build();
    let mut found = Vec::new();
    pages(&command, &mut found);
    assert!(found.len() > 20, "{}", found.len());
    for page in found {
        for word in ["--url", "--bucket", "--take-over", "R2_BUCKET", "BUCKETHEAD_URL"] {
            assert!(!page.contains(word), "{word} in\n{page}");
        }
    }
}

#[test]
fn what_is_exported_names_a_token_where_the_database_has_one_of_its_own() {
    let url = "http://127.0.0.1:8080/apps/orders/".parse().unwrap();
    let plain = resource(&json!({"binding": {"name": "orders-buckethead"}}));
    let line = forward::exported(&plain, "apps", &url);
    assert!(line.starts_with("export BUCKETHEAD_URL=http://127.0.0.1:8080/apps/orders/ BUCKETHEAD_TOKEN="), "{line}");
    assert!(line.contains("get secret orders-buckethead -n apps "), "{line}");
    let mut of_the_cluster = plain;
    of_the_cluster.spec.api.auth = Auth::Kubernetes;
    for without in [of_the_cluster, resource(&json!({}))] {
        assert_eq!(forward::exported(&without, "apps", &url), "export BUCKETHEAD_URL=http://127.0.0.1:8080/apps/orders/");
    }
}

fn resource(status: &Value) -> BucketDatabase {
    serde_json::from_value(json!({
        "apiVersion": "buckethead.dev/v1alpha1", "kind": "BucketDatabase", "metadata": {"name": "orders", "namespace": "apps"},
        "spec": {"bucket": "orders-data", "key": "apps/orders.db", "credentials": {"secretRef": {"name": "keys"}}}, "status": status,
    }))
    .unwrap()
}

fn condition(kind: &str, status: &str, reason: &str, message: &str) -> Value {
    json!({"type": kind, "status": status, "reason": reason, "message": message, "lastTransitionTime": "2026-11-23T07:00:00Z"})
}

fn page(status: &Value, live: Result<Value, String>, events: Vec<Value>) -> Page {
    let events = events.into_iter().map(|event| serde_json::from_value::<Event>(event).unwrap()).collect();
    Page { resource: resource(status), events: Ok(events), live, now: "2026-11-23T09:00:00Z".parse().unwrap() }
}

#[test]
fn a_page_tells_how_a_database_stands() {
    let branch = |name: &str, txid: u64, parent: Option<&str>| json!({"name": name, "txid": txid, "size": "8Ki", "lastModified": "2026-11-23T08:00:00Z", "parent": parent});
    let status = json!({
        "conditions": [condition("Ready", "True", "Serving", ""), condition("Stalled", "False", "Progressing", ""),
                       condition("Durable", "False", "Lagging", "the store answers slowly")],
        "url": "http://buckethead.storage.svc/apps/orders/", "host": "buckethead-0", "epoch": 3, "branch": "main", "size": "8Ki", "maxSize": "500Mi",
        "txid": 1204, "durableTime": "2026-11-23T08:59:00Z",
        "lastSnapshot": {"time": "2026-11-23T08:00:00Z", "txid": 1200, "size": "8Ki", "etag": "e"},
        "lastVerified": {"time": "2026-11-22T08:00:00Z", "txid": 1100, "ok": true},
        "branches": [branch("main", 1204, None), branch("hotfix", 9, Some("release-7")), branch("release-7", 8, Some("main")),
                     branch("stray", 7, Some("gone")), branch("zz", 2, Some("main"))],
        "promotion": {"id": "r7", "phase": "Applied", "from": "release-7", "to": "main", "txid": 1204, "time": "2026-11-23T08:00:00Z"},
        "files": {"count": 3, "size": "3Mi", "nextGc": "2026-11-23T12:00:00Z", "lastGc": {"time": "2026-11-23T07:00:00Z", "stage": "deleted",
                  "dryRun": false, "run": 1, "marked": 0, "deleted": 2, "skipped": 1, "dangling": 0, "unowned": 0, "freed": "1Mi"}},
    });
    let live = json!({"branch": "main", "durable_time": "2026-11-23T08:59:30Z", "pending": true, "txid": 1205, "size": 12288});
    let event = json!({"metadata": {}, "involvedObject": {}, "type": "Warning", "reason": "StoreSlow", "message": "it takes long",
                       "eventTime": "2026-11-23T08:58:00.000000Z"});
    let expected = "\
orders in apps: Ready
  bucket     orders-data, key apps/orders.db
  url        http://buckethead.storage.svc/apps/orders/
  host       buckethead-0, epoch 3
  branch     main, txid 1205, 12Ki of 500Mi
  durable    everything until 2026-11-23T08:59:30Z, 30s behind; later commits are on their way
  snapshot   txid 1200, 8Ki, 60m ago
  verified   txid 1100, 25h ago: sound
  promotion  r7, release-7 into main: Applied at txid 1204, 60m ago
  files      3, 3Mi
  gc         2h ago, deleted: 2 deleted (1Mi), 0 marked, 1 too young; next in 3h

Branches
  NAME          TXID  SIZE  SNAPSHOT
  main          1204  8Ki   60m       served
  ├─ release-7  8     8Ki   60m
  │  └─ hotfix  9     8Ki   60m
  └─ zz         2     8Ki   60m
  stray         7     8Ki   60m

Conditions
  TYPE     STATUS  REASON   SINCE  MESSAGE
  Durable  False   Lagging  2h     the store answers slowly

Events
  AGE  TYPE     REASON     MESSAGE
  2m   Warning  StoreSlow  it takes long";
    let shown = page(&status, Ok(live), vec![event]).in_words();
    let trimmed: Vec<&str> = shown.lines().map(str::trim_end).collect();
    assert_eq!(trimmed.join("\n"), expected);
    let told = page(&status, Err("no right to".to_owned()), Vec::new());
    for line in ["main, txid 1204, 8Ki of 500Mi", "everything until 2026-11-23T08:59:00Z; not asked now: no right to"] {
        assert!(told.in_words().contains(line), "{line}");
    }
    assert_eq!((&told.as_json()["live"]["error"], &told.as_json()["ready"]), (&json!("no right to"), &json!("True")));
}

#[test]
fn what_is_not_known_is_not_told() {
    let shown = page(&json!({}), Err("it is not served yet".to_owned()), Vec::new()).in_words();
    assert_eq!(
        shown,
        "orders in apps: nobody has looked at it\n  bucket     orders-data, key apps/orders.db\n  durable    not known; not asked now: it is not served yet"
    );
    let stalled =
        json!({"conditions": [condition("Ready", "False", "ConflictDetected", "m"), condition("Stalled", "True", "Conflict", "m")]});
    assert!(page(&stalled, Err(String::new()), Vec::new()).in_words().starts_with("orders in apps: Stalled (Conflict)\n"));
}

#[test]
fn branches_that_are_each_others_parents_are_told_all_the_same() {
    let branch = |name: &str, parent: &str| json!({"name": name, "parent": parent});
    let status = json!({"branches": [branch("a", "b"), branch("b", "a"), branch("c", "c")]});
    let shown = page(&status, Err(String::new()), Vec::new()).in_words();
    for name in ["a", "b", "c"] {
        assert!(shown.lines().any(|line| line.trim_end() == format!("  {name}")), "{shown}");
    }
}

#[test]
fn a_table_has_a_line_for_each() {
    let ready = resource(
        &json!({"conditions": [condition("Ready", "True", "Serving", "")], "branch": "main", "txid": 3, "size": "4Ki", "host": "p"}),
    );
    let table = page::table(&[ready, resource(&json!({}))], true, "2026-11-23T09:00:00Z".parse().unwrap());
    let lines: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines[0], ["NAMESPACE", "NAME", "STATE", "BRANCH", "TXID", "SIZE", "SNAPSHOT", "VERIFIED", "HOST"]);
    assert_eq!(lines[1], ["apps", "orders", "Ready", "main", "3", "4Ki", "-", "-", "p"]);
    assert_eq!(lines.len(), 3);
}
