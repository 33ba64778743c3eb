//! The real Litestream, where it is installed.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::hosted::Hosted;

pub struct Litestream(PathBuf);

/// Its configuration: a file, and where it lies in the store.
pub struct Replica {
    file: PathBuf,
    config: PathBuf,
}

impl Replica {
    pub fn of(hosted: &Hosted, file: &Path, path: &str, endpoint: &url::Url) -> Self {
        let identity = hosted.config("any").store.credentials;
        let account = identity.keys().expect("the embedded store has keys");
        let replica = serde_json::json!({
            "type": "s3", "bucket": "bench", "path": path, "endpoint": endpoint.as_str(), "region": "us-east-1", "force-path-style": true,
            "access-key-id": account.access_key_id, "secret-access-key": account.secret_access_key,
        });
        let config = hosted.folder().join("litestream.yml");
        // JSON is YAML.
        std::fs::write(&config, serde_json::json!({"dbs": [{"path": file, "replica": replica}]}).to_string()).unwrap();
        Self { file: file.to_owned(), config }
    }
}

impl Litestream {
    pub fn installed() -> Option<Self> {
        let tools = concat!(env!("CARGO_MANIFEST_DIR"), "/../../testbench/tools.sh");
        let output = Command::new(tools).arg("litestream").env_remove("AWS_CA_BUNDLE").output().unwrap();
        if !output.status.success() {
            println!("Litestream is not installed: {}", String::from_utf8_lossy(&output.stderr).trim());
            return None;
        }
        Some(Self(PathBuf::from(String::from_utf8(output.stdout).unwrap().trim()).join("litestream")))
    }

    pub fn replicate(&self, replica: &Replica) -> Running {
        let mut command = Command::new(&self.0);
        command.args(["replicate", "-config"]).arg(&replica.config).stdout(Stdio::null()).stderr(Stdio::null());
        Running(command.spawn().unwrap())
    }

    /// Into another file. Blocks.
    pub fn restore(&self, replica: &Replica, to: &Path) {
        let mut command = Command::new(&self.0);
        command.args(["restore", "-config"]).arg(&replica.config).arg("-o").arg(to).arg(&replica.file);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

/// Until it is dropped.
pub struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}
