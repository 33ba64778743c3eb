//! Where log lines go, and in which form.

use std::io::{IsTerminal as _, Write as _};

use clap::ValueEnum;
use tracing_subscriber::EnvFilter;

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
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(otherwise));
    // Whoever reads the log of a Pod, or a file, sees colours as noise.
    let is_plain = std::env::var_os("NO_COLOR").is_some_and(|set| !set.is_empty()) || !std::io::stderr().is_terminal();
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(!is_plain);
    match format {
        Format::Text => lines.compact().with_target(false).init(),
        Format::Json => lines.json().flatten_event(true).init(),
    }
}

/// The last words of a command that failed: the error and its causes.
pub(super) fn say_why(error: &anyhow::Error) {
    // Nobody is left to hear of it if standard error is gone, too.
    writeln!(std::io::stderr(), "buckethead: {error:#}").ok();
}
