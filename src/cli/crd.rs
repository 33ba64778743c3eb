//! `buckethead crd`

use std::io::Write as _;

/// Prints the definition that the code derives, as `crds/` holds it.
pub(super) fn run() -> anyhow::Result<()> {
    std::io::stdout().write_all(controller::crd::crd_yaml().as_bytes())?;
    Ok(())
}
