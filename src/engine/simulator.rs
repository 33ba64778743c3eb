//! Processes that share a bucket, a bucket that misbehaves, and a model that knows what must hold.
//!
//! Everything is decided by a seed: which process does what, in which order requests reach the bucket, which answers are lost, which
//! requests arrive late or never, who is killed between which two requests, who stands still for days and goes on, when a clock is set. A
//! seed that fails is printed, and does the same again.
//! Owns: the model of what was promised. Does not own: the bucket's semantics (`simulator/store.rs`), nor the order of events
//! (`simulator/world.rs`).
//!
//! What must hold, whatever happens:
//! - where replies mean that the bucket has it, what was written and what anybody may read is there;
//! - a flush that was acknowledged, and a row whose delta was called durable, is in whatever is opened later, and at each moment in what
//!   the files in the bucket make, unless the branch was overwritten or deleted since;
//! - no two tenures call the same slot theirs, and no number of a state stands for two contents;
//! - a state that the horizon spares can be had, and is what it was; the plain file is the state that the record names;
//! - a branch that is listed can be opened and holds at least what its source held when it was asked for;
//! - a branch whose deletion was acknowledged is gone;
//! - an overwrite happens whole or not at all;
//! - nobody finds a state of somebody else where nobody else wrote;
//! - a tenure ends by a higher epoch or by itself, never by what it wrote itself;
//! - where processes have leases, at most one of those whose lease has not ended serves a branch;
//! - a file that the newest state of a branch names has its content, and in the end a content that none names is gone.

mod leases;
mod store;
mod time;
mod world;

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::flaws::Flaw;
use world::{Told, World};

/// How many seeds, from where; a deep run sets another range.
fn seeds(usual: Range<u64>) -> Range<u64> {
    let Ok(asked) = std::env::var("BUCKETHEAD_SIMULATOR_SEEDS") else { return usual };
    let (from, to) = asked.split_once("..").expect("BUCKETHEAD_SIMULATOR_SEEDS is FROM..TO");
    from.parse().expect("a number")..to.parse().expect("a number")
}

fn run(seed: u64, flaw: Flaw) -> Told {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().expect("a runtime");
    let told = runtime.block_on(async { World::new(seed, flaw).run().await });
    // Killed processes still wait for answers.
    runtime.shutdown_background();
    told
}

/// What many runs were: the lowest seed that breaks a promise, and which; how often what happened.
struct Summary {
    failure: Option<(u64, String)>,
    counts: BTreeMap<&'static str, u64>,
}

/// Runs seeds on all cores until one fails.
fn run_all(seeds: Range<u64>, flaw: Flaw) -> Summary {
    let threads = u64::try_from(std::thread::available_parallelism().map_or(2, Into::into)).expect("few cores");
    let has_failed = Arc::new(AtomicBool::new(false));
    let begin = |worker| {
        let (seeds, has_failed) = (seeds.clone(), Arc::clone(&has_failed));
        std::thread::spawn(move || {
            let mut summary = Summary { failure: None, counts: BTreeMap::new() };
            // Two that follow each other are of two kinds.
            for seed in seeds.filter(|seed| seed / 2 % threads == worker).take_while(|_| !has_failed.load(Ordering::Relaxed)) {
                let Told { outcome, counts, history: _ } = run(seed, flaw);
                summary.count(counts);
                if let Err(why) = outcome {
                    has_failed.store(true, Ordering::Relaxed);
                    summary.failure = Some((seed, why));
                }
            }
            summary
        })
    };
    let workers: Vec<_> = (0..threads).map(begin).collect();
    let mut all = Summary { failure: None, counts: BTreeMap::new() };
    for worker in workers {
        let Summary { failure, counts } = worker.join().expect("a world does not panic");
        all.failure = [all.failure, failure].into_iter().flatten().min();
        all.count(counts);
    }
    all
}

impl Summary {
    fn count(&mut self, counts: BTreeMap<&'static str, u64>) {
        for (what, count) in counts {
            *self.counts.entry(what).or_default() += count;
        }
    }
}

#[test]
fn no_promise_is_broken_under_any_seed() {
    let seeds = seeds(0..1000);
    let Summary { failure, counts } = run_all(seeds.clone(), Flaw::None);
    if let Some((seed, why)) = failure {
        panic!("seed {seed}: {why}\nto repeat it: BUCKETHEAD_SIMULATOR_SEEDS={seed}..{} cargo test -p engine simulator", seed + 1);
    }
    let never: Vec<_> = store::KINDS.into_iter().filter(|kind| !counts.contains_key(kind)).collect();
    assert!(never.is_empty() || seeds.end - seeds.start < 1000, "no world came by these: {never:?}");
}

#[test]
fn a_seed_does_the_same_each_time() {
    for seed in seeds(0..40) {
        let (one, other) = (run(seed, Flaw::None).history, run(seed, Flaw::None).history);
        let differs = one.iter().zip(&other).find(|(one, other)| one != other);
        assert_eq!(differs, None, "seed {seed}");
        assert_eq!(one.len(), other.len(), "seed {seed}");
    }
}

/// What is done wrong, and a seed from which on it is found soon. A change of the order of requests moves those that find it.
const CAUGHT: [(Flaw, u64); 11] = [
    (Flaw::SlotsIgnored, 6),
    (Flaw::HeadConditionsIgnored, 2),
    (Flaw::PutIdsHidden, 2),
    (Flaw::NoFence, 6),
    (Flaw::EpochNotRaised, 2),
    (Flaw::ConfirmedBeforePut, 0),
    (Flaw::AnsweredBeforePut, 4),
    (Flaw::ShownBeforePut, 4),
    (Flaw::FencesDeleted, 166),
    (Flaw::HolesLeftOut, 64),
    (Flaw::LeaseNotAwaited, 2),
];

#[test]
fn whatever_loses_data_is_caught() {
    for (flaw, seed) in CAUGHT {
        assert!(run_all(seed..seed + 2000, flaw).failure.is_some(), "no seed from {seed} on finds {flaw:?}");
    }
}
