//! `buckethead completions`: what a shell needs to complete our words.

use clap::CommandFactory as _;
use clap_complete::Shell;

/// Prints what a shell needs to complete commands and options.
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(super) struct Arguments {
    /// The shell.
    shell: Shell,
}

const HELP: &str = "\
Examples:
  source <(buckethead completions bash)
  buckethead completions zsh > ~/.zfunc/_buckethead
  buckethead completions fish > ~/.config/fish/completions/buckethead.fish";

pub(super) fn run(arguments: &Arguments) {
    clap_complete::generate(arguments.shell, &mut super::Arguments::command(), "buckethead", &mut std::io::stdout());
}
