//! `buckethead kv`: keys and values.

use clap::Subcommand;
use http::{HeaderValue, Method, header};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::given::{self, Given};
use super::session::{self, Purpose, Sent, Session, Target, TargetArguments, environment};
use super::show::{self, Destination};
use super::store::SettingsError;
use super::{Output, logs};

/// Reads and changes keys and values.
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

const HELP: &str = concat!(
    environment!(),
    "\
Examples:
  buckethead kv set --url http://127.0.0.1:8080/default/quickstart greeting hello
  buckethead kv get --bucket orders-data --key apps/orders.db greeting
  buckethead kv list --prefix user/ --output json
  tar c photos | buckethead kv set backup -"
);

#[derive(Debug, Subcommand)]
enum Command {
    /// Writes the value of a key to standard output, as it is.
    Get {
        #[command(flatten)]
        target: TargetArguments,
        /// The form of the answer.
        #[arg(long, value_enum, default_value_t = Output::Text)]
        output: Output,
        /// The key.
        name: String,
    },
    /// Sets the value of a key.
    Set {
        #[command(flatten)]
        target: TargetArguments,
        /// Only if there is no such key yet.
        #[arg(long)]
        only_new: bool,
        /// The key.
        name: String,
        #[command(flatten)]
        value: given::Arguments,
    },
    /// Deletes a key.
    Delete {
        #[command(flatten)]
        target: TargetArguments,
        /// The key.
        name: String,
    },
    /// Lists keys, a line each.
    List {
        #[command(flatten)]
        target: TargetArguments,
        /// Only those that begin so.
        #[arg(long, default_value = "")]
        prefix: String,
        /// Only those behind this one.
        #[arg(long, value_name = "KEY")]
        after: Option<String>,
        /// At most so many.
        #[arg(long, value_name = "N")]
        limit: Option<usize>,
        /// The form of the answer.
        #[arg(long, value_enum, default_value_t = Output::Text)]
        output: Output,
    },
    /// Counts keys.
    Count {
        #[command(flatten)]
        target: TargetArguments,
        /// Only those that begin so.
        #[arg(long, default_value = "")]
        prefix: String,
        /// The form of the answer.
        #[arg(long, value_enum, default_value_t = Output::Text)]
        output: Output,
    },
}

/// Everything that it takes.
#[derive(Debug, PartialEq)]
pub(super) struct Settings {
    target: Target,
    task: Task,
}

#[derive(Debug, PartialEq)]
enum Task {
    Get { name: String, output: Output },
    Set { name: String, value: Given, only_new: bool },
    Delete { name: String },
    List { prefix: String, after: Option<String>, limit: Option<usize>, output: Output },
    Count { prefix: String, output: Output },
}

impl Arguments {
    /// With what the environment says where an argument is absent.
    pub(super) fn settings(self, env: impl Fn(&str) -> Option<String>) -> Result<Settings, SettingsError> {
        let (target, task) = match self.command {
            Command::Get { target, output, name } => (target, Task::Get { name, output }),
            Command::Set { target, only_new, name, value } => (target, Task::Set { name, value: value.settings()?, only_new }),
            Command::Delete { target, name } => (target, Task::Delete { name }),
            Command::List { target, prefix, after, limit, output } => (target, Task::List { prefix, after, limit, output }),
            Command::Count { target, prefix, output } => (target, Task::Count { prefix, output }),
        };
        Ok(Settings { target: target.settings(env)?.newest_unless_in_bucket(task.purpose(), PRESENT)?, task })
    }
}

const PRESENT: &str = "a server tells keys of the present alone; of the past they are read in the bucket";

impl Task {
    fn purpose(&self) -> Purpose {
        if matches!(self, Self::Set { .. } | Self::Delete { .. }) { Purpose::Change } else { Purpose::Look }
    }
}

/// Does it.
pub(super) async fn run(settings: Settings) -> anyhow::Result<()> {
    logs::start(logs::Format::Text, "warn")?;
    let Settings { target, task } = settings;
    target.work(task.purpose(), async |session| done(session, task).await).await
}

async fn done(session: &Session, task: Task) -> anyhow::Result<()> {
    match task {
        Task::Get { name, output } => get(session, &name, output).await,
        Task::Set { name, value, only_new } => {
            let sent = Sent::bytes(value.read()?);
            let sent = if only_new { sent.with(header::IF_NONE_MATCH, HeaderValue::from_static("*")) } else { sent };
            session.send(Method::PUT, &route(&name), sent).await.map(drop)
        }
        Task::Delete { name } => session.send(Method::DELETE, &route(&name), Sent::default()).await.map(drop),
        Task::List { prefix, after, limit, output } => {
            let keys = list(session, &prefix, after, limit.unwrap_or(usize::MAX)).await?;
            show::answer(output, &json!({"keys": keys}), || keys.join("\n"))
        }
        Task::Count { prefix, output } => {
            #[derive(Deserialize, Serialize)]
            struct Counted {
                count: u64,
            }
            let query = session::query([("count", Some(String::new())), ("prefix", Some(prefix))]).replacen("count=", "count", 1);
            let counted: Counted = session.read(&format!("kv{query}")).await?;
            show::answer(output, &counted, || counted.count.to_string())
        }
    }
}

fn route(name: &str) -> String {
    format!("kv/{}", session::segment(name))
}

async fn get(session: &Session, name: &str, output: Output) -> anyhow::Result<()> {
    let response = session.get(&route(name)).await?;
    if output == Output::Text {
        return Destination::StandardOutput.take("value", response).await.map(drop);
    }
    let header = |header: &str| response.headers().get(header).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let (created_at, updated_at) = (header("x-buckethead-created-at"), header("x-buckethead-updated-at"));
    let value = session::whole(response).await?;
    let value = match str::from_utf8(&value) {
        Ok(text) => json!(text),
        Err(_) => json!({"base64": show::base64(&value)}),
    };
    show::say(&json!({"key": name, "value": value, "created_at": created_at, "updated_at": updated_at}).to_string())
}

async fn list(session: &Session, prefix: &str, mut after: Option<String>, limit: usize) -> anyhow::Result<Vec<String>> {
    /// As many as the API tells at a time without being asked for a number.
    const PAGE: usize = 1000;
    #[derive(Deserialize)]
    struct Page {
        keys: Vec<String>,
        next: Option<String>,
    }
    let mut keys = Vec::new();
    while keys.len() < limit {
        let wanted = (limit - keys.len()).min(PAGE).to_string();
        let query = session::query([("prefix", Some(prefix.to_owned())), ("after", after), ("limit", Some(wanted))]);
        let page: Page = session.read(&format!("kv{query}")).await?;
        keys.extend(page.keys);
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    Ok(keys)
}
