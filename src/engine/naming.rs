//! What states in memory are called.
//!
//! Owns: which delta a commit belongs to, from the moment at which it is made. Does not own: when a delta is made (`flusher.rs`).
//! Invariants: a name that was given stands for that state for ever, and for no other; a state of which nobody knows the name gets none.

use std::collections::VecDeque;
use std::fmt;
use std::str::FromStr;

use ltx::Txid;

use crate::head::Epoch;
use crate::memory::Commits;

/// The name of a state of a branch: `epoch.txid.place`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct StateId {
    /// The tenure in which it was made.
    pub epoch: Epoch,
    /// The delta that holds it, or will.
    pub txid: u64,
    /// Its number among the commits of that delta; 0 for the state that a tenure began with.
    pub place: u64,
}

impl fmt::Display for StateId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.epoch, self.txid, self.place)
    }
}

/// A text that names no state.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` names no state: write epoch.txid.place, such as 3.1204.2")]
pub struct NoStateId(String);

/// A state that files in the bucket prove: `epoch.txid`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ProvedState {
    /// The highest tenure that any of the files bears.
    pub epoch: Epoch,
    /// The delta that leads to it.
    pub txid: u64,
}

impl fmt::Display for ProvedState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.epoch, self.txid)
    }
}

/// A text that is no `epoch.txid`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` names no state: write epoch.txid, such as 3.1204")]
pub struct NoProvedState(String);

impl FromStr for ProvedState {
    type Err = NoProvedState;

    fn from_str(text: &str) -> Result<Self, NoProvedState> {
        let (epoch, txid) = text.split_once('.').ok_or_else(|| NoProvedState(text.to_owned()))?;
        match (number(epoch), number(txid)) {
            (Some(epoch), Some(txid)) => Ok(Self { epoch: Epoch(epoch), txid }),
            _ => Err(NoProvedState(text.to_owned())),
        }
    }
}

/// A number as we write it.
fn number(text: &str) -> Option<u64> {
    text.parse().ok().filter(|number: &u64| number.to_string() == text)
}

impl FromStr for StateId {
    type Err = NoStateId;

    fn from_str(text: &str) -> Result<Self, NoStateId> {
        let mut parts = text.split('.').map(number);
        match (parts.next().flatten(), parts.next().flatten(), parts.next().flatten(), parts.next()) {
            (Some(epoch), Some(txid), Some(place), None) => Ok(Self { epoch: Epoch(epoch), txid, place }),
            _ => Err(NoStateId(text.to_owned())),
        }
    }
}

/// The deltas of a tenure, by the commits that they end with.
#[derive(Debug, Clone)]
pub(crate) struct Naming {
    epoch: Epoch,
    /// In the order of both.
    ends: VecDeque<End>,
    /// Earlier commits are none of this tenure's,
    from: Commits,
    /// nor later ones.
    until: Option<Commits>,
}

#[derive(Debug, Clone, Copy)]
struct End {
    commits: Commits,
    txid: u64,
}

/// So many deltas are remembered; longer than any statement runs, as many as there may be in a second.
const REMEMBERED: usize = 4096;

impl Naming {
    /// Of a tenure that began with the state `txid`, which the memory holds with `commits`.
    pub(crate) fn new(epoch: Epoch, txid: Txid, commits: Commits) -> Self {
        Self { epoch, ends: VecDeque::from([End { commits, txid: txid.get() }]), from: commits, until: None }
    }

    /// Of a tenure that the memory went on with by a commit of its own, which is in its first delta. What the memory held before is not its.
    pub(crate) fn of_switch(epoch: Epoch, first: Txid, commits: Commits) -> Self {
        let (before, now) = (End { commits: Commits(commits.0 - 1), txid: first.get() - 1 }, End { commits, txid: first.get() });
        Self { epoch, ends: VecDeque::from([before, now]), from: commits, until: None }
    }

    /// Of a state that is only shown: who made it gave it its name.
    pub(crate) fn without_names() -> Self {
        Self { epoch: Epoch::default(), ends: VecDeque::new(), from: Commits(u64::MAX), until: None }
    }

    /// The next delta holds everything up to here.
    pub(crate) fn delta(&mut self, txid: Txid, up_to: Commits) {
        debug_assert!(self.ends.back().is_some_and(|last| last.txid < txid.get() && last.commits <= up_to));
        self.ends.push_back(End { commits: up_to, txid: txid.get() });
        if self.ends.len() > REMEMBERED {
            self.ends.pop_front();
        }
    }

    /// What the memory holds after this is another branch.
    pub(crate) fn end(&mut self, up_to: Commits) {
        self.until = Some(up_to);
    }

    /// That did not come to pass.
    pub(crate) fn go_on(&mut self) {
        self.until = None;
    }

    /// The name of a state, if that is known.
    pub(crate) fn of(&self, commits: Commits) -> Option<StateId> {
        if commits < self.from || self.until.is_some_and(|until| commits > until) {
            return None;
        }
        // Most ask for one of the last.
        let behind = self.ends.iter().rev().take_while(|end| end.commits >= commits).count();
        let at = self.ends.len() - behind;
        let before = at.checked_sub(1).map(|before| self.ends[before]);
        let (txid, place) = match (before, self.ends.get(at)) {
            (Some(before), end) => (end.map_or(before.txid + 1, |end| end.txid), commits.0 - before.commits.0),
            // How many came before it is forgotten, unless it is the one with which all began.
            (None, Some(first)) if commits == self.from && commits == first.commits => (first.txid, 0),
            (None, _) => return None,
        };
        Some(StateId { epoch: self.epoch, txid, place })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn txid(n: u64) -> Txid {
        Txid::new(n).unwrap()
    }

    fn name(naming: &Naming, commits: u64) -> Option<String> {
        naming.of(Commits(commits)).map(|name| name.to_string())
    }

    #[test]
    fn a_commit_keeps_the_name_that_it_got_before_its_delta_was_made() {
        let mut naming = Naming::new(Epoch(3), txid(40), Commits(7));
        assert_eq!(name(&naming, 7).as_deref(), Some("3.40.0"), "what the tenure began with");
        assert_eq!(name(&naming, 6), None, "it was not ours");
        let given: Vec<_> = (8..=10).map(|commits| name(&naming, commits).unwrap()).collect();
        assert_eq!(given, ["3.41.1", "3.41.2", "3.41.3"]);
        naming.delta(txid(41), Commits(10));
        assert_eq!((8..=10).map(|commits| name(&naming, commits).unwrap()).collect::<Vec<_>>(), given);
        assert_eq!(name(&naming, 11).as_deref(), Some("3.42.1"));
        naming.delta(txid(42), Commits(11));
        assert_eq!(name(&naming, 11).as_deref(), Some("3.42.1"));
        assert_eq!(name(&naming, 12).as_deref(), Some("3.43.1"));
    }

    #[test]
    fn names_that_are_forgotten_are_not_guessed() {
        let mut naming = Naming::new(Epoch(1), txid(1), Commits(0));
        for n in 1..=REMEMBERED as u64 {
            naming.delta(txid(n + 1), Commits(n));
        }
        assert_eq!((name(&naming, 0), name(&naming, 1)), (None, None));
        assert_eq!(name(&naming, 2).as_deref(), Some("1.3.1"));
    }

    #[test]
    fn commits_of_another_branch_have_no_name_here() {
        let mut naming = Naming::new(Epoch(1), txid(1), Commits(5));
        naming.end(Commits(6));
        assert_eq!((name(&naming, 6).as_deref(), name(&naming, 7)), (Some("1.2.1"), None));
        naming.go_on();
        assert_eq!(name(&naming, 7).as_deref(), Some("1.2.2"));
    }

    #[test]
    fn the_state_that_a_switch_makes_is_in_the_first_delta_of_its_tenure() {
        let naming = Naming::of_switch(Epoch(4), txid(9), Commits(20));
        assert_eq!((name(&naming, 19), name(&naming, 20).as_deref()), (None, Some("4.9.1")), "19 was another branch");
        assert_eq!(name(&naming, 21).as_deref(), Some("4.10.1"));
    }

    #[test]
    fn names_read_back_and_nothing_else_is_one() {
        let name = StateId { epoch: Epoch(3), txid: 1204, place: 0 };
        assert_eq!(name.to_string().parse(), Ok(name));
        for text in ["", "1", "1.2", "1.2.3.4", "1.2.x", "01.2.3", "+1.2.3", "1.2.18446744073709551616"] {
            assert!(text.parse::<StateId>().is_err(), "{text}");
        }
    }
}
