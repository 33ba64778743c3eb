//! What is known of a database's branches and of its promotion between two looks.

use std::collections::BTreeMap;
use std::time::Duration;

use engine::{BranchName, Epoch, Listing, WallTime};

use crate::crd::BranchSpec;
use crate::problem::Problem;

/// All of it.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Lineage {
    /// Branches that cannot be made as they are declared.
    pub(crate) refused: BTreeMap<BranchName, Refused>,
    /// The branches that are there, as of the newest change by this process. `None` until it is looked.
    pub(crate) listed: Option<Listed>,
    /// How the newest promotion ended that was tried.
    pub(crate) promotion: Option<Settlement>,
}

/// A branch that cannot be made, as long as its declaration stays.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Refused {
    pub(crate) declared: BranchSpec,
    pub(crate) problem: Problem,
}

/// What a listing found, and what was served then.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Listed {
    pub(crate) found: Listing,
    pub(crate) serving: (BranchName, Epoch),
}

/// How a promotion ended.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Settlement {
    /// Of the block in the spec that was tried.
    pub(crate) digest: String,
    pub(crate) end: End,
}

/// Done, or not.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum End {
    /// It is carried out, and nothing is left to do.
    Applied {
        /// The state of `to` that it made.
        txid: Option<u64>,
        /// When.
        time: Option<WallTime>,
        /// In words.
        message: String,
    },
    /// It is not, or nobody knows.
    Failed {
        /// Why.
        problem: Problem,
        /// How often in a row.
        attempts: u32,
        /// When the last try began.
        at: WallTime,
        /// Until the next; `None` if nothing but another spec helps.
        pause: Option<Duration>,
    },
}
