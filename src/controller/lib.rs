//! The controller: what resources declare, carried out on the engine's host.
//!
//! ```text
//! watches ─┐                                                         ┌─> status, events
//! host ────┼─> reconcile:  observe ──> plan (pure) ──> act ──> status (pure)
//! folder ──┘                 │                          └─> host, finalizer, connection Secret, Service
//!                            └── Secrets by name, host, other resources
//! ```
//!
//! Among several pods ([`Group`]) it does so for the resources that are its own; the others it only looks at.
//! [`run`] does this for a cluster, [`local::run`] for the folder of manifests of `dev`: the same decisions on another kind of input.
//! Owns: the resource, its Secrets' meaning, its status. Does not own: databases (`engine`), HTTP (`api`).

mod act;
mod ambient;
mod authority;
mod client;
mod context;
pub mod crd;
mod error;
mod events;
#[cfg(test)]
mod fixtures;
mod gc;
mod group;
mod guarded;
pub mod local;
mod membership;
mod memory;
mod metrics;
mod objects;
mod observe;
mod operator;
mod owned;
mod placement;
mod plan;
mod problem;
mod quota;
mod reason;
mod reconcile;
mod resolve;
pub mod rights;
mod rival;
mod schedule;
#[cfg(test)]
mod scripted;
mod status;
mod watch;

pub use ambient::AmbientCredentials;
pub use authority::KubernetesAuthority;
pub use client::client;
pub use context::{AfterStep, OperatorOptions};
pub use error::Error;
pub use group::{Found, Group, Stay, Whence};
pub use membership::{Ended, Member, Members, Membership, MembershipOptions};
pub use metrics::Metrics;
pub use objects::gc_job::GcJobOptions;
pub use objects::{PodAddress, Scheme};
pub use operator::run;
pub use plan::step_names;
pub use quota::Quotas;
pub use resolve::Defaults;
