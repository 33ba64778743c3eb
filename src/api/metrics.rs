//! What is counted, and how it is shown.
//!
//! Owns: the names of the API's metrics and those of the databases. Labels are bounded: routes are templates, methods and statuses are
//! classes, and databases are as many as are declared.

mod asked;
mod examples;
mod routes;
mod work;

use std::fmt;
use std::sync::{Arc, Weak};

use axum::extract::{Extension, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use engine::{DatabaseName, Facts, Host, MemoryRoom, State as DatabaseState, Uploads, Usage};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

pub(crate) use asked::{Asked, OfDatabase};
pub use examples::register_examples;
pub(crate) use routes::Routes;
pub use work::Work;

use crate::access::Peer;
use crate::error::{Kind, Problem};
use crate::hrana::Streams;
use crate::openapi::{Family, Operation, Tag};
use crate::{App, Shared, access, guard, openapi, reply};

/// In seconds: from a point read to the statement timeout.
const LATENCIES: [f64; 12] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0, 5.0, 30.0];

/// Requests, by what they asked and how they ended.
pub(crate) struct Requests {
    pub(crate) routes: Routes,
    /// By database.
    pub(crate) asked: Arc<Asked>,
}

/// Adds everything of the API to `registry`.
pub(crate) fn register(registry: &mut Registry, host: &Arc<Host>, streams: &Arc<Streams>, work: Arc<Work>) -> Requests {
    register_build(registry);
    let requests = Requests { routes: Routes::default(), asked: Arc::default() };
    registry.register_collector(Box::new(requests.routes.clone()));
    registry.register_collector(Box::new(Databases {
        host: Arc::downgrade(host),
        streams: Arc::downgrade(streams),
        asked: Arc::clone(&requests.asked),
        work,
    }));
    requests
}

fn register_build(registry: &mut Registry) {
    registry.register("buckethead_build", "The program that runs", Info::new([("version", env!("CARGO_PKG_VERSION"))]));
}

/// `GET /metrics`.
pub(crate) async fn show(State(app): State<App>, peer: Option<Extension<Peer>>, headers: HeaderMap, uri: Uri) -> Result<Response, Problem> {
    reply::no_query(uri.query())?;
    let token = guard::bearer(&headers);
    if !app.guard.admits_to_metrics(token) {
        return Err(access::no_metrics(&app, token, peer.map(|Extension(peer)| peer)));
    }
    let out = text(&app);
    let content_type = HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");
    Ok(([(header::CONTENT_TYPE, content_type)], out).into_response())
}

/// What the document tells of it.
pub(crate) fn operations() -> Family {
    let show = Operation::of_server(Tag::Server, "get", "/metrics", "showMetrics", "Shows what is counted, as OpenMetrics.")
        .more("Where `dev` has a token, it is needed here.")
        .gives_as(StatusCode::OK, "application/openmetrics-text", openapi::text(), "All figures.")
        .fails(&[Kind::BadRequest, Kind::Unauthorized, Kind::TooManyFailures]);
    Family::of(vec![show])
}

/// All of it.
pub(crate) fn text(app: &Shared) -> String {
    let mut out = String::new();
    text::encode(&mut out, &app.registry).expect("a string takes every character");
    out
}

/// Asks at each scrape. Holds what it asks weakly: what shows the databases must not keep them open.
struct Databases {
    host: Weak<Host>,
    streams: Weak<Streams>,
    asked: Arc<Asked>,
    work: Arc<Work>,
}

impl fmt::Debug for Databases {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Databases")
    }
}

impl Collector for Databases {
    fn encode(&self, encoder: DescriptorEncoder) -> Result<(), fmt::Error> {
        let (Some(host), Some(streams)) = (self.host.upgrade(), self.streams.upgrade()) else { return Ok(()) };
        let mut names = host.names();
        names.sort();
        let states = names
            .into_iter()
            .map(|name| {
                let state = host.state(&name);
                (name, state)
            })
            .collect();
        let seen = Seen { states, streams: &streams, pasts: host.pasts(), room: host.memory_room() };
        seen.encode(&self.asked, &self.work, encoder)
    }
}

/// What a scrape sees.
struct Seen<'a> {
    states: Vec<(DatabaseName, DatabaseState)>,
    streams: &'a Streams,
    pasts: (usize, u64),
    room: MemoryRoom,
}

impl Seen<'_> {
    fn encode(&self, asked: &Asked, work: &Work, mut encoder: DescriptorEncoder) -> Result<(), fmt::Error> {
        let help = "Open streams of libSQL's clients.";
        let mut family = encoder.encode_descriptor("buckethead_database_streams", help, None, MetricType::Gauge)?;
        for (database, _) in self.states.iter().filter(|(_, state)| matches!(state, DatabaseState::Open(_))) {
            let labels = [("namespace", database.namespace()), ("name", database.name())];
            family.encode_family(&labels)?.encode_gauge(&real(self.streams.open_of(database) as u64))?;
        }
        let (pasts, bytes) = self.pasts;
        for (name, help, value) in [
            ("buckethead_past_states", "Past states that are kept for whoever reads them.", Some(pasts as u64)),
            ("buckethead_past_bytes", "What past states take that are kept or read.", Some(bytes)),
            (
                "buckethead_memory_taken_bytes",
                "What the databases that are in memory, or come into it, may grow to together.",
                Some(self.room.taken),
            ),
            (
                "buckethead_memory_budget_bytes",
                "What all databases of this process may take together; absent if that has no bound.",
                self.room.budget,
            ),
        ] {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            if let Some(value) = value {
                family.encode_gauge(&real(value))?;
            }
        }
        let names: Vec<_> = self.states.iter().map(|(name, _)| name).collect();
        asked.encode(&names, &mut encoder)?;
        work.encode(&names, &mut encoder)?;
        encode_databases(&self.states, encoder)
    }
}

/// One figure of every database; `None` where a database has none now.
struct Gauge {
    name: &'static str,
    help: &'static str,
    value: fn(&DatabaseState) -> Option<f64>,
}

const GAUGES: &[Gauge] = &[
    Gauge {
        name: "up",
        help: "1 while the database answers requests; its other figures exist only then.",
        value: |state| Some(flag(matches!(state, DatabaseState::Open(_)))),
    },
    Gauge {
        name: "size_bytes",
        help: "The size of the database as a file.",
        value: |state| of_open(state, |facts| Some(real(facts.size))),
    },
    Gauge {
        name: "live_bytes",
        help: "Memory of the pages of the newest version.",
        value: |state| of_open(state, |facts| Some(real(facts.memory.live))),
    },
    Gauge {
        name: "pinned_bytes",
        help: "Memory of pages that only older versions hold: open statements and transactions, snapshots under way.",
        value: |state| of_open(state, |facts| Some(real(facts.memory.pinned))),
    },
    Gauge {
        name: "staged_bytes",
        help: "Memory of pages that the transaction under way has written.",
        value: |state| of_open(state, |facts| Some(real(facts.memory.staged))),
    },
    Gauge {
        name: "oldest_pin_seconds",
        help: "How long ago the oldest version that somebody still reads was replaced; 0 while all read the newest.",
        value: |state| of_open(state, |facts| Some(facts.memory.oldest_pin.unwrap_or_default().as_secs_f64())),
    },
    Gauge {
        name: "slow_readers",
        help: "Statements that wait for whoever takes their rows; each holds a version of the database.",
        value: |state| of_open(state, |facts| Some(real(facts.slow_readers as u64))),
    },
    Gauge {
        name: "txid",
        help: "The number of the newest state in the bucket.",
        value: |state| of_open(state, |facts| Some(real(facts.txid))),
    },
    Gauge {
        name: "durable_timestamp_seconds",
        help: "Every commit before this moment is in the bucket.",
        value: |state| of_open(state, |facts| facts.durable_time.map(|time| time.as_duration().as_secs_f64())),
    },
    Gauge {
        name: "snapshot_timestamp_seconds",
        help: "When the newest snapshot was complete in the bucket.",
        value: |state| of_open(state, |facts| facts.last_snapshot.as_ref().map(|snapshot| snapshot.time.as_duration().as_secs_f64())),
    },
    Gauge {
        name: "lag_seconds",
        help: "How long the oldest commit has waited that is not in the bucket; 0 if there is none.",
        value: |state| of_open(state, |facts| Some(facts.lag.unwrap_or_default().as_secs_f64())),
    },
    Gauge {
        name: "durability_target_seconds",
        help: "How long a commit may wait until it is on its way to the bucket, as the resource asks for; 0 if replies wait for the bucket.",
        value: |state| of_open(state, |facts| Some(facts.interval.as_secs_f64())),
    },
    Gauge {
        name: "refuses_writes",
        help: "1 while writes are refused because the bucket is too far behind.",
        value: |state| of_open(state, |facts| Some(flag(facts.refuses_writes))),
    },
    Gauge {
        name: "pending",
        help: "1 while there are commits that are not in the bucket.",
        value: |state| of_open(state, |facts| Some(flag(facts.pending))),
    },
    Gauge {
        name: "failed_uploads",
        help: "How many tries of the upload that is under way failed so far.",
        value: |state| of_open(state, |facts| Some(failed_uploads(&facts.uploads))),
    },
    Gauge {
        name: "verified_timestamp_seconds",
        help: "When it was last tried to the end whether what is in the bucket can be restored.",
        value: |state| of_open(state, |facts| facts.verified.as_ref().map(|verified| verified.time.as_duration().as_secs_f64())),
    },
    Gauge {
        name: "verify_interval_seconds",
        help: "How often it is tried whether what is in the bucket can be restored; absent if it is never.",
        value: |state| of_open(state, |facts| (!facts.verify_interval.is_zero()).then_some(facts.verify_interval.as_secs_f64())),
    },
    Gauge {
        name: "restorable",
        help: "1 if what was in the bucket could be restored then.",
        value: |state| of_open(state, |facts| facts.verified.as_ref().map(|verified| flag(verified.failure.is_none()))),
    },
    Gauge {
        name: "damaged_files",
        help: "Damaged files in the bucket that the newest state still has to be led around.",
        value: |state| of_open(state, |facts| Some(real(damaged_files(facts)))),
    },
    Gauge {
        name: "epoch",
        help: "The number of our tenure over the branch.",
        value: |state| of_open(state, |facts| Some(real(facts.epoch.0))),
    },
];

fn encode_databases(databases: &[(DatabaseName, DatabaseState)], mut encoder: DescriptorEncoder) -> Result<(), fmt::Error> {
    for gauge in GAUGES {
        let name = format!("buckethead_database_{}", gauge.name);
        let mut family = encoder.encode_descriptor(&name, gauge.help, None, MetricType::Gauge)?;
        for (database, state) in databases {
            if let Some(value) = (gauge.value)(state) {
                let labels = [("namespace", database.namespace()), ("name", database.name())];
                family.encode_family(&labels)?.encode_gauge(&value)?;
            }
        }
    }
    for Sum { name, unit, help, value } in SUMS {
        let name = format!("buckethead_database_{name}");
        let mut family = encoder.encode_descriptor(&name, help, unit.as_ref(), MetricType::Counter)?;
        for (database, state) in databases {
            if let Some(value) = of_open(state, |facts| Some(value(&facts.usage))) {
                let labels = [("namespace", database.namespace()), ("name", database.name())];
                family.encode_family(&labels)?.encode_counter::<NoLabelSet, _, u64>(&value, None)?;
            }
        }
    }
    Ok(())
}

/// A sum over all requests since the database was opened.
struct Sum {
    name: &'static str,
    unit: Option<Unit>,
    help: &'static str,
    value: fn(&Usage) -> f64,
}

const SUMS: &[Sum] = &[
    Sum { name: "rows_returned", unit: None, help: "Rows that statements gave.", value: |usage| real(usage.rows) },
    Sum { name: "rows_changed", unit: None, help: "Rows that were inserted, changed and deleted.", value: |usage| real(usage.changed) },
    Sum {
        name: "statement",
        unit: Some(Unit::Seconds),
        help: "Time that SQLite worked on statements.",
        value: |usage| usage.ran.as_secs_f64(),
    },
    Sum {
        name: "queued",
        unit: Some(Unit::Seconds),
        help: "Time that requests waited for their turn to write, for a place among the readers, for a thread.",
        value: |usage| usage.queued.as_secs_f64(),
    },
    Sum {
        name: "slow_statements",
        unit: None,
        help: "Statements that ran for a second or longer; the log has them.",
        value: |usage| real(usage.slow),
    },
];

fn of_open(state: &DatabaseState, value: impl Fn(&Facts) -> Option<f64>) -> Option<f64> {
    if let DatabaseState::Open(facts) = state { value(facts) } else { None }
}

fn damaged_files(facts: &Facts) -> u64 {
    facts.damaged.as_ref().filter(|damaged| damaged.renewed.is_none()).map_or(0, |damaged| damaged.files.len() as u64)
}

fn failed_uploads(uploads: &Uploads) -> f64 {
    match uploads {
        Uploads::Fine => 0.0,
        Uploads::Failing { attempts, .. } => f64::from(*attempts),
    }
}

fn flag(is_so: bool) -> f64 {
    f64::from(u8::from(is_so))
}

/// Metrics are floats; sizes and counts stay exact up to 2^53.
#[allow(clippy::cast_precision_loss, reason = "argued above")]
fn real(value: u64) -> f64 {
    value as f64
}

fn status_label(status: StatusCode) -> &'static str {
    match status.as_u16() / 100 {
        1 => "1xx",
        2 => "2xx",
        3 => "3xx",
        4 => "4xx",
        _ => "5xx",
    }
}

#[cfg(test)]
mod tests;
