//! `deletionPolicy: Delete`: what of a database goes with its resource, and what stays, and why.
//!
//! Owns: which objects are deleted, in which order. Does not own: how (`engine`), nor the final flush, which comes before.
//! Invariants: only what this resource made goes; nothing goes that another resource made, holds, serves, declares or is about to take over;
//! `main` goes last, and only if nothing else of the database stays.

use engine::{BranchName, BranchRemains, DatabaseConfig, MadeBy, Remains, State};

use super::{Observed, Plan, Step, Verdict, growing, has_finalizer, is_forced, let_go, name_of};
use crate::crd::{BucketDatabase, DeletionPolicy};
use crate::events::Notice;
use crate::problem::{self, LOOK_AGAIN, Problem};
use crate::reason::Reason;
use crate::rival::Neighbour;

/// Whether its objects are still to be deleted. Without the finalizer it has nothing, or is let go already.
pub(super) fn deletes(resource: &BucketDatabase) -> bool {
    resource.spec.deletion_policy == DeletionPolicy::Delete && has_finalizer(resource)
}

/// Whether the next plan needs to know what lies in the bucket.
pub(crate) fn wants_survey(resource: &BucketDatabase, hosted: &State) -> bool {
    resource.metadata.deletion_timestamp.is_some() && deletes(resource) && !is_forced(resource) && matches!(hosted, State::Absent)
}

/// With what the bucket is reached: as the Secrets say, or, once they are gone, as it was opened.
pub(crate) fn known(seen: &Observed) -> Option<&DatabaseConfig> {
    seen.config.as_ref().ok().or(seen.applied.as_ref())
}

/// The next steps of a deleted resource of which nothing is in memory any more.
pub(super) fn delete(resource: &BucketDatabase, seen: &Observed) -> Plan {
    // The younger goes first: what it leaves can then go with the older one, in whichever order a namespace deletes them.
    if let Some(other) = seen.neighbours.iter().find(|other| other.is_leaving && other.is_younger) {
        let problem = Problem::passing(Reason::Closing, format!("it waits until {} is gone, which is being deleted, too", other.name));
        return Plan::wait(growing(seen), Verdict::Closing { but: Some(problem) });
    }
    match (&seen.remains, known(seen)) {
        (Some(Ok(remains)), Some(config)) => carry_out(resource, config, &fate(remains, &seen.neighbours)),
        (Some(Err(error)), _) => Plan::wait(growing(seen), Verdict::Closing { but: Some(failed(resource, error)) }),
        (Some(Ok(_)) | None, _) => {
            let problem = seen.config.as_ref().err().cloned();
            let problem = problem.unwrap_or_else(|| Problem::passing(Reason::InternalError, "the bucket was not looked at"));
            Plan::wait(growing(seen), Verdict::Closing { but: Some(undeleted(resource, &problem)) })
        }
    }
}

fn carry_out(resource: &BucketDatabase, config: &DatabaseConfig, fate: &Fate) -> Plan {
    let delete = |name: &BranchName| Step::DeleteBranch { config: Box::new(config.clone()), name: name.clone() };
    let mut steps: Vec<Step> = fate.deleted.iter().map(delete).collect();
    if fate.rest {
        steps.push(Step::DeleteRest(Box::new(config.clone())));
    }
    let bucket = &resource.spec.bucket;
    if !fate.deleted.is_empty() {
        let names: Vec<_> = fate.deleted.iter().map(|branch| format!("branch {branch}")).collect();
        steps.push(Step::Tell(Notice::normal("ObjectsDeleted", &format!("deleted from bucket {bucket}: {}", names.join(", ")))));
    }
    if !fate.kept.is_empty() {
        let kept: Vec<_> = fate.kept.iter().map(|(branch, why)| format!("branch {branch}, because {why}")).collect();
        steps.push(Step::Tell(Notice::warning("ObjectsKept", &format!("kept in bucket {bucket}: {}", kept.join("; ")))));
    }
    steps.extend(let_go(resource));
    Plan { steps, look_again: LOOK_AGAIN, verdict: Verdict::Closing { but: None } }
}

/// What becomes of the parts of a database.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Fate {
    /// In this order.
    deleted: Vec<BranchName>,
    /// Each with its reason.
    kept: Vec<(BranchName, String)>,
    /// What is left besides the branches goes, too.
    rest: bool,
}

fn fate(remains: &Remains, neighbours: &[Neighbour]) -> Fate {
    let mut fate = Fate { deleted: Vec::new(), kept: Vec::new(), rest: false };
    let (mains, others): (Vec<_>, Vec<_>) =
        remains.branches.iter().filter(|branch| is_left(branch)).partition(|branch| branch.name.is_main());
    for branch in others {
        match why_kept(branch, remains, neighbours) {
            Some(why) => fate.kept.push((branch.name.clone(), why)),
            None => fate.deleted.push(branch.name.clone()),
        }
    }
    for main in mains {
        let because_of_others = || {
            let kept = fate.kept.first().map(|(branch, _)| format!("branch {branch} of the same database is kept"));
            kept.or_else(|| neighbours.first().map(|other| format!("{} has another branch of the same database", other.name)))
        };
        match why_kept(main, remains, neighbours).or_else(because_of_others) {
            Some(why) => fate.kept.push((main.name.clone(), why)),
            None => fate.deleted.push(main.name.clone()),
        }
    }
    fate.rest = remains.has_rest && fate.kept.is_empty() && neighbours.is_empty();
    fate
}

fn is_left(branch: &BranchRemains) -> bool {
    branch.has_objects || !branch.is_deleted
}

/// Why a branch does not go with this resource; `None` if it goes.
fn why_kept(branch: &BranchRemains, remains: &Remains, neighbours: &[Neighbour]) -> Option<String> {
    match &branch.made_by {
        // The tombstone stands: only the objects are left of a deletion of ours that did not come to its end.
        MadeBy::Us if branch.is_deleted => return None,
        MadeBy::Us => {}
        MadeBy::Other(by) => return Some(format!("it was made by {by}")),
        MadeBy::Unknown => return Some("it was there before this resource, or somebody else put it there".to_owned()),
    }
    let served = branch.served_by.as_ref().map(|by| format!("{by} serves it"));
    let declared =
        || neighbours.iter().find(|other| other.branches.contains(&branch.name)).map(|other| format!("{} declares it", other.name));
    let held = || branch.held_by.as_ref().map(|by| format!("{by} holds it"));
    served.or_else(declared).or_else(held).or_else(|| is_source(branch, remains, neighbours))
}

/// Whether an overwrite that somebody else asks for still takes its content.
fn is_source(branch: &BranchRemains, remains: &Remains, neighbours: &[Neighbour]) -> Option<String> {
    let begun = remains.branches.iter().find(|to| to.made_by != MadeBy::Us && to.takes_from.as_deref() == Some(branch.name.as_str()));
    if let Some(to) = begun {
        return Some(format!("an overwrite of branch {} with it has begun", to.name));
    }
    let is_done =
        |id: &str, to: &BranchName| remains.branches.iter().any(|found| found.name == *to && found.done.iter().any(|done| done == id));
    neighbours.iter().find_map(|other| {
        let asked = other.promotion.as_ref().filter(|asked| asked.from == branch.name && !is_done(&asked.id, &asked.to))?;
        Some(format!("promotion {} of {} takes its content", asked.id, other.name))
    })
}

/// Deleting failed.
pub(super) fn failed(resource: &BucketDatabase, error: &engine::Error) -> Problem {
    undeleted(resource, &Problem::of(&name_of(resource), error))
}

fn undeleted(resource: &BucketDatabase, problem: &Problem) -> Problem {
    let force = problem::force_delete_command(&name_of(resource), resource.metadata.uid.as_deref());
    let message = format!(
        "deletionPolicy: Delete: its objects in bucket {} are not deleted: {}. `{force}` lets the resource go, and {}",
        resource.spec.bucket,
        problem.message,
        what_stays(resource)
    );
    Problem { message, ..problem.clone() }
}

fn what_stays(resource: &BucketDatabase) -> String {
    let (bucket, key) = (&resource.spec.bucket, &resource.spec.key);
    format!("what is left in bucket {bucket} stays: {key}, {key}.prev, {key}.branch.*, {key}.head/")
}

/// What a forced deletion gives up; nothing if all is saved and was to stay.
pub(super) fn given_up(resource: &BucketDatabase, seen: &Observed) -> Option<Notice> {
    let unsaved = match &seen.hosted {
        State::Open(facts) if facts.pending => Some(match facts.durable_time {
            Some(time) => format!("what was committed after {time} is lost"),
            None => "what was committed is lost".to_owned(),
        }),
        _ => None,
    };
    let stays = deletes(resource).then(|| what_stays(resource));
    let given_up: Vec<_> = [unsaved, stays].into_iter().flatten().collect();
    (!given_up.is_empty()).then(|| Notice::warning("ForceDeleted", &format!("let go by force: {}", given_up.join("; "))))
}

#[cfg(test)]
mod tests;
