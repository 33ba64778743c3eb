//! What keeps a chain short: compactions, whole databases, and that old files go.
//!
//! Owns: when which of them is made, and the one that is under way beside deltas and the snapshot. All are made of versions in memory, so
//! nothing is read back. Does not own: which files may go (`chain`).
//! Invariants: a file is made of a state that the chain holds; the horizon stands in the head record before anything below it is deleted;
//! where nothing changed nothing is due.

use std::sync::Arc;
use std::time::Duration;

use chain::{Expired, Files, Keep, Level};
use futures::StreamExt as _;
use ltx::{Txid, UnixMillis};
use tokio::sync::oneshot;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use super::{Flusher, is_end};
use crate::bucket;
use crate::chains::{Chain, Landing, SlotMark, Upload, millis};
use crate::delta::{Delta, Draft, Gathered, Tip};
use crate::error::Error;
use crate::facts::Damage;
#[cfg(test)]
use crate::flaws::Flaw;
use crate::flush::{Failures, Next};
use crate::memory::Pin;
use crate::tasks::spawn_owned;

const MINUTES: Duration = Duration::from_mins(5);
/// So many deltas are put together at once: each is a request of whoever opens the branch.
const MANY: u32 = 100;
const HOUR: Duration = Duration::from_hours(1);
const DAY: Duration = Duration::from_hours(24);
/// Deletions at once.
const AT_ONCE: usize = 8;

/// What is to be done, and what is under way.
pub(super) struct Upkeep {
    minutes: Gathered,
    hour: Gathered,
    /// When the first delta arrived that is in no compaction of that level.
    minutes_since: Option<Instant>,
    hour_since: Option<Instant>,
    /// The same of the newest whole database, and the bytes of all of them.
    whole_since: Option<Instant>,
    behind: u64,
    renewal: Option<Renewal>,
    /// A file whose upload has failed. It goes again as it is.
    left: Option<Upload>,
    failures: Failures,
    task: Option<AbortOnDropHandle<Done>>,
}

/// The newest state should need none of the files that were there when it had this number.
struct Renewal {
    since: Instant,
    after: Txid,
    replies: Vec<oneshot::Sender<()>>,
}

/// How work of the background ended.
pub(super) enum Done {
    Put(Box<Upload>, Landing),
    /// All files of the chain, after a whole database was put.
    Listed(Result<Files, Error>),
    /// A fault of ours, which the log names.
    NotMade(String),
    Deleted(Result<usize, bucket::Error>),
}

pub(super) type Joined = Result<Done, tokio::task::JoinError>;

impl Upkeep {
    /// Of a chain that was just opened; so many bytes of it lie behind its newest whole database.
    pub(super) fn of(tip: &Tip, behind: u64, now: Instant) -> Self {
        Self {
            minutes: Gathered::after(tip),
            hour: Gathered::after(tip),
            minutes_since: None,
            hour_since: None,
            whole_since: (behind > 0).then_some(now),
            behind,
            renewal: None,
            left: None,
            failures: Failures::default(),
            task: None,
        }
    }

    /// A delta arrived.
    pub(super) fn went_on(&mut self, delta: &Delta, bytes: u64, now: Instant) {
        for (gathered, since) in [(&mut self.minutes, &mut self.minutes_since), (&mut self.hour, &mut self.hour_since)] {
            gathered.add(delta);
            since.get_or_insert(now);
        }
        self.whole_since.get_or_insert(now);
        self.behind = self.behind.saturating_add(bytes);
    }

    /// The newest state should need none of the files that are there.
    pub(super) fn renew(&mut self, tip: &Tip, now: Instant, reply: Option<oneshot::Sender<()>>) {
        let renewal = self.renewal.get_or_insert_with(|| Renewal { since: now, after: tip.txid, replies: Vec::new() });
        renewal.after = tip.txid;
        renewal.replies.extend(reply);
    }

    /// A whole database of this state is there. Tells whether it was asked for.
    fn is_renewed(&mut self, txid: Txid) -> bool {
        let Some(Renewal { replies, .. }) = self.renewal.take_if(|renewal| renewal.after < txid) else { return false };
        for reply in replies {
            // Nobody may be waiting any more.
            reply.send(()).ok();
        }
        true
    }

    /// When there is something to do for a database of so many bytes.
    pub(super) fn next(&self, size: u64) -> Next {
        if self.task.is_some() {
            return Next::Idle;
        }
        if let Some(again) = self.failures.again() {
            return Next::At(again);
        }
        match [Level::Whole, Level::Hour, Level::Minutes].into_iter().filter_map(|level| self.due(level, size)).min() {
            Some(at) => Next::At(at),
            None => Next::Idle,
        }
    }

    fn due(&self, level: Level, size: u64) -> Option<Instant> {
        match level {
            Level::Whole if self.renewal.is_some() => self.renewal.as_ref().map(|renewal| renewal.since),
            Level::Whole if self.behind > size => self.whole_since,
            Level::Whole => Some(self.whole_since? + DAY),
            // One file in the place of one file helps nobody.
            Level::Hour => self.hour_since.filter(|_| self.hour.files() > 1).map(|since| since + HOUR),
            Level::Minutes if self.minutes.files() >= MANY => self.minutes_since,
            Level::Minutes => self.minutes_since.filter(|_| self.minutes.files() > 1).map(|since| since + MINUTES),
            Level::Delta => None,
        }
    }

    pub(super) fn under_way(&mut self) -> Option<&mut AbortOnDropHandle<Done>> {
        self.task.as_mut()
    }

    /// What is made next, at this moment.
    fn begin(&mut self, tip: &Tip, size: u64, now: Instant) -> Option<(Level, Gathered)> {
        let is_due = |level: &Level| self.due(*level, size).is_some_and(|at| at <= now);
        let level = [Level::Whole, Level::Hour, Level::Minutes].into_iter().find(is_due)?;
        let fresh = Gathered::after(tip);
        let gathered = match level {
            Level::Hour => {
                self.hour_since = None;
                std::mem::replace(&mut self.hour, fresh)
            }
            Level::Minutes => {
                self.minutes_since = None;
                std::mem::replace(&mut self.minutes, fresh)
            }
            Level::Whole | Level::Delta => {
                (self.whole_since, self.behind) = (None, 0);
                fresh
            }
        };
        Some((level, gathered))
    }
}

impl Flusher {
    /// Begins what is due.
    pub(super) async fn begin_upkeep(&mut self) -> Result<(), Arc<Error>> {
        let now = self.clock.now();
        if let Some(upload) = self.line.upkeep.left.take() {
            self.send_file(upload);
            return Ok(());
        }
        // A file is made of what is durable, and that is what the memory holds after this.
        let pin = self.pin_to_keep().await.inspect_err(|_| self.line.upkeep.failures.add(now))?;
        self.line.upkeep.failures = Failures::default();
        let (tip, epoch) = (Arc::clone(&self.line.tip), self.line.tenure.epoch());
        let Some((level, gathered)) = self.line.upkeep.begin(&tip, self.memory.size(), now) else { return Ok(()) };
        let (put_id, chain) = (self.put_ids.fresh(), self.line.chain.clone());
        #[cfg(test)]
        let flaw = self.bucket().flaw();
        let work = move || match level {
            #[cfg(test)]
            Level::Minutes | Level::Hour if flaw == Flaw::HolesLeftOut => gathered.draft_without_holes(&pin, &tip, epoch).encoded(),
            Level::Whole => Draft::whole(&pin, &tip, epoch).encoded(),
            Level::Delta | Level::Minutes | Level::Hour => gathered.draft(&pin, &tip, epoch).encoded(),
        };
        self.line.upkeep.task = Some(spawn_owned(async move {
            match tokio::task::spawn_blocking(work).await {
                Ok(Ok(file)) => put(chain, Upload { level, file, put_id, mark: SlotMark::None }).await,
                Ok(Err(error)) => Done::NotMade(error.to_string()),
                Err(panic) => Done::NotMade(panic.to_string()),
            }
        }));
        Ok(())
    }

    /// The newest state, once it is durable. One that is to be renewed gets a number of which no file is there yet.
    async fn pin_to_keep(&mut self) -> Result<Pin, Arc<Error>> {
        let is_new = self.line.upkeep.renewal.as_ref().is_none_or(|renewal| renewal.after < self.line.tip.txid);
        if is_new {
            return self.save().await;
        }
        self.send().await?;
        self.take_slot(true).await
    }

    /// Files of the chain are not what they were.
    pub(super) fn renew(&mut self, files: Vec<Damage>, reply: oneshot::Sender<()>) {
        let (now, found) = (self.clock.now(), super::damaged(files, self.clock.wall()));
        if found.is_some() {
            self.ledger.lock().damaged = found;
        }
        self.line.upkeep.renew(&self.line.tip, now, Some(reply));
        (self.notify)();
    }

    fn send_file(&mut self, upload: Upload) {
        let chain = self.line.chain.clone();
        self.line.upkeep.task = Some(spawn_owned(put(chain, upload)));
    }

    /// Something of it has ended.
    pub(super) async fn kept_up(&mut self, joined: Joined) -> Result<(), Arc<Error>> {
        let result = self.learn(joined).await;
        (self.notify)();
        result
    }

    /// What failed is tried again; nothing of it makes a commit less durable.
    async fn learn(&mut self, joined: Joined) -> Result<(), Arc<Error>> {
        self.line.upkeep.task = None;
        let now = self.clock.now();
        match joined.unwrap_or_else(|panic| Done::NotMade(panic.to_string())) {
            Done::Put(upload, Landing::Stored) => {
                self.line.upkeep.failures = Failures::default();
                if upload.level == Level::Whole {
                    self.renewed(upload.file.draft.header.txids.max());
                    self.list();
                }
            }
            // An earlier tenure made the same one.
            Done::Put(_, Landing::Taken(_)) => self.line.upkeep.failures = Failures::default(),
            Done::Put(upload, Landing::NotWritten(error) | Landing::Unclear(error)) => {
                tracing::warn!(database = %self.name, error = &error as &dyn std::error::Error, "a compaction was not written; it is tried again");
                self.line.upkeep.left = Some(*upload);
                self.line.upkeep.failures.add(now);
            }
            Done::Listed(Ok(files)) => return self.retire(&files).await,
            Done::Listed(Err(error)) => {
                tracing::warn!(database = %self.name, error = &error as &dyn std::error::Error, "old files could not be listed");
            }
            Done::NotMade(detail) => {
                tracing::error!(database = %self.name, detail, "a compaction could not be made");
                self.line.upkeep.failures.add(now);
            }
            Done::Deleted(Ok(count)) => tracing::debug!(database = %self.name, count, "files from before the horizon are deleted"),
            // The next whole database tries again.
            Done::Deleted(Err(error)) => {
                tracing::warn!(database = %self.name, error = &error as &dyn std::error::Error, "old files were not deleted");
            }
        }
        Ok(())
    }

    /// A whole database of this state is there.
    fn renewed(&mut self, txid: Txid) {
        if self.line.upkeep.is_renewed(txid)
            && let Some(damaged) = &mut self.ledger.lock().damaged
        {
            damaged.renewed = Some(txid.get());
        }
    }

    /// A chain may have many thousand files, and deltas must not wait until they are listed.
    fn list(&mut self) {
        let Some(first) = self.line.tenure.record().first() else { return };
        let chain = self.line.chain.clone();
        self.line.upkeep.task = Some(spawn_owned(async move { Done::Listed(chain.all_files(first).await) }));
    }

    /// Lets go what nobody can ask for any more: first says so, then deletes.
    async fn retire(&mut self, files: &Files) -> Result<(), Arc<Error>> {
        let Some(retention) = self.settings.borrow().durability.retention else { return Ok(()) };
        let record = self.line.tenure.record();
        let Some(horizon) = record.horizon.and_then(Txid::new).or(record.first()) else { return Ok(()) };
        let since = UnixMillis(millis(self.clock.wall()).0.saturating_sub(i64::try_from(retention.as_millis()).unwrap_or(i64::MAX)));
        let slots = record.kept_slots();
        #[cfg(test)]
        let slots = if self.bucket().flaw() == Flaw::FencesDeleted { std::collections::BTreeSet::new() } else { slots };
        let Expired { horizon, files } = files.expired(&Keep { since, horizon, slots: &slots });
        if files.is_empty() {
            return Ok(());
        }
        match self.announce(horizon).await {
            Ok(true) => {}
            Ok(false) => return Ok(()),
            Err(error) if is_end(&error) => return Err(error),
            Err(error) => {
                tracing::warn!(database = %self.name, error = &*error as &dyn std::error::Error, "the horizon was not noted, so nothing is deleted");
                return Ok(());
            }
        }
        let chain = self.line.chain.clone();
        self.line.upkeep.task = Some(spawn_owned(async move { Done::Deleted(delete(chain, files).await) }));
        Ok(())
    }

    /// Says from where on states can be had. `false` while nobody knows which snapshot stands at `<key>`: of one that the record does not
    /// name only the chain tells whose it is, and that may end with its state.
    async fn announce(&mut self, horizon: Txid) -> Result<bool, Arc<Error>> {
        let is_noted = self.note_what_stands().await?;
        if is_noted {
            self.line.tenure.change(|record| record.with_horizon(horizon)).await.map_err(|failure| self.error_of(failure))?;
        }
        Ok(is_noted)
    }
}

async fn put(chain: Chain, upload: Upload) -> Done {
    let landing = chain.put(&upload).await;
    Done::Put(Box::new(upload), landing)
}

/// The whole databases last, the older ones first: what is left can be had as before.
async fn delete(chain: Chain, files: Vec<chain::File>) -> Result<usize, bucket::Error> {
    let (wholes, rest): (Vec<_>, Vec<_>) = files.into_iter().partition(chain::File::is_whole);
    let count = wholes.len() + rest.len();
    for files in [rest, wholes] {
        let deletions = files.into_iter().map(|file| {
            let chain = chain.clone();
            async move { chain.delete(&file).await }
        });
        let mut deletions = futures::stream::iter(deletions).buffered(AT_ONCE);
        while let Some(done) = deletions.next().await {
            done?;
        }
    }
    Ok(count)
}

#[cfg(test)]
mod litestream;
#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{Clock as _, SystemClock};
    use crate::delta::By;
    use crate::head::Epoch;
    use crate::memory::{MemoryDatabase, MemoryOptions, SqlPool};

    struct Line {
        memory: MemoryDatabase,
        tip: Tip,
        upkeep: Upkeep,
        begun: Instant,
    }

    impl Line {
        fn new() -> Self {
            let memory = MemoryDatabase::new(MemoryOptions::new(SqlPool::new(1.try_into().unwrap()))).unwrap();
            let (tip, begun) = (Tip::of(&memory.pin(), Txid::FIRST, UnixMillis(0)), SystemClock.now());
            Self { upkeep: Upkeep::of(&tip, 0, begun), memory, tip, begun }
        }

        fn delta(&mut self, bytes: u64, minute: u64) {
            let (pin, changes) = self.memory.pin_with_changes(self.tip.commits);
            let delta = self.tip.delta(&pin, changes, By { epoch: Epoch(1), time: UnixMillis(0) });
            self.tip.follow(&delta);
            self.upkeep.went_on(&delta, bytes, self.at(minute));
        }

        fn at(&self, minute: u64) -> Instant {
            self.begun + Duration::from_mins(minute)
        }
    }

    #[test]
    fn what_changes_seldom_is_made_whole_each_day_and_never_compacted() {
        let mut line = Line::new();
        assert_eq!(line.upkeep.next(100), Next::Idle);
        line.delta(10, 1);
        assert_eq!(line.upkeep.next(100), Next::At(line.at(1) + DAY), "one file in the place of one helps nobody");
    }

    #[test]
    fn compactions_are_due_from_their_first_delta_on_and_begin_with_the_higher_level() {
        let mut line = Line::new();
        line.delta(10, 1);
        line.delta(10, 2);
        assert_eq!(line.upkeep.next(100), Next::At(line.at(6)));
        let due = line.upkeep.begin(&line.tip, 100, line.at(6)).map(|(level, gathered)| (level, gathered.files()));
        assert_eq!(due, Some((Level::Minutes, 2)));
        assert_eq!(line.upkeep.next(100), Next::At(line.at(61)));
        line.delta(10, 30);
        line.delta(10, 31);
        assert_eq!(line.upkeep.next(100), Next::At(line.at(35)));
        let due = line.upkeep.begin(&line.tip, 100, line.at(61)).map(|(level, gathered)| (level, gathered.files()));
        assert_eq!(due, Some((Level::Hour, 4)));
        assert!(line.upkeep.begin(&line.tip, 100, line.at(61)).is_some_and(|(level, _)| level == Level::Minutes));
        assert!(line.upkeep.begin(&line.tip, 100, line.at(61)).is_none());
    }

    #[test]
    fn many_deltas_do_not_wait_for_their_five_minutes() {
        let mut line = Line::new();
        for _ in 1..MANY {
            line.delta(1, 1);
        }
        assert_eq!(line.upkeep.next(1000), Next::At(line.at(6)));
        line.delta(1, 2);
        assert_eq!(line.upkeep.next(1000), Next::At(line.at(1)));
        let due = line.upkeep.begin(&line.tip, 1000, line.at(2)).map(|(level, gathered)| (level, gathered.files()));
        assert_eq!(due, Some((Level::Minutes, MANY)));
    }

    #[test]
    fn deltas_that_outgrow_the_database_are_replaced_at_once() {
        let mut line = Line::new();
        line.delta(101, 1);
        assert_eq!(line.upkeep.next(100), Next::At(line.at(1)));
        assert!(line.upkeep.begin(&line.tip, 100, line.at(1)).is_some_and(|(level, _)| level == Level::Whole));
        assert_eq!(line.upkeep.next(100), Next::Idle);
        assert_eq!(Upkeep::of(&line.tip, 7, line.begun).next(100), Next::At(line.begun + DAY), "an earlier tenure left some");
    }

    #[test]
    fn what_failed_waits_ever_longer() {
        let mut line = Line::new();
        line.upkeep.failures.add(line.at(0));
        assert_eq!(line.upkeep.next(100), Next::At(line.at(0) + Duration::from_secs(1)));
        line.upkeep.failures.add(line.at(0));
        assert_eq!(line.upkeep.next(100), Next::At(line.at(0) + Duration::from_secs(2)));
    }
}
