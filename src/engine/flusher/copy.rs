//! The plain file at `<key>`, which follows the chain.
//!
//! Owns: the one upload of it that may be under way, beside deltas. Does not own: how it is uploaded (`snapshot.rs`).
//! Invariants: it is made of a state that the chain holds; an upload without a clear answer is settled before another one begins.

use std::io;
use std::sync::Arc;

use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;
use tracing::Instrument as _;

use super::{Flusher, is_end};
use crate::base::Base;
use crate::config::{Durability, SnapshotPolicy};
use crate::database::Flushed;
use crate::delta::Delta;
use crate::error::Error;
use crate::facts::{SnapshotFacts, Uploads};
use crate::flush::{Copies, Next};
use crate::head::HeadRecord;
use crate::hooks::{FlushEnd, FlushKind};
use crate::names::Etag;
use crate::page_set::PageSet;
use crate::snapshot::{self, Attempt, Known, Mark, Outcome, content_of};
use crate::tasks::spawn_owned;

/// How often one flush puts its state back in the place of somebody else's.
const CONFLICTS: u32 = 3;

/// What is known of it.
pub(super) struct Copy {
    pub(super) known: Known,
    /// The state that it holds.
    pub(super) txid: u64,
    /// What stands there, as far as the next one can be put together from it.
    base: Option<Base>,
    /// What has changed since the state that is on its way, or that came last.
    since: PageSet,
    /// An upload of which nobody knows whether it arrived.
    unsettled: Option<Attempt>,
    /// One that arrived and that the head record does not name yet, and the digest of what is in it.
    unnoted: Option<(SnapshotFacts, String)>,
    schedule: Copies,
    task: Option<Task>,
}

struct Task {
    attempt: Attempt,
    begun: Instant,
    /// Whether an earlier try of the same attempt had no clear answer.
    was_unclear: bool,
    upload: AbortOnDropHandle<Ended>,
}

/// What became of an upload, and the digest of what was uploaded.
type Ended = (Outcome, io::Result<String>);
pub(super) type Joined = Result<Ended, tokio::task::JoinError>;

/// How an upload was noted.
pub(super) enum Copied {
    Stored(SnapshotFacts),
    /// Neither what we knew nor ours stands there.
    Conflict,
}

impl Copy {
    pub(super) fn of(known: Known, txid: u64, base: Option<Base>, schedule: Copies) -> Self {
        Self { known, txid, base, since: PageSet::default(), unsettled: None, unnoted: None, schedule, task: None }
    }

    /// When the next one begins.
    pub(super) fn next(&self, durability: &Durability, size: u64) -> Next {
        if self.task.is_some() { Next::Idle } else { self.schedule.next(durability, size) }
    }

    /// Whether it is known what stands at the key.
    pub(super) fn is_settled(&self) -> bool {
        self.task.is_none() && self.unsettled.is_none()
    }

    pub(super) fn under_way(&mut self) -> Option<&mut AbortOnDropHandle<Ended>> {
        self.task.as_mut().map(|task| &mut task.upload)
    }

    pub(super) fn is_debounced(&self, policy: &SnapshotPolicy, now: Instant) -> bool {
        self.schedule.is_debounced(policy, now)
    }

    pub(super) fn went_on(&mut self, delta: &Delta, bytes: u64, now: Instant) {
        self.schedule.went_on(bytes, now);
        self.since.extend(delta.pages());
        if let Some(base) = &mut self.base {
            base.changed.extend(delta.pages());
        }
    }

    /// What stands at the key, if that is known to be a state of ours and what has changed since.
    pub(super) fn base(&self) -> Option<Base> {
        self.base.clone().filter(|base| self.known == Known::Sound(base.etag.clone()))
    }

    pub(super) fn is_failing(&self) -> bool {
        self.schedule.is_failing()
    }
}

impl Flusher {
    /// Begins to upload the newest durable state.
    pub(super) async fn begin_copy(&mut self) -> Result<(), Arc<Error>> {
        let keep_previous = self.settings.borrow().policy.keep_previous;
        let (attempt, was_unclear) = if let Some(attempt) = self.line.copy.unsettled.clone() {
            // Whether to copy first is no part of what is sent, and a copy that is not permitted must not hold it up for ever.
            (Attempt { keep_previous, ..attempt }, true)
        } else {
            let pin = self.save().await.inspect_err(|_| self.line.copy.schedule.failed(self.clock.now()))?;
            let attempt = Attempt {
                txid: self.line.tip.txid.get(),
                checksum: self.line.tip.checksum(),
                epoch: self.line.tenure.epoch(),
                put_id: self.put_ids.fresh(),
                replaces: self.line.copy.known.clone(),
                keep_previous,
                base: self.line.copy.base(),
                promotion: Mark::None,
                pin,
            };
            self.line.copy.since = PageSet::default();
            (attempt, false)
        };
        let begun = self.clock.now();
        if was_unclear {
            self.line.copy.schedule.begin_again(begun);
        } else {
            self.line.copy.schedule.begin(begun);
        }
        let (bucket, place, sent) = (self.bucket(), self.line.tenure.place().clone(), attempt.clone());
        self.hooks.flush_started(&self.flush_of(FlushKind::Snapshot));
        let span = self.span_of(FlushKind::Snapshot, attempt.txid, attempt.pin.size());
        let sending = async move { tokio::join!(snapshot::upload(&bucket, &place, &sent), content_of(&sent.pin)) };
        let upload = spawn_owned(sending.instrument(span));
        self.line.copy.unsettled = Some(attempt.clone());
        self.line.copy.task = Some(Task { attempt, begun, was_unclear, upload });
        Ok(())
    }

    /// Makes `<key>` hold what the chain holds now.
    pub(super) async fn copy_now(&mut self) -> Result<Flushed, Arc<Error>> {
        let mut done = None;
        for _ in 0..=CONFLICTS {
            if self.line.copy.task.is_none() {
                // Fences change the number and not the content.
                if self.line.copy.unsettled.is_none() && self.line.copy.txid >= self.line.tip.same_since.get() {
                    let last = self.ledger.lock().last_snapshot.clone();
                    return Ok(done.map_or_else(|| last.map_or(Flushed::Skipped(None), Flushed::Unchanged), Flushed::Uploaded));
                }
                self.begin_copy().await?;
            }
            let Some(upload) = self.line.copy.under_way() else { continue };
            let joined = upload.await;
            if let Copied::Stored(facts) = self.copied(joined).await? {
                done = Some(facts);
            }
        }
        let message = "somebody else keeps writing the snapshot".to_owned();
        Err(self.copy_failed(crate::bucket::Error::Unavailable { message }))
    }

    /// An upload has ended. Somebody else's object in the place is put aside, unless that somebody has ended our tenure.
    pub(super) async fn copied(&mut self, joined: Joined) -> Result<Copied, Arc<Error>> {
        let Some(Task { attempt, begun, was_unclear, upload: _ }) = self.line.copy.task.take() else {
            return Ok(Copied::Conflict);
        };
        let (outcome, content) = match joined {
            Ok(ended) => ended,
            // A panic, which is a fault of ours. Whether it arrived is found out by the next try.
            Err(error) => (Outcome::Unclear(crate::bucket::Error::Unclear { message: error.to_string() }), Ok(String::new())),
        };
        // A clear refusal of this try says nothing about an unclear one before it, which may still arrive.
        let stays_unclear = matches!(outcome, Outcome::Unclear(_)) || (was_unclear && matches!(outcome, Outcome::NotWritten(_)));
        if !stays_unclear {
            self.line.copy.unsettled = None;
        }
        let result = match outcome {
            Outcome::Stored(etag) => self.stored(&attempt, etag, begun, content).await.map(Copied::Stored),
            Outcome::Conflict { theirs } => {
                self.line.copy.schedule.failed(self.clock.now());
                self.put_aside(theirs).await.map(|()| Copied::Conflict)
            }
            Outcome::NotWritten(source) | Outcome::Unclear(source) if stays_unclear => {
                self.line.copy.schedule.unclear(self.clock.now());
                Err(self.tell_copy_failure(source))
            }
            Outcome::NotWritten(source) | Outcome::Unclear(source) => Err(self.copy_failed(source)),
        };
        self.tell_end(&attempt, begun, &result);
        (self.notify)();
        result
    }

    fn tell_end(&self, attempt: &Attempt, begun: Instant, result: &Result<Copied, Arc<Error>>) {
        let took = self.clock.now().saturating_duration_since(begun);
        let end = match result {
            // Noting it in the record came after it.
            Ok(Copied::Stored(facts)) => {
                FlushEnd::Completed { txid: attempt.txid, bytes: attempt.pin.size(), took: facts.duration.unwrap_or(took) }
            }
            Ok(Copied::Conflict) => {
                let source = crate::bucket::Error::PreconditionFailed;
                let error = Error::Bucket { database: self.name.clone(), doing: "writing a snapshot", source };
                FlushEnd::Failed { error: Arc::new(error), took }
            }
            Err(error) => FlushEnd::Failed { error: Arc::clone(error), took },
        };
        self.hooks.flush_ended(&self.flush_of(FlushKind::Snapshot), &end);
    }

    /// It is in the bucket. Noting it in the head record may fail without harm: the next one notes it, or whoever opens next finds it.
    async fn stored(
        &mut self,
        attempt: &Attempt,
        etag: Etag,
        begun: Instant,
        content: io::Result<String>,
    ) -> Result<SnapshotFacts, Arc<Error>> {
        let facts = SnapshotFacts {
            time: self.clock.wall(),
            txid: attempt.txid,
            size: attempt.pin.size(),
            duration: Some(self.clock.now().saturating_duration_since(begun)),
            etag: etag.clone(),
        };
        let (key, changed) = (self.line.tenure.place().key.clone(), std::mem::take(&mut self.line.copy.since));
        self.line.copy.base = Some(Base { key, etag: etag.clone(), size: attempt.pin.size(), changed });
        self.line.copy.known = Known::Sound(etag);
        self.line.copy.txid = attempt.txid;
        self.line.copy.schedule.succeeded();
        {
            let mut ledger = self.ledger.lock();
            ledger.last_snapshot = Some(facts.clone());
            if self.progress.failures.are_none() {
                ledger.uploads = Uploads::Fine;
            }
        }
        let content = content.map_err(|error| self.copy_failed(error.into()))?;
        self.line.copy.unnoted = Some((facts.clone(), content));
        match self.note_what_stands().await {
            Ok(_) => {}
            Err(error) if is_end(&error) => return Err(error),
            Err(error) => {
                tracing::warn!(database = %self.name, error = &*error as &dyn std::error::Error, "the snapshot was not noted in the head record");
            }
        }
        Ok(facts)
    }

    /// Has the head record name the snapshot. `false` while nobody knows which one stands there.
    pub(super) async fn note_what_stands(&mut self) -> Result<bool, Arc<Error>> {
        if let Some((facts, content)) = self.line.copy.unnoted.clone() {
            self.note(&facts, &content).await?;
            self.line.copy.unnoted = None;
        }
        Ok(self.line.copy.unsettled.is_none())
    }

    async fn note(&mut self, facts: &SnapshotFacts, content: &str) -> Result<(), Arc<Error>> {
        let (not_done, newest) = (self.line.not_done.clone(), self.line.tip.txid.get());
        let change = |record: &HeadRecord| {
            let noted = record.noted(&facts.etag, facts.txid, facts.size, content.to_owned()).at(newest);
            if let Some(id) = &not_done { noted.without_promotion(id) } else { noted }
        };
        self.line.tenure.change(change).await.map_err(|failure| self.error_of(failure))?;
        self.line.not_done = None;
        Ok(())
    }

    fn copy_failed(&mut self, source: crate::bucket::Error) -> Arc<Error> {
        self.line.copy.schedule.failed(self.clock.now());
        self.tell_copy_failure(source)
    }

    fn tell_copy_failure(&self, source: crate::bucket::Error) -> Arc<Error> {
        self.tell_failure(Error::Bucket { database: self.name.clone(), doing: "writing a snapshot", source })
    }
}
