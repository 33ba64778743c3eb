//! Each metric of the API with a series, of which the page about metrics is made.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use axum::http::{Method, StatusCode};
use engine::{
    BranchName, DatabaseName, Epoch, Etag, Facts, FlushEnd, FlushKind, FlushOf, Hooks as _, MemoryRoom, MemoryUse, Origin, SnapshotFacts,
    State as DatabaseState, StoreRequest, SystemClock, Uploads, Usage, Verified, WallTime,
};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::registry::Registry;

use super::{Asked, Routes, Seen, Work, register_build};
use crate::access::{Failures, Reason};
use crate::forward::outcomes::{Outcome, Outcomes};
use crate::hrana::Streams;

/// Adds each metric of the API to `registry`, as if one database had been asked once.
pub fn register_examples(registry: &mut Registry) {
    register_build(registry);
    let routes = Routes::default();
    routes.observe("/", &Method::GET, StatusCode::OK, Duration::ZERO);
    registry.register_collector(Box::new(routes));
    Outcomes::register(registry).count(Outcome::Forwarded);
    Failures::register(registry, Arc::new(SystemClock)).count(Reason::Missing);
    let database = DatabaseName::new("apps", "orders");
    let (asked, work) = (Asked::default(), Work::default());
    asked.of(&database).observe(StatusCode::OK, Duration::ZERO, Duration::ZERO);
    let flush = FlushOf { database: database.clone(), branch: BranchName::main(), kind: FlushKind::Delta };
    work.flush_started(&flush);
    work.flush_ended(&flush, &FlushEnd::Completed { txid: 4, bytes: 4096, took: Duration::ZERO });
    work.store_request(&StoreRequest { operation: "PutObject".into(), status: Some(200), sent: 4096, received: 0, took: Duration::ZERO });
    let streams = Streams::new(Arc::new(SystemClock));
    registry.register_collector(Box::new(Example { database, asked, work, streams }));
}

struct Example {
    database: DatabaseName,
    asked: Asked,
    work: Work,
    streams: Streams,
}

impl fmt::Debug for Example {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Example")
    }
}

impl Collector for Example {
    fn encode(&self, encoder: DescriptorEncoder) -> fmt::Result {
        let seen = Seen {
            states: vec![(self.database.clone(), DatabaseState::Open(facts()))],
            streams: &self.streams,
            pasts: (0, 0),
            room: MemoryRoom { taken: 0, budget: Some(0) },
        };
        seen.encode(&self.asked, &self.work, encoder)
    }
}

/// Of a database of which everything is known.
pub(super) fn facts() -> Facts {
    let time = |seconds| WallTime::from_second(seconds).expect("a time of this century");
    Facts {
        size: 12_288,
        memory: MemoryUse { live: 13_056, pinned: 4352, staged: 0, oldest_pin: Some(Duration::from_millis(2500)) },
        txid: 4,
        branch: BranchName::main(),
        by_hand: false,
        unconditional: None,
        epoch: Epoch(2),
        origin: Origin::Empty,
        durable_time: Some(time(1_795_420_800)),
        lag: None,
        interval: Duration::from_secs(90),
        refuses_writes: false,
        pending: true,
        last_snapshot: Some(SnapshotFacts { time: time(1_795_420_799), txid: 3, size: 12_288, duration: None, etag: Etag::new("e") }),
        uploads: Uploads::Fine,
        outside: None,
        damaged: None,
        verified: Some(Verified { time: time(1_795_420_700), txid: 2, past: None, took: Duration::from_secs(1), failure: None }),
        unverified: None,
        verify_interval: Duration::from_hours(36),
        slow_readers: 2,
        usage: Usage { rows: 7, changed: 3, queued: Duration::from_millis(250), ran: Duration::from_millis(1500), slow: 1 },
    }
}
