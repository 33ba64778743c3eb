//! gc's list of marked blobs, and how puts and gc change it. Pure but for the two calls that read and write it.
//!
//! Owns: what the list says about a file, and its allowed changes. Does not own: what is marked (`gc`), nor when a put looks (`put`).
//!
//! ```text
//!              gc: nobody uses these                 gc: after the wait, still nobody does
//!   (nothing) ───────────────────────▶ marked ───────────────────────────────────────────▶ sealed
//!                                      │    ▲                                                │
//!            put: strikes its file out └────┘◀───────────────────────────────────────────────┘
//!                                             gc: the sealed blobs are gone; marks the next ones
//! ```
//! Invariants: while a file is sealed, no row for it is committed; only a sealed blob is deleted, and only by the run that sealed it. Once it
//! is there, the list is never deleted: so a list that is the same at two looks was the same in between.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::names::FileKey;
use crate::clock::WallTime;
use crate::document::{Document, Found};
use crate::snapshot::PutId;

const FORMAT: u32 = 1;

/// What happens to the blobs of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Phase {
    /// Nobody used them when they were marked.
    Marked,
    /// They are being deleted. A put of one of them waits.
    Sealed,
}

/// The list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Marks {
    format: u32,
    /// One more with each change.
    counter: u64,
    /// Which change this is.
    put_id: String,
    pub(crate) phase: Phase,
    /// When the blobs were marked, or sealed.
    pub(crate) time: WallTime,
    pub(crate) hashes: BTreeSet<FileKey>,
}

impl Document for Marks {
    const FORMATS: std::ops::RangeInclusive<u32> = FORMAT..=FORMAT;

    fn format(&self) -> u32 {
        self.format
    }
}

/// What a list says about one file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Nothing.
    Free,
    /// It is to be struck out before a row for it is committed.
    Marked,
    /// Its blob may go at any moment.
    Sealed,
}

impl Marks {
    /// What comes after `before`.
    pub(crate) fn next(before: Option<&Self>, phase: Phase, hashes: BTreeSet<FileKey>, time: WallTime, put_id: &PutId) -> Self {
        let counter = before.map_or(0, |before| before.counter) + 1;
        Self { format: FORMAT, counter, put_id: put_id.to_string(), phase, time, hashes }
    }

    pub(crate) fn standing(&self, key: &FileKey) -> Standing {
        match (self.hashes.contains(key), self.phase) {
            (false, _) => Standing::Free,
            (true, Phase::Marked) => Standing::Marked,
            (true, Phase::Sealed) => Standing::Sealed,
        }
    }

    /// The same list without one file. The others keep the time at which they were marked.
    pub(crate) fn without(&self, key: &FileKey, put_id: &PutId) -> Self {
        let mut hashes = self.hashes.clone();
        hashes.remove(key);
        Self::next(Some(self), self.phase, hashes, self.time, put_id)
    }
}

impl Found<Marks> {
    /// When the list was certainly written: a request may have arrived long after it was sent, and the store's clock tells.
    pub(crate) fn written(&self) -> WallTime {
        self.last_modified.map_or(self.document.time, |stored| stored.max(self.document.time))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::PutIds;

    fn key(byte: u8) -> FileKey {
        FileKey::of_digest([byte; 32])
    }

    #[test]
    fn a_list_says_what_becomes_of_a_file() {
        let ids = PutIds::new();
        let time = "2026-11-23T08:00:00Z".parse().unwrap();
        let marked = Marks::next(None, Phase::Marked, [key(1), key(2)].into(), time, &ids.fresh());
        assert_eq!([1, 3].map(|n| marked.standing(&key(n))), [Standing::Marked, Standing::Free]);
        let struck = marked.without(&key(1), &ids.fresh());
        assert_eq!([1, 2].map(|n| struck.standing(&key(n))), [Standing::Free, Standing::Marked]);
        assert_eq!((struck.counter, struck.time), (2, time));
        let sealed = Marks::next(Some(&struck), Phase::Sealed, struck.hashes.clone(), time, &ids.fresh());
        assert_eq!([1, 2].map(|n| sealed.standing(&key(n))), [Standing::Free, Standing::Sealed]);
    }

    #[test]
    fn the_document_is_plain_json_and_no_two_are_equal() {
        let ids = PutIds::new();
        let time = "2026-11-23T08:00:00Z".parse().unwrap();
        let [one, two] = [(); 2].map(|()| Marks::next(None, Phase::Marked, [key(0xab)].into(), time, &ids.fresh()));
        assert_ne!(serde_json::to_string(&one).unwrap(), serde_json::to_string(&two).unwrap());
        let json: serde_json::Value = serde_json::to_value(&one).unwrap();
        assert_eq!(json["phase"], "marked");
        assert_eq!(json["hashes"][0], "ab".repeat(32));
        assert_eq!(serde_json::from_value::<Marks>(json).unwrap(), one);
    }

    #[test]
    fn a_list_that_arrived_late_counts_from_its_arrival() {
        let at = |text: &str| text.parse::<WallTime>().unwrap();
        let document = Marks::next(None, Phase::Marked, BTreeSet::new(), at("2026-11-23T08:00:00Z"), &PutIds::new().fresh());
        let mut found = Found { document, etag: crate::names::Etag::new("e"), last_modified: Some(at("2026-11-23T08:05:00Z")) };
        assert_eq!(found.written(), at("2026-11-23T08:05:00Z"));
        found.last_modified = Some(at("2026-11-23T07:00:00Z"));
        assert_eq!(found.written(), at("2026-11-23T08:00:00Z"));
    }
}
