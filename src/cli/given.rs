//! What a command is given to store: as an argument, in a file, or by standard input.

use std::io::Read as _;
use std::path::PathBuf;

use anyhow::Context as _;

use super::store::{SettingsError, wrong};

/// A content.
#[derive(Debug, Clone, clap::Args)]
#[group(skip)]
pub(super) struct Arguments {
    /// The content itself; `-` reads it from standard input.
    #[arg(value_name = "CONTENT", allow_hyphen_values = true)]
    content: Option<String>,
    /// Read the content from this file.
    #[arg(long, value_name = "FILE", conflicts_with = "content")]
    file: Option<PathBuf>,
}

/// Where a content comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Given {
    Text(String),
    File(PathBuf),
    StandardInput,
}

impl Arguments {
    pub(super) fn settings(self) -> Result<Given, SettingsError> {
        match (self.content, self.file) {
            (_, Some(file)) => Ok(Given::File(file)),
            (Some(content), None) if content == "-" => Ok(Given::StandardInput),
            (Some(content), None) => Ok(Given::Text(content)),
            (None, None) => Err(wrong("the content is missing: give it as an argument, as `-` for standard input, or by --file")),
        }
    }
}

impl Given {
    /// All of it.
    pub(super) fn read(self) -> anyhow::Result<Vec<u8>> {
        match self {
            Self::Text(text) => Ok(text.into_bytes()),
            Self::File(path) => std::fs::read(&path).with_context(|| format!("reading {}", path.display())),
            Self::StandardInput => {
                let mut bytes = Vec::new();
                std::io::stdin().read_to_end(&mut bytes).context("reading standard input")?;
                Ok(bytes)
            }
        }
    }
}
