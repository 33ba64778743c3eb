//! Which of several resources may serve one place. Pure.

use engine::DatabaseName;
use kube::ResourceExt;

use crate::crd::{BucketDatabase, BucketDatabaseSpec};
use crate::plan::name_of;

/// Whether two specs declare the same branch of the same database.
pub(crate) fn same_place(one: &BucketDatabaseSpec, other: &BucketDatabaseSpec) -> bool {
    let store = |spec: &BucketDatabaseSpec| {
        let endpoint = spec.endpoint.as_ref().map(|endpoint| endpoint.trim_end_matches('/').to_ascii_lowercase());
        (endpoint, spec.r2.clone())
    };
    (&one.bucket, &one.key, &one.branch) == (&other.bucket, &other.key, &other.branch) && store(one) == store(other)
}

/// The oldest of `others` that declares the place of `resource` and came before it. Of two of the same second the first name is older.
pub(crate) fn rival<'a>(resource: &BucketDatabase, others: impl IntoIterator<Item = &'a BucketDatabase>) -> Option<DatabaseName> {
    let mine = age(resource);
    others
        .into_iter()
        .filter(|other| same_place(&resource.spec, &other.spec))
        .map(age)
        .filter(|theirs| *theirs < mine && theirs.1 != mine.1)
        .min()
        .map(|(_, name)| name)
}

fn age(resource: &BucketDatabase) -> (Option<engine::WallTime>, DatabaseName) {
    (resource.creation_timestamp().map(|time| time.0), name_of(resource))
}

#[cfg(test)]
mod tests;
