//! What is done with the branches of a database: made, listed, deleted, overwritten, switched to.
//!
//! Owns: whether a branch is one that this process serves, and then its host's part in it. Does not own: the objects (`branches.rs`), nor
//! what a served database does (`flusher/change.rs`).

use std::sync::Arc;

use sha2::Digest as _;
use tokio::sync::{oneshot, watch};

use super::{Held, Host, Serving, Slot, Status, holder};
use crate::branches::{self, BranchFacts, Source};
use crate::config::{DatabaseConfig, Location};
use crate::database::Database;
use crate::error::{Error, NotServed};
use crate::flusher::{Overwrite, Overwritten, Settings};
use crate::head::HeadState;
use crate::names::{BranchName, DatabaseName};
use crate::opening::Opener;
use crate::restore;
use crate::seed;
use crate::snapshot::Place;

/// What a branch is to be overwritten with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OverwriteRequest {
    /// It is done once for each id. Without one it is one of its own.
    pub id: Option<String>,
    /// The branch whose content is taken.
    pub from: BranchName,
    /// Only if `from` is at this txid.
    pub txid: Option<u64>,
    /// Only if the branch still has the content that it had at this txid.
    pub expected: Option<u64>,
    /// The content before stays as a branch of this name.
    pub keep_as: Option<BranchName>,
}

impl OverwriteRequest {
    /// Tells one wish from another under the same id.
    fn hash(&self, to: &BranchName) -> String {
        let Self { id: _, from, txid, expected, keep_as } = self;
        hex::encode(sha2::Sha256::digest(format!("{:?}", (from, txid, expected, keep_as, to))))
    }
}

impl Host {
    /// The branches of a database that are there.
    pub async fn branches(&self, name: &DatabaseName) -> Result<Vec<BranchFacts>, Arc<Error>> {
        let config = self.config_of(name)?;
        let opener = self.opener(&config).await?;
        Ok(branches::list(&opener.heads(&config)).await?)
    }

    /// Makes a branch from the newest state of another, which is flushed first if it is served here. `txid` says which state that must be.
    /// The database itself need not be open.
    pub async fn create_branch(
        &self,
        config: &DatabaseConfig,
        branch: &BranchName,
        from: &BranchName,
        txid: Option<u64>,
    ) -> Result<BranchFacts, Arc<Error>> {
        let opener = self.opener(config).await?;
        let source = self.source(config, &opener, from, txid).await?;
        Ok(branches::create(&opener.heads(config), branch, &source, &opener.me).await?)
    }

    /// The same for a database that was opened here.
    pub async fn create_branch_of(
        &self,
        name: &DatabaseName,
        branch: &BranchName,
        from: Option<&BranchName>,
        txid: Option<u64>,
    ) -> Result<BranchFacts, Arc<Error>> {
        let config = self.config_of(name)?;
        let current = self.serving_of(name).map(|serving| serving.database.facts().branch);
        let from = from.or(current.as_ref()).cloned().unwrap_or_else(BranchName::main);
        self.create_branch(&config, branch, &from, txid).await
    }

    /// Deletes a branch that nobody serves. One that is not there is fine.
    pub async fn delete_branch(&self, name: &DatabaseName, branch: &BranchName) -> Result<(), Arc<Error>> {
        let config = self.config_of(name)?;
        if let Some((by, _)) = self.server_of(&config, branch) {
            let why = format!("is served by {by}: switch to another branch first");
            return Err(Arc::new(Error::BranchRefused { database: name.clone(), branch: branch.clone(), why }));
        }
        let opener = self.opener(&config).await?;
        Ok(branches::delete(&opener.heads(&config), branch, &opener.me).await?)
    }

    /// Overwrites a branch with another: the one that this database serves, or one that nobody does.
    pub async fn overwrite_branch(
        self: &Arc<Self>,
        name: &DatabaseName,
        to: &BranchName,
        asked: OverwriteRequest,
    ) -> Result<Overwritten, Arc<Error>> {
        let config = self.config_of(name)?;
        if asked.from == *to {
            let why = "cannot be overwritten with itself".to_owned();
            return Err(Arc::new(Error::BranchRefused { database: name.clone(), branch: to.clone(), why }));
        }
        let opener = self.opener(&config).await?;
        let from = self.source(&config, &opener, &asked.from, asked.txid).await?;
        let hash = asked.hash(to);
        let id = asked.id.unwrap_or_else(|| self.put_ids.fresh().to_string());
        let overwrite = |reply| Overwrite { id, hash, from, expected: asked.expected, keep_as: asked.keep_as, reply };
        match self.server_of(&config, to) {
            Some((by, database)) if by == *name => database.overwrite(overwrite).await,
            Some((by, _)) => {
                let why = format!("is served by {by}, which alone can overwrite it");
                Err(Arc::new(Error::BranchRefused { database: name.clone(), branch: to.clone(), why }))
            }
            None => self.overwrite_unserved(&config, &opener, to, overwrite).await,
        }
    }

    async fn overwrite_unserved(
        &self,
        config: &DatabaseConfig,
        opener: &Opener,
        to: &BranchName,
        overwrite: impl FnOnce(oneshot::Sender<Result<Overwritten, Arc<Error>>>) -> Overwrite,
    ) -> Result<Overwritten, Arc<Error>> {
        let config = DatabaseConfig { location: Location { branch: to.clone(), ..config.location.clone() }, ..config.clone() };
        let ready = opener.open(&config).await?;
        let (_settings, settings_seen) = watch::channel(Settings { policy: config.snapshots, bucket: Arc::clone(&opener.bucket) });
        let mut flusher = self.flusher(&config, settings_seen, ready, Box::new(|| {}), Box::new(|_| {}));
        let (reply, mut answer) = oneshot::channel();
        flusher.overwrite(overwrite(reply)).await;
        flusher.release().await;
        answer.try_recv().unwrap_or_else(|_| {
            let detail = "an overwrite ended without an answer".to_owned();
            Err(Arc::new(Error::Internal { database: config.name.clone(), detail }))
        })
    }

    /// Goes on with another branch. Requests that write wait meanwhile; open transactions are rolled back.
    pub async fn switch_branch(self: &Arc<Self>, name: &DatabaseName, to: &BranchName) -> Result<(), Arc<Error>> {
        self.switch(name, to, false).await
    }

    /// The same, whatever the configuration names, until it names another branch.
    pub async fn switch_branch_by_hand(self: &Arc<Self>, name: &DatabaseName, to: &BranchName) -> Result<(), Arc<Error>> {
        self.switch(name, to, true).await
    }

    async fn switch(self: &Arc<Self>, name: &DatabaseName, to: &BranchName, by_hand: bool) -> Result<(), Arc<Error>> {
        let (serving, config) = self.begin_switch(name, to)?;
        let Some(config) = config else { return Ok(()) };
        let switched = self.switch_to(&serving, &config).await;
        let mut slots = self.slots.lock();
        // It may have been abandoned, and even opened anew, in the meantime.
        if let Some(slot) = slots.get_mut(name).filter(|slot| slot.is_serving(&serving)) {
            let next = slot.next.take();
            if let (Ok(()), Some(next)) = (&switched, next) {
                slot.place = next;
                slot.by_hand = by_hand;
            }
        }
        drop(slots);
        self.changed(name);
        switched
    }

    /// Reserves the place that is switched to. `None` if it is served already.
    fn begin_switch(&self, name: &DatabaseName, to: &BranchName) -> Result<(Serving, Option<DatabaseConfig>), Arc<Error>> {
        let serving = self.serving_of(name).ok_or_else(|| self.not_served(name))?;
        let mut slots = self.slots.lock();
        let Some(slot) = slots.get(name) else { return Err(unknown(name)) };
        if serving.database.facts().branch == *to {
            return Ok((serving, None));
        }
        if slot.next.is_some() {
            let why = "cannot be switched to while another switch is under way".to_owned();
            return Err(Arc::new(Error::BranchRefused { database: name.clone(), branch: to.clone(), why }));
        }
        let location = Location { branch: to.clone(), ..slot.config.location.clone() };
        let config = DatabaseConfig { location: location.clone(), ..(*slot.config).clone() };
        let next = Held { endpoint: slot.place.endpoint.clone(), location };
        if let Some(by) = holder(&slots, &next, name) {
            return Err(Arc::new(Error::HeldElsewhere { database: name.clone(), by }));
        }
        if let Some(slot) = slots.get_mut(name) {
            slot.next = Some(next);
        }
        Ok((serving, Some(config)))
    }

    async fn switch_to(&self, serving: &Serving, config: &DatabaseConfig) -> Result<(), Arc<Error>> {
        let opener = self.opener(config).await?;
        let ready = opener.open(config).await?;
        seed::create_tables(&ready.memory).await?;
        self.remember(&config.name, ready.tenure.epoch());
        serving.database.switch(ready).await?;
        // gc must know what this branch needs before its next run.
        serving.database.files().announce().await;
        Ok(())
    }

    /// The newest state of a branch that is in the bucket.
    async fn source(&self, config: &DatabaseConfig, opener: &Opener, branch: &BranchName, txid: Option<u64>) -> Result<Source, Arc<Error>> {
        let source = match self.server_of(config, branch) {
            Some((_, database)) => database.source().await?,
            None => self.source_from_bucket(config, opener, branch).await?,
        };
        match txid {
            Some(txid) if txid != source.txid => {
                let why = format!("is at txid {}, not {txid}; only the newest state of a branch can be used so far", source.txid);
                Err(Arc::new(Error::BranchRefused { database: config.name.clone(), branch: branch.clone(), why }))
            }
            Some(_) | None => Ok(source),
        }
    }

    async fn source_from_bucket(&self, config: &DatabaseConfig, opener: &Opener, branch: &BranchName) -> Result<Source, Error> {
        let missing = || Error::BranchNotFound { database: config.name.clone(), branch: branch.clone() };
        let record = opener.heads(config).read(branch).await?.map(|stored| stored.record);
        if record.as_ref().is_some_and(|record| record.state != HeadState::Ready) {
            return Err(missing());
        }
        let place = Place::of(&config.location.key, branch);
        let found = restore::read(&config.name, &opener.bucket, &place, opener.options.clone()).await?;
        let (memory, meta) = found.ok_or_else(missing)?;
        Ok(Source { branch: branch.clone(), txid: restore::txid_of(&meta), pin: memory.pin() })
    }

    /// Who serves a branch of this database here.
    fn server_of(&self, config: &DatabaseConfig, branch: &BranchName) -> Option<(DatabaseName, Database)> {
        let place =
            Held { endpoint: config.store.endpoint.clone(), location: Location { branch: branch.clone(), ..config.location.clone() } };
        self.slots.lock().iter().find(|(_, slot)| slot.place == place).and_then(|(name, slot)| match &slot.status {
            Status::Open(serving) => Some((name.clone(), serving.database.clone())),
            Status::Opening { .. } | Status::Failed { .. } | Status::Closing(..) | Status::Suspended { .. } => None,
        })
    }

    fn serving_of(&self, name: &DatabaseName) -> Option<Serving> {
        match &self.slots.lock().get(name)?.status {
            Status::Open(serving) => Some(Serving::clone(serving)),
            Status::Opening { .. } | Status::Failed { .. } | Status::Closing(..) | Status::Suspended { .. } => None,
        }
    }

    fn config_of(&self, name: &DatabaseName) -> Result<DatabaseConfig, Arc<Error>> {
        match self.slots.lock().get(name) {
            None => Err(unknown(name)),
            Some(Slot { status: Status::Suspended { .. }, .. }) => {
                Err(Arc::new(Error::NotServed { database: name.clone(), why: NotServed::Suspended }))
            }
            Some(slot) => Ok((*slot.config).clone()),
        }
    }

    fn not_served(&self, name: &DatabaseName) -> Arc<Error> {
        match self.get(name) {
            Err(error) => Arc::new(error),
            Ok(_) => unknown(name),
        }
    }
}

fn unknown(name: &DatabaseName) -> Arc<Error> {
    Arc::new(Error::NotServed { database: name.clone(), why: NotServed::Unknown })
}
