//! What all databases share: threads for statements, memory for results and proofs, and when a statement is slow.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use controller::crd::ByteSize;
use engine::{DatabaseConfig, Error, GcOptions, Host, Limits, MemoryOptions, QueryLimits, Remembered, ResultMemory, SqlPool, State};

#[derive(Debug, clap::Args)]
#[group(skip)]
pub(super) struct Arguments {
    /// Log statements that run at least so long, with a `?` in the place of each value.
    #[arg(long, value_name = "MILLISECONDS", default_value_t = 1000, env = "BUCKETHEAD_SLOW_STATEMENT_MS")]
    slow_statement_ms: u64,
    /// Memory for results that are made before they are sent, of all requests together. Beyond it requests are told to come again.
    #[arg(long, value_name = "BYTES", default_value = "256Mi", env = "BUCKETHEAD_RESULT_MEMORY")]
    result_memory: ByteSize,
    /// The largest database that is proved restorable, by restoring it from its bucket beside what is served: so much memory it takes, once. By
    /// default 1Gi, or a quarter of what this process may take if that is less.
    #[arg(long, value_name = "BYTES", env = "BUCKETHEAD_VERIFY_MEMORY")]
    verify_memory: Option<ByteSize>,
    /// Memory for past states that are being read, of all databases together. Each is restored once and kept for 5 minutes after its last use, as
    /// long as there is room. By default 1Gi, or a quarter of what this process may take if that is less.
    #[arg(long, value_name = "BYTES", env = "BUCKETHEAD_PAST_MEMORY")]
    past_memory: Option<ByteSize>,
}

/// For proofs, and for past states.
const USUAL_MEMORY: u64 = 1 << 30;

/// What the container may take, where the kernel says so.
fn memory_limit() -> Option<u64> {
    let files = ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"];
    files.iter().find_map(|file| std::fs::read_to_string(file).ok()?.trim().parse().ok())
}

fn usual_memory() -> u64 {
    memory_limit().map_or(USUAL_MEMORY, |limit| (limit / 4).min(USUAL_MEMORY))
}

impl Arguments {
    pub(super) fn verify_memory(&self) -> u64 {
        self.verify_memory.as_ref().map_or_else(usual_memory, ByteSize::as_bytes)
    }

    pub(super) fn past_memory(&self) -> u64 {
        self.past_memory.as_ref().map_or_else(usual_memory, ByteSize::as_bytes)
    }

    pub(super) fn pool(&self) -> SqlPool {
        pool().with_results(ResultMemory::new(self.result_memory.as_bytes())).with_slow_after(Duration::from_millis(self.slow_statement_ms))
    }
}

/// SQLite computes and never waits for I/O, so more threads than cores would only take turns.
pub(super) fn pool() -> SqlPool {
    SqlPool::new(std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN))
}

/// Of a command that reads one database, however large: its user chose the machine.
pub(super) fn one_database() -> MemoryOptions {
    MemoryOptions { max_size: GcOptions::LARGEST_DATABASE, ..MemoryOptions::new(pool()) }
}

/// Of a database that nobody else asks: as large as there are any, with results and statements of such a length.
pub(super) fn limits(results: u64, statement_timeout: Duration) -> Limits {
    let query = QueryLimits { max_rows: u64::MAX, max_result_size: results, statement_timeout, ..QueryLimits::default() };
    Limits { max_size: GcOptions::LARGEST_DATABASE, query }
}

/// Takes the branch, and waits until it can be asked.
pub(super) async fn until_open(host: &Arc<Host>, config: DatabaseConfig) -> Result<(), Arc<Error>> {
    let name = config.name.clone();
    let mut changes = host.changes();
    host.open(config, Remembered::default());
    loop {
        match host.state(&name) {
            State::Open(_) => return Ok(()),
            State::Failed { error, .. } => return Err(error),
            State::Absent | State::Opening | State::Closing | State::Suspended { .. } => {}
        }
        // One that lags has missed something, so it looks again as well.
        changes.recv().await.ok();
    }
}
