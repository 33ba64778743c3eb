//! What a database's own Service and its tokens need beside everything else. Pure.
//!
//! Owns: where in a plan these steps stand, and what is said when they cannot be done. Does not own: what the objects hold (`objects`).
//! Invariant: none of it keeps a database from being opened, given new tokens, suspended or closed.

use std::time::Duration;

use engine::{State, WallTime};

use super::{AT_ONCE, Observed, Plan, Step, Verdict, elapsed, growing};
use crate::problem::Problem;

/// While two tokens are valid. Less than `problem::LOOK_AGAIN`, which is put off among many resources.
const DURING_OVERLAP: Duration = Duration::from_mins(4);

/// What the API server calls one life of an object.
pub(crate) type Uid = String;

/// The Service of a database's own, with its endpoints, beside what the resource asks for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) enum OwnService {
    /// Nobody asks for one and there is none.
    #[default]
    None,
    /// Nobody asks for it any more.
    Surplus {
        /// The Service, if it is there.
        service: Option<Uid>,
        /// Its endpoints, if they are there.
        endpoints: Option<Uid>,
    },
    /// It is asked for.
    Asked {
        /// How the Service stands.
        service: Stand,
        /// How its endpoints stand.
        endpoints: Stand,
    },
    /// It is asked for, and cannot be.
    Refused(Problem),
    /// It cannot be told whether it is asked for, or how it stands.
    Unknown(Problem),
}

/// An object of ours beside what it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Stand {
    /// It is not there.
    Missing,
    /// It says something else.
    Stale(Uid),
    /// It cannot be changed to what it should be: it goes, and another comes.
    Misfit(Uid),
    /// It is as it should be.
    Current,
}

impl OwnService {
    /// Whether clients can be told of the Service: not before it is ours.
    pub(crate) fn is_there(&self) -> bool {
        matches!(self, Self::Asked { service: Stand::Stale(_) | Stand::Current, .. })
    }

    fn steps(&self) -> Vec<Step> {
        match self {
            Self::None | Self::Refused(_) | Self::Unknown(_) => Vec::new(),
            // The endpoints first: without its Service nobody would find them again by it.
            Self::Surplus { service, endpoints } => {
                let endpoints = endpoints.clone().map(|uid| Step::RemoveEndpoints { uid });
                endpoints.into_iter().chain(service.clone().map(|uid| Step::RemoveService { uid })).collect()
            }
            Self::Asked { service, endpoints } => {
                let mut steps = Vec::new();
                match service {
                    Stand::Missing => steps.push(Step::EnsureService { over: None }),
                    Stand::Stale(uid) => steps.push(Step::EnsureService { over: Some(uid.clone()) }),
                    Stand::Misfit(uid) => steps.extend([Step::RemoveService { uid: uid.clone() }, Step::EnsureService { over: None }]),
                    Stand::Current => {}
                }
                match endpoints {
                    Stand::Missing => steps.push(Step::EnsureEndpoints { over: None }),
                    Stand::Stale(uid) => steps.push(Step::EnsureEndpoints { over: Some(uid.clone()) }),
                    Stand::Misfit(uid) => steps.extend([Step::RemoveEndpoints { uid: uid.clone() }, Step::EnsureEndpoints { over: None }]),
                    Stand::Current => {}
                }
                steps
            }
        }
    }
}

/// How the tokens stand beside what was asked of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Rotation {
    /// The value of the annotation that asked for the current token.
    pub(crate) handled: Option<String>,
    /// Until when the token before it is valid.
    pub(crate) overlaps_until: Option<WallTime>,
    /// Why it is not carried out.
    pub(crate) refused: Option<Problem>,
}

/// A plan with what the Service and the tokens need beside it.
pub(super) fn beside(mut plan: Plan, seen: &Observed) -> Plan {
    let is_open = matches!(seen.hosted, State::Open(_));
    // Once it is open nothing that a branch lacks may keep clients from it.
    let is_of_branches = |step: &Step| matches!(step, Step::CreateBranch { .. } | Step::SwitchBranch { .. });
    let at = plan.steps.iter().position(is_of_branches).filter(|_| is_open).unwrap_or(plan.steps.len());
    let steps = seen.service.steps();
    // Once there is a Service clients are told of it.
    let is_new = steps.contains(&Step::EnsureService { over: None }).then_some(AT_ONCE);
    plan.steps.splice(at..at, steps);
    let ends = seen.rotation.overlaps_until.map(|until| elapsed(seen.now, until).min(DURING_OVERLAP));
    let refused = match &seen.service {
        OwnService::Refused(problem) | OwnService::Unknown(problem) => Some(problem),
        OwnService::None | OwnService::Surplus { .. } | OwnService::Asked { .. } => seen.rotation.refused.as_ref(),
    };
    let again = refused.map(|_| growing(seen));
    plan.look_again = [ends, again, is_new].into_iter().flatten().fold(plan.look_again, Duration::min);
    if let (Verdict::Serving { but: but @ None }, Some(problem)) = (&mut plan.verdict, refused) {
        *but = Some(problem.clone());
    }
    plan
}

#[cfg(test)]
mod tests;
