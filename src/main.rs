//! `buckethead`: in-memory SQLite databases, kept durable in S3-compatible buckets.

mod cli;

use std::process::ExitCode;

use clap::Parser as _;

/// A request makes some hundred short-lived values, most on one thread and many given up on another.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    cli::run_as_plugin().unwrap_or_else(|| cli::run(cli::Arguments::parse()))
}
