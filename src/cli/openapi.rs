//! `buckethead openapi`

use std::io::Write as _;

/// Prints the document of the HTTP API, as `docs/openapi.json` holds it.
pub(super) fn run() -> anyhow::Result<()> {
    let mut document = serde_json::to_string_pretty(&api::openapi())?;
    document.push('\n');
    std::io::stdout().write_all(document.as_bytes())?;
    Ok(())
}
