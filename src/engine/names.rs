//! Names of databases, buckets, objects and branches. Each is parsed once, at the edge; what exists is valid.
//!
//! Owns: which names are allowed (`PROTOCOL` of the bucket layout: a key that looks like something derived from another key would let
//! two databases write one object). Does not own: what lies under a name.

use std::fmt;
use std::sync::Arc;

/// A name that is not allowed, and what to write instead.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} `{value}` {problem}")]
pub struct NameError {
    what: &'static str,
    value: String,
    problem: &'static str,
}

pub(crate) fn refuse<T>(what: &'static str, value: &str, problem: &'static str) -> Result<T, NameError> {
    Err(NameError { what, value: value.to_owned(), problem })
}

/// The resource that declares a database: `namespace/name`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DatabaseName {
    namespace: Arc<str>,
    name: Arc<str>,
}

impl DatabaseName {
    /// Both parts as Kubernetes gave them; it has checked them already.
    pub fn new(namespace: impl Into<Arc<str>>, name: impl Into<Arc<str>>) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }

    /// The namespace of the resource.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// The name of the resource in its namespace.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl fmt::Display for DatabaseName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Whoever looks at a bucket without a cluster knows a database by its key alone.
        if self.namespace.is_empty() { f.write_str(&self.name) } else { write!(f, "{}/{}", self.namespace, self.name) }
    }
}

/// A bucket: 3 to 63 of lower-case letters, digits, dots and hyphens.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BucketName(String);

impl BucketName {
    /// Checks S3's rules for bucket names.
    pub fn parse(value: &str) -> Result<Self, NameError> {
        const WHAT: &str = "bucket";
        if !(3..=63).contains(&value.len()) {
            return refuse(WHAT, value, "must have 3 to 63 characters");
        }
        let inner = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-' || c == b'.';
        let edge = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit();
        let bytes = value.as_bytes();
        if !bytes.iter().copied().all(inner) || !edge(bytes[0]) || !edge(bytes[bytes.len() - 1]) {
            return refuse(
                WHAT,
                value,
                "may hold lower-case letters, digits, dots and hyphens, and begins and ends with a letter or digit",
            );
        }
        Ok(Self(value.to_owned()))
    }

    /// As the store knows it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for BucketName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The key of a database: where the newest snapshot of `main` lies. Other objects' names are made from it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DatabaseKey(String);

impl DatabaseKey {
    /// The seed's default.
    pub const DEFAULT: &'static str = "bucketsqlite/snap.db";
    const LONGEST: usize = 512;

    /// Refuses what would collide with an object derived from another key.
    pub fn parse(value: &str) -> Result<Self, NameError> {
        const WHAT: &str = "key";
        if value.is_empty() || value.len() > Self::LONGEST {
            return refuse(WHAT, value, "must have 1 to 512 bytes");
        }
        if value.starts_with('/') || value.ends_with('/') || value.contains("//") {
            return refuse(WHAT, value, "may not begin or end with `/`, nor hold `//`");
        }
        if value.split('/').any(|part| part == "." || part == "..") {
            return refuse(WHAT, value, "may not have `.` or `..` as a part");
        }
        if value.chars().any(char::is_control) {
            return refuse(WHAT, value, "may not hold control characters");
        }
        if value.strip_suffix(".prev").is_some() {
            return refuse(WHAT, value, "may not end in `.prev`: that is where the snapshot before the newest lies");
        }
        if [".branch.", ".ltx/", ".head/"].iter().any(|part| value.contains(part)) {
            return refuse(WHAT, value, "may not contain `.branch.`, `.ltx/` or `.head/`: such names belong to another key");
        }
        Ok(Self(value.to_owned()))
    }

    /// The newest snapshot of a branch.
    pub fn snapshot(&self, branch: &BranchName) -> ObjectKey {
        if branch.is_main() { ObjectKey::new(&*self.0) } else { ObjectKey::new(format!("{}.branch.{}", self.0, branch.as_str())) }
    }

    /// The snapshot of a branch before its newest.
    pub fn previous(&self, branch: &BranchName) -> ObjectKey {
        ObjectKey::new(format!("{}.prev", self.snapshot(branch)))
    }

    /// The head record of a branch.
    pub fn head(&self, branch: &BranchName) -> ObjectKey {
        ObjectKey::new(format!("{}.head/{branch}.json", self.0))
    }

    /// With what the keys of the files of a branch's chain begin.
    pub(crate) fn chain(&self, branch: &BranchName) -> String {
        format!("{}{branch}/", self.chains())
    }

    /// With what the keys of the files of all chains begin.
    pub(crate) fn chains(&self) -> String {
        format!("{}.ltx/", self.0)
    }

    /// With what the keys of all head records begin.
    pub(crate) fn heads(&self) -> String {
        format!("{}.head/", self.0)
    }

    /// With what the keys of the snapshots of all branches but `main` begin.
    pub(crate) fn branches(&self) -> String {
        format!("{}.branch.", self.0)
    }

    /// An object that asks the store whether it honours conditions.
    pub(crate) fn probe(&self, id: &str) -> ObjectKey {
        ObjectKey::new(format!("{}.head/.probe-{id}", self.0))
    }

    /// The branch of which this object is the head record.
    pub(crate) fn branch_of_head(&self, object: &ObjectKey) -> Option<BranchName> {
        let name = object.as_str().strip_prefix(&self.heads())?.strip_suffix(".json")?;
        BranchName::parse(name).ok()
    }

    /// The branch of which this object is the newest snapshot; `main` is none of them.
    pub(crate) fn branch_of_snapshot(&self, object: &ObjectKey) -> Option<BranchName> {
        // Names have no dot, so `.prev` is no part of one.
        BranchName::parse(object.as_str().strip_prefix(&self.branches())?).ok()
    }

    /// The branch to whose chain this object belongs.
    pub(crate) fn branch_of_chain(&self, object: &ObjectKey) -> Option<BranchName> {
        let (name, _) = object.as_str().strip_prefix(&self.chains())?.split_once('/')?;
        BranchName::parse(name).ok()
    }

    /// As written in the resource.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for DatabaseKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The key of any one object in a bucket.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectKey(Arc<str>);

impl ObjectKey {
    /// A key that the store itself told us, or that is made of parsed names.
    pub fn new(value: impl Into<String>) -> Self {
        Self(Arc::from(value.into()))
    }

    /// As the store knows it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A branch of a database: letters, digits, `_` and `-`, at most 63.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BranchName(String);

impl BranchName {
    /// The branch that always exists.
    pub fn main() -> Self {
        Self("main".to_owned())
    }

    /// Checks the seed's rule for branch names.
    pub fn parse(value: &str) -> Result<Self, NameError> {
        const WHAT: &str = "branch";
        if value.is_empty() || value.len() > 63 {
            return refuse(WHAT, value, "must have 1 to 63 characters");
        }
        if !value.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'_' || c == b'-') {
            return refuse(WHAT, value, "may hold letters, digits, `_` and `-` only");
        }
        Ok(Self(value.to_owned()))
    }

    /// Whether this is the branch that always exists.
    pub fn is_main(&self) -> bool {
        self.0 == "main"
    }

    /// As written in the resource.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for BranchName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What identifies one state of an object in the store; without the quotes of the HTTP header.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Etag(String);

impl Etag {
    /// Takes the header's value, with or without quotes.
    pub fn new(value: &str) -> Self {
        Self(value.trim_matches('"').to_owned())
    }

    /// Without quotes.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// As `If-Match` wants it.
    pub fn quoted(&self) -> String {
        format!("\"{}\"", self.0)
    }
}

impl fmt::Display for Etag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_another_key_derives_is_refused() {
        for key in ["a.prev", "a.branch.b", "a.ltx/main/x", "a.head/main.json", "", "/a", "a/", "a//b", "a/../b", "a\nb"] {
            assert!(DatabaseKey::parse(key).is_err(), "{key:?}");
        }
        for key in ["a", "apps/orders.db", DatabaseKey::DEFAULT, "a.branches", "prev"] {
            assert!(DatabaseKey::parse(key).is_ok(), "{key:?}");
        }
    }

    #[test]
    fn snapshots_lie_where_the_seed_writes_them() {
        let key = DatabaseKey::parse("apps/orders.db").unwrap();
        let branch = BranchName::parse("release-7").unwrap();
        assert_eq!(key.snapshot(&BranchName::main()).as_str(), "apps/orders.db");
        assert_eq!(key.previous(&BranchName::main()).as_str(), "apps/orders.db.prev");
        assert_eq!(key.snapshot(&branch).as_str(), "apps/orders.db.branch.release-7");
        assert_eq!(key.previous(&branch).as_str(), "apps/orders.db.branch.release-7.prev");
    }

    #[test]
    fn the_objects_of_branches_tell_which_branch_they_belong_to() {
        let key = DatabaseKey::parse("apps/orders.db").unwrap();
        let branch = BranchName::parse("release-7").unwrap();
        assert_eq!(key.head(&branch).as_str(), "apps/orders.db.head/release-7.json");
        assert_eq!(key.branch_of_head(&key.head(&branch)), Some(branch.clone()));
        assert_eq!(key.branch_of_snapshot(&key.snapshot(&branch)), Some(branch.clone()));
        assert_eq!(key.branch_of_snapshot(&key.previous(&branch)), None);
        assert_eq!(key.branch_of_snapshot(&key.snapshot(&BranchName::main())), None);
        assert_eq!(key.branch_of_head(&key.probe("1")), None);
        assert_eq!(key.chain(&branch), "apps/orders.db.ltx/release-7/");
        assert_eq!(key.branch_of_chain(&ObjectKey::new(format!("{}0000/x", key.chain(&branch)))), Some(branch));
        assert_eq!(key.branch_of_chain(&key.snapshot(&BranchName::main())), None);
    }

    #[test]
    fn bucket_and_branch_names_follow_their_stores_rules() {
        for name in ["ab", "Upper", "-a-b", "a_b_c", &"a".repeat(64)] {
            assert!(BucketName::parse(name).is_err(), "{name:?}");
        }
        assert!(BucketName::parse("orders-data.v2").is_ok());
        for name in ["", "a b", "a.b", "ä", &"a".repeat(64)] {
            assert!(BranchName::parse(name).is_err(), "{name:?}");
        }
        assert!(BranchName::parse("release_7-rc").is_ok());
    }
}
