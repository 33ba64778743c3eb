//! `bench`, `stress` and profiles, as somebody types them who wants to know how it is.

use std::path::Path;
use std::process::{Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;
use tokio::process::Command;

use crate::support::{Dev, Place, ServedBy, Signal, until};

async fn buckethead(folder: &Path, words: &[&str], environment: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_buckethead"));
    command.args(words).current_dir(folder).env_clear().envs(environment.iter().copied()).output().await.unwrap()
}

fn said(output: &Output) -> String {
    assert!(output.status.success(), "{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

/// What lies in a folder, by the ends of their names.
fn files(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn is_ordered(latency: &Value) {
    let at = |name: &str| latency[name].as_f64().unwrap();
    let ordered = ["min", "p50", "p95", "p99", "p99.9", "max"].map(at);
    assert!(ordered[0] > 0.0 && ordered.is_sorted() && (ordered[0]..=ordered[5]).contains(&at("mean")), "{latency}");
}

#[tokio::test]
async fn bench_measures_every_suite_and_its_report_shows_them() {
    let folder = TempDir::new().unwrap();
    let listed = json(&said(&buckethead(folder.path(), &["bench", "list", "--output", "json"], &[]).await));
    let suites: Vec<_> = listed["suites"].as_object().unwrap().keys().cloned().collect();
    assert_eq!(suites.len(), 6, "{listed}");
    // All of it takes a minute, and differs in nothing but numbers.
    let words = ["bench", "run", "quick", "--suite", "latency", "--suite", "ycsb", "--suite", "disk-compare", "--suite", "flush-impact"];
    let results = json(&said(&buckethead(folder.path(), &[&words[..], &["--output", "json"]].concat(), &[]).await));
    let found: Vec<_> = results["suites"].as_array().unwrap().iter().map(|suite| suite["suite"].as_str().unwrap()).collect();
    assert_eq!(found, ["latency", "ycsb", "disk-compare", "flush-impact"]);
    for suite in results["suites"].as_array().unwrap() {
        let figures = suite["figures"].as_array().unwrap();
        assert!(figures.iter().all(|figure| figure["count"].as_u64().unwrap() > 0), "{suite}");
        for figure in figures {
            is_ordered(&figure["latency"]);
        }
    }
    let operations: Vec<_> = results["suites"][1]["figures"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|figure| figure["operation"] == "all")
        .map(|figure| &figure["at"])
        .collect();
    assert_eq!(operations, ["A", "B", "C", "D", "E", "F"]);

    let written = folder.path().join("buckethead-bench");
    let names = files(&written);
    assert_eq!(names.len(), 3, "nothing else is left: {names:?}");
    let page = std::fs::read_to_string(written.join(&names[0])).unwrap();
    assert_eq!(page.matches("<svg").count(), 4);
    assert!(page.contains("<td>read-modify-write</td>") && page.contains("flush-impact") && !page.contains("NaN"), "{page}");
    // The reports of results that are there.
    std::fs::remove_file(written.join(&names[0])).unwrap();
    said(&buckethead(folder.path(), &["bench", "report"], &[]).await);
    assert_eq!(std::fs::read_to_string(written.join(&names[0])).unwrap(), page);
}

#[tokio::test]
async fn bench_asks_a_server_and_leaves_nothing_there() {
    let home = TempDir::new().unwrap();
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let dev = Dev::start(&examples, &home.path().join("data"), "standard").await;
    let url = format!("{}/default/quickstart", dev.api);
    let words = ["bench", "run", "quick", "--url", &url, "--output", "json"];
    let results = json(&said(&buckethead(home.path(), &words, &[]).await));
    let figures = results["suites"][0]["figures"].as_array().unwrap();
    assert_eq!(figures.len(), 9, "three operations by three numbers of clients: {results}");
    assert!(figures.iter().all(|figure| figure["per_second"].as_f64().unwrap() > 1.0), "{results}");
    assert_eq!(dev.database("quickstart").sql("select count(*) from bh_kv").await, serde_json::json!([[0]]));
    let refused = buckethead(home.path(), &["bench", "run", "--url", &url, "--suite", "ycsb"], &[]).await;
    assert_eq!(refused.status.code(), Some(2), "{refused:?}");

    let scenario = home.path().join("short.json");
    let text = r#"{"name": "short", "duration_s": 2, "writes_per_second": 50, "row_size_bytes": 100, "flush_interval_s": 1}"#;
    std::fs::write(&scenario, text).unwrap();
    let words = ["stress", "run", scenario.to_str().unwrap(), "--url", &url, "--output", "json"];
    let results = json(&said(&buckethead(home.path(), &words, &[]).await));
    assert_eq!((&results["writes"]["done"], &results["mode"]), (&Value::from(100), &Value::Null), "{results}");
    let puts = results["requests"].as_array().unwrap().iter().find(|asked| asked["operation"] == "PutObject").unwrap();
    assert!(puts["count"].as_u64().unwrap() >= 2 && results["costs"][0]["run"].as_f64().unwrap() > 0.0, "{results}");
    let tables = dev.database("quickstart").sql("select count(*) from sqlite_schema where name like '%stress%'").await;
    assert_eq!(tables, serde_json::json!([[0]]));
    dev.program.end(Signal::Int).await;
}

#[tokio::test]
async fn stress_tells_what_it_did_and_its_estimate_is_near() {
    let folder = TempDir::new().unwrap();
    let scenario = folder.path().join("short.yaml");
    let text = "name: short\nduration_s: 6\nwrites_per_second: 50\nrow_size_bytes: 512\nflush_interval_s: 1\nmemory_profile: false\n";
    std::fs::write(&scenario, text).unwrap();
    let place = Place::create(ServedBy::Minio, "stress").await;
    let settings = place.settings();
    for mode in ["snapshot", "stream", "sync"] {
        let scenario = scenario.to_str().unwrap();
        let estimate = buckethead(folder.path(), &["stress", "estimate", scenario, "--mode", mode, "--output", "json"], &[]).await;
        let estimate = json(&said(&estimate));
        let words = ["stress", "run", scenario, "--mode", mode, "--bucket", &place.bucket, "--profile", "--output", "json"];
        let results = json(&said(&buckethead(folder.path(), &words, &settings).await));
        assert_eq!((&results["writes"]["done"], &results["writes"]["failed"]), (&Value::from(300), &Value::from(0)), "{results}");
        is_ordered(&results["writes"]["latency"]);
        for class in ["class_a", "class_b"] {
            let (told, asked) = (estimate["run"][class].as_f64().unwrap(), results["bill"][class].as_f64().unwrap());
            assert!((0.75..=1.25).contains(&(told / asked)), "{mode}, {class}: {told} of {asked}: {results}");
        }
        let (told, stored) = (estimate["run"]["stored_bytes"].as_f64().unwrap(), results["stored_bytes"].as_f64().unwrap());
        assert!((0.5..=2.0).contains(&(told / stored)), "{mode}: {told} of {stored} bytes");
        for cost in results["costs"].as_array().unwrap() {
            assert!(cost["month"].as_f64().unwrap() > cost["run"].as_f64().unwrap(), "{cost}");
        }
    }
    assert_eq!(place.list("").await, Vec::<String>::new(), "nothing is left in the bucket");

    // Both runs wrote lines.
    let profiles = folder.path().join("buckethead-profiles");
    let lines = std::fs::read_to_string(profiles.join("flushes.jsonl")).unwrap();
    let lines: Vec<_> = lines.lines().map(json).collect();
    for kind in ["delta", "snapshot"] {
        let completed = lines.iter().filter(|line| line["kind"] == kind && line["outcome"] == "completed");
        assert!(completed.filter(|line| line["bytes"].as_u64().unwrap() > 0 && line["duration_s"].as_f64().unwrap() > 0.0).count() >= 5);
    }
    let asked = json(&std::fs::read_to_string(profiles.join("io-summary.json")).unwrap());
    assert!(
        asked["PutObject"]["operations"].as_u64().unwrap() > 6 && asked["PutObject"]["bytes_sent"].as_u64().unwrap() > 10_000,
        "{asked}"
    );
}

#[tokio::test]
async fn a_run_that_is_stopped_leaves_nothing_in_the_bucket() {
    let folder = TempDir::new().unwrap();
    let place = Place::create(ServedBy::Minio, "stress-stopped").await;
    for words in [["stress", "run", "free-tier-safe"], ["bench", "run", "thorough"]] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_buckethead"));
        command.args(words).args(["--bucket", &place.bucket]).current_dir(folder.path()).env_clear().envs(place.settings());
        let child = command.stderr(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
        until("the database", async || (!place.list("buckethead-measure/").await.is_empty()).then_some(())).await;
        let pid = child.id().unwrap();
        assert!(Command::new("sh").args(["-c", &format!("kill -INT {pid}")]).status().await.unwrap().success());
        let output = child.wait_with_output().await.unwrap();
        let why = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.code() == Some(1) && why.contains("nothing is left"), "{why}");
        assert_eq!(place.list("").await, Vec::<String>::new());
    }
    assert_eq!(files(folder.path()), ["buckethead-bench", "buckethead-stress"]);
    assert_eq!(files(&folder.path().join("buckethead-stress")), Vec::<String>::new());
}

#[tokio::test]
async fn a_scenario_that_is_none_is_refused_by_its_field() {
    let folder = TempDir::new().unwrap();
    let scenario = folder.path().join("wrong.json");
    let path = scenario.to_str().unwrap();
    let right = r#"{"name": "a", "duration_s": 1, "writes_per_second": 1, "row_size_bytes": 1, "flush_interval_s": 1}"#;
    for (from, to, told) in [
        (r#""duration_s": 1"#, r#""duration_s": 0"#, "duration_s"),
        (r#""row_size_bytes": 1"#, r#""row_size_bytes": 99999999"#, "row_size_bytes"),
        (r#""flush_interval_s": 1"#, r#""flush_interval": 1"#, "flush_interval"),
        (r#""name": "a""#, r#""name": "../a""#, "name"),
    ] {
        std::fs::write(&scenario, right.replace(from, to)).unwrap();
        let refused = buckethead(folder.path(), &["stress", "estimate", path], &[]).await;
        let why = String::from_utf8(refused.stderr).unwrap();
        assert!(refused.status.code() == Some(1) && why.contains(told), "{why}");
    }
    std::fs::write(&scenario, right).unwrap();
    said(&buckethead(folder.path(), &["stress", "estimate", path], &[]).await);
    let refused = buckethead(folder.path(), &["stress", "run", "smok"], &[]).await;
    assert!(String::from_utf8(refused.stderr).unwrap().contains("smoke, free-tier-safe, free-tier-max"));
}

#[tokio::test]
async fn a_running_server_gives_profiles_to_its_own_machine() {
    let home = TempDir::new().unwrap();
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let profiles = home.path().join("profiles");
    let more = ["--admin-listen", "127.0.0.1:0", "--profile-dir", profiles.to_str().unwrap()];
    let dev = Dev::once_ready(Dev::spawn_with(&examples, &home.path().join("data"), "standard", &more)).await;
    let told = dev.program.output();
    let admin =
        told.lines().find_map(|line| line.trim().strip_prefix("admin  ")).unwrap().trim_end_matches("/debug/pprof/profile").to_owned();
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let get = async |route: &str| http.get(format!("{admin}/debug/{route}")).send().await.unwrap();
    let database = dev.database("quickstart");
    database.sql("create table t(x); insert into t values (1)").await;
    database.flush().await;
    let busy = async {
        for _ in 0..20 {
            database.sql("with recursive n(x) as (values (1) union all select x + 1 from n where x < 300000) select sum(x) from n").await;
        }
    };
    let (processor, ()) = tokio::join!(get("pprof/profile?seconds=1"), busy);
    assert_eq!(processor.status().as_u16(), 200);
    let mut profile = String::new();
    let bytes = processor.bytes().await.unwrap();
    let mut unzipped = Vec::new();
    std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(&bytes[..]), &mut unzipped).unwrap();
    profile.push_str(&String::from_utf8_lossy(&unzipped));
    assert!(profile.contains("sqlite3VdbeExec"), "it names what ran");
    let memory = get("pprof/heap?seconds=1").await;
    assert_eq!(memory.status().as_u16(), 200, "{}", memory.text().await.unwrap());
    let asked: Value = get("io-summary").await.json().await.unwrap();
    assert!(asked["PutObject"]["operations"].as_u64().unwrap() > 0, "{asked}");
    assert_eq!(get("pprof/profile?seconds=0").await.status().as_u16(), 400);
    let rebound = http.get(format!("{admin}/debug/io-summary")).header("host", "evil.example").send().await.unwrap();
    assert_eq!(rebound.status().as_u16(), 403);

    let metrics = http.get(format!("{}/metrics", dev.api)).send().await.unwrap().text().await.unwrap();
    let of = "namespace=\"default\",name=\"quickstart\",kind=\"snapshot\"";
    assert!(metrics.contains(&format!("buckethead_database_flushes_completed_total{{{of}}} ")), "{metrics}");
    assert!(metrics.contains("buckethead_store_requests_total{operation=\"PutObject\",status=\"2xx\",class=\"a\"}"), "{metrics}");
    dev.program.end(Signal::Int).await;
    assert_eq!(files(&profiles), ["flushes.jsonl", "io-summary.json"]);

    let refused = buckethead(home.path(), &["dev", "--admin-listen", "0.0.0.0:6060"], &[]).await;
    assert_eq!(refused.status.code(), Some(2), "{refused:?}");
}
