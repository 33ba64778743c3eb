//! The files of a chain, and where they lie.

use std::collections::BTreeSet;
use std::fmt;

use ltx::{Txid, TxidRange, UnixMillis};

/// How much of the past a file holds at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// One delta, in the slot of its number.
    Delta,
    /// The deltas of five minutes.
    Minutes,
    /// Those of an hour.
    Hour,
    /// A whole database.
    Whole,
}

impl Level {
    /// From the one that writers fill to the one that stands alone.
    pub const ALL: [Self; 4] = [Self::Delta, Self::Minutes, Self::Hour, Self::Whole];

    /// The folder of its files, as Litestream names it.
    pub fn folder(self) -> &'static str {
        match self {
            Self::Delta => "0000",
            Self::Minutes => "0001",
            Self::Hour => "0002",
            Self::Whole => "0009",
        }
    }
}

/// A file, as a listing tells of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct File {
    /// Where it lies.
    pub level: Level,
    /// The states that it leads through.
    pub txids: TxidRange,
    /// When the last of them was made.
    pub time: UnixMillis,
    /// In bytes.
    pub size: u64,
}

/// A name under the chain that is none of its files.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no file of a chain: a level's folder, then the range of txids that such a file may have")]
pub struct NotOfTheChain(String);

impl File {
    /// What lies at this place below the chain's folder. Of deltas the name is the slot that a condition guards, so one that spans more than its
    /// own number is none; a whole database begins with txid 1.
    pub fn at(place: &str, size: u64, time: UnixMillis) -> Result<Self, NotOfTheChain> {
        let parsed = place.split_once('/').and_then(|(folder, name)| {
            let level = Level::ALL.into_iter().find(|level| level.folder() == folder)?;
            Some((level, name.parse::<TxidRange>().ok()?))
        });
        let fits = |&(level, txids): &(Level, TxidRange)| match level {
            Level::Delta => txids.min() == txids.max(),
            Level::Minutes | Level::Hour => true,
            Level::Whole => txids.min() == Txid::FIRST,
        };
        let (level, txids) = parsed.filter(fits).ok_or_else(|| NotOfTheChain(place.to_owned()))?;
        Ok(Self { level, txids, time, size })
    }

    /// Whether it is enough by itself: before the first state there is nothing that it could leave out. Litestream begins a chain with a delta.
    pub fn is_whole(&self) -> bool {
        self.txids.min() == Txid::FIRST
    }

    /// Whether it can be applied to this state, or holds it already. Only files of compactions begin before it.
    pub(crate) fn follows(&self, state: Txid) -> bool {
        self.level != Level::Whole && self.begins_within_reach_of(state) && self.txids.max() > state
    }

    pub(crate) fn begins_within_reach_of(&self, state: Txid) -> bool {
        self.txids.min().get() <= state.get().saturating_add(1)
    }
}

/// Its place below the chain's folder.
impl fmt::Display for File {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.level.folder(), self.txids)
    }
}

/// Of those that end at one state the higher one comes first: it is fewer files, and no slot that somebody may have emptied.
fn by_end(file: &File) -> (Txid, std::cmp::Reverse<Level>) {
    (file.txids.max(), std::cmp::Reverse(file.level))
}

/// The files of one chain.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Files {
    pub(crate) all: Vec<File>,
}

impl Files {
    /// Those that count: `first` is where the chain begins. What lies below it was there before.
    pub fn new(files: impl IntoIterator<Item = File>, first: Txid) -> Self {
        let mut all: Vec<File> = files.into_iter().filter(|file| file.txids.max() >= first).collect();
        all.sort_by_key(by_end);
        Self { all }
    }

    /// The same without these.
    #[must_use]
    pub fn without(&self, damaged: &BTreeSet<String>) -> Self {
        Self { all: self.all.iter().filter(|file| !damaged.contains(&file.to_string())).copied().collect() }
    }

    /// The same and this one.
    #[must_use]
    pub fn and(mut self, file: File) -> Self {
        self.all.push(file);
        self.all.sort_by_key(by_end);
        self
    }

    /// How far the files lead from the newest whole database without a gap.
    pub fn reach(&self) -> Option<Txid> {
        let whole = self.all.iter().rev().find(|file| file.is_whole())?;
        Some(self.leading(*whole, Txid::LAST).reaches())
    }

    /// All of them, by the state that they end at.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &File> {
        self.all.iter()
    }
}
