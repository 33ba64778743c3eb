//! `buckethead branches` and `buckethead promote`: branches in the bucket.

mod differences;

use clap::Subcommand;
use http::Method;
use serde_json::{Value, json};

use super::session::{self, Purpose, Sent, Session, Target, TargetArguments, environment};
use super::show;
use super::store::SettingsError;
use super::{Output, logs};

/// Lists, makes, deletes and overwrites branches.
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

const HELP: &str = concat!(
    environment!(),
    "\
In a bucket it is done there at once, except with a branch that somebody has: ask the server that has it with --url.

Examples:
  buckethead branches list --url http://127.0.0.1:8080/default/quickstart
  buckethead branches create --bucket orders-data --key apps/orders.db release-7
  buckethead branches create before-lunch --from main --txid 1204
  buckethead branches overwrite main --from before-lunch --keep-previous-as afternoon"
);

/// How a branch is overwritten.
#[derive(Debug, clap::Args)]
#[group(skip)]
struct Wish {
    /// At this state of the branch whose content is taken; by default at the newest.
    #[arg(long, value_name = "N")]
    from_txid: Option<u64>,
    /// Only if the branch that is overwritten still has the content of this state.
    #[arg(long, value_name = "N")]
    expected_txid: Option<u64>,
    /// It is done once for each id, however often it is asked for.
    #[arg(long)]
    id: Option<String>,
    /// Keep what the branch held as a branch of this name.
    #[arg(long, value_name = "NAME")]
    keep_previous_as: Option<String>,
    /// Only tell what would be different: rows and the schema.
    #[arg(long)]
    dry_run: bool,
    /// The form of the answer.
    #[arg(long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Lists branches, `main` first.
    List {
        #[command(flatten)]
        target: TargetArguments,
        /// The form of the answer.
        #[arg(long, value_enum, default_value_t = Output::Text)]
        output: Output,
    },
    /// Makes a branch.
    Create {
        #[command(flatten)]
        target: TargetArguments,
        /// The branch that it begins as a copy of; by default the one that is served, or that --branch names. --txid or --at name a state of it.
        #[arg(long, value_name = "NAME")]
        from: Option<String>,
        /// The form of the answer.
        #[arg(long, value_enum, default_value_t = Output::Text)]
        output: Output,
        /// Its name.
        name: String,
    },
    /// Deletes a branch that nobody has.
    Delete {
        #[command(flatten)]
        target: TargetArguments,
        /// Its name.
        name: String,
    },
    /// Puts the content of another branch into a branch.
    Overwrite {
        #[command(flatten)]
        target: TargetArguments,
        /// The branch that is overwritten.
        name: String,
        /// The branch whose content is taken.
        #[arg(long, value_name = "NAME")]
        from: String,
        #[command(flatten)]
        wish: Wish,
    },
    /// Has a server of `dev` go on with another branch.
    Switch {
        #[command(flatten)]
        target: TargetArguments,
        /// The branch.
        name: String,
    },
}

/// Puts the content of a branch into `main`, or into another branch.
#[derive(Debug, clap::Args)]
#[command(after_help = PROMOTE_HELP)]
pub(super) struct Promotion {
    #[command(flatten)]
    target: TargetArguments,
    /// The branch that is overwritten.
    #[arg(long, value_name = "NAME", default_value = "main")]
    to: String,
    /// The branch whose content is taken.
    from: String,
    #[command(flatten)]
    wish: Wish,
}

const PROMOTE_HELP: &str = concat!(
    environment!(),
    "\
Examples:
  buckethead promote release-7 --dry-run
  buckethead promote release-7 --id release-7 --keep-previous-as main-before-release-7
  buckethead promote --bucket orders-data --key apps/orders.db release-7 --expected-txid 1204"
);

/// Everything that it takes.
#[derive(Debug, PartialEq)]
pub(super) struct Settings {
    target: Target,
    output: Output,
    task: Task,
}

#[derive(Debug, PartialEq)]
enum Task {
    List,
    Create { name: String, from: Option<String> },
    Delete { name: String },
    Overwrite { name: String, with: Value },
    Differences { name: String, from: String, txid: Option<u64> },
    Switch { name: String },
}

impl Arguments {
    /// With what the environment says where an argument is absent.
    pub(super) fn settings(self, env: impl Fn(&str) -> Option<String>) -> Result<Settings, SettingsError> {
        let (target, output, task) = match self.command {
            Command::List { target, output } => (target, output, Task::List),
            Command::Create { target, from, output, name } => (target, output, Task::Create { name, from }),
            Command::Delete { target, name } => (target, Output::Text, Task::Delete { name }),
            Command::Overwrite { target, name, from, wish } => (target, wish.output, wish.of(name, from)),
            Command::Switch { target, name } => (target, Output::Text, Task::Switch { name }),
        };
        let target = target.settings(env)?;
        let target = match &task {
            Task::Create { .. } => target,
            Task::List | Task::Delete { .. } | Task::Overwrite { .. } | Task::Differences { .. } | Task::Switch { .. } => {
                target.newest_only("this is about branches")?
            }
        };
        if let (Task::Switch { .. }, Target::Bucket(_)) = (&task, &target) {
            return Err(super::store::wrong(
                "a server switches to another branch: name it with --url; in a bucket each command has its --branch",
            ));
        }
        Ok(Settings { target, output, task })
    }
}

impl Promotion {
    /// With what the environment says where an argument is absent.
    pub(super) fn settings(self, env: impl Fn(&str) -> Option<String>) -> Result<Settings, SettingsError> {
        let Self { target, to, from, wish } = self;
        let target = target.settings(env)?.newest_only("this is about branches")?;
        Ok(Settings { target, output: wish.output, task: wish.of(to, from) })
    }

    /// Whether it is only asked what it would change.
    pub(super) fn is_dry_run(&self) -> bool {
        self.wish.dry_run
    }

    /// For whoever has it carried out in another way.
    pub(super) fn wanted(self) -> Wanted {
        let Self { target: _, to, from, wish } = self;
        let Wish { from_txid, expected_txid, id, keep_previous_as, dry_run: _, output } = wish;
        Wanted { to, from, from_txid, expected_txid, id, keep_previous_as, output }
    }
}

/// What is wanted of a promotion.
pub(super) struct Wanted {
    pub(super) to: String,
    pub(super) from: String,
    pub(super) from_txid: Option<u64>,
    pub(super) expected_txid: Option<u64>,
    pub(super) id: Option<String>,
    pub(super) keep_previous_as: Option<String>,
    pub(super) output: Output,
}

impl Wish {
    fn of(self, name: String, from: String) -> Task {
        let Self { from_txid, expected_txid, id, keep_previous_as, dry_run, output: _ } = self;
        if dry_run {
            return Task::Differences { name, from, txid: from_txid };
        }
        let with = json!({"from": from, "txid": from_txid, "expectedTxid": expected_txid, "id": id, "keepPreviousAs": keep_previous_as});
        Task::Overwrite { name, with }
    }
}

/// Does it.
pub(super) async fn run(settings: Settings) -> anyhow::Result<()> {
    logs::start(logs::Format::Text, "warn")?;
    let Settings { target, output, task } = settings;
    let point = target.point();
    target.work(Purpose::Branches, async |session| done(session, task, point, output).await).await
}

async fn done(session: &Session, task: Task, point: engine::Point, output: Output) -> anyhow::Result<()> {
    match task {
        Task::List => {
            let listed: Value = session.read("branches").await?;
            show::answer(output, &listed, || in_table(&listed))
        }
        Task::Create { name, from } => {
            let (txid, at) = match point {
                engine::Point::Newest => (None, None),
                engine::Point::Txid(txid) => (Some(txid), None),
                engine::Point::At(at) => (None, Some(at.to_string())),
            };
            let wish = Sent::json(&json!({"name": name, "from": from, "txid": txid, "at": at}));
            let made: Value = session::parsed(session.send(Method::POST, "branches", wish).await?).await?;
            show::answer(output, &made, || format!("branch {name} begins at txid {}", made["txid"]))
        }
        Task::Delete { name } => {
            session.send(Method::DELETE, &format!("branches/{}", session::segment(&name)), Sent::default()).await.map(drop)
        }
        Task::Overwrite { name, with } => {
            let route = format!("branches/{}/overwrite", session::segment(&name));
            let done: Value = session::parsed(session.send(Method::POST, &route, Sent::json(&with)).await?).await?;
            show::answer(output, &done, || {
                let before = if done["done_before"] == true { ", as it was before" } else { "" };
                format!("branch {name} has the content of {} at txid {}{before}", with["from"].as_str().unwrap_or_default(), done["txid"])
            })
        }
        Task::Differences { name, from, txid } => {
            let query = session::query([("from", Some(from)), ("txid", txid.map(|txid| txid.to_string()))]);
            let found: Value = session.read(&format!("branches/{}/differences{query}", session::segment(&name))).await?;
            show::answer(output, &found, || differences::in_words(&found))
        }
        Task::Switch { name } => {
            session.send(Method::POST, &format!("branches/{}/switch", session::segment(&name)), Sent::default()).await.map(drop)
        }
    }
}

fn in_table(listed: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let rows = listed["branches"].as_array().into_iter().flatten().map(|branch| {
        let parent = &branch["parent"];
        let parent = parent["branch"].as_str().map_or_else(String::new, |name| format!("{name} at {}", parent["txid"]));
        let size = branch["size"].as_u64().map_or_else(String::new, show::bytes);
        vec![text(&branch["name"]), branch["txid"].to_string(), size, text(&branch["last_modified"]), parent, text(&branch["holder"])]
    });
    show::table(&["name", "txid", "size", "snapshot of", "made from", "held by"], rows)
}
