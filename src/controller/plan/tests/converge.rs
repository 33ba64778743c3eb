//! From whatever is observed, the steps lead to a state in which there is nothing left to do, and no step takes the only copy of data.
//!
//! The world around the plan is a model: each step does what it says, what the host reports comes about, time passes between looks.

use engine::{BranchRemains, MadeBy, Remains};

use super::*;

/// As many looks as any way to rest takes, and some more.
const LOOKS: usize = 20;

/// What the plan sees, and what it cannot see: whether there are commits that are nowhere else.
#[derive(Debug, Clone)]
struct World {
    resource: BucketDatabase,
    seen: Observed,
    is_unsaved: bool,
    is_gone: bool,
}

impl World {
    fn new(resource: BucketDatabase, seen: Observed) -> Self {
        let is_unsaved = matches!(seen.hosted, State::Open(_) | State::Closing);
        Self { resource, seen, is_unsaved, is_gone: false }
    }

    /// Looks, does what the plan says, and lets the time pass that it asks for. `true` if there was nothing to do.
    fn look(&mut self) -> bool {
        self.seen.remains = deletion::wants_survey(&self.resource, &self.seen.hosted).then(|| Ok(self.remains()));
        let plan = plan(&self.resource, &self.seen);
        for step in &plan.steps {
            self.carry_out(step);
        }
        self.seen.said = Some(plan.verdict);
        self.seen.now += plan.look_again;
        plan.steps.is_empty() && !self.come_about()
    }

    /// What the host does by itself. `true` if anything changed.
    fn come_about(&mut self) -> bool {
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
        let main = BranchRemains {
            name: BranchName::main(),
            is_deleted: false,
            has_objects: true,
            made_by: MadeBy::Us,
            held_by: None,
            served_by: None,
            takes_from: None,
            done: Vec::new(),
        };
        Remains { branches: vec![main], has_rest: true }
    }

    fn carry_out(&mut self, step: &Step) {
        assert!(!self.is_gone, "nothing is done for a resource that was let go: {step:?}");
        match step {
            Step::AddFinalizer => self.resource.metadata.finalizers = Some(vec![FINALIZER.to_owned()]),
            Step::EnsureConnectionSecret { .. } => self.seen.connection = Connection::Current,
            Step::CreateBranch { name, .. } => drop(self.seen.made.insert(name.clone())),
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
                assert!(matches!(self.seen.hosted, State::Failed { .. } | State::Suspended { .. } | State::Absent), "{:?}", self.seen.hosted);
                self.seen.hosted = State::Absent;
            }
            Step::DeleteBranch { .. } | Step::DeleteRest(_) => {
                let resource = &self.resource;
                assert!(resource.spec.deletion_policy == crate::crd::DeletionPolicy::Delete && resource.metadata.deletion_timestamp.is_some());
                assert!(!self.is_unsaved, "deleted while it is served");
            }
            Step::Tell(_) => {}
            Step::RemoveFinalizer => {
                assert!(!self.is_unsaved, "let go with commits that are nowhere else");
                self.is_gone = true;
            }
        }
    }

    /// Nothing is in memory any more.
    fn rest(&mut self, hosted: State) {
        self.seen.hosted = hosted;
        self.is_unsaved = false;
    }
}

prop_compose! {
    fn any_world()(
        resource in any_resource(), seen in any_seen(), suspend in any::<bool>(), deletes in any::<bool>(), flush in any::<bool>(),
        switches in any::<bool>(), released in any::<bool>(), is_suspended in any::<bool>(),
    ) -> World {
        let (mut resource, mut seen) = (resource, seen);
        resource.spec.suspend = suspend;
        if deletes {
            resource.spec.deletion_policy = crate::crd::DeletionPolicy::Delete;
        }
        if flush {
            resource.annotations_mut().insert(FLUSH_REQUESTED_AT.to_owned(), "noon".to_owned());
        }
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
        World::new(resource, seen)
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]
    #[test]
    fn from_any_observed_state_the_steps_lead_to_one_with_nothing_left_to_do(begun in any_world()) {
        let mut world = begun.clone();
        let rests = (0..LOOKS).any(|_| world.is_gone || world.look());
        prop_assert!(rests, "after {LOOKS} looks there is still something to do\nat the beginning: {begun:?}\nat the end: {world:?}");
        // Nothing but time passes: nothing more is done, except that a failed open is tried again.
        let is_failed = matches!(world.seen.hosted, State::Failed { .. });
        prop_assert!(world.is_gone || is_failed || (world.look() && world.look()), "{world:?}");
    }
}
