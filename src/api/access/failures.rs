//! Requests that are not admitted: counted, and held back where one address has too many.
//!
//! An address may fail [`AT_ONCE`] times at once and once more each [`PACE`]. What fails beyond that is told so, and nobody else is asked
//! about its token.
//! Owns: what each address may still do, and the metric. Does not own: who is admitted.
//! Invariants: whoever is admitted is not held back by what others at their address do; there is a bound for how many addresses are known.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use engine::Clock;
use parking_lot::Mutex;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;
use tokio::time::Instant;

use super::recent::Recent;

/// How often an address may fail at once.
const AT_ONCE: u32 = 20;
/// How long it takes until it may fail once more.
const PACE: Duration = Duration::from_secs(1);
/// How many addresses are known. One that is forgotten begins anew.
const ADDRESSES: usize = 10_000;

/// The other end of a connection.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Peer(pub(crate) SocketAddr);

/// Whose failures are counted together: one address, or of IPv6 the network that one client has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Address(Option<IpAddr>);

impl Address {
    /// All requests of which nobody says where they come from have one.
    pub(crate) fn of(peer: Option<Peer>) -> Self {
        // A socket for both kinds of addresses sees those of IPv4 as part of one network of IPv6.
        Self(peer.map(|Peer(peer)| match peer.ip().to_canonical() {
            IpAddr::V4(address) => IpAddr::V4(address),
            IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
        }))
    }
}

/// Why a request was not admitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reason {
    /// It bears no token.
    Missing,
    /// It bears one that is not valid.
    Refused,
    /// It would change something, and its token permits reading alone.
    ReadOnly,
    /// Whoever knows its token does not answer.
    Unavailable,
}

impl Reason {
    fn word(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Refused => "refused",
            Self::ReadOnly => "read_only",
            Self::Unavailable => "unavailable",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    reason: &'static str,
}

/// All failures.
pub(crate) struct Failures {
    clock: Arc<dyn Clock>,
    total: Family<Labels, Counter>,
    /// When each address will be where it was before it failed.
    addresses: Mutex<Recent<Address, Instant>>,
}

impl Failures {
    /// Adds their metric to `registry`.
    pub(crate) fn register(registry: &mut Registry, clock: Arc<dyn Clock>) -> Self {
        let total = Family::default();
        registry.register(
            "buckethead_authentication_failures",
            "Requests that were not admitted: `missing` token, `refused` token, `read_only` token for a change, `unavailable` Kubernetes",
            total.clone(),
        );
        Self { clock, total, addresses: Mutex::new(Recent::new(ADDRESSES)) }
    }

    pub(crate) fn count(&self, reason: Reason) {
        self.total.get_or_create(&Labels { reason: reason.word() }).inc();
    }

    /// Takes one failure of those that an address may have; false if it has none left.
    pub(crate) fn take(&self, address: Address) -> bool {
        let now = self.clock.now();
        let mut addresses = self.addresses.lock();
        let before = addresses.get(&address).map_or(now, |at| now.max(*at));
        let after = before + PACE;
        let may = after <= now + PACE * AT_ONCE;
        if may {
            addresses.insert(address, after);
        }
        may
    }

    /// What was taken was no failure.
    pub(crate) fn give_back(&self, address: Address) {
        if let Some(at) = self.addresses.lock().get(&address) {
            *at = at.checked_sub(PACE).unwrap_or(*at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use engine::SystemClock;
    use std::collections::HashSet;

    fn failures() -> Failures {
        Failures::register(&mut Registry::default(), Arc::new(SystemClock))
    }

    fn address(text: &str) -> Address {
        Address::of(Some(Peer(SocketAddr::new(text.parse().unwrap(), 1234))))
    }

    #[tokio::test(start_paused = true)]
    async fn an_address_may_fail_some_times_at_once_and_then_once_a_second() {
        let failures = failures();
        let taken = |address: Address| (0..100).filter(|_| failures.take(address)).count();
        assert_eq!((taken(address("10.0.0.1")), taken(address("10.0.0.1"))), (20, 0));
        assert_eq!(taken(address("10.0.0.2")), 20, "another one has its own");
        assert_eq!((taken(Address::of(None)), taken(Address::of(None))), (20, 0));
        tokio::time::advance(Duration::from_millis(3_500)).await;
        assert_eq!(taken(address("10.0.0.1")), 3);
        tokio::time::advance(Duration::from_hours(1)).await;
        assert_eq!(taken(address("10.0.0.1")), 20, "and never more at once");
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_no_failure_is_given_back() {
        let failures = failures();
        for _ in 0..100 {
            assert!(failures.take(address("10.0.0.1")));
            failures.give_back(address("10.0.0.1"));
        }
        failures.give_back(address("10.0.0.9"));
    }

    #[test]
    fn an_address_of_ipv6_is_the_network_of_its_client() {
        assert_eq!(address("2001:db8::1"), address("2001:db8::ffff:1"));
        assert_ne!(address("2001:db8::1"), address("2001:db8:0:1::1"));
        assert_eq!(address("::ffff:10.0.0.1"), address("10.0.0.1"));
        let apart: HashSet<_> = ["::ffff:10.0.0.1", "::ffff:10.0.0.2", "::1"].map(address).into();
        assert_eq!(apart.len(), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_addresses_are_known_than_there_is_room_for() {
        let failures = failures();
        let first = address("9.9.9.9");
        while failures.take(first) {}
        for number in 0..u32::try_from(ADDRESSES).unwrap() {
            failures.take(Address(Some(IpAddr::V4(number.into()))));
        }
        assert!(failures.take(first), "it was forgotten");
    }
}
