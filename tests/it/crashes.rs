//! The operator is killed right after each single step of everything that it does, and a new one on the same API server and bucket brings
//! it to the right end: nothing is lost, and nothing is done twice.
//!
//! A [`Scenario`] says what is asked and what the right end is. It is run once undisturbed, which tells its steps, and then once for each
//! of them with the operator killed after it. A step of the controller that no scenario comes by fails the test.

mod operator;
mod scenarios;

use std::collections::BTreeSet;
use std::pin::Pin;

use futures::future::join_all;

use self::operator::InProcess;
use crate::support::{DATABASE, Namespace, Place, Resource, ServedBy};

const KEY: &str = "apps/orders.db";

/// Something that is asked of the operator.
trait Scenario: Copy {
    /// Short: namespaces and buckets are named after it.
    const NAME: &'static str;

    /// Whether Jobs must be run.
    const HAS_JOBS: bool = false;

    /// What stands before. The operator is not disturbed yet.
    fn before(self, stage: &Stage, operator: &InProcess) -> impl Future<Output = ()>;

    /// Asks for it, and waits for nothing.
    fn ask(self, stage: &Stage) -> impl Future<Output = ()>;

    /// Waits until it is done, and looks at everything that matters.
    fn end(self, stage: &Stage, operator: &InProcess) -> impl Future<Output = ()>;
}

/// Where one run takes place.
struct Stage {
    namespace: Namespace,
    place: Place,
}

impl Stage {
    async fn create(name: String) -> Self {
        // Tests end with their process, and a namespace is named for as long.
        let (namespace, place) = Namespace::with_place(name.leak(), ServedBy::Minio).await;
        Self { namespace, place }
    }

    /// The database that everything is about, saved only when asked.
    fn database(&self) -> Resource {
        Resource::database(DATABASE, &self.place, KEY)
    }

    async fn apply(&self, resource: Resource) {
        self.namespace.apply(&resource).await;
    }

    /// Deletes it, and waits for nothing.
    async fn delete(&self) {
        self.namespace.kubectl(&["delete", "bucketdatabase", DATABASE, "--wait=false"]).await;
    }

    async fn gone(&self) {
        self.namespace.kubectl(&["wait", "--for=delete", &format!("bucketdatabase/{DATABASE}"), "--timeout=60s"]).await;
    }
}

/// One run. Answers with the steps, as far as it came undisturbed.
async fn run<S: Scenario>(scenario: S, kill_after: Option<usize>) -> Vec<&'static str> {
    let stage = Stage::create(format!("crash-{}-{}", S::NAME, kill_after.unwrap_or_default())).await;
    let mut operator = InProcess::start(stage.namespace.name());
    let _kubelet = S::HAS_JOBS.then(|| stage.namespace.kubelet());
    scenario.before(&stage, &operator).await;
    operator.count(kill_after);
    scenario.ask(&stage).await;
    let stopped = operator.stopped();
    let undisturbed = Box::pin(async {
        scenario.end(&stage, &operator).await;
        operator.finish().await;
    });
    tokio::select! {
        () = stopped => {}
        // Also if there were fewer steps this time: one that met somebody else's write was repeated in the first run.
        () = undisturbed => return operator.steps(),
    }
    let steps = operator.steps();
    operator.kill();
    let next = InProcess::start(stage.namespace.name());
    scenario.end(&stage, &next).await;
    steps
}

/// Once undisturbed, then once for each step.
async fn survive<S: Scenario>(scenario: S) -> BTreeSet<&'static str> {
    let steps = run(scenario, None).await;
    assert!(!steps.is_empty(), "{}: nothing was done", S::NAME);
    for last in 1..=steps.len() {
        let done = tokio::time::timeout(std::time::Duration::from_mins(2), run(scenario, Some(last))).await;
        assert!(done.is_ok(), "{}: killed after step {last} of {steps:?}, it does not come to its end", S::NAME);
    }
    steps.into_iter().collect()
}

#[tokio::test]
async fn killed_after_any_step_of_anything_it_comes_to_the_right_end() {
    let all: Vec<Pin<Box<dyn Future<Output = BTreeSet<&str>>>>> = vec![
        Box::pin(survive(scenarios::Create)),
        Box::pin(survive(scenarios::Change)),
        Box::pin(survive(scenarios::Suspend)),
        Box::pin(survive(scenarios::Resume)),
        Box::pin(survive(scenarios::Retain)),
        Box::pin(survive(scenarios::Delete)),
        Box::pin(survive(scenarios::Force)),
        Box::pin(survive(scenarios::DeleteFailed)),
        Box::pin(survive(scenarios::CollectGarbage)),
        Box::pin(survive(scenarios::Promote)),
        Box::pin(survive(scenarios::Leave)),
        Box::pin(survive(scenarios::Expose)),
        Box::pin(survive(scenarios::Hide)),
        Box::pin(survive(scenarios::Rotate)),
        Box::pin(survive(scenarios::ApplyAgain)),
    ];
    let covered: BTreeSet<&str> = join_all(all).await.into_iter().flatten().collect();
    let missed: Vec<&str> = controller::step_names().filter(|step| !covered.contains(step)).collect();
    assert_eq!(missed, Vec::<&str>::new(), "steps that no scenario comes by: add one in crashes/scenarios.rs");
}
