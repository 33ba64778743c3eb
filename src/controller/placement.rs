//! Which pod is to have which database, and what a pod does about a resource. Pure.
//!
//! Rendezvous hashing: each pod draws a number for each database from both names, weighted by its memory, and the highest has it. So all pods come to the same
//! result from the same Leases and resources without asking each other, and a pod that comes or goes moves its own share alone. A database whose first
//! choice has no room goes to the next; the older one keeps its place.
//!
//! Owns: these decisions. Does not own: who lives (`membership`), nor that a wrong belief is harmless (the epoch in the bucket).
//! Invariants: all resources of one database have the same pod, since they have to do with each other's branches; a pod that is leaving is given nothing.

use std::collections::{BTreeMap, HashMap};

use engine::{DatabaseName, NotServed, WallTime};
use kube::ResourceExt;
use sha2::{Digest as _, Sha256};

use crate::crd::BucketDatabase;
use crate::guarded::Guarded;
use crate::membership::Members;
use crate::reconcile::name_of;
use crate::rival::database_of;

/// The pod that is to have each resource.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Placement(HashMap<DatabaseName, String>);

impl Placement {
    /// The pod that is to have a resource. `None` if no pod can, or nobody knows the resource.
    pub(crate) fn owner(&self, database: &DatabaseName) -> Option<&str> {
        self.0.get(database).map(String::as_str)
    }

    /// Places all of them.
    pub(crate) fn of<'a>(resources: impl IntoIterator<Item = &'a Guarded>, members: &Members) -> Self {
        let mut units: BTreeMap<String, Unit> = BTreeMap::new();
        for resource in resources {
            units.entry(key(resource)).or_default().take(resource);
        }
        let mut units: Vec<(String, Unit)> = units.into_iter().collect();
        units.sort_by(|(one, first), (other, second)| (first.since, one).cmp(&(second.since, other)));
        let mut room: Vec<Room<'_>> = members.values().filter(|member| !member.is_leaving).map(Room::of).collect();
        let mut placed = HashMap::new();
        for (key, unit) in units {
            let Some(owner) = choose(&key, unit.demand, &mut room) else { break };
            placed.extend(unit.resources.into_iter().map(|name| (name, owner.to_owned())));
        }
        Self(placed)
    }
}

/// The resources of one database.
#[derive(Default)]
struct Unit {
    /// When the first of them was made.
    since: Option<WallTime>,
    /// How much memory they may take together.
    demand: u64,
    resources: Vec<DatabaseName>,
}

impl Unit {
    fn take(&mut self, resource: &Guarded) {
        let made = resource.creation_timestamp().map(|time| time.0);
        self.since = if self.resources.is_empty() { made } else { self.since.min(made) };
        self.demand = self.demand.saturating_add(resource.0.as_ref().map_or(0, demand));
        self.resources.push(name_of(resource));
    }
}

/// What a database may grow to, unless it is at rest.
pub(crate) fn demand(resource: &BucketDatabase) -> u64 {
    if resource.spec.suspend { 0 } else { resource.spec.limits.max_size.as_bytes() }
}

/// What is the same for all resources of one database. One that cannot be read is a database of its own.
fn key(resource: &Guarded) -> String {
    resource.0.as_ref().map_or_else(|_| name_of(resource).to_string(), |resource| database_of(&resource.spec))
}

/// A pod, and what it has left.
struct Room<'a> {
    name: &'a str,
    weight: u64,
    /// `None` if it does not say how much it can hold.
    left: Option<u64>,
}

impl<'a> Room<'a> {
    fn of(member: &'a crate::membership::Member) -> Self {
        let left = (member.memory > 0).then_some(member.memory);
        Self { name: &member.name, weight: member.memory.max(1), left }
    }

    fn has(&self, demand: u64) -> bool {
        self.left.is_none_or(|left| demand <= left)
    }

    /// Lower is better: exponentially distributed with the weight as its rate, so that the chance to be the lowest is the weight's share.
    #[allow(clippy::cast_precision_loss, reason = "53 bits of a hash, and weights that need no more")]
    fn rank(&self, key: &str) -> f64 {
        let digest = Sha256::new().chain_update(key).chain_update([0]).chain_update(self.name).finalize();
        let drawn = digest.iter().take(8).fold(0_u64, |drawn, byte| drawn << 8 | u64::from(*byte)) >> 11;
        let uniform = (drawn as f64 + 0.5) / (1_u64 << 53) as f64;
        -uniform.ln() / self.weight as f64
    }
}

/// The best pod with room; where none has, the best: it tells what is missing.
fn choose<'a>(key: &str, demand: u64, rooms: &mut [Room<'a>]) -> Option<&'a str> {
    let ranks: Vec<f64> = rooms.iter().map(|room| room.rank(key)).collect();
    let best = |fits: &dyn Fn(&Room<'_>) -> bool| {
        (0..rooms.len()).filter(|at| fits(&rooms[*at])).min_by(|one, other| ranks[*one].total_cmp(&ranks[*other]))
    };
    let Some(at) = best(&|room| room.has(demand)) else { return best(&|_| true).map(|at| rooms[at].name) };
    let room = &mut rooms[at];
    room.left = room.left.map(|left| left - demand);
    Some(room.name)
}

/// The pod that would have a resource of this name, if there were one.
pub(crate) fn anybody<'a>(name: &DatabaseName, members: &'a Members) -> Option<&'a str> {
    let mut rooms: Vec<Room<'a>> = members.values().filter(|member| !member.is_leaving).map(Room::of).collect();
    choose(&name.to_string(), 0, &mut rooms)
}

/// What this pod does about a resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Part {
    /// It carries the resource out.
    Acts,
    /// It has the database, and another pod is to have it.
    HandsOver,
    /// It is to have the database, and another pod still has it.
    Awaits,
    /// It has the database no more, and the status has to say so before the other opens it.
    GivesUp,
    /// It is another pod's.
    Looks,
}

/// What this pod does about a resource that `owner` is to have, of which its status says that `told` has it. `here` is why this process does not answer
/// for it, or `None` if it does.
pub(crate) fn part(me: &str, owner: Option<&str>, told: Option<&str>, here: Option<NotServed>, members: &Members) -> Part {
    let is_here = here != Some(NotServed::Unknown);
    match owner {
        Some(owner) if owner == me => {
            let is_elsewhere = told.is_some_and(|told| told != me && members.contains_key(told));
            if !is_here && is_elsewhere { Part::Awaits } else { Part::Acts }
        }
        Some(_) if is_here => Part::HandsOver,
        Some(_) if told == Some(me) => Part::GivesUp,
        // Where nobody can have it, whoever has it keeps it.
        None if is_here => Part::Acts,
        Some(_) | None => Part::Looks,
    }
}

#[cfg(test)]
mod tests;
