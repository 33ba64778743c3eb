//! Keeping a file: its content in the bucket, then its row.
//!
//! gc may be at work meanwhile, in another process. That it takes nothing which the row will need rests on this order:
//!
//! 1. The database has its owner's record.
//! 2. The marks are read. A sealed file waits until gc is through; a marked one is struck out, under the condition that the list is as read.
//! 3. The blob is looked for, and uploaded where it is missing or has the wrong size.
//! 4. The marks are looked at again. Are they those of step 2, nobody could seal this file in between, so nobody deleted the blob that step 3
//!    found; otherwise all goes again from step 2. An upload may take longer than gc waits, so the first look alone would not do; and a look
//!    after the upload alone would miss a gc that had sealed the file before step 3 and was through before the look.
//! 5. The row is committed, soon: whoever marks the file after step 4 waits longer than a row takes from there into the bucket
//!    ([`super::owners::Needs::wait`]).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::marks::{Marks, Standing};
use super::owners::{self, Needs, Registration, USUAL_RETENTION};
use super::rows::{self, Description, FileRecord};
use super::{BLOB, FileSettings, Files, Spooled};
use crate::bucket::{self, Bucket, Condition, Form, Put};
use crate::document::{self, Failure, Found, Swap};
use crate::error::Error;
use crate::names::{Etag, ObjectKey};

/// How long a put waits for a gc that deletes this very file's blob.
const SEALED: Duration = Duration::from_secs(30);
/// Between two looks at a sealed list; doubled each time.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// How soon after the last look at the marks the row is committed, at most. Never more than the flush interval.
const FRESH: Duration = Duration::from_secs(10);
/// How often the marks may change under a put. Only other puts of marked files and gc change them.
const ROUNDS: u32 = 64;
/// How often an upload whose answer was lost is sent again. Its name is its content, so nothing can go wrong by that.
const UPLOADS: u32 = 3;

const REGISTERING: &str = "telling gc that this database keeps files";
const LOOKING: &str = "looking at what gc has marked";
const UPLOADING: &str = "writing a file";

/// A part of the order that tests leave out, to see that they notice.
#[cfg(test)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Broken {
    #[default]
    Nothing,
    /// A marked file stays in the list.
    StrikeOut,
    /// The marks are not looked at again after the upload.
    SecondLook,
}

impl Files<'_> {
    /// Keeps a content under its hash. Tells whether the database did not have it before; of one that it had, only what is damaged is
    /// repaired, in the database and in the bucket.
    pub async fn put(self, content: &Spooled, description: Description) -> Result<(FileRecord, bool), Error> {
        let settings = self.store().settings();
        self.register(&settings).await?;
        let mut waited = Duration::ZERO;
        for _ in 0..ROUNDS {
            let seen = self.struck_out(&settings, content, &mut waited).await?;
            self.make_sure_of_blob(&settings, content).await?;
            let looked = self.store().clock.now();
            if !self.is_as_before(&settings, seen.as_ref()).await? {
                continue;
            }
            if let Some(kept) = self.commit(&settings, content, &description, looked).await? {
                return Ok(kept);
            }
        }
        Err(self.busy(content))
    }

    /// Tells gc of a database that has files already, or of a change of its settings. Puts do so by themselves, and tell if it fails; but a
    /// database that only reads would be unknown to gc for ever.
    pub(crate) async fn announce(self) {
        let settings = self.store().settings();
        let done = match self.list(1, None).await {
            Ok(files) if files.is_empty() => Ok(()),
            Ok(_) => self.register(&settings).await,
            Err(error) => Err(error),
        };
        if let Err(error) = done {
            let error = &error as &dyn std::error::Error;
            tracing::warn!(database = %self.database.name(), error, "gc could not be told that this database has files; the next put tries again");
        }
    }

    /// Once for each process, database, branch that it serves, and change of its settings.
    async fn register(self, settings: &FileSettings) -> Result<(), Error> {
        let store = self.store();
        let wanted = Registration {
            prefix: settings.policy.prefix.clone(),
            key: store.key.clone(),
            branch: self.database.branch(),
            needs: Needs::new(settings.policy.grace, settings.flush_interval, settings.retention.unwrap_or(USUAL_RETENTION)),
            only_if_new: settings.retention.is_none(),
        };
        // Held over the requests on purpose: puts at the same moment must not register one by one, nor go on before it is done.
        let mut registered = store.registered.lock().await;
        if registered.as_ref() != Some(&wanted) {
            let done = owners::register(&settings.bucket, &store.put_ids, &wanted).await;
            done.map_err(|failure| self.failed_document(REGISTERING, failure))?;
            *registered = Some(wanted);
        }
        Ok(())
    }

    /// The ETag of a list of marks that does not name the file, or `None` where there is no list.
    async fn struck_out(self, settings: &FileSettings, content: &Spooled, waited: &mut Duration) -> Result<Option<Etag>, Error> {
        let (store, key, object) = (self.store(), content.key(), settings.policy.prefix.marks());
        let mut pause = FIRST_PAUSE;
        for _ in 0..ROUNDS {
            let found: Option<Found<Marks>> = self.document(document::read(&settings.bucket, &object).await)?;
            let Some(found) = found else { return Ok(None) };
            match found.document.standing(&key) {
                Standing::Free => return Ok(Some(found.etag)),
                #[cfg(test)]
                Standing::Marked if store.broken == Broken::StrikeOut => return Ok(Some(found.etag)),
                Standing::Marked => {
                    let next = found.document.without(&key, &store.put_ids.fresh());
                    let swapped = document::swap(&settings.bucket, &object, Some(&found.etag), next).await;
                    if let Swap::Done(written) = self.document(swapped)? {
                        return Ok(Some(written.etag));
                    }
                }
                Standing::Sealed if *waited < SEALED => {
                    tokio::time::sleep(pause).await;
                    *waited += pause;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
                Standing::Sealed => break,
            }
        }
        Err(self.busy(content))
    }

    async fn is_as_before(self, settings: &FileSettings, seen: Option<&Etag>) -> Result<bool, Error> {
        #[cfg(test)]
        if self.store().broken == Broken::SecondLook {
            return Ok(true);
        }
        let found = settings.bucket.head(&settings.policy.prefix.marks()).await;
        Ok(found.map_err(|error| self.failed(LOOKING, error))?.map(|meta| meta.etag).as_ref() == seen)
    }

    async fn make_sure_of_blob(self, settings: &FileSettings, content: &Spooled) -> Result<(), Error> {
        let key = settings.policy.prefix.blob(&content.key());
        let found = settings.bucket.head(&key).await.map_err(|error| self.failed(UPLOADING, error))?;
        if found.is_some_and(|meta| meta.size == content.size()) {
            return Ok(());
        }
        let _turn = content.spool().upload().await;
        upload(&settings.bucket, &key, content).await.map_err(|error| self.failed(UPLOADING, error))
    }

    /// `None` if it took so long until the row's turn came that the look at the marks is out of date.
    async fn commit(
        self,
        settings: &FileSettings,
        content: &Spooled,
        description: &Description,
        looked: Instant,
    ) -> Result<Option<(FileRecord, bool)>, Error> {
        let clock = Arc::clone(&self.store().clock);
        let (prefix, key, size) = (settings.policy.prefix.clone(), content.key(), content.size());
        let (description, fresh) = (description.clone(), FRESH.min(settings.flush_interval));
        let change = self.database.change(move |connection| {
            if clock.now().saturating_duration_since(looked) > fresh {
                return Ok(None);
            }
            rows::keep(connection, &prefix, (&key, size), &description, clock.wall()).map(Some)
        });
        change.await
    }

    fn busy(self, content: &Spooled) -> Error {
        Error::FileBusy { database: self.database.name().clone(), key: content.key() }
    }

    fn document<T>(self, done: Result<T, Failure>) -> Result<T, Error> {
        done.map_err(|failure| self.failed_document(LOOKING, failure))
    }

    fn failed_document(self, doing: &'static str, failure: Failure) -> Error {
        let database = self.database.name().clone();
        match failure {
            Failure::Bucket(source) => Error::Bucket { database, doing, source },
            Failure::Unreadable { object, problem } => Error::Unreadable { database, object, problem: problem.to_string() },
        }
    }
}

/// Without a condition: whatever bears this name and has the right bytes is as good.
async fn upload(bucket: &Arc<dyn Bucket>, key: &ObjectKey, content: &Spooled) -> Result<(), bucket::Error> {
    let mut tries = 1;
    loop {
        let put = Put {
            condition: Condition::Always,
            form: Form {
                metadata: BTreeMap::from([(BLOB.to_owned(), content.key().to_string())]),
                content_type: "application/octet-stream",
            },
        };
        match bucket.put(key, content.content(), put).await {
            Ok(_) => return Ok(()),
            Err(bucket::Error::Unclear { .. } | bucket::Error::Unavailable { .. }) if tries < UPLOADS => tries += 1,
            Err(error) => return Err(error),
        }
    }
}
