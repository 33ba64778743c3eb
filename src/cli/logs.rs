//! Where log lines go, and in which form.

use std::io::{IsTerminal as _, Write as _};

use clap::ValueEnum;
use tracing_subscriber::Layer as _;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

/// The form of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// For people.
    Text,
    /// One object a line, for machines.
    Json,
}

/// Log lines go to standard error; `RUST_LOG` decides which, `otherwise` where it is absent.
pub(super) fn start(format: Format, otherwise: &str) {
    let given = std::env::var("RUST_LOG").ok().filter(|given| !given.is_empty());
    let filter = given.and_then(|given| given.parse().ok()).unwrap_or_else(|| otherwise.parse::<Targets>().expect("our own words"));
    // Whoever reads the log of a Pod, or a file, sees colours as noise.
    let is_plain = std::env::var_os("NO_COLOR").is_some_and(|set| !set.is_empty()) || !std::io::stderr().is_terminal();
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(!is_plain);
    let lines = match format {
        Format::Text => lines.compact().with_target(false).boxed(),
        Format::Json => lines.json().flatten_event(true).boxed(),
    };
    tracing_subscriber::registry().with(lines).with(filter).init();
}

/// The last words of a command that failed: the error and its causes.
pub(super) fn say_why(error: &anyhow::Error) {
    // Nobody is left to hear of it if standard error is gone, too.
    writeln!(std::io::stderr(), "buckethead: {error:#}").ok();
}
