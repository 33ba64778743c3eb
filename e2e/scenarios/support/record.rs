//! Runs programs, and writes down what they were asked, what they answered and how long that took.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use engine::{Clock as _, SystemClock};
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

/// Longer than any program is told to wait; one that needs it hangs.
const LIMIT: Duration = Duration::from_mins(5);

/// The record of one scenario. It stays beside what a failure saves, and is the first to read then.
pub(super) struct Record {
    file: File,
    begun: tokio::time::Instant,
}

impl Record {
    pub(super) fn begin(folder: &Path) -> Self {
        std::fs::create_dir_all(folder).unwrap();
        Self { file: File::create(folder.join("commands.txt")).unwrap(), begun: SystemClock.now() }
    }

    /// Since the scenario began.
    pub(super) fn elapsed(&self) -> Duration {
        SystemClock.now() - self.begun
    }

    /// Runs a program with something to read; `Ok` is what it printed, `Err` all that it said.
    pub(super) async fn run(&self, program: &str, arguments: &[&str], input: &str) -> Result<Vec<u8>, String> {
        let begun = self.elapsed();
        let mut child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap_or_else(|error| panic!("{program}: {error}; `make e2e` runs this where it is found"));
        // A program that does not read it has said why.
        child.stdin.take().unwrap().write_all(input.as_bytes()).await.ok();
        let output = tokio::time::timeout(LIMIT, child.wait_with_output()).await;
        let output = output.unwrap_or_else(|_| panic!("not within {LIMIT:?}: {program} {arguments:?}")).unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        let result =
            if output.status.success() { Ok(output.stdout) } else { Err(format!("{}{stderr}", String::from_utf8_lossy(&output.stdout))) };

        let answer = match &result {
            Ok(stdout) => std::str::from_utf8(stdout).map_or_else(|_| format!("{} bytes", stdout.len()), str::to_owned),
            Err(said) => format!("{}\n{said}", output.status),
        };
        let (at, took) = (begun.as_secs_f32(), self.elapsed().saturating_sub(begun).as_secs_f32());
        writeln!(&self.file, "[{at:.1} s, took {took:.1} s] {program} {}", arguments.join(" ")).unwrap();
        for line in [input, &answer].iter().flat_map(|text| text.lines()) {
            writeln!(&self.file, "    {line}").unwrap();
        }
        result
    }
}
