//! A large file, in and out.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use engine::{Database, Description};
use futures::TryStreamExt as _;

use crate::hosted::Hosted;
use crate::report::{Bound, Report, resident};

const FILE: u64 = 2 << 30;
const CHUNK: usize = 64 << 10;
/// What the first request of a kind takes once: connections, buffers, threads.
const FIRST: u64 = 64 << 20;
/// The most that memory may grow, in MB.
const GROWTH: f64 = 64.0;

/// The figures of a file that is larger than the memory which it may take.
pub async fn large_file(report: &mut Report) {
    let hosted = Hosted::start().await;
    let database = hosted.open("files").await;
    there_and_back(&database, FIRST, 1).await;
    let before = resident();
    let watch = Watch::start();
    let (put, get) = there_and_back(&database, FILE, 2).await;
    let grown = (watch.highest() - before) as f64 / 1e6;
    report.alone("memory growth, a file of 2 GB in and out", "MB", grown, Bound::AtMost(GROWTH));
    let rate = |took: Duration| FILE as f64 / 1e6 / took.as_secs_f64();
    report.alone("a file of 2 GB in: hashed, spooled, uploaded", "MB/s", rate(put), Bound::AtLeast(50.0));
    report.alone("a file of 2 GB out", "MB/s", rate(get), Bound::AtLeast(50.0));
}

/// Bytes that differ from file to file, as a client would send them.
fn chunk(seed: u8, at: u64) -> Bytes {
    let mut bytes = vec![seed; CHUNK];
    bytes[..8].copy_from_slice(&at.to_le_bytes());
    bytes.into()
}

#[allow(clippy::disallowed_methods, reason = "this is what a benchmark measures")]
async fn there_and_back(database: &Database, size: u64, seed: u8) -> (Duration, Duration) {
    let begun = Instant::now();
    let mut intake = database.files().intake();
    for at in 0..size / CHUNK as u64 {
        intake = intake.write(chunk(seed, at)).await.unwrap();
    }
    let content = intake.finish().await.unwrap();
    let (record, is_new) = database.files().put(&content, Description::default()).await.unwrap();
    assert!(is_new && record.size == size);
    drop(content);
    let put = begun.elapsed();

    let begun = Instant::now();
    let mut body = database.files().get(&record, None).await.unwrap().body;
    let mut arrived = 0;
    while let Some(bytes) = body.try_next().await.unwrap() {
        arrived += bytes.len() as u64;
    }
    assert_eq!(arrived, size);
    (put, begun.elapsed())
}

/// Looks at the memory of this process again and again.
struct Watch {
    highest: Arc<AtomicI64>,
    is_over: Arc<AtomicBool>,
    thread: std::thread::JoinHandle<()>,
}

impl Watch {
    #[allow(clippy::disallowed_methods, reason = "nothing tells when memory grows")]
    fn start() -> Self {
        let (highest, is_over) = (Arc::new(AtomicI64::new(0)), Arc::new(AtomicBool::new(false)));
        let (seen, over) = (Arc::clone(&highest), Arc::clone(&is_over));
        let thread = std::thread::spawn(move || {
            while !over.load(Ordering::Relaxed) {
                seen.fetch_max(resident(), Ordering::Relaxed);
                std::thread::sleep(Duration::from_millis(5));
            }
        });
        Self { highest, is_over, thread }
    }

    fn highest(self) -> i64 {
        self.is_over.store(true, Ordering::Relaxed);
        self.thread.join().unwrap();
        self.highest.load(Ordering::Relaxed)
    }
}
