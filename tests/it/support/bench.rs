//! The API server and the store that all tests of this program share.
//!
//! Invariant: they end with this process, however it ends, because `testbench/serve.sh` runs until the pipe in [`Bench`] closes.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::LazyLock;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::store::Account;

/// Started by the first test that asks for it.
pub(super) static BENCH: LazyLock<Bench> = LazyLock::new(Bench::start);

pub(super) struct Bench {
    pub(super) facts: Facts,
    _pipe: Pipe,
}

/// The line that `testbench/serve.sh` prints.
#[derive(Deserialize)]
pub(super) struct Facts {
    #[serde(flatten)]
    pub(super) cluster: Cluster,
    pub(super) s3: Account,
}

/// How an API server is reached.
#[derive(Deserialize)]
pub(super) struct Cluster {
    pub(super) kubeconfig: String,
    pub(super) kubectl: String,
    /// Where its files are; they go with it.
    pub(super) dir: PathBuf,
}

/// What runs until this is dropped.
pub(crate) struct Pipe {
    child: Child,
    answers: BufReader<ChildStdout>,
}

impl Bench {
    fn start() -> Self {
        let (facts, pipe) = serve::<Facts>(&[]);
        facts.cluster.install_definition();
        Self { facts, _pipe: pipe }
    }
}

/// How the API server is reached, for whoever brings a client along.
pub(crate) fn kubeconfig() -> PathBuf {
    BENCH.facts.cluster.kubeconfig.clone().into()
}

/// Starts parts of the test bench, all if none is named, and reads the line of facts. They end when the pipe closes.
pub(crate) fn serve<T: DeserializeOwned>(parts: &[&str]) -> (T, Pipe) {
    let mut child = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/testbench/serve.sh"))
        .args(parts)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let answers = BufReader::new(child.stdout.take().unwrap());
    let mut pipe = Pipe { child, answers };
    let facts = serde_json::from_str(&pipe.line()).expect("the test bench says on stderr why it does not start");
    (facts, pipe)
}

impl Pipe {
    /// Has an order of `testbench/serve.sh` carried out.
    pub(super) fn order(&mut self, order: &str) {
        writeln!(self.child.stdin.as_mut().unwrap(), "{order}").unwrap();
        assert_eq!(self.line().trim_end(), "done", "the test bench says on stderr why it does not {order}");
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.answers.read_line(&mut line).unwrap();
        line
    }
}

impl Cluster {
    /// The one that this build prints; `make lint` compares it with `crds/`.
    pub(super) fn install_definition(&self) {
        let definition = Command::new(env!("CARGO_BIN_EXE_buckethead")).arg("crd").output().unwrap();
        assert!(definition.status.success(), "{}", String::from_utf8_lossy(&definition.stderr));
        self.kubectl(&["apply", "--filename", "-"], &definition.stdout);
        self.kubectl(&["wait", "--for=condition=Established", "crd/bucketdatabases.buckethead.dev", "--timeout=30s"], &[]);
    }

    fn kubectl(&self, arguments: &[&str], input: &[u8]) {
        let mut child = Command::new(&self.kubectl)
            .args(arguments)
            .env("KUBECONFIG", &self.kubeconfig)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(input).unwrap();
        assert!(child.wait().unwrap().success(), "kubectl {arguments:?} failed");
    }
}
