//! Whether what was promised holds.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use rand::seq::IndexedRandom as _;

use super::super::store::{Fate, HOUR_AWAY, Parked, sort};
use super::super::time::HOUR;
use super::contents::{self, Record};
use super::process::{self, Claim, Done, Op, Outcome, Process, perform, pod};
use super::{RIPE, TICK, World};
use crate::config::Mode;
use crate::snapshot::metadata;

/// How many runs of gc it takes until nothing is left: one that ends what a dead one began and marks, one that deletes, and one to spare.
const SWEEPS: u32 = 3;
/// How many past states of a branch are put together at the end.
const RECALLED: usize = 3;

impl World {
    pub(super) fn finish(&mut self, Done { process, op, outcome }: Done) -> Result<(), String> {
        let Some(process) = self.processes.iter_mut().find(|known| known.number == process) else { return Ok(()) };
        process.busy = None;
        process.serves = outcome.serves.as_ref().map(|served| served.branch.clone());
        if outcome.result.is_ok() && matches!(op, Op::Flush { .. } | Op::Close) {
            process.unsaved = None;
        }
        match (&op, &outcome.result) {
            (_, Err(told)) => {
                let (ours, theirs) = (number_after(told, "our epoch "), number_after(told, "fenced off by epoch "));
                if theirs.zip(ours).is_some_and(|(theirs, ours)| theirs <= ours) {
                    return Err(format!("p{}: {told}", process.number));
                }
            }
            (Op::Put { file }, Ok(_)) if self.store.bytes(&format!("files/{}", process::file_key(*file))).is_none() => {
                return Err(format!("p{}: file {file} was kept, and its content is gone", process.number));
            }
            (Op::Write { branch, row, .. }, Ok(told)) => {
                let written = told.state.map(|state| process::Written { branch: branch.clone(), state, row: *row });
                process.written.extend(written);
            }
            (_, Ok(_)) => {}
        }
        let claim = process.claim();
        // Nobody can tell any more in which state of which content they are.
        if let Op::Overwrite { to, .. } = &op {
            process.written.retain(|written| written.branch != *to);
        }
        self.history.push(format!("p{} ended {op:?}: {:?}, serves {:?}", process.number, outcome.result, outcome.serves));
        let (number, written) = (process.number, process.written.last().cloned());
        if matches!(op, Op::Open { .. }) && outcome.serves.is_some() {
            self.count_clocks(number);
        }
        self.model.learn(number, &op, &outcome).map_err(|why| format!("p{number}, {op:?}: {why}"))?;
        if self.durability.mode == Mode::Sync {
            let written = written.filter(|_| matches!(op, Op::Write { .. }) && outcome.result.is_ok());
            let rows = written.into_iter().map(|written| written.row);
            self.look_at_told(claim.as_ref(), rows).map_err(|why| format!("p{number}, {op:?}: {why}"))?;
        }
        Ok(())
    }

    /// Of whoever has opened a branch: whether somebody else has it, too, whose clock is far away.
    fn count_clocks(&self, opener: usize) {
        let Some(new) = self.processes.iter().find(|process| process.number == opener) else { return };
        let mut others = self.processes.iter().filter(|other| other.number != opener && other.serves == new.serves);
        if others.any(|other| (new.ahead() - other.ahead()).unsigned_abs() >= HOUR.as_secs()) {
            self.store.count(HOUR_AWAY);
        }
    }

    /// What was told of a branch is in the bucket, if whoever told it has the branch still.
    fn look_at_told(&mut self, claim: Option<&Claim>, rows: impl IntoIterator<Item = i64>) -> Result<(), String> {
        let Some(claim) = claim else { return Ok(()) };
        if Record::of(&self.store, &claim.branch)?.is_none_or(|record| record.epoch != claim.epoch) {
            return Ok(());
        }
        for row in rows {
            self.model.durable(&claim.branch, row)?;
        }
        // What is promised from here on is there now.
        contents::newest(&self.store, &claim.branch)?.map_or(Ok(()), |rows| self.model.in_bucket(&claim.branch, &rows))
    }

    /// What anybody reads who asks a process now is in the bucket.
    pub(super) async fn look_at_readers(&mut self) -> Result<(), String> {
        for slot in 0..self.processes.len() {
            let process = &self.processes[slot];
            // Until it is over, both contents may be the branch's.
            if matches!(process.busy, Some(Op::Overwrite { .. } | Op::Switch { .. })) {
                continue;
            }
            let (number, claim, rows) = (process.number, process.claim(), process.shown().await.unwrap_or_default());
            self.look_at_told(claim.as_ref(), rows).map_err(|why| format!("whoever asks p{number} reads what may be lost: {why}"))?;
        }
        Ok(())
    }

    /// Of those who may answer, at most one has a branch open.
    pub(super) fn look_at_leases(&self) -> Result<(), String> {
        let Some(leases) = &self.leases else { return Ok(()) };
        let answers = self.processes.iter().filter(|process| !leases.has_ended(&pod(process.number)));
        let mut servers = BTreeMap::new();
        for (process, branch) in answers.filter_map(|process| Some((process, process.has_open()?))) {
            if let Some(other) = servers.insert(branch.clone(), process.number) {
                return Err(format!("p{other} and p{} both answer for {branch}", process.number));
            }
        }
        Ok(())
    }

    /// What processes say is in the bucket.
    pub(super) fn look_at_claims(&mut self) -> Result<(), String> {
        for process in &mut self.processes {
            if let Some(why) = process.could_not_restore() {
                return Err(format!("p{} could not restore what is in the bucket: {why}", process.number));
            }
            let Some(claim) = process.claim() else { continue };
            let told = |why: String| format!("p{} says that {claim:?} is in the bucket: {why}", process.number);
            let before = process.claimed.as_ref().filter(|before| (&before.branch, before.epoch) == (&claim.branch, claim.epoch));
            if before.is_some_and(|before| before.txid == claim.txid) {
                continue;
            }
            let has_epoch = |txid: &u64| {
                let slot = self.store.metadata(&format!("orders.db.ltx/{}/0000/{txid:016x}-{txid:016x}.ltx", claim.branch));
                slot.is_some_and(|slot| slot.get(metadata::EPOCH).is_some_and(|epoch| *epoch == claim.epoch.to_string()))
            };
            // What it found there is none of its own.
            let own: Vec<u64> = match before {
                Some(before) => (before.txid + 1..=claim.txid).collect(),
                None => (1..=claim.txid).rev().take_while(has_epoch).collect(),
            };
            for txid in own {
                self.model.confirms(&claim, txid).map_err(told)?;
            }
            // While it overwrites, both contents may be the branch's.
            if !matches!(&process.busy, Some(Op::Overwrite { .. })) {
                let is_claimed = |written: &process::Written| {
                    (&written.branch, written.state.epoch.0) == (&claim.branch, claim.epoch) && written.state.txid <= claim.txid
                };
                let (rows, rest): (Vec<_>, Vec<_>) = std::mem::take(&mut process.written).into_iter().partition(is_claimed);
                process.written = rest;
                // Whoever took over may have overwritten or deleted it meanwhile; then the slots alone tell.
                if Record::of(&self.store, &claim.branch)?.is_some_and(|record| record.epoch == claim.epoch) {
                    rows.iter().try_for_each(|written| self.model.durable(&written.branch, written.row)).map_err(told)?;
                }
                process.claimed = Some(claim);
            }
        }
        Ok(())
    }

    /// What anybody could restore now.
    pub(super) fn look_at_bucket(&mut self) -> Result<(), String> {
        for branch in self.store.touched() {
            if let Some(rows) = contents::newest(&self.store, &branch)? {
                self.model.in_bucket(&branch, &rows)?;
            }
        }
        Ok(())
    }

    /// With a bucket that behaves: everything that was promised is there.
    pub(super) async fn last_look(&mut self) -> Result<(), String> {
        let outside = self.store.keys().into_iter().find(|key| key.contains(".branch.outside-"));
        // Of what an earlier tenure wrote late, from before the horizon, nobody can tell any more that it was a state of the chain.
        let is_all_there = Record::of(&self.store, "main")?.is_none_or(|main| main.first.is_none_or(|first| main.horizon <= first.get()));
        if let Some(key) = outside.filter(|_| is_all_there) {
            return Err(format!("{key}: a state of somebody else was found where nobody else wrote"));
        }
        let listed = self.last(Op::List).await?;
        let mut names = listed.result.map_err(|why| format!("the branches cannot be listed: {why}"))?.names;
        names.retain(|name| !name.starts_with("outside-"));
        self.model.listed(&names)?;
        for branch in names {
            contents::plain_file_is_as_noted(&self.store, &branch)?;
            let looked = self.last(Op::Open { branch: branch.clone() }).await?;
            looked.result.map_err(|why| format!("branch {branch} cannot be opened: {why}"))?;
            let Some(Record { first: Some(first), horizon, .. }) = Record::of(&self.store, &branch)? else { continue };
            let can_be_had: Vec<u64> = self.model.states_of(&branch).into_iter().filter(|txid| *txid >= horizon.max(first.get())).collect();
            let some: Vec<u64> = can_be_had.choose_multiple(&mut self.random, RECALLED).copied().collect();
            for txid in some {
                let recalled = self.last(Op::Recall { branch: branch.clone(), txid }).await?;
                recalled.result.map_err(|why| format!("state {txid} of {branch} is gone: {why}"))?;
            }
        }
        Ok(())
    }

    /// The files that are named have their contents, and when gc has had its time those are all that there are.
    pub(super) async fn last_sweep(&mut self) -> Result<(), String> {
        let named = contents::named(&self.store)?;
        contents::are_there(&self.store, &named)?;
        for _ in 0..SWEEPS {
            // One more than it takes: a blob of the last moment must be old enough, too.
            self.pass(HOUR * (RIPE + 1)).await;
            self.last(Op::Gc).await?.result.map_err(|why| format!("gc fails: {why}"))?;
        }
        let mut left = self.store.keys().into_iter().filter(|key| key.starts_with("files/"));
        left.find(|key| !named.contains_key(key)).map_or(Ok(()), |key| Err(format!("{key} is named by nobody, and still there")))?;
        contents::are_there(&self.store, &named).map_err(|why| format!("after the last sweep: {why}"))
    }

    /// By a process of its own.
    async fn last(&mut self, op: Op) -> Result<Outcome, String> {
        let born = self.birth();
        let outcome = self.calm(&born, op).await;
        born.dead.store(true, Ordering::Relaxed);
        outcome
    }

    /// Something that is done while nobody else does anything, and the bucket behaves.
    pub(super) async fn calm(&mut self, process: &Process, op: Op) -> Result<Outcome, String> {
        let performed = perform(&process.means, &op);
        tokio::pin!(performed);
        let outcome = loop {
            tokio::select! {
                biased;
                outcome = &mut performed => break outcome,
                () = self.pass(TICK) => {}
            }
            let mut parked: Vec<Parked> = std::iter::from_fn(|| self.parking.1.try_recv().ok()).collect();
            sort(&mut parked);
            for Parked { grant, .. } in parked {
                grant.send(Fate::Answered).ok();
            }
        };
        // What it does besides comes to where it waits for the bucket.
        self.pass(TICK).await;
        self.history.push(format!("calmly {op:?}: {:?}, serves {:?}", outcome.result, outcome.serves));
        self.model.learn(process.number, &op, &outcome).map_err(|why| format!("calmly, {op:?}: {why}"))?;
        Ok(outcome)
    }
}

/// The number that follows these words.
fn number_after(text: &str, words: &str) -> Option<u64> {
    let (_, rest) = text.split_once(words)?;
    rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}
