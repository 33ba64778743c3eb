//! The Leases of the group as this process sees them. Pure: moments are handed in.
//!
//! Invariant: a lease has run out for us only once we saw it unchanged for its whole duration and could have seen a change all that time.

use std::collections::BTreeMap;

use k8s_openapi::api::coordination::v1::Lease;
use kube::ResourceExt;
use tokio::time::Instant;

use super::Members;
use super::lease::{KEPT, duration, is_ended, member};

/// One Lease, and when it was seen to change.
#[derive(Debug, Clone)]
struct Seen {
    lease: Lease,
    at: Instant,
}

/// All of them, by name.
#[derive(Debug, Default)]
pub(super) struct View {
    leases: BTreeMap<String, Seen>,
    /// A list that is not whole yet.
    listed: Option<BTreeMap<String, Seen>>,
}

impl View {
    /// A new list begins.
    pub(super) fn begin(&mut self) {
        self.listed = Some(BTreeMap::new());
    }

    /// One is there.
    pub(super) fn see(&mut self, lease: Lease, now: Instant) {
        let name = lease.name_any();
        let known = self.leases.get(&name).filter(|known| known.lease.resource_version() == lease.resource_version());
        let at = known.map_or(now, |known| known.at);
        self.listed.as_mut().unwrap_or(&mut self.leases).insert(name, Seen { lease, at });
    }

    /// The list is whole: what is not on it is gone.
    pub(super) fn complete(&mut self) {
        if let Some(listed) = self.listed.take() {
            self.leases = listed;
        }
    }

    /// One is gone.
    pub(super) fn lose(&mut self, name: &str) {
        self.leases.remove(name);
    }

    /// Those that somebody holds.
    pub(super) fn members(&self) -> Members {
        let members = self.leases.values().filter_map(|seen| member(&seen.lease));
        members.map(|member| (member.name.clone(), member)).collect()
    }

    /// What this process may do about the Leases of others: those that have run out are ended, those that ended long ago deleted. `steady` is since
    /// when it could have seen each change.
    pub(super) fn overdue(&self, mine: &str, now: Instant, steady: Instant) -> Vec<Overdue> {
        self.others(mine).filter(|seen| now >= seen.due(steady)).map(Seen::overdue).collect()
    }

    /// When the next of them is overdue, if nothing changes.
    pub(super) fn next(&self, mine: &str, steady: Instant) -> Option<Instant> {
        self.others(mine).map(|seen| seen.due(steady)).min()
    }

    fn others(&self, mine: &str) -> impl Iterator<Item = &Seen> {
        self.leases.iter().filter(move |(name, _)| *name != mine).map(|(_, seen)| seen)
    }
}

impl Seen {
    fn due(&self, steady: Instant) -> Instant {
        self.at.max(steady) + if is_ended(&self.lease) { KEPT } else { duration(&self.lease) }
    }

    fn overdue(&self) -> Overdue {
        let lease = self.lease.clone();
        if is_ended(&lease) { Overdue::Forget(lease) } else { Overdue::End(lease) }
    }
}

/// A Lease about which something is to be done, as it was seen.
#[derive(Debug, PartialEq)]
pub(super) enum Overdue {
    /// It has run out.
    End(Lease),
    /// It ended long ago.
    Forget(Lease),
}
