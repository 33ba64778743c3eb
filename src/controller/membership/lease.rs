//! What a Lease of a pod says, and what is to be done about one. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use engine::WallTime;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::ResourceExt;

use super::{Member, MembershipOptions};

/// The label by which those of one group are found.
const GROUP: &str = "buckethead.dev/group";
/// The Pod that it is about: its own name has the group before it.
const POD: &str = "buckethead.dev/pod";
/// Where the pod is reached.
const URL: &str = "buckethead.dev/url";
/// How much it can hold, in bytes.
const MEMORY: &str = "buckethead.dev/memory";
/// `true` while it gives its databases away.
const LEAVING: &str = "buckethead.dev/leaving";

/// The Leases of a group.
pub(super) fn selector(group: &str) -> String {
    format!("{GROUP}={group}")
}

/// The name of a pod's Lease. Names of Pods are names of subdomains, and so is this.
pub(super) fn name(group: &str, pod: &str) -> String {
    format!("{group}-member-{pod}")
}

/// The Lease of this process, renewed now. `before` is the one that it replaces.
pub(super) fn renewed(options: &MembershipOptions, identity: &str, is_leaving: bool, now: WallTime, before: Option<&Lease>) -> Lease {
    let spec = before.and_then(|before| before.spec.as_ref());
    let is_ours = before.is_some_and(|before| holder(before) == Some(identity));
    let acquired = spec.filter(|_| is_ours).and_then(|spec| spec.acquire_time.clone());
    let transitions = spec.and_then(|spec| spec.lease_transitions).unwrap_or(0);
    let annotations = [
        (POD, options.pod.clone()),
        (URL, options.url.to_string()),
        (MEMORY, options.memory.to_string()),
        (LEAVING, is_leaving.to_string()),
    ];
    Lease {
        metadata: ObjectMeta {
            name: Some(name(&options.group, &options.pod)),
            namespace: Some(options.namespace.clone()),
            labels: Some(BTreeMap::from([(GROUP.to_owned(), options.group.clone())])),
            annotations: Some(annotations.map(|(key, value)| (key.to_owned(), value)).into()),
            resource_version: before.and_then(ResourceExt::resource_version),
            ..ObjectMeta::default()
        },
        spec: Some(LeaseSpec {
            holder_identity: Some(identity.to_owned()),
            lease_duration_seconds: Some(i32::try_from(options.lease.as_secs().max(1)).unwrap_or(i32::MAX)),
            acquire_time: acquired.or(Some(MicroTime(now))),
            renew_time: Some(MicroTime(now)),
            lease_transitions: Some(if is_ours || before.is_none() { transitions } else { transitions.saturating_add(1) }),
            ..LeaseSpec::default()
        }),
    }
}

/// The same Lease as one that has ended. It stays a while, so that others know that its pod answers for nothing any more.
pub(super) fn ended(lease: &Lease) -> Lease {
    let spec = LeaseSpec { holder_identity: None, ..lease.spec.clone().unwrap_or_default() };
    let metadata = ObjectMeta { managed_fields: None, ..lease.metadata.clone() };
    Lease { metadata, spec: Some(spec) }
}

/// Whether nobody holds it.
pub(super) fn is_ended(lease: &Lease) -> bool {
    holder(lease).is_none()
}

/// The process that holds it.
pub(super) fn holder(lease: &Lease) -> Option<&str> {
    lease.spec.as_ref()?.holder_identity.as_deref().filter(|holder| !holder.is_empty())
}

/// For how long it may stay unchanged before it has run out.
pub(super) fn duration(lease: &Lease) -> Duration {
    let seconds = lease.spec.as_ref().and_then(|spec| spec.lease_duration_seconds).unwrap_or(0);
    Duration::from_secs(u64::try_from(seconds).unwrap_or(0).max(1))
}

/// Whose it is. `None` if nobody holds it, or it does not say what one of ours says.
pub(super) fn member(lease: &Lease) -> Option<Member> {
    holder(lease)?;
    let said = lease.annotations();
    Some(Member {
        name: said.get(POD)?.clone(),
        url: said.get(URL)?.parse().ok()?,
        memory: said.get(MEMORY)?.parse().ok()?,
        is_leaving: said.get(LEAVING).is_some_and(|leaving| leaving == "true"),
    })
}

/// What is to be done about our own Lease, which is not what we wrote last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Decision {
    /// It is replaced as it is.
    Take,
    /// It is made.
    Make,
    /// Another pod has ended it: what we had may be another's by now.
    Ousted,
}

/// How long one that has ended is kept: by then whoever takes its databases over has begun to.
pub(super) const KEPT: Duration = Duration::from_mins(10);

/// Decides by what is found. `held` is how long ago this process has renewed it, if it ever has.
pub(super) fn decide(identity: &str, held: Option<Duration>, found: Option<&Lease>) -> Decision {
    match (found, held) {
        // An answer of ours was lost.
        (Some(found), _) if holder(found) == Some(identity) => Decision::Take,
        // It has ended, or is of an earlier process of this very Pod, which is gone: containers of one Pod follow each other.
        (Some(_), None) => Decision::Take,
        (None, None) => Decision::Make,
        // Nobody can have ended and forgotten it meanwhile: a person deleted it, or the API server has lost its memory.
        (None, Some(ago)) if ago < KEPT => Decision::Make,
        (Some(_) | None, Some(_)) => Decision::Ousted,
    }
}
