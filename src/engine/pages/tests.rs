use super::*;

const SIZE: PageSize = PageSize(512);

fn store() -> PageStore {
    PageStore::new(SIZE, u64::MAX)
}

fn no(number: u32) -> PageNo {
    PageNo(NonZeroU32::new(number).unwrap())
}

fn content(fill: u8) -> [u8; 512] {
    [fill; 512]
}

fn commit(store: &PageStore, pages: &[(u32, u8)]) -> Arc<Version> {
    let mut stage = Stage::over(&store.pin());
    for (number, fill) in pages {
        stage.write(no(*number), &content(*fill), store.account()).unwrap();
    }
    store.publish(stage)
}

fn first_byte(version: &Version, number: u32) -> Option<u8> {
    version.page(no(number)).map(|page| page.bytes()[0])
}

#[test]
fn a_page_has_zero_bytes_behind_it() {
    let page = Page::copy_of(&content(7), &Account::default()).unwrap();
    assert_eq!(page.bytes(), content(7));
    assert_eq!(page.bytes_with_overrun()[512..], [0; OVERRUN]);
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
fn pages_that_nobody_holds_are_freed() {
    let store = store();
    commit(&store, &[(1, 1), (2, 2)]);
    let pin = store.pin();
    commit(&store, &[(2, 3)]);
    let page = (512 + OVERRUN) as u64;
    assert_eq!(store.memory_use(), MemoryUse { newest: 2 * page, total: 3 * page });
    drop(pin);
    assert_eq!(store.memory_use(), MemoryUse { newest: 2 * page, total: 2 * page });
}

#[test]
fn what_was_cut_off_reads_as_nothing_after_the_database_has_grown_again() {
    let store = store();
    commit(&store, &[(1, 1), (2, 2), (3, 3), (300, 9)]);
    let base = store.pin();
    let mut stage = Stage::over(&base);
    stage.truncate(PageCount(2));
    stage.write(no(4), &content(4), store.account()).unwrap();
    assert!(stage.page(&base, no(3)).is_none());
    let version = store.publish(stage);
    assert_eq!([1, 2, 3, 4, 300].map(|number| first_byte(&version, number)), [Some(1), Some(2), None, Some(4), None]);
    assert_eq!(version.count(), PageCount(4));
    assert_eq!(store.newest.lock().table.filled(), 3);
}

#[test]
fn each_commit_names_its_pages_in_order() {
    let store = store();
    let version = commit(&store, &[(9, 1), (1, 1), (4, 1)]);
    assert_eq!(version.changed(), [no(1), no(4), no(9)]);
    assert_eq!(commit(&store, &[(4, 2)]).changed(), [no(4)]);
    assert_eq!(store.commits(), Commits(2));
}

#[test]
fn a_large_commit_is_the_same_as_a_small_one() {
    let store = store();
    let pages: Vec<(u32, u8)> = (1..=5000).map(|number| (number, u8::try_from(number % 251).unwrap())).collect();
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
    let mut stage = Stage::over(&base);
    stage.write(no(1), &content(1), store.account()).unwrap();
    let lent = stage.page(&base, no(1)).unwrap().clone();
    stage.write(no(1), &content(2), store.account()).unwrap();
    assert_eq!(lent.bytes()[0], 1);
    assert_eq!(stage.page(&base, no(1)).unwrap().bytes()[0], 2);
}

#[test]
fn only_one_may_write_and_only_on_the_newest_version() {
    let store = store();
    let old = store.pin();
    store.begin_write(&old).unwrap();
    assert_eq!(store.begin_write(&old), Err(NotTheWriter::Taken));
    commit(&store, &[(1, 1)]);
    store.end_write();
    assert_eq!(store.begin_write(&old), Err(NotTheWriter::Stale));
    assert!(!store.is_writing());
    store.begin_write(&store.pin()).unwrap();
}

#[test]
fn tables_hold_what_a_plain_map_holds() {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    let step = prop_oneof![3 => (0u32..5000, any::<u8>()).prop_map(Ok), 1 => (0u32..5000).prop_map(Err)];
    proptest!(ProptestConfig::with_cases(200), |(steps in prop::collection::vec(step, 1..80))| {
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
                    table.truncate(count);
                    map.retain(|index, _| *index < count);
                }
            }
            frozen.push((table.clone(), map.clone()));
        }
        for (table, map) in frozen {
            prop_assert_eq!(table.filled() as usize, map.len());
            for index in 0..5000 {
                prop_assert_eq!(table.get(index).map(|page| page.bytes()[0]), map.get(&index).copied());
            }
        }
    });
}
