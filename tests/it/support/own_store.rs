//! A MinIO of one test's own, which it may end, kill, start again, and fill.

use std::sync::{Arc, Mutex};

use serde::Deserialize;

use super::bench::{Pipe, serve};
use super::store::{Account, Place};

pub(crate) struct OwnStore {
    pub(crate) place: Place,
    pipe: Arc<Mutex<Pipe>>,
}

#[derive(Deserialize)]
struct Facts {
    s3: Account,
}

impl OwnStore {
    /// With an empty bucket.
    pub(crate) async fn start(bucket: &str) -> Self {
        Self::of("minio", bucket).await
    }

    /// The same on a filesystem that is soon full.
    pub(crate) async fn start_small(bucket: &str) -> Self {
        Self::of("minio-small", bucket).await
    }

    async fn of(part: &'static str, bucket: &str) -> Self {
        let (facts, pipe) = tokio::task::spawn_blocking(move || serve::<Facts>(&[part])).await.unwrap();
        Self { place: Place::create_in(facts.s3, bucket).await, pipe: Arc::new(Mutex::new(pipe)) }
    }

    /// Asks it to end, and waits for that.
    pub(crate) async fn end(&self) {
        self.order("stop-minio").await;
    }

    pub(crate) async fn kill(&self) {
        self.order("kill-minio").await;
    }

    /// It answers again, at the address that it had, with what it had.
    pub(crate) async fn start_again(&self) {
        self.order("start-minio").await;
    }

    /// Somebody else takes all the space that is left.
    pub(crate) async fn fill(&self) {
        self.order("fill-minio").await;
    }

    /// And gives it back.
    pub(crate) async fn make_room(&self) {
        self.order("free-minio").await;
    }

    /// The test goes on meanwhile: its clients write while the store comes and goes.
    async fn order(&self, order: &'static str) {
        let pipe = Arc::clone(&self.pipe);
        tokio::task::spawn_blocking(move || pipe.lock().unwrap().order(order)).await.unwrap();
    }
}
