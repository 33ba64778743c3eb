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
            pub(crate) const ALL: &[Self] = &[$(Self::$name),+];

            /// The one that a condition has.
            pub(crate) fn named(word: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|reason| reason.as_str() == word)
            }

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
    /// It began with an earlier state than the newest, which an annotation accepted.
    StateAccepted,
    /// It began with a snapshot that somebody without a tenure had put in the place of ours.
    OutsideSnapshotAdopted,
    /// Uploads succeed.
    SnapshotsSucceed,
    /// Somebody without a tenure wrote the snapshot; theirs is kept as a branch, ours was put back.
    OutsideSnapshotKept,
    /// What is in the bucket was restored, and it is what was committed.
    Restorable,
    /// What is in the bucket cannot be restored.
    NotRestorable,
    /// It was not tried yet, or the newest try came to no end.
    NotVerified,
    /// Files in the bucket are damaged; others are taken for them.
    DamageFound,
    /// The newest state needs none of the files that are damaged any more.
    DamageHealed,
    /// The resource is being deleted; the final flush is under way.
    Closing,
    /// It is being saved, and then suspended.
    Suspending,
    /// It rests: everything is in the bucket, and nothing is served.
    Suspended,
    /// The resource does not parse, or holds a value that cannot be.
    InvalidSpec,
    /// A field asks for what there is not here.
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
    /// The snapshot changed whenever it was looked at.
    SnapshotChanging,
    /// The snapshot is larger than `limits.maxSize`.
    SnapshotTooLarge,
    /// Files of the branch's chain are missing or damaged, and there is no way around them.
    ChainBroken,
    /// Another resource or cluster serves the same bucket, key and branch.
    HeldElsewhere,
    /// The quota of the namespace has no room for it.
    QuotaExceeded,
    /// The bucket has not taken commits for longer than `durability.maxLag`.
    BucketBehind,
    /// Another tenure took the branch over while it was served here.
    Fenced,
    /// There is no such branch.
    BranchNotFound,
    /// The branch was deleted, and its name is not used again.
    BranchDeleted,
    /// What was asked of a branch cannot be done with it.
    BranchRefused,
    /// The branch is not at the state that was named.
    ContentChanged,
    /// Whether an overwrite was carried out cannot be told.
    HistoryUnknown,
    /// The promotion of the spec is carried out.
    Promoted,
    /// The promotion of the spec waits for its turn.
    PromotionPending,
    /// The id of the promotion was used for another one.
    PromotionIdUsed,
    /// The branch that is to be overwritten is served by another resource.
    TargetServedElsewhere,
    /// The state of a branch that is named is not its newest.
    TxidNotAvailable,
    /// A newer build wrote the head record.
    NewerFormat,
    /// The head record of the branch is none.
    HeadRecordDamaged,
    /// The store does not honour conditions on writes.
    ConditionsIgnored,
    /// The store honours conditions on writes, and `durability.unsafeSingleWriter` changes nothing.
    ConditionsHonoured,
    /// The store does not honour conditions on writes, and `durability.unsafeSingleWriter` permits to do without.
    SingleWriterUnsafe,
    /// There is a Secret of the connection Secret's name that is not ours.
    ConnectionSecretTaken,
    /// The Secret that `api.tokenSecretRef` names, or its key, is not there.
    TokenMissing,
    /// What was unused when somebody asked is gone.
    GcSucceeded,
    /// gc told what it would do, and changed nothing.
    GcDryRun,
    /// A run of gc is under way.
    GcRunning,
    /// gc goes on later: what is marked must wait, or another run comes first.
    GcWaiting,
    /// A run of gc stopped, because it could not be sure.
    GcStopped,
    /// A run of gc took too long.
    GcDeadlineExceeded,
    /// A run of gc ended without a report.
    GcFailed,
    /// What a run of gc did is not known.
    GcReportMissing,
    /// The node cannot get the image of gc.
    GcImageMissing,
    /// The cluster makes no Pod for gc.
    GcPodRefused,
    /// The Pod of gc does not start.
    GcPodPending,
    /// The API server refused gc's Job, or what it needs.
    GcJobRefused,
    /// A database that keeps files under the prefix could not be flushed.
    GcFlushFailed,
    /// The operator was not told which image runs gc.
    GcNotConfigured,
    /// A new token is asked for, but the token comes from `api.tokenSecretRef`.
    TokenGiven,
    /// There is a Service, or endpoints, of the database's name that are not ours.
    ServiceTaken,
    /// There is no room for it beside the others.
    MemoryBudget,
    /// The operator was not told the address of its own Pod.
    PodAddressUnknown,
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
            engine::Error::SnapshotCorrupt { .. } => Self::SnapshotCorrupt,
            engine::Error::SnapshotMissing { .. } => Self::SnapshotMissing,
            engine::Error::SnapshotTooLarge { .. } | engine::Error::StateTooLarge { .. } => Self::SnapshotTooLarge,
            engine::Error::ChainBroken { .. } => Self::ChainBroken,
            engine::Error::HeldElsewhere { .. } | engine::Error::HeldByOther { .. } => Self::HeldElsewhere,
            engine::Error::MemoryBudget { .. } => Self::MemoryBudget,
            engine::Error::Lagging { .. } => Self::BucketBehind,
            engine::Error::Fenced { .. } => Self::Fenced,
            engine::Error::BranchNotFound { .. } => Self::BranchNotFound,
            engine::Error::BranchDeleted { .. } => Self::BranchDeleted,
            engine::Error::BranchExists { .. } | engine::Error::BranchRefused { .. } => Self::BranchRefused,
            engine::Error::ContentChanged { .. } => Self::ContentChanged,
            engine::Error::PromotionUnknown { .. } | engine::Error::HistoryLost { .. } => Self::HistoryUnknown,
            engine::Error::PromotionIdUsed { .. } => Self::PromotionIdUsed,
            engine::Error::ServedElsewhere { .. } => Self::TargetServedElsewhere,
            engine::Error::NoSuchState { .. } | engine::Error::NoStateAt { .. } => Self::TxidNotAvailable,
            engine::Error::NewerFormat { .. } => Self::NewerFormat,
            engine::Error::HeadDamaged { .. } => Self::HeadRecordDamaged,
            engine::Error::ConditionsIgnored { .. } => Self::ConditionsIgnored,
            engine::Error::Sql(_)
            | engine::Error::StateChanged { .. }
            | engine::Error::OnlyShown { .. }
            | engine::Error::TooManyRequests { .. }
            | engine::Error::TooManyListeners { .. }
            | engine::Error::PastTooLarge { .. }
            | engine::Error::NoRoomForPast { .. }
            | engine::Error::NotServed { .. }
            | engine::Error::FileNotFound { .. }
            | engine::Error::FileLost { .. }
            | engine::Error::FileBusy { .. }
            | engine::Error::Spool { .. }
            | engine::Error::Unreadable { .. }
            | engine::Error::OutOfTime { .. }
            | engine::Error::Internal { .. } => Self::InternalError,
        }
    }
}

impl From<&bucket::Error> for Reason {
    fn from(error: &bucket::Error) -> Self {
        match error {
            bucket::Error::NoSuchBucket => Self::BucketMissing,
            bucket::Error::AccessDenied { .. } => Self::CredentialsRejected,
            bucket::Error::EndpointRefused { .. } => Self::EndpointRefused,
            bucket::Error::PreconditionFailed => Self::SnapshotChanging,
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
