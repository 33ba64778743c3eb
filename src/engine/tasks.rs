//! Tasks that belong to whoever holds their handle, and threads for work that may block.

use std::fmt;
use std::sync::Arc;

use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinError;
use tokio_util::task::AbortOnDropHandle;
use tracing::Instrument as _;

/// Runs beside its owner, who awaits it, or ends it by dropping the handle. What it logs belongs to what its owner does now.
#[allow(clippy::disallowed_methods, reason = "nothing outlives the handle, and nothing is left that nobody awaits")]
pub fn spawn_owned<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> AbortOnDropHandle<T> {
    AbortOnDropHandle::new(tokio::spawn(work.in_current_span()))
}

/// How urgent work is that computes for long.
#[derive(Debug, Clone, Default)]
pub enum Pace {
    /// Where everything else does.
    #[default]
    Usual,
    /// On a thread of its own, behind whatever else the machine has to do.
    Patient(Patient),
}

impl Pace {
    pub(crate) async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, JoinError> {
        match self {
            Self::Usual => tokio::task::spawn_blocking(work).await,
            Self::Patient(patient) => patient.0.spawn_blocking(work).await,
        }
    }
}

/// One thread of the lowest priority, which is there while it has work to do. Clones are the same.
#[derive(Clone)]
pub struct Patient(Arc<InBackground>);

struct InBackground(Option<Runtime>);

impl Patient {
    /// Nothing if the system makes no such thread.
    pub(crate) fn new() -> Option<Self> {
        // Of a thread that waits for nothing but work, only the pool is used.
        let runtime = Builder::new_current_thread().max_blocking_threads(1).thread_name("patient").on_thread_start(step_back).build();
        Some(Self(Arc::new(InBackground(Some(runtime.ok()?)))))
    }
}

/// Linux knows a priority of each thread.
fn step_back() {
    const LOWEST: i32 = 19;
    if let Err(error) = rustix::process::setpriority_process(None, LOWEST) {
        tracing::debug!(%error, "a thread keeps its priority");
    }
}

impl std::ops::Deref for InBackground {
    type Target = Runtime;

    fn deref(&self) -> &Runtime {
        self.0.as_ref().expect("it is taken by the drop alone")
    }
}

impl Drop for InBackground {
    fn drop(&mut self) {
        // Whoever drops it may be a task, which must not wait.
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

impl fmt::Debug for Patient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Patient")
    }
}
