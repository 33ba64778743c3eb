//! What must hold: for each branch the contents that it may have. Knows nothing of how the engine works.

use std::collections::{BTreeMap, BTreeSet};

use super::process::{Claim, Op, Outcome, Served};

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
    /// Operations under way that make or overwrite a branch, and what their sources held when they began, by process.
    begun: BTreeMap<usize, (Op, Vec<Candidate>)>,
    /// Which tenure called a slot its own, by branch and number.
    confirmed: BTreeMap<(String, u64), u64>,
    /// What is in states of which all is in the bucket, by branch and number.
    states: BTreeMap<(String, u64), Rows>,
}

impl Default for Model {
    fn default() -> Self {
        let empty = Candidate { least: Rows::new(), most: Rows::new() };
        let main = Branch { presence: Presence::There, candidates: vec![empty] };
        Self {
            branches: BTreeMap::from([("main".to_owned(), main)]),
            begun: BTreeMap::new(),
            confirmed: BTreeMap::new(),
            states: BTreeMap::new(),
        }
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
                let contents = self.asked(op).unwrap_or_else(|| self.contents(from));
                // Others may see what it did before it ends.
                self.possible(op, &contents);
                self.begun.insert(process, (op.clone(), contents));
            }
            Op::Write { branch, row, .. } => self.may_write(branch, *row),
            _ => {}
        }
    }

    /// It was done, or not, or in part.
    pub(super) fn unknown(&mut self, process: usize, op: &Op) {
        if let Op::Create { .. } | Op::Overwrite { .. } = op {
            let of = self.end(process);
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
            Op::Create { name, .. } => {
                let candidates = self.end(process);
                let made = self.branches.entry(name.clone()).or_insert(Branch { presence: Presence::There, candidates: Vec::new() });
                if made.presence == Presence::Gone {
                    return Err("a deleted name was used again".to_owned());
                }
                made.presence = Presence::There;
                made.may_also_be(&candidates);
            }
            Op::Overwrite { to, .. } => {
                let candidates = self.end(process);
                self.remember(to);
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
                let served = outcome.serves.as_ref().filter(|served| served.branch == *branch);
                if let (Some(Served { rows, .. }), Some(known)) = (served, self.branches.get_mut(branch)) {
                    known.saved(rows)?;
                }
            }
            Op::Recall { branch, txid } => {
                let (known, found) = (self.states.get(&(branch.clone(), *txid)), outcome.result.as_ref().map(|told| &told.rows).ok());
                if known != found {
                    return Err(format!("state {txid} of {branch} was {known:?}, and is put together as {found:?}"));
                }
            }
            _ => {}
        }
        self.look(op, outcome)
    }

    /// What a process shows of a branch that it has just begun to serve.
    fn look(&mut self, op: &Op, outcome: &Outcome) -> Result<(), String> {
        let Some(Served { branch: served, rows, txid }) = &outcome.serves else { return Ok(()) };
        if let Some(txid) = txid {
            let known = self.states.entry((served.clone(), *txid)).or_insert_with(|| rows.clone());
            if known != rows {
                return Err(format!("state {txid} of {served} was {known:?}, and is {rows:?}"));
            }
        }
        let is_new = match op {
            Op::Open { .. } | Op::List => outcome.result.is_ok(),
            Op::Switch { from, to } => served == to && from != to,
            Op::Overwrite { to, .. } => served == to && outcome.result.is_ok(),
            _ => false,
        };
        if !is_new {
            return Ok(());
        }
        self.may_have_happened(served);
        let Some(branch) = self.branches.get_mut(served) else { return Err(format!("branch {served} was never made")) };
        if branch.presence == Presence::Gone {
            return Err(format!("branch {served} was deleted, and is served"));
        }
        // It is there, and its object is this tenure's own.
        branch.presence = Presence::There;
        branch.seen(rows)?;
        branch.saved(rows)
    }

    /// A tenure says that a slot is its own.
    pub(super) fn confirms(&mut self, claim: &Claim, txid: u64) -> Result<(), String> {
        let by = *self.confirmed.entry((claim.branch.clone(), txid)).or_insert(claim.epoch);
        if by == claim.epoch { Ok(()) } else { Err(format!("epochs {by} and {} both have slot {txid} of {}", claim.epoch, claim.branch)) }
    }

    /// The tenure that has the branch says that a row is in the bucket.
    pub(super) fn durable(&mut self, branch: &str, row: i64) -> Result<(), String> {
        let Some(known) = self.branches.get_mut(branch) else { return Err(format!("branch {branch} was never made")) };
        known.candidates.retain(|candidate| candidate.most.contains(&row));
        for candidate in &mut known.candidates {
            candidate.least.insert(row);
        }
        if known.candidates.is_empty() { Err(format!("row {row} of {branch} can be in none of its contents")) } else { Ok(()) }
    }

    /// What the files in the bucket make of a branch.
    pub(super) fn in_bucket(&mut self, branch: &str, rows: &BTreeSet<i64>) -> Result<(), String> {
        self.may_have_happened(branch);
        let Some(known) = self.branches.get(branch) else { return Err(format!("branch {branch} was never made")) };
        if known.presence == Presence::Gone || known.candidates.iter().any(|candidate| candidate.allows(rows)) {
            return Ok(());
        }
        Err(format!("the chain of {branch} makes {rows:?}, which is none of {:?}", known.candidates))
    }

    /// The numbers of a branch's known states.
    pub(super) fn states_of(&self, branch: &str) -> Vec<u64> {
        let from = (branch.to_owned(), 0);
        self.states.range(from..).take_while(|((of, _), _)| of == branch).map(|((_, txid), _)| *txid).collect()
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

    /// A branch gets another content: who reads it may have read what it held until now.
    fn remember(&mut self, branch: &str) {
        let held = self.contents(branch);
        for (op, before) in self.begun.values_mut() {
            if matches!(op, Op::Create { from, at: None, .. } | Op::Overwrite { from, .. } if from == branch) {
                before.extend(held.iter().filter(|candidate| !before.contains(candidate)).cloned().collect::<Vec<_>>());
            }
        }
    }

    /// An operation has ended: what its source held at some moment since it began.
    fn end(&mut self, process: usize) -> Vec<Candidate> {
        self.begun.remove(&process).map(|(op, before)| self.since(&op, before)).unwrap_or_default()
    }

    /// What the source of an operation held then, now, or in between.
    fn since(&self, op: &Op, before: Vec<Candidate>) -> Vec<Candidate> {
        let (Op::Create { from, at: None, .. } | Op::Overwrite { from, .. }) = op else { return before };
        let now = self.contents(from);
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

    /// What is under way may have happened already, with what its source holds by now.
    fn may_have_happened(&mut self, branch: &str) {
        for (op, before) in self.begun.clone().into_values() {
            if let Op::Create { name: to, .. } | Op::Overwrite { to, .. } = &op
                && to == branch
            {
                let since = self.since(&op, before);
                self.possible(&op, &since);
            }
        }
    }

    /// The content of a state that was asked for by its number.
    fn asked(&self, op: &Op) -> Option<Vec<Candidate>> {
        let Op::Create { from, at: Some(txid), .. } = op else { return None };
        let rows = self.states.get(&(from.clone(), *txid))?;
        Some(vec![Candidate { least: rows.clone(), most: rows.clone() }])
    }

    fn contents(&self, branch: &str) -> Vec<Candidate> {
        self.branches.get(branch).map(|branch| branch.candidates.clone()).unwrap_or_default()
    }
}
