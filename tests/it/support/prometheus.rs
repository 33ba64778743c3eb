//! A real Prometheus that scrapes one process of ours.
//!
//! Invariant: it ends with its test.

use std::process::Stdio;

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::{Child, Command};

use super::database::client;
use super::wait::until;

pub(crate) struct Prometheus {
    url: String,
    http: reqwest::Client,
    _child: Child,
    _folder: TempDir,
}

impl Prometheus {
    /// Scrapes what listens at this address as a Pod, and evaluates these rules, a file each, once a second.
    pub(crate) async fn start(address: &str, rules: &[Value]) -> Self {
        let folder = TempDir::new().unwrap();
        let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
        for (at, rules) in rules.iter().enumerate() {
            // JSON is YAML.
            std::fs::write(path(&format!("rules-{at}.yaml")), rules.to_string()).unwrap();
        }
        let target = json!({"targets": [address], "labels": {"namespace": "operator", "pod": "buckethead-0"}});
        let config = json!({
            "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
            "rule_files": [path("rules-*.yaml")],
            "scrape_configs": [{"job_name": "buckethead", "honor_labels": true, "static_configs": [target]}],
        });
        std::fs::write(path("config.yaml"), config.to_string()).unwrap();
        let log = std::fs::File::create(path("log")).unwrap();
        let child = Command::new("bash")
            .args(["-c", r#"exec "$("$0/testbench/tools.sh" prom)/prometheus" "$@""#, env!("CARGO_MANIFEST_DIR")])
            .arg(format!("--config.file={}", path("config.yaml")))
            .arg(format!("--storage.tsdb.path={}", path("data")))
            .args(["--web.listen-address=127.0.0.1:0", "--log.format=json"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let log = path("log");
        let address = until("the address of Prometheus", async || {
            let told = std::fs::read_to_string(&log).unwrap();
            let lines = told.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
            let mut addresses = lines.filter(|line| line["msg"] == "Listening on").map(|line| line["address"].as_str().unwrap().to_owned());
            addresses.next()
        })
        .await;
        let prometheus = Self { url: format!("http://{address}"), http: client(), _child: child, _folder: folder };
        until("Prometheus to be ready", async || {
            let ready = prometheus.http.get(format!("{}/-/ready", prometheus.url)).send().await.ok()?;
            ready.status().is_success().then_some(())
        })
        .await;
        prometheus
    }

    /// The numbers that an expression has now. One that is wrong in itself fails the test, and one that Prometheus has doubts about as well.
    pub(crate) async fn query(&self, expression: &str) -> Vec<f64> {
        let reply = self.get("query", &[("query", expression)]).await;
        assert_eq!(reply["status"], "success", "{expression}: {reply}");
        assert_eq!((&reply["warnings"], &reply["infos"]), (&Value::Null, &Value::Null), "{expression}");
        let samples = reply["data"]["result"].as_array().unwrap();
        samples.iter().map(|sample| sample["value"][1].as_str().unwrap().parse().unwrap()).collect()
    }

    /// Values of a label, of series that a selector finds.
    pub(crate) async fn label_values(&self, label: &str, selector: &str) -> Vec<String> {
        let reply = self.get(&format!("label/{label}/values"), &[("match[]", selector)]).await;
        assert_eq!(reply["status"], "success", "{selector}: {reply}");
        serde_json::from_value(reply["data"].clone()).unwrap()
    }

    /// The names of alerts in this state, each once.
    pub(crate) async fn alerts(&self, state: &str) -> Vec<String> {
        let reply = self.get("alerts", &[]).await;
        let alerts = reply["data"]["alerts"].as_array().unwrap().iter().filter(|alert| alert["state"] == state);
        let mut names: Vec<_> = alerts.map(|alert| alert["labels"]["alertname"].as_str().unwrap().to_owned()).collect();
        names.sort();
        names.dedup();
        names
    }

    /// Why each rule that fails does.
    pub(crate) async fn failing_rules(&self) -> Vec<String> {
        let reply = self.get("rules", &[]).await;
        let groups = reply["data"]["groups"].as_array().unwrap().iter();
        let rules = groups.flat_map(|group| group["rules"].as_array().unwrap());
        rules.filter(|rule| rule["health"] == "err").map(|rule| format!("{}: {}", rule["name"], rule["lastError"])).collect()
    }

    async fn get(&self, route: &str, query: &[(&str, &str)]) -> Value {
        let request = self.http.get(format!("{}/api/v1/{route}", self.url)).query(query);
        request.send().await.unwrap().json().await.unwrap()
    }
}
