//! What the folder's declarations do to the resources that are carried out: made, changed, refused, deleted. Pure.
//!
//! It keeps what the API server keeps in a cluster: generation, creation and deletion time, and the rule that immutable fields stay.

use std::collections::BTreeMap;

use engine::{DatabaseName, WallTime};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::folder::{Folder, Remark};
use super::manifest::asks_the_same;
use crate::crd::BucketDatabase;
use crate::plan::FINALIZER;

/// The resources that are carried out.
#[derive(Debug, Default)]
pub(super) struct Desired {
    resources: BTreeMap<DatabaseName, BucketDatabase>,
    /// Changes that were refused, so that each is told once.
    refused: BTreeMap<DatabaseName, BucketDatabase>,
    /// How many were made: tells resources of one name apart.
    made: u64,
}

impl Desired {
    /// Takes over what the folder declares now.
    pub(super) fn update(&mut self, folder: &Folder, now: WallTime) -> Vec<Remark> {
        let declared = folder.databases();
        for (name, resource) in &mut self.resources {
            if !declared.contains_key(name) {
                resource.metadata.deletion_timestamp.get_or_insert(Time(now));
            }
        }
        self.refused.retain(|name, _| declared.contains_key(name));
        declared.into_iter().filter_map(|(name, (file, resource))| self.declare(name, file, resource, now)).collect()
    }

    fn declare(&mut self, name: DatabaseName, file: &str, asked: &BucketDatabase, now: WallTime) -> Option<Remark> {
        match self.resources.get_mut(&name) {
            None => {
                self.made += 1;
                self.resources.insert(name, made(asked, self.made, now));
                None
            }
            // It is made anew once its last flush is done.
            Some(resource) if resource.metadata.deletion_timestamp.is_some() => None,
            Some(resource) if asks_the_same(resource, asked) => {
                self.refused.remove(&name);
                None
            }
            Some(resource) => match asked.validate_cel_update(resource) {
                Ok(()) => {
                    change(resource, asked);
                    self.refused.remove(&name);
                    None
                }
                Err(errors) => {
                    let is_told = self.refused.get(&name).is_some_and(|refused| asks_the_same(refused, asked));
                    let problem = format!("BucketDatabase {name}: {errors}; what it asked for before stays in force");
                    self.refused.insert(name, asked.clone());
                    (!is_told).then(|| Remark::Refused { file: file.to_owned(), problem })
                }
            },
        }
    }

    /// A deleted resource whose last flush is done.
    pub(super) fn let_go(&mut self, name: &DatabaseName) {
        self.resources.remove(name);
    }

    /// All of them.
    pub(super) fn resources(&self) -> &BTreeMap<DatabaseName, BucketDatabase> {
        &self.resources
    }
}

fn made(asked: &BucketDatabase, number: u64, now: WallTime) -> BucketDatabase {
    let mut resource = asked.clone();
    resource.metadata.uid = Some(number.to_string());
    resource.metadata.generation = Some(1);
    resource.metadata.creation_timestamp = Some(Time(now));
    resource.metadata.finalizers = Some(vec![FINALIZER.to_owned()]);
    resource.metadata.deletion_timestamp = None;
    resource.status = None;
    resource
}

fn change(resource: &mut BucketDatabase, asked: &BucketDatabase) {
    if resource.spec != asked.spec {
        resource.metadata.generation = resource.metadata.generation.map(|generation| generation + 1);
    }
    resource.spec = asked.spec.clone();
    resource.metadata.annotations.clone_from(&asked.metadata.annotations);
}

#[cfg(test)]
mod tests;
