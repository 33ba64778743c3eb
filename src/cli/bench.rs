//! `buckethead bench`: how fast it is here.

mod plan;
mod results;
mod suites;

use std::path::PathBuf;

use anyhow::Context as _;
use clap::{Subcommand, ValueEnum};
use engine::{Clock as _, HookSet, SystemClock};
use tokio_util::sync::CancellationToken;

use super::measure::{self, Ground, GroundArguments, GroundSettings, Machine, Steps, Wish};
use super::session::{Target, TargetUrl};
use super::show;
use super::store::{SettingsError, wrong};
use super::{Output, logs};
use plan::{Preset, Suite};
use results::Results;

/// Measures how fast it is on this machine, and reports that.
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

const HELP: &str = "\
Without more, everything runs in this process, on a store of its own; nothing else is touched. With --bucket the database is kept in that bucket, under keys that begin \
with `buckethead-measure/` and are deleted at the end. With --url the suite `http` asks that server: it writes keys that begin with `buckethead-measure/`, and deletes \
them.

Exit codes: 0 done; 1 stopped, standard error says why; 2 settings are missing or wrong.

Examples:
  buckethead bench list
  buckethead bench run quick
  buckethead bench run standard --suite latency --suite ycsb --output-dir results
  buckethead bench run quick --url http://127.0.0.1:8080/default/quickstart
  buckethead bench run quick --suite flush-impact --bucket scratch --endpoint http://minio.storage:9000
  buckethead bench report";

#[derive(Debug, Subcommand)]
enum Command {
    /// Lists presets and suites.
    List {
        /// The form of the answer.
        #[arg(long, value_enum, default_value_t = Output::Text)]
        output: Output,
    },
    /// Measures, and writes results and reports.
    Run {
        /// How thoroughly.
        #[arg(value_enum, default_value_t = Preset::Quick)]
        preset: Preset,
        /// Only this suite. May be given several times.
        #[arg(long, value_enum)]
        suite: Vec<Suite>,
        /// Where results and reports are written.
        #[arg(long, value_name = "FOLDER", default_value = DEFAULT_FOLDER)]
        output_dir: PathBuf,
        #[command(flatten)]
        url: TargetUrl,
        #[command(flatten)]
        ground: GroundArguments,
        /// The form of the answer.
        #[arg(long, value_enum, default_value_t = Output::Text)]
        output: Output,
    },
    /// Writes the reports of results anew; by default of the newest.
    Report {
        /// The results: a JSON file.
        results: Option<PathBuf>,
        /// Where results are, if none are named.
        #[arg(long, value_name = "FOLDER", default_value = DEFAULT_FOLDER)]
        output_dir: PathBuf,
    },
}

const DEFAULT_FOLDER: &str = "buckethead-bench";

/// Everything that it takes.
#[derive(Debug, PartialEq)]
pub(super) enum Settings {
    List(Output),
    Run(Box<Run>),
    Report { results: Option<PathBuf>, folder: PathBuf },
}

#[derive(Debug, PartialEq)]
pub(super) struct Run {
    preset: Preset,
    suites: Vec<Suite>,
    folder: PathBuf,
    server: Option<Target>,
    ground: GroundSettings,
    output: Output,
}

impl Arguments {
    /// With what the environment says where an argument is absent.
    pub(super) fn settings(self, env: impl Fn(&str) -> Option<String>) -> Result<Settings, SettingsError> {
        Ok(match self.command {
            Command::List { output } => Settings::List(output),
            Command::Report { results, output_dir } => Settings::Report { results, folder: output_dir },
            Command::Run { preset, suite, output_dir, url, ground, output } => {
                let server = url.settings(ground.ca_file(), &env)?;
                let ground = ground.settings(&env)?;
                let suites = match (&server, suite.is_empty()) {
                    (Some(_), true) => vec![Suite::Http],
                    (Some(_), false) if suite != [Suite::Http] => return Err(wrong("a server is measured by the suite `http` alone")),
                    (None, true) => Suite::value_variants().to_vec(),
                    (_, false) => Suite::value_variants().iter().copied().filter(|known| suite.contains(known)).collect(),
                };
                Settings::Run(Box::new(Run { preset, suites, folder: output_dir, server, ground, output }))
            }
        })
    }
}

/// Does it.
pub(super) async fn run(settings: Settings) -> anyhow::Result<()> {
    logs::start(logs::Format::Text, "warn,s3s=off")?;
    match settings {
        Settings::List(output) => list(output),
        Settings::Report { results, folder } => {
            let (json, results): (_, Results) = measure::read(results, &folder, "bench")?;
            measure::report(&json, &results.paper())?.tell()
        }
        Settings::Run(run) => {
            let (output, folder) = (run.output, run.folder.clone());
            let results = measure::until_stopped(async |stop| measured(*run, stop).await).await?;
            let name = measure::name_of("bench", results.preset.name());
            let written = measure::write(&folder, &name, &results, &results.paper())?;
            match output {
                Output::Json => show::answer(output, &results, String::new),
                Output::Text => {
                    show::say(&results.in_words())?;
                    written.tell()
                }
            }
        }
    }
}

fn list(output: Output) -> anyhow::Result<()> {
    let presets: Vec<_> = Preset::value_variants().iter().map(|preset| (preset.name(), preset.scale())).collect();
    let suites: Vec<_> = Suite::value_variants().iter().map(|suite| (suite.name(), suite.about())).collect();
    let document = serde_json::json!({
        "presets": presets.iter().map(|(name, scale)| (*name, scale)).collect::<std::collections::BTreeMap<_, _>>(),
        "suites": suites.iter().copied().collect::<std::collections::BTreeMap<_, _>>(),
    });
    show::answer(output, &document, || {
        let presets = presets.iter().map(|(name, scale)| vec![(*name).to_owned(), scale.in_words()]);
        let suites = suites.iter().map(|(name, about)| vec![(*name).to_owned(), (*about).to_owned()]);
        format!("{}\n\n{}", show::table(&["preset", "how thoroughly"], presets), show::table(&["suite", "what it measures"], suites))
    })
}

async fn measured(run: Run, stop: &CancellationToken) -> anyhow::Result<Results> {
    let Run { preset, suites, folder, server, ground, output: _ } = run;
    let (clock, scale) = (SystemClock, preset.scale());
    let (started, begun) = (clock.wall(), clock.now());
    let steps = Steps::of("bench", suites.iter().map(|suite| suite.steps(&scale)).sum());
    let mut found = Vec::new();
    let place = if let Some(server) = server {
        let place = server.to_string();
        found.push(suites::http::of_server(server, &scale, &steps, stop).await?);
        place
    } else {
        let mut place = String::new();
        for suite in suites {
            // Each has a database of its own, so none finds what another left.
            let ground = Ground::open(ground.clone(), &folder, Wish::by_hand(), HookSet::default()).await?;
            place.clone_from(&ground.place);
            let measured = measure::unless_stopped(stop, suites::run(suite, &ground, &scale, &steps)).await;
            let ended = ground.end().await;
            found.push(measured.with_context(|| format!("the suite `{}`", suite.name()))?);
            ended?;
        }
        place
    };
    let took = clock.now().saturating_duration_since(begun).as_secs_f64();
    let version = env!("CARGO_PKG_VERSION").to_owned();
    Ok(Results { version, preset, started: started.to_string(), took_seconds: took, machine: Machine::this(), place, suites: found })
}

#[cfg(test)]
mod tests;
