//! `buckethead` itself, started as a user starts it.
//!
//! Invariant: no program outlives its test; one that a test does not end is killed.

use std::ffi::OsStr;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};

use reqwest::StatusCode;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tempfile::TempDir;
use tokio::process::{Child, Command};

use super::cluster::Namespace;
use super::database::{Database, client};
use super::store::Account;
use super::wait::{LIMIT, until};

/// What a program is sent.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Signal {
    /// To end, by Kubernetes.
    Term,
    /// To end, by Ctrl-C.
    Int,
    /// To stand still, wherever it is.
    Stop,
    /// To go on from there.
    Continue,
}

/// A running `buckethead`, with what it prints in a file.
pub(crate) struct Program {
    child: Child,
    log: PathBuf,
    folder: TempDir,
}

impl Program {
    /// Starts it with arguments of its own and those by which we learn where it listens, and with these variables.
    pub(crate) fn start_with(arguments: &[&OsStr], environment: &[(&str, &str)]) -> Self {
        let folder = TempDir::new().unwrap();
        let log = folder.path().join("log");
        let out = File::create(&log).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_buckethead"))
            .args(arguments)
            .args(["--listen".as_ref(), "127.0.0.1:0".as_ref(), "--ready-file".as_ref(), folder.path().join("ready").as_os_str()])
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(out.try_clone().unwrap())
            .stderr(out)
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        Self { child, log, folder }
    }

    /// What it writes into its ready file, once it is ready.
    async fn ready<T: DeserializeOwned>(&mut self) -> T {
        let file = self.ready_file();
        tokio::select! {
            status = self.child.wait() => panic!("it ended instead of getting ready, {}: {}", status.unwrap(), self.output()),
            text = until("the ready file", async || std::fs::read(&file).ok()) => serde_json::from_slice(&text).unwrap(),
        }
    }

    /// Where it listens, without a slash at the end.
    pub(crate) async fn api(&mut self) -> String {
        #[derive(Deserialize)]
        struct Ready {
            api: String,
        }
        self.ready::<Ready>().await.api
    }

    /// Asks it to end, and waits for that.
    pub(crate) async fn end(mut self, signal: Signal) -> ExitStatus {
        self.send(signal).await;
        self.exit().await.0
    }

    pub(crate) async fn send(&self, signal: Signal) {
        let name = match signal {
            Signal::Term => "TERM",
            Signal::Int => "INT",
            Signal::Stop => "STOP",
            Signal::Continue => "CONT",
        };
        let pid = self.pid();
        assert!(Command::new("sh").arg("-c").arg(format!("kill -{name} {pid}")).status().await.unwrap().success());
    }

    /// Ends it at once, whatever it is doing: SIGKILL.
    pub(crate) async fn kill(mut self) {
        self.child.kill().await.unwrap();
    }

    /// Whether it got ready by now.
    pub(crate) fn is_ready(&self) -> bool {
        self.ready_file().exists()
    }

    fn ready_file(&self) -> PathBuf {
        self.folder.path().join("ready")
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id().expect("nobody has waited for it yet")
    }

    /// Waits until it ends by itself: how, and what it printed.
    pub(crate) async fn exit(&mut self) -> (ExitStatus, String) {
        let status = tokio::time::timeout(LIMIT, self.child.wait()).await.expect("it ends by itself").unwrap();
        (status, self.output())
    }

    /// All that it printed so far.
    pub(crate) fn output(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }
}

impl Drop for Program {
    #[allow(clippy::print_stderr, reason = "the test has failed, and this may say why")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- buckethead printed:\n{}---", self.output());
        }
    }
}

/// `buckethead operator`, watching one namespace.
pub(crate) struct Operator {
    pub(crate) program: Program,
    /// Where it really listens, without a slash at the end.
    pub(crate) api: String,
}

impl Operator {
    /// What status and Secrets call it: the port is not known before it listens.
    pub(crate) const PUBLIC_URL: &str = "http://buckethead.test";

    /// What the Services of databases lead to. Nobody is there: the API server takes no loopback addresses.
    pub(crate) const POD_IP: &str = "10.1.2.3";

    pub(crate) async fn start(namespace: &Namespace) -> Self {
        Self::once_ready(Self::spawn(namespace)).await
    }

    /// Starts it, and waits for nothing.
    pub(crate) fn spawn(namespace: &Namespace) -> Program {
        Self::spawn_with(namespace, &[])
    }

    /// The same with more arguments.
    pub(crate) fn spawn_with(namespace: &Namespace, more: &[&str]) -> Program {
        Self::spawn_as("buckethead-0", namespace, more)
    }

    /// The same as the process of a Pod. No two processes of one Pod may run at once.
    pub(crate) fn spawn_as(pod: &str, namespace: &Namespace, more: &[&str]) -> Program {
        Self::spawn_in(namespace, more, &[("POD_NAME", pod)])
    }

    /// The same with more variables. `KUBECONFIG` makes it somebody else.
    pub(crate) fn spawn_in(namespace: &Namespace, more: &[&str], environment: &[(&str, &str)]) -> Program {
        let arguments = [
            "operator",
            "--namespace",
            namespace.name,
            "--allow-loopback-endpoints",
            "--public-url",
            Self::PUBLIC_URL,
            "--status-seconds",
            "1",
            "--gc-job",
            r#"{"image": "buckethead.test/buckethead:test"}"#,
            "--pod-ip",
            Self::POD_IP,
            "--token-overlap-seconds",
            "10",
            "--peer-ip",
            "127.0.0.1",
        ];
        let arguments: Vec<_> = arguments.iter().chain(more).map(OsStr::new).collect();
        // Each test is a group of its own.
        let usual = [("KUBECONFIG", &*namespace.cluster.kubeconfig), ("POD_NAME", "buckethead-0"), ("BUCKETHEAD_GROUP", namespace.name)];
        Program::start_with(&arguments, &[&usual, environment].concat())
    }

    pub(crate) async fn once_ready(mut program: Program) -> Self {
        #[derive(Deserialize)]
        struct Ready {
            api: String,
        }
        let ready: Ready = program.ready().await;
        Self { program, api: ready.api }
    }

    /// How many requests it has sent to the API server so far, watches included and renewals of its lease not: those come whatever it does.
    pub(crate) async fn requests(&self) -> u64 {
        self.requests_where(|line| !line.contains("leases")).await
    }

    /// All of them.
    pub(crate) async fn all_requests(&self) -> u64 {
        self.requests_where(|_| true).await
    }

    async fn requests_where(&self, counts: impl Fn(&str) -> bool) -> u64 {
        let metrics = self.metrics().await;
        let counts = metrics.lines().filter(|line| line.starts_with("buckethead_kubernetes_requests_total{") && counts(line));
        counts.map(|line| line.rsplit_once(' ').unwrap().1.parse::<u64>().unwrap()).sum()
    }

    /// What it counts, as Prometheus reads it.
    pub(crate) async fn metrics(&self) -> String {
        client().get(format!("{}/metrics", self.api)).send().await.unwrap().text().await.unwrap()
    }

    /// What the kubelet is told when it asks whether the Pod may get requests.
    pub(crate) async fn readiness(&self) -> StatusCode {
        client().get(format!("{}/readyz", self.api)).send().await.unwrap().status()
    }

    /// Ends it as Kubernetes does; it must say that everything was saved.
    pub(crate) async fn end(self) {
        let status = self.program.end(Signal::Term).await;
        assert!(status.success(), "{status}");
    }
}

/// `buckethead dev` on a folder of manifests.
pub(crate) struct Dev {
    pub(crate) program: Program,
    /// Where it listens, without a slash at the end.
    pub(crate) api: String,
    /// The embedded store.
    pub(crate) s3: Account,
}

impl Dev {
    /// Starts it and waits until all databases are ready.
    pub(crate) async fn start(manifests: &Path, data: &Path, dialect: &str) -> Self {
        Self::once_ready(Self::spawn(manifests, data, dialect)).await
    }

    pub(crate) async fn once_ready(mut program: Program) -> Self {
        #[derive(Deserialize)]
        struct Ready {
            api: String,
            s3: Account,
        }
        let Ready { api, s3 } = program.ready().await;
        Self { program, api, s3 }
    }

    /// Starts it, for those who expect that it ends.
    pub(crate) fn spawn(manifests: &Path, data: &Path, dialect: &str) -> Program {
        Self::spawn_with(manifests, data, dialect, &[])
    }

    /// The same with more arguments.
    pub(crate) fn spawn_with(manifests: &Path, data: &Path, dialect: &str, more: &[&str]) -> Program {
        Self::spawn_in(manifests, data, dialect, more, &[])
    }

    /// The same with more variables.
    pub(crate) fn spawn_in(manifests: &Path, data: &Path, dialect: &str, more: &[&str], environment: &[(&str, &str)]) -> Program {
        let arguments: [&OsStr; 9] = [
            "dev".as_ref(),
            "--manifests".as_ref(),
            manifests.as_ref(),
            "--data".as_ref(),
            data.as_ref(),
            "--s3-listen".as_ref(),
            "127.0.0.1:0".as_ref(),
            "--s3-dialect".as_ref(),
            dialect.as_ref(),
        ];
        let arguments: Vec<_> = arguments.into_iter().chain(more.iter().map(OsStr::new)).collect();
        // No cluster is meant, whatever the machine knows of one.
        Program::start_with(&arguments, &[&[("KUBECONFIG", "/dev/null")], environment].concat())
    }

    /// A database of a manifest that names no namespace.
    pub(crate) fn database(&self, name: &str) -> Database {
        Database::new(format!("{}/default/{name}/", self.api), None)
    }
}
