//! What a branch would have different with the content of another.
//!
//! Owns: which states are compared, and the room that they take. Does not own: how they are compared (`differences.rs`).
//! Invariants: nothing is written, here or in the bucket; of one database two states are compared, or one is put together, at a time.

use std::sync::Arc;

use super::Host;
use crate::clock::WallTime;
use crate::config::DatabaseConfig;
use crate::database::Database;
use crate::differences::{Differences, differences};
use crate::error::Error;
use crate::memory::MemoryDatabase;
use crate::names::{BranchName, DatabaseName};
use crate::past::{Archive, PastState, Point};
use crate::pasts::Room;

/// Two states, and what they have different.
#[derive(Debug, Clone, PartialEq)]
pub struct Compared {
    /// What would be replaced.
    pub before: Side,
    /// What would take its place.
    pub after: Side,
    /// Between them.
    pub differences: Differences,
}

/// A state that was compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Side {
    /// Of which branch.
    pub branch: BranchName,
    /// Its number in the bucket: of one that is served here the newest that is there, though all that is committed was compared.
    pub txid: u64,
    /// When it was made; of one that is served here, now.
    pub time: WallTime,
    /// In bytes, as a file.
    pub size: u64,
}

/// A state in memory.
struct Held {
    side: Side,
    memory: MemoryDatabase,
    /// Of one that was restored for this.
    _room: Option<Room>,
}

impl Host {
    /// What `to` would have different if it were overwritten with a state of `from`.
    pub async fn differences(&self, name: &DatabaseName, to: &BranchName, from: &BranchName, point: Point) -> Result<Compared, Arc<Error>> {
        let config = self.config_of(name)?;
        // One at a time of each database: what is compared has readers of its own, and all of them together would keep others out.
        let serving = self.serving_of(name);
        let _turn = match &serving {
            Some(serving) => Some(serving.database.turn_to_recall().await),
            None => None,
        };
        let archive = self.opener(&config).await?.archive(&config);
        let before = self.held(&config, &archive, to, Point::Newest).await?;
        let after = self.held(&config, &archive, from, point).await?;
        let compared = before.memory.ask_beside(&after.memory, &config.limits.query, differences).await;
        let differences = compared.map_err(Error::from)?;
        Ok(Compared { before: before.side, after: after.side, differences })
    }

    /// A state as a database of its own. That of a branch which is served here is what an overwrite would bring into the bucket first.
    async fn held(&self, config: &DatabaseConfig, archive: &Archive, branch: &BranchName, point: Point) -> Result<Held, Arc<Error>> {
        if let (Point::Newest, Some((_, database))) = (point, self.server_of(config, branch)) {
            return Ok(served(&database, archive, branch).await?);
        }
        let known = archive.record(branch).await?.and_then(|record| record.snapshot).map_or(0, |snapshot| snapshot.size);
        let (state, room) = self.restored(&config.name, known, archive.state(branch, point)).await?;
        let PastState { txid, time, memory } = state;
        let size = memory.size();
        Ok(Held { side: Side { branch: branch.clone(), txid, time, size }, memory, _room: Some(room) })
    }
}

async fn served(database: &Database, archive: &Archive, branch: &BranchName) -> Result<Held, Error> {
    let pin = database.pinned().await?;
    let side = Side { branch: branch.clone(), txid: database.facts().txid, time: archive.now, size: pin.size() };
    Ok(Held { side, memory: MemoryDatabase::fork(&pin, archive.options.clone()), _room: None })
}
