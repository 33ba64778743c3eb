//! Clients of libSQL that others wrote, from their registries: each passes a suite of ours, in `tests/clients/`, and each snippet of
//! `docs/clients.md` runs as it stands there.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use tempfile::TempDir;
use tokio::process::Command;

use crate::support::{DATABASE, Database, Namespace, Operator, Resource, ServedBy, blocks, document};

#[tokio::test]
async fn javascript_clients_work() {
    let tools = tools().await;
    // Modules are found beside the file that imports them.
    let folder = TempDir::new().unwrap();
    std::os::unix::fs::symlink(tools.join("node_modules"), folder.path().join("node_modules")).unwrap();
    copy(&suites("node"), "mjs", folder.path());
    let node = |arguments: &[&str]| {
        let mut node = Command::new(tools.join("bin/node"));
        node.args(arguments).current_dir(folder.path());
        node
    };
    let served = Served::start("clients-node").await;
    served.run(node(&["--test"])).await;
    for snippet in snippets("js") {
        std::fs::write(folder.path().join("snippet.mjs"), snippet).unwrap();
        served.prints_a_number(node(&["snippet.mjs"])).await;
    }
    served.end().await;
}

#[tokio::test]
async fn python_clients_work() {
    let site = tools().await.join("site");
    let python = |arguments: &[&str]| {
        let mut python = Command::new("python3");
        python.args(arguments).current_dir(suites("python")).env("PYTHONPATH", &site).env("PYTHONDONTWRITEBYTECODE", "1");
        python
    };
    let served = Served::start("clients-python").await;
    served.run(python(&["test_clients.py"])).await;
    for snippet in snippets("python") {
        served.prints_a_number(python(&["-c", &snippet])).await;
    }
    served.end().await;
}

#[tokio::test]
async fn the_go_client_works() {
    let served = Served::start("clients-go").await;
    served.run(Command::new(tools().await.join("go-client"))).await;
    let folder = TempDir::new().unwrap();
    for file in ["go.mod", "go.sum"] {
        std::fs::copy(suites("go").join(file), folder.path().join(file)).unwrap();
    }
    for snippet in snippets("go") {
        std::fs::write(folder.path().join("main.go"), snippet).unwrap();
        let mut go = Command::new("go");
        go.args(["run", "."]).current_dir(folder.path());
        served.prints_a_number(go).await;
    }
    served.end().await;
}

#[tokio::test]
async fn the_rust_client_works() {
    let served = Served::start("clients-rust").await;
    served.prints_a_number(Command::new(tools().await.join("rust-client"))).await;
    served.end().await;
    // It has these lines for its last check.
    let program = std::fs::read_to_string(suites("rust").join("src/main.rs")).unwrap();
    let program: Vec<_> = program.lines().map(str::trim).collect();
    for snippet in snippets("rust") {
        let lines: Vec<_> = snippet.lines().collect();
        assert!(program.windows(lines.len()).any(|window| window == lines), "{snippet}");
    }
}

/// An operator with a database for one suite.
struct Served {
    operator: Operator,
    database: Database,
    _namespace: Namespace,
}

impl Served {
    async fn start(name: &'static str) -> Self {
        let (namespace, place) = Namespace::with_place(name, ServedBy::Minio).await;
        namespace.apply(&Resource::database(DATABASE, &place, "clients.db")).await;
        let operator = Operator::start(&namespace).await;
        namespace.wait_ready(DATABASE).await;
        let database = namespace.connect(&operator, DATABASE).await;
        Self { operator, database, _namespace: namespace }
    }

    /// Runs a program that is told where the database is. What it printed.
    async fn run(&self, mut program: Command) -> String {
        let (url, token) = self.database.address();
        program.env("BUCKETHEAD_URL", url).env("BUCKETHEAD_TOKEN", token.unwrap_or_default());
        let done = program.env_remove("AWS_CA_BUNDLE").stdin(Stdio::null()).kill_on_drop(true).output().await.unwrap();
        let printed = String::from_utf8_lossy(&done.stdout).into_owned();
        assert!(done.status.success(), "{program:?}: {printed}{}", String::from_utf8_lossy(&done.stderr));
        printed
    }

    async fn prints_a_number(&self, program: Command) {
        let printed = self.run(program).await;
        assert!(printed.trim().parse::<u64>().is_ok(), "{printed}");
    }

    async fn end(self) {
        self.operator.end().await;
    }
}

/// The code of one language in the documentation, as a reader copies it.
fn snippets(language: &str) -> Vec<String> {
    let blocks = blocks(&document("docs/clients.md"));
    let found: Vec<_> = blocks.into_iter().filter(|block| block.language == language).map(|block| block.text).collect();
    assert!(!found.is_empty(), "no {language}");
    found
}

fn copy(from: &Path, extension: &str, to: &Path) {
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|found| found == extension) {
            std::fs::copy(&path, to.join(path.file_name().unwrap())).unwrap();
        }
    }
}

fn suites(language: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients").join(language)
}

async fn tools() -> PathBuf {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("testbench/tools.sh");
    let done = Command::new(script).arg("clients").stderr(Stdio::inherit()).output().await.unwrap();
    assert!(done.status.success());
    PathBuf::from(String::from_utf8(done.stdout).unwrap().trim())
}
