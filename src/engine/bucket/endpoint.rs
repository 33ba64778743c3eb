//! Which addresses a store's endpoint may have.
//!
//! A tenant names the endpoint, and the operator connects to it from inside the cluster: without rules, a manifest could make it talk to
//! the node's metadata service, to itself, or to the API server. Owns: the rules. Does not own: looking names up and connecting, which
//! `s3/connect.rs` does to the very addresses that passed [`check`].
//! Invariant: the answer depends on the address alone, never on how it was written.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Which endpoints are refused. Link-local and metadata addresses always are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EndpointPolicy {
    /// For `dev` and tests only. Exempts loopback from all other rules, too: there the API server listens on it.
    pub allow_loopback: bool,
    /// Refuse private addresses (RFC 1918, unique local, shared), too.
    pub deny_private: bool,
    /// Addresses refused besides: the API server's.
    pub refused: Vec<IpAddr>,
}

/// An address that may not be connected to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{address} {rule}")]
pub struct Refusal {
    address: IpAddr,
    rule: Rule,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rule {
    Loopback,
    Metadata,
    LinkLocal,
    Unspecified,
    Multicast,
    Reserved,
    Listed,
    Private,
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Loopback => "is a loopback address",
            Self::Metadata => "is a cloud's metadata service",
            Self::LinkLocal => "is a link-local address",
            Self::Unspecified => "is an unspecified address",
            Self::Multicast => "is a multicast address",
            Self::Reserved => "is a reserved address",
            Self::Listed => "is an address that this operator keeps to itself, such as the API server's",
            Self::Private => "is a private address, and private endpoints are denied",
        })
    }
}

/// Metadata and credential services of clouds that no other rule covers, because their addresses look like ordinary ones.
const METADATA: [IpAddr; 7] = [
    IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254)),
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
    IpAddr::V4(Ipv4Addr::new(168, 63, 129, 16)),
    IpAddr::V4(Ipv4Addr::new(192, 0, 0, 192)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0x0ec2, 0, 0, 0, 0, 0, 0x0254)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0x0ec2, 0, 0, 0, 0, 0, 0x0023)),
    IpAddr::V6(Ipv6Addr::new(0xfd20, 0x00ce, 0, 0, 0, 0, 0, 0x0254)),
];

/// Whether this address may be connected to.
pub fn check(address: IpAddr, policy: &EndpointPolicy) -> Result<(), Refusal> {
    match broken_rule(unwrap(address), policy) {
        Some(rule) => Err(Refusal { address, rule }),
        None => Ok(()),
    }
}

fn broken_rule(address: IpAddr, policy: &EndpointPolicy) -> Option<Rule> {
    if address.is_loopback() {
        return (!policy.allow_loopback).then_some(Rule::Loopback);
    }
    if policy.refused.iter().any(|&refused| unwrap(refused) == address) {
        return Some(Rule::Listed);
    }
    if METADATA.contains(&address) {
        return Some(Rule::Metadata);
    }
    let always = match address {
        IpAddr::V4(v4) => always_refused_v4(v4),
        IpAddr::V6(v6) => always_refused_v6(v6),
    };
    always.or_else(|| (policy.deny_private && is_private(address)).then_some(Rule::Private))
}

fn always_refused_v4(address: Ipv4Addr) -> Option<Rule> {
    match address.octets() {
        [0, ..] => Some(Rule::Unspecified),
        [169, 254, ..] => Some(Rule::LinkLocal),
        [224..=239, ..] => Some(Rule::Multicast),
        [240..=255, ..] => Some(Rule::Reserved),
        _ => None,
    }
}

fn always_refused_v6(address: Ipv6Addr) -> Option<Rule> {
    if address.is_unspecified() {
        Some(Rule::Unspecified)
    } else if address.is_unicast_link_local() {
        Some(Rule::LinkLocal)
    } else if address.is_multicast() {
        Some(Rule::Multicast)
    } else {
        None
    }
}

fn is_private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_private() || matches!(v4.octets(), [100, 64..=127, ..]),
        // `fec0::/10` was site-local before unique local addresses; some networks still route it.
        IpAddr::V6(v6) => v6.is_unique_local() || (v6.segments()[0] & 0xffc0) == 0xfec0,
    }
}

/// The IPv4 address that an IPv6 address carries, where hosts or routers would unwrap it: mapped, compatible, NAT64 and 6to4.
fn unwrap(address: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = address else { return address };
    let v4 = |high: u16, low: u16| IpAddr::V4(Ipv4Addr::from((u32::from(high) << 16) | u32::from(low)));
    match v6.segments() {
        // `::` and `::1` are IPv6's own.
        [0, 0, 0, 0, 0, 0, 0, 0 | 1] => address,
        [0, 0, 0, 0, 0, 0 | 0xffff, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] | [0x2002, high, low, ..] => v4(high, low),
        _ => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(address: &str, policy: &EndpointPolicy) -> Option<Rule> {
        check(address.parse().unwrap(), policy).err().map(|refusal| refusal.rule)
    }

    #[test]
    fn some_addresses_are_always_refused() {
        let table = [
            ("127.0.0.1", Rule::Loopback),
            ("127.8.9.10", Rule::Loopback),
            ("::1", Rule::Loopback),
            ("::ffff:127.0.0.1", Rule::Loopback),
            ("64:ff9b::7f00:1", Rule::Loopback),
            ("2002:7f00:1::", Rule::Loopback),
            ("::127.0.0.1", Rule::Loopback),
            ("169.254.169.254", Rule::Metadata),
            ("::ffff:169.254.169.254", Rule::Metadata),
            ("64:ff9b::a9fe:a9fe", Rule::Metadata),
            ("100.100.100.200", Rule::Metadata),
            ("168.63.129.16", Rule::Metadata),
            ("fd00:ec2::254", Rule::Metadata),
            ("169.254.170.2", Rule::LinkLocal),
            ("fe80::1", Rule::LinkLocal),
            ("0.0.0.0", Rule::Unspecified),
            ("0.1.2.3", Rule::Unspecified),
            ("::", Rule::Unspecified),
            ("::ffff:0.0.0.0", Rule::Unspecified),
            ("224.0.0.1", Rule::Multicast),
            ("ff02::1", Rule::Multicast),
            ("255.255.255.255", Rule::Reserved),
        ];
        for (address, expected) in table {
            assert_eq!(rule(address, &EndpointPolicy::default()), Some(expected), "{address}");
        }
    }

    #[test]
    fn private_addresses_are_refused_only_when_denied() {
        let deny = EndpointPolicy { deny_private: true, ..EndpointPolicy::default() };
        for address in ["10.1.2.3", "172.16.0.1", "172.31.255.255", "192.168.1.1", "100.64.0.1", "fc00::1", "fd12::1", "::ffff:10.0.0.1"] {
            assert_eq!(rule(address, &EndpointPolicy::default()), None, "{address}");
            assert_eq!(rule(address, &deny), Some(Rule::Private), "{address}");
        }
        for address in ["1.1.1.1", "172.32.0.1", "100.128.0.1", "2606:4700::1111"] {
            assert_eq!(rule(address, &deny), None, "{address}");
        }
    }

    #[test]
    fn the_api_servers_addresses_are_refused_in_every_notation() {
        let policy = EndpointPolicy { refused: vec!["10.96.0.1".parse().unwrap()], ..EndpointPolicy::default() };
        assert_eq!(rule("10.96.0.1", &policy), Some(Rule::Listed));
        assert_eq!(rule("::ffff:10.96.0.1", &policy), Some(Rule::Listed));
        assert_eq!(rule("10.96.0.2", &policy), None);
    }

    #[test]
    fn loopback_can_be_exempted_and_nothing_else_with_it() {
        let policy = EndpointPolicy { allow_loopback: true, refused: vec!["127.0.0.1".parse().unwrap()], ..EndpointPolicy::default() };
        assert_eq!(rule("127.0.0.1", &policy), None);
        assert_eq!(rule("::1", &policy), None);
        assert_eq!(rule("169.254.169.254", &policy), Some(Rule::Metadata));
        assert_eq!(rule("0.0.0.0", &policy), Some(Rule::Unspecified));
    }

    #[test]
    fn a_refusal_names_address_and_rule() {
        let refusal = check("127.0.0.1".parse().unwrap(), &EndpointPolicy::default()).unwrap_err();
        assert_eq!(refusal.to_string(), "127.0.0.1 is a loopback address");
    }
}
