use std::num::NonZeroUsize;

use ltx::PageSize;
use proptest::prelude::*;
use rusqlite::Connection;

use super::*;
use crate::memory::{Assembly, LoadError, MemoryDatabase, MemoryOptions, SqlPool};

const BY: By = By { epoch: Epoch(3), time: UnixMillis(1_000) };

fn options() -> MemoryOptions {
    let pool = SqlPool::new(NonZeroUsize::new(1).unwrap());
    MemoryOptions { page_size: PageSize::new(512).unwrap(), ..MemoryOptions::new(pool) }
}

fn txid(number: u64) -> Txid {
    Txid::new(number).unwrap()
}

fn image(pin: &Pin) -> Vec<u8> {
    let mut bytes = Vec::new();
    pin.image().read_to_end(&mut bytes).unwrap();
    bytes
}

fn bytes_of(draft: Draft) -> (TxidRange, Vec<u8>) {
    let txids = draft.header.txids;
    let encoded = draft.encoded().unwrap();
    let mut bytes = Vec::new();
    encoded.content().reader().read_to_end(&mut bytes).unwrap();
    assert_eq!(bytes.len() as u64, encoded.len);
    (txids, bytes)
}

/// A database that is followed by deltas.
struct Line {
    memory: MemoryDatabase,
    connection: Connection,
    tip: Tip,
    files: Vec<(TxidRange, Vec<u8>)>,
}

impl Line {
    fn new() -> Self {
        let memory = MemoryDatabase::new(options()).unwrap();
        let connection = memory.connect().unwrap();
        connection.execute_batch("PRAGMA auto_vacuum = 0; CREATE TABLE t(id INTEGER PRIMARY KEY, b BLOB)").unwrap();
        let tip = Tip::of(&memory.pin(), txid(4), UnixMillis(0));
        let files = vec![bytes_of(Draft::whole(&memory.pin(), &tip, BY.epoch))];
        Self { memory, connection, tip, files }
    }

    fn run(&self, sql: &str) {
        self.connection.execute_batch(sql).unwrap();
    }

    fn delta(&self) -> Delta {
        let (pin, changes) = self.memory.pin_with_changes(self.tip.commits);
        self.tip.delta(&pin, changes, BY)
    }

    fn save(&mut self) -> Vec<PageNo> {
        let delta = self.delta();
        self.files.push(bytes_of(delta.draft.clone()));
        self.tip.follow(&delta);
        delta.draft.pages.to_vec()
    }

    fn assembled(&self) -> Result<Vec<u8>, LoadError> {
        let mut assembly = Assembly::new(options());
        for (named, bytes) in &self.files {
            assembly.apply(*named, bytes.as_slice())?;
        }
        let assembled = assembly.finish()?;
        assert_eq!((assembled.sums.total(), assembled.differs), (self.tip.checksum(), false));
        assert_eq!(assembled.sums, self.tip.sums);
        assembled.memory.check().unwrap();
        Ok(image(&assembled.memory.pin()))
    }
}

const FILL: &str =
    "WITH RECURSIVE n(i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n WHERE i < 60) INSERT INTO t(b) SELECT randomblob(300) FROM n;";

#[test]
fn a_delta_holds_the_pages_that_changed_and_no_others() {
    let mut line = Line::new();
    line.run(FILL);
    line.save();
    line.run("UPDATE t SET b = zeroblob(300) WHERE id = 30");
    let pages = line.save();
    assert!((2..=3).contains(&pages.len()), "{pages:?}: page 1 with the counters, and a leaf");
    assert_eq!(line.assembled().unwrap(), image(&line.memory.pin()));
}

#[test]
fn what_shrank_and_grew_again_in_between_holds_no_page_from_before() {
    let mut line = Line::new();
    line.run(FILL);
    line.save();
    let before = line.memory.pin().count();
    line.run("DELETE FROM t; VACUUM;");
    let smallest = line.memory.pin().count();
    line.run(FILL);
    let pages = line.save();
    let grown = line.memory.pin().count();
    assert!(smallest < before && smallest < grown);
    for number in smallest.0 + 1..=grown.0 {
        assert!(pages.contains(&PageNo::new(number).unwrap()), "page {number} lies above the smallest size");
    }
    assert_eq!(line.assembled().unwrap(), image(&line.memory.pin()));
}

#[test]
fn a_fence_changes_the_number_and_nothing_else() {
    let mut line = Line::new();
    line.run(FILL);
    line.save();
    let (checksum, since) = (line.tip.checksum(), line.tip.txid);
    let fence = line.tip.fence(&line.memory.pin(), BY);
    assert_eq!(*fence.draft.pages, [PageNo::FIRST]);
    line.files.push(bytes_of(fence.draft.clone()));
    line.tip.follow(&fence);
    assert_eq!((line.tip.txid, line.tip.checksum(), line.tip.same_since), (txid(6), checksum, since));
    line.assembled().unwrap();
}

#[test]
fn without_knowledge_of_what_changed_all_pages_come() {
    let mut line = Line::new();
    line.run(FILL);
    line.memory.forget_changes(line.memory.pin().commits());
    let pages = line.save();
    assert_eq!(pages.len(), line.memory.pin().count().0 as usize);
    line.assembled().unwrap();
}

#[test]
fn times_never_run_backwards() {
    let mut line = Line::new();
    for (clock, expected) in [(1_000, 1_000), (500, 1_001), (1_001, 1_002), (9_000, 9_000)] {
        line.run("INSERT INTO t(b) VALUES (1)");
        let (pin, changes) = line.memory.pin_with_changes(line.tip.commits);
        let delta = line.tip.delta(&pin, changes, By { time: UnixMillis(clock), ..BY });
        line.tip.follow(&delta);
        assert_eq!(line.tip.time, UnixMillis(expected));
    }
}

#[test]
fn a_file_that_was_made_for_another_state_is_refused() {
    let mut line = Line::new();
    line.run(FILL);
    let first = line.delta();
    line.run("DELETE FROM t WHERE id > 10");
    line.save();
    line.run("DELETE FROM t WHERE id > 5");
    line.save();
    line.files[1] = bytes_of(first.draft);
    let error = line.assembled().unwrap_err().to_string();
    assert!(error.contains("was made for a database with checksum"), "{error}");
    line.files.remove(1);
    assert!(line.assembled().is_err(), "a gap");
    line.files.remove(0);
    assert!(line.assembled().is_err(), "no beginning");
    line.files.clear();
    assert!(line.assembled().is_err(), "nothing at all");
}

#[test]
fn a_large_file_is_encoded_twice_with_the_same_bytes_and_never_held_whole() {
    let memory = MemoryDatabase::new(MemoryOptions { page_size: PageSize::DEFAULT, ..options() }).unwrap();
    let connection = memory.connect().unwrap();
    connection
        .execute_batch("CREATE TABLE t(b); WITH RECURSIVE n(i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n WHERE i < 2500) INSERT INTO t SELECT randomblob(3900) FROM n;")
        .unwrap();
    let tip = Tip::of(&memory.pin(), txid(1), UnixMillis(5));
    let encoded = Draft::whole(&memory.pin(), &tip, BY.epoch).encoded().unwrap();
    assert!(encoded.bytes.is_none() && encoded.len > WHOLE_IN_MEMORY);
    let read = || {
        let mut bytes = Vec::new();
        encoded.content().reader().read_to_end(&mut bytes).unwrap();
        bytes
    };
    assert_eq!((read().len() as u64, read()), (encoded.len, read()));
    let mut assembly = Assembly::new(options());
    assembly.apply(encoded.draft.header.txids, read().as_slice()).unwrap();
    assert_eq!(image(&assembly.finish().unwrap().memory.pin()), image(&memory.pin()));
}

fn statements() -> impl Strategy<Value = Vec<(u8, i64, bool)>> {
    proptest::collection::vec((0..6_u8, 1..200_i64, any::<bool>()), 1..40)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Whatever is written, however it is cut into deltas: what is put together is what was there.
    #[test]
    fn deltas_lead_to_the_state_that_they_were_made_from(statements in statements()) {
        let mut line = Line::new();
        for (kind, number, save) in statements {
            let sql = match kind {
                0 => FILL.to_owned(),
                1 => format!("INSERT INTO t(b) VALUES (randomblob({}))", number * 20),
                2 => format!("DELETE FROM t WHERE id % 7 = {}", number % 7),
                3 => format!("UPDATE t SET b = randomblob({number}) WHERE id % 11 = {}", number % 11),
                4 => "DELETE FROM t WHERE id > 8; VACUUM".to_owned(),
                _ => format!("CREATE INDEX IF NOT EXISTS i{} ON t(b)", number % 3),
            };
            line.run(&sql);
            if save {
                line.save();
            }
        }
        line.save();
        prop_assert_eq!(line.assembled().unwrap(), image(&line.memory.pin()));
    }

    /// One file in the place of the deltas behind some state leads to the same.
    #[test]
    fn a_compaction_leads_where_its_deltas_lead(statements in statements(), begin in 0..20_usize) {
        let mut line = Line::new();
        let mut gathered = Gathered::after(&line.tip);
        let mut kept = 1;
        for (at, (kind, number, save)) in statements.into_iter().enumerate() {
            let sql = match kind {
                0 => FILL.to_owned(),
                1 => format!("INSERT INTO t(b) VALUES (randomblob({}))", number * 20),
                2 => "DELETE FROM t WHERE id > 8; VACUUM".to_owned(),
                _ => format!("UPDATE t SET b = randomblob({number}) WHERE id % 11 = {}", number % 11),
            };
            line.run(&sql);
            if save {
                let delta = line.delta();
                gathered.add(&delta);
                line.files.push(bytes_of(delta.draft.clone()));
                line.tip.follow(&delta);
            }
            if at == begin {
                gathered = Gathered::after(&line.tip);
                kept = line.files.len();
            }
        }
        let delta = line.delta();
        gathered.add(&delta);
        line.tip.follow(&delta);
        prop_assert!(gathered.files() > 0);
        line.files.truncate(kept);
        line.files.push(bytes_of(gathered.draft(&line.memory.pin(), &line.tip, BY.epoch)));
        prop_assert_eq!(line.assembled().unwrap(), image(&line.memory.pin()));
    }
}
