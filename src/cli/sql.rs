//! `buckethead sql`: statements, once or in a shell.

mod print;
mod shell;
mod stream;

use std::io::IsTerminal as _;
use std::path::PathBuf;

use axum::body::Body;
use clap::ValueEnum;
use engine::Point;
use http::{HeaderValue, Method, Response, header};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};

use super::given::Given;
use super::logs;
use super::session::{self, Purpose, Refusal, Sent, Session, Target, TargetArguments, environment};
use super::show::Destination;
use super::store::{SettingsError, wrong};
use print::Printer;

/// Runs SQL, or opens a shell for it.
///
/// Several statements are one transaction. Without statements, in a terminal, it opens a shell, where BEGIN and COMMIT mean what they say.
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(super) struct Arguments {
    #[command(flatten)]
    target: TargetArguments,
    /// In a bucket: the statements may change the database. The branch is taken for the time, so nobody else may have it.
    #[arg(long, conflicts_with = "url")]
    write: bool,
    /// The form of results.
    #[arg(long, visible_alias = "output", value_enum, default_value_t = Format::Table)]
    format: Format,
    /// What is bound to the parameters of one statement, as a JSON array or object.
    #[arg(long, value_name = "JSON")]
    params: Option<String>,
    /// Read the statements from this file.
    #[arg(long, value_name = "FILE", conflicts_with = "statements")]
    file: Option<PathBuf>,
    /// The statements; `-` reads them from standard input.
    #[arg(value_name = "SQL")]
    statements: Option<String>,
}

const HELP: &str = concat!(
    environment!(),
    "\
Examples:
  buckethead sql --url http://127.0.0.1:8080/default/quickstart
  buckethead sql 'select * from t where id = ?' --params '[1]'
  buckethead sql --bucket orders-data --key apps/orders.db --at 2026-11-23T08:00:00Z 'select count(*) from orders'
  buckethead sql --bucket orders-data --key apps/orders.db --write --file migrate.sql
  buckethead sql --format csv 'select * from t' > t.csv"
);

/// The form of results.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people.
    Table,
    /// One document.
    Json,
    /// A line each row.
    Ndjson,
    /// The rows of one statement (RFC 4180).
    Csv,
}

/// Everything that it takes.
#[derive(Debug, PartialEq)]
pub(super) struct Settings {
    target: Target,
    purpose: Purpose,
    format: Format,
    task: Task,
}

#[derive(Debug, PartialEq)]
enum Task {
    Shell,
    Run { statements: Given, params: Option<Value> },
}

impl Arguments {
    /// With what the environment says where an argument is absent.
    pub(super) fn settings(self, env: impl Fn(&str) -> Option<String>) -> Result<Settings, SettingsError> {
        let Self { target, write, format, params, file, statements } = self;
        let statements = match (file, statements) {
            (Some(file), _) => Some(Given::File(file)),
            (None, Some(text)) if text == "-" => Some(Given::StandardInput),
            (None, Some(text)) => Some(Given::Text(text)),
            (None, None) if std::io::stdin().is_terminal() => None,
            (None, None) => Some(Given::StandardInput),
        };
        let params = params.map(|params| serde_json::from_str(&params).map_err(|error| wrong(format!("--params: {error}")))).transpose()?;
        let task = statements.map_or(Task::Shell, |statements| Task::Run { statements, params });
        let target = target.settings(env)?;
        let is_past = matches!((&target, &task), (Target::Server { .. }, Task::Shell)) || write;
        let target = if is_past { target.newest_only("a shell on a server, and whatever writes, works with the present")? } else { target };
        Ok(Settings { target, purpose: if write { Purpose::Change } else { Purpose::Look }, format, task })
    }
}

/// Does it.
pub(super) async fn run(settings: Settings) -> anyhow::Result<()> {
    logs::start(logs::Format::Text, "warn")?;
    let Settings { target, purpose, format, task } = settings;
    match task {
        Task::Run { statements, params } => {
            let statements = String::from_utf8(statements.read()?).map_err(|_| anyhow::anyhow!("the statements are no UTF-8"))?;
            target.work(purpose, async |session| once(session, statements, params, format).await).await
        }
        Task::Shell => {
            let name = target.to_string();
            // Ctrl-C ends a statement there, not the shell.
            let session = target.open(purpose).await?;
            let done = shell::run(&session, &name, format).await;
            session.end().await.and(done)
        }
    }
}

async fn once(session: &Session, statements: String, params: Option<Value>, format: Format) -> anyhow::Result<()> {
    let accept = match format {
        Format::Table | Format::Ndjson => "application/x-ndjson",
        Format::Json => "application/json",
        Format::Csv => "text/csv",
    };
    let accepts = (header::ACCEPT, HeaderValue::from_static(accept));
    let response = if session.past() == Point::Newest {
        let asked = match params {
            Some(params) => json!({"sql": statements, "params": params}),
            None => json!({"sql": statements}),
        };
        session.send(Method::POST, "sql", Sent::json(&asked).with(accepts.0, accepts.1)).await
    } else {
        let params = params.map(|params| params.to_string());
        let pairs = [("q", Some(&*statements)), ("params", params.as_deref())];
        let pairs: Vec<(&str, &str)> = pairs.into_iter().filter_map(|(name, value)| Some((name, value?))).collect();
        let sent = Sent::default().with(accepts.0, accepts.1);
        session.send(Method::GET, &format!("sql{}", session::query_at(session, &pairs)), sent).await
    };
    let response = response.map_err(with_remedy)?;
    match format {
        Format::Table => in_tables(response).await,
        Format::Json | Format::Ndjson | Format::Csv => Destination::StandardOutput.take("rows", response).await.map(drop),
    }
}

/// Whoever wanted to write hears how.
fn with_remedy(error: anyhow::Error) -> anyhow::Error {
    match error.downcast_ref::<Refusal>() {
        // The engine's own word; where rows are sent as they come it is one of the statement's errors.
        Some(refusal) if refusal.detail.contains("is shown as it lies in the bucket") => {
            anyhow::anyhow!("a statement changes the database: add --write, which takes the branch for the time of this command")
        }
        _ => error,
    }
}

/// Prints each result once all of it is there.
async fn in_tables(response: Response<Body>) -> anyhow::Result<()> {
    let (mut body, mut left, mut printer) = (response.into_body(), Vec::new(), Printer::default());
    loop {
        let frame = body.frame().await.transpose()?;
        let is_last = frame.is_none();
        if let Some(bytes) = frame.and_then(|frame| frame.into_data().ok()) {
            left.extend_from_slice(&bytes);
        }
        let whole = if is_last { left.len() } else { left.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1) };
        for line in left[..whole].split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            printer.line(serde_json::from_slice(line)?)?;
        }
        left.drain(..whole);
        if is_last {
            return Ok(());
        }
    }
}
