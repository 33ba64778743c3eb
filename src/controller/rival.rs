//! Which of several resources may serve one place, and which have to do with one database. Pure.
//!
//! A suspended resource is nobody's rival: it has released its branch, and may stay so for months. Whoever took the place meanwhile keeps
//! it; the one that is resumed then waits, and is told who serves. Until its last flush is done the host itself keeps others away.

use std::collections::BTreeSet;

use engine::{BranchName, DatabaseName, Error, State};
use kube::ResourceExt;

use crate::crd::{BucketDatabase, BucketDatabaseSpec, DeletionPolicy, R2};
use crate::plan::name_of;

/// Whether two specs declare the same branch of the same database.
fn same_place(one: &BucketDatabaseSpec, other: &BucketDatabaseSpec) -> bool {
    one.branch == other.branch && same_database(one, other)
}

/// Whether two specs declare the same database.
pub(crate) fn same_database(one: &BucketDatabaseSpec, other: &BucketDatabaseSpec) -> bool {
    (&one.bucket, &one.key) == (&other.bucket, &other.key) && store(one) == store(other)
}

/// What two specs have in common that declare the same database, and no others.
pub(crate) fn database_of(spec: &BucketDatabaseSpec) -> String {
    format!("{:?}", (store(spec), &spec.bucket, &spec.key))
}

fn store(spec: &BucketDatabaseSpec) -> (Option<String>, Option<R2>) {
    let endpoint = spec.endpoint.as_ref().map(|endpoint| endpoint.trim_end_matches('/').to_ascii_lowercase());
    (endpoint, spec.r2.clone())
}

/// The oldest of `others` that declares the place of `resource` and came before it. Of two of the same second the first name is older.
pub(crate) fn rival<'a>(resource: &BucketDatabase, others: impl IntoIterator<Item = &'a BucketDatabase>) -> Option<DatabaseName> {
    let mine = age(resource);
    others
        .into_iter()
        .filter(|other| same_place(&resource.spec, &other.spec) && !other.spec.suspend)
        .map(age)
        .filter(|theirs| *theirs < mine && theirs.1 != mine.1)
        .min()
        .map(|(_, name)| name)
}

/// Whether a resource gives its place to `to`, who held the branch already when it came: of two the one that holds the epoch wins.
pub(crate) fn gives_way(rival: &State, to: &BucketDatabase) -> bool {
    let State::Failed { error, .. } = rival else { return false };
    let Error::HeldByOther { by, .. } = &**error else { return false };
    by.resource == name_of(to).to_string() && Some(&by.cluster) == to.metadata.uid.as_ref()
}

/// Another resource that has to do with the same database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Neighbour {
    pub(crate) name: DatabaseName,
    /// What it serves and what it lists.
    pub(crate) branches: BTreeSet<BranchName>,
    /// What it serves, unless it is suspended or being deleted.
    pub(crate) serves: Option<BranchName>,
    /// What it wants to overwrite.
    pub(crate) promotion: Option<AskedPromotion>,
    /// It is being deleted, and its own objects with it.
    pub(crate) is_leaving: bool,
    /// It came later.
    pub(crate) is_younger: bool,
}

impl Neighbour {
    /// Whether it has to do with a branch: it serves or lists it, overwrites it or takes its content.
    pub(crate) fn names(&self, branch: &BranchName) -> bool {
        let asks = self.promotion.as_ref().is_some_and(|asked| asked.from == *branch || asked.to == *branch);
        asks || self.branches.contains(branch)
    }
}

/// A promotion of a spec, whether or not it was carried out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AskedPromotion {
    pub(crate) id: String,
    pub(crate) from: BranchName,
    pub(crate) to: BranchName,
}

/// The others that have to do with the database of a resource.
pub(crate) fn neighbours<'a>(resource: &BucketDatabase, others: impl IntoIterator<Item = &'a BucketDatabase>) -> Vec<Neighbour> {
    let mine = age(resource);
    let others = others.into_iter().filter(|other| name_of(other) != mine.1 && same_database(&resource.spec, &other.spec));
    others.map(|other| neighbour(other, age(other) > mine)).collect()
}

fn neighbour(other: &BucketDatabase, is_younger: bool) -> Neighbour {
    let spec = &other.spec;
    let named = spec.branches.iter().map(|branch| &branch.name).chain([&spec.branch]);
    let asked = spec.promotion.as_ref().and_then(|asked| {
        let (from, to) = (BranchName::parse(&asked.from.branch).ok()?, BranchName::parse(&asked.to).ok()?);
        Some(AskedPromotion { id: asked.id.clone(), from, to })
    });
    Neighbour {
        name: name_of(other),
        branches: named.filter_map(|name| BranchName::parse(name).ok()).collect(),
        serves: BranchName::parse(&spec.branch).ok().filter(|_| !spec.suspend && other.metadata.deletion_timestamp.is_none()),
        promotion: asked,
        is_leaving: other.metadata.deletion_timestamp.is_some() && spec.deletion_policy == DeletionPolicy::Delete,
        is_younger,
    }
}

/// When a resource came; of the same second the first name is older.
pub(crate) type Age = (Option<engine::WallTime>, DatabaseName);

pub(crate) fn age(resource: &BucketDatabase) -> Age {
    (resource.creation_timestamp().map(|time| time.0), name_of(resource))
}

#[cfg(test)]
mod tests;
