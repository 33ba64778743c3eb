//! What must be done so that a database becomes what its resource asks for.
//!
//! Owns: every decision of the controller. Does no I/O, reads no clock, draws no random number.
//! Invariants: commits that are not in the bucket are given up only where the annotation `force-delete` names the resource's UID; the
//! finalizer stays while the host holds such commits, and while objects are left that `deletionPolicy: Delete` removes; nothing is opened
//! that another resource serves.

mod access;
mod deletion;
mod suspension;

pub(crate) mod gc;
pub(crate) mod lineage;
pub(crate) mod promotion;
mod upkeep;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use engine::{BranchName, DatabaseConfig, DatabaseName, Facts, Fate, NewBranch, OverwriteRequest, Point, Remains, State, WallTime};
use kube::ResourceExt;

use self::lineage::Lineage;

use crate::crd::{BranchSpec, BucketDatabase};
use crate::error::Error;
use crate::events::Notice;
use crate::objects::Contents;
use crate::problem::{self, LOOK_AGAIN, Problem};
use crate::quota::Share;
use crate::reason::Reason;
use crate::rival::Neighbour;

pub(crate) use access::{OwnService, Rotation, Stand, Uid};
pub(crate) use deletion::wants_survey;

/// Keeps a deleted resource until its last flush is done.
pub(crate) const FINALIZER: &str = "buckethead.dev/final-flush";
/// Asks for one flush for each new value.
pub(crate) const FLUSH_REQUESTED_AT: &str = "buckethead.dev/flush-requested-at";
/// Names the UID of a deleted resource whose unsaved commits are given up.
pub(crate) const FORCE_DELETE: &str = "buckethead.dev/force-delete";

/// For states that end by themselves within seconds, and whose end the host reports.
const SOON: Duration = Duration::from_secs(2);
const AT_ONCE: Duration = Duration::ZERO;

/// What was seen, and when.
#[derive(Debug, Clone)]
pub(crate) struct Observed {
    /// The time of looking.
    pub(crate) now: WallTime,
    /// What the spec and its Secrets say, or what is wrong with them.
    pub(crate) config: Result<DatabaseConfig, Problem>,
    /// What this process opened the database with last.
    pub(crate) applied: Option<DatabaseConfig>,
    /// What the host knows.
    pub(crate) hosted: State,
    /// The branches of the spec that are known to be there.
    pub(crate) made: BTreeSet<BranchName>,
    /// What is known of its other branches and of its promotion.
    pub(crate) lineage: Lineage,
    /// An older resource that declares the same place.
    pub(crate) rival: Option<DatabaseName>,
    /// Other resources on other branches of this database, or on the same.
    pub(crate) neighbours: Vec<Neighbour>,
    /// What there is of the database in its bucket; only looked for where [`wants_survey`] asks for it and there are credentials.
    pub(crate) remains: Option<Result<Remains, Arc<engine::Error>>>,
    /// The size limit with which the resource was let in, if it was.
    pub(crate) held: Option<u64>,
    /// What the quota of its namespace leaves to it.
    pub(crate) share: Share,
    /// The connection Secret.
    pub(crate) connection: Connection,
    /// The Service of its own.
    pub(crate) service: OwnService,
    /// Its tokens.
    pub(crate) rotation: Rotation,
    /// What was said after the last look of this process.
    pub(crate) said: Option<Verdict>,
    /// Since when the resource is not ready, or serves although something is missing.
    pub(crate) troubled_since: Option<WallTime>,
    /// The value of the flush annotation that was dealt with last.
    pub(crate) flush_handled: Option<String>,
    /// What there is to know about gc.
    pub(crate) gc: gc::Seen,
}

/// The connection Secret as it is beside what it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Connection {
    /// Nobody needs one.
    NotNeeded,
    /// It cannot be told what it should be; `Observed::config` says why.
    Unknown,
    /// It is as it should be.
    Current,
    /// It is not there, or not as it should be, which is this.
    Stale(Contents),
}

/// One thing to do. Steps are done in order, and the first that fails ends them.
#[derive(Debug, Clone, PartialEq, strum::EnumDiscriminants)]
#[strum_discriminants(name(StepKind), vis(pub(crate)), derive(strum::EnumIter, strum::IntoStaticStr))]
pub(crate) enum Step {
    /// Keep the resource until the last flush.
    AddFinalizer,
    /// Write the connection Secret.
    EnsureConnectionSecret(Contents),
    /// Make the Service of its own.
    EnsureService {
        /// The one that is there and is corrected.
        over: Option<Uid>,
    },
    /// Make the endpoints of that Service.
    EnsureEndpoints {
        /// Those that are there and are corrected.
        over: Option<Uid>,
    },
    /// Delete that Service.
    RemoveService {
        /// This very one.
        uid: Uid,
    },
    /// Delete its endpoints.
    RemoveEndpoints {
        /// These very ones.
        uid: Uid,
    },
    /// Make a branch, if it is not there.
    CreateBranch {
        /// Where the database lies.
        config: Box<DatabaseConfig>,
        /// The branch.
        new: Box<NewBranch>,
    },
    /// Overwrite a branch, unless that was done before.
    Promote {
        /// The branch.
        to: BranchName,
        /// With what.
        request: Box<OverwriteRequest>,
        /// The time of this try.
        at: WallTime,
    },
    /// Note in the bucket what becomes of a branch.
    NoteFate {
        /// The branch.
        name: BranchName,
        /// What becomes of it.
        fate: Fate,
    },
    /// Delete a branch that is declared no more.
    DeleteLeaving {
        /// The branch.
        name: BranchName,
        /// Since when.
        since: WallTime,
    },
    /// Look which branches there are.
    ListBranches,
    /// Go on with another branch.
    SwitchBranch {
        /// The branch.
        to: BranchName,
    },
    /// Begin to restore and serve.
    Open(Box<DatabaseConfig>),
    /// Take over new intervals, limits, credentials, tokens.
    Reconfigure(Box<DatabaseConfig>),
    /// Flush because the annotation asks for it.
    Flush {
        /// The annotation's value.
        request: String,
    },
    /// Something about gc of files.
    Gc(gc::Work),
    /// Flush, then drop.
    Close,
    /// Flush, release, and keep as suspended.
    Suspend(Box<DatabaseConfig>),
    /// Drop without a flush.
    Abandon,
    /// Forget a failed open, or a suspended database.
    Forget,
    /// Delete a branch that this resource made, `main` as well.
    DeleteBranch {
        /// Where the database lies.
        config: Box<DatabaseConfig>,
        /// The branch.
        name: BranchName,
    },
    /// Delete what is left besides the branches.
    DeleteRest(Box<DatabaseConfig>),
    /// Say it in an event: afterwards there is no status that could.
    Tell(Notice),
    /// Let the deleted resource go.
    RemoveFinalizer,
}

/// How the database stands, for the status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It answers requests.
    Serving {
        /// What keeps the newest spec from being in force.
        but: Option<Problem>,
    },
    /// It is being restored.
    Restoring,
    /// It does not serve.
    Failed(Problem),
    /// It is being deleted.
    Closing {
        /// What keeps it from ending.
        but: Option<Problem>,
    },
    /// It is on its way into suspension.
    Suspending {
        /// It still answers requests if that fails.
        serves: bool,
    },
    /// It rests: everything is in the bucket.
    Suspended,
}

impl Verdict {
    /// The verdict once it is known how the steps went.
    pub(crate) fn after(self, resource: &BucketDatabase, result: &Result<(), Error>) -> Self {
        let problem = match result {
            Ok(()) => return self,
            // Those of uploads are in the host's facts.
            Err(Error::Engine(error)) => match self {
                Self::Closing { .. } => return Self::Closing { but: Some(unsaved_because(resource, error)) },
                Self::Suspending { serves } => return suspension::failed(resource, serves, error),
                other => return other,
            },
            Err(Error::Deletion(error)) => deletion::failed(resource, error),
            Err(Error::Branch(error)) => Problem::of(&name_of(resource), error),
            Err(Error::Promotion(problem)) => problem.clone(),
            Err(error) => Problem::passing(Reason::ClusterRequestFailed, error.with_source()),
        };
        match self {
            Self::Serving { .. } | Self::Suspending { serves: true } => Self::Serving { but: Some(problem) },
            Self::Restoring | Self::Failed(_) | Self::Suspending { serves: false } | Self::Suspended => Self::Failed(problem),
            Self::Closing { .. } => Self::Closing { but: Some(problem) },
        }
    }
}

/// What to do, when to look again at the latest, and what to say.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Plan {
    /// In this order.
    pub(crate) steps: Vec<Step>,
    /// At the latest.
    pub(crate) look_again: Duration,
    /// For the status.
    pub(crate) verdict: Verdict,
}

impl Plan {
    fn wait(look_again: Duration, verdict: Verdict) -> Self {
        Self { steps: Vec::new(), look_again, verdict }
    }

    /// When to look again once the steps are done, given what they found.
    pub(crate) fn look_again_after(&self, resource: &BucketDatabase, seen: &Observed) -> Duration {
        if self.steps.contains(&Step::ListBranches) { self.look_again.min(upkeep::look_again(resource, seen)) } else { self.look_again }
    }
}

/// What must change so that what was `seen` becomes what `resource` asks for.
pub(crate) fn plan(resource: &BucketDatabase, seen: &Observed) -> Plan {
    if resource.metadata.deletion_timestamp.is_some() { leave(resource, seen) } else { access::beside(serve(resource, seen), seen) }
}

fn serve(resource: &BucketDatabase, seen: &Observed) -> Plan {
    match (&seen.connection, &seen.config) {
        // The tokens that are served are always those that the Secret tells: it is written first, then read again.
        (Connection::Stale(contents), _) => {
            Plan { steps: vec![Step::EnsureConnectionSecret(contents.clone())], look_again: AT_ONCE, verdict: as_it_is(resource, seen) }
        }
        _ if resource.spec.suspend => suspension::suspend(seen),
        (_, Err(problem)) => refuse(resource, seen, problem),
        (_, Ok(config)) => host(resource, seen, config),
    }
}

/// How it stands while something else has to be done first.
fn as_it_is(resource: &BucketDatabase, seen: &Observed) -> Verdict {
    match &seen.hosted {
        State::Open(_) => Verdict::Serving { but: None },
        State::Failed { error, .. } => Verdict::Failed(Problem::of(&name_of(resource), error)),
        State::Suspended { released: true, .. } if resource.spec.suspend => Verdict::Suspended,
        State::Absent | State::Opening | State::Closing | State::Suspended { .. } => restoring(seen),
    }
}

/// A try after a failure keeps the failure's verdict until it succeeds: the status would otherwise go to and fro with each try.
fn restoring(seen: &Observed) -> Verdict {
    match &seen.said {
        Some(failed @ Verdict::Failed(_)) => failed.clone(),
        Some(Verdict::Serving { .. } | Verdict::Restoring | Verdict::Closing { .. } | Verdict::Suspending { .. } | Verdict::Suspended)
        | None => Verdict::Restoring,
    }
}

/// The spec cannot be carried out: nothing is opened, but what serves goes on with what it has.
fn refuse(resource: &BucketDatabase, seen: &Observed, problem: &Problem) -> Plan {
    let look_again = growing(seen);
    match &seen.hosted {
        State::Open(_) => Plan { steps: asked_flush(resource, seen), look_again, verdict: Verdict::Serving { but: Some(problem.clone()) } },
        State::Opening => Plan::wait(look_again, restoring(seen)),
        State::Absent | State::Failed { .. } | State::Closing | State::Suspended { .. } => {
            Plan::wait(look_again, Verdict::Failed(problem.clone()))
        }
    }
}

fn host(resource: &BucketDatabase, seen: &Observed, config: &DatabaseConfig) -> Plan {
    let config = &*seen.share.in_force(config);
    match &seen.hosted {
        State::Absent | State::Suspended { .. } => match &seen.rival {
            // Nobody reports it if the rival gives way, because it finds that we hold the branch.
            Some(rival) => {
                let steps = if matches!(seen.hosted, State::Suspended { .. }) { vec![Step::Forget] } else { Vec::new() };
                Plan { steps, look_again: growing(seen), verdict: Verdict::Failed(Problem::held(rival)) }
            }
            None => match seen.share.refusal() {
                // Whoever makes room brings us here again.
                Some(problem) => Plan::wait(LOOK_AGAIN, Verdict::Failed(problem)),
                None => open(resource, seen, config, Verdict::Restoring),
            },
        },
        State::Failed { error, attempts, at } => match &seen.rival {
            Some(rival) => Plan { steps: vec![Step::Forget], look_again: LOOK_AGAIN, verdict: Verdict::Failed(Problem::held(rival)) },
            None if seen.applied.as_ref() != Some(config) => open(resource, seen, config, Verdict::Restoring),
            None => try_again(resource, seen, config, problem::pause(error, *attempts).map(|pause| until(seen.now, *at, pause)), error),
        },
        State::Opening => Plan::wait(LOOK_AGAIN, restoring(seen)),
        State::Open(facts) => {
            let (promotion, upkeep) = (promotion::due(resource, seen), upkeep::due(resource, seen, facts));
            let gc = gc::decide(resource, config, seen.now, &seen.gc);
            let but = refused_branch(resource, seen).or(promotion.problem).or_else(|| seen.share.shortage());
            let mut steps = adjust(resource, seen, config, facts, promotion.step, upkeep.steps);
            steps.extend(gc.work.map(Step::Gc));
            let look_again = promotion.look_again.min(upkeep.look_again).min(gc.look_again);
            Plan { steps, look_again, verdict: Verdict::Serving { but } }
        }
        // A resource of the same name was deleted a moment ago.
        State::Closing => Plan::wait(SOON, Verdict::Restoring),
    }
}

/// The finalizer comes first: from the moment of opening there may be commits to save.
fn open(resource: &BucketDatabase, seen: &Observed, config: &DatabaseConfig, verdict: Verdict) -> Plan {
    let mut steps = Vec::new();
    if !has_finalizer(resource) {
        steps.push(Step::AddFinalizer);
    }
    // Only the branch that is to be opened and those that it comes from: the others may come from one that begins with this open.
    let needed = ancestry(resource, &config.location.branch);
    steps.extend(
        missing_branches(resource, seen, config)
            .into_iter()
            .filter(|step| matches!(step, Step::CreateBranch { new, .. } if needed.contains(&new.name))),
    );
    steps.push(Step::Open(Box::new(config.clone())));
    Plan { steps, look_again: LOOK_AGAIN, verdict }
}

/// A failed open for which nothing has changed but the time.
fn try_again(resource: &BucketDatabase, seen: &Observed, config: &DatabaseConfig, left: Option<Duration>, error: &engine::Error) -> Plan {
    let verdict = Verdict::Failed(Problem::of(&name_of(resource), error));
    match left {
        Some(Duration::ZERO) => open(resource, seen, config, verdict),
        Some(left) => Plan::wait(left.min(LOOK_AGAIN), verdict),
        None => Plan::wait(LOOK_AGAIN, verdict),
    }
}

/// What an open database still lacks. Its place in the bucket stays, whatever the spec says, but for the branch.
/// Steps end at the first that fails, so that what nothing else needs comes last.
fn adjust(
    resource: &BucketDatabase,
    seen: &Observed,
    config: &DatabaseConfig,
    facts: &Facts,
    promote: Option<Step>,
    upkeep: Vec<Step>,
) -> Vec<Step> {
    let mut steps = Vec::new();
    if seen.applied.as_ref() != Some(config) {
        steps.push(Step::Reconfigure(Box::new(config.clone())));
    }
    let mut needed = ancestry(resource, &config.location.branch);
    let source = resource.spec.promotion.as_ref().and_then(|promotion| BranchName::parse(&promotion.from.branch).ok());
    needed.extend(source.iter().flat_map(|source| ancestry(resource, source)));
    let is_needed = |step: &Step| matches!(step, Step::CreateBranch { new, .. } if needed.contains(&new.name));
    let (first, others): (Vec<_>, Vec<_>) = missing_branches(resource, seen, config).into_iter().partition(is_needed);
    steps.extend(first);
    if facts.branch != config.location.branch && !facts.by_hand {
        steps.push(Step::SwitchBranch { to: config.location.branch.clone() });
    }
    steps.extend(asked_flush(resource, seen));
    steps.extend(promote);
    steps.extend(others);
    steps.extend(upkeep);
    let is_listed = seen.lineage.listed.as_ref().is_some_and(|listed| listed.serving == (facts.branch.clone(), facts.epoch));
    if !is_listed || steps.iter().any(changes_branches) {
        steps.push(Step::ListBranches);
    }
    steps
}

/// Whether a listing from before a step is out of date after it.
pub(crate) fn changes_branches(step: &Step) -> bool {
    matches!(
        step,
        Step::CreateBranch { .. } | Step::SwitchBranch { .. } | Step::Promote { .. } | Step::NoteFate { .. } | Step::DeleteLeaving { .. }
    )
}

/// Why a branch of the spec is not there and is not tried again.
fn refused_branch(resource: &BucketDatabase, seen: &Observed) -> Option<Problem> {
    resource.spec.branches.iter().find_map(|branch| refusal(seen, branch)).cloned()
}

fn refusal<'a>(seen: &'a Observed, branch: &BranchSpec) -> Option<&'a Problem> {
    let name = BranchName::parse(&branch.name).ok()?;
    seen.lineage.refused.get(&name).filter(|refused| refused.declared == *branch).map(|refused| &refused.problem)
}

/// The branches of the spec that are not known to be there, each after the one that it comes from.
fn missing_branches(resource: &BucketDatabase, seen: &Observed, config: &DatabaseConfig) -> Vec<Step> {
    let is_refused = |name: &BranchName| resource.spec.branches.iter().any(|it| it.name == name.as_str() && refusal(seen, it).is_some());
    let mut missing: Vec<_> =
        declared(resource).into_values().filter(|new| !seen.made.contains(&new.name) && !is_refused(&new.name)).collect();
    let mut steps = Vec::new();
    while !missing.is_empty() {
        let waits = |from: &BranchName| missing.iter().any(|new| new.name == *from);
        // Of branches that come from each other in a circle the first is tried, and its source is not found.
        let next = missing.iter().position(|new| !waits(&new.from)).unwrap_or(0);
        steps.push(Step::CreateBranch { config: Box::new(config.clone()), new: Box::new(missing.remove(next)) });
    }
    steps
}

/// A branch of the spec, and those of the spec that it comes from.
fn ancestry(resource: &BucketDatabase, branch: &BranchName) -> BTreeSet<BranchName> {
    let declared = declared(resource);
    let mut found = BTreeSet::new();
    let mut next = Some(branch.clone());
    while let Some(name) = next.filter(|name| found.insert(name.clone())) {
        next = declared.get(&name).map(|new| new.from.clone());
    }
    found
}

/// Each branch of the spec. Names that cannot be are refused by the schema.
fn declared(resource: &BucketDatabase) -> BTreeMap<BranchName, NewBranch> {
    let parsed = |branch: &BranchSpec| {
        let (name, from) = (BranchName::parse(&branch.name).ok()?, BranchName::parse(&branch.from).ok()?);
        let policy = upkeep::on_leave(branch.deletion_policy);
        Some((name.clone(), NewBranch { name, from, point: point_of(branch), policy }))
    };
    resource.spec.branches.iter().filter_map(parsed).collect()
}

/// The state that a branch of the spec begins at. The schema lets no branch name it twice.
fn point_of(branch: &BranchSpec) -> Point {
    match (branch.txid, &branch.at) {
        (Some(txid), _) => Point::Txid(txid),
        (None, Some(at)) => Point::At(at.0),
        (None, None) => Point::Newest,
    }
}

fn asked_flush(resource: &BucketDatabase, seen: &Observed) -> Vec<Step> {
    let asked = resource.annotations().get(FLUSH_REQUESTED_AT);
    asked
        .filter(|request| seen.flush_handled.as_ref() != Some(*request))
        .map(|request| Step::Flush { request: request.clone() })
        .into_iter()
        .collect()
}

/// The resource is being deleted. The Secrets may be gone already, so the host saves with the credentials that it has.
fn leave(resource: &BucketDatabase, seen: &Observed) -> Plan {
    let closing = Verdict::Closing { but: None };
    if is_forced(resource) {
        let mut steps = if matches!(seen.hosted, State::Absent) { Vec::new() } else { vec![Step::Abandon] };
        steps.extend(deletion::given_up(resource, seen).map(Step::Tell));
        steps.extend(let_go(resource));
        return Plan { steps, look_again: LOOK_AGAIN, verdict: closing };
    }
    match &seen.hosted {
        State::Absent if deletion::deletes(resource) => deletion::delete(resource, seen),
        State::Failed { .. } | State::Suspended { .. } if deletion::deletes(resource) => {
            Plan { steps: vec![Step::Forget], look_again: AT_ONCE, verdict: closing }
        }
        // What an opening puts under way must not arrive after the deletion.
        State::Opening if deletion::deletes(resource) => Plan::wait(SOON, closing),
        State::Absent => Plan { steps: let_go(resource), look_again: LOOK_AGAIN, verdict: closing },
        State::Failed { .. } | State::Suspended { .. } => {
            Plan { steps: [vec![Step::Forget], let_go(resource)].concat(), look_again: LOOK_AGAIN, verdict: closing }
        }
        State::Open(facts) => {
            Plan { steps: vec![Step::Close], look_again: AT_ONCE, verdict: Verdict::Closing { but: unsaved(resource, facts) } }
        }
        // Nothing was served yet, so there is nothing to save.
        State::Opening => Plan { steps: vec![Step::Close], look_again: AT_ONCE, verdict: closing },
        State::Closing => Plan::wait(SOON, closing),
    }
}

fn let_go(resource: &BucketDatabase) -> Vec<Step> {
    if has_finalizer(resource) { vec![Step::RemoveFinalizer] } else { Vec::new() }
}

/// Why the last flush did not succeed so far.
fn unsaved(resource: &BucketDatabase, facts: &Facts) -> Option<Problem> {
    let error = match &facts.uploads {
        engine::Uploads::Fine => return None,
        engine::Uploads::Failing { error, .. } => error,
    };
    Some(unsaved_because(resource, error))
}

/// The last flush failed: what to do, and the way to give up.
fn unsaved_because(resource: &BucketDatabase, error: &engine::Error) -> Problem {
    let name = name_of(resource);
    let problem = Problem::of(&name, error);
    let give_up = problem::force_delete(&name, resource.metadata.uid.as_deref());
    Problem { message: format!("the final flush failed: {}. {give_up}", problem.message), ..problem }
}

/// How long to wait for what nobody reports: as long as it is missing already, so that the pauses grow.
fn growing(seen: &Observed) -> Duration {
    let since = seen.troubled_since.map_or(Duration::ZERO, |since| elapsed(since, seen.now));
    since.clamp(SOON, LOOK_AGAIN)
}

fn until(now: WallTime, at: WallTime, pause: Duration) -> Duration {
    pause.saturating_sub(elapsed(at, now))
}

/// From one moment to another; zero if it lies ahead.
pub(crate) fn elapsed(from: WallTime, to: WallTime) -> Duration {
    Duration::try_from(to.duration_since(from)).unwrap_or(Duration::ZERO)
}

/// The names of all steps that there are.
pub fn step_names() -> impl Iterator<Item = &'static str> {
    <StepKind as strum::IntoEnumIterator>::iter().map(StepKind::as_str)
}

impl StepKind {
    /// For metrics, and for whoever is told that a step is done.
    pub(crate) fn as_str(self) -> &'static str {
        self.into()
    }
}

fn has_finalizer(resource: &BucketDatabase) -> bool {
    resource.finalizers().iter().any(|finalizer| finalizer == FINALIZER)
}

/// Whether the annotation names this very resource, not an earlier one of its name.
fn is_forced(resource: &BucketDatabase) -> bool {
    let named = resource.annotations().get(FORCE_DELETE);
    named.is_some() && named == resource.metadata.uid.as_ref()
}

/// The engine's name of a resource.
pub(crate) fn name_of(resource: &BucketDatabase) -> DatabaseName {
    DatabaseName::new(resource.namespace().unwrap_or_default(), resource.name_any())
}

#[cfg(test)]
mod tests;
