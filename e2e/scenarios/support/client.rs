//! A database, as an app in another Pod uses it: by the connection Secret and the Service.

use serde_json::Value;

use super::scenario::Scenario;
use super::wait::until;

/// A database, and what its connection Secret tells of it.
pub(crate) struct Database<'a> {
    scenario: &'a Scenario,
    url: String,
    token: String,
}

impl<'a> Database<'a> {
    pub(super) async fn connect(scenario: &'a Scenario, name: &str) -> Self {
        // Where Kubernetes knows who may ask, there is no token.
        let template = "--output=go-template={{.data.url | base64decode}} {{with .data.token}}{{. | base64decode}}{{end}}";
        let secret = scenario.kubectl(&["get", "secret", &format!("{name}-buckethead"), template]).await;
        let (url, token) = secret.split_once(' ').unwrap();
        let database = Self { scenario, url: url.to_owned(), token: token.to_owned() };
        // The node learns of a Service's new endpoint a moment after the operator is ready.
        database.sql_once_it_answers("select 1").await;
        database
    }

    /// The same, asked by somebody who bears another token.
    pub(crate) fn asked_with(&self, token: &str) -> Self {
        Self { scenario: self.scenario, url: self.url.clone(), token: token.to_owned() }
    }

    /// Where its connection Secret says that it is.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// What it is told of who asks.
    pub(super) fn authorization(&self) -> String {
        format!("Authorization: Bearer {}", self.token)
    }

    /// The rows of the last statement.
    pub(crate) async fn sql(&self, sql: &str) -> Value {
        self.try_sql(sql).await.unwrap_or_else(|refusal| panic!("{sql}: {refusal}"))
    }

    /// The rows, once it answers: its operator may just have been replaced. A refusal by SQLite is an answer.
    pub(crate) async fn sql_once_it_answers(&self, sql: &str) -> Value {
        until(&format!("an answer to {sql}"), async || match self.try_sql(sql).await {
            Ok(rows) => Some(rows),
            Err(said) => {
                assert!(!said.contains("/problems/sql-"), "{sql}: {said}");
                None
            }
        })
        .await
    }

    /// Waits until everything that it took is in the bucket, and asks for no flush.
    pub(crate) async fn saved_by_itself(&self) {
        until("nothing that is not in the bucket", async || {
            let told: Value = serde_json::from_str(&self.ask("GET", "", "").await).unwrap();
            (told["pending"] == false).then_some(())
        })
        .await;
    }

    /// Saves now.
    pub(crate) async fn flush(&self) {
        self.try_flush().await.unwrap_or_else(|refusal| panic!("flush: {refusal}"));
    }

    /// The same where that may fail.
    pub(crate) async fn try_flush(&self) -> Result<(), String> {
        self.post("flush", "").await.map(drop)
    }

    /// Runs a program of the client's Pod, which is told what the connection Secret tells; answers with what it prints.
    pub(crate) async fn run(&self, program: &str) -> String {
        let told = [format!("BUCKETHEAD_URL={}", self.url), format!("BUCKETHEAD_TOKEN={}", self.token)];
        self.scenario.kubectl(&["exec", "client", "--", "env", &told[0], &told[1], program]).await
    }

    /// Runs a command in the client's Pod. `Err` holds what it said.
    pub(super) async fn in_its_pod(&self, command: &[&str]) -> Result<String, String> {
        let printed = self.scenario.try_kubectl(self.scenario.name, &[&["exec", "client", "--"], command].concat(), "").await?;
        Ok(String::from_utf8(printed).unwrap())
    }

    /// What a route answers to this method and body.
    pub(crate) async fn ask(&self, method: &str, route: &str, body: &str) -> String {
        let reply = self.send(&["--request", method, "--header", "Content-Type: application/json"], route, body).await;
        String::from_utf8(reply.unwrap_or_else(|refusal| panic!("{method} {route}: {refusal}"))).unwrap()
    }

    /// `Err` holds the problem in the words of the API, or those of curl.
    pub(crate) async fn try_sql(&self, sql: &str) -> Result<Value, String> {
        let reply: Value = serde_json::from_slice(&self.post("sql", sql).await?).unwrap();
        Ok(reply["results"].as_array().unwrap().last().unwrap()["rows"].clone())
    }

    async fn post(&self, route: &str, body: &str) -> Result<Vec<u8>, String> {
        self.send(&[], route, body).await
    }

    async fn send(&self, options: &[&str], route: &str, body: &str) -> Result<Vec<u8>, String> {
        let (url, authorization) = (format!("{}{route}", self.url), self.authorization());
        // By an argument: of an input that ends before the program has begun containerd may lose the end (containerd/containerd#4489), for which
        // curl would wait for ever.
        let curl = ["curl", "--silent", "--show-error", "--fail-with-body", "--max-time", "20", "--data-raw", body];
        let command = [&["exec", "client", "--"], &curl[..], &["--header", &authorization], options, &[&url]].concat();
        self.scenario.try_kubectl(self.scenario.name, &command, "").await
    }
}
