use std::collections::BTreeSet;

use ltx::{Txid, TxidRange, UnixMillis};
use proptest::prelude::*;

use super::*;

fn txid(number: u64) -> Txid {
    Txid::new(number).unwrap()
}

/// A file whose last state was made a second after the one before it.
fn file(level: Level, min: u64, max: u64) -> File {
    let txids = TxidRange::new(txid(min), txid(max)).unwrap();
    File { level, txids, time: UnixMillis(1000 * i64::try_from(max).unwrap()), size: 100 }
}

fn delta(number: u64) -> File {
    file(Level::Delta, number, number)
}

fn whole(max: u64) -> File {
    file(Level::Whole, 1, max)
}

/// A chain that begins with a whole database at 4.
fn files(rest: &[File]) -> Files {
    Files::new([whole(4)].into_iter().chain(rest.iter().copied()), txid(4))
}

fn places(plan: &Plan) -> Vec<(Level, u64)> {
    [plan.whole].iter().chain(&plan.steps).map(|file| (file.level, file.txids.max().get())).collect()
}

#[test]
fn a_place_is_read_only_if_it_is_one_that_is_written() {
    let read = |place: &str| File::at(place, 7, UnixMillis(9)).map(|file| file.to_string());
    for place in [
        "0000/000000000000000a-000000000000000a.ltx",
        "0001/0000000000000002-000000000000000a.ltx",
        "0002/0000000000000001-000000000000000a.ltx",
        "0009/0000000000000001-000000000000000a.ltx",
    ] {
        assert_eq!(read(place).as_deref(), Ok(place));
    }
    for place in [
        "0000/000000000000000a-000000000000000b.ltx",
        "0009/0000000000000002-000000000000000a.ltx",
        "0003/0000000000000002-000000000000000a.ltx",
        "0/0000000000000002-000000000000000a.ltx",
        "0001/0000000000000002-000000000000000A.ltx",
        "0001/0000000000000002-000000000000000a.ltx.tmp",
        "0001/x/0000000000000002-000000000000000a.ltx",
        "0001",
        "",
    ] {
        assert!(read(place).is_err(), "{place}");
    }
}

#[test]
fn the_newest_state_is_put_together_from_the_newest_whole_database_and_the_highest_levels() {
    let files =
        files(&[delta(5), delta(6), file(Level::Minutes, 5, 6), whole(6), delta(7), delta(8), delta(9), file(Level::Minutes, 7, 8)]);
    let plan = files.plan(Target::Newest).unwrap();
    assert_eq!(places(&plan), [(Level::Whole, 6), (Level::Minutes, 8), (Level::Delta, 9)]);
    assert_eq!(plan.reaches(), txid(9));
}

#[test]
fn a_state_within_a_compaction_is_put_together_from_its_deltas() {
    let files = files(&[delta(5), delta(6), delta(7), file(Level::Minutes, 5, 7)]);
    assert_eq!(places(&files.plan(Target::Txid(txid(6))).unwrap()), [(Level::Whole, 4), (Level::Delta, 5), (Level::Delta, 6)]);
    let gone = Files::new([whole(4), file(Level::Minutes, 5, 7)], txid(4));
    let missing = Missing::Compacted { asked: txid(6), before: txid(4), after: txid(7) };
    assert_eq!(gone.plan(Target::Txid(txid(6))), Err(missing));
}

#[test]
fn of_files_that_lead_equally_far_the_highest_is_read() {
    for rest in [[file(Level::Minutes, 5, 6), file(Level::Hour, 5, 6)], [file(Level::Hour, 5, 6), file(Level::Minutes, 5, 6)]] {
        assert_eq!(places(&files(&rest).plan(Target::Newest).unwrap()), [(Level::Whole, 4), (Level::Hour, 6)]);
    }
}

#[test]
fn a_compaction_that_begins_before_the_whole_database_leads_on_from_it() {
    let files = files(&[file(Level::Hour, 2, 8), delta(9)]);
    assert_eq!(places(&files.plan(Target::Newest).unwrap()), [(Level::Whole, 4), (Level::Hour, 8), (Level::Delta, 9)]);
}

#[test]
fn whatever_begins_with_the_first_state_is_enough_by_itself() {
    let files = Files::new([delta(1), delta(2), file(Level::Minutes, 1, 3), delta(3), delta(4)], Txid::FIRST);
    assert_eq!(places(&files.plan(Target::Newest).unwrap()), [(Level::Minutes, 3), (Level::Delta, 4)]);
    assert_eq!(places(&files.plan(Target::Txid(txid(2))).unwrap()), [(Level::Delta, 1), (Level::Delta, 2)]);
    let expired = files.expired(&Keep { since: UnixMillis(1000), horizon: txid(1), slots: &BTreeSet::new() });
    assert_eq!((expired.horizon, expired.files), (txid(1), vec![]), "all else is put together from the first");
}

#[test]
fn a_gap_is_never_passed_over() {
    let files = files(&[delta(5), delta(7), delta(8)]);
    assert_eq!(files.plan(Target::Newest), Err(Missing::Gap { after: txid(5), next: txid(7) }));
    assert_eq!(files.plan(Target::Txid(txid(7))), Err(Missing::Gap { after: txid(5), next: txid(7) }));
    assert_eq!(files.plan(Target::Txid(txid(5))).unwrap().reaches(), txid(5));
}

#[test]
fn what_is_damaged_is_led_around() {
    let files = files(&[delta(5), delta(6), file(Level::Minutes, 5, 6), whole(6)]);
    let damaged = |places: &[&File]| places.iter().map(ToString::to_string).collect::<BTreeSet<_>>();
    let around = |broken: &[&File]| files.without(&damaged(broken)).plan(Target::Newest).map(|plan| places(&plan));
    assert_eq!(around(&[&whole(6)]).unwrap(), [(Level::Whole, 4), (Level::Minutes, 6)]);
    let both = [&whole(6), &file(Level::Minutes, 5, 6)];
    assert_eq!(around(&both).unwrap(), [(Level::Whole, 4), (Level::Delta, 5), (Level::Delta, 6)]);
    assert_eq!(around(&[&whole(4), &whole(6)]), Err(Missing::Whole { earliest: None }));
}

#[test]
fn a_time_means_the_newest_state_that_is_no_younger() {
    let files = files(&[delta(5), delta(6)]);
    let at = |millis| files.plan(Target::At(UnixMillis(millis))).map(|plan| plan.reaches().get());
    assert_eq!([at(4000), at(5000), at(5999), at(6000), at(i64::MAX)], [Ok(4), Ok(5), Ok(5), Ok(6), Ok(6)]);
    assert_eq!(at(3999), Err(Missing::Whole { earliest: Some(txid(4)) }));
}

#[test]
fn what_was_there_before_the_chain_is_not_read() {
    let files = Files::new([whole(2), delta(3), whole(9), delta(10)], txid(9));
    assert_eq!(places(&files.plan(Target::Newest).unwrap()), [(Level::Whole, 9), (Level::Delta, 10)]);
    assert_eq!(files.plan(Target::Txid(txid(3))), Err(Missing::Whole { earliest: Some(txid(9)) }));
    assert_eq!(files.plan(Target::Txid(txid(11))), Err(Missing::NotThere { asked: txid(11), newest: txid(10) }));
    assert_eq!(Files::default().plan(Target::Newest), Err(Missing::Whole { earliest: None }));
}

#[test]
fn retention_keeps_the_whole_database_before_it_and_the_slots_that_must_never_be_empty() {
    let files = files(&[delta(5), delta(6), file(Level::Minutes, 5, 6), whole(6), delta(7), whole(8), delta(8), delta(9)]);
    let expired = |seconds: i64, horizon: u64, slots: &[u64]| {
        let slots = slots.iter().map(|&slot| txid(slot)).collect();
        let expired = files.expired(&Keep { since: UnixMillis(1000 * seconds), horizon: txid(horizon), slots: &slots });
        (expired.horizon.get(), expired.files.iter().map(ToString::to_string).collect::<Vec<_>>())
    };
    let [four, five, six, minutes] = [whole(4), delta(5), delta(6), file(Level::Minutes, 5, 6)].map(|file| file.to_string());
    assert_eq!(expired(7, 4, &[]), (6, vec![four.clone(), five.clone(), minutes.clone(), six.clone()]));
    assert_eq!(expired(7, 4, &[5]), (6, vec![four, minutes, six]));
    assert_eq!(expired(3, 4, &[]), (4, vec![]), "there is nothing before it");
    assert_eq!(expired(7, 8, &[]).0, 8, "the horizon never goes back");
    assert_eq!(expired(7, 7, &[]), (7, vec![]), "nothing stands at the horizon that was announced");
}

/// The states that can be had: by trying each file at each of them.
fn reachable(files: &[File]) -> BTreeSet<u64> {
    let mut states: BTreeSet<u64> = files.iter().filter(|file| file.is_whole()).map(|file| file.txids.max().get()).collect();
    loop {
        let more: BTreeSet<u64> = states
            .iter()
            .flat_map(|&state| files.iter().filter(move |file| file.follows(txid(state))))
            .map(|file| file.txids.max().get())
            .filter(|state| !states.contains(state))
            .collect();
        if more.is_empty() {
            return states;
        }
        states.extend(more);
    }
}

fn any_file() -> impl Strategy<Value = File> {
    (0..4_usize, 1..20_u64, 0..6_u64).prop_map(|(level, min, more)| match Level::ALL[level] {
        Level::Delta => delta(min),
        Level::Whole => whole(min),
        level => file(level, min, min + more),
    })
}

/// Whether a plan may be carried out as it stands.
fn is_sound(plan: &Plan) -> bool {
    let mut state = plan.whole.txids.max();
    plan.steps.iter().all(|step| {
        let follows = step.follows(state);
        state = step.txids.max();
        follows
    })
}

proptest! {
    #[test]
    fn every_state_that_can_be_had_is_found_and_no_other(all in prop::collection::vec(any_file(), 0..30)) {
        let states = reachable(&all);
        let files = Files::new(all, Txid::FIRST);
        for asked in 1..30 {
            let plan = files.plan(Target::Txid(txid(asked))).ok();
            prop_assert_eq!(plan.is_some(), states.contains(&asked));
            prop_assert!(plan.is_none_or(|plan| is_sound(&plan) && plan.reaches() == txid(asked)));
        }
    }

    #[test]
    fn what_retention_takes_is_missed_by_no_state_from_the_horizon_on(
        all in prop::collection::vec(any_file(), 0..30),
        since in 0..25_000_i64,
        slots in prop::collection::btree_set(1..20_u64, 0..5),
    ) {
        let files = Files::new(all, Txid::FIRST);
        let slots = slots.into_iter().map(txid).collect();
        let Expired { horizon, files: gone } = files.expired(&Keep { since: UnixMillis(since), horizon: Txid::FIRST, slots: &slots });
        prop_assert!(gone.iter().all(|file| file.level != Level::Delta || !slots.contains(&file.txids.max())));
        let left = files.without(&gone.iter().map(ToString::to_string).collect());
        for asked in horizon.get()..30 {
            let [before, after] = [&files, &left].map(|files| files.plan(Target::Txid(txid(asked))).ok().map(|plan| plan.reaches()));
            prop_assert_eq!(before, after);
        }
    }
}

#[test]
fn the_reach_ends_at_the_first_gap() {
    let files = files(&[delta(5), file(Level::Minutes, 6, 8), delta(10)]);
    assert_eq!(files.reach(), Some(txid(8)));
    assert_eq!(Files::new([delta(5)], txid(4)).reach(), None);
}
