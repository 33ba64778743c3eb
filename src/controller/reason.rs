//! Why a condition is as it is: one word for each cause, the same in conditions, events, metrics and `docs/conditions.md`.
//!
//! Owns: the words, and which failure of the engine or the store bears which of them.

use std::fmt;

use engine::bucket;

/// Writes the words once: the enum, its text, and the list that `docs/conditions.md` is compared with.
macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident),+ $(,)?) => {
        /// Why a condition is as it is.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub(crate) enum Reason { $($(#[$doc])* $name),+ }

        impl Reason {
            /// Every word there is.
            #[cfg(test)]
            pub(crate) const ALL: &[Self] = &[$(Self::$name),+];

            /// As it stands in a condition.
            pub(crate) const fn as_str(self) -> &'static str {
                match self { $(Self::$name => stringify!($name)),+ }
            }
        }
    };
}

reasons! {
    /// It answers requests.
    Serving,
    /// It is being restored, or waits for its turn.
    Restoring,
    /// It began with the newest snapshot.
    Restored,
    /// The store proved that there was nothing, and it began empty.
    StartedEmpty,
    /// It began with the snapshot before the newest, which an annotation accepted.
    PreviousAccepted,
    /// Uploads succeed.
    SnapshotsSucceed,
    /// The resource is being deleted; the final flush is under way.
    Closing,
    /// The resource does not parse, or holds a value that cannot be.
    InvalidSpec,
    /// A field is set whose part is not built yet.
    FieldNotSupported,
    /// The Secret with the store's credentials, or one of its keys, is not there.
    CredentialsMissing,
    /// The Secret with the certificates of a private authority, or its key, is not there.
    CaMissing,
    /// The resource names no credentials, and may not use the operator's own.
    AmbientCredentialsNotAllowed,
    /// The store refused the credentials.
    CredentialsRejected,
    /// The store says that the bucket does not exist.
    BucketMissing,
    /// The store was not reached, or did not answer clearly.
    EndpointUnreachable,
    /// The endpoint is one that no tenant may reach.
    EndpointRefused,
    /// The store understood a request and refused it.
    RequestRefused,
    /// The object at the key is no sound database.
    SnapshotCorrupt,
    /// There is no object at the key, though there is one at its `.prev`.
    SnapshotMissing,
    /// Somebody else writes to the key.
    SnapshotConflict,
    /// The snapshot is larger than `limits.maxSize`.
    SnapshotTooLarge,
    /// Another resource serves the same bucket, key and branch.
    HeldElsewhere,
    /// There is a Secret of the connection Secret's name that is not ours.
    ConnectionSecretTaken,
    /// The Secret that `api.tokenSecretRef` names, or its key, is not there.
    TokenMissing,
    /// The API server refused or failed a request of the operator.
    ClusterRequestFailed,
    /// Something failed that should not; the operator's log has more.
    InternalError,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl From<&engine::Error> for Reason {
    fn from(error: &engine::Error) -> Self {
        match error {
            engine::Error::Bucket { source, .. } => Self::from(source),
            engine::Error::SnapshotConflict { .. } => Self::SnapshotConflict,
            engine::Error::SnapshotCorrupt { .. } => Self::SnapshotCorrupt,
            engine::Error::SnapshotMissing { .. } => Self::SnapshotMissing,
            engine::Error::SnapshotTooLarge { .. } => Self::SnapshotTooLarge,
            engine::Error::HeldElsewhere { .. } => Self::HeldElsewhere,
            engine::Error::Sql(_) | engine::Error::NotServed { .. } | engine::Error::OutOfTime { .. } | engine::Error::Internal { .. } => {
                Self::InternalError
            }
        }
    }
}

impl From<&bucket::Error> for Reason {
    fn from(error: &bucket::Error) -> Self {
        match error {
            bucket::Error::NoSuchBucket => Self::BucketMissing,
            bucket::Error::AccessDenied { .. } => Self::CredentialsRejected,
            bucket::Error::EndpointRefused { .. } => Self::EndpointRefused,
            bucket::Error::PreconditionFailed => Self::SnapshotConflict,
            bucket::Error::Unavailable { .. } | bucket::Error::Unclear { .. } => Self::EndpointUnreachable,
            bucket::Error::Refused { .. } => Self::RequestRefused,
            bucket::Error::Content(_) => Self::InternalError,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_its_paragraph_in_the_docs_and_none_has_two() {
        let docs = include_str!("../../docs/conditions.md");
        let headings: Vec<&str> = docs.lines().filter_map(|line| line.strip_prefix("### ")).collect();
        let words: Vec<&str> = Reason::ALL.iter().map(|reason| reason.as_str()).collect();
        assert_eq!(headings, words, "docs/conditions.md has one `###` heading per reason, in the order of the enum");
    }
}
