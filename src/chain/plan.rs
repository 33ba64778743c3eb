//! Which files make up a state.

use std::collections::BTreeSet;

use ltx::{Txid, UnixMillis};

use crate::file::{File, Files, Level};

/// The state that is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// The newest that there is.
    Newest,
    /// The one with this number.
    Txid(Txid),
    /// The newest that was made no later than this.
    At(UnixMillis),
}

/// How a state is put together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The whole database to begin with.
    pub whole: File,
    /// What is applied to it, in this order.
    pub steps: Vec<File>,
}

impl Plan {
    /// The state that it leads to.
    pub fn reaches(&self) -> Txid {
        self.steps.last().unwrap_or(&self.whole).txids.max()
    }
}

/// Why there is no plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Missing {
    /// No whole database to begin with.
    #[error("there is no whole database at or before what is asked for{}", but_for(*.earliest))]
    Whole {
        /// The first state that can be had.
        earliest: Option<Txid>,
    },
    /// Files behind it are there, but what leads to them is not.
    #[error("something is missing behind txid {}: the next file begins with txid {}", after.get(), next.get())]
    Gap {
        /// The last state that can be had before it.
        after: Txid,
        /// Where the chain goes on.
        next: Txid,
    },
    /// The state lies within a file of a compaction, and its own deltas are gone.
    #[error("txid {} cannot be had by itself any more; {} and {} can", asked.get(), before.get(), after.get())]
    Compacted {
        /// What was asked for.
        asked: Txid,
        /// The last one before it that can be had.
        before: Txid,
        /// The first one after it.
        after: Txid,
    },
    /// The chain ends before it.
    #[error("txid {} is not there: the newest is {}", asked.get(), newest.get())]
    NotThere {
        /// What was asked for.
        asked: Txid,
        /// The newest state.
        newest: Txid,
    },
}

fn but_for(txid: Option<Txid>) -> String {
    txid.map_or_else(String::new, |txid| format!("; the first state that can be had is txid {}", txid.get()))
}

impl Files {
    /// The number of a state, if there is any file of it.
    pub fn asked(&self, target: Target) -> Option<Txid> {
        match target {
            Target::Newest => self.all.last().map(|file| file.txids.max()),
            Target::Txid(txid) => Some(txid),
            Target::At(time) => self.all.iter().filter(|file| file.time <= time).map(|file| file.txids.max()).max(),
        }
    }

    /// How to put a state together. Each step goes as far as it can, so that deltas within a compaction are read only for a state within it:
    /// what lies in a slot that was emptied once proves nothing.
    pub fn plan(&self, target: Target) -> Result<Plan, Missing> {
        let asked = self.asked(target);
        let wholes = || self.all.iter().filter(|file| file.is_whole());
        let earliest = wholes().map(|whole| whole.txids.max()).min();
        let asked = asked.ok_or(Missing::Whole { earliest })?;
        let before = wholes().filter(|whole| whole.txids.max() <= asked);
        let whole = before.max_by_key(|whole| (whole.txids.max(), whole.level)).ok_or(Missing::Whole { earliest })?;
        let plan = self.leading(*whole, asked);
        if plan.reaches() == asked { Ok(plan) } else { Err(self.missing(asked, plan.reaches())) }
    }

    /// As near to a state as the files behind a whole database lead. A step that goes further never leads into a dead end that a shorter one
    /// avoids, since whatever may be applied to an earlier state may be applied to a later one within it.
    pub(crate) fn leading(&self, whole: File, asked: Txid) -> Plan {
        let mut plan = Plan { whole, steps: Vec::new() };
        let mut within: Vec<&File> = self.all.iter().filter(|file| file.level != Level::Whole && file.txids.max() <= asked).collect();
        within.sort_by_key(|file| file.txids.min());
        let mut within = within.into_iter().peekable();
        let mut furthest: Option<&File> = None;
        loop {
            // Whatever begins no later than this state is looked at once: it leads no further later on.
            while let Some(file) = within.next_if(|file| file.begins_within_reach_of(plan.reaches())) {
                furthest = furthest.into_iter().chain([file]).max_by_key(|file| (file.txids.max(), file.level));
            }
            match furthest.take().filter(|file| file.follows(plan.reaches())) {
                Some(file) => plan.steps.push(*file),
                None => return plan,
            }
        }
    }

    fn missing(&self, asked: Txid, before: Txid) -> Missing {
        let behind: BTreeSet<Txid> = self.all.iter().filter(|file| file.follows(before)).map(|file| file.txids.max()).collect();
        match (behind.first(), self.all.iter().find(|file| file.txids.max() > before)) {
            (Some(&after), _) => Missing::Compacted { asked, before, after },
            (None, Some(next)) => Missing::Gap { after: before, next: next.txids.min() },
            (None, None) => Missing::NotThere { asked, newest: before },
        }
    }
}
