//! How much a namespace may have of an operator, and which of its resources get it. Pure.
//!
//! As with Kubernetes' own quotas, what was let in stays: a quota that shrinks closes nothing, and nobody's growth takes what another one
//! has. What is free goes to older resources first. A resource that asks for more than it has, and does not get it, goes on with what it has.
//!
//! - **databases** counts resources, also those that are suspended or being deleted: the oldest have a place.
//! - **bytes** counts `limits.maxSize`: of what is open that which is in force, of what waits that which it asks for. Suspended ones need none.

use std::borrow::Cow;
use std::collections::BTreeMap;

use engine::{DatabaseConfig, DatabaseName};
use serde::Deserialize;

use crate::crd::{BucketDatabase, ByteSize};
use crate::plan::name_of;
use crate::problem::Problem;
use crate::reason::Reason;
use crate::rival::{Age, age};

/// What each namespace may have; without any, as much as it likes.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Quotas {
    #[serde(default)]
    default: Quota,
    /// What one of them leaves out is that of `default`.
    #[serde(default)]
    namespaces: BTreeMap<String, Quota>,
}

/// What one namespace may have; a part that is absent has no bound.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Quota {
    databases: Option<usize>,
    bytes: Option<ByteSize>,
}

impl Quotas {
    /// That of a namespace, if it has one.
    pub(crate) fn of(&self, namespace: &str) -> Option<Quota> {
        let own = self.namespaces.get(namespace);
        let databases = own.and_then(|own| own.databases).or(self.default.databases);
        let bytes = own.and_then(|own| own.bytes.clone()).or_else(|| self.default.bytes.clone());
        (databases.is_some() || bytes.is_some()).then_some(Quota { databases, bytes })
    }
}

/// What a resource of the namespace needs.
#[derive(Debug, Clone)]
pub(crate) struct Claim {
    age: Age,
    /// The size limit that is in force for it, if it was let in.
    held: Option<u64>,
    /// The one that it declares; zero if it is to rest, or to go.
    asks: u64,
}

impl Claim {
    /// Of a resource that was let in with so much, or not at all.
    pub(crate) fn of(resource: &BucketDatabase, held: Option<u64>) -> Self {
        let rests = resource.spec.suspend || resource.metadata.deletion_timestamp.is_some();
        Self { age: age(resource), held, asks: if rests { 0 } else { resource.spec.limits.max_size.as_bytes() } }
    }

    /// What it needs besides what it has.
    fn more(&self) -> u64 {
        self.asks.saturating_sub(self.held.unwrap_or_default())
    }
}

/// What a resource gets.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) enum Share {
    /// What it asks for.
    #[default]
    Whole,
    /// What it has, though that is more than the quota: it was let in before.
    Over(Overrun),
    /// What it has, and not the more that it asks for.
    Capped {
        /// What it has.
        bytes: u64,
        /// Why.
        overrun: Overrun,
    },
    /// Nothing: it must wait.
    Refused(Overrun),
}

/// Which quota, what is taken of it, and the remedy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Overrun(String);

impl Share {
    /// With what the database is opened, or stays so.
    pub(crate) fn in_force<'a>(&self, config: &'a DatabaseConfig) -> Cow<'a, DatabaseConfig> {
        match self {
            Self::Capped { bytes, .. } => {
                let mut capped = config.clone();
                capped.limits.max_size = *bytes;
                Cow::Owned(capped)
            }
            Self::Whole | Self::Over(_) | Self::Refused(_) => Cow::Borrowed(config),
        }
    }

    /// Why the database is not opened.
    pub(crate) fn refusal(&self) -> Option<Problem> {
        match self {
            Self::Refused(Overrun(why)) => Some(Problem::stuck(Reason::QuotaExceeded, why)),
            Self::Whole | Self::Over(_) | Self::Capped { .. } => None,
        }
    }

    /// Why an open database is not as its spec asks for.
    pub(crate) fn shortage(&self) -> Option<Problem> {
        match self {
            Self::Capped { overrun: Overrun(why), bytes } => {
                Some(Problem::stuck(Reason::QuotaExceeded, format!("{why}. It goes on with {}", ByteSize::from(*bytes))))
            }
            Self::Whole | Self::Over(_) | Self::Refused(_) => None,
        }
    }

    /// Which quota it does not fit into.
    pub(crate) fn overrun(&self) -> Option<&str> {
        match self {
            Self::Whole => None,
            Self::Over(Overrun(why)) | Self::Capped { overrun: Overrun(why), .. } | Self::Refused(Overrun(why)) => Some(why),
        }
    }
}

/// What `resource` gets of the quota of its namespace, whose resources `claims` has all, its own among them.
pub(crate) fn share(quota: &Quota, resource: &BucketDatabase, mut claims: Vec<Claim>) -> Share {
    let mine = age(resource);
    claims.sort_by(|one, other| one.age.cmp(&other.age));
    // A watch that does not show it yet shows it soon.
    let Some(place) = claims.iter().position(|claim| claim.age == mine) else { return Share::Whole };
    let name = &mine.1;
    let overrun = match too_many(quota, name, place) {
        None => too_large(quota, name, place, &claims),
        too_many => too_many,
    };
    match (overrun, claims[place].held) {
        (None, _) => Share::Whole,
        (Some(overrun), None) => Share::Refused(overrun),
        (Some(overrun), Some(bytes)) if claims[place].more() > 0 => Share::Capped { bytes, overrun },
        (Some(overrun), Some(_)) => Share::Over(overrun),
    }
}

fn has_place(quota: &Quota, place: usize) -> bool {
    quota.databases.is_none_or(|limit| place < limit)
}

fn too_many(quota: &Quota, name: &DatabaseName, place: usize) -> Option<Overrun> {
    let limit = quota.databases.filter(|_| !has_place(quota, place))?;
    Some(Overrun(format!(
        "the namespace {} may have {limit} BucketDatabases, and {place} are older than this one: delete one that nobody needs (a suspended one \
         counts, too), or have the quota raised that the operator was given by --quotas",
        name.namespace()
    )))
}

fn too_large(quota: &Quota, name: &DatabaseName, place: usize, claims: &[Claim]) -> Option<Overrun> {
    let limit = quota.bytes.as_ref()?.as_bytes();
    let mine = &claims[place];
    let has = mine.held.unwrap_or_default();
    let (others, wants) = match mine.more() {
        // It stays, and whether there is too much is told in the order of age.
        0 => (held(&claims[..place]), has),
        _ => (taken_before(quota, limit, place, claims).saturating_sub(has), mine.asks),
    };
    if wants == 0 || others.saturating_add(wants) <= limit {
        return None;
    }
    let [limit, others, wants] = [limit, others, wants].map(ByteSize::from);
    Some(Overrun(format!(
        "spec.limits.maxSize: the databases of the namespace {} may have {limit} together, others have {others} of it, and this one needs {wants}: \
         lower it, suspend or delete another one or lower its limit, or have the quota raised that the operator was given by --quotas",
        name.namespace()
    )))
}

/// What all have, and what those get that are older and want more.
fn taken_before(quota: &Quota, limit: u64, place: usize, claims: &[Claim]) -> u64 {
    claims[..place].iter().enumerate().filter(|(at, claim)| claim.held.is_some() || has_place(quota, *at)).fold(
        held(claims),
        |taken, (_, claim)| {
            let with = taken.saturating_add(claim.more());
            // One that does not fit waits, and keeps nobody else from what it cannot have.
            if with <= limit { with } else { taken }
        },
    )
}

fn held(claims: &[Claim]) -> u64 {
    claims.iter().filter_map(|claim| claim.held).fold(0, u64::saturating_add)
}

/// Every resource that is known of the namespace, and what each was let in with.
pub(crate) fn claims<'a>(
    namespace: &str,
    known: impl Iterator<Item = &'a BucketDatabase>,
    held: impl Fn(&BucketDatabase) -> Option<u64>,
) -> Vec<Claim> {
    known.filter(|other| name_of(other).namespace() == namespace).map(|other| Claim::of(other, held(other))).collect()
}

#[cfg(test)]
mod tests;
