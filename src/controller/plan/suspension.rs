//! `spec.suspend`: into the bucket, out of memory, and then nothing.

use engine::{DatabaseConfig, State};

use super::{AT_ONCE, Observed, Plan, SOON, Step, Verdict, growing, name_of, restoring};
use crate::crd::BucketDatabase;
use crate::problem::{LOOK_AGAIN, Problem};

/// Nothing is begun for a suspended resource: no branch, no promotion, no gc. Only whoever may ask it is kept as its Secrets say.
pub(super) fn suspend(seen: &Observed) -> Plan {
    let serves = matches!(seen.hosted, State::Open(_));
    match &seen.hosted {
        // Its end is reported.
        State::Opening | State::Closing => Plan::wait(SOON, Verdict::Suspending { serves }),
        State::Suspended { released: true, .. } => {
            Plan { steps: changed(seen).collect(), look_again: LOOK_AGAIN, verdict: Verdict::Suspended }
        }
        State::Open(_) | State::Absent | State::Failed { .. } | State::Suspended { released: false, .. } => match known(seen) {
            Ok(config) => {
                let steps = vec![Step::Suspend(Box::new(config.clone()))];
                Plan { steps, look_again: AT_ONCE, verdict: Verdict::Suspending { serves } }
            }
            // Whether an earlier process has released it cannot be looked up.
            Err(problem) => Plan::wait(growing(seen), if serves { restoring(seen) } else { Verdict::Failed(problem.clone()) }),
        },
    }
}

/// What is open is saved with what it was opened with, if its Secrets are gone.
fn known(seen: &Observed) -> Result<&DatabaseConfig, &Problem> {
    seen.config.as_ref().or_else(|problem| seen.applied.as_ref().ok_or(problem))
}

fn changed(seen: &Observed) -> impl Iterator<Item = Step> {
    let config = seen.config.as_ref().ok().filter(|config| seen.applied.as_ref() != Some(config));
    config.map(|config| Step::Reconfigure(Box::new(config.clone()))).into_iter()
}

/// It did not come to rest. What served goes on serving.
pub(super) fn failed(resource: &BucketDatabase, serves: bool, error: &engine::Error) -> Verdict {
    let problem = Problem::of(&name_of(resource), error);
    let message = if serves {
        format!("spec.suspend: the last flush before the suspension failed: {}; it goes on serving, and it is tried again", problem.message)
    } else {
        format!("spec.suspend: whether everything is in the bucket could not be looked up: {}", problem.message)
    };
    let problem = Problem::passing(problem.reason, message);
    if serves { Verdict::Serving { but: Some(problem) } } else { Verdict::Failed(problem) }
}

#[cfg(test)]
mod tests;
