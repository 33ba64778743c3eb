use super::*;
use crate::clock::SystemClock;

fn store() -> PageStore {
    PageStore::new(PageSize::new(512).unwrap(), u64::MAX, Arc::new(SystemClock))
}

fn no(number: u32) -> PageNo {
    PageNo::new(number).unwrap()
}

fn content(fill: u8) -> [u8; 512] {
    [fill; 512]
}

fn commit(store: &PageStore, pages: &[(u32, u8)]) -> Arc<Version> {
    let mut stage = store.begin_write(&store.pin()).unwrap();
    for (number, fill) in pages {
        stage.write(no(*number), &content(*fill)).unwrap();
    }
    let version = store.publish(&mut stage);
    store.end_write(stage);
    version
}

fn first_byte(version: &Version, number: u32) -> Option<u8> {
    version.page(no(number)).map(|page| page.bytes()[0])
}

#[test]
fn a_pinned_version_never_changes() {
    let store = store();
    commit(&store, &[(1, 1), (2, 2)]);
    let pin = store.pin();
    commit(&store, &[(2, 9), (40, 4)]);
    assert_eq!((first_byte(&pin, 2), first_byte(&pin, 40), pin.count()), (Some(2), None, PageCount(2)));
    assert_eq!((first_byte(&store.pin(), 2), store.pin().count()), (Some(9), PageCount(40)));
    assert_eq!(first_byte(&store.pin(), 1), Some(1));
}

#[test]
fn an_unpinned_version_is_changed_in_place() {
    let store = store();
    drop(commit(&store, &[(1, 1)]));
    let address = Arc::as_ptr(&store.pin());
    drop(commit(&store, &[(1, 2)]));
    // The stage in `commit` keeps no pin, so nothing held the version while it was published.
    assert_eq!(Arc::as_ptr(&store.pin()), address);
}

#[test]
fn a_page_that_nobody_pins_keeps_its_place_in_memory() {
    let store = store();
    commit(&store, &[(1, 1), (2, 2), (3, 3)]);
    let place = |number| store.pin().page(no(number)).unwrap().bytes().as_ptr();
    let (second, third) = (place(2), place(3));
    commit(&store, &[(1, 9), (2, 9), (3, 9)]);
    assert_eq!((place(2), place(3)), (second, third));
    let fork = PageStore::fork(&store.pin(), u64::MAX, Arc::new(SystemClock));
    commit(&store, &[(2, 10)]);
    assert_ne!(place(2), second);
    assert_eq!([&store, &fork].map(|store| first_byte(&store.pin(), 2)), [Some(10), Some(9)]);
}

#[test]
fn pages_that_nobody_holds_are_freed_or_kept_for_the_next_commit() {
    let store = store();
    let page = (512 + OVERRUN) as u64;
    let used = |store: &PageStore| {
        let used = store.memory_use();
        (used.live / page, used.pinned / page, used.staged / page)
    };
    commit(&store, &[(1, 1), (2, 2)]);
    let pin = store.pin();
    commit(&store, &[(2, 3)]);
    assert_eq!(used(&store), (2, 1, 0));
    drop(pin);
    assert_eq!(used(&store), (2, 0, 0));
    // Nobody holds the replaced page, so it waits for the next commit, which needs no memory then.
    commit(&store, &[(2, 4)]);
    assert_eq!(used(&store), (2, 0, 1));
    store.account().set_pages_left(Some(0));
    commit(&store, &[(2, 5)]);
    assert_eq!((used(&store), first_byte(&store.pin(), 2)), ((2, 0, 1), Some(5)));
}

#[test]
fn a_rolled_back_transaction_leaves_nothing_but_a_few_spare_pages() {
    let store = store();
    commit(&store, &[(1, 1)]);
    let mut stage = store.begin_write(&store.pin()).unwrap();
    for number in 1..if cfg!(miri) { 40 } else { 2000 } {
        stage.write(no(number), &content(2)).unwrap();
    }
    store.end_write(stage);
    let used = store.memory_use();
    assert_eq!((used.live, used.pinned), (768, 0));
    assert!(used.staged <= 16 * 768, "{used:?}");
    assert_eq!(first_byte(&store.pin(), 1), Some(1));
}

#[test]
fn without_memory_for_a_page_the_stage_stays_as_it_was() {
    let store = store();
    commit(&store, &[(1, 1), (2, 2)]);
    let base = store.pin();
    let mut stage = store.begin_write(&base).unwrap();
    stage.write(no(1), &content(7)).unwrap();
    store.account().set_pages_left(Some(0));
    assert_eq!(stage.write(no(2), &content(7)), Err(OutOfMemory));
    assert_eq!(stage.write(no(3), &content(7)), Err(OutOfMemory));
    assert_eq!(stage.page(&base, no(2)).unwrap().bytes()[0], 2);
    assert_eq!(stage.count(), PageCount(2));
    store.account().set_pages_left(None);
    let version = store.publish(&mut stage);
    assert_eq!([1, 2, 3].map(|number| first_byte(&version, number)), [Some(7), Some(2), None]);
}

#[test]
fn what_was_cut_off_reads_as_nothing_after_the_database_has_grown_again() {
    let store = store();
    commit(&store, &[(1, 1), (2, 2), (3, 3), (300, 9)]);
    let base = store.pin();
    let mut stage = store.begin_write(&base).unwrap();
    stage.truncate(PageCount(2));
    stage.write(no(4), &content(4)).unwrap();
    assert!(stage.page(&base, no(3)).is_none());
    let version = store.publish(&mut stage);
    assert_eq!([1, 2, 3, 4, 300].map(|number| first_byte(&version, number)), [Some(1), Some(2), None, Some(4), None]);
    assert_eq!(version.count(), PageCount(4));
    assert_eq!(store.heads.lock().newest.table.filled(), 3);
}

#[test]
fn each_commit_names_its_pages_in_order() {
    let store = store();
    let since = |commits| store.pin_with_changes(Commits(commits)).1.unwrap();
    commit(&store, &[(9, 1), (1, 1), (4, 1)]);
    commit(&store, &[(4, 2)]);
    assert_eq!(store.commits(), Commits(2));
    assert_eq!(since(0), Changes { pages: vec![no(1), no(4), no(9)], smallest: PageCount(0) });
    assert_eq!(since(1), Changes { pages: vec![no(4)], smallest: PageCount(9) });
    assert_eq!(since(2).pages, []);
    store.forget_changes(Commits(1));
    assert_eq!(store.pin_with_changes(Commits(0)).1, None);
}

#[test]
fn a_transaction_that_shrinks_and_grows_tells_the_smallest_size() {
    let store = store();
    commit(&store, &[(1, 1), (2, 2), (3, 3)]);
    let mut stage = store.begin_write(&store.pin()).unwrap();
    stage.truncate(PageCount(1));
    stage.write(no(3), &content(9)).unwrap();
    let version = store.publish(&mut stage);
    store.end_write(stage);
    assert_eq!([2, 3].map(|number| first_byte(&version, number)), [None, Some(9)]);
    let changes = store.pin_with_changes(Commits(1)).1;
    assert_eq!(changes, Some(Changes { pages: vec![no(3)], smallest: PageCount(1) }));
}

#[test]
fn a_fork_shares_every_page_and_goes_its_own_way() {
    let store = store();
    commit(&store, &[(1, 1), (2, 2), (3, 3)]);
    let fork = PageStore::fork(&store.pin(), u64::MAX, Arc::new(SystemClock));
    assert_eq!(fork.memory_use().live, 3 * 768);
    assert!(store.pin().page(no(2)).unwrap().is(fork.pin().page(no(2)).unwrap()));
    commit(&fork, &[(2, 20)]);
    commit(&store, &[(3, 30)]);
    let bytes = |store: &PageStore| [1, 2, 3].map(|number| first_byte(&store.pin(), number).unwrap());
    assert_eq!((bytes(&store), bytes(&fork)), ([1, 2, 30], [1, 20, 3]));
    assert_eq!(store.pin().differences(&fork.pin()), [no(2), no(3)]);
    // What the fork still reads and the store has replaced counts as pinned there, and nowhere else.
    assert_eq!((store.memory_use().pinned, fork.memory_use().pinned), (768, 0));
    drop(fork);
    assert_eq!(store.memory_use().pinned, 0);
}

#[test]
fn a_replaced_version_tells_exactly_what_differs() {
    let store = store();
    commit(&store, &[(1, 1), (2, 2), (300, 3)]);
    let fork = PageStore::fork(&store.pin(), u64::MAX, Arc::new(SystemClock));
    commit(&fork, &[(2, 20), (9, 9)]);
    let old = store.pin();
    let mut stage = store.begin_write(&old).unwrap();
    let first = Page::copy_of(&content(100), store.account()).unwrap();
    store.replace(&mut stage, &fork.pin(), first);
    store.end_write(stage);
    let bytes = |version: &Version| [1, 2, 9, 300].map(|number| first_byte(version, number));
    assert_eq!(bytes(&old), [Some(1), Some(2), None, Some(3)]);
    assert_eq!(bytes(&store.pin()), [Some(100), Some(20), Some(9), Some(3)]);
    let (newest, changes) = store.pin_with_changes(Commits(1));
    assert_eq!((newest.commits(), changes.unwrap().pages), (Commits(2), vec![no(1), no(2), no(9)]));
    commit(&store, &[(2, 21)]);
    assert_eq!(first_byte(&fork.pin(), 2), Some(20));
}

#[tokio::test(start_paused = true)]
async fn the_oldest_pin_is_as_old_as_the_commit_that_outdated_it() {
    let store = store();
    commit(&store, &[(1, 1)]);
    let pins = [store.pin(), store.pin()];
    tokio::time::advance(Duration::from_secs(5)).await;
    assert_eq!(store.memory_use().oldest_pin, None);
    commit(&store, &[(1, 2)]);
    tokio::time::advance(Duration::from_secs(7)).await;
    let later = store.pin();
    commit(&store, &[(1, 3)]);
    assert_eq!(store.memory_use().oldest_pin, Some(Duration::from_secs(7)));
    drop(pins);
    tokio::time::advance(Duration::from_secs(1)).await;
    assert_eq!(store.memory_use().oldest_pin, Some(Duration::from_secs(1)));
    drop(later);
    assert_eq!(store.memory_use().oldest_pin, None);
}

#[test]
fn a_large_commit_is_the_same_as_a_small_one() {
    let store = store();
    // Miri takes a thousand times as long.
    let last = if cfg!(miri) { 300 } else { 5000 };
    let pages: Vec<(u32, u8)> = (1..=last).map(|number| (number, u8::try_from(number % 251).unwrap())).collect();
    commit(&store, &pages);
    let pin = store.pin();
    commit(&store, &pages.iter().map(|(number, fill)| (*number, fill ^ 1)).collect::<Vec<_>>());
    for (number, fill) in pages {
        assert_eq!(first_byte(&pin, number), Some(fill));
        assert_eq!(first_byte(&store.pin(), number), Some(fill ^ 1));
    }
}

#[test]
fn a_staged_page_that_was_handed_out_keeps_its_bytes() {
    let store = store();
    let base = store.pin();
    let mut stage = store.begin_write(&base).unwrap();
    stage.write(no(1), &content(1)).unwrap();
    let lent = stage.page(&base, no(1)).unwrap().clone();
    stage.write(no(1), &content(2)).unwrap();
    assert_eq!(lent.bytes()[0], 1);
    assert_eq!(stage.page(&base, no(1)).unwrap().bytes()[0], 2);
}

#[test]
fn only_one_may_write_and_only_on_the_newest_version() {
    let store = store();
    let old = store.pin();
    let stage = store.begin_write(&old).unwrap();
    assert!(matches!(store.begin_write(&old), Err(NotTheWriter::Taken)));
    store.end_write(stage);
    commit(&store, &[(1, 1)]);
    assert!(matches!(store.begin_write(&old), Err(NotTheWriter::Stale)));
    assert!(!store.is_writing());
    store.begin_write(&store.pin()).unwrap();
    assert!(store.is_writing());
}

#[test]
fn tables_hold_what_a_plain_map_holds() {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    // Miri takes a thousand times as long.
    let (cases, most, end) = if cfg!(miri) { (4, 20, 300) } else { (200, 80, 5000) };
    let step = prop_oneof![3 => (0..end, any::<u8>()).prop_map(Ok), 1 => (0..end).prop_map(Err)];
    proptest!(ProptestConfig::with_cases(cases), |(steps in prop::collection::vec(step, 1..most))| {
        let account = Account::default();
        let mut table = Table::default();
        let mut map = BTreeMap::new();
        let mut frozen = Vec::new();
        for step in steps {
            frozen.push((table.clone(), map.clone()));
            match step {
                Ok((index, fill)) => {
                    table.set(index, Page::copy_of(&content(fill), &account).unwrap());
                    map.insert(index, fill);
                }
                Err(count) => {
                    table.truncate(count, |_| ());
                    map.retain(|index, _| *index < count);
                }
            }
            frozen.push((table.clone(), map.clone()));
        }
        for (table, map) in frozen {
            prop_assert_eq!(table.filled() as usize, map.len());
            for index in 0..end {
                prop_assert_eq!(table.get(index).map(|page| page.bytes()[0]), map.get(&index).copied());
            }
        }
    });
}
