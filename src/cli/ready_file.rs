//! The file that tells another program where we listen, written once we do.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde::Serialize;

/// Written whole: whoever sees the file sees all of it.
pub(super) fn write(path: &Path, content: &impl Serialize) -> anyhow::Result<()> {
    let describe = || format!("cannot write --ready-file {}", path.display());
    let mut draft = PathBuf::from(path);
    draft.set_extension("draft");
    std::fs::write(&draft, serde_json::to_vec_pretty(content)?).with_context(describe)?;
    std::fs::rename(&draft, path).with_context(describe)
}

/// A file of an earlier run would tell a lie.
pub(super) fn remove(path: &Path) -> anyhow::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove the old --ready-file {}", path.display()))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}
