//! The programs that restore: the real Litestream, and ours.

use std::path::{Path, PathBuf};

use engine::WallTime;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::Command;

use crate::support::Place;

/// Litestream, told of one chain and of the database file that it belongs to.
pub(super) struct Litestream<'a> {
    place: &'a Place,
    folder: TempDir,
}

impl<'a> Litestream<'a> {
    /// For the chain of a branch.
    pub(super) fn of(place: &'a Place, key: &str, branch: &str) -> Self {
        let litestream = Self { place, folder: TempDir::new().unwrap() };
        let replica = json!({
            "type": "s3",
            "bucket": place.bucket,
            "path": format!("{key}.ltx/{branch}"),
            "endpoint": place.account.endpoint,
            "region": "us-east-1",
            "force-path-style": true,
        });
        // JSON is YAML.
        let config = json!({"dbs": [{"path": litestream.database(), "replica": replica}]});
        std::fs::write(litestream.config(), config.to_string()).unwrap();
        litestream
    }

    /// The file that it replicates, if somebody makes it.
    pub(super) fn database(&self) -> PathBuf {
        self.folder.path().join("database")
    }

    fn config(&self) -> PathBuf {
        self.folder.path().join("litestream.yml")
    }

    /// What the chain makes: its newest state, or the one that the arguments name.
    pub(super) async fn restore(&self, arguments: &[&str]) -> Result<Vec<u8>, String> {
        let (out, database) = (TempDir::new().unwrap(), self.database());
        let file = out.path().join("restored");
        let command = [&["restore", "-integrity-check", "full"], arguments].concat();
        self.run(&command, &["-o".as_ref(), &file, &database]).await?;
        Ok(std::fs::read(file).unwrap())
    }

    /// The state with this number.
    pub(super) async fn at_txid(&self, txid: u64) -> Vec<u8> {
        self.restore(&["-txid", &format!("{txid:016x}")]).await.unwrap_or_else(|refusal| panic!("txid {txid}: {refusal}"))
    }

    /// The newest state of before this moment.
    pub(super) async fn before(&self, time: WallTime) -> Vec<u8> {
        self.restore(&["-timestamp", &time.to_string()]).await.unwrap_or_else(|refusal| panic!("before {time}: {refusal}"))
    }

    /// Brings what has changed in the database into the bucket.
    pub(super) async fn replicate(&self, arguments: &[&str]) {
        self.run(&[&["replicate", "-once"], arguments].concat(), &[]).await.unwrap();
    }

    async fn run(&self, arguments: &[&str], paths: &[&Path]) -> Result<(), String> {
        let (command, arguments) = arguments.split_first().unwrap();
        let output = Command::new("bash")
            .args(["-c", r#"exec "$("$0/testbench/tools.sh" litestream)/litestream" "$@""#, env!("CARGO_MANIFEST_DIR"), command])
            .arg("-config")
            .arg(self.config())
            .args(arguments)
            .args(paths)
            .env("AWS_ACCESS_KEY_ID", &self.place.account.access_key_id)
            .env("AWS_SECRET_ACCESS_KEY", &self.place.account.secret_access_key)
            // It fails if this is set.
            .env_remove("AWS_CA_BUNDLE")
            .output()
            .await
            .unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        if output.status.success() { Ok(()) } else { Err(text(&output.stderr) + &text(&output.stdout)) }
    }
}

/// A state as `buckethead restore` writes it.
pub(super) struct Restored {
    pub(super) txid: u64,
    pub(super) time: WallTime,
    pub(super) bytes: Vec<u8>,
}

/// Our own restore, which needs nobody but the store.
pub(super) async fn ours(place: &Place, key: &str, branch: &str, arguments: &[&str]) -> Result<Restored, String> {
    let out = TempDir::new().unwrap();
    let file = out.path().join("restored");
    let output = Command::new(env!("CARGO_BIN_EXE_buckethead"))
        .args(["restore", "--output", "json", "--key", key, "--branch", branch])
        .args(arguments)
        .arg(&file)
        .envs(place.settings())
        .output()
        .await
        .unwrap();
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    let time = told["time"].as_str().unwrap().parse().unwrap();
    Ok(Restored { txid: told["txid"].as_u64().unwrap(), time, bytes: std::fs::read(file).unwrap() })
}

/// The state with this number.
pub(super) async fn ours_at_txid(place: &Place, key: &str, branch: &str, txid: u64) -> Restored {
    let restored = ours(place, key, branch, &["--txid", &txid.to_string()]).await;
    restored.unwrap_or_else(|refusal| panic!("txid {txid} of {branch}: {refusal}"))
}
