//! `kubectl buckethead`: the commands about databases, for those of a cluster, by the rights that the user of `kubectl` has.
//!
//! Owns: which command is meant, and what the others must not be given here. Does not own: what commands do with a database, which they do as
//! everywhere, by a way to its Pod that lasts as long as they do.
//! Invariant: nobody types a token, and none is printed.

mod cluster;
mod collect;
mod forward;
mod gc;
mod lines;
mod page;
mod promote;
mod status;
#[cfg(test)]
mod tests;

use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::process::ExitCode;

use clap::parser::ValueSource;
use clap::{ArgMatches, CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

use super::store::SettingsError;
use super::{branches, docs, exit, files, inspect, kv, on_runtime, report, sql, verify};
use cluster::Cluster;

/// What a program is called that kubectl runs as its plugin.
pub(super) const NAME: &str = "kubectl-buckethead";

/// Databases of a Kubernetes cluster: looked at, asked, and released.
#[derive(Debug, Parser)]
#[command(name = NAME, bin_name = "kubectl buckethead", version, arg_required_else_help = true)]
struct Arguments {
    #[command(flatten)]
    cluster: cluster::Arguments,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Tells how a database stands, on one page; without a name, all of them in a table.
    Status(status::Arguments),
    /// Runs SQL, or opens a shell for it.
    Sql(Box<Of<sql::Arguments>>),
    /// Lists the tables of a database, their rows and columns.
    Inspect(Box<Of<inspect::Arguments>>),
    /// Reads and changes keys and values.
    Kv(Box<Of<kv::Arguments>>),
    /// Keeps, lists and fetches files.
    Files(Box<Of<files::Arguments>>),
    /// Reads and changes documents.
    Docs(Box<Of<docs::Arguments>>),
    /// Lists branches; makes, deletes and overwrites them where the resource leaves that to the API.
    Branches(Box<Of<branches::Arguments>>),
    /// Puts the content of a branch into `main`, or into another branch, by `spec.promotion`; with --dry-run, tells what that would change.
    Promote(Box<promote::Arguments>),
    /// Brings everything that is committed into the snapshot, the plain SQLite file in the bucket.
    Flush(Box<Of<super::status::Flush>>),
    /// Has the operator delete files' contents that no database uses any more, and tells what came of it.
    Gc(gc::Arguments),
    /// Restores what is in the bucket beside what is served, and tells whether it is sound.
    Verify(Box<Of<verify::Arguments>>),
    /// Makes a database reachable on this machine, until Ctrl-C.
    PortForward(forward::Arguments),
    /// Prints what the operator logs about a database.
    Logs(lines::Arguments),
    /// Writes what somebody needs to help into one file, without contents and secrets.
    Report(Box<Of<report::Arguments>>),
}

/// A command about one database.
#[derive(Debug, clap::Args)]
struct Of<A: clap::Args> {
    /// The name of the `BucketDatabase`.
    #[arg(value_name = "DATABASE")]
    database: String,
    #[command(flatten)]
    arguments: A,
}

impl<A: clap::Args> Of<A> {
    /// Runs the command with a way to the database, as it runs everywhere else.
    async fn ask<S, F>(
        self,
        cluster: &Cluster,
        settings: impl FnOnce(A, &dyn Fn(&str) -> Option<String>) -> Result<S, SettingsError>,
        run: impl FnOnce(S) -> F,
    ) -> anyhow::Result<()>
    where
        F: Future<Output = anyhow::Result<()>>,
    {
        let way = cluster.way(&self.database).await?;
        run(settings(self.arguments, &way.environment())?).await
    }
}

/// What names a server or a bucket, which the resource does here.
const NAMED_BY_RESOURCE: [&str; 12] =
    ["url", "bucket", "endpoint", "region", "prefer_aws", "ca_file", "key", "branch", "files_prefix", "take_over", "write", "token_file"];
/// Of these one that is of use here, too: with `api.auth: Kubernetes` the Secret has no token.
const OF_USE: &str = "token_file";

/// The command below `files` that works on a bucket alone.
const IN_A_BUCKET: &str = "gc";

/// Whether the program was started as the plugin.
pub(super) fn is_meant(program: Option<&OsStr>) -> bool {
    program.and_then(|path| Path::new(path).file_stem()) == Some(OsStr::new(NAME))
}

/// Runs what is asked for.
pub(super) fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let asked = parse(arguments).unwrap_or_else(|error| error.exit());
    exit(on_runtime(carried_out(asked)))
}

fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Arguments, clap::Error> {
    let mut command = fitted(Arguments::command());
    let matches = command.try_get_matches_from_mut(arguments)?;
    if let Some(("files", files)) = matches.subcommand()
        && files.subcommand_name() == Some(IN_A_BUCKET)
    {
        let message = "the operator does this where it knows who uses the bucket: kubectl buckethead gc";
        return Err(command.error(clap::error::ErrorKind::InvalidSubcommand, message));
    }
    if let Some(name) = misplaced(&matches) {
        let message = format!("--{} is not needed here: the resource tells where its database is", name.replace('_', "-"));
        return Err(command.error(clap::error::ErrorKind::UnknownArgument, message));
    }
    Arguments::from_arg_matches(&matches)
}

/// Without what is of no use here: the arguments that name a database in other ways, and examples with them.
fn fitted(mut command: clap::Command) -> clap::Command {
    let names: Vec<String> = command.get_subcommands().map(|inner| inner.get_name().to_owned()).collect();
    let is_files = command.get_name() == "files";
    for name in names {
        let is_elsewhere = is_files && name == IN_A_BUCKET;
        command = command.mut_subcommand(name, |inner| fitted(inner).hide(is_elsewhere));
    }
    let is_hidden = |argument: &clap::Arg| NAMED_BY_RESOURCE.contains(&argument.get_id().as_str()) && argument.get_id() != OF_USE;
    let about_servers = command.get_after_help().is_some_and(|help| help.to_string().contains("BUCKETHEAD_URL"));
    let command = command.mut_args(|argument| if is_hidden(&argument) { argument.hide(true) } else { argument });
    if about_servers { command.after_help(None::<&str>) } else { command }
}

/// The first argument that has no place here.
fn misplaced(matches: &ArgMatches) -> Option<&'static str> {
    let given = |name: &&str| {
        matches.try_contains_id(name).unwrap_or(false) && matches.value_source(name) == Some(ValueSource::CommandLine) && **name != *OF_USE
    };
    NAMED_BY_RESOURCE.into_iter().find(given).or_else(|| misplaced(matches.subcommand()?.1))
}

async fn carried_out(asked: Arguments) -> anyhow::Result<()> {
    let Arguments { cluster, command } = asked;
    let cluster = Cluster::connect(cluster).await?;
    match command {
        Command::Status(arguments) => status::run(&cluster, arguments).await,
        Command::Gc(arguments) => gc::run(&cluster, arguments).await,
        Command::Logs(arguments) => lines::run(&cluster, arguments).await,
        Command::PortForward(arguments) => forward::run(&cluster, arguments).await,
        Command::Promote(arguments) => promote::run(&cluster, *arguments).await,
        Command::Report(of) => {
            let Of { database, arguments } = *of;
            let way = cluster.way(&database).await?;
            let settings = arguments.settings(way.environment())?;
            report::run_with(settings, async |parts| collect::all(&cluster, &database, parts).await).await
        }
        Command::Sql(of) => of.ask(&cluster, |arguments, env| arguments.settings(env), sql::run).await,
        Command::Inspect(of) => of.ask(&cluster, |arguments, env| arguments.settings(env), inspect::run).await,
        Command::Kv(of) => of.ask(&cluster, |arguments, env| arguments.settings(env), kv::run).await,
        Command::Files(of) => of.ask(&cluster, |arguments, env| arguments.settings(env), files::run).await,
        Command::Docs(of) => of.ask(&cluster, |arguments, env| arguments.settings(env), docs::run).await,
        Command::Branches(of) => of.ask(&cluster, |arguments, env| arguments.settings(env), branches::run).await,
        Command::Flush(of) => of.ask(&cluster, |arguments, env| arguments.settings(env), super::status::flush).await,
        Command::Verify(of) => of.ask(&cluster, |arguments, env| arguments.settings(env), verify::run).await,
    }
}
