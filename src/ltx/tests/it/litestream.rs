//! The real Litestream, and the `ltx` of its library: they restore what we write, we read what it writes.
//!
//! `testbench/tools.sh litestream` builds both, once; without them these tests fail.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

use ltx::{Checksum, Header, PageCount, PageSize, Position, TxidRange};
use rusqlite::Connection;
use tempfile::TempDir;

use crate::pages::{Pages, checksum, decode, encode, header, no, noise, page_size, plain, txid};

static TOOLS: LazyLock<PathBuf> = LazyLock::new(|| {
    let home = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let output = Command::new(home.join("testbench/tools.sh")).arg("litestream").output().unwrap();
    assert!(output.status.success(), "Litestream cannot be built: {}", String::from_utf8_lossy(&output.stderr));
    PathBuf::from(String::from_utf8(output.stdout).unwrap().trim())
});

/// What it prints, or why it failed.
fn run(tool: &str, arguments: &[&Path]) -> Result<String, String> {
    let output = Command::new(TOOLS.join(tool)).args(arguments).env_remove("AWS_CA_BUNDLE").output().unwrap();
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr) + &text(&output.stdout)) }
}

/// A folder in which Litestream looks for files, as it looks into a bucket.
struct Replica(TempDir);

impl Replica {
    fn new() -> Self {
        Self(TempDir::new().unwrap())
    }

    /// Where the files of this level lie.
    fn level(&self, level: u8) -> PathBuf {
        self.0.path().join(format!("ltx/{level}"))
    }

    fn add(&self, level: u8, txids: TxidRange, file: &[u8]) {
        fs::create_dir_all(self.level(level)).unwrap();
        fs::write(self.level(level).join(txids.to_string()), file).unwrap();
    }

    /// The files of this level, in order.
    fn files(&self, level: u8) -> Vec<(TxidRange, PathBuf)> {
        let Ok(folder) = fs::read_dir(self.level(level)) else { return Vec::new() };
        let mut files: Vec<_> = folder
            .map(|entry| entry.unwrap().path())
            .map(|path| (path.file_name().unwrap().to_str().unwrap().parse::<TxidRange>().unwrap(), path))
            .collect();
        files.sort_by_key(|(txids, _)| txids.min());
        files
    }

    fn url(&self) -> PathBuf {
        format!("file://{}", self.0.path().display()).into()
    }

    /// What Litestream restores: the newest state, or that of a txid.
    fn restore(&self, txid: Option<u64>, check: &str) -> Result<Vec<u8>, String> {
        let out = TempDir::new().unwrap();
        let file = out.path().join("database");
        let txid = format!("{:016x}", txid.unwrap_or(0));
        let arguments = ["restore", "-txid", &txid, "-integrity-check", check, "-o"].map(Path::new);
        run("litestream", &[&arguments[..], &[&file, &self.url()]].concat())?;
        Ok(fs::read(file).unwrap())
    }
}

/// A file of a database, as pages.
fn pages(file: &[u8], size: PageSize) -> Pages {
    (1..).zip(file.chunks(usize::try_from(size.get()).unwrap()).map(<[u8]>::to_vec)).collect()
}

fn bytes(pages: &Pages) -> Vec<u8> {
    pages.values().flatten().copied().collect()
}

/// A database, commit by commit, and the files that lead from one to the next.
struct History {
    size: PageSize,
    states: Vec<Pages>,
    deltas: Vec<Vec<u8>>,
    after: Option<Position>,
}

impl History {
    fn new(size: PageSize) -> Self {
        Self { size, states: Vec::new(), deltas: Vec::new(), after: None }
    }

    /// The next state, and the delta that leads there. It holds `more` pages besides those that differ.
    fn commit(&mut self, state: Pages, more: &[u32]) {
        let nothing = Pages::new();
        let before = self.states.last().unwrap_or(&nothing);
        let delta = state.iter().filter(|(number, page)| more.contains(number) || before.get(number) != Some(page));
        let number = self.states.len() as u64 + 1;
        let header = self.header(TxidRange::only(txid(number)), &state, self.after.map_or(Some(Checksum::EMPTY), |after| after.checksum));
        let delta = delta.map(|(&number, page)| (number, page.clone())).collect();
        let (file, summary) = encode(header, self.after.as_ref(), &delta, Some(checksum(&state))).unwrap();
        self.after = Some(summary.position());
        self.states.push(state);
        self.deltas.push(file);
    }

    fn header(&self, txids: TxidRange, state: &Pages, pre_apply: Option<Checksum>) -> Header {
        let commit = PageCount(u32::try_from(state.len()).unwrap());
        Header { page_size: self.size, txids, commit, pre_apply, ..header(1, 1, 1) }
    }

    fn state(&self, txid: usize) -> &Pages {
        &self.states[txid - 1]
    }

    /// The deltas of these txids as one file.
    fn compaction(&self, min: usize, max: usize) -> (TxidRange, Vec<u8>) {
        let read = |txid: usize| decode(self.deltas[txid - 1].as_slice()).unwrap();
        let before = read(min - 1).0.position();
        let smallest = (min..=max).map(|txid| self.state(txid).len()).min().unwrap();
        let after = Position { commit: before.commit.min(PageCount(u32::try_from(smallest).unwrap())), ..before };
        let mut pages: Pages = (min..=max).flat_map(|txid| read(txid).1).collect();
        pages.split_off(&(u32::try_from(self.state(max).len()).unwrap() + 1));
        let txids = TxidRange::new(txid(min as u64), txid(max as u64)).unwrap();
        let header = self.header(txids, self.state(max), before.checksum);
        (txids, encode(header, Some(&after), &pages, Some(checksum(self.state(max)))).unwrap().0)
    }

    /// The whole database.
    fn whole(&self, at: usize) -> (TxidRange, Vec<u8>) {
        let txids = TxidRange::new(txid(1), txid(at as u64)).unwrap();
        let header = self.header(txids, self.state(at), Some(Checksum::EMPTY));
        (txids, encode(header, None, self.state(at), Some(checksum(self.state(at)))).unwrap().0)
    }
}

/// What SQLite does to a file: it grows, shrinks, grows again.
fn history_of_sqlite(size: u32) -> History {
    const STEPS: [&str; 7] = [
        "CREATE TABLE t (id INTEGER PRIMARY KEY, text TEXT)",
        "INSERT INTO t SELECT value, hex(randomblob(400)) FROM series(1, 400)",
        "UPDATE t SET text = 'short' WHERE id = 77",
        "DELETE FROM t WHERE id > 40",
        "VACUUM",
        "INSERT INTO t SELECT value, hex(zeroblob(900)) FROM series(1000, 1200)",
        "CREATE INDEX i ON t (text)",
    ];
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("database");
    let connection = Connection::open(&file).unwrap();
    connection.pragma_update(None, "page_size", size).unwrap();
    let mut history = History::new(page_size(size));
    for step in STEPS {
        connection.execute_batch(&with_series(step)).unwrap();
        history.commit(pages(&fs::read(&file).unwrap(), page_size(size)), &[]);
    }
    assert!(history.states.windows(2).any(|pair| pair[0].len() > pair[1].len()), "it never shrank");
    // A fence: page 1 again.
    history.commit(history.states.last().unwrap().clone(), &[1]);
    history
}

/// The statement with a table of the numbers from one to another in place of `series`, which the bundled library lacks.
fn with_series(statement: &str) -> String {
    let Some((head, tail)) = statement.split_once(" FROM series(") else { return statement.to_owned() };
    let (from, to) = tail.trim_end_matches(')').split_once(", ").unwrap();
    let (insert, select) = head.split_once(" SELECT ").unwrap();
    format!(
        "{insert} WITH RECURSIVE series(value) AS (SELECT {from} UNION ALL SELECT value + 1 FROM series WHERE value < {to})
         SELECT {select} FROM series"
    )
}

#[test]
fn litestream_restores_each_state_of_a_chain() {
    for size in [512, 4096, 65_536] {
        let history = history_of_sqlite(size);
        let replica = Replica::new();
        for (txid, file) in (1..).map(txid).zip(&history.deltas) {
            replica.add(0, TxidRange::only(txid), file);
        }
        for (number, state) in (1..).zip(&history.states) {
            let restored = replica.restore(Some(number), "full").unwrap();
            assert!(restored == bytes(state), "state {number} of pages of {size} bytes");
        }
        assert!(replica.restore(None, "full").unwrap() == bytes(history.states.last().unwrap()));
    }
}

#[test]
fn litestream_restores_through_levels() {
    let history = history_of_sqlite(4096);
    let replica = Replica::new();
    let (txids, whole) = history.whole(2);
    replica.add(9, txids, &whole);
    // It shrinks and grows within.
    let (txids, compaction) = history.compaction(3, 6);
    replica.add(1, txids, &compaction);
    for number in [7, 8] {
        replica.add(0, TxidRange::only(txid(number as u64)), &history.deltas[number - 1]);
    }
    for number in [2, 6, 7, 8] {
        assert!(replica.restore(Some(number as u64), "full").unwrap() == bytes(history.state(number)), "state {number}");
    }
}

#[test]
fn litestream_restores_pages_that_were_never_written_as_zeros() {
    let mut history = History::new(page_size(512));
    let all: Pages = (1..=6).map(|number| (number, noise(number, 512))).collect();
    history.commit(all.clone(), &[]);
    let mut grown: Pages = all.into_iter().filter(|(number, _)| *number <= 2).collect();
    grown.extend((3..=5).map(|number| (number, vec![0; 512])));
    grown.insert(6, plain(6));
    history.commit(grown.clone(), &[]);
    let replica = Replica::new();
    for (txid, file) in (1..).map(txid).zip(&history.deltas) {
        replica.add(0, TxidRange::only(txid), file);
    }
    assert!(replica.restore(None, "none").unwrap() == bytes(&grown));
}

/// Checksums of states are worth their place: Litestream compares them.
#[test]
fn litestream_refuses_a_chain_that_leads_elsewhere() {
    let state = |fill: u8| Pages::from([(1, plain(1)), (2, vec![fill; 512])]);
    let mut history = History::new(page_size(512));
    history.commit(state(1), &[]);
    let after = history.after.unwrap();
    let header = history.header(TxidRange::only(txid(2)), &state(2), after.checksum);
    let replica = Replica::new();
    replica.add(0, TxidRange::only(txid(1)), &history.deltas[0]);
    for said in [3, 2] {
        let delta = Pages::from([(2, vec![2; 512])]);
        let (file, _) = encode(header, Some(&after), &delta, Some(checksum(&state(said)))).unwrap();
        replica.add(0, TxidRange::only(txid(2)), &file);
        let restored = replica.restore(None, "none");
        if said == 2 {
            assert!(restored.unwrap() == bytes(&state(2)));
        } else {
            assert!(restored.unwrap_err().contains("does not match calculated checksum"));
        }
    }
}

#[test]
fn go_verifies_each_file_and_computes_the_same_checksums() {
    let folder = TempDir::new().unwrap();
    let path = |name: &str| folder.path().join(name);
    for size in [512, 4096, 65_536] {
        let history = history_of_sqlite(size);
        fs::write(path("database"), []).unwrap();
        for (number, delta) in (1..).zip(&history.deltas) {
            fs::write(path("delta"), delta).unwrap();
            assert_eq!(run("ltx", &["verify".as_ref(), &path("delta")]).unwrap(), "ok\n");
            // It compares the states before and behind, but does not make a file shorter.
            let (before, state) = (history.states[..number].iter().rev().nth(1), &history.states[number - 1]);
            if number > 1 && before.is_none_or(|before| before.len() <= state.len()) {
                run("ltx", &["apply".as_ref(), "-db".as_ref(), &path("database"), &path("delta")]).unwrap();
                assert!(fs::read(path("database")).unwrap() == bytes(state));
            }
            fs::write(path("database"), bytes(state)).unwrap();
            assert_eq!(run("ltx", &["checksum".as_ref(), &path("database")]).unwrap().trim(), checksum(state).to_string());
        }
        let (_, whole) = history.whole(history.states.len());
        fs::write(path("whole"), whole).unwrap();
        assert_eq!(run("ltx", &["verify".as_ref(), &path("whole")]).unwrap(), "ok\n");
    }
}

/// A database that reaches over the lock page; almost all of it is zeros, so the file is small.
#[test]
fn go_verifies_a_database_of_more_than_a_gibibyte() {
    const COMMIT: u32 = 16_386;
    let page = vec![0; 65_536];
    let header = Header { page_size: page_size(65_536), ..header(1, 1, COMMIT) };
    let numbers = (1..=COMMIT).filter(|number| *number != 16_385);
    let mut file = Vec::new();
    let mut encoder = ltx::Encoder::new(&mut file, header, None).unwrap();
    let mut state = Checksum::EMPTY;
    for number in numbers.map(no) {
        encoder.page(number, &page).unwrap();
        state = state.with(Checksum::of_page(number, &page));
    }
    encoder.finish(Some(state)).unwrap();
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("whole");
    fs::write(&path, &file).unwrap();
    assert_eq!(run("ltx", &["verify".as_ref(), &path]).unwrap(), "ok\n");
    assert_eq!(ltx::Decoder::new(file.as_slice()).unwrap().finish().unwrap().index.len(), COMMIT as usize - 1);
}

#[test]
fn what_litestream_writes_is_read() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("database");
    let replica = Replica::new();
    let connection = Connection::open(&file).unwrap();
    connection.pragma_update(None, "journal_mode", "wal").unwrap();
    for step in [
        "CREATE TABLE t (id INTEGER PRIMARY KEY, text TEXT)",
        "INSERT INTO t SELECT value, hex(randomblob(400)) FROM series(1, 300)",
        "UPDATE t SET text = 'short' WHERE id = 77",
    ] {
        connection.execute_batch(&with_series(step)).unwrap();
        run("litestream", &["replicate".as_ref(), "-once".as_ref(), &file, &replica.url()]).unwrap();
    }

    let files = replica.files(0);
    assert!(files.len() > 1, "{files:?}");
    let mut state = Pages::new();
    let mut after: Option<Position> = None;
    for (txids, path) in files {
        let (summary, pages) = decode(fs::read(path).unwrap().as_slice()).unwrap();
        assert_eq!((summary.header.txids, summary.header.pre_apply, summary.post_apply), (txids, None, None));
        if let Some(after) = after {
            after.admits(&summary.header).unwrap();
        }
        after = Some(summary.position());
        state.extend(pages);
        state.split_off(&(summary.header.commit.0 + 1));
    }
    let restored = replica.restore(None, "full").unwrap();
    assert!(bytes(&state) == restored);
    // And it is what Go calls it.
    fs::write(&file, &restored).unwrap();
    assert_eq!(run("ltx", &["checksum".as_ref(), &file]).unwrap().trim(), checksum(&state).to_string());
}
