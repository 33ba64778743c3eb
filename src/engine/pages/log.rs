//! Which pages each commit changed: what a delta has to hold.
//!
//! Nobody has to take anything out of it. When it has grown too long, its commits are merged into one, after which it may name pages for a
//! moment within that range that changed earlier: too many, never too few.

use std::collections::VecDeque;

use super::{Commits, PageCount, PageNo};

/// What has changed since some commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changes {
    /// Pages that were written, in order. Some may lie beyond the end by now.
    pub pages: Vec<PageNo>,
    /// The fewest pages that the database had in the meantime. Whatever lies above has changed, written or not.
    pub smallest: PageCount,
}

/// So many page numbers may always be kept. Miri takes a thousand times as long to get there.
const LEAST_KEPT: usize = if cfg!(miri) { 256 } else { 16 << 10 };

/// Commits and their pages.
pub(super) struct ChangeLog {
    entries: VecDeque<Entry>,
    /// Of all entries, one after the other.
    pages: VecDeque<PageNo>,
    /// The last commit before the first entry; of what came before it nothing is known.
    start: Commits,
}

struct Entry {
    /// The last commit that it holds.
    commit: Commits,
    pages: usize,
    smallest: PageCount,
}

impl ChangeLog {
    /// Nothing changed since then.
    pub(super) fn new(start: Commits) -> Self {
        Self { entries: VecDeque::new(), pages: VecDeque::new(), start }
    }

    /// Takes in the next commit. Without memory for it, everything is forgotten: a commit never fails for the log.
    pub(super) fn append(&mut self, commit: Commits, smallest: PageCount, filled: u32, pages: impl ExactSizeIterator<Item = PageNo>) {
        let len = pages.len();
        if self.pages.len() + len > LEAST_KEPT.max(4 * filled as usize) {
            self.merge();
        }
        if self.entries.try_reserve(1).is_err() || self.pages.try_reserve(len).is_err() {
            *self = Self::new(commit);
            return;
        }
        self.pages.extend(pages);
        self.entries.push_back(Entry { commit, pages: len, smallest });
    }

    /// What has changed after `commit`; `None` if that is not known any more.
    pub(super) fn since(&self, commit: Commits) -> Option<Changes> {
        if commit < self.start {
            return None;
        }
        let first = self.entries.partition_point(|entry| entry.commit <= commit);
        let before: usize = self.entries.range(..first).map(|entry| entry.pages).sum();
        let smallest = self.entries.range(first..).map(|entry| entry.smallest).min().unwrap_or(PageCount(u32::MAX));
        Some(Changes { pages: union(self.pages.range(before..))?, smallest })
    }

    /// Nobody will ask for commits up to this one any more.
    pub(super) fn forget(&mut self, commit: Commits) {
        // An entry that reaches beyond `commit` stays whole.
        while let Some(entry) = self.entries.front().filter(|entry| entry.commit <= commit) {
            self.start = entry.commit;
            self.pages.drain(..entry.pages);
            self.entries.pop_front();
        }
        if self.pages.capacity() > LEAST_KEPT {
            self.pages.shrink_to(2 * self.pages.len());
            self.entries.shrink_to(2 * self.entries.len());
        }
    }

    fn merge(&mut self) {
        let (Some(last), Some(smallest)) = (self.entries.back(), self.entries.iter().map(|entry| entry.smallest).min()) else { return };
        let commit = last.commit;
        match union(self.pages.iter()) {
            Some(pages) => {
                self.entries.clear();
                self.entries.push_back(Entry { commit, pages: pages.len(), smallest });
                self.pages = pages.into();
            }
            None => *self = Self::new(commit),
        }
    }
}

/// Each page once, in order; `None` without memory for that.
fn union<'a>(pages: impl Iterator<Item = &'a PageNo> + Clone) -> Option<Vec<PageNo>> {
    let Some(last) = pages.clone().map(|page| page.index()).max() else { return Some(Vec::new()) };
    let mut marks: Vec<u64> = Vec::new();
    let words = last as usize / 64 + 1;
    marks.try_reserve_exact(words).ok()?;
    marks.resize(words, 0);
    for page in pages {
        marks[page.index() as usize / 64] |= 1 << (page.index() % 64);
    }
    let mut once = Vec::new();
    once.try_reserve_exact(marks.iter().map(|word| word.count_ones() as usize).sum()).ok()?;
    for (word, at) in marks.iter().zip(0u32..) {
        let mut left = *word;
        while left != 0 {
            once.extend(PageNo::from_index(at * 64 + left.trailing_zeros()));
            left &= left - 1;
        }
    }
    Some(once)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pages(numbers: &[u32]) -> Vec<PageNo> {
        numbers.iter().map(|number| PageNo::new(*number).unwrap()).collect()
    }

    fn log(commits: &[(u64, u32, &[u32])]) -> ChangeLog {
        let mut log = ChangeLog::new(Commits(0));
        for (commit, smallest, numbers) in commits {
            log.append(Commits(*commit), PageCount(*smallest), 10, pages(numbers).into_iter());
        }
        log
    }

    #[test]
    fn changes_since_a_commit_are_those_of_all_later_ones() {
        let log = log(&[(1, 9, &[1, 2]), (2, 4, &[1, 70, 64]), (3, 6, &[65])]);
        let since = |commit| log.since(Commits(commit)).unwrap();
        assert_eq!(since(0), Changes { pages: pages(&[1, 2, 64, 65, 70]), smallest: PageCount(4) });
        assert_eq!(since(1), Changes { pages: pages(&[1, 64, 65, 70]), smallest: PageCount(4) });
        assert_eq!(since(2), Changes { pages: pages(&[65]), smallest: PageCount(6) });
        assert_eq!(since(3), Changes { pages: Vec::new(), smallest: PageCount(u32::MAX) });
    }

    #[test]
    fn what_is_forgotten_is_not_known_and_the_rest_is() {
        let mut log = log(&[(1, 9, &[1, 2]), (2, 9, &[3]), (3, 9, &[4])]);
        log.forget(Commits(2));
        assert_eq!(log.since(Commits(1)), None);
        assert_eq!(log.since(Commits(2)).unwrap().pages, pages(&[4]));
        log.forget(Commits(9));
        assert_eq!(log.since(Commits(3)).unwrap().pages, []);
        assert_eq!(log.since(Commits(2)), None);
    }

    #[test]
    fn a_long_log_is_merged_and_names_no_page_too_few() {
        let mut log = log(&[]);
        // Two pages each, of so few that the merged ones fit.
        let (commits, pages_used) = (LEAST_KEPT as u64, LEAST_KEPT as u64 / 16);
        let page = |commit: u64| u32::try_from(commit % pages_used).unwrap() + 2;
        for commit in 1..=commits {
            log.append(Commits(commit), PageCount(1000), 10, pages(&[1, page(commit)]).into_iter());
        }
        assert!(log.pages.len() <= LEAST_KEPT);
        assert_eq!(log.since(Commits(0)).unwrap().pages.len() as u64, pages_used + 1);
        let late = log.since(Commits(commits - 3)).unwrap().pages;
        assert!(pages(&[1, page(commits), page(commits - 2)]).iter().all(|page| late.contains(page)));
    }
}
