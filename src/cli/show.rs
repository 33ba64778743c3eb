//! How commands answer: tables and words for people, JSON for programs.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use axum::body::Body;
use comfy_table::{ContentArrangement, Table, presets};
use http::Response;
use http_body_util::BodyExt as _;
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use tempfile::NamedTempFile;

use super::Output;

/// To standard output, as one line of JSON or by what people read.
pub(super) fn answer(output: Output, report: &impl Serialize, in_words: impl FnOnce() -> String) -> anyhow::Result<()> {
    let text = match output {
        Output::Json => serde_json::to_string(report)?,
        Output::Text => in_words(),
    };
    say(&text)
}

/// A text to standard output; nothing if it is empty.
pub(super) fn say(text: &str) -> anyhow::Result<()> {
    if !text.is_empty() {
        writeln!(std::io::stdout().lock(), "{text}").context("writing to standard output")?;
    }
    Ok(())
}

/// Rows under their names.
pub(super) fn table(names: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(names.iter().map(|name| name.to_uppercase()));
    table.add_rows(rows);
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table.trim_fmt()
}

/// Bytes as people say them.
pub(super) fn bytes(count: u64) -> String {
    indicatif::BinaryBytes(count).to_string()
}

/// What tells how far long work is, on standard error, if somebody looks at it there.
pub(super) fn progress(what: &'static str, bytes: Option<u64>) -> ProgressBar {
    let bar = match bytes {
        Some(bytes) => ProgressBar::new(bytes),
        None => ProgressBar::no_length(),
    };
    let form = if bytes.is_some() {
        "{msg} {bar:30} {binary_bytes} of {binary_total_bytes}, {binary_bytes_per_sec}, {eta} left"
    } else {
        "{msg} {spinner} {binary_bytes}, {binary_bytes_per_sec}"
    };
    bar.set_style(ProgressStyle::with_template(form).expect("our own words"));
    bar.enable_steady_tick(Duration::from_millis(200));
    bar.with_message(what)
}

/// A file beside the one that it is to become, so that nobody takes a part for the whole.
pub(super) fn beside(path: &Path) -> anyhow::Result<NamedTempFile> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    NamedTempFile::new_in(folder).with_context(|| format!("writing into {}", folder.display()))
}

/// Where an answer's body goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Destination {
    StandardOutput,
    File(PathBuf),
}

impl From<PathBuf> for Destination {
    fn from(path: PathBuf) -> Self {
        if path == Path::new("-") { Self::StandardOutput } else { Self::File(path) }
    }
}

impl Destination {
    /// Refuses to replace a file.
    pub(super) fn check(&self) -> anyhow::Result<()> {
        match self {
            Self::File(path) if path.exists() => anyhow::bail!("{} exists already: name another file", path.display()),
            Self::File(_) | Self::StandardOutput => Ok(()),
        }
    }

    /// Writes a body there as it arrives; a file appears whole or not at all. How many bytes it had.
    pub(super) async fn take(&self, what: &'static str, response: Response<Body>) -> anyhow::Result<u64> {
        let len = response.headers().get(http::header::CONTENT_LENGTH).and_then(|len| len.to_str().ok()?.parse().ok());
        let (mut body, bar) = (response.into_body(), progress(what, len));
        let mut taken = 0;
        let mut file = match self {
            Self::StandardOutput => None,
            Self::File(path) => Some(beside(path)?),
        };
        while let Some(frame) = body.frame().await {
            let Ok(bytes) = frame.context("the answer broke off")?.into_data() else { continue };
            match &mut file {
                Some(file) => file.write_all(&bytes)?,
                None => std::io::stdout().lock().write_all(&bytes)?,
            }
            taken += bytes.len() as u64;
            bar.set_position(taken);
        }
        bar.finish_and_clear();
        if let (Some(file), Self::File(path)) = (file, self) {
            file.as_file().sync_all()?;
            file.persist_noclobber(path).with_context(|| format!("writing {}", path.display()))?;
        }
        Ok(taken)
    }
}

/// As JSON has bytes.
pub(super) fn base64(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

/// Rows under names that are a user's own.
pub(super) fn rows(names: &[String], rows: Vec<Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_preset(presets::ASCII_MARKDOWN).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(names);
    table.add_rows(rows);
    table.to_string()
}

/// To standard error.
pub(super) fn complain(text: &str) {
    // Nobody is left to hear of it if standard error is gone, too.
    writeln!(std::io::stderr(), "{text}").ok();
}
