//! Where the time goes: stacks that a timer of the processor's time samples, as `pprof` reads them.

use std::io::Write as _;
use std::time::Duration;

use anyhow::Context as _;
use flate2::Compression;
use flate2::write::GzEncoder;
use pprof::protos::Message as _;
use pprof::{ProfilerGuard, ProfilerGuardBuilder};

/// Samples in a second of processor time; prime, so that nothing periodic hides between them.
const FREQUENCY: i32 = 99;

/// A profile that is being taken.
pub(in crate::cli) struct Sampling(ProfilerGuard<'static>);

impl Sampling {
    /// One at a time in a process.
    pub(in crate::cli) fn begin() -> anyhow::Result<Self> {
        // Within these a stack cannot be walked safely.
        let builder = ProfilerGuardBuilder::default().frequency(FREQUENCY).blocklist(&["libc", "libgcc", "pthread", "vdso"]);
        Ok(Self(
            builder
                .build()
                .context("a profile cannot be taken: another one is under way, or TMPDIR names no folder for a temporary file")?,
        ))
    }

    /// Its bytes: `profile.pb.gz`.
    pub(in crate::cli) fn end(self) -> anyhow::Result<Vec<u8>> {
        let report = self.0.report().build().context("the profile cannot be put together")?;
        let profile = report.pprof().context("the profile cannot be written down")?;
        let mut zip = GzEncoder::new(Vec::new(), Compression::fast());
        zip.write_all(&profile.encode_to_vec())?;
        Ok(zip.finish()?)
    }
}

/// Takes one for so long.
pub(in crate::cli) async fn take(time: Duration) -> anyhow::Result<Vec<u8>> {
    let sampling = Sampling::begin()?;
    tokio::time::sleep(time).await;
    tokio::task::spawn_blocking(move || sampling.end()).await.context("the thread failed")?
}
