//! Decisions in a table and at random; runs beside puts, in every order of their requests, with lost answers, and killed anywhere.

mod beside;
mod runs;

use proptest::prelude::*;

use super::*;
use crate::snapshot::PutIds;

fn key(byte: u8) -> FileKey {
    FileKey::of_digest([byte; 32])
}

fn keys(bytes: &[u8]) -> BTreeSet<FileKey> {
    bytes.iter().map(|byte| key(*byte)).collect()
}

fn second(n: i64) -> WallTime {
    WallTime::from_second(1_800_000_000 + n).unwrap()
}

fn list(phase: Phase, hashes: &[u8]) -> Marks {
    Marks::next(None, phase, keys(hashes), second(0), &PutIds::new().fresh())
}

fn decide(list: Option<(Phase, &[u8])>, unused: &[u8], counted: i64) -> Next {
    let marks = list.map(|(phase, hashes)| self::list(phase, hashes));
    let list = marks.as_ref().map(|marks| (marks, second(0)));
    next(&Seen { list, unused: &keys(unused), counted: second(counted), wait: Duration::from_mins(5) })
}

#[test]
fn what_comes_next_follows_from_the_list_the_count_and_the_time() {
    use Phase::{Marked, Sealed};
    let abandoned = i64::try_from(ABANDONED.as_secs()).unwrap();
    assert_eq!(decide(None, &[1], 0), Next::Mark);
    assert_eq!(decide(Some((Marked, &[])), &[1], 0), Next::Mark);
    assert_eq!(decide(Some((Marked, &[1])), &[1, 2], 299), Next::Wait(second(300)));
    assert_eq!(decide(Some((Marked, &[1])), &[1, 2], -60), Next::Wait(second(300)));
    assert_eq!(decide(Some((Marked, &[1, 2])), &[2, 3], 300), Next::Seal(keys(&[2])));
    assert_eq!(decide(Some((Marked, &[1])), &[2], 300), Next::Seal(keys(&[])));
    assert_eq!(decide(Some((Sealed, &[1])), &[1], 300), Next::Busy(second(abandoned)));
    assert_eq!(decide(Some((Sealed, &[1, 2])), &[1, 3], abandoned), Next::Seal(keys(&[1])));
}

#[test]
fn every_owner_is_waited_for() {
    let needs = |grace, interval| Needs::new(Duration::from_secs(grace), Duration::from_secs(interval), Duration::ZERO);
    assert_eq!(wait([].into_iter(), Duration::from_secs(7)).as_secs(), 7);
    assert_eq!(wait([needs(300, 60), needs(0, 3600)].into_iter(), Duration::from_secs(7)).as_secs(), 7200);
}

#[test]
fn the_stores_clock_has_the_last_word() {
    let stood = |marked, sealed, counting| {
        stood_long_enough(Some(second(marked)), Some(second(sealed)), Duration::from_secs(counting), Duration::from_mins(5))
    };
    assert!(stood(0, 300, 0));
    // Whole seconds may hide almost one.
    assert!(stood(0, 299, 0));
    assert!(!stood(0, 298, 0));
    assert!(!stood(0, 300, 10));
    assert!(stood(0, 310, 10));
    assert!(!stood(100, 0, 0));
    assert!(!stood_long_enough(None, Some(second(900)), Duration::ZERO, Duration::from_mins(5)));
}

proptest! {
    #[test]
    fn only_what_is_marked_and_unused_is_sealed_and_only_when_ripe(
        sealed in any::<bool>(),
        marked in proptest::collection::btree_set(0_u8..12, 0..12),
        unused in proptest::collection::btree_set(0_u8..12, 0..12),
        counted in -10_000_i64..10_000,
        wait in 0_u64..4_000,
    ) {
        let all = |bytes: &BTreeSet<u8>| keys(&bytes.iter().copied().collect::<Vec<_>>());
        let phase = if sealed { Phase::Sealed } else { Phase::Marked };
        let marks = Marks::next(None, phase, all(&marked), second(0), &PutIds::new().fresh());
        let (unused, wait) = (all(&unused), Duration::from_secs(wait));
        let least = if sealed { ABANDONED } else { wait };
        let is_ripe = counted >= i64::try_from(least.as_secs()).unwrap();
        match next(&Seen { list: Some((&marks, second(0))), unused: &unused, counted: second(counted), wait }) {
            Next::Seal(ripe) => {
                prop_assert!(is_ripe && ripe.is_subset(&marks.hashes) && ripe.is_subset(&unused));
                // Nothing is forgotten: what is not sealed now is used, or marked next.
                let rest = to_mark(&unused, &ripe);
                prop_assert!(unused.iter().all(|key| ripe.contains(key) || rest.contains(key)));
            }
            Next::Mark => prop_assert!(!sealed && marks.hashes.is_empty()),
            Next::Wait(_) => prop_assert!(!sealed && !is_ripe),
            Next::Busy(_) => prop_assert!(sealed && !is_ripe),
        }
    }
}
