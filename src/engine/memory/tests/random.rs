//! Random SQL on our file system and on stock SQLite, side by side: the same answers, statement by statement, and the same rows at the end.
//!
//! A seed decides everything. `BUCKETHEAD_RANDOM_SEEDS=40..41` plays one seed again, `0..5000` plays many.

mod sides;
mod sql;

use std::cell::RefCell;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use rusqlite::Rows;
use rusqlite::blob::Blob;
use rusqlite::types::Value as Stored;

use super::*;
use sides::{Kind, Sides, answer, told};

const SEEDS: &str = "BUCKETHEAD_RANDOM_SEEDS";
const FEW: Range<u64> = 0..250;
const STEPS: usize = 90;

/// So few levels of statements that are open while others run.
const DEEPEST: usize = 2;

#[test]
fn random_sql_gives_what_stock_sqlite_gives() {
    for seed in std::env::var(SEEDS).map_or(FEW, |seeds| range(&seeds).expect("a range of seeds, such as 0..5000")) {
        let log = RefCell::default();
        let outcome = catch_unwind(AssertUnwindSafe(|| play(seed, &log)));
        assert!(outcome.is_ok(), "seed {seed}, by these steps:\n{}", log.into_inner().join("\n"));
    }
}

fn range(seeds: &str) -> Option<Range<u64>> {
    match seeds.split_once("..") {
        Some((first, end)) => Some(first.parse().ok()?..end.parse().ok()?),
        None => Some(0..seeds.parse().ok()?),
    }
}

fn play(seed: u64, log: &RefCell<Vec<String>>) {
    let mut random = StdRng::seed_from_u64(seed);
    let page_size = PageSize::new([512, 1024, 4096, 65_536][random.random_range(0..4)]).unwrap();
    let kind = if seed.is_multiple_of(3) { Kind::Alone } else { Kind::Several };
    let auto_vacuum = random.random_range(0..3);
    log.borrow_mut().push(format!("-- {kind:?}, pages of {} bytes, auto_vacuum = {auto_vacuum}", page_size.get()));
    let sides = Sides::open(kind, page_size, auto_vacuum);
    let play = Play { random: RefCell::new(random), sides: &sides, log };
    for at in 0..STEPS {
        // Not at once: some statements meet nothing at all, and some only what they make themselves.
        if at == 6 && !seed.is_multiple_of(5) {
            play.end_transactions();
            for sql in sql::SCHEMA {
                play.both(0, sql);
            }
        }
        play.step(0);
    }
    play.end_transactions();
    sides.end();
}

/// One seed's game.
struct Play<'a> {
    random: RefCell<StdRng>,
    sides: &'a Sides,
    log: &'a RefCell<Vec<String>>,
}

impl Play<'_> {
    fn number(&self, range: Range<usize>) -> usize {
        self.random.borrow_mut().random_range(range)
    }

    fn note(&self, at: usize, what: &str) {
        self.log.borrow_mut().push(format!("{at}: {what}"));
    }

    /// A statement on both sides, run to its end.
    fn both(&self, at: usize, sql: &str) {
        self.note(at, sql);
        let (ours, stock) = self.sides.pair(at);
        let answers = (answer(ours, sql), answer(stock, sql));
        assert_eq!(answers.0, answers.1, "ours and stock's answer to {sql}");
        if let Some((_, message)) = answers.0.failure() {
            self.note(at, &format!("-- {message}"));
        }
    }

    fn end_transactions(&self) {
        for at in 0..self.sides.connections() {
            // A commit is refused where a deferred foreign key is violated.
            for sql in ["COMMIT", "ROLLBACK"] {
                if !self.sides.is_autocommit(at) {
                    self.both(at, sql);
                }
            }
        }
    }

    /// Deeper steps run while a statement or a blob of a shallower one is open.
    fn step(&self, depth: usize) {
        let at = self.number(0..self.sides.connections());
        match self.number(0..100) {
            0..8 if depth < DEEPEST => self.half_read(at, depth),
            8..14 if depth < DEEPEST => self.blob(at, depth),
            14..18 if depth == 0 || self.sides.kind == Kind::Several => {
                self.note(at, "-- compared");
                self.sides.compare_committed();
            }
            18..24 => self.retune(at),
            _ => {
                let sql = sql::statement(&mut self.random.borrow_mut(), self.sides.is_autocommit(at));
                self.both(at, &sql);
            }
        }
    }

    /// Settings that change when pages are written and how ours are read, and no answer.
    fn retune(&self, at: usize) {
        match self.number(0..10) {
            0 => self.ours_alone(at, "PRAGMA mmap_size = 0"),
            1..3 => self.ours_alone(at, "PRAGMA mmap_size = 1099511627776"),
            setting => {
                let settings =
                    ["cache_size = 4", "cache_size = 30", "cache_size = -4000", "cache_spill = OFF", "cache_spill = ON", "shrink_memory"];
                // On both, because it makes a connection read the schema.
                self.both(at, &format!("PRAGMA {}", settings[setting % settings.len()]));
            }
        }
    }

    fn ours_alone(&self, at: usize, sql: &str) {
        self.note(at, &format!("{sql} -- on ours alone"));
        assert_eq!(answer(self.sides.pair(at).0, sql).failure(), None);
    }

    /// Reads some rows of a statement, then lets others run, then reads on, or does not.
    fn half_read(&self, at: usize, depth: usize) {
        let sql = sql::rows(&mut self.random.borrow_mut());
        self.note(at, &format!("{sql} -- is begun"));
        let (ours, stock) = self.sides.pair(at);
        let (mut ours, mut stock) = match (told(ours.prepare(&sql)), told(stock.prepare(&sql))) {
            (Ok(ours), Ok(stock)) => (ours, stock),
            (ours, stock) => return assert_eq!(ours.err(), stock.err(), "preparing {sql}"),
        };
        let width = stock.column_count();
        let (mut ours, mut stock) = (ours.raw_query(), stock.raw_query());
        for _ in 0..self.number(1..6) {
            if !same_row(&mut ours, &mut stock, width) {
                return;
            }
        }
        for _ in 0..self.number(1..8) {
            self.step(depth + 1);
        }
        self.note(at, &format!("{sql} -- goes on"));
        for _ in 0..self.number(0..100) {
            if !same_row(&mut ours, &mut stock, width) {
                return;
            }
        }
        self.note(at, &format!("{sql} -- is left"));
    }

    /// Reads and writes a blob piece by piece, while others run.
    fn blob(&self, at: usize, depth: usize) {
        let (table, row) = (["a", "c"][self.number(0..2)], i64::try_from(self.number(1..60)).unwrap());
        let read_only = self.number(0..3) == 0;
        self.note(at, &format!("opens the blob in row {row} of {table}, read_only = {read_only}"));
        let (ours, stock) = self.sides.pair(at);
        let open = [ours, stock].map(|connection| told(connection.blob_open("main", table, "v", row, read_only)));
        let (mut ours, mut stock) = match open.into() {
            (Ok(ours), Ok(stock)) => (ours, stock),
            (ours, stock) => return assert_eq!(ours.err(), stock.err(), "opening the blob"),
        };
        for _ in 0..self.number(1..6) {
            assert_eq!(ours.len(), stock.len(), "the blob's length");
            self.piece(at, &mut ours, &mut stock);
            if self.number(0..3) == 0 {
                self.step(depth + 1);
            }
        }
        self.note(at, "closes the blob");
        assert_eq!(told(ours.close()), told(stock.close()), "closing the blob");
    }

    fn piece(&self, at: usize, ours: &mut Blob<'_>, stock: &mut Blob<'_>) {
        let (start, len) = (self.number(0..ours.len() + 2), self.number(1..3000));
        if self.number(0..2) == 0 {
            self.note(at, &format!("reads {len} bytes of the blob from {start}"));
            let (mut one, mut other) = (vec![0; len], vec![0; len]);
            assert_eq!(told(ours.read_at(&mut one, start)), told(stock.read_at(&mut other, start)), "bytes read of the blob");
            assert!(one == other, "the blob's bytes");
        } else {
            let len = len.min(ours.len().saturating_sub(start));
            self.note(at, &format!("writes {len} bytes of the blob from {start}"));
            // Letters, because the blob may be a text.
            let bytes = vec![b'a' + u8::try_from(len % 26).unwrap(); len];
            assert_eq!(told(ours.write_at(&bytes, start)), told(stock.write_at(&bytes, start)), "writing the blob");
        }
    }
}

/// Whether there was a row; it was the same one on both sides.
fn same_row(ours: &mut Rows<'_>, stock: &mut Rows<'_>, width: usize) -> bool {
    let next = |rows: &mut Rows<'_>| told(rows.next().map(|row| row.map(|row| sides::values(row, width))));
    // Stock's first: what fails there is not our doing.
    let stock = next(stock);
    assert_eq!(next(ours), stock, "a row of ours and of stock's");
    matches!(stock, Ok(Some(_)))
}
