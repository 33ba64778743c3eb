//! A client of one database, which asks for one thing after the other and writes down what came of it.
//!
//! Owns: how outcomes are told apart by status and words. Does not own: what may be concluded from them (`check.rs`).

use std::sync::Arc;
use std::time::Duration;

use engine::{Clock as _, SystemClock};
use rand::Rng as _;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use reqwest::StatusCode;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::Instant;

use super::operation::{ACCOUNTS, Asked, ENDOWMENT, NEWEST, Operation, Outcome, Seen, Transfer};
use crate::support::Database;

/// A process, with the databases that it serves.
pub(super) struct Served {
    pub(super) process: usize,
    pub(super) databases: Vec<Database>,
}

/// Who is asked now.
pub(super) enum Board {
    Asked {
        readers: Vec<Arc<Served>>,
        writers: Vec<Arc<Served>>,
    },
    /// Nobody any more.
    Over,
}

impl Board {
    /// Those who are asked for this; `None` if nobody is ever again.
    fn asked(&self, asked: Asked) -> Option<&[Arc<Served>]> {
        match (self, asked) {
            (Self::Over, _) => None,
            (Self::Asked { writers, .. }, Asked::Transfer(_)) => Some(writers),
            (Self::Asked { readers, .. }, Asked::StrongRead | Asked::PlainRead) => Some(readers),
        }
    }
}

/// After so long a client gives an answer up. The longest lasts until the server says itself that it does not know.
const PATIENCE: [Duration; 4] = [Duration::from_millis(300), Duration::from_secs(1), Duration::from_secs(1), Duration::from_secs(16)];
/// How long it waits when nothing is in the way of the answer.
pub(super) const LONG: Duration = Duration::from_secs(30);
/// How long a client waits after what it did not get, so that histories do not consist of refusals.
const PAUSE: Duration = Duration::from_millis(50);
/// Ids of two clients are further apart than either has.
const IDS: u64 = 1_000_000;

pub(super) struct Client {
    number: usize,
    /// Which database of a process.
    database: usize,
    /// What is added to the URL of whatever it asks.
    wish: &'static str,
    rng: StdRng,
    begun: Instant,
    next: u64,
    operations: Vec<Operation>,
}

impl Client {
    /// Client numbers are those of the whole history, which began at this moment.
    pub(super) fn new(number: usize, database: usize, wish: &'static str, rng: StdRng, begun: Instant) -> Self {
        Self { number, database, wish, rng, begun, next: number as u64 * IDS + 1, operations: Vec::new() }
    }

    /// Asks one of those on the board, again and again, until nobody is to be asked any more.
    pub(super) async fn run(mut self, mut board: watch::Receiver<Board>) -> Vec<Operation> {
        loop {
            let asked = match self.rng.random_range(0..10) {
                0..5 => Asked::Transfer(self.next_transfer()),
                5..8 => Asked::StrongRead,
                _ => Asked::PlainRead,
            };
            let served = {
                let board = board.wait_for(|board| board.asked(asked).is_none_or(|asked| !asked.is_empty())).await.unwrap();
                let Some(served) = board.asked(asked) else { return self.operations };
                Arc::clone(served.choose(&mut self.rng).unwrap())
            };
            let patience = *PATIENCE.choose(&mut self.rng).unwrap();
            let operation = self.ask(&served, asked, patience).await;
            if operation.seen().is_none() {
                tokio::time::sleep(PAUSE).await;
            }
            self.operations.push(operation);
        }
    }

    /// Asks for a transfer and waits for whatever comes of it.
    pub(super) async fn transfer(&mut self, served: &Served) -> Operation {
        let transfer = self.next_transfer();
        self.ask(served, Asked::Transfer(transfer), LONG).await
    }

    fn next_transfer(&mut self) -> Transfer {
        let id = self.next;
        self.next += 1;
        let from = self.rng.random_range(0..ACCOUNTS);
        let to = (from + self.rng.random_range(1..ACCOUNTS)) % ACCOUNTS;
        Transfer { id, from, to, amount: self.rng.random_range(1..20) }
    }

    /// Asks for this alone.
    pub(super) async fn ask(&mut self, served: &Served, asked: Asked, patience: Duration) -> Operation {
        let database = &served.databases[self.database];
        let is_interactive = self.rng.random_bool(0.2);
        let wish = self.wish;
        let sent = SystemClock.now() - self.begun;
        let outcome = async {
            match asked {
                Asked::Transfer(transfer) if is_interactive => interactively(database, transfer, wish).await,
                Asked::Transfer(transfer) => at_once(database, transfer, wish).await,
                Asked::StrongRead => read(database, &format!("sql?consistency=strong&{wish}")).await,
                Asked::PlainRead => read(database, &format!("sql?{wish}")).await,
            }
        };
        let outcome = tokio::time::timeout(patience, outcome).await;
        let outcome = outcome.unwrap_or_else(|_| Err(Outcome::Unknown(format!("no answer within {patience:?}"))));
        let outcome = outcome.map_or_else(|other| other, Outcome::Ok);
        Operation { client: self.number, process: served.process, asked, sent, ended: SystemClock.now() - self.begun, outcome }
    }
}

/// Makes the tables of the first state.
pub(super) async fn create(database: &Database) {
    let accounts: Vec<String> = (0..ACCOUNTS).map(|id| format!("({id}, {ENDOWMENT})")).collect();
    let tables = format!(
        "create table accounts (id integer primary key, balance integer not null);
        insert into accounts values {};
        create table log (version integer primary key, id integer not null)",
        accounts.join(", ")
    );
    database.sql(&tables).await;
}

/// The ids of all transfers, in the order of their versions.
pub(super) async fn log(database: &Database) -> Vec<u64> {
    let rows = database
        .sql("select (select max(version) from log), (select json_group_array(id) from (select id from log order by version))")
        .await;
    let ids: Vec<u64> = inner(&rows[0][1]);
    assert_eq!(rows[0][0].as_u64().unwrap_or_default(), ids.len() as u64, "versions follow each other");
    ids
}

fn state() -> String {
    format!(
        "select (select coalesce(max(version), 0) from log), \
         (select json_group_array(balance) from (select balance from accounts order by id)), \
         (select json_group_array(id) from (select id from log order by version desc limit {NEWEST}))"
    )
}

const LOG: &str = "insert into log select coalesce(max(version), 0) + 1, ? from log";

async fn read(database: &Database, route: &str) -> Result<Seen, Outcome> {
    let reply = post(database, route, &json!({"sql": state()})).await?;
    Ok(seen(&reply["results"][0]["rows"][0]))
}

/// In one request, which is a transaction.
async fn at_once(database: &Database, transfer: Transfer, wish: &str) -> Result<Seen, Outcome> {
    let Transfer { id, from, to, amount } = transfer;
    let add = "update accounts set balance = balance + ? where id = ?";
    let statements = json!([
        {"sql": LOG, "params": [id]},
        {"sql": add, "params": [-amount, from]},
        {"sql": add, "params": [amount, to]},
        {"sql": state()},
    ]);
    let reply = post(database, &format!("sql?{wish}"), &json!({"statements": statements, "transaction": "immediate"})).await?;
    Ok(seen(&reply["results"][3]["rows"][0]))
}

/// As clients of libSQL do it: reads the balances, computes the new ones, and writes these, in a transaction of two requests.
async fn interactively(database: &Database, transfer: Transfer, wish: &str) -> Result<Seen, Outcome> {
    let Transfer { id, from, to, amount } = transfer;
    let route = format!("v3/pipeline?{wish}");
    let begin = json!({"requests": [execute("begin immediate", &[]), execute(&state(), &[])]});
    let reply = post(database, &route, &begin).await?;
    let before = result(&reply["results"][0]).and_then(|_| result(&reply["results"][1])).map_err(Outcome::Failed)?;
    let before = tagged(&before["rows"][0]);
    let set = "update accounts set balance = ? where id = ?";
    let balance = |account: usize, change: i64| [before.balances[account] + change, i64::try_from(account).unwrap()];
    let steps = [
        execute(LOG, &[i64::try_from(id).unwrap()]),
        execute(set, &balance(from, -amount)),
        execute(set, &balance(to, amount)),
        execute(&state(), &[]),
        execute("commit", &[]),
    ];
    // Each only if the one before it succeeded.
    let steps = steps.iter().enumerate().map(|(at, step)| match at.checked_sub(1) {
        None => json!({"stmt": step["stmt"]}),
        Some(before) => json!({"stmt": step["stmt"], "condition": {"type": "ok", "step": before}}),
    });
    let batch = json!({"type": "batch", "batch": {"steps": steps.collect::<Vec<_>>()}});
    let reply = post(database, &route, &json!({"baton": reply["baton"], "requests": [batch, {"type": "close"}]})).await?;
    let done = result(&reply["results"][0]).map_err(told_by_hrana)?;
    if done["step_results"][4].is_null() {
        let errors = done["step_errors"].as_array().unwrap();
        return Err(told_by_hrana(errors.iter().find(|error| !error.is_null()).unwrap().to_string()));
    }
    Ok(tagged(&done["step_results"][3]["rows"][0]))
}

fn execute(sql: &str, args: &[i64]) -> Value {
    let args: Vec<Value> = args.iter().map(|value| json!({"type": "integer", "value": value.to_string()})).collect();
    json!({"type": "execute", "stmt": {"sql": sql, "args": args}})
}

/// What one request of a pipeline was answered, or the error.
fn result(answer: &Value) -> Result<&Value, String> {
    if answer["type"] == "ok" { Ok(&answer["response"]["result"]) } else { Err(answer["error"].to_string()) }
}

fn told_by_hrana(error: String) -> Outcome {
    if error.contains("DURABILITY_UNKNOWN") { Outcome::Unknown(error) } else { Outcome::Failed(error) }
}

/// The reply, if there is a good one. Whatever is refused in other words than `durability-unknown` was not done.
async fn post(database: &Database, route: &str, body: &Value) -> Result<Value, Outcome> {
    match database.try_to_post(route, body).await {
        Ok((StatusCode::OK, reply)) => Ok(serde_json::from_str(&reply).unwrap()),
        Ok((status, reply)) => {
            let is_unknown = reply.contains("durability-unknown") || reply.contains("DURABILITY_UNKNOWN");
            let told = format!("{status}: {reply}");
            Err(if is_unknown { Outcome::Unknown(told) } else { Outcome::Failed(told) })
        }
        Err(error) if error.is_connect() => Err(Outcome::Failed("nobody is there".to_owned())),
        Err(error) => Err(Outcome::Unknown(error.to_string())),
    }
}

fn seen(row: &Value) -> Seen {
    Seen { version: row[0].as_u64().unwrap(), balances: inner(&row[1]), newest: inner(&row[2]) }
}

/// The same in the words of libSQL's clients.
fn tagged(row: &Value) -> Seen {
    let version = row[0]["value"].as_str().unwrap().parse().unwrap();
    Seen { version, balances: inner(&row[1]["value"]), newest: inner(&row[2]["value"]) }
}

/// JSON in a text.
fn inner<T: DeserializeOwned>(value: &Value) -> T {
    serde_json::from_str(value.as_str().unwrap()).unwrap()
}
