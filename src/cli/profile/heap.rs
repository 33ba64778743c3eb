//! Where the memory is: one of about 512 KiB of allocations is sampled while that is on, as `pprof` reads it.
//!
//! Pages of databases are in it as others are; what SQLite allocates by itself is not.

use std::time::Duration;

use anyhow::Context as _;
use jemalloc_pprof::{JemallocProfCtl, PROF_CTL};
use tokio::sync::MutexGuard;

/// A profile that is being taken.
pub(in crate::cli) struct Sampling(MutexGuard<'static, JemallocProfCtl>);

impl Sampling {
    /// One at a time in a process.
    pub(in crate::cli) fn begin() -> anyhow::Result<Self> {
        let control = PROF_CTL.as_ref().context("this build's allocator takes no profiles")?;
        let mut control = control.try_lock().ok().context("another profile of the memory is under way")?;
        control.activate().context("a profile of the memory cannot be begun")?;
        Ok(Self(control))
    }

    /// Its bytes, `heap.pb.gz`: what was allocated since it began and is still there.
    pub(in crate::cli) fn end(mut self) -> anyhow::Result<Vec<u8>> {
        self.0.dump_pprof().context("the profile cannot be put together; it takes a temporary file, for which TMPDIR names a folder")
    }
}

/// Also where whoever asked has gone.
impl Drop for Sampling {
    fn drop(&mut self) {
        if let Err(error) = self.0.deactivate() {
            tracing::warn!(%error, "a profile of the memory goes on");
        }
    }
}

/// Takes one for so long.
pub(in crate::cli) async fn take(time: Duration) -> anyhow::Result<Vec<u8>> {
    let sampling = Sampling::begin()?;
    tokio::time::sleep(time).await;
    tokio::task::spawn_blocking(move || sampling.end()).await.context("the thread failed")?
}
