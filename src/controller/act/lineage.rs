//! Carries out the steps that concern branches besides the one that is served. I/O only; decides nothing.

use std::sync::Arc;

use engine::{BranchName, Host, NewBranch, State};

use crate::crd::BucketDatabase;
use crate::error::Error;
use crate::memory::Memory;
use crate::plan::lineage::{End, Listed, Refused};
use crate::plan::{Step, changes_branches, name_of, promotion};
use crate::problem::Problem;

/// One of those steps. The others are none here.
pub(super) async fn run(host: &Arc<Host>, memory: &Memory, resource: &BucketDatabase, step: &Step) -> Result<(), Error> {
    let name = name_of(resource);
    if changes_branches(step) {
        // Before it begins: it may come half way.
        memory.update(resource, |known| known.lineage.listed = None);
    }
    match step {
        Step::CreateBranch { config, new } => match host.create_branch(config, new).await {
            Ok(_) => note_made(memory, resource, &new.name),
            Err(error) if matches!(*error, engine::Error::BranchExists { .. }) => note_made(memory, resource, &new.name),
            Err(error) => {
                note_refused(memory, resource, new, &error);
                return Err(Error::Branch(error));
            }
        },
        Step::SwitchBranch { to } => host.switch_branch(&name, to).await.map_err(Error::Branch)?,
        Step::Promote { to, request, at } => {
            let Some(asked) = &resource.spec.promotion else { return Ok(()) };
            let done = host.overwrite_branch(&name, to, (**request).clone()).await;
            let before = memory.lineage(resource, *at).promotion;
            let settlement = match &done {
                Ok(done) => promotion::applied(asked, done),
                Err(error) => promotion::failed(asked, before.as_ref(), &name, error, *at),
            };
            memory.update(resource, |known| known.lineage.promotion = Some(settlement.clone()));
            if let End::Failed { problem, .. } = settlement.end {
                return Err(Error::Promotion(problem));
            }
        }
        Step::NoteFate { name: branch, fate } => {
            host.note_fate(&name, branch, *fate).await.map_err(Error::Engine)?;
            tracing::info!(database = %name, %branch, ?fate, "noted what becomes of the branch");
        }
        Step::DeleteLeaving { name: branch, since } => {
            host.delete_leaving_branch(&name, branch, *since).await.map_err(Error::Engine)?;
            // Declared again it is asked for again, and refused.
            memory.update(resource, |known| {
                known.made.remove(branch);
            });
            tracing::info!(database = %name, %branch, %since, "deleted the branch, which is declared no more");
        }
        Step::ListBranches => {
            let found = host.branches(&name).await.map_err(Error::Engine)?;
            if let State::Open(facts) = host.state(&name) {
                let serving = (facts.branch, facts.epoch);
                memory.update(resource, |known| known.lineage.listed = Some(Listed { found, serving }));
            }
        }
        _ => {}
    }
    Ok(())
}

fn note_made(memory: &Memory, resource: &BucketDatabase, name: &BranchName) {
    memory.update(resource, |known| {
        known.made.insert(name.clone());
    });
}

/// What can only be refused again as it is declared is not asked for again.
fn note_refused(memory: &Memory, resource: &BucketDatabase, new: &NewBranch, error: &engine::Error) {
    let is_final = match error {
        engine::Error::BranchDeleted { .. } | engine::Error::BranchRefused { .. } | engine::Error::NoStateAt { .. } => true,
        engine::Error::NoSuchState { asked, newest, .. } => asked < newest,
        _ => false,
    };
    let declared = resource.spec.branches.iter().find(|declared| declared.name == new.name.as_str());
    if let (true, Some(declared)) = (is_final, declared.cloned()) {
        let refused = Refused { declared, problem: Problem::of(&name_of(resource), error) };
        memory.update(resource, |known| drop(known.lineage.refused.insert(new.name.clone(), refused)));
    }
}
