//! The processes that are asked.

use std::net::SocketAddr;
use std::process::Stdio;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::routing::any;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

/// Makes this program an echo.
pub const ECHO: &str = "BUCKETHEAD_BENCH_ECHO";

pub struct Servers {
    pub ours: SocketAddr,
    pub echo: SocketAddr,
    buckethead: Child,
    echoing: Child,
    _folder: tempfile::TempDir,
}

impl Servers {
    pub async fn start() -> Self {
        // Beside the build, because /tmp may lie in memory.
        let folder = tempfile::TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let manifests = folder.path().join("manifests");
        std::fs::create_dir(&manifests).unwrap();
        for name in ["one", "other"] {
            let manifest = format!(
                "apiVersion: buckethead.dev/v1alpha1\nkind: BucketDatabase\nmetadata: {{namespace: default, name: {name}}}\n\
                 spec: {{bucket: bench, key: {name}.db, limits: {{maxSize: 2Gi}}}}\n"
            );
            std::fs::write(manifests.join(format!("{name}.yaml")), manifest).unwrap();
        }
        let ready = folder.path().join("ready");
        let buckethead = Command::new(env!("CARGO_BIN_EXE_buckethead"))
            .arg("dev")
            .args(["--listen", "127.0.0.1:0", "--s3-listen", "127.0.0.1:0"])
            .arg("--manifests")
            .arg(&manifests)
            .arg("--data")
            .arg(folder.path().join("data"))
            .arg("--ready-file")
            .arg(&ready)
            // As it is shipped, log included; nobody reads it here.
            .stderr(Stdio::null())
            .stdout(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let ours = loop {
            if let Ok(text) = std::fs::read_to_string(&ready)
                && let Some(address) = address(&text)
            {
                break address;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        };
        let mut echoing =
            Command::new(std::env::current_exe().unwrap()).env(ECHO, "1").stdout(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
        let line = BufReader::new(echoing.stdout.take().unwrap()).lines().next_line().await.unwrap().unwrap();
        Self { ours, echo: line.parse().unwrap(), buckethead, echoing, _folder: folder }
    }

    pub async fn stop(mut self) {
        self.buckethead.kill().await.unwrap();
        self.echoing.kill().await.unwrap();
    }

    /// Runs SQL, once the database is open.
    pub async fn sql(&self, database: &str, sql: &str) {
        let url = format!("http://{}/default/{database}/sql", self.ours);
        let client = reqwest::Client::new();
        loop {
            let reply = client.post(&url).body(sql.to_owned()).send().await.unwrap();
            match reply.status().as_u16() {
                200 => return,
                503 => tokio::time::sleep(Duration::from_millis(20)).await,
                _ => panic!("{}", reply.text().await.unwrap()),
            }
        }
    }

    /// Resident memory now, in bytes; from here on the peak is counted anew.
    pub fn forget_peak(&self) -> u64 {
        std::fs::write(format!("/proc/{}/clear_refs", self.buckethead.id().unwrap()), "5").unwrap();
        self.status("VmRSS:")
    }

    pub fn peak(&self) -> u64 {
        self.status("VmHWM:")
    }

    fn status(&self, name: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.buckethead.id().unwrap())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
    }
}

/// Where the API is, from what `dev` writes down.
fn address(text: &str) -> Option<SocketAddr> {
    let rest = text.split("http://").nth(1)?;
    rest.split(|c: char| c == '/' || c == '"' || c.is_whitespace()).next()?.parse().ok()
}

/// Answers each request with its body, until it is killed.
pub fn echo() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        println!("{}", listener.local_addr().unwrap());
        let routes = Router::new().fallback(any(async |body: Bytes| body));
        axum::serve(listener, routes).await.unwrap();
    });
}
