//! What keeps a database from what its resource asks for: the reason, a message that names object, field and remedy, and what heals it.
//!
//! Owns: the sentences that users read, and when a failed open is tried again. Pure.

use std::time::Duration;

use engine::bucket;
use engine::{BranchName, DatabaseName, Error, Etag, Offered, Previous};

use crate::plan::FORCE_DELETE;
use crate::reason::Reason;
use crate::resolve::{ACCEPT_SNAPSHOT, ACCEPT_STATE, ResolveError, TAKE_OVER};

/// The longest time between two looks at a database: Secrets are read again, since they are not watched.
pub(crate) const LOOK_AGAIN: Duration = Duration::from_mins(5);
/// The first of the growing pauses between two tries.
pub(crate) const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// Several changes of one resource within this time make one look.
pub(crate) const DEBOUNCE: Duration = Duration::from_millis(50);
/// The first pause where somebody else has to give way.
const LATER: Duration = Duration::from_secs(30);
/// The longest pause where each try reads the whole snapshot and only a person can change what it finds.
const LONGEST_PAUSE: Duration = Duration::from_hours(1);

/// Something that is wrong, for the status and for events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// In one word.
    pub(crate) reason: Reason,
    /// In a sentence or two: the object, the field, the remedy.
    pub(crate) message: String,
    /// Nothing heals it until a person changes something: kstatus calls it stalled.
    pub(crate) stuck: bool,
}

impl Problem {
    /// One that may heal by itself, or once another object is there.
    pub(crate) fn passing(reason: Reason, message: impl Into<String>) -> Self {
        Self { reason, message: message.into(), stuck: false }
    }

    /// One that a person has to settle.
    pub(crate) fn stuck(reason: Reason, message: impl Into<String>) -> Self {
        Self { reason, message: message.into(), stuck: true }
    }

    /// Another resource serves the same place.
    pub(crate) fn held(by: &DatabaseName) -> Self {
        Self::stuck(
            Reason::HeldElsewhere,
            format!(
                "{by} declares the same endpoint, bucket, key and branch and came first; delete one of the two, or give this one another spec.key"
            ),
        )
    }

    /// What the engine reported of this database.
    pub(crate) fn of(database: &DatabaseName, error: &Error) -> Self {
        let reason = Reason::from(error);
        match error {
            Error::Bucket { doing, source, .. } => Self::of_bucket(reason, doing, source),
            Error::SnapshotCorrupt { key, etag, detail, previous, .. } => Self::stuck(
                reason,
                format!(
                    "the object at {key} (ETag {etag}) is no sound SQLite database: {detail}. It is left as it is. {}",
                    way_out(database, &format!("{key}.prev"), previous)
                ),
            ),
            Error::SnapshotMissing { key, previous, .. } => Self::stuck(
                reason,
                format!(
                    "there is no snapshot at {key}, but there is one before it: somebody deleted the newest. {}",
                    way_out(database, &format!("{key}.prev"), previous)
                ),
            ),
            Error::HeldByOther { branch, by, epoch, .. } => Self::stuck(
                reason,
                format!(
                    "branch {branch} is held by {by} (cluster id {}), epoch {epoch}: delete or suspend that resource, or serve another branch. To take it \
                     over, which ends the other at its next write: `{}`",
                    by.cluster,
                    annotate(database, TAKE_OVER, &epoch.to_string())
                ),
            ),
            Error::Fenced { .. } => Self::passing(reason, format!("{error}; it is looked at who holds the branch now")),
            Error::BranchNotFound { branch, .. } => Self::passing(
                reason,
                format!(
                    "there is no branch {branch}: name it in spec.branches with the branch it comes from, or create it; it is looked for again"
                ),
            ),
            Error::BranchDeleted { branch, .. } if branch.is_main() => Self::stuck(
                reason,
                "the database at spec.key was deleted, with the resource that made it: give this one another spec.key, or restore it from a version of the \
                 objects that the bucket keeps. To begin anew under this key, once nobody who had the old one runs any more, delete the object \
                 `<key>.head/main.json`",
            ),
            Error::BranchDeleted { branch, .. } => Self::stuck(
                reason,
                format!("branch {branch} was deleted, and its name cannot be used again: remove it from spec.branches and spec.branch"),
            ),
            Error::BranchExists { .. }
            | Error::BranchRefused { .. }
            | Error::ContentChanged { .. }
            | Error::ServedElsewhere { .. }
            | Error::HistoryLost { .. }
            | Error::PromotionIdUsed { .. } => Self::stuck(reason, format!("{error}; correct the spec")),
            Error::NoSuchState { asked, newest, .. } if asked > newest => Self::passing(reason, format!("{error}; it is looked for again")),
            Error::NoSuchState { .. } => Self::stuck(reason, format!("{error}: remove txid, or name another one")),
            Error::NoStateAt { .. } => Self::stuck(reason, format!("{error}: remove at, or name another moment")),
            Error::PromotionUnknown { branch, id, .. } => Self::stuck(
                reason,
                format!(
                    "whether branch {branch} was overwritten under the id {id} cannot be told, because somebody else replaced the snapshot: put the snapshot \
                     that is meant in its place, and take the entry `{id}` out of `promotions` in the head record, and the line `checksum` with it"
                ),
            ),
            Error::MemoryBudget { .. } => Self::passing(reason, no_room(error)),
            Error::NewerFormat { key, format, .. } => {
                Self::stuck(reason, format!("{key} has format {format}: a newer version wrote it; use that version or a newer one"))
            }
            Error::HeadDamaged { key, detail, .. } => Self::stuck(
                reason,
                format!("{key} is no head record: {detail}. It is left as it is; delete it to have it made anew from the snapshot"),
            ),
            Error::ConditionsIgnored { detail, .. } => Self::stuck(
                reason,
                format!(
                    "the store does not honour conditions on writes ({detail}), so two writers could overwrite each other: use a store that does. Where \
                     nothing else can write to spec.key, spec.durability.unsafeSingleWriter lets it go on, with weaker promises"
                ),
            ),
            Error::SnapshotTooLarge { key, size, limit, .. } => Self::stuck(
                reason,
                format!("the snapshot at {key} has {size} bytes, more than the {limit} of spec.limits.maxSize: raise it"),
            ),
            Error::StateTooLarge { branch, limit, .. } => {
                Self::stuck(reason, format!("branch {branch} is larger than the {limit} bytes of spec.limits.maxSize: raise it"))
            }
            Error::ChainBroken { branch, detail, offered, .. } => Self::stuck(reason, broken(database, branch, detail, *offered)),
            Error::HeldElsewhere { by, .. } => Self::held(by),
            Error::Sql(_)
            | Error::Lagging { .. }
            | Error::StateChanged { .. }
            | Error::OnlyShown { .. }
            | Error::TooManyRequests { .. }
            | Error::TooManyListeners { .. }
            | Error::PastTooLarge { .. }
            | Error::NoRoomForPast { .. }
            | Error::NotServed { .. }
            | Error::FileNotFound { .. }
            | Error::FileLost { .. }
            | Error::FileBusy { .. }
            | Error::Spool { .. }
            | Error::Unreadable { .. }
            | Error::OutOfTime { .. }
            | Error::Internal { .. } => Self::passing(reason, error.to_string()),
        }
    }

    fn of_bucket(reason: Reason, doing: &str, error: &bucket::Error) -> Self {
        match error {
            bucket::Error::NoSuchBucket => {
                Self::passing(reason, format!("while {doing}: the bucket of spec.bucket does not exist; create it, it is looked for again"))
            }
            bucket::Error::AccessDenied { code, message } => Self::passing(
                reason,
                format!(
                    "while {doing}: the store refused the credentials ({code}: {message}); correct the Secret of spec.credentials.secretRef (without \
                     one it was the operator's own identity), or permit the account to get, list, put and delete in the bucket"
                ),
            ),
            bucket::Error::EndpointRefused { reason: rule } => {
                Self::stuck(reason, format!("spec.endpoint is refused: {rule}; use an endpoint that tenants may reach"))
            }
            bucket::Error::PreconditionFailed => {
                Self::passing(reason, format!("while {doing}: the object was changed by somebody else; let one writer have this key"))
            }
            bucket::Error::Unavailable { message } | bucket::Error::Unclear { message } => {
                Self::passing(reason, format!("while {doing}: {message}; check spec.endpoint and the way to it. It is tried again"))
            }
            bucket::Error::Refused { code, message } => Self::passing(
                reason,
                format!(
                    "while {doing}: the store refused the request ({code}: {message}); check spec.region, spec.encryption and the bucket's rules"
                ),
            ),
            bucket::Error::Content(source) => {
                Self::passing(reason, format!("while {doing}: the content could not be read: {source}; see the operator's log"))
            }
        }
    }
}

impl From<ResolveError> for Problem {
    fn from(error: ResolveError) -> Self {
        let message = error.to_string();
        match error {
            ResolveError::Spec { .. } | ResolveError::Annotation { .. } => Self::stuck(Reason::InvalidSpec, message),
            ResolveError::AmbientCredentialsNotAllowed(_) => Self::stuck(Reason::AmbientCredentialsNotAllowed, message),
            ResolveError::CredentialsMissing { .. } => Self::passing(Reason::CredentialsMissing, message),
            ResolveError::CaMissing { .. } => Self::passing(Reason::CaMissing, message),
            ResolveError::TokenMissing { .. } => Self::passing(Reason::TokenMissing, message),
        }
    }
}

/// A chain whose newest state cannot be put together, and the ways out.
fn broken(database: &DatabaseName, branch: &BranchName, detail: &str, offered: Option<Offered>) -> String {
    let way = "bring the files back, for example from a backup or an older version of the object";
    let told = format!("the state of branch {branch} cannot be put together ({detail}): {way}");
    let Some(Offered { state, time }) = offered else { return told };
    let command = annotate(database, ACCEPT_STATE, &state.to_string());
    format!(
        "{told}. Or go on with the newest state that can be proved, txid {} of {time}, and lose what was committed after it: `{command}`",
        state.txid
    )
}

/// How to go on when the newest snapshot is damaged.
fn way_out(database: &DatabaseName, previous_key: &str, previous: &Previous) -> String {
    let put_back = "put a sound file in its place";
    match previous {
        Previous::Intact(etag) => format!("{previous_key} is intact; to start from it: `{}`", accept(database, etag)),
        Previous::Damaged => format!("{previous_key} is damaged, too: {put_back}"),
        Previous::Absent => format!("There is no {previous_key}: {put_back}, or delete the object to start empty"),
        Previous::Unknown => format!("The store did not tell whether {previous_key} is intact; it is asked again"),
    }
}

fn accept(database: &DatabaseName, etag: &Etag) -> String {
    annotate(database, ACCEPT_SNAPSHOT, etag.as_str())
}

/// The command that gives up what is not in the bucket.
pub(crate) fn force_delete(database: &DatabaseName, uid: Option<&str>) -> String {
    format!("`{}` gives up what is not saved", force_delete_command(database, uid))
}

/// The command that lets a deleted resource go, come what may.
pub(crate) fn force_delete_command(database: &DatabaseName, uid: Option<&str>) -> String {
    let asked = || format!("$(kubectl get bdb {} -n {} -o jsonpath={{.metadata.uid}})", database.name(), database.namespace());
    let uid = uid.map_or_else(asked, str::to_owned);
    annotate(database, FORCE_DELETE, &uid)
}

fn annotate(database: &DatabaseName, annotation: &str, value: &str) -> String {
    format!("kubectl annotate bdb {} -n {} {annotation}={value} --overwrite", database.name(), database.namespace())
}

/// What makes another try worth it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Retry {
    /// Time: it may heal by itself.
    Soon,
    /// Time, but not at once: somebody else has to do something first.
    Later,
    /// Time, but each try is dear and only a person can change what it finds.
    Rarely,
    /// A change of the resource or of its Secrets.
    OnChange,
}

fn no_room(error: &Error) -> String {
    format!(
        "{error}: lower limits.maxSize of this database or of others, suspend some, or give the operator more pods or a larger memoryBudget; it opens as \
         soon as there is room"
    )
}

fn retry(error: &Error) -> Retry {
    match error {
        Error::Bucket { source: bucket::Error::EndpointRefused { .. }, .. } => Retry::OnChange,
        Error::SnapshotCorrupt { previous: Previous::Unknown, .. }
        | Error::SnapshotMissing { previous: Previous::Unknown, .. }
        | Error::Bucket { .. }
        | Error::HeldElsewhere { .. }
        | Error::Lagging { .. }
        | Error::StateChanged { .. }
        | Error::OnlyShown { .. }
        | Error::TooManyRequests { .. }
        | Error::TooManyListeners { .. }
        | Error::PastTooLarge { .. }
        | Error::NoRoomForPast { .. }
        | Error::Fenced { .. }
        | Error::BranchNotFound { .. }
        | Error::NoSuchState { .. }
        | Error::NoStateAt { .. }
        | Error::Sql(_)
        | Error::NotServed { .. }
        | Error::FileNotFound { .. }
        | Error::FileLost { .. }
        | Error::FileBusy { .. }
        | Error::Spool { .. }
        | Error::Unreadable { .. }
        | Error::OutOfTime { .. }
        | Error::Internal { .. } => Retry::Soon,
        // One request a try; the other may be gone.
        Error::HeldByOther { .. } | Error::ServedElsewhere { .. } => Retry::Later,
        // Nobody has to ask for room: the host tells.
        Error::MemoryBudget { .. }
        | Error::SnapshotCorrupt { .. }
        | Error::SnapshotMissing { .. }
        | Error::SnapshotTooLarge { .. }
        | Error::ChainBroken { .. }
        | Error::StateTooLarge { .. }
        | Error::BranchExists { .. }
        | Error::BranchDeleted { .. }
        | Error::BranchRefused { .. }
        | Error::ContentChanged { .. }
        | Error::PromotionIdUsed { .. }
        | Error::PromotionUnknown { .. }
        | Error::HistoryLost { .. }
        | Error::NewerFormat { .. }
        | Error::HeadDamaged { .. }
        | Error::ConditionsIgnored { .. } => Retry::Rarely,
    }
}

/// How long to wait after the n-th failed open in a row; `None` until something changes.
pub(crate) fn pause(error: &Error, attempts: u32) -> Option<Duration> {
    match retry(error) {
        Retry::Soon => Some(doubled(FIRST_PAUSE, attempts, LOOK_AGAIN)),
        Retry::Later => Some(doubled(LATER, attempts, LOOK_AGAIN)),
        Retry::Rarely => Some(doubled(LOOK_AGAIN, attempts, LONGEST_PAUSE)),
        Retry::OnChange => None,
    }
}

/// `first`, doubled with each attempt after the first, up to `longest`.
pub(crate) fn doubled(first: Duration, attempts: u32, longest: Duration) -> Duration {
    let factor = 1_u32.checked_shl(attempts.saturating_sub(1)).unwrap_or(u32::MAX);
    first.saturating_mul(factor).min(longest)
}

#[cfg(test)]
mod tests;
