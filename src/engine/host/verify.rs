//! Each open database is proved to be restorable, again and again.
//!
//! Owns: when, and that there is one proof at a time over all databases, of at most so many bytes. Does not own: what proves it (`verify.rs`).
//! Invariants: a proof that came to no end says nothing; damage that it finds is healed from memory, and the proof made again.

use std::fmt;
use std::sync::{Arc, Weak};
use std::time::Duration;

use ltx::Txid;
use tokio::sync::{SemaphorePermit, watch};
use tokio::time::Instant;

use super::{Host, Serving};
use crate::bucket;
use crate::clock::WallTime;
use crate::config::DatabaseConfig;
use crate::database::{Database, WeakDatabase};
use crate::error::Error;
use crate::facts::{Damage, Verified};
use crate::flusher::{Expected, Settings};
use crate::names::DatabaseName;
use crate::past::Archive;
use crate::verify::Sound;

/// The first proof of a database of which nobody knows when it was proved last, and the next after one that came to no end, unless it is
/// proved more often. Who has just made one looks for it, and those of many have their turns.
const SOON: Duration = Duration::from_mins(5);
/// After one that found what cannot be restored, and the longest wait where none comes to an end.
const AGAIN: Duration = Duration::from_hours(1);
/// How often the state may be retired that a proof is about.
const ROUNDS: u32 = 3;

/// Why nothing was proved, neither way.
enum NotProved {
    /// Other databases need the memory.
    TooLarge { size: u64, limit: u64 },
    /// The store failed, or the database is not served any more.
    Failed(Arc<Error>),
}

impl fmt::Display for NotProved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge { size, limit } => write!(f, "it has {size} bytes, and a verification may take {limit}"),
            Self::Failed(error) => {
                write!(f, "{error}")?;
                let mut source = std::error::Error::source(&**error);
                while let Some(deeper) = source {
                    write!(f, ": {deeper}")?;
                    source = deeper.source();
                }
                Ok(())
            }
        }
    }
}

impl<E: Into<Arc<Error>>> From<E> for NotProved {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

impl Host {
    /// Proves it again and again until it is closed. `last` is when that was done last, as far as anybody remembers.
    pub(super) fn keep_proving(self: &Arc<Self>, serving: &Serving, last: Option<WallTime>) {
        let (database, settings, name) = (serving.database.downgrade(), serving.settings.subscribe(), serving.database.name().clone());
        let proving = Proving { host: Arc::downgrade(self), name, database, settings };
        self.tasks.spawn(proving.run(last));
    }

    /// Proves now that an open database can be restored. An error says why that could not be found out.
    pub async fn verify(&self, name: &DatabaseName) -> Result<Verified, String> {
        let database = self.get(name).map_err(|error| error.to_string())?.database;
        let config = self.config_of(name).map_err(|error| error.to_string())?;
        self.prove(&config, &database).await.map_err(|why| why.to_string())
    }

    /// Restores what is in the bucket of an open database beside what is served, and tells whether that was it.
    async fn prove(&self, config: &DatabaseConfig, database: &Database) -> Result<Verified, NotProved> {
        let begun = self.options.clock.now();
        let proved = self.try_to_prove(config, database).await.map(|(txid, past)| {
            let clock = &self.options.clock;
            let (past, failure) = past.map_or_else(|failure| (None, Some(failure)), |past| (past, None));
            Verified { time: clock.wall(), txid: txid.get(), past, took: clock.now().saturating_duration_since(begun), failure }
        });
        database.note_proof(proved.as_ref().map_err(ToString::to_string));
        self.changed(&config.name);
        proved
    }

    /// The newest state, and a past one if there is any. The inner error says what cannot be restored.
    async fn try_to_prove(&self, config: &DatabaseConfig, database: &Database) -> Result<(Txid, Result<Option<u64>, String>), NotProved> {
        let (size, limit) = (database.facts().size, self.options.verify_memory);
        if size > limit {
            return Err(NotProved::TooLarge { size, limit });
        }
        let mut turn = self.proof_turn().await;
        let mut archive = self.opener(config).await?.archive(config);
        archive.options.pace = self.patient.clone();
        let (mut expected, mut newest) = prove_newest(&archive, database).await?;
        if let Err(damage) = &newest {
            // Others need not wait until the store takes it.
            drop(turn);
            // What is in memory is what was committed.
            database.renew(damage.clone()).await?;
            turn = self.proof_turn().await;
            (expected, newest) = prove_newest(&archive, database).await?;
        }
        let Expected { branch, first, txid, .. } = expected;
        if let Err(damage) = newest {
            return Ok((txid, Err(listed(&damage))));
        }
        let past = archive.some_past(&branch, first, txid).await?;
        drop(turn);
        Ok((txid, past.map(|past| past.map(|past| past.txid))))
    }

    async fn proof_turn(&self) -> SemaphorePermit<'_> {
        self.proofs.acquire().await.expect("the semaphore is never closed")
    }
}

/// The newest state, and what is wrong with the files that should make it.
async fn prove_newest(archive: &Archive, database: &Database) -> Result<(Expected, Result<(), Vec<Damage>>), NotProved> {
    for _ in 0..ROUNDS {
        let expected = database.expected().await?;
        let Expected { branch, first, txid, checksum } = &expected;
        let proved = match archive.sound_as(branch, *first, *txid, *checksum).await {
            Ok(Sound { damage, .. }) if damage.is_empty() => Ok(()),
            Ok(Sound { damage, .. }) => Err(damage),
            Err(Error::ChainBroken { .. }) if archive.is_retired(branch, *txid).await? => continue,
            Err(Error::ChainBroken { detail, .. }) => Err(vec![Damage { file: format!("txid {}", txid.get()), detail }]),
            Err(error) => return Err(error.into()),
        };
        return Ok((expected, proved));
    }
    let source = bucket::Error::Unavailable { message: "each state was retired before it was read".to_owned() };
    Err(Error::Bucket { database: database.name().clone(), doing: "verifying", source }.into())
}

fn listed(damage: &[Damage]) -> String {
    damage.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// The proofs of one database.
struct Proving {
    host: Weak<Host>,
    name: DatabaseName,
    database: WeakDatabase,
    settings: watch::Receiver<Settings>,
}

impl Proving {
    async fn run(mut self, last: Option<WallTime>) {
        let Some(mut due) = self.first(last) else { return };
        let mut pause = SOON;
        loop {
            let interval = self.settings.borrow_and_update().durability.verify_interval;
            let is_asked = !interval.is_zero();
            tokio::select! {
                changed = self.settings.changed() => if changed.is_err() { return } else { continue },
                () = tokio::time::sleep_until(due), if is_asked => {}
            }
            let mut closed = self.settings.clone();
            let proved = tokio::select! {
                proved = self.prove() => proved,
                () = async { while closed.changed().await.is_ok() {} } => return,
            };
            let Some((proved, now)) = proved else { return };
            match proved {
                Ok(Verified { failure: None, .. }) => (due, pause) = (now + interval, SOON),
                // Somebody should know soon that it is mended.
                Ok(Verified { failure: Some(_), .. }) => (due, pause) = (now + interval.min(AGAIN), SOON),
                Err(why) => {
                    tracing::warn!(database = %self.name, %why, "a verification came to no end");
                    due = now + pause.min(interval);
                    pause = (pause * 2).min(AGAIN);
                }
            }
        }
    }

    /// When it is due first.
    fn first(&self, last: Option<WallTime>) -> Option<Instant> {
        let host = self.host.upgrade()?;
        let clock = &host.options.clock;
        let interval = self.settings.borrow().durability.verify_interval;
        let since = last.map(|last| Duration::try_from(clock.wall().duration_since(last)).unwrap_or(Duration::ZERO));
        Some(clock.now() + first_after(since, interval))
    }

    async fn prove(&self) -> Option<(Result<Verified, NotProved>, Instant)> {
        let (host, database) = (self.host.upgrade()?, self.database.upgrade()?);
        let config = host.config_of(&self.name).ok()?;
        let proved = host.prove(&config, &database).await;
        Some((proved, host.options.clock.now()))
    }
}

/// How long after its opening a database is proved that was proved so long ago, or never as far as anybody knows.
fn first_after(since: Option<Duration>, interval: Duration) -> Duration {
    since.map_or_else(|| interval.min(SOON), |since| interval.saturating_sub(since))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_proved_is_proved_soon_and_all_else_when_its_time_has_come() {
        let (minutes, hours) = (Duration::from_mins, Duration::from_hours);
        assert_eq!(first_after(None, hours(24)), SOON);
        assert_eq!(first_after(None, minutes(1)), minutes(1));
        assert_eq!(first_after(Some(hours(20)), hours(24)), hours(4));
        assert_eq!(first_after(Some(hours(30)), hours(24)), Duration::ZERO);
    }
}
