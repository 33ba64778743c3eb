//! How fast a state comes back that ends in many deltas.

use std::fs::File;
use std::sync::Arc;
use std::time::Duration;

use engine::bucket::Bucket;
use engine::{BranchName, Database, DatabaseConfig, DatabaseKey, MemoryOptions, PastState, Point, SqlPool, SystemClock, past_state};

use super::litestream::{Litestream, Replica};
use super::orders::{self, Numbers, ROWS};
use super::shelf::{Handle, Shelf};
use crate::hosted::Hosted;
use crate::report::{Bound, Report, median, now};

const DELTAS: i64 = 1000;
const ROUNDS: usize = 5;
const WITHOUT: &str = "without";
const WITH: &str = "with";
/// A plain SQLite file that nobody else wrote anything about.
const PLAIN: &str = "plain";

pub async fn with_deltas(report: &mut Report) {
    let hosted = Hosted::start().await;
    let each = orders::streamed(Duration::from_millis(1));
    for (name, deltas) in [(WITHOUT, 0), (WITH, DELTAS)] {
        let database = orders::open(&hosted, name, each).await;
        let mut numbers = Numbers(1);
        for _ in 0..deltas {
            orders::insert(&database, &mut numbers).await;
            orders::durable(&hosted, &database).await;
        }
        close(&hosted, name, database).await;
    }
    let bucket = hosted.bucket();
    // As they are compacted meanwhile: a restore asks for what the plan takes, not for each delta.
    let compactions = bucket.list(&format!("{WITH}.db.ltx/main/0001/"), None, 1000).await.unwrap();
    report.alone("compactions of level 1 over 1,000 deltas", "files", compactions.len() as f64, None);
    let plain = DatabaseKey::parse(&format!("{PLAIN}.db")).unwrap();
    let snapshot = |key: &DatabaseKey| engine::ObjectKey::new(key.as_str());
    let source = snapshot(&hosted.config(WITHOUT).location.key);
    let found = bucket.head(&source).await.unwrap().unwrap();
    bucket.copy(&source, Some(&found.etag), &snapshot(&plain)).await.unwrap();

    let shelf = Shelf::new(Arc::new(SystemClock));
    for name in [PLAIN, WITH] {
        shelf.copy(&*bucket, &format!("{name}.db")).await;
    }
    let shelf: Arc<dyn Bucket> = Arc::new(Handle(shelf));
    let mut by_itself = [Vec::new(), Vec::new()];
    let (mut opened, mut read, mut written) = ([Vec::new(), Vec::new()], [Vec::new(), Vec::new()], Vec::new());
    for _ in 0..ROUNDS {
        for (at, (name, rows)) in [(WITHOUT, ROWS), (WITH, ROWS + DELTAS)].into_iter().enumerate() {
            let begun = now();
            let database = hosted.open_as(DatabaseConfig { durability: each, ..hosted.config(name) }).await;
            opened[at].push(begun.elapsed().as_secs_f64() * 1e3);
            assert_eq!(orders::count(&database).await, rows);
            close(&hosted, name, database).await;
        }
        for (at, name) in [PLAIN, WITH].into_iter().enumerate() {
            for (bucket, samples) in [(&bucket, &mut read), (&shelf, &mut by_itself)] {
                let begun = now();
                let state = newest(&hosted, bucket, name).await;
                samples[at].push(begun.elapsed().as_secs_f64() * 1e3);
                assert!(state.memory.size() > 53_000_000);
            }
        }
        let begun = now();
        let state = newest(&hosted, &bucket, WITH).await;
        let path = hosted.folder().join("ours.db");
        tokio::task::block_in_place(|| {
            let mut file = File::create(path).unwrap();
            std::io::copy(&mut state.memory.pin().image(), &mut file).unwrap();
            file.sync_all().unwrap();
        });
        written.push(begun.elapsed().as_secs_f64() * 1e3);
    }
    let most = Some(Bound::AtMost(2.0));
    report.compare("open 54 MB and 1,000 deltas", "ms", median(&opened[1]), ("without the deltas", median(&opened[0])), most);
    report.compare("restore 54 MB and 1,000 deltas", "ms", median(&read[1]), ("a plain file", median(&read[0])), most);
    let name = "the same without requests, from a bucket in memory";
    report.compare(name, "ms", median(&by_itself[1]), ("a plain file", median(&by_itself[0])), None);
    let Some(litestream) = Litestream::installed() else { return };
    let replica = Replica::of(&hosted, &hosted.folder().join("name"), &format!("{WITH}.db.ltx/main"), &hosted.store.endpoint());
    let mut theirs = Vec::new();
    for round in 0..ROUNDS {
        let begun = now();
        let to = hosted.folder().join(format!("theirs-{round}.db"));
        tokio::task::block_in_place(|| litestream.restore(&replica, &to));
        theirs.push(begun.elapsed().as_secs_f64() * 1e3);
    }
    report.compare("restore 54 MB and 1,000 deltas into a file", "ms", median(&written), ("litestream restore", median(&theirs)), None);
}

async fn newest(hosted: &Hosted, bucket: &Arc<dyn Bucket>, name: &str) -> PastState {
    let options = MemoryOptions { max_size: 1 << 30, ..MemoryOptions::new(SqlPool::new(2.try_into().unwrap())) };
    let key = hosted.config(name).location.key;
    past_state(Arc::clone(bucket), key, &BranchName::main(), Point::Newest, options).await.unwrap()
}

async fn close(hosted: &Hosted, name: &str, database: Database) {
    drop(database);
    hosted.host.close(&hosted.config(name).name).await.unwrap();
}
