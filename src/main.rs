//! `buckethead`: in-memory SQLite databases, kept durable in S3-compatible buckets.

mod cli;

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    cli::run(cli::Arguments::parse())
}
