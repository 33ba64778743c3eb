//! A connection of the shell's own, by Hrana: it may open transactions.

use anyhow::Context as _;
use http::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::cli::session::{self, Refusal, Sent, Session};

/// From one statement to the next.
pub(super) struct Stream<'a> {
    session: &'a Session,
    baton: Option<String>,
    is_in_transaction: bool,
}

/// What a statement gave.
#[derive(Debug, Default)]
pub(super) struct Given {
    pub(super) names: Vec<String>,
    pub(super) rows: Vec<Vec<Value>>,
    pub(super) affected: u64,
}

#[derive(Deserialize)]
struct Answer {
    baton: Option<String>,
    results: Vec<One>,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase", tag = "type")]
enum One {
    Ok { response: Value },
    Error { error: Said },
}

#[derive(Deserialize)]
struct Said {
    message: String,
}

impl<'a> Stream<'a> {
    pub(super) fn new(session: &'a Session) -> Self {
        Self { session, baton: None, is_in_transaction: false }
    }

    pub(super) fn is_in_transaction(&self) -> bool {
        self.is_in_transaction
    }

    /// Runs a statement.
    pub(super) async fn execute(&mut self, sql: &str) -> anyhow::Result<Given> {
        // The stream is gone if the answer does not come, as when somebody gave up waiting.
        let was_in_transaction = std::mem::take(&mut self.is_in_transaction);
        let baton = self.baton.take();
        let had_baton = baton.is_some();
        let answer = match self.ask(baton, sql).await {
            Err(error) if had_baton && is_stale(&error) => {
                anyhow::ensure!(!was_in_transaction, "the transaction was idle for too long and was rolled back");
                self.ask(None, sql).await
            }
            answer => answer,
        };
        let Answer { baton, results } = answer?;
        self.baton = baton;
        let mut results = results.into_iter();
        let executed = results.next().context("the answer has no result")?;
        if let Some(One::Ok { response }) = results.next() {
            self.is_in_transaction = response["is_autocommit"] == false;
        }
        match executed {
            One::Ok { response } => given(&response["result"]),
            One::Error { error } => anyhow::bail!("{}", error.message),
        }
    }

    async fn ask(&self, baton: Option<String>, sql: &str) -> anyhow::Result<Answer> {
        let requests = [json!({"type": "execute", "stmt": {"sql": sql}}), json!({"type": "get_autocommit"})];
        let asked = Sent::json(&json!({"baton": baton, "requests": requests}));
        session::parsed(self.session.send(Method::POST, "v3/pipeline", asked).await?).await
    }
}

/// Hrana has its own words for streams that are gone.
fn is_stale(error: &anyhow::Error) -> bool {
    error.downcast_ref::<Refusal>().is_some_and(|refusal| refusal.detail.contains("STREAM_") || refusal.detail.contains("BATON"))
}

fn given(result: &Value) -> anyhow::Result<Given> {
    let names = result["cols"].as_array().context("the answer has no columns")?;
    let names = names.iter().map(|column| column["name"].as_str().unwrap_or_default().to_owned()).collect();
    let rows = result["rows"].as_array().context("the answer has no rows")?;
    let rows = rows.iter().map(|row| row.as_array().into_iter().flatten().map(plain).collect()).collect();
    Ok(Given { names, rows, affected: result["affected_row_count"].as_u64().unwrap_or_default() })
}

/// As the routes of SQL write it.
fn plain(value: &Value) -> Value {
    match value["type"].as_str() {
        Some("integer") => {
            let text = value["value"].as_str().unwrap_or_default();
            text.parse::<i64>().map_or_else(|_| json!(text), |number| json!(number))
        }
        Some("blob") => json!({"base64": value["base64"]}),
        Some("null") | None => Value::Null,
        Some(_) => value["value"].clone(),
    }
}
