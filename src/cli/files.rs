//! `buckethead files`: files and their contents.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use axum::body::Body;
use clap::Subcommand;
use controller::crd::Period;
use http::{HeaderName, HeaderValue, Method, header};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio_util::io::ReaderStream;

use super::session::{self, Purpose, Sent, Session, Target, TargetArguments, environment};
use super::show::{self, Destination};
use super::store::{SettingsError, wrong};
use super::{Output, logs};

/// Keeps, lists and fetches files.
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

const HELP: &str = concat!(
    environment!(),
    "\
The key of a file is the SHA-256 of its content, in hexadecimal digits. `buckethead files gc` deletes contents that nobody uses any more.

Examples:
  buckethead files put photo.jpg --type image/jpeg --metadata album=summer
  buckethead files list --limit 20
  buckethead files share 2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824 --expires 24h
  buckethead files get 2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824 copy.jpg
  buckethead files gc --dry-run
  buckethead files get --bucket orders-data --key apps/orders.db 2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824 - | less"
);

#[derive(Debug, Subcommand)]
enum Command {
    /// Lists files, the newest first.
    List {
        #[command(flatten)]
        target: TargetArguments,
        /// At most so many.
        #[arg(long, value_name = "N", default_value_t = 100)]
        limit: usize,
        /// Only those behind this one.
        #[arg(long, value_name = "KEY")]
        after: Option<String>,
        /// The form of the answer.
        #[arg(long, value_enum, default_value_t = Output::Text)]
        output: Output,
    },
    /// Writes the content of a file to a place.
    Get {
        #[command(flatten)]
        target: TargetArguments,
        /// Its key.
        file: String,
        /// The file to write, which must not exist; `-` is standard output.
        destination: PathBuf,
    },
    /// Keeps a file, and tells its key.
    Put {
        #[command(flatten)]
        target: TargetArguments,
        /// The file; `-` reads standard input.
        path: PathBuf,
        /// The name that it is given; by default its own.
        #[arg(long, value_name = "NAME")]
        name: Option<String>,
        /// Its media type.
        #[arg(long = "type", value_name = "TYPE")]
        media_type: Option<String>,
        /// Something else to remember of it. May be given several times.
        #[arg(long, value_name = "NAME=VALUE", value_parser = pair)]
        metadata: Vec<(String, String)>,
        /// The form of the answer.
        #[arg(long, value_enum, default_value_t = Output::Text)]
        output: Output,
    },
    /// Tells what is known of a file.
    Head {
        #[command(flatten)]
        target: TargetArguments,
        /// Its key.
        file: String,
        /// The form of the answer.
        #[arg(long, value_enum, default_value_t = Output::Text)]
        output: Output,
    },
    /// Gives a URL by which whoever has it gets the content from the store, without a token.
    Share {
        #[command(flatten)]
        target: TargetArguments,
        /// Its key.
        file: String,
        /// How long it is good, as `90s`, `1h` or `1h30m`: a week, `168h`, at most.
        #[arg(long, value_name = "PERIOD", default_value = "1h")]
        expires: Period,
        /// The form of the answer.
        #[arg(long, value_enum, default_value_t = Output::Text)]
        output: Output,
    },
    /// Deletes a file from the database. Its content goes with gc.
    Delete {
        #[command(flatten)]
        target: TargetArguments,
        /// Its key.
        file: String,
    },
    /// Deletes contents that no database uses any more, as `buckethead gc` does.
    Gc(super::gc::Arguments),
}

fn pair(text: &str) -> Result<(String, String), String> {
    text.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned())).ok_or_else(|| "write NAME=VALUE".to_owned())
}

/// Everything that it takes.
#[derive(Debug, PartialEq)]
pub(super) enum Settings {
    Gc(Box<super::gc::Settings>),
    Of(Box<Target>, Task),
}

#[derive(Debug, PartialEq)]
pub(super) enum Task {
    List { limit: usize, after: Option<String>, output: Output },
    Get { file: String, destination: Destination },
    Put { path: PathBuf, headers: Vec<(HeaderName, HeaderValue)>, output: Output },
    Head { file: String, output: Output },
    Share { file: String, expires: Duration, output: Output },
    Delete { file: String },
}

impl Arguments {
    /// With what the environment says where an argument is absent.
    pub(super) fn settings(self, env: impl Fn(&str) -> Option<String>) -> Result<Settings, SettingsError> {
        let (target, task) = match self.command {
            Command::Gc(arguments) => return Ok(Settings::Gc(Box::new(arguments.settings(env)?))),
            Command::List { target, limit, after, output } => (target, Task::List { limit, after, output }),
            Command::Get { target, file, destination } => (target, Task::Get { file, destination: destination.into() }),
            Command::Put { target, path, name, media_type, metadata, output } => {
                let name = name.or_else(|| path.file_name().filter(|name| *name != "-").map(|name| name.to_string_lossy().into_owned()));
                let headers = described(name.as_deref(), media_type.as_deref(), &metadata)?;
                (target, Task::Put { path, headers, output })
            }
            Command::Head { target, file, output } => (target, Task::Head { file, output }),
            Command::Share { target, file, expires, output } => (target, Task::Share { file, expires: expires.as_duration(), output }),
            Command::Delete { target, file } => (target, Task::Delete { file }),
        };
        Ok(Settings::Of(Box::new(target.settings(env)?.newest_unless_in_bucket(task.purpose(), PRESENT)?), task))
    }
}

const PRESENT: &str = "a server tells files of the present alone; of the past they are read in the bucket";

fn described(
    name: Option<&str>,
    media_type: Option<&str>,
    metadata: &[(String, String)],
) -> Result<Vec<(HeaderName, HeaderValue)>, SettingsError> {
    let value = |what: &str, text: &str| HeaderValue::from_str(text).map_err(|_| wrong(format!("{what}: `{text}` is no line of ASCII")));
    let mut headers = Vec::new();
    if let Some(media_type) = media_type {
        headers.push((header::CONTENT_TYPE, value("--type", media_type)?));
    }
    if let Some(name) = name {
        headers.push((header::CONTENT_DISPOSITION, value("--name", &format!("attachment; filename*=UTF-8''{}", session::segment(name)))?));
    }
    for (name, text) in metadata {
        let header = HeaderName::try_from(format!("x-buckethead-meta-{name}"));
        headers.push((header.map_err(|_| wrong(format!("--metadata: `{name}` is no name")))?, value("--metadata", text)?));
    }
    Ok(headers)
}

impl Task {
    fn purpose(&self) -> Purpose {
        if matches!(self, Self::Put { .. } | Self::Delete { .. }) { Purpose::Change } else { Purpose::Look }
    }
}

/// Does it.
pub(super) async fn run(settings: Settings) -> anyhow::Result<()> {
    let (target, task) = match settings {
        Settings::Gc(settings) => return super::gc::run(*settings).await,
        Settings::Of(target, task) => (target, task),
    };
    logs::start(logs::Format::Text, "warn")?;
    if let Task::Get { destination, .. } = &task {
        destination.check()?;
    }
    target.work(task.purpose(), async |session| done(session, task).await).await
}

async fn done(session: &Session, task: Task) -> anyhow::Result<()> {
    match task {
        Task::List { limit, after, output } => {
            let files = list(session, after, limit).await?;
            show::answer(output, &json!({"files": files}), || in_table(&files))
        }
        Task::Get { file, destination } => {
            let response = session.get(&route(&file)).await?;
            destination.take("file", response).await.map(drop)
        }
        Task::Put { path, headers, output } => {
            let sent = Sent { headers, body: read(&path).await? };
            let kept: Value = session::parsed(session.send(Method::POST, "files", sent).await?).await?;
            show::answer(output, &kept, || kept["bh_key"].as_str().unwrap_or_default().to_owned())
        }
        Task::Head { file, output } => {
            let found = session.send(Method::HEAD, &route(&file), Sent::default()).await.map_err(|error| missing(error, &file))?;
            let known = found.headers().iter().filter(|(name, _)| tells(name)).filter_map(|(name, value)| {
                let name = name.as_str().trim_start_matches("x-buckethead-");
                Some((name.to_owned(), Value::from(value.to_str().ok()?)))
            });
            let known: serde_json::Map<_, _> = known.collect();
            show::answer(output, &known, || {
                show::table(
                    &["what", "value"],
                    known.iter().map(|(name, value)| vec![name.clone(), value.as_str().unwrap_or_default().to_owned()]),
                )
            })
        }
        Task::Share { file, expires, output } => {
            let sent = Sent::json(&json!({"expires_seconds": expires.as_secs()}));
            let shared: Value = session::parsed(session.send(Method::POST, &format!("{}/share", route(&file)), sent).await?).await?;
            show::answer(output, &shared, || shared["url"].as_str().unwrap_or_default().to_owned())
        }
        Task::Delete { file } => session.send(Method::DELETE, &route(&file), Sent::default()).await.map(drop),
    }
}

/// An answer to HEAD has no body to say it in.
fn missing(error: anyhow::Error, file: &str) -> anyhow::Error {
    match error.downcast_ref::<session::Refusal>() {
        Some(refusal) if refusal.status == http::StatusCode::NOT_FOUND => anyhow::anyhow!("the database has no file {file}"),
        _ => error,
    }
}

fn tells(header: &HeaderName) -> bool {
    [header::CONTENT_TYPE, header::CONTENT_LENGTH, header::CONTENT_DISPOSITION, header::LAST_MODIFIED].contains(header)
        || header.as_str().starts_with("x-buckethead-meta-")
}

fn route(file: &str) -> String {
    format!("files/{}", session::segment(file))
}

async fn read(path: &std::path::Path) -> anyhow::Result<Body> {
    if path == std::path::Path::new("-") {
        return Ok(Body::from_stream(ReaderStream::new(tokio::io::stdin())));
    }
    let file = tokio::fs::File::open(path).await.with_context(|| format!("reading {}", path.display()))?;
    let bar = show::progress("file", file.metadata().await.ok().map(|metadata| metadata.len()));
    Ok(Body::from_stream(ReaderStream::with_capacity(bar.wrap_async_read(file), CHUNK)))
}

/// How much of a file is read at a time.
const CHUNK: usize = 256 << 10;

async fn list(session: &Session, mut after: Option<String>, limit: usize) -> anyhow::Result<Vec<Value>> {
    /// The most that the API tells at a time.
    const PAGE: usize = 1000;
    #[derive(Deserialize)]
    struct Page {
        files: Vec<Value>,
        next: Option<String>,
    }
    let mut files = Vec::new();
    while files.len() < limit {
        let wanted = (limit - files.len()).min(PAGE).to_string();
        let page: Page = session.read(&format!("files{}", session::query([("after", after), ("limit", Some(wanted))]))).await?;
        files.extend(page.files);
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    Ok(files)
}

fn in_table(files: &[Value]) -> String {
    let text = |value: &Value| match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    };
    let rows = files.iter().map(|file| {
        let size = file["size"].as_u64().map_or_else(String::new, show::bytes);
        vec![text(&file["bh_key"]), size, text(&file["mime"]), text(&file["filename"])]
    });
    show::table(&["key", "size", "type", "name"], rows)
}
