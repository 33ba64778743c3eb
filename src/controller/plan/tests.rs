#![allow(clippy::needless_pass_by_value, reason = "tests read better when their helpers take what they are given")]

mod converge;

use std::sync::Arc;

use engine::{Etag, Previous, Uploads, bucket};
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::fixtures::*;

fn planned(resource: &BucketDatabase, seen: Observed) -> Vec<Step> {
    plan(resource, &seen).steps
}

fn open_step() -> Step {
    Step::Open(Box::new(config()))
}

fn missing() -> Problem {
    Problem::passing(Reason::CredentialsMissing, "there is no Secret")
}

fn reason_of(verdict: &Verdict) -> Option<Reason> {
    match verdict {
        Verdict::Failed(problem) | Verdict::Serving { but: Some(problem) } | Verdict::Closing { but: Some(problem) } => {
            Some(problem.reason)
        }
        Verdict::Serving { but: None }
        | Verdict::Closing { but: None }
        | Verdict::Restoring
        | Verdict::Suspending { .. }
        | Verdict::Suspended => None,
    }
}

#[test]
fn a_new_resource_gets_its_connection_secret_before_anything_else() {
    let plan = plan(&resource(json!({})), &Observed { connection: Connection::Stale(Contents::default()), ..seen() });
    assert_eq!((plan.steps, plan.look_again), (vec![Step::EnsureConnectionSecret(Contents::default())], AT_ONCE));
}

#[test]
fn the_finalizer_stands_before_there_is_anything_to_save() {
    let bare = resource(json!({"metadata": {"finalizers": []}}));
    assert_eq!(planned(&bare, seen()), [Step::AddFinalizer, open_step()]);
    assert_eq!(planned(&resource(json!({})), seen()), [open_step()]);
}

#[test]
fn an_open_database_in_force_needs_nothing_until_secrets_are_read_again() {
    let plan = plan(&resource(json!({})), &served());
    assert_eq!(plan, Plan { steps: vec![], look_again: LOOK_AGAIN, verdict: Verdict::Serving { but: None } });
}

#[test]
fn a_changed_configuration_is_taken_over_without_closing() {
    let mut old = config();
    old.snapshots.keep_previous = false;
    assert_eq!(planned(&resource(json!({})), Observed { applied: Some(old), ..served() }), [Step::Reconfigure(Box::new(config()))]);
}

#[test]
fn a_resource_whose_place_is_held_waits_and_names_the_holder() {
    let rival = Some(DatabaseName::new("apps", "older"));
    let waiting = plan(&resource(json!({})), &Observed { rival: rival.clone(), ..seen() });
    assert_eq!(waiting.steps, []);
    let Verdict::Failed(problem) = &waiting.verdict else { panic!("{:?}", waiting.verdict) };
    assert_eq!((problem.reason, problem.stuck), (Reason::HeldElsewhere, true));
    assert!(problem.message.contains("apps/older"), "{}", problem.message);

    let failed = Observed { rival: rival.clone(), hosted: failed(unreachable(), 1, second(-900)), ..seen() };
    assert_eq!(planned(&resource(json!({})), failed), [Step::Forget]);
    assert_eq!(planned(&resource(json!({})), Observed { rival, ..served() }), [], "the one that serves stays");
}

#[test]
fn what_serves_goes_on_when_its_secret_is_gone_and_says_so() {
    let plan = plan(&resource(json!({})), &Observed { config: Err(missing()), ..served() });
    assert_eq!((plan.steps, plan.verdict), (vec![], Verdict::Serving { but: Some(missing()) }));
}

#[test]
fn what_is_missing_is_looked_for_with_growing_pauses() {
    for (age, pause) in [(None, 2), (Some(1), 2), (Some(10), 10), (Some(5000), 300)] {
        let seen = Observed { config: Err(missing()), troubled_since: age.map(|age| second(-age)), ..seen() };
        let plan = plan(&resource(json!({})), &seen);
        assert_eq!(
            (plan.steps, plan.look_again, plan.verdict),
            (vec![], Duration::from_secs(pause), Verdict::Failed(missing())),
            "{age:?}"
        );
    }
}

#[test]
fn what_serves_without_its_secret_is_looked_at_with_growing_pauses_too() {
    let seen = Observed { config: Err(missing()), troubled_since: Some(second(-100)), ..served() };
    assert_eq!(plan(&resource(json!({})), &seen).look_again, Duration::from_secs(100));
}

#[test]
fn a_failed_open_is_tried_again_after_a_pause_that_doubles_up_to_five_minutes() {
    for (attempts, pause) in [(1, 1), (2, 2), (5, 16), (9, 256), (10, 300), (4_000_000_000, 300)] {
        let after = |passed: i64| Observed { applied: Some(config()), hosted: failed(unreachable(), attempts, second(-passed)), ..seen() };
        assert_eq!(planned(&resource(json!({})), after(pause)), [open_step()], "{attempts}");
        let early = plan(&resource(json!({})), &after(pause - 1));
        assert_eq!((early.steps, early.look_again), (vec![], Duration::from_secs(1)), "{attempts}");
        assert_eq!(reason_of(&early.verdict), Some(Reason::EndpointUnreachable));
    }
}

#[test]
fn every_failure_that_can_heal_is_tried_again_and_a_refused_endpoint_is_not() {
    let heals = [
        bucket::Error::NoSuchBucket,
        bucket::Error::AccessDenied { code: "InvalidAccessKeyId".to_owned(), message: String::new() },
        bucket::Error::Unavailable { message: String::new() },
        bucket::Error::Unclear { message: String::new() },
        bucket::Error::Refused { code: "KMS".to_owned(), message: String::new() },
        bucket::Error::PreconditionFailed,
    ];
    for error in heals {
        let seen = Observed { applied: Some(config()), hosted: failed(of_bucket(error.clone()), 3, second(-300)), ..seen() };
        assert_eq!(planned(&resource(json!({})), seen), [open_step()], "{error}");
    }
    let refused = of_bucket(bucket::Error::EndpointRefused { reason: "loopback".to_owned() });
    let seen = Observed { applied: Some(config()), hosted: failed(refused, 1, second(-90_000)), ..seen() };
    let plan = plan(&resource(json!({})), &seen);
    assert_eq!((plan.steps, plan.look_again), (vec![], LOOK_AGAIN));
}

#[test]
fn whatever_failed_is_tried_at_once_when_the_spec_a_secret_or_an_annotation_changed() {
    let mut old = config();
    old.accept_snapshot = Some(Etag::new("other"));
    for error in [unreachable(), corrupt(Previous::Absent), of_bucket(bucket::Error::EndpointRefused { reason: String::new() })] {
        let seen = Observed { applied: Some(old.clone()), hosted: failed(error, 9, second(0)), ..seen() };
        let plan = plan(&resource(json!({})), &seen);
        assert_eq!((plan.steps, plan.verdict), (vec![open_step()], Verdict::Restoring));
    }
}

#[test]
fn a_corrupt_snapshot_waits_for_a_person_and_is_read_again_rarely() {
    let after =
        |passed: i64| Observed { applied: Some(config()), hosted: failed(corrupt(Previous::Damaged), 1, second(-passed)), ..seen() };
    let waiting = plan(&resource(json!({})), &after(299));
    assert_eq!((waiting.steps, reason_of(&waiting.verdict)), (vec![], Some(Reason::SnapshotCorrupt)));
    assert_eq!(planned(&resource(json!({})), after(300)), [open_step()]);
}

#[test]
fn a_try_after_a_failure_keeps_its_verdict_and_a_first_one_is_a_restore() {
    let failure = Verdict::Failed(missing());
    let opening = Observed { hosted: State::Opening, applied: Some(config()), ..seen() };
    assert_eq!(plan(&resource(json!({})), &Observed { said: Some(failure.clone()), ..opening.clone() }).verdict, failure);
    assert_eq!(plan(&resource(json!({})), &opening).verdict, Verdict::Restoring);
}

/// With these branches, each from another, in the order in which somebody wrote them.
fn with_branches(branches: &[(&str, &str)]) -> BucketDatabase {
    let branches: Vec<_> = branches.iter().map(|(name, from)| json!({"name": name, "from": from})).collect();
    resource(json!({"spec": {"branches": branches}}))
}

fn branch(name: &str) -> BranchName {
    BranchName::parse(name).unwrap()
}

fn on(name: &str) -> DatabaseConfig {
    let mut config = config();
    config.location.branch = branch(name);
    config
}

/// What is done about branches, in words, without what else is done.
fn about_branches(resource: &BucketDatabase, seen: Observed) -> Vec<String> {
    let told = |step| match step {
        Step::CreateBranch { new, .. } => Some(format!("{} from {}", new.name, new.from)),
        Step::SwitchBranch { to } => Some(format!("to {to}")),
        Step::Open(_) => Some("open".to_owned()),
        _ => None,
    };
    planned(resource, seen).into_iter().filter_map(told).collect()
}

#[test]
fn an_open_database_makes_each_missing_branch_after_the_one_that_it_comes_from() {
    let resource = with_branches(&[("c", "b"), ("a", "main"), ("b", "a"), ("old", "main")]);
    let seen = Observed { made: [branch("old")].into(), ..served() };
    assert_eq!(about_branches(&resource, seen), ["a from main", "b from a", "c from b"]);
    let all = ["a", "b", "c", "old"].map(branch).into();
    assert_eq!(planned(&resource, Observed { made: all, ..served() }), []);
}

#[test]
fn branches_that_come_from_each_other_are_tried_so_that_the_missing_source_is_told() {
    assert_eq!(about_branches(&with_branches(&[("a", "b"), ("b", "a")]), served()).len(), 2);
}

#[test]
fn a_database_opens_on_its_branch_once_that_and_what_it_comes_from_are_made() {
    let resource = with_branches(&[("next", "base"), ("base", "main"), ("other", "next")]);
    let closed = Observed { config: Ok(on("next")), ..seen() };
    assert_eq!(about_branches(&resource, closed.clone()), ["base from main", "next from base", "open"]);
    let made = Observed { made: [branch("base"), branch("next")].into(), ..closed };
    assert_eq!(about_branches(&resource, made), ["open"]);
    let on_main = Observed { config: Ok(on("main")), ..seen() };
    assert_eq!(about_branches(&resource, on_main), ["open"], "the rest follows once main is there");
}

#[test]
fn another_branch_in_the_spec_is_a_switch_after_the_branches_are_made() {
    let resource = with_branches(&[("next", "main")]);
    let changed = Observed { config: Ok(on("next")), applied: Some(on("main")), ..served() };
    assert_eq!(about_branches(&resource, changed.clone()), ["next from main", "to next"]);
    assert_eq!(planned(&resource, changed.clone()).first(), Some(&Step::Reconfigure(Box::new(on("next")))));
    let arrived = Facts { branch: branch("next"), ..facts() };
    let there = Observed { hosted: State::Open(arrived), applied: Some(on("next")), made: [branch("next")].into(), ..changed };
    assert_eq!(about_branches(&resource, there.clone()), Vec::<String>::new());
    assert_eq!(planned(&resource, there), [Step::ListBranches], "what was listed was another tenure's");
}

#[test]
fn a_branch_that_was_chosen_by_hand_stays_until_the_spec_names_another() {
    let by_hand = Facts { branch: branch("tried"), by_hand: true, ..facts() };
    assert_eq!(about_branches(&resource(json!({})), Observed { hosted: State::Open(by_hand), ..served() }), Vec::<String>::new());
}

#[test]
fn a_branch_that_cannot_be_made_is_told_and_what_serves_goes_on() {
    let error = engine::Error::BranchNotFound { database: name(), branch: branch("base") };
    let error: Result<(), Error> = Err(Error::Branch(Arc::new(error)));
    let serving = Verdict::Serving { but: None }.after(&resource(json!({})), &error);
    let Verdict::Serving { but: Some(problem) } = serving else { panic!("it serves") };
    assert_eq!(problem.reason, Reason::BranchNotFound);
    assert_eq!(reason_of(&Verdict::Restoring.after(&resource(json!({})), &error)), Some(Reason::BranchNotFound));
}

#[test]
fn an_asked_flush_is_done_once_for_each_value() {
    let asking = resource(json!({"metadata": {"annotations": {FLUSH_REQUESTED_AT: "noon"}}}));
    assert_eq!(planned(&asking, served()), [Step::Flush { request: "noon".to_owned() }]);
    assert_eq!(planned(&asking, Observed { flush_handled: Some("noon".to_owned()), ..served() }), []);
    assert_eq!(planned(&asking, Observed { flush_handled: Some("dawn".to_owned()), config: Err(missing()), ..served() }).len(), 1);
    assert_eq!(planned(&asking, Observed { hosted: State::Opening, ..seen() }), [], "there is nothing to flush yet");
}

#[test]
fn a_deleted_resource_is_flushed_with_what_is_in_memory_then_let_go() {
    let gone = deleted(json!({}));
    for config in [Ok(config()), Err(missing())] {
        assert_eq!(planned(&gone, Observed { config: config.clone(), ..served() }), [Step::Close]);
        assert_eq!(planned(&gone, Observed { config, ..seen() }), [Step::RemoveFinalizer]);
    }
    assert_eq!(planned(&gone, Observed { hosted: State::Opening, ..seen() }), [Step::Close]);
    assert_eq!(planned(&gone, Observed { hosted: State::Closing, ..seen() }), []);
    let failed = Observed { hosted: failed(unreachable(), 1, second(0)), ..seen() };
    assert_eq!(planned(&gone, failed), [Step::Forget, Step::RemoveFinalizer]);
    assert_eq!(planned(&deleted(json!({"metadata": {"finalizers": ["other"]}})), seen()), [], "others' finalizers are theirs");
}

#[test]
fn a_final_flush_that_fails_names_the_way_to_give_up() {
    let seen = Observed { hosted: State::Open(Facts { uploads: failing(), pending: true, ..facts() }), ..served() };
    let Verdict::Closing { but: Some(problem) } = plan(&deleted(json!({})), &seen).verdict else { panic!("closing") };
    assert!(problem.message.contains(&format!("{FORCE_DELETE}={UID}")), "{}", problem.message);
    let error: Result<(), Error> = Err(Error::Engine(Arc::new(unreachable())));
    let after = Verdict::Closing { but: None }.after(&deleted(json!({})), &error);
    assert_eq!(reason_of(&after), Some(Reason::EndpointUnreachable));
}

#[test]
fn only_the_uid_of_this_very_resource_gives_up_what_is_not_saved() {
    let forced = |uid: &str| deleted(json!({"metadata": {"annotations": {FORCE_DELETE: uid}}}));
    assert_eq!(planned(&forced(UID), served()), [Step::Abandon, Step::RemoveFinalizer]);
    assert_eq!(planned(&forced("an-earlier-one"), served()), [Step::Close]);
    let not_deleted = resource(json!({"metadata": {"annotations": {FORCE_DELETE: UID}}}));
    assert_eq!(planned(&not_deleted, served()), []);
}

#[test]
fn a_failed_request_to_the_cluster_does_not_take_a_serving_database_down() {
    let error: Result<(), Error> = Err(Error::WatchEnded);
    assert!(matches!(Verdict::Serving { but: None }.after(&resource(json!({})), &error), Verdict::Serving { but: Some(_) }));
    assert_eq!(reason_of(&Verdict::Restoring.after(&resource(json!({})), &error)), Some(Reason::ClusterRequestFailed));
}

fn any_state() -> impl Strategy<Value = State> {
    let uploads = prop_oneof![Just(Uploads::Fine), Just(failing())];
    let open = (any::<bool>(), uploads).prop_map(|(pending, uploads)| State::Open(Facts { pending, uploads, ..facts() }));
    let error = prop_oneof![Just(unreachable()), Just(corrupt(Previous::Absent)), Just(of_bucket(bucket::Error::NoSuchBucket))];
    let failed = (error, 0..20_u32, -1000..1000_i64).prop_map(|(error, attempts, at)| failed(error, attempts, second(at)));
    prop_oneof![Just(State::Absent), Just(State::Opening), Just(State::Closing), open, failed]
}

prop_compose! {
    fn any_seen()(
        hosted in any_state(), is_resolved in any::<bool>(), is_applied in any::<bool>(), has_rival in any::<bool>(),
        connection in prop_oneof![Just(Connection::Current), Just(Connection::Unknown), Just(Connection::Stale(Contents::default()))],
    ) -> Observed {
        Observed {
            config: if is_resolved { Ok(config()) } else { Err(missing()) },
            applied: is_applied.then(config),
            rival: has_rival.then(|| DatabaseName::new("apps", "older")),
            hosted, connection, ..seen()
        }
    }
}

prop_compose! {
    fn any_resource()(is_deleted in any::<bool>(), has_finalizer in any::<bool>(), forced in prop_oneof![Just(None), Just(Some("x")), Just(Some(UID))])
        -> BucketDatabase
    {
        let mut resource = if is_deleted { deleted(json!({})) } else { resource(json!({})) };
        if !has_finalizer {
            resource.metadata.finalizers = None;
        }
        if let Some(uid) = forced {
            resource.annotations_mut().insert(FORCE_DELETE.to_owned(), uid.to_owned());
        }
        resource
    }
}

proptest! {
    #[test]
    fn nothing_unsaved_is_ever_given_up_without_the_annotation(resource in any_resource(), seen in any_seen()) {
        let plan = plan(&resource, &seen);
        let may_give_up = resource.metadata.deletion_timestamp.is_some() && is_forced(&resource);
        let may_hold_commits = matches!(seen.hosted, State::Open(_) | State::Opening | State::Closing);
        prop_assert!(may_give_up || !plan.steps.contains(&Step::Abandon));
        prop_assert!(may_give_up || !may_hold_commits || !plan.steps.contains(&Step::RemoveFinalizer));
        prop_assert!(plan.look_again <= LOOK_AGAIN);
    }

    #[test]
    fn nothing_is_opened_without_its_finalizer_nor_beside_a_rival(resource in any_resource(), seen in any_seen()) {
        let plan = plan(&resource, &seen);
        if plan.steps.contains(&open_step()) {
            prop_assert!(has_finalizer(&resource) || plan.steps.first() == Some(&Step::AddFinalizer));
            prop_assert!(seen.rival.is_none() && resource.metadata.deletion_timestamp.is_none());
        }
    }
}

/// What the quota of `apps` leaves to `apps/orders`, which has so much and asks for 1Mi, beside an older one of 1Mi.
fn share_of(held: Option<u64>, bytes: &str) -> Share {
    use crate::quota::{Claim, Quotas, share};
    let quotas: Quotas = serde_json::from_value(json!({"default": {"bytes": bytes}})).unwrap();
    let quota = quotas.of("apps").unwrap();
    let (mine, mut older) = (resource(json!({"spec": {"limits": {"maxSize": "1Mi"}}})), resource(json!({"metadata": {"name": "older"}})));
    older.metadata.creation_timestamp = Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(second(0)));
    share(&quota, &mine, vec![Claim::of(&older, Some(1 << 20)), Claim::of(&mine, held)])
}

#[test]
fn what_does_not_fit_into_the_quota_is_not_opened_until_somebody_makes_room() {
    let seen = Observed { share: share_of(None, "1Mi"), ..seen() };
    let planned = plan(&resource(json!({})), &seen);
    assert_eq!((planned.steps, planned.look_again), (vec![], LOOK_AGAIN));
    let Verdict::Failed(problem) = &planned.verdict else { panic!("{:?}", planned.verdict) };
    assert_eq!((problem.reason, problem.stuck), (Reason::QuotaExceeded, true));
    assert_eq!(self::planned(&resource(json!({})), Observed { share: share_of(None, "2Mi"), ..seen }), [open_step()]);
}

#[test]
fn what_is_open_goes_on_when_its_quota_shrinks() {
    let plan = plan(&resource(json!({})), &Observed { share: share_of(Some(1 << 20), "1Mi"), ..served() });
    assert_eq!((plan.steps, plan.verdict), (vec![], Verdict::Serving { but: None }));
}

#[test]
fn growth_that_does_not_fit_is_told_and_not_taken_over() {
    let mut had = config();
    had.limits.max_size = 1 << 10;
    let seen = Observed { share: share_of(Some(1 << 10), "1Mi"), applied: Some(had.clone()), ..served() };
    let planned = plan(&resource(json!({})), &seen);
    assert_eq!((planned.steps, reason_of(&planned.verdict)), (vec![], Some(Reason::QuotaExceeded)));
    let restarted = Observed { hosted: State::Absent, applied: None, ..seen };
    assert_eq!(self::planned(&resource(json!({})), restarted), [Step::Open(Box::new(had))], "after a restart with what it had, too");
}
