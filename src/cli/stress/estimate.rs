//! What a scenario will ask of a store, without running it.
//!
//! Invariant: it counts what the engine does (`tests/it/measure.rs` compares both), so it is a forecast and no price list's promise.

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
/// Opening the branch and releasing it: conditions are tried, the record is made, the chain begins.
const OPENING: (f64, f64) = (22.0, 9.0);
/// Deltas are put together each five minutes.
const COMPACTION_S: f64 = 300.0;
/// In `stream` and `sync` the snapshot follows each hour.
const SNAPSHOT_S: f64 = 3600.0;
/// A delta has a header and a trailer, and its pages compress as what is in them.
const DELTA_OVERHEAD: f64 = 400.0;

pub(super) fn bill(scenario: &Scenario, mode: Mode) -> Bill {
    let Scenario { duration_s, writes_per_second, row_size_bytes, flush_interval_s, keep_previous, .. } = scenario;
    let rows = duration_s * writes_per_second;
    let row = f64::from(*row_size_bytes) + ROW_OVERHEAD;
    let size = EMPTY + rows * row;
    // The last one comes with the end.
    let intervals = (duration_s / flush_interval_s).ceil().max(1.0);
    let deltas = match mode {
        Mode::Snapshot | Mode::Stream => intervals.min(rows.ceil().max(1.0)),
        // Each commit has one of its own unless others come at the same time.
        Mode::Sync => rows.ceil().max(1.0),
    };
    let snapshots = match mode {
        Mode::Snapshot => deltas,
        Mode::Stream | Mode::Sync => (duration_s / SNAPSHOT_S).floor() + 1.0,
    };
    // Snapshots grow, so on average one has half of the last.
    let (once_class_a, once_class_b) = OPENING;
    let (mut a, mut b) = OPENING;
    a += deltas + snapshots * (requests_of(size / 2.0) + 1.0);
    if *keep_previous {
        a += snapshots;
    }
    let compactions = (duration_s / COMPACTION_S).floor();
    a += compactions * 5.0;
    b += compactions * (COMPACTION_S / flush_interval_s).min(deltas);
    let kept = if *keep_previous { 2.0 } else { 1.0 };
    let stored = size * kept + rows * row + deltas * DELTA_OVERHEAD;
    let (class_a, class_b) = (a.ceil(), b.ceil());
    Bill { class_a, class_b, free: 0.0, once_class_a, once_class_b, stored_bytes: stored, seconds: *duration_s }
}

fn requests_of(bytes: f64) -> f64 {
    if bytes <= PART { 1.0 } else { (bytes / PART).ceil() + 2.0 }
}

/// Rows that it writes.
pub(super) fn rows(scenario: &Scenario) -> u64 {
    let rows = (scenario.duration_s * scenario.writes_per_second).floor();
    (0..u64::BITS).rev().fold(0, |found, bit| if real(found | 1 << bit) <= rows { found | 1 << bit } else { found })
}
