//! Certificates that are their own authority, made by `openssl`. Tests of other packages take this file in by its path.

use std::path::Path;
use std::process::Command;

/// Writes `tls.crt` and `tls.key` into the folder, or anew; they are for this name, such as `DNS:localhost`.
pub(crate) fn make_certificate(folder: &Path, name: &str) {
    let made = Command::new("openssl")
        .args("req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=buckethead".split(' '))
        .args("-addext basicConstraints=critical,CA:FALSE -keyout tls.key -out tls.crt -addext".split(' '))
        .arg(format!("subjectAltName={name}"))
        .current_dir(folder)
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
}
