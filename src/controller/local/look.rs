//! One look at one resource of a folder: the cluster's look without a cluster.

use std::io;
use std::sync::Arc;

use engine::bucket::s3::StoreConfig;
use engine::{BucketName, DatabaseConfig, DatabaseName, Host};
use url::Url;

use super::gc;
use crate::act;
use crate::crd::{Auth, BucketDatabase, BucketDatabaseSpec, BucketDatabaseStatus, DeletionPolicy};
use crate::error::Error;
use crate::gc::News;
use crate::memory::Memory;
use crate::plan::{self, Connection, Observed, OwnService, Rotation, Step, Verdict};
use crate::problem::{FIRST_PAUSE, LOOK_AGAIN, Problem, doubled};
use crate::quota::Share;
use crate::reason::Reason;
use crate::resolve::{Defaults, Secrets, resolve};
use crate::rival::Neighbour;
use crate::status::{self, Said};
use crate::{events, objects};

/// Makes a bucket of the embedded store, if it is not there.
pub type MakeBucket = Arc<dyn Fn(&BucketName) -> io::Result<()> + Send + Sync>;

/// What all looks share.
pub(super) struct Looks {
    pub(super) host: Arc<Host>,
    pub(super) memory: Memory,
    pub(super) defaults: Defaults,
    pub(super) make_bucket: MakeBucket,
    pub(super) base_url: Url,
    pub(super) clock: Arc<dyn engine::Clock>,
}

/// What a look needs to know of the folder.
pub(super) struct Subject {
    pub(super) resource: BucketDatabase,
    pub(super) secrets: Secrets,
    pub(super) rival: Option<DatabaseName>,
    pub(super) neighbours: Vec<Neighbour>,
    /// Other databases that keep files at the same place.
    pub(super) sharers: Vec<DatabaseName>,
}

/// What came of a look.
pub(super) struct Looked {
    pub(super) status: BucketDatabaseStatus,
    /// What happened since the last one.
    pub(super) notices: Vec<events::Notice>,
    /// The resource was deleted, and its database is closed.
    pub(super) let_go: bool,
    /// It came to rest, and others may have its place.
    pub(super) freed: bool,
    /// At the latest.
    pub(super) look_again: std::time::Duration,
}

impl Looks {
    /// Brings one database closer to what its resource asks for.
    pub(super) async fn look(&self, subject: &Subject) -> Looked {
        let resource = &kept_in_the_folder(&subject.resource);
        let name = plan::name_of(resource);
        let mut seen = self.observe(subject);
        let plan = plan::plan(resource, &seen);
        let (done, result) = self.act(resource, &plan.steps).await;
        seen.lineage = self.memory.lineage(resource, seen.now);
        seen.held = self.memory.held(resource);
        let failures = self.memory.count_failure(&name, result.is_err());
        let asked = if result.is_ok() { plan.look_again_after(resource, &seen) } else { doubled(FIRST_PAUSE, failures, LOOK_AGAIN) };
        let verdict = plan.verdict.after(resource, &result);
        let (status, mut notices) = self.tell(resource, &seen, verdict, &done);
        let look_again = asked.min(plan::gc::next_run(&status, seen.now));
        notices.extend(done.told);
        if done.let_go {
            self.memory.forget(&name);
            if subject.resource.spec.deletion_policy == DeletionPolicy::Delete {
                notices.push(events::Notice::normal("ObjectsKept", "`dev` deletes nothing in the bucket, whatever deletionPolicy says"));
            }
        }
        Looked { status, notices, let_go: done.let_go, freed: done.freed, look_again }
    }

    fn observe(&self, subject: &Subject) -> Observed {
        let resource = &subject.resource;
        let remembered = self.memory.of(resource);
        let status = remembered.status.unwrap_or_default();
        Observed {
            now: self.clock.wall(),
            config: self.wanted(subject),
            applied: remembered.applied,
            made: remembered.made,
            lineage: self.memory.lineage(resource, self.clock.wall()),
            hosted: self.host.state(&plan::name_of(resource)),
            rival: subject.rival.clone(),
            neighbours: subject.neighbours.clone(),
            remains: None,
            held: self.memory.held(resource),
            share: Share::Whole,
            connection: Connection::NotNeeded,
            service: OwnService::None,
            rotation: Rotation::default(),
            said: remembered.said,
            troubled_since: status::troubled_since(&status),
            gc: gc::seen(subject, &status, remembered.gc_hindered),
            flush_handled: status.last_handled.and_then(|handled| handled.flush),
        }
    }

    fn wanted(&self, subject: &Subject) -> Result<DatabaseConfig, Problem> {
        if let Some(refused) = refused(&subject.resource.spec) {
            return Err(Problem::stuck(Reason::FieldNotSupported, refused));
        }
        let config = resolve(&subject.resource, &subject.secrets, &self.defaults)?;
        if self.is_embedded(&config.store) {
            (self.make_bucket)(&config.location.bucket).map_err(|error| {
                let message = format!("the bucket {} could not be made in the folder of --data: {error}", config.location.bucket);
                Problem::passing(Reason::InternalError, message)
            })?;
        }
        Ok(config)
    }

    fn is_embedded(&self, store: &StoreConfig) -> bool {
        self.defaults.store.as_ref().is_some_and(|embedded| embedded.endpoint == store.endpoint)
    }

    async fn act(&self, resource: &BucketDatabase, steps: &[Step]) -> (Done, Result<(), Error>) {
        let mut done = Done::default();
        for step in steps {
            if let Err(error) = act::on_host(&self.host, &self.memory, resource, step).await {
                return (done, Err(error));
            }
            match step {
                Step::Flush { request } => done.flushed = Some(request.clone()),
                Step::Gc(work) => done.gc = gc::run(self, resource, work).await,
                Step::RemoveFinalizer => done.let_go = true,
                Step::Suspend(_) => done.freed = true,
                Step::Tell(notice) => done.told.push(notice.clone()),
                _ => {}
            }
        }
        (done, Ok(()))
    }

    fn tell(
        &self,
        resource: &BucketDatabase,
        seen: &Observed,
        verdict: Verdict,
        done: &Done,
    ) -> (BucketDatabaseStatus, Vec<events::Notice>) {
        let previous = self.memory.of(resource).status.unwrap_or_default();
        let url = objects::url(resource, &self.base_url);
        let said =
            Said { verdict: &verdict, flushed: done.flushed.as_deref(), gc: done.gc.as_ref(), url: &url, host: "dev", binding: None };
        let status = status::next(resource, &previous, seen, &said);
        let notices = events::between(&previous, &status);
        self.memory.update(resource, |known| {
            known.status = Some(status.clone());
            known.said = Some(verdict);
        });
        (status, notices)
    }
}

/// What the spec asks for and cannot be here.
fn refused(spec: &BucketDatabaseSpec) -> Option<&'static str> {
    (spec.api.auth == Auth::Kubernetes).then_some("spec.api.auth: `dev` has no API server that knows tokens: write Token or None")
}

/// How far the steps came.
#[derive(Default)]
struct Done {
    flushed: Option<String>,
    gc: Option<News>,
    let_go: bool,
    freed: bool,
    told: Vec<events::Notice>,
}

/// A file that is gone is no wish to delete data: editors, `git checkout` and a slip of the hand take files away.
fn kept_in_the_folder(resource: &BucketDatabase) -> BucketDatabase {
    let mut resource = resource.clone();
    resource.spec.deletion_policy = DeletionPolicy::Retain;
    resource
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn without_an_api_server_nobody_knows_its_tokens() {
        let refused = |auth: &str| {
            let spec = json!({"bucket": "orders-data", "api": {"auth": auth}});
            refused(&serde_json::from_value(spec).unwrap())
        };
        assert_eq!((refused("Token"), refused("None")), (None, None));
        assert!(refused("Kubernetes").unwrap().starts_with("spec.api.auth: `dev` has no API server"));
    }
}
