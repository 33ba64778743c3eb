//! What a scenario will ask of a store, without running it.
//!
//! A forecast by what the engine does, of rows that are only added and that no compression makes smaller; `tests/it/measure.rs` holds it to within a
//! quarter of what runs ask.

use super::load::Mode;
use super::prices::Bill;
use super::scenario::Scenario;
use crate::cli::measure::real;

/// What a row takes besides its payload: its header, its number, its time, and its part of the page.
const ROW_OVERHEAD: f64 = 24.0;
/// Tables that are there from the start.
const EMPTY: f64 = 49_152.0;
/// An object goes in one request up to here, and in parts of this size above.
const PART: f64 = 8_388_608.0;
/// Opening the branch and releasing it, of both classes: conditions are tried, the record is made, the chain begins.
const OPENING: (f64, f64) = (22.0, 9.0);
/// Deltas are put together each five minutes, or each hundred, whichever comes first; what came of that each hour.
const COMPACTION_S: f64 = 300.0;
const COMPACTION_DELTAS: f64 = 100.0;
const HOUR_S: f64 = 3600.0;
/// In `stream` and `sync` the snapshot follows each hour, and when the deltas since the last have half the size of the database.
const SNAPSHOT_GROWTH: f64 = 1.5;
/// A whole database is put among the deltas when these have its size.
const WHOLE_GROWTH: f64 = 2.0;
/// A delta has a header and a trailer, and the pages around the rows.
const DELTA_OVERHEAD: f64 = 400.0;
const PAGE: f64 = 4096.0;

pub(super) fn bill(scenario: &Scenario, mode: Mode) -> Bill {
    let Scenario { duration_s, writes_per_second, row_size_bytes, flush_interval_s, keep_previous, .. } = scenario;
    let rows = (duration_s * writes_per_second).max(1.0);
    let row = f64::from(*row_size_bytes) + ROW_OVERHEAD;
    let size = EMPTY + rows * row;
    // The last one comes with the end.
    let intervals = (duration_s / flush_interval_s).ceil().max(1.0);
    let deltas = match mode {
        Mode::Snapshot | Mode::Stream => intervals.min(rows.ceil()),
        // Each commit has one of its own unless others come at the same time.
        Mode::Sync => rows.ceil(),
    };
    let delta = rows / deltas * row + PAGE + DELTA_OVERHEAD;
    // Besides each upload the word in the head record, and the copy of the one before.
    let beside_snapshot = 1.0 + if *keep_previous { 1.0 } else { 0.0 };
    let snapshots = match mode {
        // On average one has half of the last.
        Mode::Snapshot => deltas * (requests_of(size / 2.0) + beside_snapshot),
        Mode::Stream | Mode::Sync => {
            let (count, requests) = growths(size, deltas, SNAPSHOT_GROWTH);
            requests + count * beside_snapshot + (duration_s / HOUR_S).floor() * (requests_of(size) + beside_snapshot)
        }
    };
    let compactions = (duration_s / COMPACTION_S).max(deltas / COMPACTION_DELTAS).floor();
    let gathered = deltas / compactions.max(1.0) * delta;
    let hours = (duration_s / HOUR_S).floor();
    let (wholes, of_wholes) = growths(size, deltas, WHOLE_GROWTH);
    let a = deltas * requests_of(delta)
        + snapshots
        + compactions * requests_of(gathered)
        + hours * requests_of(gathered * HOUR_S / COMPACTION_S)
        + of_wholes;
    // The last snapshot comes with the end, in the modes in which that is not its time.
    let last = if mode == Mode::Snapshot { 0.0 } else { requests_of(size) + beside_snapshot };
    let (once_class_a, once_class_b) = (OPENING.0 + last, OPENING.1);
    let kept = if *keep_previous { 2.0 } else { 1.0 };
    // The past of a day stays: the deltas, and once more as compactions and whole databases.
    let past = deltas * delta * if compactions > 0.0 { 2.0 } else { 1.0 } + if wholes > 0.0 { size } else { 0.0 };
    Bill {
        class_a: (once_class_a + a).ceil(),
        class_b: once_class_b,
        free: 0.0,
        once_class_a,
        once_class_b,
        stored_bytes: size * kept + past,
        seconds: *duration_s,
    }
}

fn requests_of(bytes: f64) -> f64 {
    if bytes <= PART { 1.0 } else { (bytes / PART).ceil() + 2.0 }
}

/// How often a database that grows from nothing, by so many deltas, has grown by this factor since the last time, and in how many requests it goes then.
fn growths(size: f64, deltas: f64, factor: f64) -> (f64, f64) {
    let (mut at, mut count, mut requests) = (size / factor, 0.0, 0.0);
    while at > EMPTY && count < deltas {
        count += 1.0;
        requests += requests_of(at);
        at /= factor;
    }
    (count, requests)
}

/// Rows that it writes.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a scenario has at most 2.6 · 10^12, and none below zero")]
pub(super) fn rows(scenario: &Scenario) -> u64 {
    let rows = (scenario.duration_s * scenario.writes_per_second).floor() as u64;
    debug_assert!(real(rows) <= scenario.duration_s * scenario.writes_per_second);
    rows
}
