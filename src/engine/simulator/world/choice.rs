//! What processes do next.

use std::time::Duration;

use rand::Rng as _;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;

use super::process::{Besides, Op};
use super::{World, by_snapshots};
use crate::config::{Durability, OnMaxLag};

/// Branches that may be made, besides `main`.
const NAMES: usize = 4;
/// How many contents there are. Few, so that what one process puts another forgets.
const FILES: u8 = 2;

const MINUTE: i64 = 60;

/// How long each state can be had, and when commits go to the bucket.
pub(super) fn durability(random: &mut StdRng) -> Durability {
    let retention = [Duration::ZERO, Duration::ZERO, Duration::from_mins(30), Duration::from_hours(48)];
    let usual = if random.random_bool(0.8) { Durability::default() } else { by_snapshots() };
    let retention = *retention.choose(random).expect("there are some");
    Durability { retention: Some(retention), on_max_lag: OnMaxLag::Continue, verify_interval: Duration::ZERO, ..usual }
}

/// How long it takes until something happens by itself, each with its weight.
const TIMES: [(u32, Duration); 5] = [
    (4, Duration::from_millis(500)),
    (6, Duration::from_secs(2)),
    (5, Duration::from_mins(6)),
    (2, Duration::from_mins(62)),
    (2, Duration::from_hours(25)),
];

/// From one that a delta waits to one after which a database is made whole. While somebody stands still mostly a long one.
pub(super) fn time(random: &mut StdRng, somebody_stands_still: bool) -> Duration {
    if somebody_stands_still && random.random_bool(0.4) {
        return Duration::from_hours(25);
    }
    TIMES.choose_weighted(random, |(weight, _)| *weight).expect("there are some").1
}

/// By how many seconds somebody sets a clock.
pub(super) fn jump(random: &mut StdRng) -> i64 {
    *[-120 * MINUTE, -MINUTE, -1, 1, MINUTE, 120 * MINUTE].choose(random).expect("there are some")
}

fn name(random: &mut StdRng) -> String {
    match random.random_range(0..=NAMES) {
        0 => "main".to_owned(),
        number => format!("b{number}"),
    }
}

impl World {
    pub(super) fn choose(&mut self, slot: usize) -> Op {
        let Some(serves) = self.processes[slot].serves.clone() else {
            let is_main = self.random.random_bool(if self.paused.is_some() { 0.95 } else { 0.7 });
            let branch = if is_main { "main".to_owned() } else { name(&mut self.random) };
            return if self.of_files && self.random.random_bool(0.3) { Op::Gc } else { Op::Open { branch } };
        };
        if self.of_files && self.random.random_bool(0.9) {
            let file = if self.random.random_bool(0.7) { 0 } else { self.random.random_range(1..FILES) };
            // Both at once is what can go wrong.
            let is_gc_at_work = self.processes.iter().any(|process| matches!(process.busy, Some(Op::Gc)));
            return match self.random.random_range(if is_gc_at_work { 0..40 } else { 0..100 }) {
                0..30 => Op::Put { file },
                30..45 => Op::Remove { file },
                45..70 => Op::Flush { branch: serves },
                _ => Op::Gc,
            };
        }
        // What somebody else left half done is taken over, and not left to a third.
        let most = if self.paused.is_some() { 74 } else { 100 };
        match self.random.random_range(0..most) {
            0..45 => {
                self.next_row += 1;
                let besides = match self.random.random_range(0..10) {
                    _ if self.of_files => Besides::Nothing,
                    0 | 1 => Besides::Grow,
                    2 => Besides::Empty,
                    3 | 4 => Besides::Holes,
                    5 => Besides::Shrink,
                    _ => Besides::Nothing,
                };
                Op::Write { branch: serves, row: self.next_row, besides }
            }
            45..62 => Op::Flush { branch: serves },
            62..74 => {
                let from = if self.random.random_bool(0.6) { serves } else { name(&mut self.random) };
                let known = if self.random.random_bool(0.4) { self.model.states_of(&from) } else { Vec::new() };
                Op::Create { name: name(&mut self.random), at: known.choose(&mut self.random).copied(), from }
            }
            74..80 => Op::Switch { from: serves, to: name(&mut self.random) },
            80..90 => {
                let to = if self.random.random_bool(0.6) { serves } else { name(&mut self.random) };
                Op::Overwrite { to, from: name(&mut self.random) }
            }
            90..95 => Op::Delete { name: name(&mut self.random) },
            _ => Op::Close,
        }
    }
}
