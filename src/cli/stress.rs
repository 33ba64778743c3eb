//! `buckethead stress`: what a load does to a database, and what it costs.

mod estimate;
mod load;
mod prices;
mod results;
mod scenario;
mod served;

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;
use clap::{Subcommand, ValueEnum as _};
use engine::{Clock as _, HookSet, Hooks, SystemClock};
use tokio_util::sync::CancellationToken;

use super::measure::{self, Ground, GroundArguments, GroundSettings, Machine, Steps, real};
use super::profile::{self, Io, Profile, cpu, heap};
use super::session::{Purpose, Sent, Target, TargetUrl};
use super::show;
use super::store::SettingsError;
use super::{Output, logs};
use http::Method;
use load::{Mode, Sink, Tally};
use prices::{Bill, Prices};
use results::Results;
use scenario::Scenario;
use served::Told;

/// Writes at a steady pace, and tells what that takes and costs.
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

const HELP: &str = "\
A scenario is one of those that `list` names, or a file in YAML or JSON with `name`, `duration_s`, `writes_per_second`, `row_size_bytes`, `flush_interval_s`, and if \
need be `keep_previous`, `cpu_profile`, `memory_profile`. Without more the store is one of its own; with --bucket the database is kept in that bucket, under keys that \
begin with `buckethead-measure/` and are deleted at the end. With --url rows are written to that server, into a table that is dropped at the end; what its store was asked meanwhile \
is read from its metrics, for all that it serves together.

Exit codes: 0 done; 1 stopped, standard error says why; 2 settings are missing or wrong.

Examples:
  buckethead stress list
  buckethead stress estimate free-tier-max --prices s3
  buckethead stress run smoke
  buckethead stress run night.yaml --mode stream --bucket scratch --endpoint http://minio.storage:9000
  buckethead stress run smoke --url http://127.0.0.1:8080/default/quickstart
  buckethead stress report";

#[derive(Debug, Subcommand)]
#[expect(clippy::large_enum_variant, reason = "one is made, once")]
enum Command {
    /// Lists the scenarios that need no file.
    List {
        /// The form of the answer.
        #[arg(long, value_enum, default_value_t = Output::Text)]
        output: Output,
    },
    /// Tells what a scenario would ask of a store and cost, without running it.
    Estimate {
        /// Its name, or a file.
        scenario: String,
        /// When commits are in the bucket.
        #[arg(long, value_enum, default_value_t = Mode::Snapshot)]
        mode: Mode,
        /// Whose prices; by default all.
        #[arg(long, value_enum)]
        prices: Vec<Prices>,
        /// The form of the answer.
        #[arg(long, value_enum, default_value_t = Output::Text)]
        output: Output,
    },
    /// Runs a scenario, and writes results and reports.
    Run {
        /// Its name, or a file.
        scenario: String,
        /// When commits are in the bucket; of a server its own resource says that, and the interval of flushes.
        #[arg(long, value_enum, default_value_t = Mode::Snapshot, conflicts_with = "url")]
        mode: Mode,
        /// Whose prices; by default all.
        #[arg(long, value_enum)]
        prices: Vec<Prices>,
        /// Where results and reports are written.
        #[arg(long, value_name = "FOLDER", default_value = DEFAULT_FOLDER)]
        output_dir: PathBuf,
        #[command(flatten)]
        url: TargetUrl,
        #[command(flatten)]
        ground: GroundArguments,
        #[command(flatten)]
        profile: profile::Arguments,
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

const DEFAULT_FOLDER: &str = "buckethead-stress";

/// Everything that it takes.
#[derive(Debug, PartialEq)]
pub(super) enum Settings {
    List(Output),
    Estimate { scenario: String, mode: Mode, prices: Vec<Prices>, output: Output },
    Run(Box<Run>),
    Report { results: Option<PathBuf>, folder: PathBuf },
}

#[derive(Debug, PartialEq)]
pub(super) struct Run {
    scenario: String,
    mode: Mode,
    prices: Vec<Prices>,
    folder: PathBuf,
    server: Option<Target>,
    ground: GroundSettings,
    profiles: Option<PathBuf>,
    output: Output,
}

impl Arguments {
    /// With what the environment says where an argument is absent.
    pub(super) fn settings(self, env: impl Fn(&str) -> Option<String>) -> Result<Settings, SettingsError> {
        let all = |prices: Vec<Prices>| if prices.is_empty() { Prices::value_variants().to_vec() } else { prices };
        Ok(match self.command {
            Command::List { output } => Settings::List(output),
            Command::Estimate { scenario, mode, prices, output } => Settings::Estimate { scenario, mode, prices: all(prices), output },
            Command::Report { results, output_dir } => Settings::Report { results, folder: output_dir },
            Command::Run { scenario, mode, prices, output_dir, url, ground, profile, output } => {
                let server = url.settings(ground.ca_file(), &env)?;
                let (ground, prices, profiles) = (ground.settings(&env)?, all(prices), profile.folder());
                Settings::Run(Box::new(Run { scenario, mode, prices, folder: output_dir, server, ground, profiles, output }))
            }
        })
    }
}

/// Does it.
pub(super) async fn run(settings: Settings) -> anyhow::Result<()> {
    logs::start(logs::Format::Text, "warn,s3s=off")?;
    match settings {
        Settings::List(output) => show::answer(output, &Scenario::known(), || {
            let rows = Scenario::known().into_iter().map(|scenario| vec![scenario.name.clone(), scenario.in_words()]);
            show::table(&["scenario", "what it does"], rows)
        }),
        Settings::Estimate { scenario, mode, prices, output } => {
            let scenario = Scenario::find(&scenario)?;
            let bill = estimate::bill(&scenario, mode);
            let costs: Vec<_> = prices.into_iter().map(|prices| bill.cost(prices)).collect();
            let document = serde_json::json!({"scenario": scenario, "mode": mode, "run": bill, "month": bill.month(), "costs": costs});
            show::answer(output, &document, || {
                let (bill, costs) = (show::table(&results::BILL, results::bill_rows(&bill)), results::cost_rows(&costs));
                format!("{}\n\n{bill}\n\n{}", scenario.in_words(), show::table(&results::COST, costs))
            })
        }
        Settings::Report { results, folder } => {
            let (json, results): (_, Results) = measure::read(results, &folder, "stress")?;
            measure::report(&json, &results.paper())?.tell()
        }
        Settings::Run(run) => {
            let (output, folder) = (run.output, run.folder.clone());
            let results = measure::until_stopped(async |stop| measured(*run, stop).await).await?;
            let written = measure::write(&folder, &measure::name_of("stress", &results.scenario.name), &results, &results.paper())?;
            match output {
                Output::Json => show::answer(output, &results, String::new)?,
                Output::Text => {
                    show::say(&format!("{}\n", results.in_words()))?;
                    written.tell()?;
                }
            }
            results.check()
        }
    }
}

/// What a scenario or the command line wants to know besides.
struct Profiles {
    profile: Option<(Arc<Profile>, Arc<Io>)>,
    processor: Option<cpu::Sampling>,
    memory: Option<heap::Sampling>,
}

impl Profiles {
    fn begin(scenario: &Scenario, folder: Option<PathBuf>) -> anyhow::Result<Self> {
        let is_asked = scenario.cpu_profile || scenario.memory_profile;
        let folder = folder.or_else(|| is_asked.then(|| PathBuf::from(profile::DEFAULT_FOLDER)));
        let io = Arc::new(Io::default());
        let profile = folder.map(|folder| Profile::begin(&folder, &io)).transpose()?.map(|profile| (profile, io));
        let processor = scenario.cpu_profile.then(cpu::Sampling::begin).transpose()?;
        let memory = scenario.memory_profile.then(heap::Sampling::begin).transpose()?;
        Ok(Self { profile, processor, memory })
    }

    fn hooks(&self) -> Option<Arc<dyn Hooks>> {
        self.profile.as_ref().map(|(profile, _)| Arc::clone(profile) as Arc<dyn Hooks>)
    }

    fn io(&self) -> Option<Arc<dyn Hooks>> {
        self.profile.as_ref().map(|(_, io)| Arc::clone(io) as Arc<dyn Hooks>)
    }

    fn end(self) -> anyhow::Result<()> {
        let Some((profile, _)) = self.profile else { return Ok(()) };
        // One that fails takes no other along.
        let processor = self.processor.map_or(Ok(()), |processor| profile.keep("cpu.pb.gz", &processor.end()?));
        let memory = self.memory.map_or(Ok(()), |memory| profile.keep("heap.pb.gz", &memory.end()?));
        profile.end().and(processor).and(memory)
    }
}

async fn measured(run: Run, stop: &CancellationToken) -> anyhow::Result<Results> {
    let Run { scenario, mode, prices, folder, server, ground, profiles, output: _ } = run;
    let scenario = Scenario::find(&scenario)?;
    if let Some(server) = server {
        let wants_profiles = profiles.is_some() || scenario.cpu_profile || scenario.memory_profile;
        anyhow::ensure!(
            !wants_profiles,
            "profiles are of this process; those of a server come from its --profile-dir and --admin-listen: leave out --profile, --profile-dir, cpu_profile and memory_profile"
        );
        return of_server(server, scenario, &prices, stop).await;
    }
    let (tally, profiles) = (Arc::new(Tally::default()), Profiles::begin(&scenario, profiles)?);
    let told = [Some(Arc::clone(&tally) as Arc<dyn Hooks>), profiles.hooks(), profiles.io()];
    let hooks = HookSet::new(told.into_iter().flatten());
    let steps = Steps::of("stress", usize::try_from(estimate::rows(&scenario)).unwrap_or(usize::MAX));
    let ground = Ground::open(ground, &folder, mode.wish(&scenario), hooks).await?;
    let (clock, place, opening) = (SystemClock, ground.place.clone(), tally.so_far());
    let (started, begun) = (clock.wall(), clock.now());
    let sink = Sink::Database(ground.database.clone());
    let written = measure::unless_stopped(stop, load::write(&sink, &scenario, |done| steps.at(done))).await;
    drop(sink);
    let closing = tally.so_far();
    let closed = ground.close().await;
    let took = clock.now().saturating_duration_since(begun).as_secs_f64();
    let kept = tokio::task::spawn_blocking(move || profiles.end()).await.context("the thread failed").and_then(|kept| kept);
    let stored = ground.stored_bytes().await;
    let ended = ground.end().await;
    let ((writes, spans), stored_bytes) = (written?, stored?);
    closed.and(ended).and(kept)?;
    let all = tally.so_far();
    let once = |opening: f64, before: f64, all: f64| opening + (all - before);
    let bill = Bill {
        once_class_a: once(opening.class_a, closing.class_a, all.class_a),
        once_class_b: once(opening.class_b, closing.class_b, all.class_b),
        stored_bytes: real(stored_bytes),
        seconds: took,
        ..all
    };
    Ok(Results {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        mode: Some(mode),
        started: started.to_string(),
        took_seconds: took,
        machine: Machine::this(),
        place,
        writes,
        spans,
        flushes: tally.flushes(),
        requests: tally.requests(),
        stored_bytes,
        bill,
        costs: prices.into_iter().map(|prices| bill.cost(prices)).collect(),
        scenario,
    })
}

/// On a server: by HTTP, in a table that is dropped at the end.
async fn of_server(server: Target, scenario: Scenario, prices: &[Prices], stop: &CancellationToken) -> anyhow::Result<Results> {
    let place = server.to_string();
    let session = Arc::new(server.open(Purpose::Change).await?);
    let steps = Steps::of("stress", usize::try_from(estimate::rows(&scenario)).unwrap_or(usize::MAX));
    let (clock, sink, before) = (SystemClock, Sink::Server(Arc::clone(&session)), Told::by(&session).await?);
    let (started, begun) = (clock.wall(), clock.now());
    let written = measure::unless_stopped(stop, load::write(&sink, &scenario, |done| steps.at(done))).await;
    let flushed = session.send(Method::POST, "flush", Sent::default()).await;
    let took = clock.now().saturating_duration_since(begun).as_secs_f64();
    let (after, known) = (Told::by(&session).await, session.read::<serde_json::Value>("").await);
    let cleaned = load::clean(&sink).await;
    let (writes, spans) = written?;
    flushed.context("the last flush")?;
    cleaned?;
    let (after, known) = (after?, known?);
    let stored_bytes = known["size"].as_u64().unwrap_or_default();
    let requests = after.zip(before).map_or_else(Vec::new, |(after, before)| after.since(&before));
    let bill = Bill { stored_bytes: real(stored_bytes), seconds: took, ..Bill::of(&requests) };
    Ok(Results {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        mode: None,
        started: started.to_string(),
        took_seconds: took,
        machine: Machine::this(),
        place,
        writes,
        spans,
        flushes: Vec::new(),
        // Without a word of the server's there is nothing to charge.
        costs: if requests.is_empty() { Vec::new() } else { prices.iter().map(|prices| bill.cost(*prices)).collect() },
        requests,
        stored_bytes,
        bill,
        scenario,
    })
}

#[cfg(test)]
mod tests;
