//! Where log lines go, in which form, and which of them.

mod filter;
mod json;

use std::io::{IsTerminal as _, Write as _};

use anyhow::Context as _;
use clap::ValueEnum;
use tracing_subscriber::Layer as _;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

pub(super) use filter::{Filter, Levels};

/// The form of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// For people.
    Text,
    /// One object a line, for machines.
    Json,
}

/// Log lines go to standard error; `RUST_LOG` decides which, `otherwise` where it is absent.
pub(super) fn start(format: Format, otherwise: &str) -> anyhow::Result<Levels> {
    let given = std::env::var("RUST_LOG").ok().filter(|given| !given.is_empty());
    let filter: Filter = match given {
        Some(given) => given.parse().with_context(|| format!("the variable RUST_LOG is `{given}`"))?,
        None => otherwise.parse().expect("our own words"),
    };
    // Whoever reads the log of a Pod, or a file, sees colours as noise.
    let is_plain = std::env::var_os("NO_COLOR").is_some_and(|set| !set.is_empty()) || !std::io::stderr().is_terminal();
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(!is_plain);
    let lines = match format {
        Format::Text => lines.compact().with_target(false).boxed(),
        Format::Json => lines.json().event_format(json::Flat).with_ansi(false).boxed(),
    };
    let (levels, in_force) = Levels::new(filter);
    tracing_subscriber::registry().with(lines).with(in_force).init();
    Ok(levels)
}

/// The last words of a command that failed: the error and its causes.
pub(super) fn say_why(error: &anyhow::Error) {
    // Nobody is left to hear of it if standard error is gone, too.
    writeln!(std::io::stderr(), "buckethead: {error:#}").ok();
}
