//! The commits that may still be told, in order. Pure: times are handed in.

use std::collections::VecDeque;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::touched::Touched;
use crate::pages::Commits;

/// Older commits are not told any more.
pub(super) const LONGEST: Duration = Duration::from_mins(10);

/// What all commits of a ring may take, in bytes.
const MOST: usize = 16 << 20;

/// How far a listener has been told: up to this commit of this ring.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    ring: u64,
    commits: Commits,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}.{}", self.ring, self.commits.0)
    }
}

/// A text that is no position.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no position: send one back as it was told")]
pub struct NoPosition(String);

impl FromStr for Position {
    type Err = NoPosition;

    fn from_str(text: &str) -> Result<Self, NoPosition> {
        let parse = || {
            let (ring, commits) = text.split_once('.')?;
            let position = Self { ring: u64::from_str_radix(ring, 16).ok()?, commits: Commits(commits.parse().ok()?) };
            (position.to_string() == text).then_some(position)
        };
        parse().ok_or_else(|| NoPosition(text.to_owned()))
    }
}

/// What one commit changed.
pub(crate) struct Noted {
    pub(crate) commits: Commits,
    /// The cookie of the schema that it left.
    pub(crate) schema: u32,
    pub(crate) changes_schema: bool,
    pub(crate) touched: Touched,
}

impl Noted {
    fn cost(&self) -> usize {
        size_of::<Self>() + self.touched.cost()
    }
}

/// What follows a position.
pub(crate) enum Found {
    /// This commit.
    Commit(Position, Arc<Noted>),
    /// Nothing yet.
    Nothing,
    /// Nobody knows what: it goes on from here, once that can be seen.
    Lost(Position),
}

/// All commits since one of them that changed rows or the schema.
pub(super) struct Ring {
    /// No other ring has this number.
    number: u64,
    /// The one after which nothing is missing.
    begins: Commits,
    commits: VecDeque<(Instant, Arc<Noted>)>,
    cost: usize,
}

impl Ring {
    /// Of what comes after these commits.
    pub(super) fn after(number: u64, begins: Commits) -> Self {
        Self { number, begins, commits: VecDeque::new(), cost: 0 }
    }

    pub(super) fn begins(&self) -> Commits {
        self.begins
    }

    /// Tells whether earlier ones had to make room for it.
    pub(super) fn append(&mut self, noted: Noted, now: Instant) -> bool {
        self.cost += noted.cost();
        self.commits.push_back((now, Arc::new(noted)));
        self.forget_old(now);
        let mut is_full = false;
        while self.cost > MOST && self.forget_first() {
            is_full = true;
        }
        is_full
    }

    fn forget_old(&mut self, now: Instant) {
        while self.commits.front().is_some_and(|(since, _)| now.saturating_duration_since(*since) > LONGEST) {
            self.forget_first();
        }
    }

    fn forget_first(&mut self) -> bool {
        let Some((_, first)) = self.commits.pop_front() else { return false };
        self.begins = first.commits;
        self.cost -= first.cost();
        true
    }

    /// The place of somebody who has seen these commits. Nothing is missing after it, unless they have not seen those with which it begins.
    pub(super) fn position(&self, seen: Commits) -> Position {
        Position { ring: self.number, commits: seen.max(self.begins) }
    }

    /// Whether all that follows this position is known.
    pub(super) fn holds(&self, position: Position) -> bool {
        position.ring == self.number && position.commits >= self.begins
    }

    /// What follows a position, of what can be seen up to `visible`.
    pub(super) fn next(&self, position: Position, visible: Commits) -> Found {
        if !self.holds(position) {
            return Found::Lost(self.position(visible));
        }
        let at = self.commits.partition_point(|(_, noted)| noted.commits <= position.commits);
        match self.commits.get(at) {
            Some((_, noted)) if noted.commits <= visible => Found::Commit(self.position(noted.commits), Arc::clone(noted)),
            Some(_) | None => Found::Nothing,
        }
    }
}

impl Position {
    pub(crate) fn commits(self) -> Commits {
        self.commits
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{Clock as _, SystemClock};
    use crate::feed::RowKind;

    fn noted(commits: u64, rows: i64) -> Noted {
        let mut touched = Touched::default();
        for row in 0..rows {
            touched.add("t", RowKind::Insert, row);
        }
        Noted { commits: Commits(commits), schema: 1, changes_schema: false, touched }
    }

    fn ring() -> Ring {
        Ring::after(7, Commits(3))
    }

    fn at(commits: u64) -> Position {
        Position { ring: 7, commits: Commits(commits) }
    }

    fn found(ring: &Ring, position: Position, visible: u64) -> Result<Option<u64>, Position> {
        match ring.next(position, Commits(visible)) {
            Found::Commit(next, noted) => {
                assert_eq!(next.commits, noted.commits);
                Ok(Some(noted.commits.0))
            }
            Found::Nothing => Ok(None),
            Found::Lost(position) => Err(position),
        }
    }

    #[test]
    fn commits_follow_one_another_as_far_as_they_can_be_seen() {
        let (mut ring, now) = (ring(), SystemClock.now());
        // Some commits change no row.
        for commits in [4, 6, 7] {
            ring.append(noted(commits, 1), now);
        }
        assert_eq!([3, 4, 5, 6, 7].map(|from| found(&ring, at(from), 9)), [Ok(Some(4)), Ok(Some(6)), Ok(Some(6)), Ok(Some(7)), Ok(None)]);
        assert_eq!(found(&ring, at(4), 5), Ok(None));
    }

    #[test]
    fn whoever_comes_from_elsewhere_or_too_late_is_told_where_it_goes_on() {
        let (mut ring, now) = (ring(), SystemClock.now());
        assert_eq!(found(&ring, at(2), 3), Err(at(3)));
        assert_eq!(found(&ring, Position { ring: 8, commits: Commits(3) }, 5), Err(at(5)));
        assert_eq!(found(&ring, at(2), 1), Err(at(3)), "what cannot be seen yet is waited for");
        ring.append(noted(4, 1), now);
        ring.append(noted(5, 1), now + LONGEST);
        assert_eq!(found(&ring, at(3), 9), Ok(Some(4)));
        ring.append(noted(6, 1), now + LONGEST + Duration::from_secs(1));
        assert_eq!((found(&ring, at(3), 9), found(&ring, at(4), 9)), (Err(at(9)), Ok(Some(5))));
    }

    #[test]
    fn what_does_not_fit_makes_room() {
        let (mut ring, now) = (ring(), SystemClock.now());
        let mut commits = 3;
        while !ring.append(noted(commits + 1, 1000), now) {
            commits += 1;
        }
        assert!(commits > 100);
        assert!(ring.cost <= MOST && ring.commits.iter().map(|(_, noted)| noted.cost()).sum::<usize>() == ring.cost);
        assert_eq!((found(&ring, at(3), commits), found(&ring, at(4), commits)), (Err(at(commits)), Ok(Some(5))));
    }

    #[test]
    fn positions_read_back_and_nothing_else_is_one() {
        assert_eq!(at(12).to_string(), "0000000000000007.12");
        assert_eq!("0000000000000007.12".parse(), Ok(at(12)));
        for text in ["", "7", "7.12", "0000000000000007.012", "0000000000000007.-1", "000000000000000g.1", "0000000000000007.1.2", "3.4.5"]
        {
            assert!(text.parse::<Position>().is_err(), "{text}");
        }
    }
}
