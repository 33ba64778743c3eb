//! From whatever is observed, the steps lead to a state in which there is nothing left to do, and no step takes the only copy of data.
//!
//! The world around the plan is a model: each step does what it says, what the host reports comes about, time passes between looks.

use engine::{BranchFacts, BranchRemains, Etag, Fate, GcStage, GcSummary, Listing, MadeBy, OnLeave, Overwritten, Remains};

use super::lineage::{End, Listed, Settlement};
use super::*;
use crate::crd::{BucketDatabaseStatus, FilesStatus, Promotion};
use crate::gc::Run;
use crate::objects::gc_job::{Job, JobEnd, JobState};
use crate::problem::FIRST_PAUSE;

/// As many looks as any way to rest takes, and some more.
const LOOKS: usize = 30;

/// In seconds: so long a branch stays that has left the list. No walk takes longer.
const YEAR: i64 = 365 * 24 * 3600;

/// What the plan sees, and what it cannot see: whether there are commits that are nowhere else.
#[derive(Debug, Clone)]
struct World {
    resource: BucketDatabase,
    seen: Observed,
    is_unsaved: bool,
    is_gone: bool,
    /// Branches besides `main`, as the bucket has them.
    branches: Vec<BranchFacts>,
    /// Those whose deletion was cut off.
    half_deleted: Vec<(BranchName, WallTime)>,
    /// How often the promotion fails before it succeeds.
    failures: u32,
    promoted: u32,
}

impl World {
    fn new(resource: BucketDatabase, seen: Observed) -> Self {
        let is_unsaved = matches!(seen.hosted, State::Open(_) | State::Closing);
        let (branches, half_deleted) = (Vec::new(), Vec::new());
        Self { resource, seen, is_unsaved, is_gone: false, branches, half_deleted, failures: 0, promoted: 0 }
    }

    /// Looks, does what the plan says, and lets the time pass that it asks for. `true` if there was nothing to do.
    fn look(&mut self) -> bool {
        self.seen.remains = wants_survey(&self.resource, &self.seen.hosted).then(|| Ok(self.remains()));
        let plan = plan(&self.resource, &self.seen);
        for step in &plan.steps {
            self.carry_out(step);
        }
        self.seen.said = Some(plan.verdict);
        let is_idle = plan.steps.is_empty() && !self.come_about() && !self.waits_for_promotion();
        let next_run = gc::next_run(&self.status(), self.seen.now);
        // Looks between now and the next run would find the same.
        self.seen.now += if is_idle && next_run < Duration::MAX { next_run } else { plan.look_again };
        is_idle && next_run == Duration::MAX
    }

    /// A try that failed is made again after a pause.
    fn waits_for_promotion(&self) -> bool {
        let settled = self.seen.lineage.promotion.as_ref();
        matches!(self.seen.hosted, State::Open(_)) && matches!(settled, Some(Settlement { end: End::Failed { pause: Some(_), .. }, .. }))
    }

    fn status(&self) -> BucketDatabaseStatus {
        BucketDatabaseStatus { files: Some(self.seen.gc.files.clone()), ..BucketDatabaseStatus::default() }
    }

    /// What the host and the cluster do by themselves. `true` if anything changed.
    fn come_about(&mut self) -> bool {
        let (has_moved, has_run) = (self.host_moves(), self.job_runs());
        has_moved || has_run
    }

    fn job_runs(&mut self) -> bool {
        match &mut self.seen.gc.jobs {
            gc::Jobs::Known { mine: Some(Job { state, .. }), .. } if *state == JobState::Starting => {
                *state = JobState::Ended { end: JobEnd::Succeeded, at: self.seen.now };
                true
            }
            _ => false,
        }
    }

    fn host_moves(&mut self) -> bool {
        let next = match (&self.seen.hosted, &self.seen.applied) {
            (State::Opening, Some(config)) => {
                self.is_unsaved = true;
                State::Open(Facts { branch: config.location.branch.clone(), ..facts() })
            }
            // Somebody else's, which this process forgot.
            (State::Opening, None) => State::Absent,
            (State::Closing, _) => {
                self.is_unsaved = false;
                State::Absent
            }
            _ => return false,
        };
        self.seen.hosted = next;
        true
    }

    fn remains(&self) -> Remains {
        let remains = |name: &BranchName, made_by| BranchRemains {
            name: name.clone(),
            is_deleted: false,
            has_objects: true,
            made_by,
            held_by: None,
            served_by: None,
            takes_from: None,
            done: Vec::new(),
        };
        let others = self.branches.iter().map(|branch| remains(&branch.name, if branch.made_here { MadeBy::Us } else { MadeBy::Unknown }));
        Remains { branches: [remains(&BranchName::main(), MadeBy::Us)].into_iter().chain(others).collect(), has_rest: true }
    }

    fn carry_out(&mut self, step: &Step) {
        assert!(!self.is_gone, "nothing is done for a resource that was let go: {step:?}");
        if changes_branches(step) {
            self.seen.lineage.listed = None;
        }
        match step {
            Step::AddFinalizer => self.resource.metadata.finalizers = Some(vec![FINALIZER.to_owned()]),
            Step::EnsureConnectionSecret(_) => self.seen.connection = Connection::Current,
            Step::EnsureService { .. } | Step::EnsureEndpoints { .. } => self.ensure(step),
            Step::RemoveService { .. } | Step::RemoveEndpoints { .. } => self.remove(step),
            Step::CreateBranch { new, .. } => {
                self.seen.made.insert(new.name.clone());
                if !self.branches.iter().any(|branch| branch.name == new.name) {
                    self.branches.push(made_here(&new.name, Fate { policy: new.policy, leaving: None }));
                }
            }
            Step::Promote { to, at, .. } => self.promote(to, *at),
            Step::NoteFate { name, fate } => self.branch(name).fate = *fate,
            Step::DeleteLeaving { name, since } => self.delete_leaving(name, *since),
            Step::ListBranches => {
                let State::Open(facts) = &self.seen.hosted else { panic!("listed while it is not open") };
                let found = Listing { branches: self.branches.clone(), half_deleted: self.half_deleted.clone() };
                self.seen.lineage.listed = Some(Listed { found, serving: (facts.branch.clone(), facts.epoch) });
            }
            Step::SwitchBranch { to } => match &mut self.seen.hosted {
                State::Open(facts) => facts.branch = to.clone(),
                hosted => panic!("a switch of what is not open: {hosted:?}"),
            },
            Step::Open(config) => {
                assert!(has_finalizer(&self.resource), "opened without the finalizer");
                assert!(!self.is_unsaved, "opened over what is not saved");
                self.seen.applied = Some((**config).clone());
                self.seen.hosted = State::Opening;
            }
            Step::Reconfigure(config) => self.seen.applied = Some((**config).clone()),
            Step::Flush { request } => self.seen.flush_handled = Some(request.clone()),
            Step::Gc(work) => self.collect(work),
            Step::Close => self.rest(State::Absent),
            Step::Suspend(config) => {
                self.seen.applied = Some((**config).clone());
                self.rest(State::Suspended { released: true, last_snapshot: None });
            }
            Step::Abandon => {
                assert!(is_forced(&self.resource), "given up without the annotation");
                self.rest(State::Absent);
            }
            Step::Forget => {
                assert!(
                    matches!(self.seen.hosted, State::Failed { .. } | State::Suspended { .. } | State::Absent),
                    "{:?}",
                    self.seen.hosted
                );
                self.seen.hosted = State::Absent;
            }
            Step::DeleteBranch { name, .. } => {
                self.ends_with_its_resource();
                self.branches.retain(|branch| {
                    assert!(branch.name != *name || branch.made_here, "deleted what somebody else made");
                    branch.name != *name
                });
                assert!(!name.is_main() || self.branches.is_empty(), "main goes last");
            }
            Step::DeleteRest(_) => self.ends_with_its_resource(),
            Step::Tell(_) => {}
            Step::RemoveFinalizer => {
                assert!(!self.is_unsaved, "let go with commits that are nowhere else");
                self.is_gone = true;
            }
        }
    }

    /// The first run of a chain marks something, the one after it deletes that.
    fn collect(&mut self, work: &gc::Work) {
        let (now, gc) = (self.seen.now, &mut self.seen.gc);
        match work {
            gc::Work::Start(start) => {
                let is_told = |job: &Job| gc.files.gc_job.as_ref() == Some(&job.uid);
                assert!(
                    matches!(&gc.jobs, gc::Jobs::Known { mine, .. } if mine.as_ref().is_none_or(is_told)),
                    "one at a time: {:?}",
                    gc.jobs
                );
                gc.handled = start.run.request.clone().or(gc.handled.take());
                gc.jobs = running(start.run.clone(), now);
                gc.files.last_gc = None;
            }
            gc::Work::Take(job) => {
                let is_first = job.run.number == 1;
                let stage = if is_first { GcStage::Marked } else { GcStage::Deleted };
                let found = GcSummary { marked: is_first.into(), ..gc_summary(stage, Some(now + Duration::from_hours(1))) };
                gc.files.gc_job = Some(job.uid.clone());
                gc.files.last_gc = Some(gc_status(stage, job.run.number, job.run.next(&found)));
            }
            gc::Work::Inspect(_) => gc.inspected = Some(now),
        }
    }

    fn ends_with_its_resource(&self) {
        let resource = &self.resource;
        assert!(resource.spec.deletion_policy == crate::crd::DeletionPolicy::Delete && resource.metadata.deletion_timestamp.is_some());
        assert!(!self.is_unsaved, "deleted while it is served");
    }

    fn promote(&mut self, to: &BranchName, at: WallTime) {
        assert!(matches!(self.seen.hosted, State::Open(_)), "promoted while it is not open");
        let asked = self.resource.spec.promotion.clone().expect("it was asked for");
        let digest = promotion::digest(&asked);
        let end = if self.failures == 0 {
            self.promoted += 1;
            let done = Overwritten { txid: 9, time: at, from: None, before: 8, snapshot: None };
            promotion::applied(&asked, &done).end
        } else {
            self.failures -= 1;
            let problem = Problem::passing(Reason::BranchNotFound, to.to_string());
            End::Failed { problem, attempts: 1, at, pause: Some(FIRST_PAUSE) }
        };
        self.seen.lineage.promotion = Some(Settlement { digest, end });
    }

    fn branch(&mut self, name: &BranchName) -> &mut BranchFacts {
        self.branches.iter_mut().find(|branch| branch.name == *name).expect("it is there")
    }

    fn delete_leaving(&mut self, name: &BranchName, since: WallTime) {
        let spec = &self.resource.spec;
        assert!(spec.branch != name.as_str() && !spec.branches.iter().any(|declared| declared.name == name.as_str()), "it is wanted");
        if let State::Open(facts) = &self.seen.hosted {
            assert!(facts.branch != *name, "it is served");
        }
        let is_source = |asked: &Promotion| asked.from.branch == name.as_str() && self.promoted == 0;
        let is_half_deleted = self.half_deleted.iter().any(|half| half.0 == *name);
        assert!(is_half_deleted || !spec.promotion.as_ref().is_some_and(is_source), "its content is still to be promoted");
        self.half_deleted.retain(|half| half.0 != *name);
        self.branches.retain(|branch| {
            let goes = branch.name == *name;
            assert!(!goes || (branch.made_here && branch.fate.leaving == Some(since)), "it did not leave, or was never ours: {branch:?}");
            !goes
        });
    }

    fn ensure(&mut self, step: &Step) {
        let OwnService::Asked { service, endpoints } = &mut self.seen.service else { panic!("nobody asks for {step:?}") };
        let (stand, over) = match step {
            Step::EnsureService { over } => (service, over),
            Step::EnsureEndpoints { over } => (endpoints, over),
            other => panic!("{other:?}"),
        };
        match (&*stand, over) {
            (Stand::Missing, None) => {}
            (Stand::Stale(uid), Some(over)) if uid == over => {}
            (stand, _) => panic!("the API server refuses {step:?} over {stand:?}"),
        }
        *stand = Stand::Current;
    }

    fn remove(&mut self, step: &Step) {
        match (step, &mut self.seen.service) {
            (Step::RemoveService { uid }, OwnService::Asked { service: stand, .. })
            | (Step::RemoveEndpoints { uid }, OwnService::Asked { endpoints: stand, .. }) => {
                assert_eq!(*stand, Stand::Misfit(uid.clone()), "only what cannot be changed goes");
                *stand = Stand::Missing;
            }
            (Step::RemoveService { uid }, OwnService::Surplus { service: found, .. })
            | (Step::RemoveEndpoints { uid }, OwnService::Surplus { endpoints: found, .. }) => assert_eq!(found.take().as_ref(), Some(uid)),
            (step, service) => panic!("{step:?} with {service:?}"),
        }
        if self.seen.service == (OwnService::Surplus { service: None, endpoints: None }) {
            self.seen.service = OwnService::None;
        }
    }

    /// Nothing is in memory any more.
    fn rest(&mut self, hosted: State) {
        self.seen.hosted = hosted;
        self.is_unsaved = false;
    }
}

fn running(run: Run, created: WallTime) -> gc::Jobs {
    let job = Job { uid: format!("job-{}-{created}", run.number), run, created, ..gc_job() };
    gc::Jobs::Known { mine: Some(job), begun: false, elsewhere: None }
}

/// Somebody asks for a run, one goes on after another, one was begun and its end is not told.
fn any_gc() -> impl Strategy<Value = (Option<&'static str>, gc::Seen)> {
    (prop_oneof![Just(None), Just(Some("noon"))], any::<bool>(), any::<bool>()).prop_map(|(asked, is_running, goes_on)| {
        let last_gc = goes_on.then(|| gc_status(GcStage::Marked, 1, Some(second(600))));
        let jobs = if is_running { running(Run::first(asked.map(str::to_owned)), second(0)) } else { gc::Jobs::NONE };
        (asked, gc::Seen { jobs, files: FilesStatus { last_gc, ..FilesStatus::default() }, ..gc::Seen::default() })
    })
}

fn made_here(name: &BranchName, fate: Fate) -> BranchFacts {
    BranchFacts {
        name: name.clone(),
        txid: 1,
        size: 4096,
        etag: Etag::new("e"),
        last_modified: None,
        parent: None,
        holder: None,
        made_here: true,
        fate,
    }
}

prop_compose! {
    /// One that this resource may have made, at any point of its leaving.
    fn any_branch()(
        name in prop_oneof![Just("next"), Just("aside")], is_ours in any::<bool>(), deletes in any::<bool>(),
        leaving in prop_oneof![Just(None), Just(Some(-2 * YEAR)), Just(Some(YEAR))],
    ) -> BranchFacts {
        let policy = if deletes { OnLeave::Delete } else { OnLeave::Retain };
        let fate = Fate { policy, leaving: leaving.filter(|_| deletes).map(second) };
        BranchFacts { made_here: is_ours, ..made_here(&BranchName::parse(name).unwrap(), fate) }
    }
}

prop_compose! {
    /// What becomes of branches, and a promotion that may fail a few times.
    fn any_lineage()(
        branch in prop::option::of(any_branch()), half_deleted in any::<bool>(), is_listed in any::<bool>(),
        from in prop::option::of(prop_oneof![Just("next"), Just("aside")]), failures in 0_u32..3,
    ) -> (Vec<BranchFacts>, Vec<(BranchName, WallTime)>, bool, Option<&'static str>, u32) {
        let half_deleted = half_deleted.then(|| (BranchName::parse("gone").unwrap(), second(-2 * YEAR)));
        (branch.into_iter().collect(), half_deleted.into_iter().collect(), is_listed, from, failures)
    }
}

fn any_service() -> impl Strategy<Value = OwnService> {
    let stand = || {
        prop_oneof![Just(Stand::Missing), Just(Stand::Current), Just(Stand::Stale("old".to_owned())), Just(Stand::Misfit("old".to_owned())),]
    };
    let found = || proptest::option::of(Just("old".to_owned()));
    prop_oneof![
        Just(OwnService::None),
        (stand(), stand()).prop_map(|(service, endpoints)| OwnService::Asked { service, endpoints }),
        (found(), found()).prop_map(|(service, endpoints)| OwnService::Surplus { service, endpoints }),
        Just(OwnService::Refused(missing())),
        Just(OwnService::Unknown(missing())),
    ]
}

prop_compose! {
    fn any_world()(
        resource in any_resource(), seen in any_seen(), suspend in any::<bool>(), deletes in any::<bool>(), flush in any::<bool>(),
        switches in any::<bool>(), released in any::<bool>(), is_suspended in any::<bool>(), (collect, gc) in any_gc(),
        (branches, half_deleted, is_listed, from, failures) in any_lineage(),
        service in any_service(),
    ) -> World {
        let (mut resource, mut seen) = (resource, seen);
        resource.spec.suspend = suspend;
        seen.service = service;
        if deletes {
            resource.spec.deletion_policy = crate::crd::DeletionPolicy::Delete;
        }
        if flush {
            resource.annotations_mut().insert(FLUSH_REQUESTED_AT.to_owned(), "noon".to_owned());
        }
        if let Some(collect) = collect {
            resource.annotations_mut().insert(gc::GC_REQUESTED_AT.to_owned(), collect.to_owned());
        }
        seen.gc = gc;
        if switches {
            let branch = |name: &str, from: &str| serde_json::from_value(json!({"name": name, "from": from})).unwrap();
            resource.spec.branches = vec![branch("later", "next"), branch("next", "main")];
            resource.spec.branch = "next".to_owned();
            if let Ok(config) = &mut seen.config {
                config.location.branch = BranchName::parse("next").unwrap();
            }
        }
        if is_suspended {
            seen.hosted = State::Suspended { released, last_snapshot: None };
        }
        // What may hold commits was opened after the finalizer was there.
        if matches!(seen.hosted, State::Open(_) | State::Closing | State::Opening) {
            resource.metadata.finalizers = Some(vec![FINALIZER.to_owned()]);
        }
        resource.spec.durability.retention = serde_json::from_value(json!("8760h")).unwrap();
        if let Some(from) = from {
            resource.spec.promotion = Some(serde_json::from_value(json!({"id": "r-7", "from": {"branch": from}})).unwrap());
        }
        if let (State::Open(facts), true) = (&seen.hosted, is_listed) {
            let found = Listing { branches: branches.clone(), half_deleted: half_deleted.clone() };
            seen.lineage.listed = Some(Listed { found, serving: (facts.branch.clone(), facts.epoch) });
        }
        World { branches, half_deleted, failures, ..World::new(resource, seen) }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]
    #[test]
    fn from_any_observed_state_the_steps_lead_to_one_with_nothing_left_to_do(begun in any_world()) {
        let mut world = begun.clone();
        let rests = (0..LOOKS).any(|_| world.is_gone || world.look());
        prop_assert!(rests, "after {LOOKS} looks there is still something to do\nat the beginning: {begun:?}\nat the end: {world:?}");
        prop_assert!(world.promoted <= 1, "once for each block");
        // Nothing but time passes: nothing more is done, except that a failed open is tried again.
        let is_failed = matches!(world.seen.hosted, State::Failed { .. });
        prop_assert!(world.is_gone || is_failed || (world.look() && world.look()), "{world:?}");
    }
}
