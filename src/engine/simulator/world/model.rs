//! What must hold: for each branch the contents that it may have. Knows nothing of how the engine works.

use std::collections::{BTreeMap, BTreeSet};

use super::process::{Op, Outcome};

type Rows = BTreeSet<i64>;

/// A content that a branch may have.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Candidate {
    /// It holds these for sure,
    least: Rows,
    /// and none but these.
    most: Rows,
}

/// Whether a branch is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Presence {
    There,
    Perhaps,
    Gone,
}

#[derive(Debug, Clone)]
struct Branch {
    presence: Presence,
    candidates: Vec<Candidate>,
}

#[derive(Debug)]
pub(super) struct Model {
    branches: BTreeMap<String, Branch>,
    /// What the sources of operations under way held when they began, by process.
    begun: BTreeMap<usize, Vec<Candidate>>,
}

impl Default for Model {
    fn default() -> Self {
        let empty = Candidate { least: Rows::new(), most: Rows::new() };
        let main = Branch { presence: Presence::There, candidates: vec![empty] };
        Self { branches: BTreeMap::from([("main".to_owned(), main)]), begun: BTreeMap::new() }
    }
}

impl Candidate {
    fn allows(&self, rows: &Rows) -> bool {
        self.least.is_subset(rows) && rows.is_subset(&self.most)
    }
}

impl Branch {
    /// What is seen now; other contents are out of the question from here on.
    fn seen(&mut self, rows: &Rows) -> Result<(), String> {
        if !self.candidates.iter().any(|candidate| candidate.allows(rows)) {
            return Err(format!("{rows:?} is none of {:?}", self.candidates));
        }
        self.candidates.retain(|candidate| candidate.allows(rows));
        Ok(())
    }

    /// What is in the bucket for sure.
    fn saved(&mut self, rows: &Rows) -> Result<(), String> {
        // Whoever took over in the meantime may have saved more.
        if self.candidates.iter().any(|candidate| rows.is_subset(&candidate.least)) {
            return Ok(());
        }
        self.seen(rows)?;
        for candidate in &mut self.candidates {
            candidate.least.clone_from(rows);
        }
        Ok(())
    }

    fn may_also_be(&mut self, others: &[Candidate]) {
        for other in others {
            if !self.candidates.contains(other) {
                self.candidates.push(other.clone());
            }
        }
    }
}

impl Model {
    /// A row may be in a branch from now on.
    fn may_write(&mut self, branch: &str, row: i64) {
        for candidate in self.branches.get_mut(branch).into_iter().flat_map(|branch| &mut branch.candidates) {
            candidate.most.insert(row);
        }
    }

    /// An operation begins.
    pub(super) fn begin(&mut self, process: usize, op: &Op) {
        match op {
            Op::Create { from, .. } | Op::Overwrite { from, .. } => {
                self.begun.insert(process, self.contents(from));
                // Others may see what it did before it ends.
                self.possible(op, &self.contents(from));
            }
            Op::Write { branch, row } => self.may_write(branch, *row),
            _ => {}
        }
    }

    /// It was done, or not, or in part.
    pub(super) fn unknown(&mut self, process: usize, op: &Op) {
        if let Op::Create { from, .. } | Op::Overwrite { from, .. } = op {
            let of = self.between(process, from);
            self.possible(op, &of);
        }
        if let Op::Delete { name } = op
            && let Some(branch) = self.branches.get_mut(name).filter(|branch| name != "main" && branch.presence == Presence::There)
        {
            branch.presence = Presence::Perhaps;
        }
    }

    /// A branch may be made or overwritten with one of these.
    fn possible(&mut self, op: &Op, of: &[Candidate]) {
        match op {
            Op::Create { name, .. } => {
                let branch = self.branches.entry(name.clone()).or_insert(Branch { presence: Presence::Perhaps, candidates: Vec::new() });
                if branch.presence == Presence::Perhaps {
                    branch.may_also_be(of);
                }
            }
            Op::Overwrite { to, .. } => {
                if let Some(branch) = self.branches.get_mut(to) {
                    branch.may_also_be(of);
                }
            }
            _ => {}
        }
    }

    /// What an operation that ended tells.
    pub(super) fn learn(&mut self, process: usize, op: &Op, outcome: &Outcome) -> Result<(), String> {
        if outcome.result.is_err() {
            self.unknown(process, op);
            return self.look(op, outcome);
        }
        match op {
            Op::Create { name, from } => {
                let candidates = self.between(process, from);
                let made = self.branches.entry(name.clone()).or_insert(Branch { presence: Presence::There, candidates: Vec::new() });
                if made.presence == Presence::Gone {
                    return Err("a deleted name was used again".to_owned());
                }
                made.presence = Presence::There;
                made.may_also_be(&candidates);
            }
            Op::Overwrite { to, from } => {
                let candidates = self.between(process, from);
                if let Some(branch) = self.branches.get_mut(to) {
                    branch.presence = Presence::There;
                    branch.candidates = candidates;
                }
            }
            // Of one that nobody made yet nothing is left that could keep it from being made.
            Op::Delete { name } => {
                if let Some(branch) = self.branches.get_mut(name).filter(|branch| branch.presence == Presence::There) {
                    branch.presence = Presence::Gone;
                }
            }
            Op::Flush { branch } => {
                let served = outcome.serves.as_ref().filter(|(served, _)| served == branch);
                if let (Some((_, rows)), Some(known)) = (served, self.branches.get_mut(branch)) {
                    known.saved(rows)?;
                }
            }
            _ => {}
        }
        self.look(op, outcome)
    }

    /// What a process shows of a branch that it has just begun to serve.
    fn look(&mut self, op: &Op, outcome: &Outcome) -> Result<(), String> {
        let Some((served, rows)) = &outcome.serves else { return Ok(()) };
        let is_new = match op {
            Op::Open { .. } | Op::List => outcome.result.is_ok(),
            Op::Switch { from, to } => served == to && from != to,
            Op::Overwrite { to, .. } => served == to && outcome.result.is_ok(),
            _ => false,
        };
        if !is_new {
            return Ok(());
        }
        let Some(branch) = self.branches.get_mut(served) else { return Err(format!("branch {served} was never made")) };
        if branch.presence == Presence::Gone {
            return Err(format!("branch {served} was deleted, and is served"));
        }
        // It is there, and its object is this tenure's own.
        branch.presence = Presence::There;
        branch.seen(rows)?;
        branch.saved(rows)
    }

    /// All that must be there is, and nothing that must not.
    pub(super) fn listed(&self, names: &[String]) -> Result<(), String> {
        for (name, branch) in &self.branches {
            let is_listed = names.contains(name);
            match branch.presence {
                Presence::There if !is_listed => return Err(format!("branch {name} is gone")),
                Presence::Gone if is_listed => return Err(format!("branch {name} was deleted, and is there")),
                _ => {}
            }
        }
        names.iter().find(|name| !self.branches.contains_key(*name)).map_or(Ok(()), |name| Err(format!("branch {name} was never made")))
    }

    /// What a source held at some moment between the beginning of an operation and now.
    fn between(&mut self, process: usize, from: &str) -> Vec<Candidate> {
        let (before, now) = (self.begun.remove(&process).unwrap_or_default(), self.contents(from));
        let mut found = before.clone();
        found.extend(now.iter().cloned());
        for one in &before {
            for other in &now {
                let least = one.least.intersection(&other.least).copied().collect();
                found.push(Candidate { least, most: one.most.union(&other.most).copied().collect() });
            }
        }
        found
    }

    fn contents(&self, branch: &str) -> Vec<Candidate> {
        self.branches.get(branch).map(|branch| branch.candidates.clone()).unwrap_or_default()
    }
}
