//! Suspension: a database rests in its bucket. Here it only says so, and it is in nobody's way.
//!
//! Owns: what is known of a suspended database, and the proof that nothing of ours is under way any more. Does not own: when one is
//! suspended; opening it resumes it.
//! Invariant: `released` is said only after a look at the head record, so whoever reads it may rely on everything being in the bucket.

use std::sync::Arc;

use super::{Closed, Host, Slot, Status};
use crate::bucket;
use crate::config::DatabaseConfig;
use crate::error::{Error, NotServed};
use crate::names::DatabaseName;

impl Host {
    /// Flushes, releases and drops a database, which then says that it is suspended. If the flush fails it stays open. One that is not open
    /// here may be held by an earlier process of its resource that came to no release: that is waited for, or made harmless.
    pub async fn suspend(self: &Arc<Self>, config: DatabaseConfig) -> Result<(), Arc<Error>> {
        let (config, closed) = self.begin_to_suspend(config)?;
        if let Some(closed) = closed {
            closed.await?;
        }
        self.prove_released(&config).await?;
        if let Some(Slot { status: Status::Suspended { released, .. }, .. }) = self.slots.lock().get_mut(&config.name) {
            *released = true;
        }
        self.changed(&config.name);
        Ok(())
    }

    /// The configuration of the branch that has to be released, and the close that is under way.
    fn begin_to_suspend(self: &Arc<Self>, asked: DatabaseConfig) -> Result<(DatabaseConfig, Option<Closed>), Arc<Error>> {
        let name = asked.name.clone();
        let served = {
            let mut slots = self.slots.lock();
            match slots.get_mut(&name) {
                // A switch may have led it elsewhere than the newest configuration says.
                Some(slot) if matches!(slot.status, Status::Open(_) | Status::Closing(..)) => {
                    slot.rests = true;
                    DatabaseConfig { location: slot.place.location.clone(), ..asked }
                }
                Some(Slot { status: Status::Opening { .. }, .. }) => return Err(opening(name)),
                found => {
                    let status = match found.map(|slot| &slot.status) {
                        Some(Status::Suspended { last_snapshot, .. }) => {
                            Status::Suspended { released: false, last_snapshot: last_snapshot.clone() }
                        }
                        _ => Status::Suspended { released: false, last_snapshot: None },
                    };
                    slots.insert(name, Slot::of(asked.clone(), status));
                    return Ok((asked, None));
                }
            }
        };
        Ok((served, self.begin_to_close(&name)))
    }

    /// After this the branch is not held by this resource.
    async fn prove_released(&self, config: &DatabaseConfig) -> Result<(), Error> {
        if !self.is_held_by(config).await? {
            return Ok(());
        }
        // The process before may still be saving in another Pod. What it leaves behind is fenced, since a late write of it could arrive.
        let opener = self.opener(config).await?;
        self.await_left(config, &config.location.branch).await;
        opener.await_release(config).await?;
        if !self.is_held_by(config).await? {
            return Ok(());
        }
        let _turn = self.restores.turn(0).await;
        let mut ready = opener.open(config).await?;
        self.remember(&config.name, ready.tenure.epoch());
        ready.release().await;
        if self.is_held_by(config).await? {
            let source = bucket::Error::Unavailable { message: "the release was not noted in the head record".to_owned() };
            return Err(Error::Bucket { database: config.name.clone(), doing: "releasing the branch", source });
        }
        Ok(())
    }

    /// Whether the head record says that this resource holds the branch.
    async fn is_held_by(&self, config: &DatabaseConfig) -> Result<bool, Error> {
        let heads = self.heads(config).await?;
        let found = heads.read(&config.location.branch).await?;
        let holder = found.filter(|stored| !stored.record.released).and_then(|stored| stored.record.holder);
        let me = self.holder(config);
        Ok(holder.is_some_and(|holder| (holder.resource, holder.cluster) == (me.resource, me.cluster)))
    }
}

fn opening(database: DatabaseName) -> Arc<Error> {
    Arc::new(Error::NotServed { database, why: NotServed::Opening })
}
