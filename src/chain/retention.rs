//! What nobody needs any more.

use std::collections::BTreeSet;

use ltx::{Txid, UnixMillis};

use crate::file::{File, Files, Level};

/// What has to stay.
#[derive(Debug, Clone, Copy)]
pub struct Keep<'a> {
    /// Every state that was made at this time or later, and the one that was there then.
    pub since: UnixMillis,
    /// The horizon that was announced last. It never goes back.
    pub horizon: Txid,
    /// Slots of fences and promotions. A slot that is emptied could be filled again by a writer that wakes up late, and what it wrote
    /// there would be acknowledged and never restored.
    pub slots: &'a BTreeSet<Txid>,
}

/// What may go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expired {
    /// The first state that can be had from now on. It is announced before anything is deleted.
    pub horizon: Txid,
    /// What no state from there on needs, the oldest first.
    pub files: Vec<File>,
}

impl Files {
    /// What may go so that what is to be kept can be had. The whole database that stays lets each state behind it be put together, so what
    /// ends at or before it is needed by none.
    pub fn expired(&self, keep: &Keep<'_>) -> Expired {
        let wholes = self.all.iter().filter(|file| file.is_whole());
        let begin = wholes.filter(|whole| whole.time <= keep.since).map(|whole| whole.txids.max()).max();
        let horizon = begin.map_or(keep.horizon, |begin| begin.max(keep.horizon));
        let is_needed = |file: &File| {
            let ends = file.txids.max();
            ends > horizon || (file.is_whole() && ends == horizon) || (file.level == Level::Delta && keep.slots.contains(&ends))
        };
        // Without a whole database there nothing can be put together from there on, whatever was announced.
        let stands = self.all.iter().any(|file| file.is_whole() && file.txids.max() == horizon);
        let files = if stands { self.all.iter().filter(|file| !is_needed(file)).copied().collect() } else { Vec::new() };
        Expired { horizon, files }
    }
}
