//! What it takes to open a database: where it lies, what it may use, who may ask.

use std::time::Duration;

use crate::bucket::s3::StoreConfig;
use crate::files::FilesPrefix;
use crate::head::Epoch;
use crate::names::{BranchName, BucketName, DatabaseKey, DatabaseName, Etag};
use crate::naming::ProvedState;
use crate::sql::QueryLimits;

/// Where a database lies.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Location {
    /// The bucket.
    pub bucket: BucketName,
    /// The key of `main`'s snapshot, from which the others are derived.
    pub key: DatabaseKey,
    /// The branch that is served.
    pub branch: BranchName,
}

/// When snapshots are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SnapshotPolicy {
    /// A change is in the bucket at most this long after its commit, plus the PUT.
    pub interval: Duration,
    /// A manual, unforced flush within this time of the last is skipped.
    pub min_interval: Duration,
    /// Copy `<key>` to `<key>.prev` before it is replaced.
    pub keep_previous: bool,
}

/// When a commit is in the bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// With the next snapshot.
    Snapshot,
    /// A moment later, as a delta of its own or together with others.
    Stream,
    /// Before anybody is told of it, as a delta together with what others commit meanwhile.
    Sync,
}

/// What becomes of writes once the bucket has not taken any for too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnMaxLag {
    /// They are refused, so that no more can be lost.
    Refuse,
    /// They go on.
    Continue,
}

/// How much may be lost, and how far back one can go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Durability {
    /// When a commit is in the bucket.
    pub mode: Mode,
    /// In `Stream`: a commit is in the bucket at most this long after it was made, plus the PUT.
    pub stream_interval: Duration,
    /// In `Stream` and `Sync`: how old `<key>` may become while the database changes.
    pub snapshot_interval: Duration,
    /// How long each state can be had. `None` if others say that: nothing is deleted, and what gc was told before stays.
    pub retention: Option<Duration>,
    /// How old the oldest commit may become that is not in the bucket.
    pub max_lag: Duration,
    /// And then.
    pub on_max_lag: OnMaxLag,
    /// How often it is proved that what is in the bucket can be restored; zero for never.
    pub verify_interval: Duration,
}

impl Default for Durability {
    fn default() -> Self {
        Self {
            mode: Mode::Stream,
            stream_interval: Duration::from_secs(1),
            snapshot_interval: Duration::from_hours(1),
            retention: Some(Duration::from_hours(24)),
            max_lag: Duration::from_mins(5),
            on_max_lag: OnMaxLag::Refuse,
            verify_interval: Duration::from_hours(24),
        }
    }
}

impl Durability {
    /// How long a commit may wait until it is on its way to the bucket.
    pub(crate) fn interval(&self, snapshots: &SnapshotPolicy) -> Duration {
        match self.mode {
            Mode::Snapshot => snapshots.interval,
            Mode::Stream => self.stream_interval,
            Mode::Sync => Duration::ZERO,
        }
    }

    /// Commits wait for the next snapshot.
    pub fn by_snapshots() -> Self {
        Self { mode: Mode::Snapshot, ..Self::default() }
    }
}

/// Where the contents of files lie, and how long they stay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FilesPolicy {
    /// What their keys begin with.
    pub prefix: FilesPrefix,
    /// How long one must have gone unused before gc deletes it.
    pub grace: Duration,
}

/// What a database may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// In bytes, as a file.
    pub max_size: u64,
    /// What one request may use.
    pub query: QueryLimits,
}

/// SHA-256 of a bearer token: what is compared, so that the comparison tells nothing of the token by its time.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct TokenDigest([u8; 32]);

/// What somebody may do with a database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Permission {
    /// Look at it.
    Read,
    /// Change it, too.
    Write,
}

/// A token, and what its bearer may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// The token.
    pub token: TokenDigest,
    /// What it permits.
    pub permission: Permission,
}

/// Who may ask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Access {
    /// Anyone who reaches us.
    Open,
    /// The bearer of one of these tokens; an empty list admits nobody.
    Tokens(Vec<Grant>),
    /// Whom Kubernetes knows and lets: an [`Authority`](crate::Authority) is asked.
    Kubernetes,
}

/// An overwrite that a resource asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AskedPromotion {
    /// The branch that is to be overwritten.
    pub to: BranchName,
    /// It is done once for each id.
    pub id: String,
}

/// Everything it takes to open one database.
#[derive(Debug, Clone, PartialEq)]
pub struct DatabaseConfig {
    /// The resource that declares it.
    pub name: DatabaseName,
    /// Where it lies.
    pub location: Location,
    /// How the store is reached.
    pub store: StoreConfig,
    /// When snapshots are made.
    pub snapshots: SnapshotPolicy,
    /// How much may be lost.
    pub durability: Durability,
    /// Where its files lie.
    pub files: FilesPolicy,
    /// What it may use.
    pub limits: Limits,
    /// Goes on where the store does not honour conditions on writes: nobody else writes there.
    pub single_writer: bool,
    /// Who may ask.
    pub access: Access,
    /// Whether the API may change branches, too.
    pub branches_by_api: bool,
    /// Whether it is reached by an address of its own, which names it without a path.
    pub own_service: bool,
    /// Tells one life of the resource from another: its UID.
    pub cluster: String,
    /// A branch that another cluster or resource holds by this epoch may be taken over: somebody said so.
    pub take_over: Option<Epoch>,
    /// The overwrite that the resource asks for. A head record that is made anew in the place of a lost one remembers that it is in doubt.
    pub promotion: Option<AskedPromotion>,
    /// If the snapshot is corrupt: accept `<key>.prev` in its place, if it still has this ETag.
    pub accept_snapshot: Option<Etag>,
    /// If the newest state cannot be proved: accept this one in its place, if it is still the newest that can.
    pub accept_state: Option<ProvedState>,
}

impl DatabaseConfig {
    /// How long a commit may wait until it is on its way to the bucket.
    pub fn interval(&self) -> Duration {
        self.durability.interval(&self.snapshots)
    }
}

impl TokenDigest {
    /// Of a token in clear.
    pub fn of(token: &str) -> Self {
        use sha2::Digest as _;
        Self(sha2::Sha256::digest(token.as_bytes()).into())
    }
}

impl std::fmt::Debug for TokenDigest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TokenDigest(…)")
    }
}

impl Grant {
    /// Of a token in clear.
    pub fn of(token: &str, permission: Permission) -> Self {
        Self { token: TokenDigest::of(token), permission }
    }

    /// The most that one of the grants permits the bearer of this token. Compares with all of them, in constant time.
    pub fn best(grants: &[Self], token: &str) -> Option<Permission> {
        use subtle::{Choice, ConstantTimeEq as _};
        let asked = TokenDigest::of(token);
        let mut found = [Choice::from(0); 2];
        for grant in grants {
            let place = &mut found[usize::from(grant.permission == Permission::Write)];
            *place |= grant.token.0.ct_eq(&asked.0);
        }
        match found.map(bool::from) {
            [_, true] => Some(Permission::Write),
            [true, false] => Some(Permission::Read),
            [false, false] => None,
        }
    }
}

impl Access {
    /// What the bearer of this token may do, as far as it can be told without asking anybody.
    pub fn permits(&self, token: Option<&str>) -> Option<Permission> {
        match self {
            Self::Open => Some(Permission::Write),
            Self::Tokens(grants) => token.and_then(|token| Grant::best(grants, token)),
            Self::Kubernetes => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_permits_what_its_grant_says_and_nothing_else_does() {
        use Permission::{Read, Write};
        let access = Access::Tokens(vec![Grant::of("reads", Read), Grant::of("writes", Write), Grant::of("old", Read)]);
        for (token, permitted) in
            [("reads", Some(Read)), ("writes", Some(Write)), ("old", Some(Read)), ("Writes", None), ("", None), ("write", None)]
        {
            assert_eq!(access.permits(Some(token)), permitted, "{token:?}");
        }
        assert_eq!(access.permits(None), None);
        assert_eq!(Access::Tokens(Vec::new()).permits(Some("writes")), None);
        assert_eq!(Access::Open.permits(None), Some(Write));
    }

    #[test]
    fn of_two_grants_of_one_token_the_larger_holds_in_any_order() {
        use Permission::{Read, Write};
        for grants in [[Grant::of("t", Read), Grant::of("t", Write)], [Grant::of("t", Write), Grant::of("t", Read)]] {
            assert_eq!(Grant::best(&grants, "t"), Some(Write));
        }
    }
}
