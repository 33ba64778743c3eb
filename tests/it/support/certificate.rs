//! Certificates that sign themselves, made by `openssl`. Tests of other packages take this file in by its path.

use std::path::Path;
use std::process::Command;

/// Writes `tls.crt` and `tls.key` into the folder, or anew. The extensions say at least for whom they are, as in `subjectAltName=DNS:localhost`.
pub(crate) fn make_certificate(folder: &Path, extensions: &[&str]) {
    let made = Command::new("openssl")
        .args("req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=buckethead".split(' '))
        .args("-keyout tls.key -out tls.crt".split(' '))
        .args(extensions.iter().flat_map(|extension| ["-addext", extension]))
        .current_dir(folder)
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
}
