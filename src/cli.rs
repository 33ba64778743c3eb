//! What a person types: arguments in, a role or a command out.

mod admin;
mod bench;
mod branch;
mod branches;
mod completions;
mod crd;
mod dev;
mod dev_token;
mod docs;
mod exposition;
mod files;
mod gc;
mod given;
mod group;
mod https;
mod inspect;
mod kv;
mod logs;
mod measure;
mod metrics;
mod observed;
mod openapi;
mod operator;
mod parts;
mod plugin;
mod profile;
mod rbac;
mod ready_file;
mod report;
mod restore;
mod session;
mod shared;
mod show;
mod signals;
mod spool;
mod sql;
mod status;
mod store;
mod stress;
mod telemetry;
mod tls;
mod verify;

use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand, ValueEnum};

/// In-memory SQLite databases, kept durable in S3-compatible buckets and served over HTTP.
#[derive(Debug, Parser)]
#[command(name = "buckethead", version, arg_required_else_help = true)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serves a folder of manifests on this machine: no cluster, an embedded S3 store.
    Dev(Box<dev::Arguments>),
    /// Serves the `BucketDatabase` resources of a Kubernetes cluster.
    Operator(Box<operator::Arguments>),
    /// Tells at which state a database is, and what of it is in the bucket.
    Status(status::Arguments),
    /// Lists the tables of a database, their rows and columns.
    Inspect(inspect::Arguments),
    /// Runs SQL, or opens a shell for it.
    Sql(Box<sql::Arguments>),
    /// Reads and changes keys and values.
    Kv(Box<kv::Arguments>),
    /// Keeps, lists and fetches files.
    Files(Box<files::Arguments>),
    /// Reads and changes documents.
    Docs(Box<docs::Arguments>),
    /// Lists, makes, deletes and overwrites branches.
    Branches(Box<branches::Arguments>),
    /// Puts the content of a branch into `main`, or into another branch.
    Promote(Box<branches::Promotion>),
    /// Brings everything that is committed into the snapshot, the plain SQLite file in the bucket.
    Flush(status::Flush),
    /// Writes a state of a database's branch into a file.
    Restore(restore::Arguments),
    /// Restores a state of a database's branch from its bucket, and tells whether it is sound.
    Verify(verify::Arguments),
    /// Deletes files' contents that no database uses any more.
    Gc(gc::Arguments),
    /// Writes what somebody needs to help into one file, without secrets.
    Report(report::Arguments),
    /// Measures how fast it is on this machine.
    Bench(Box<bench::Arguments>),
    /// Writes at a steady pace, and tells what that takes and costs.
    Stress(Box<stress::Arguments>),
    /// Prints what a shell needs to complete commands and options.
    Completions(completions::Arguments),
    /// Prints the `CustomResourceDefinition`.
    Crd,
    /// Prints what each metric tells.
    Metrics,
    /// Prints the OpenAPI document of the HTTP API.
    Openapi,
    /// Prints the rights that the operator needs, as rules of roles.
    Rbac(rbac::Arguments),
}

/// The form of a command's report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Output {
    /// For people.
    Text,
    /// One object, for machines.
    Json,
}

/// The exit code of a command that was not told enough, as of one with unknown arguments.
const BAD_SETTINGS: u8 = 2;
/// Of one that could not do what it was asked for.
const FAILED: u8 = 1;

/// How long threads that block may take once everything else has ended.
const LAST_THREADS: Duration = Duration::from_secs(1);

/// Runs until the command is done, or a signal ended the role.
pub(crate) fn run(arguments: Arguments) -> ExitCode {
    let result = match arguments.command {
        Command::Crd => crd::run(),
        Command::Metrics => metrics::run(),
        Command::Openapi => openapi::run(),
        Command::Rbac(arguments) => rbac::run(&arguments),
        Command::Dev(arguments) => on_runtime(dev::run(*arguments)),
        Command::Operator(arguments) => on_runtime(operator::run(*arguments)),
        Command::Gc(arguments) => {
            let termination_log = arguments.termination_log.clone();
            match arguments.settings(environment) {
                Ok(settings) => on_runtime(gc::run(settings)),
                Err(problem) => {
                    if let Some(path) = termination_log {
                        gc::leave(&path, &engine::GcOutcome::stopped(problem.to_string()));
                    }
                    return refused(problem);
                }
            }
        }
        Command::Completions(arguments) => {
            completions::run(&arguments);
            Ok(())
        }
        Command::Status(arguments) => asked(arguments.settings(environment), status::run),
        Command::Inspect(arguments) => asked(arguments.settings(environment), inspect::run),
        Command::Sql(arguments) => asked(arguments.settings(environment), sql::run),
        Command::Kv(arguments) => asked(arguments.settings(environment), kv::run),
        Command::Files(arguments) => asked(arguments.settings(environment), files::run),
        Command::Docs(arguments) => asked(arguments.settings(environment), docs::run),
        Command::Branches(arguments) => asked(arguments.settings(environment), branches::run),
        Command::Promote(arguments) => asked(arguments.settings(environment), branches::run),
        Command::Flush(arguments) => asked(arguments.settings(environment), status::flush),
        Command::Restore(arguments) => asked(arguments.settings(environment), restore::run),
        Command::Verify(arguments) => asked(arguments.settings(environment), verify::run),
        Command::Bench(arguments) => asked(arguments.settings(environment), bench::run),
        Command::Stress(arguments) => asked(arguments.settings(environment), stress::run),
        Command::Report(arguments) => asked(arguments.settings(environment), report::run),
    };
    exit(result)
}

/// Runs what is asked of the plugin of kubectl, if that is what was started.
pub(crate) fn run_as_plugin() -> Option<ExitCode> {
    plugin::is_meant(std::env::args_os().next().as_deref()).then(|| plugin::run(std::env::args_os()))
}

fn exit(result: anyhow::Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            logs::say_why(&error);
            ExitCode::from(if error.is::<store::SettingsError>() { BAD_SETTINGS } else { FAILED })
        }
    }
}

/// A command of which it is known what it takes, or what is missing.
fn asked<S, F>(settings: Result<S, store::SettingsError>, run: impl FnOnce(S) -> F) -> anyhow::Result<()>
where
    F: Future<Output = anyhow::Result<()>>,
{
    on_runtime(run(settings?))
}

fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

fn refused(problem: store::SettingsError) -> ExitCode {
    logs::say_why(&anyhow::Error::new(problem));
    ExitCode::from(BAD_SETTINGS)
}

/// Statements that let others go first, or wait for whoever takes their rows, keep their threads. A thread takes memory only once it is there.
const MOST_THREADS: usize = 1024;

fn on_runtime(role: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    let provider = rustls::crypto::ring::default_provider();
    provider.install_default().map_err(|_| anyhow::anyhow!("a TLS provider was installed before ours"))?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().max_blocking_threads(MOST_THREADS).build()?;
    let result = runtime.block_on(role);
    // Whoever gave up waiting must not wait for a thread that hangs.
    runtime.shutdown_timeout(LAST_THREADS);
    result
}
