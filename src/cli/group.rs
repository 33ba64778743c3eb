//! This process among the pods of its operator: how it takes part, and how it leaves.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use api::{Answers, Member, Origin, Peers, Unserved};
use controller::crd::ByteSize;
use controller::{Ended, Found, Group, Membership, MembershipOptions, PodAddress, Scheme, Whence};
use engine::{Clock as _, DatabaseName, Host, SystemClock};
use futures::FutureExt as _;
use futures::future::BoxFuture;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// How it takes part.
#[derive(Debug, clap::Args)]
#[group(skip)]
pub(super) struct Arguments {
    /// Operators with this name in one namespace share the resources that they watch. They must watch the same ones.
    #[arg(long, value_name = "NAME", default_value = "buckethead", env = "BUCKETHEAD_GROUP")]
    group: String,
    /// How long a pod of the group may be unheard of before the others take its databases over. It answers nothing once that time is over.
    #[arg(long, value_name = "SECONDS", default_value_t = MembershipOptions::LEASE.as_secs(), value_parser = clap::value_parser!(u64).range(3..=300),
          env = "BUCKETHEAD_LEASE_SECONDS")]
    lease_seconds: u64,
    /// How long a request waits for a database that is on its way from one pod to another.
    #[arg(long, value_name = "SECONDS", default_value_t = Group::PATIENCE.as_secs(), value_parser = clap::value_parser!(u64).range(..=300))]
    request_wait_seconds: u64,
    /// Where the other pods of the group reach this one, if that is not --pod-ip.
    #[arg(long, value_name = "IP", env = "BUCKETHEAD_PEER_IP")]
    peer_ip: Option<IpAddr>,
    /// How much memory the databases of this pod may take together, each counted with its `limits.maxSize`. One for which there is no room here
    /// goes to another pod of the group. Without it nothing is counted.
    #[arg(long, value_name = "BYTES", env = "BUCKETHEAD_MEMORY_BUDGET")]
    memory_budget: Option<ByteSize>,
}

/// What this process is called, and where it is.
pub(super) struct Whereabouts {
    pub(super) pod: String,
    pub(super) namespace: String,
    pub(super) scheme: Scheme,
    pub(super) pod_ip: Option<IpAddr>,
    pub(super) listens: SocketAddr,
}

impl Whereabouts {
    /// Where the Services of databases lead to.
    pub(super) fn address(&self) -> Option<PodAddress> {
        Some(PodAddress {
            scheme: self.scheme,
            ip: self.pod_ip?,
            port: self.listens.port(),
            name: self.pod.clone(),
            namespace: self.namespace.clone(),
        })
    }
}

impl Arguments {
    /// How much the databases of this process may take together.
    pub(super) fn memory(&self) -> Option<u64> {
        self.memory_budget.as_ref().map(ByteSize::as_bytes)
    }

    /// A process that is to be one of the group.
    pub(super) fn membership(&self, client: kube::Client, place: &Whereabouts) -> anyhow::Result<Arc<Membership>> {
        let listens = place.listens.ip();
        let own = if listens.is_unspecified() { Ipv4Addr::LOCALHOST.into() } else { listens };
        let address = SocketAddr::new(self.peer_ip.or(place.pod_ip).unwrap_or(own), place.listens.port());
        let options = MembershipOptions {
            namespace: place.namespace.clone(),
            group: self.group.clone(),
            pod: place.pod.clone(),
            url: format!("{}://{address}", place.scheme).parse().context("the address of this pod makes no URL")?,
            memory: self.memory().unwrap_or(0),
            lease: Duration::from_secs(self.lease_seconds),
        };
        let clock = Arc::new(SystemClock);
        // Tells this process from an earlier one in the same Pod.
        let instance = clock.wall().as_nanosecond().to_le_bytes();
        let instance = instance.iter().take(8).rev().fold(0, |instance, byte| instance << 8 | u64::from(*byte));
        Ok(Membership::new(client, options, instance, clock))
    }

    /// The group, by this process's databases.
    pub(super) fn group(&self, membership: &Arc<Membership>, host: &Arc<Host>) -> Arc<Group> {
        let patience = Duration::from_secs(self.request_wait_seconds);
        Group::new(Arc::clone(membership), Arc::clone(host), Arc::new(SystemClock), patience)
    }
}

/// The group, as the API asks it.
pub(super) struct Shared(pub(super) Arc<Group>);

impl Peers for Shared {
    fn find<'a>(&'a self, database: &'a DatabaseName, from: Origin) -> BoxFuture<'a, Answers> {
        let from = match from {
            Origin::Client => Whence::Client,
            Origin::Process => Whence::Pod,
        };
        async move {
            match self.0.find(database, from).await {
                Found::Here(stay) => Answers::Here(stay.map_or_else(api::Stay::default, api::Stay::holding)),
                Found::There { name, url } => Answers::At(Member { name, url }),
                Found::Nobody => Answers::Nobody { why: Unserved::NotCurrent },
            }
        }
        .boxed()
    }

    fn has_own_service(&self, database: &DatabaseName) -> bool {
        self.0.has_own_service(database)
    }

    fn is_current(&self) -> bool {
        self.0.is_current()
    }

    fn is_member(&self, address: IpAddr) -> bool {
        self.0.is_member(address)
    }

    fn name(&self) -> &str {
        self.0.name()
    }
}

/// The lease of this process while it runs.
pub(super) struct Kept {
    membership: Arc<Membership>,
    keeping: JoinSet<Result<(), Ended>>,
    stop: CancellationToken,
}

/// After the last database is with another pod: Services of databases and of the operator need a moment until they send nobody here any more.
const LINGER: Duration = Duration::from_secs(3);

impl Kept {
    /// Takes part from now on.
    pub(super) fn begin(membership: Arc<Membership>) -> Self {
        let (stop, mut keeping) = (CancellationToken::new(), JoinSet::new());
        let (member, ends) = (Arc::clone(&membership), stop.clone());
        keeping.spawn(async move { member.keep(ends).await });
        Self { membership, keeping, stop }
    }

    /// Waits until another pod has ended the lease, or it cannot be kept.
    pub(super) async fn failed(&mut self) -> anyhow::Error {
        match self.keeping.join_next().await {
            Some(Ok(Err(ended))) => anyhow::Error::new(ended).context("the databases of this pod are another's by now"),
            Some(Err(error)) => anyhow::Error::new(error).context("keeping the lease failed"),
            Some(Ok(Ok(()))) | None => anyhow::anyhow!("keeping the lease ended by itself"),
        }
    }

    /// Gives the databases to the other pods, if there are any, within `limit`. Requests are passed on meanwhile.
    pub(super) async fn give_away(&self, group: &Group, limit: Duration) {
        if !group.has_heirs() {
            return;
        }
        let given = async {
            self.membership.leave().await;
            group.emptied().await;
            tokio::time::sleep(LINGER).await;
        };
        if tokio::time::timeout(limit, given).await.is_err() {
            tracing::warn!(?limit, "not every database could be given to another pod in time; the rest is flushed");
        }
    }

    /// Gives the lease back, once nothing is served any more.
    pub(super) async fn end(mut self) {
        self.stop.cancel();
        self.keeping.join_next().await;
    }
}
