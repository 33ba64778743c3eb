//! `buckethead docs`: documents.

use anyhow::Context as _;
use clap::Subcommand;
use http::Method;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::given::{self, Given};
use super::session::{self, Purpose, Sent, Session, Target, TargetArguments, environment};
use super::show;
use super::store::{SettingsError, wrong};
use super::{Output, logs};

/// Reads and changes documents.
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

const HELP: &str = concat!(
    environment!(),
    "\
Documents are written a line each. With --output json the answer is that of the HTTP API.

Examples:
  buckethead docs insert people '{\"_id\": \"ada\", \"name\": \"Ada\", \"age\": 36}'
  buckethead docs find people '{\"age\": {\"$gte\": 18}}' --sort '{\"age\": -1}' --limit 10
  buckethead docs get --bucket orders-data --key apps/orders.db --at 2026-11-23T08:00:00Z people ada
  buckethead docs insert people --file people.json"
);

/// A database and a collection of it.
#[derive(Debug, clap::Args)]
#[group(skip)]
struct Place {
    #[command(flatten)]
    target: TargetArguments,
    /// The form of the answer.
    #[arg(long, value_enum, default_value_t = Output::Text)]
    output: Output,
    /// The collection.
    collection: String,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Lists collections.
    Collections {
        #[command(flatten)]
        target: TargetArguments,
        /// The form of the answer.
        #[arg(long, value_enum, default_value_t = Output::Text)]
        output: Output,
    },
    /// Writes the document of an id.
    Get {
        #[command(flatten)]
        place: Place,
        /// Its id.
        id: String,
    },
    /// Inserts a document, or an array of them.
    Insert {
        #[command(flatten)]
        place: Place,
        #[command(flatten)]
        document: given::Arguments,
    },
    /// Puts another document in the place of one.
    Replace {
        #[command(flatten)]
        place: Place,
        /// Its id.
        id: String,
        #[command(flatten)]
        document: given::Arguments,
    },
    /// Replaces some members of a document.
    Update {
        #[command(flatten)]
        place: Place,
        /// Its id.
        id: String,
        #[command(flatten)]
        members: given::Arguments,
    },
    /// Deletes a document.
    Delete {
        #[command(flatten)]
        place: Place,
        /// Its id.
        id: String,
    },
    /// Finds documents; all, if nothing is asked of them.
    Find {
        #[command(flatten)]
        place: Place,
        /// What must hold of them, as JSON.
        #[arg(value_parser = json_of)]
        filter: Option<Value>,
        /// The order, as JSON, such as `{"age": -1}`.
        #[arg(long, value_parser = json_of)]
        sort: Option<Value>,
        /// How many are left out at the beginning.
        #[arg(long, value_name = "N")]
        skip: Option<u64>,
        /// At most so many.
        #[arg(long, value_name = "N")]
        limit: Option<u64>,
        /// The members that are shown, as JSON, such as `{"name": 1}`.
        #[arg(long, value_parser = json_of)]
        projection: Option<Value>,
    },
    /// Counts documents; all, if nothing is asked of them.
    Count {
        #[command(flatten)]
        place: Place,
        /// What must hold of them, as JSON.
        #[arg(value_parser = json_of)]
        filter: Option<Value>,
    },
    /// Deletes all documents of a collection.
    Drop {
        #[command(flatten)]
        place: Place,
    },
    /// Lists the paths that have an index.
    Indexes {
        #[command(flatten)]
        place: Place,
    },
    /// Makes an index for a path.
    CreateIndex {
        #[command(flatten)]
        place: Place,
        /// The path.
        path: String,
    },
    /// Drops the index of a path.
    DropIndex {
        #[command(flatten)]
        place: Place,
        /// The path.
        path: String,
    },
}

fn json_of(text: &str) -> Result<Value, String> {
    serde_json::from_str(text).map_err(|error| format!("this is no JSON: {error}"))
}

/// Everything that it takes.
#[derive(Debug, PartialEq)]
pub(super) struct Settings {
    target: Target,
    output: Output,
    task: Task,
}

#[derive(Debug, PartialEq)]
struct Task {
    method: Method,
    route: String,
    sent: Content,
    tells: Tells,
}

#[derive(Debug, PartialEq)]
enum Content {
    Nothing,
    Json(Value),
    Given(Given),
}

/// What people are told of the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tells {
    /// The document itself.
    Document,
    /// `documents`, a line each.
    Documents,
    Collections,
    Indexes,
    /// `id` or `ids`, a line each.
    Ids,
    Count,
    Nothing,
}

impl Task {
    fn new(method: Method, route: String, sent: Content, tells: Tells) -> Self {
        Self { method, route, sent, tells }
    }

    fn purpose(&self) -> Purpose {
        let looks = self.method == Method::GET || matches!(self.tells, Tells::Documents | Tells::Count);
        if looks { Purpose::Look } else { Purpose::Change }
    }
}

impl Arguments {
    /// With what the environment says where an argument is absent.
    pub(super) fn settings(self, env: impl Fn(&str) -> Option<String>) -> Result<Settings, SettingsError> {
        let (target, output, task) = self.command.task()?;
        Ok(Settings { target: target.settings(env)?.newest_unless_in_bucket(task.purpose(), PRESENT)?, output, task })
    }
}

const PRESENT: &str = "a server tells documents of the present alone; of the past they are read in the bucket";

impl Command {
    fn task(self) -> Result<(TargetArguments, Output, Task), SettingsError> {
        use Content::{Given, Json, Nothing};
        let of = |place: &Place, rest: &str| format!("docs/{}{rest}", session::segment(&place.collection));
        let one = |place: &Place, id: &str| Ok::<_, SettingsError>(of(place, &format!("/{}", id_segment(id)?)));
        let (place, task) = match self {
            Self::Collections { target, output } => {
                return Ok((target, output, Task::new(Method::GET, "docs".to_owned(), Nothing, Tells::Collections)));
            }
            Self::Get { place, id } => {
                let route = one(&place, &id)?;
                (place, Task::new(Method::GET, route, Nothing, Tells::Document))
            }
            Self::Insert { place, document } => {
                let route = of(&place, "");
                (place, Task::new(Method::POST, route, Given(document.settings()?), Tells::Ids))
            }
            Self::Replace { place, id, document } => {
                let route = one(&place, &id)?;
                (place, Task::new(Method::PUT, route, Given(document.settings()?), Tells::Nothing))
            }
            Self::Update { place, id, members } => {
                let route = one(&place, &id)?;
                (place, Task::new(Method::PATCH, route, Given(members.settings()?), Tells::Document))
            }
            Self::Delete { place, id } => {
                let route = one(&place, &id)?;
                (place, Task::new(Method::DELETE, route, Nothing, Tells::Nothing))
            }
            Self::Find { place, filter, sort, skip, limit, projection } => {
                let members = [
                    ("filter", filter),
                    ("sort", sort),
                    ("skip", skip.map(Value::from)),
                    ("limit", limit.map(Value::from)),
                    ("projection", projection),
                ];
                let asked = members.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect();
                let route = of(&place, "/find");
                (place, Task::new(Method::POST, route, Json(Value::Object(asked)), Tells::Documents))
            }
            Self::Count { place, filter } => {
                let asked = filter.map_or_else(|| json!({}), |filter| json!({"filter": filter}));
                let route = of(&place, "/count");
                (place, Task::new(Method::POST, route, Json(asked), Tells::Count))
            }
            Self::Drop { place } => {
                let route = of(&place, "");
                (place, Task::new(Method::DELETE, route, Nothing, Tells::Nothing))
            }
            Self::Indexes { place } => {
                let route = of(&place, "/indexes");
                (place, Task::new(Method::GET, route, Nothing, Tells::Indexes))
            }
            Self::CreateIndex { place, path } => {
                let route = of(&place, "/indexes");
                (place, Task::new(Method::POST, route, Json(json!({"path": path})), Tells::Nothing))
            }
            Self::DropIndex { place, path } => {
                let route = of(&place, &format!("/indexes{}", session::query([("path", Some(path))])));
                (place, Task::new(Method::DELETE, route, Nothing, Tells::Nothing))
            }
        };
        Ok((place.target, place.output, task))
    }
}

/// Ids that are words of the API have a letter encoded.
fn id_segment(id: &str) -> Result<String, SettingsError> {
    match id {
        "" => Err(wrong("the id is empty")),
        "find" => Ok("%66ind".to_owned()),
        "count" => Ok("%63ount".to_owned()),
        "indexes" => Ok("%69ndexes".to_owned()),
        id => Ok(session::segment(id)),
    }
}

/// Does it.
pub(super) async fn run(settings: Settings) -> anyhow::Result<()> {
    logs::start(logs::Format::Text, "warn")?;
    let Settings { target, output, task } = settings;
    target.work(task.purpose(), async |session| done(session, task, output).await).await
}

async fn done(session: &Session, task: Task, output: Output) -> anyhow::Result<()> {
    let Task { method, route, sent, tells } = task;
    let sent = match sent {
        Content::Nothing => Sent::default(),
        Content::Json(value) => Sent::json(&value),
        // As it was written: digits and the order of members are the writer's.
        Content::Given(given) => Sent { body: given.read()?.into(), ..Sent::json(&Value::Null) },
    };
    let answer = session::whole(session.send(method, &route, sent).await?).await?;
    let answer = str::from_utf8(&answer).context("the answer is no text")?.trim_end();
    if output == Output::Json {
        return show::say(answer);
    }
    show::say(&in_words(answer, tells)?)
}

fn in_words(answer: &str, tells: Tells) -> anyhow::Result<String> {
    /// Whatever an answer may have; documents stay as they were written.
    #[derive(Deserialize)]
    struct Answer<'a> {
        #[serde(borrow, default)]
        documents: Vec<&'a RawValue>,
        #[serde(default)]
        collections: Vec<Collection>,
        #[serde(default)]
        indexes: Vec<String>,
        id: Option<String>,
        #[serde(default)]
        ids: Vec<String>,
        count: Option<u64>,
        #[serde(default)]
        truncated: bool,
    }
    #[derive(Deserialize)]
    struct Collection {
        name: String,
        documents: u64,
    }
    match tells {
        Tells::Document => return Ok(answer.to_owned()),
        Tells::Nothing => return Ok(String::new()),
        Tells::Documents | Tells::Collections | Tells::Indexes | Tells::Ids | Tells::Count => {}
    }
    let Answer { documents, collections, indexes, id, ids, count, truncated } =
        serde_json::from_str(answer).context("the answer is not what this command understands")?;
    let mut lines: Vec<String> = match tells {
        Tells::Documents => documents.into_iter().map(|document| document.get().to_owned()).collect(),
        Tells::Collections => {
            let rows = collections.into_iter().map(|Collection { name, documents }| vec![name, documents.to_string()]);
            vec![show::table(&["collection", "documents"], rows)]
        }
        Tells::Indexes => indexes,
        Tells::Ids => id.into_iter().chain(ids).collect(),
        Tells::Count => count.iter().map(u64::to_string).collect(),
        Tells::Document | Tells::Nothing => Vec::new(),
    };
    if truncated {
        lines.push("(there are more)".to_owned());
    }
    Ok(lines.join("\n"))
}
