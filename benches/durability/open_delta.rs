//! What the engine holds for changes that are not in the bucket.

use std::time::Duration;

use engine::bucket::embedded::{Fault, FaultEffect};
use engine::{Database, Durability, OnMaxLag, Uploads};

use super::orders::{self, Numbers, ROWS_PER_PAGE};
use crate::hosted::Hosted;
use crate::report::{Bound, Report, median, percentile, resident};

const PAGE: f64 = 4096.0;
/// The delta of few is kept encoded, that of many is encoded anew at each try.
const FEW: i64 = 2000;
const MANY: i64 = 10_000;
/// Long enough to change all of them before the first delta is made.
const INTERVAL: Duration = Duration::from_secs(10);
/// In which some tries are made.
const WATCHED: Duration = Duration::from_secs(5);

pub async fn memory(report: &mut Report) {
    for (name, pages) in [("few", FEW), ("many", MANY)] {
        let hosted = Hosted::start().await;
        let durability = Durability { on_max_lag: OnMaxLag::Continue, ..orders::streamed(INTERVAL) };
        let database = orders::open(&hosted, name, durability).await;
        hosted.store.faults().add(Fault::new(FaultEffect::Refuse).key(|key| key.contains(".ltx/main/0000/")));
        let begun = Held::of(&database);
        change(&database, pages, 1).await;
        let open = Held::of(&database);
        while !matches!(database.facts().uploads, Uploads::Failing { .. }) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        change(&database, pages, 2).await;
        let mut refused = Vec::new();
        for _ in 0..WATCHED.as_millis() / 5 {
            tokio::time::sleep(Duration::from_millis(5)).await;
            refused.push(Held::of(&database));
        }
        hosted.store.faults().clear();
        let before = database.pin();
        change(&database, pages, 3).await;
        let changed = database.pin().differences(&before).len() as f64;
        drop(before);

        let by = |bytes: f64, changed: f64| bytes / (changed * PAGE);
        let most = Bound::AtMost(1.0);
        let what = format!("memory of an open delta of {pages} pages, by what has changed");
        report.alone(&format!("{what}: by the engine's account"), "×", by(open.pages - begun.pages, changed), most);
        report.alone(&format!("{what}: of the process"), "×", by(open.process - begun.process, changed), most);
        // Tries come and go: the middle is what is held between them.
        let what = format!("memory of a refused delta and an open one, {pages} pages each, by what has changed");
        let [pages, process] = [|held: &Held| held.pages, |held: &Held| held.process].map(|of| refused.iter().map(of).collect::<Vec<_>>());
        report.alone(&format!("{what}: by the engine's account"), "×", by(median(&pages) - begun.pages, 2.0 * changed), most);
        report.alone(&format!("{what}: of the process"), "×", by(median(&process) - begun.process, 2.0 * changed), most);
        let highest = by(percentile(&process, 100) - begun.process, 2.0 * changed);
        report.alone(&format!("{what}: of the process, while a try is under way, with the store's part"), "×", highest, None);
        orders::durable(&hosted, &database).await;
    }
}

/// Bytes.
struct Held {
    pages: f64,
    process: f64,
}

impl Held {
    fn of(database: &Database) -> Self {
        let held = database.facts().memory;
        Self { pages: (held.live + held.pinned + held.staged) as f64, process: resident() as f64 }
    }
}

/// Commits of one row, each on another page.
async fn change(database: &Database, pages: i64, seed: u64) {
    let mut numbers = Numbers(seed);
    for page in 0..pages {
        orders::update(database, page * ROWS_PER_PAGE + 1, &mut numbers).await;
    }
}
