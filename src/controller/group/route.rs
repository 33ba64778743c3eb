//! Who answers a request for a database.

use std::sync::atomic::Ordering;

use engine::{DatabaseName, NotServed};
use url::Url;

use super::{Group, told_host};
use crate::crd::BucketDatabase;
use crate::group::doors::Stay;
use crate::guarded::Guarded;
use crate::placement::anybody;
use crate::reason::Reason;
use crate::status::condition::READY;
use crate::status::find;

/// Who answers.
#[derive(Debug)]
pub enum Found {
    /// This process. What is held keeps the database from being handed over until the answer is complete; `None` if it has it not, and tells why.
    Here(Option<Stay>),
    /// Another one.
    There {
        /// Its Pod.
        name: String,
        /// Where it is reached.
        url: Url,
    },
    /// Nobody: this process may not answer before it has renewed its lease.
    Nobody,
}

/// Where a request comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whence {
    /// From a client.
    Client,
    /// From another pod, which believes that the database is here or comes here.
    Pod,
}

impl Group {
    /// Who answers a request. Waits while the database is on its way here, or nobody may answer, as long as a request may wait.
    pub async fn find(&self, database: &DatabaseName, from: Whence) -> Found {
        if let Some(found) = self.look(database, from) {
            return found;
        }
        let deadline = self.clock.now() + self.patience;
        let mut news = self.news.subscribe();
        loop {
            news.borrow_and_update();
            if let Some(found) = self.look(database, from) {
                return found;
            }
            if !matches!(tokio::time::timeout_at(deadline, news.changed()).await, Ok(Ok(()))) {
                return if self.is_current() { Found::Here(None) } else { Found::Nobody };
            }
        }
    }

    /// The same at this moment; `None` if it is worth waiting.
    fn look(&self, database: &DatabaseName, from: Whence) -> Option<Found> {
        if !self.is_current() {
            return None;
        }
        let here = self.here(database);
        if here.is_none() {
            return self.doors.enter(database).map(|stay| Found::Here(Some(stay)));
        }
        let (members, placement) = self.placed();
        let there = |pod: &str| {
            let member = members.get(pod).filter(|member| member.name != self.name())?;
            Some(Found::There { name: member.name.clone(), url: member.url.clone() })
        };
        let Some(resource) = self.resource(database) else {
            if !self.synced.load(Ordering::Acquire) {
                return None;
            }
            // One that nobody knows has a place like any other: where a request goes must not tell which names there are.
            let somewhere = anybody(database, &members).filter(|_| from == Whence::Client);
            return somewhere.and_then(there).or(Some(Found::Here(None)));
        };
        let told = resource.0.as_ref().ok().and_then(told_host).and_then(there).filter(|_| from == Whence::Client);
        match placement.owner(database) {
            Some(owner) if owner == self.name() => match here {
                Some(NotServed::Failed | NotServed::Suspended) => Some(Found::Here(None)),
                Some(NotServed::Opening | NotServed::Closing) => None,
                Some(NotServed::Unknown) | None => told.or_else(|| is_refused(&resource).then_some(Found::Here(None))),
            },
            // It is being closed here, and then it is there.
            Some(_) if matches!(here, Some(NotServed::Opening | NotServed::Closing)) => None,
            Some(owner) => told.or_else(|| there(owner)),
            None => Some(Found::Here(None)),
        }
    }
}

/// Whether the newest look at a resource ended with a reason not to open it. One that nobody has looked at yet, or that is being moved, is not.
fn is_refused(resource: &Guarded) -> bool {
    let Ok(BucketDatabase { metadata, status: Some(status), spec }) = &resource.0 else { return resource.0.is_err() };
    let ready = find(status, READY).filter(|ready| ready.observed_generation == metadata.generation);
    let is_on_its_way = |ready: &k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition| {
        ready.status == "True" || [Reason::Restoring, Reason::Suspended].iter().any(|reason| ready.reason == reason.as_str())
    };
    status.host.is_some() && ready.is_some_and(|ready| !is_on_its_way(ready) || spec.suspend)
}
