//! What databases ask of the store that nobody writes to.
//!
//! tokio's clock stands still, and goes on by itself to the next timer once nobody has anything to do. So whoever set a timer is woken by
//! it, and an hour in which nobody asks anything is an hour in which nobody can.

use std::sync::Arc;
use std::time::Duration;

use engine::bucket::s3::{Credentials, StoreConfig};
use engine::{
    BucketName, Clock, Database, Durability, Host, HostOptions, Params, Remembered, Request, Spool, SqlPool, State, Statement, WallTime,
};
use tempfile::TempDir;
use tokio::time::Instant;

use super::shelf::{Shelf, Source};
use crate::hosted;
use crate::report::{Bound, Report};

const DATABASES: usize = 100;
/// Of each, a second apart.
const COMMITS: usize = 5;
/// The day after which a last whole database is made and old files go, and some more.
const TO_REST: Duration = Duration::from_hours(50);
const HOURS: u32 = 1000;

/// Both clocks follow tokio's.
#[derive(Debug)]
struct Hours {
    begun: Instant,
    wall: WallTime,
}

impl Clock for Hours {
    fn wall(&self) -> WallTime {
        self.wall + self.begun.elapsed()
    }

    #[allow(clippy::disallowed_methods, reason = "this is where time comes from here")]
    fn now(&self) -> Instant {
        Instant::now()
    }
}

pub fn requests(report: &mut Report) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let begun = engine::SystemClock;
        let clock = Arc::new(Hours { begun: begun.now(), wall: begun.wall() });
        let shelf = Shelf::new(Arc::clone(&clock) as Arc<dyn Clock>);
        let folder = TempDir::new().unwrap();
        let host = Host::new(HostOptions {
            parallel_restores: 2,
            clock,
            ..HostOptions::new(
                "bench".to_owned(),
                Arc::new(Source(Arc::clone(&shelf))),
                SqlPool::new(2.try_into().unwrap()),
                Spool::new(folder.path().to_owned(), 0),
            )
        });
        let mut databases = Vec::new();
        for number in 0..DATABASES {
            databases.push(open(&host, &format!("idle-{number}")).await);
        }
        let (mut after, each) = (Vec::new(), |asked: u64| asked as f64 / DATABASES as f64);
        let opened = shelf.asked();
        for number in 0..COMMITS {
            for database in &databases {
                write(database, number).await;
            }
            tokio::time::sleep(Duration::from_secs(2)).await;
        }
        assert!(databases.iter().all(|database| !database.facts().pending));
        for rest in [Duration::ZERO, TO_REST, Duration::from_hours(1) * HOURS] {
            tokio::time::sleep(rest).await;
            after.push(shelf.asked());
        }
        report.alone("requests of 5 commits, a second apart, for each database", "requests", each(after[0] - opened), None);
        report.alone("requests until it is at rest: snapshot, compactions, a whole database", "requests", each(after[1] - after[0]), None);
        let idle = each(after[2] - after[1]) / f64::from(HOURS);
        report.alone("requests of an idle database in an hour", "requests", idle, Bound::AtMost(0.0));

        write(&databases[0], COMMITS).await;
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert!(shelf.asked() > after[2], "the count does move where there is something to save");
    });
}

async fn open(host: &Arc<Host>, name: &str) -> Database {
    let credentials = Credentials { access_key_id: String::new(), secret_access_key: String::new(), session_token: None };
    let store =
        StoreConfig { endpoint: None, region: "auto".to_owned(), credentials: credentials.into(), ca_bundle: None, kms_key_id: None };
    let bucket = BucketName::parse("bench").unwrap();
    // Proofs ask of their own accord.
    let durability = Durability { verify_interval: Duration::ZERO, ..Durability::default() };
    let config = engine::DatabaseConfig { durability, ..hosted::config(name, store, &bucket) };
    let (name, mut changes) = (config.name.clone(), host.changes());
    host.open(config, Remembered::default());
    while matches!(host.state(&name), State::Opening) {
        changes.recv().await.ok();
    }
    host.get(&name).unwrap().database
}

async fn write(database: &Database, number: usize) {
    let sql = format!("CREATE TABLE written_{number}(x); INSERT INTO written_{number} VALUES (1)");
    let statements = vec![Statement { sql, params: Params::None }];
    database.write(Request { statements, ..Request::default() }).await.unwrap();
}
