//! What the resource's status says of a database.
//!
//! Owns: the conditions (kstatus: `Ready` always; `Reconciling` and `Stalled` only while true), the facts, and when they are worth a
//! write. Pure but for [`publish()`], the one place that writes a status.
//! Invariant: a `lastTransitionTime` moves only when its condition's status does, and two looks at the same state make the same status.

mod gc;
mod lineage;
mod publish;

use std::time::Duration;

use engine::{Damage, Damaged, DatabaseName, Facts, Origin, SnapshotFacts, State, Uploads, Verified, WallTime};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

use crate::crd::{
    BindingStatus, BucketDatabase, BucketDatabaseSpec, BucketDatabaseStatus, LastHandled, Period, SnapshotStatus, VerifiedStatus,
};
use crate::gc::News;
use crate::plan::{self, Connection, Observed, Verdict};
use crate::problem::Problem;
use crate::reason::Reason;

pub(crate) use publish::{give_up, publish};

/// The types of our conditions.
pub(crate) mod condition {
    /// It answers requests, and as the newest spec asks for.
    pub(crate) const READY: &str = "Ready";
    /// Work is under way. Only while true.
    pub(crate) const RECONCILING: &str = "Reconciling";
    /// Nothing more happens until a person changes something. Only while true.
    pub(crate) const STALLED: &str = "Stalled";
    /// What it began with is known.
    pub(crate) const RESTORED: &str = "Restored";
    /// Commits reach the bucket in time.
    pub(crate) const DURABLE: &str = "Durable";
    /// What is in the bucket can be restored.
    pub(crate) const VERIFIED: &str = "Verified";
    /// The promotion of the spec is carried out. Only while there is one.
    pub(crate) const PROMOTION_APPLIED: &str = "PromotionApplied";
    /// It takes writes.
    pub(crate) const WRITABLE: &str = "Writable";
    /// Nobody can write beside it unnoticed. Only where `durability.unsafeSingleWriter` permits otherwise.
    pub(crate) const SECOND_WRITER_EXCLUDED: &str = "SecondWriterExcluded";
    /// It fits into the quota of its namespace. Only while it does not.
    pub(crate) const WITHIN_QUOTA: &str = "WithinQuota";
    /// What was unused when somebody asked is gone. Only once somebody did.
    pub(crate) const GARBAGE_COLLECTED: &str = "GarbageCollected";
}
use condition::{DURABLE, READY, RECONCILING, RESTORED, SECOND_WRITER_EXCLUDED, STALLED, VERIFIED, WITHIN_QUOTA, WRITABLE};

/// A condition's status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Truth {
    True,
    False,
    Unknown,
}

impl Truth {
    const fn as_str(self) -> &'static str {
        match self {
            Self::True => "True",
            Self::False => "False",
            Self::Unknown => "Unknown",
        }
    }
}

/// A condition before it is known whether it is news.
struct Finding {
    type_: &'static str,
    truth: Truth,
    reason: Reason,
    message: String,
}

fn finding(type_: &'static str, truth: Truth, reason: Reason, message: impl Into<String>) -> Finding {
    Finding { type_, truth, reason, message: message.into() }
}

/// What the status needs to know besides what was observed.
#[derive(Debug, Clone)]
pub(crate) struct Said<'a> {
    /// How the database stands.
    pub(crate) verdict: &'a Verdict,
    /// The request of the flush annotation that was carried out just now.
    pub(crate) flushed: Option<&'a str>,
    /// What came of gc just now.
    pub(crate) gc: Option<&'a News>,
    /// Where the database is reached.
    pub(crate) url: &'a str,
    /// The process that has it.
    pub(crate) host: &'a str,
    /// The name of the connection Secret, once there is one.
    pub(crate) binding: Option<String>,
}

/// The status after `previous`, given what was seen and said.
pub(crate) fn next(resource: &BucketDatabase, previous: &BucketDatabaseStatus, seen: &Observed, said: &Said<'_>) -> BucketDatabaseStatus {
    let generation = resource.metadata.generation;
    let facts = match &seen.hosted {
        State::Open(facts) => Some(facts),
        State::Absent | State::Opening | State::Failed { .. } | State::Closing | State::Suspended { .. } => None,
    };
    let mut found = View::new(resource, previous, said.verdict, facts).findings();
    found.extend(seen.share.overrun().map(|why| finding(WITHIN_QUOTA, Truth::False, Reason::QuotaExceeded, why)));
    found.extend(resource.spec.promotion.as_ref().map(|asked| lineage::promotion_applied(asked, &seen.lineage, said.verdict)));
    let mut status = BucketDatabaseStatus {
        observed_generation: generation,
        conditions: found.into_iter().map(|finding| carry(finding, &previous.conditions, generation, seen.now)).collect(),
        host: Some(said.host.to_owned()),
        url: Some(said.url.to_owned()),
        branch: Some(resource.spec.branch.clone()),
        promotion: lineage::promotion(resource, &seen.lineage, said.verdict),
        max_size: seen.held.map(Into::into),
        binding: said.binding.clone().map(|name| BindingStatus { name }).or_else(|| previous.binding.clone()),
        ..previous.clone()
    };
    if let Some(facts) = facts {
        take_over(&mut status, facts);
        status.branches = lineage::branches(&seen.lineage, facts).unwrap_or(status.branches);
    }
    if let State::Suspended { last_snapshot: Some(last), .. } = &seen.hosted {
        status.txid = Some(last.txid);
        status.size = Some(last.size.into());
        status.last_snapshot = Some(snapshot(last));
        status.durable_time = status.durable_time.max(Some(whole_seconds(last.time)));
    }
    if let Some(request) = said.flushed {
        status.last_handled = Some(LastHandled { flush: Some(request.to_owned()), ..status.last_handled.unwrap_or_default() });
    }
    // Once the Secret is as it should be, it tells which request its token answers.
    if let (Connection::Current, Some(request)) = (&seen.connection, &seen.rotation.handled) {
        status.last_handled = Some(LastHandled { rotate: Some(request.clone()), ..status.last_handled.unwrap_or_default() });
    }
    gc::tell(&mut status, previous, resource, seen, said.gc);
    status
}

fn take_over(status: &mut BucketDatabaseStatus, facts: &Facts) {
    status.branch = Some(facts.branch.as_str().to_owned());
    status.epoch = Some(facts.epoch.0);
    status.size = Some(facts.size.into());
    status.txid = Some(facts.txid);
    status.durable_time = facts.durable_time.map(whole_seconds);
    status.last_snapshot = facts.last_snapshot.as_ref().map(snapshot);
    if let Some(verified) = &facts.verified {
        status.last_verified = Some(verified_status(verified));
    }
}

fn verified_status(verified: &Verified) -> VerifiedStatus {
    VerifiedStatus { time: whole_seconds(verified.time), txid: verified.txid, ok: verified.failure.is_none() }
}

fn snapshot(facts: &SnapshotFacts) -> SnapshotStatus {
    SnapshotStatus {
        time: whole_seconds(facts.time),
        txid: facts.txid,
        size: facts.size.into(),
        duration: facts.duration.map(Into::into),
        etag: facts.etag.as_str().to_owned(),
    }
}

/// Kubernetes' times have no fractions.
fn whole_seconds(time: WallTime) -> Time {
    Time(WallTime::from_second(time.as_second()).unwrap_or(time))
}

/// What the conditions are made from.
struct View<'a> {
    name: DatabaseName,
    verdict: &'a Verdict,
    /// Of an open database.
    facts: Option<&'a Facts>,
    interval: Duration,
    may_be_unsafe: bool,
    verifies: bool,
    /// The last proof before this process.
    verified: Option<&'a VerifiedStatus>,
}

impl<'a> View<'a> {
    fn new(resource: &BucketDatabase, previous: &'a BucketDatabaseStatus, verdict: &'a Verdict, facts: Option<&'a Facts>) -> Self {
        let BucketDatabaseSpec { durability, .. } = &resource.spec;
        Self {
            name: plan::name_of(resource),
            verdict,
            facts,
            interval: resource.spec.saved_within(),
            may_be_unsafe: durability.unsafe_single_writer,
            verifies: !durability.verify_interval.as_duration().is_zero(),
            verified: previous.last_verified.as_ref(),
        }
    }

    fn findings(&self) -> Vec<Finding> {
        let mut found = vec![self.ready()];
        found.extend(self.reconciling());
        found.extend(self.stalled());
        found.extend([self.restored(), self.durable(), self.verified(), self.writable()]);
        found.extend(self.second_writer_excluded());
        found
    }

    fn ready(&self) -> Finding {
        match self.verdict {
            Verdict::Serving { but: None } => finding(READY, Truth::True, Reason::Serving, "it answers requests"),
            Verdict::Serving { but: Some(problem) } => {
                let (truth, reason) = if problem.stuck { (Truth::False, problem.reason) } else { (Truth::True, Reason::Serving) };
                finding(READY, truth, reason, format!("it answers requests, but not as the newest spec asks for: {}", problem.message))
            }
            Verdict::Restoring => finding(READY, Truth::Unknown, Reason::Restoring, RESTORING),
            Verdict::Closing { but: None } => finding(READY, Truth::False, Reason::Closing, CLOSING),
            Verdict::Suspending { .. } => finding(READY, Truth::False, Reason::Suspending, SUSPENDING),
            Verdict::Suspended => finding(READY, Truth::False, Reason::Suspended, self.suspended()),
            Verdict::Failed(problem) | Verdict::Closing { but: Some(problem) } => {
                finding(READY, Truth::False, problem.reason, &problem.message)
            }
        }
    }

    fn reconciling(&self) -> Option<Finding> {
        match self.verdict {
            Verdict::Restoring => Some(finding(RECONCILING, Truth::True, Reason::Restoring, RESTORING)),
            Verdict::Closing { .. } => Some(finding(RECONCILING, Truth::True, Reason::Closing, CLOSING)),
            Verdict::Suspending { .. } => Some(finding(RECONCILING, Truth::True, Reason::Suspending, SUSPENDING)),
            Verdict::Serving { but: Some(problem) } | Verdict::Failed(problem) if !problem.stuck => {
                Some(finding(RECONCILING, Truth::True, problem.reason, &problem.message))
            }
            Verdict::Serving { .. } | Verdict::Failed(_) | Verdict::Suspended => None,
        }
    }

    fn stalled(&self) -> Option<Finding> {
        let problem = match self.verdict {
            Verdict::Serving { but: Some(problem) } | Verdict::Failed(problem) if problem.stuck => Some(problem),
            Verdict::Serving { .. }
            | Verdict::Failed(_)
            | Verdict::Restoring
            | Verdict::Closing { .. }
            | Verdict::Suspending { .. }
            | Verdict::Suspended => None,
        };
        problem.map(|problem| finding(STALLED, Truth::True, problem.reason, &problem.message))
    }

    fn restored(&self) -> Finding {
        let Some(facts) = self.facts else {
            let truth = if matches!(self.verdict, Verdict::Failed(_)) { Truth::False } else { Truth::Unknown };
            return self.not_open(RESTORED, truth);
        };
        let (reason, message) = match &facts.origin {
            Origin::Snapshot { etag, .. } => (Reason::Restored, format!("it began with the snapshot of ETag {etag}")),
            Origin::Chain { txid, .. } => (Reason::Restored, format!("it began with the state of txid {txid}")),
            Origin::Empty => (Reason::StartedEmpty, "the store proved that there was no snapshot: it began empty".to_owned()),
            Origin::Outside { etag, .. } => (
                Reason::OutsideSnapshotAdopted,
                format!(
                    "it began with the snapshot of ETag {etag}, which somebody else had put in the place of ours while nobody served it"
                ),
            ),
            Origin::Previous { etag } => {
                (Reason::PreviousAccepted, format!("it began with the snapshot before the newest, of ETag {etag}"))
            }
            Origin::Accepted { state, instead_of } => (
                Reason::StateAccepted,
                format!(
                    "it began with the state {state}, because txid {instead_of}, the newest, could not be proved and an annotation accepted it"
                ),
            ),
        };
        finding(RESTORED, Truth::True, reason, message)
    }

    fn durable(&self) -> Finding {
        if *self.verdict == Verdict::Suspended {
            return finding(
                DURABLE,
                Truth::True,
                Reason::Suspended,
                "everything that was committed is in the bucket, and the branch is released",
            );
        }
        let Some(facts) = self.facts else { return self.not_open(DURABLE, Truth::Unknown) };
        match &facts.uploads {
            Uploads::Fine if let Some(outside) = &facts.outside => {
                let message = format!(
                    "a snapshot of somebody else was found at {}, which was not made from the newest state, or written while it was served: theirs is kept as branch {}, and ours was put back. Stop the other \
                     writer; overwrite this branch with theirs if that is the state you want",
                    whole_seconds(outside.time).0,
                    outside.branch
                );
                finding(DURABLE, Truth::True, Reason::OutsideSnapshotKept, message)
            }
            Uploads::Fine => {
                let interval = Period::from(self.interval);
                let message = format!("a commit is in the bucket {interval} after it at the latest, plus the time of the upload");
                finding(DURABLE, Truth::True, Reason::SnapshotsSucceed, message)
            }
            Uploads::Failing { error, since, .. } => {
                let problem = Problem::of(&self.name, error);
                finding(
                    DURABLE,
                    Truth::False,
                    problem.reason,
                    format!("uploads fail since {}: {}", whole_seconds(*since).0, problem.message),
                )
            }
        }
    }

    fn verified(&self) -> Finding {
        let Some(facts) = self.facts else { return self.not_open(VERIFIED, Truth::Unknown) };
        if let Some(Damaged { files, time, renewed: None }) = &facts.damaged {
            let message = format!(
                "damage was found in the bucket at {}, and others are taken for: {}. The newest state is put there anew",
                whole_seconds(*time).0,
                listed(files)
            );
            return finding(VERIFIED, Truth::False, Reason::DamageFound, message);
        }
        match (&facts.verified, &facts.damaged, self.verified) {
            (Some(Verified { failure: Some(failure), time, .. }), ..) => {
                let message = format!(
                    "not all that should be in the bucket could be restored at {}: {failure}. What is served is in memory, and not touched by it",
                    whole_seconds(*time).0
                );
                finding(VERIFIED, Truth::False, Reason::NotRestorable, message)
            }
            (_, Some(Damaged { files, time, renewed: Some(renewed) }), _) => {
                let message = format!(
                    "damage was found in the bucket at {}: {}. Since txid {renewed} the newest state needs none of it; past states that did cannot be had",
                    whole_seconds(*time).0,
                    listed(files)
                );
                finding(VERIFIED, Truth::True, Reason::DamageHealed, message)
            }
            (Some(Verified { txid, past, time, failure: None, .. }), ..) => {
                let past = past.map_or_else(String::new, |past| format!(" and that of txid {past}"));
                let message = format!("the state of txid {txid}{past} was restored from the bucket at {}", whole_seconds(*time).0);
                finding(VERIFIED, Truth::True, Reason::Restorable, message)
            }
            (None, None, Some(VerifiedStatus { time, txid, ok: true })) => finding(
                VERIFIED,
                Truth::True,
                Reason::Restorable,
                format!("the state of txid {txid} was restored from the bucket at {}", time.0),
            ),
            _ => finding(VERIFIED, Truth::Unknown, Reason::NotVerified, self.why_unverified(facts)),
        }
    }

    fn why_unverified(&self, facts: &Facts) -> String {
        match &facts.unverified {
            Some(why) => format!("the newest try to restore it from the bucket came to no end: {why}"),
            None if self.verifies => "it was not restored from the bucket for a proof yet".to_owned(),
            None => "spec.durability.verifyInterval is 0s, so nobody tries whether it can be restored".to_owned(),
        }
    }

    fn writable(&self) -> Finding {
        match self.facts {
            None => self.not_open(WRITABLE, Truth::False),
            Some(facts) if facts.refuses_writes => {
                let message = format!(
                    "writes are refused, because the bucket has been behind for {} s: they go on by themselves once it has caught up. The condition \
                     Durable says why; durability.maxLag and onMaxLag say when",
                    facts.lag.unwrap_or_default().as_secs()
                );
                finding(WRITABLE, Truth::False, Reason::BucketBehind, message)
            }
            Some(_) => finding(WRITABLE, Truth::True, Reason::Serving, "it takes writes"),
        }
    }

    /// Where nobody permitted otherwise a database is not opened unless this holds.
    fn second_writer_excluded(&self) -> Option<Finding> {
        let Some(facts) = self.facts else {
            return self.may_be_unsafe.then(|| self.not_open(SECOND_WRITER_EXCLUDED, Truth::Unknown));
        };
        let Some(why) = &facts.unconditional else {
            let message = "the store honours conditions on writes, and they are used: spec.durability.unsafeSingleWriter changes nothing";
            return self.may_be_unsafe.then(|| finding(SECOND_WRITER_EXCLUDED, Truth::True, Reason::ConditionsHonoured, message));
        };
        let next = if self.may_be_unsafe {
            "let nothing else write to spec.key"
        } else {
            "spec.durability.unsafeSingleWriter is not set any more, so once it is closed it will not be opened again"
        };
        let message = format!(
            "the store does not honour conditions on writes ({why}): it is only looked before each write whether somebody else was there, and who writes \
             at the same moment may destroy data unnoticed; {next}"
        );
        Some(finding(SECOND_WRITER_EXCLUDED, Truth::False, Reason::SingleWriterUnsafe, message))
    }

    /// Of a database that is not open, with why it is not.
    fn not_open(&self, type_: &'static str, truth: Truth) -> Finding {
        match self.verdict {
            Verdict::Serving { .. } | Verdict::Restoring => finding(type_, truth, Reason::Restoring, RESTORING),
            Verdict::Failed(problem) => finding(type_, truth, problem.reason, &problem.message),
            Verdict::Closing { .. } => finding(type_, truth, Reason::Closing, CLOSING),
            Verdict::Suspending { .. } => finding(type_, truth, Reason::Suspending, SUSPENDING),
            Verdict::Suspended => finding(type_, truth, Reason::Suspended, self.suspended()),
        }
    }

    fn suspended(&self) -> String {
        format!(
            "spec.suspend is set: everything is in the bucket, and requests are answered with 503. To resume: `kubectl patch bdb {} -n {} --type merge -p \
             '{{\"spec\":{{\"suspend\":false}}}}'`",
            self.name.name(),
            self.name.namespace()
        )
    }
}

fn listed(damage: &[Damage]) -> String {
    damage.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

const RESTORING: &str = "it is being restored from the bucket, or waits for its turn";
const SUSPENDING: &str = "spec.suspend is set: a last flush is under way";
const CLOSING: &str = "the resource is being deleted: the final flush is under way";

/// The finding as a condition; its time is that of the last one of its type if that said the same.
fn carry(finding: Finding, previous: &[Condition], generation: Option<i64>, now: WallTime) -> Condition {
    let status = finding.truth.as_str();
    let same = previous.iter().find(|condition| condition.type_ == finding.type_ && condition.status == status);
    Condition {
        type_: finding.type_.to_owned(),
        status: status.to_owned(),
        reason: finding.reason.as_str().to_owned(),
        message: shortened(finding.message),
        observed_generation: generation,
        last_transition_time: same.map_or_else(|| whole_seconds(now), |condition| condition.last_transition_time.clone()),
    }
}

/// The API server refuses longer ones.
fn shortened(mut message: String) -> String {
    const LONGEST: usize = 32_000;
    if message.len() > LONGEST {
        message.truncate(message.floor_char_boundary(LONGEST));
    }
    message
}

/// When a status is worth a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Due {
    /// Nothing changed.
    Never,
    /// Something that people wait for.
    Now,
    /// Only facts that move with commits.
    In(Duration),
}

/// Whether to write, given when the last write was. Facts that move with commits wait until it is `interval` old.
pub(crate) fn due(
    previous: &BucketDatabaseStatus,
    next: &BucketDatabaseStatus,
    written: Option<WallTime>,
    now: WallTime,
    interval: Duration,
) -> Due {
    if previous == next {
        return Due::Never;
    }
    let left = written.map_or(Duration::ZERO, |written| interval.saturating_sub(plan::elapsed(written, now)));
    if left.is_zero() || steady(previous) != steady(next) { Due::Now } else { Due::In(left) }
}

/// The status without what moves with commits.
fn steady(status: &BucketDatabaseStatus) -> BucketDatabaseStatus {
    let conditions = status.conditions.iter().map(|condition| Condition { message: String::new(), ..condition.clone() }).collect();
    let branches = lineage::steady(&status.branches, status.branch.as_deref());
    BucketDatabaseStatus { conditions, branches, size: None, txid: None, durable_time: None, last_snapshot: None, ..status.clone() }
}

/// One condition of a status.
pub(crate) fn find<'a>(status: &'a BucketDatabaseStatus, type_: &str) -> Option<&'a Condition> {
    status.conditions.iter().find(|condition| condition.type_ == type_)
}

/// Whether a status says that the database is ready.
pub(crate) fn is_ready(status: &BucketDatabaseStatus) -> bool {
    find(status, READY).is_some_and(|ready| ready.status == Truth::True.as_str())
}

/// Since when something is wrong: it is not ready, or it serves although something is missing, which `Reconciling` says then.
pub(crate) fn troubled_since(status: &BucketDatabaseStatus) -> Option<WallTime> {
    let since =
        |type_, truth: Truth| find(status, type_).filter(|found| found.status == truth.as_str()).map(|found| found.last_transition_time.0);
    since(READY, Truth::False).or_else(|| since(RECONCILING, Truth::True))
}

#[cfg(test)]
mod tests;
