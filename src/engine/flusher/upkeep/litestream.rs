//! The real Litestream restores what the upkeep makes. `testbench/tools.sh litestream` builds it, once; without it these tests fail.

use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

use chain::{File, Target};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use rusqlite::Connection;
use tempfile::TempDir;

use super::*;
use crate::clock::{Clock as _, SystemClock};
use crate::delta::By;
use crate::head::Epoch;
use crate::memory::{MemoryDatabase, MemoryOptions, Pin, SqlPool};

const EPOCH: Epoch = Epoch(3);
const SEED: u64 = 0;
const DELTAS: u64 = 60;

static LITESTREAM: LazyLock<PathBuf> = LazyLock::new(|| {
    let home = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let output = Command::new(home.join("testbench/tools.sh")).arg("litestream").output().unwrap();
    assert!(output.status.success(), "Litestream cannot be built: {}", String::from_utf8_lossy(&output.stderr));
    Path::new(String::from_utf8(output.stdout).unwrap().trim()).join("litestream")
});

fn image(pin: &Pin) -> Vec<u8> {
    let mut bytes = Vec::new();
    pin.image().read_to_end(&mut bytes).unwrap();
    bytes
}

/// A database whose chain lies in a folder, as Litestream looks for it.
struct Line {
    memory: MemoryDatabase,
    connection: Connection,
    tip: Tip,
    upkeep: Upkeep,
    now: Instant,
    folder: TempDir,
    files: Vec<File>,
    /// By number, from 1.
    states: Vec<Vec<u8>>,
}

impl Line {
    fn new() -> Self {
        let memory = MemoryDatabase::new(MemoryOptions::new(SqlPool::new(1.try_into().unwrap()))).unwrap();
        let connection = memory.connect().unwrap();
        connection.execute_batch("create table t (id integer primary key, noise)").unwrap();
        let (pin, now) = (memory.pin(), SystemClock.now());
        let tip = Tip::of(&pin, Txid::FIRST, UnixMillis(0));
        let (upkeep, folder) = (Upkeep::of(&tip, 0, now), TempDir::new().unwrap());
        let mut line = Self { memory, connection, tip, upkeep, now, folder, files: Vec::new(), states: vec![image(&pin)] };
        line.add(Level::Whole, Draft::whole(&pin, &line.tip, EPOCH));
        line
    }

    fn path(&self, file: &File) -> PathBuf {
        let level: u8 = file.level.folder().parse().unwrap();
        self.folder.path().join(format!("ltx/{level}/{}", file.txids))
    }

    fn add(&mut self, level: Level, draft: Draft) -> u64 {
        let (txids, time) = (draft.header.txids, draft.header.time);
        let mut bytes = Vec::new();
        draft.encoded().unwrap().content().reader().read_to_end(&mut bytes).unwrap();
        let file = File { level, txids, time, size: bytes.len() as u64 };
        fs::create_dir_all(self.path(&file).parent().unwrap()).unwrap();
        fs::write(self.path(&file), bytes).unwrap();
        self.files.push(file);
        file.size
    }

    /// One delta, and whatever is due after it.
    fn commit(&mut self, sql: &str, passed: Duration) {
        self.now += passed;
        self.connection.execute_batch(sql).unwrap();
        let (pin, changes) = self.memory.pin_with_changes(self.tip.commits);
        let delta = self.tip.delta(&pin, changes, By { epoch: EPOCH, time: UnixMillis(0) });
        let bytes = self.add(Level::Delta, delta.draft.clone());
        self.tip.follow(&delta);
        self.upkeep.went_on(&delta, bytes, self.now);
        self.states.push(image(&pin));
        while let Some((level, gathered)) = self.upkeep.begin(&self.tip, pin.size(), self.now) {
            let draft = match level {
                Level::Whole => Draft::whole(&pin, &self.tip, EPOCH),
                Level::Delta | Level::Minutes | Level::Hour => gathered.draft(&pin, &self.tip, EPOCH),
            };
            self.add(level, draft);
        }
    }

    /// What Litestream makes of the files.
    fn restored(&self, txid: u64) -> Option<Vec<u8>> {
        let out = TempDir::new().unwrap();
        let file = out.path().join("database");
        let output = Command::new(&*LITESTREAM)
            .args(["restore", "-txid", &format!("{txid:016x}"), "-integrity-check", "full", "-o"])
            .arg(&file)
            .arg(format!("file://{}", self.folder.path().display()))
            .env_remove("AWS_CA_BUNDLE")
            .output()
            .unwrap();
        output.status.success().then(|| fs::read(file).unwrap())
    }

    /// Compares what can be had; answers with how many states that are, and with the levels by which they are put together.
    fn compare(&self) -> (usize, Vec<Level>) {
        let files = Files::new(self.files.iter().copied(), Txid::FIRST);
        let (mut count, mut levels) = (0, Vec::new());
        for (number, state) in (1..).zip(&self.states) {
            let plan = files.plan(Target::Txid(Txid::new(number).unwrap()));
            assert_eq!(self.restored(number).as_ref(), plan.is_ok().then_some(state), "txid {number}: {plan:?}");
            if let Ok(plan) = plan {
                count += 1;
                levels.extend(plan.steps.iter().map(|step| step.level));
            }
        }
        levels.sort_unstable();
        levels.dedup();
        (count, levels)
    }

    /// Deletes these files.
    fn lose(&mut self, is_lost: impl Fn(&File) -> bool) {
        let (lost, left) = self.files.iter().partition(|file| is_lost(file));
        self.files = left;
        let lost: Vec<File> = lost;
        for file in lost {
            fs::remove_file(self.path(&file)).unwrap();
        }
    }
}

/// It grows, shrinks, and has pages that were never written.
fn statement(random: &mut StdRng) -> String {
    let fill = |table: &str, rows: u32| {
        format!(
            "insert into {table} (noise) with recursive n(i) as (select 1 union all select i + 1 from n where i < {rows}) \
             select randomblob(3000) from n;"
        )
    };
    match random.random_range(0..6) {
        0 => fill("t", random.random_range(1..30)),
        1 => format!("delete from t where id % 3 = {}", random.random_range(0..3)),
        2 => "delete from t where id > 9; vacuum".to_owned(),
        3 => {
            let make = |table: &str| format!("create table if not exists {table} (id integer primary key, noise);");
            format!("begin; {}{}{}{}delete from gone; commit", make("gone"), fill("gone", 20), make("stays"), fill("stays", 2))
        }
        _ => format!("update t set noise = randomblob(2000) where id = {}", random.random_range(1..20)),
    }
}

#[test]
fn litestream_goes_through_compactions_and_whole_databases_as_we_do() {
    let mut random = StdRng::seed_from_u64(SEED);
    let mut line = Line::new();
    line.commit("insert into t (noise) values (zeroblob(400000))", Duration::ZERO);
    for _ in 0..DELTAS {
        let sql = statement(&mut random);
        line.commit(&sql, Duration::from_secs(random.random_range(30..300)));
    }
    let all = line.states.len();
    assert_eq!(line.compare(), (all, vec![Level::Delta, Level::Minutes, Level::Hour]));
    // What a compaction leads over can be had no more, and nothing else is missed.
    line.lose(|file| file.level == Level::Delta);
    let (count, levels) = line.compare();
    assert!(count < all && levels == [Level::Minutes, Level::Hour], "{count} {levels:?}");
    line.lose(|file| file.level == Level::Minutes);
    let (count, levels) = line.compare();
    assert!(count > 1 && levels == [Level::Hour], "{count} {levels:?}");
}
