//! What durability costs, and how fast a state comes back: `make bench AREA=durability`.
//!
//! The store is the one of `dev`, reached by HTTP. It runs in this process and writes to this disk, so what it takes of the machine counts
//! against us. Where modes are compared they take turns, so that a busy machine hurts them alike.
#![allow(clippy::print_stdout, clippy::unwrap_used, clippy::cast_precision_loss, missing_docs, unreachable_pub, reason = "a benchmark")]

mod durability {
    pub mod commits;
    pub mod idle;
    pub mod litestream;
    pub mod open_delta;
    pub mod orders;
    pub mod restores;
    pub mod shelf;
    pub mod sizes;
    pub mod verify;
    pub mod wire;
}
#[allow(dead_code, reason = "all areas share it, and none needs all of it")]
mod hosted;
#[allow(dead_code, reason = "all areas share it, and none needs all of it")]
mod report;

use durability::{commits, idle, open_delta, restores, sizes, verify};
use report::Report;

fn main() {
    let mut report = Report::new();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        // First, because memory that somebody has given back hides growth.
        open_delta::memory(&mut report).await;
        sizes::one_row(&mut report).await;
        commits::beside_snapshot_mode(&mut report).await;
        commits::lag(&mut report).await;
        restores::with_deltas(&mut report).await;
        verify::beside_requests(&mut report).await;
    });
    drop(runtime);
    idle::requests(&mut report);
    report.write("durability").unwrap();
}
