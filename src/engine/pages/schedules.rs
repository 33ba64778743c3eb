//! What holds however the threads that share a store take turns. `make test` runs each of these a few times on real threads; in
//! `make deep` Miri runs them once per seed, and with `--cfg schedules` an explorer takes them through thousands of schedules: some drawn
//! at random, some with few changes of thread at the worst places. It prints a schedule that fails, which `shuttle::replay` repeats.

use std::sync::atomic::AtomicUsize;
#[cfg(not(schedules))]
use std::thread::{self, JoinHandle};

#[cfg(schedules)]
use shuttle::thread::{self, JoinHandle};

use super::*;
use crate::clock::SystemClock;

/// A commit of so many pages is put together beside the newest version.
const MANY: u32 = 257;
const _: () = assert!(MANY as usize > LARGE_COMMIT);

const SCHEDULES: usize = 50_000;

#[cfg(schedules)]
fn explore(schedules: usize, threads: impl Fn() + Send + Sync + 'static) {
    use shuttle::scheduler::{PctScheduler, RandomScheduler, Scheduler};
    use shuttle::{Config, FailurePersistence, Runner};

    let threads = Arc::new(threads);
    let run = |scheduler: Box<dyn Scheduler + Send>| {
        let mut config = Config::new();
        config.failure_persistence = FailurePersistence::Print;
        let threads = Arc::clone(&threads);
        assert_eq!(Runner::new(scheduler, config).run(move || threads()), schedules);
    };
    run(Box::new(RandomScheduler::new(schedules)));
    run(Box::new(PctScheduler::new(3, schedules)));
}

#[cfg(not(schedules))]
fn explore(_: usize, threads: impl Fn()) {
    for _ in 0..if cfg!(miri) { 1 } else { 20 } {
        threads();
    }
}

fn store() -> Arc<PageStore> {
    Arc::new(PageStore::new(PageSize::new(512).unwrap(), u64::MAX, Arc::new(SystemClock)))
}

fn no(number: u32) -> PageNo {
    PageNo::new(number).unwrap()
}

/// What every page of the version holds; panics where they differ.
fn number_in(version: &Version, pages: u32) -> u64 {
    let number = |page| version.page(no(page)).map_or(0, |page| u64::from_le_bytes(page.bytes()[..8].try_into().unwrap()));
    let first = number(1);
    assert!((2..=pages).all(|page| number(page) == first), "a version mixes two commits");
    first
}

/// Stages the next number on every page, publishes, and tells whether the version beneath was changed in place. As a connection does it:
/// the writer lets go of its own pin just before.
fn publish_next(store: &PageStore, stage: &mut Stage, base: Arc<Version>, pages: u32) -> bool {
    let mut content = [0; 512];
    content[..8].copy_from_slice(&(number_in(&base, pages) + 1).to_le_bytes());
    for page in 1..=pages {
        stage.write(no(page), &content).unwrap();
    }
    let address = Arc::as_ptr(&base);
    drop(base);
    let published = store.publish(stage);
    Arc::as_ptr(&published) == address
}

/// Commits once, however often that has to be tried.
fn commit(store: &PageStore, pages: u32) -> bool {
    loop {
        let base = store.pin();
        if let Ok(mut stage) = store.begin_write(&base) {
            let in_place = publish_next(store, &mut stage, base, pages);
            store.end_write(stage);
            return in_place;
        }
        drop(base);
        thread::yield_now();
    }
}

fn writer(store: &Arc<PageStore>, commits: u32, pages: u32) -> JoinHandle<()> {
    let store = Arc::clone(store);
    thread::spawn(move || {
        for _ in 0..commits {
            commit(&store, pages);
        }
    })
}

/// Pins again and again, holding two pins at a time, and looks at each when it takes it and before it gives it back.
fn reader(store: &Arc<PageStore>, pins: u32, pages: u32) -> JoinHandle<()> {
    let store = Arc::clone(store);
    thread::spawn(move || {
        let mut older = store.pin();
        let mut seen = number_in(&older, pages);
        for _ in 0..pins {
            thread::yield_now();
            let newer = store.pin();
            let number = number_in(&newer, pages);
            assert!(number >= seen, "a commit that was seen is gone");
            assert_eq!(Commits(number), newer.commits());
            assert_eq!((number_in(&older, pages), older.commits()), (seen, Commits(seen)), "a pinned version changed");
            (older, seen) = (newer, number);
        }
    })
}

fn all(threads: impl IntoIterator<Item = JoinHandle<()>>) {
    for thread in threads {
        thread.join().unwrap();
    }
}

#[test]
fn a_reader_sees_commits_whole_and_in_order_and_what_it_pinned_stays() {
    explore(SCHEDULES, || {
        let store = store();
        all([writer(&store, 3, 3), reader(&store, 3, 3), reader(&store, 2, 3)]);
        assert_eq!(number_in(&store.pin(), 3), 3);
    });
}

#[test]
fn a_reader_sees_large_commits_whole_and_in_order_too() {
    explore(SCHEDULES / 50, || {
        let store = store();
        all([writer(&store, 2, MANY), reader(&store, 2, MANY)]);
        assert_eq!(store.commits(), Commits(2));
    });
}

#[test]
fn writers_in_competition_lose_no_commit() {
    explore(SCHEDULES, || {
        let store = store();
        all([writer(&store, 2, 2), writer(&store, 2, 2), reader(&store, 2, 2)]);
        assert_eq!((number_in(&store.pin(), 2), store.commits()), (4, Commits(4)));
        assert!(!store.is_writing());
    });
}

#[test]
fn only_one_writes_at_a_time_and_only_on_the_newest_version() {
    explore(SCHEDULES, || {
        let store = store();
        let writing = Arc::new(AtomicUsize::new(0));
        let threads = [2, 2, 1].map(|tries| {
            let (store, writing) = (Arc::clone(&store), Arc::clone(&writing));
            thread::spawn(move || {
                for _ in 0..tries {
                    let base = store.pin();
                    thread::yield_now();
                    match store.begin_write(&base) {
                        Ok(mut stage) => {
                            assert_eq!(writing.fetch_add(1, Ordering::SeqCst), 0, "two are writing");
                            assert_eq!(store.commits(), base.commits(), "a stale version was accepted");
                            publish_next(&store, &mut stage, base, 1);
                            writing.fetch_sub(1, Ordering::SeqCst);
                            store.end_write(stage);
                        }
                        Err(NotTheWriter::Stale) => assert!(store.commits() > base.commits(), "the newest version was refused"),
                        Err(NotTheWriter::Taken) => {}
                    }
                }
            })
        });
        all(threads);
        // Whoever was refused has left the writer's place as it was.
        assert!(store.begin_write(&store.pin()).is_ok());
    });
}

#[test]
fn a_version_is_changed_in_place_or_left_alone_as_somebody_holds_it() {
    static IN_PLACE: AtomicUsize = AtomicUsize::new(0);
    static BESIDE: AtomicUsize = AtomicUsize::new(0);
    explore(SCHEDULES, || {
        let store = store();
        let reader = reader(&store, 2, 2);
        let writer = thread::spawn(move || {
            for _ in 0..3 {
                let way = if commit(&store, 2) { &IN_PLACE } else { &BESIDE };
                way.fetch_add(1, Ordering::Relaxed);
            }
        });
        all([reader, writer]);
    });
    let ways = (IN_PLACE.load(Ordering::Relaxed), BESIDE.load(Ordering::Relaxed));
    assert!(cfg!(not(schedules)) || (ways.0 > 0 && ways.1 > 0), "the schedules took only one of both ways: {ways:?}");
}
