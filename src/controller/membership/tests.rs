use std::time::Duration;

use engine::{Clock as _, SystemClock, WallTime};
use k8s_openapi::api::coordination::v1::Lease;
use tokio::time::Instant;

use super::lease::{self, Decision, decide};
use super::standing::Standing;
use super::view::{Overdue, View};
use super::{Member, MembershipOptions};

const LEASE: Duration = Duration::from_secs(15);
const SECOND: Duration = Duration::from_secs(1);

fn options(pod: &str) -> MembershipOptions {
    MembershipOptions {
        namespace: "system".to_owned(),
        group: "bh".to_owned(),
        pod: pod.to_owned(),
        url: "http://10.1.2.3:8080".parse().unwrap(),
        memory: 1 << 30,
        lease: LEASE,
    }
}

/// A Lease as the API server would have it at this version.
fn stored(pod: &str, process: &str, version: u32) -> Lease {
    let mut lease = lease::renewed(&options(pod), process, false, WallTime::UNIX_EPOCH, None);
    lease.metadata.resource_version = Some(version.to_string());
    lease
}

#[test]
fn a_lease_tells_who_holds_it_where_and_for_how_long() {
    let lease = stored("pod-a", "pod-a_1", 1);
    let member = Member { name: "pod-a".to_owned(), url: options("pod-a").url, memory: 1 << 30, is_leaving: false };
    assert_eq!(lease::member(&lease), Some(member.clone()));
    assert_eq!((lease::holder(&lease), lease::duration(&lease)), (Some("pod-a_1"), LEASE));
    let leaving = lease::renewed(&options("pod-a"), "pod-a_1", true, WallTime::UNIX_EPOCH, Some(&lease));
    assert_eq!(lease::member(&leaving), Some(Member { is_leaving: true, ..member }));
    let ended = lease::ended(&lease);
    assert_eq!((lease::member(&ended), lease::is_ended(&ended)), (None, true));
    assert_eq!(ended.metadata.resource_version.as_deref(), Some("1"), "only as it was seen");
}

#[test]
fn a_renewal_is_upon_what_was_seen_and_counts_holders() {
    let first = stored("pod-a", "pod-a_1", 1);
    let again = lease::renewed(&options("pod-a"), "pod-a_1", false, WallTime::UNIX_EPOCH + SECOND, Some(&first));
    let spec = again.spec.as_ref().unwrap();
    assert_eq!(spec.acquire_time, first.spec.as_ref().unwrap().acquire_time, "it has held it all along");
    assert_ne!(spec.renew_time, first.spec.as_ref().unwrap().renew_time);
    assert_eq!((spec.lease_transitions, again.metadata.resource_version.as_deref()), (Some(0), Some("1")));
    let next = lease::renewed(&options("pod-a"), "pod-a_2", false, WallTime::UNIX_EPOCH + SECOND, Some(&again));
    assert_eq!(next.spec.unwrap().lease_transitions, Some(1));
}

#[test]
fn who_was_ended_never_takes_its_lease_again() {
    let (mine, earlier) = (stored("pod-a", "pod-a_2", 7), stored("pod-a", "pod-a_1", 5));
    let ended = lease::ended(&mine);
    let (soon, late) = (Some(SECOND), Some(600 * SECOND));
    for (held, found, expected) in [
        (None, None, Decision::Make),
        // Its own answer was lost.
        (None, Some(&mine), Decision::Take),
        (soon, Some(&mine), Decision::Take),
        // Containers of one Pod follow each other.
        (None, Some(&earlier), Decision::Take),
        (None, Some(&ended), Decision::Take),
        (soon, Some(&ended), Decision::Ousted),
        (soon, Some(&earlier), Decision::Ousted),
        // Somebody deleted it by hand; or it was ended and forgotten while this process slept.
        (soon, None, Decision::Make),
        (late, None, Decision::Ousted),
    ] {
        assert_eq!(decide("pod-a_2", held, found), expected, "{held:?} {found:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn it_is_current_only_for_what_was_granted_from_before_the_request() {
    let standing = Standing::new(&SystemClock, LEASE);
    let sent = SystemClock.now();
    assert!(!standing.is_current(sent), "nothing was granted yet");
    standing.renewed(sent);
    let granted = LEASE * 9 / 10;
    assert!(standing.is_current(sent + granted.saturating_sub(SECOND)));
    assert!(!standing.is_current(sent + granted), "others wait for the whole lease, and from later");
    assert_eq!(standing.left(sent + SECOND), granted.saturating_sub(SECOND));
    // An answer that came when it was over grants nothing.
    standing.renewed(sent);
    assert!(!standing.is_current(sent + LEASE));
    standing.renewed(sent + LEASE);
    assert!(standing.is_current(sent + LEASE));
    standing.end();
    assert!(!standing.is_current(sent + LEASE));
}

fn ends(view: &View, now: Instant, steady: Instant) -> Vec<String> {
    let name = |overdue: Overdue| match overdue {
        Overdue::End(lease) => format!("end {}", lease.metadata.name.unwrap()),
        Overdue::Forget(lease) => format!("forget {}", lease.metadata.name.unwrap()),
    };
    view.overdue("bh-member-me", now, steady).into_iter().map(name).collect()
}

#[tokio::test(start_paused = true)]
async fn a_lease_runs_out_when_it_was_seen_unchanged_for_its_whole_duration() {
    let (mut view, start) = (View::default(), SystemClock.now());
    view.see(stored("me", "me_1", 1), start);
    view.see(stored("other", "other_1", 2), start);
    assert!(ends(&view, start + LEASE - SECOND, start).is_empty());
    assert_eq!(ends(&view, start + LEASE, start), ["end bh-member-other"], "never its own");
    assert_eq!(view.next("bh-member-me", start), Some(start + LEASE));
    // The same again is no change, and a renewal is.
    view.see(stored("other", "other_1", 2), start + SECOND);
    assert_eq!(ends(&view, start + LEASE, start), ["end bh-member-other"]);
    view.see(stored("other", "other_1", 3), start + SECOND);
    assert!(ends(&view, start + LEASE, start).is_empty());
    // Whoever could not see a change counts from when it can again.
    let steady = start + 10 * SECOND;
    assert!(ends(&view, start + LEASE + SECOND, steady).is_empty());
    assert_eq!(ends(&view, steady + LEASE, steady), ["end bh-member-other"]);
}

#[tokio::test(start_paused = true)]
async fn one_that_ended_is_no_member_and_is_forgotten_at_last() {
    let (mut view, start) = (View::default(), SystemClock.now());
    view.see(lease::ended(&stored("other", "other_1", 2)), start);
    assert!(view.members().is_empty());
    assert!(ends(&view, start + 599 * SECOND, start).is_empty());
    assert_eq!(ends(&view, start + 600 * SECOND, start), ["forget bh-member-other"]);
    view.lose("bh-member-other");
    assert_eq!(view.next("bh-member-me", start), None);
}

#[tokio::test(start_paused = true)]
async fn a_new_list_counts_when_it_is_whole_and_does_not_make_old_leases_young() {
    let (mut view, start) = (View::default(), SystemClock.now());
    view.see(stored("stays", "stays_1", 1), start);
    view.see(stored("goes", "goes_1", 2), start);
    view.begin();
    view.see(stored("stays", "stays_1", 1), start + 10 * SECOND);
    assert_eq!(view.members().len(), 2);
    view.complete();
    assert_eq!(view.members().into_keys().collect::<Vec<_>>(), ["stays"]);
    assert_eq!(ends(&view, start + LEASE, start), ["end bh-member-stays"]);
}

#[test]
fn what_is_none_of_ours_is_no_member() {
    for broken in ["buckethead.dev/url", "buckethead.dev/memory", "buckethead.dev/pod"] {
        let mut lease = stored("pod-a", "pod-a_1", 1);
        lease.metadata.annotations.as_mut().unwrap().remove(broken);
        assert_eq!(lease::member(&lease), None, "{broken}");
    }
}
