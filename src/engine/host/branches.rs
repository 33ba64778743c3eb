//! What is done with the branches of a database: made, listed, deleted, overwritten, switched to.
//!
//! Owns: whether a branch is one that this process serves, and then its host's part in it. Does not own: the objects (`branches.rs`), nor
//! what a served database does (`flusher/change.rs`).

use std::sync::Arc;

use sha2::Digest as _;
use tokio::sync::{oneshot, watch};
use tracing::Instrument as _;

use super::{Held, Host, Serving, Slot, Status, caught, holder};
use crate::branches::{self, BranchFacts, Listing, Source};
use crate::clock::WallTime;
use crate::config::{DatabaseConfig, Location};
use crate::database::Database;
use crate::error::{Error, NotServed};
use crate::flusher::{Overwrite, Overwritten, Remembered, Settings, remembered};
use crate::head::{Birth, Fate, HeadRecord, OnLeave, maker};
use crate::names::{BranchName, DatabaseName};
use crate::opening::Opener;
use crate::past::{Archive, PastState, Point};
use crate::seed;

/// A branch that is to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewBranch {
    /// Its name.
    pub name: BranchName,
    /// The branch that it begins as a copy of.
    pub from: BranchName,
    /// At which state of it.
    pub point: Point,
    /// What happens to it when it is declared no more.
    pub policy: OnLeave,
}

/// What a branch is to be overwritten with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OverwriteRequest {
    /// It is done once for each id. Without one it is one of its own.
    pub id: Option<String>,
    /// The branch whose content is taken.
    pub from: BranchName,
    /// At this state of it, or else at its newest.
    pub txid: Option<u64>,
    /// Only if the branch still has the content that it had at this txid.
    pub expected: Option<u64>,
    /// The content before stays as a branch of this name.
    pub keep_as: Option<BranchName>,
    /// Another database that is meant to serve the branch, whether or not it is open now. It alone can overwrite it then.
    pub meant_for: Option<DatabaseName>,
}

impl OverwriteRequest {
    /// Tells one wish from another under the same id.
    fn hash(&self, to: &BranchName) -> String {
        let Self { id: _, from, txid, expected, keep_as, meant_for: _ } = self;
        hex::encode(sha2::Sha256::digest(format!("{:?}", (from, txid, expected, keep_as, to))))
    }
}

/// How a switch begins.
enum Beginning {
    Begun(Box<Begun>),
    /// The branch is served, or somebody has asked for another one since.
    Needless,
    /// Not before the end of the one that is under way.
    AfterAnother,
}

/// A switch for which the place is reserved.
struct Begun {
    serving: Serving,
    /// With the branch that is switched to.
    config: DatabaseConfig,
    /// Whether it was switched by hand before.
    was_by_hand: bool,
}

impl Host {
    /// The branches of a database that are there.
    pub async fn branches(&self, name: &DatabaseName) -> Result<Listing, Arc<Error>> {
        let config = self.config_of(name)?;
        Ok(branches::list(&self.heads(&config).await?, &self.holder(&config)).await?)
    }

    /// The branch that a database serves, or would.
    pub fn branch_of(&self, name: &DatabaseName) -> Option<BranchName> {
        match self.serving_of(name) {
            Some(serving) => Some(serving.database.branch()),
            None => self.slots.lock().get(name).map(|slot| slot.config.location.branch.clone()),
        }
    }

    /// Makes a branch from a state of another, which is flushed first if it is served here. The database itself need not be open.
    pub async fn create_branch(&self, config: &DatabaseConfig, new: &NewBranch) -> Result<BranchFacts, Arc<Error>> {
        let opener = self.opener(config).await?;
        let heads = opener.heads(config);
        // Before its source is looked for: what is there already needs none.
        branches::can_be_made(&heads, &new.name).await?;
        let source = Box::pin(self.source(config, &opener, &new.from, new.point)).await?;
        let birth = Birth { maker: Some(maker(&opener.me)), policy: new.policy, kept_for: None };
        Ok(Box::pin(branches::create(&heads, &new.name, &source, &birth)).await?)
    }

    /// The same for a database that was opened here.
    pub async fn create_branch_of(
        &self,
        name: &DatabaseName,
        branch: &BranchName,
        from: Option<&BranchName>,
        point: Point,
    ) -> Result<BranchFacts, Arc<Error>> {
        let config = self.config_of(name)?;
        let from = from.cloned().or_else(|| self.branch_of(name)).unwrap_or_else(BranchName::main);
        self.create_branch(&config, &NewBranch { name: branch.clone(), from, point, policy: OnLeave::Retain }).await
    }

    /// Notes what the maker of a branch wants of it, or that it is declared no more.
    pub async fn note_fate(&self, name: &DatabaseName, branch: &BranchName, fate: Fate) -> Result<(), Arc<Error>> {
        let config = self.config_of(name)?;
        let opener = self.opener(&config).await?;
        Ok(branches::note_fate(&opener.heads(&config), branch, fate, &opener.me).await?)
    }

    /// Deletes a branch that its maker declares no more since this moment. One that was brought back meanwhile stays.
    pub async fn delete_leaving_branch(&self, name: &DatabaseName, branch: &BranchName, since: WallTime) -> Result<(), Arc<Error>> {
        let config = self.config_of(name)?;
        self.refuse_served(&config, branch)?;
        self.await_left(&config, branch).await;
        let opener = self.opener(&config).await?;
        Ok(branches::delete_leaving(&opener.heads(&config), branch, since, &opener.me).await?)
    }

    /// Deletes a branch that nobody serves. One that is not there is fine.
    pub async fn delete_branch(&self, name: &DatabaseName, branch: &BranchName) -> Result<(), Arc<Error>> {
        let config = self.config_of(name)?;
        self.refuse_served(&config, branch)?;
        self.await_left(&config, branch).await;
        let opener = self.opener(&config).await?;
        Ok(branches::delete(&opener.heads(&config), branch, &opener.me).await?)
    }

    /// A branch that is being opened, switched to or closed is served, too.
    fn refuse_served(&self, config: &DatabaseConfig, branch: &BranchName) -> Result<(), Arc<Error>> {
        let place = place_of(config, branch);
        let slots = self.slots.lock();
        let Some((by, _)) = slots.iter().find(|(_, slot)| slot.holds(&place)) else { return Ok(()) };
        let why = format!("is served by {by}: switch to another branch first");
        Err(Arc::new(Error::BranchRefused { database: config.name.clone(), branch: branch.clone(), why }))
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
        self.await_left(&config, to).await;
        let hash = asked.hash(to);
        if let Some(done) = self.done_before(&config, &opener, to, &asked, &hash).await? {
            return Ok(done);
        }
        let target = self.target(&config, to, asked.meant_for.as_ref())?;
        let from = Box::pin(self.source(&config, &opener, &asked.from, asked.txid.map_or(Point::Newest, Point::Txid))).await?;
        let id = asked.id.unwrap_or_else(|| self.put_ids.fresh().to_string());
        let overwrite = |reply| Overwrite { id, hash, from, expected: asked.expected, keep_as: asked.keep_as, reply };
        match target {
            Some(database) => database.overwrite(overwrite).await,
            None => Box::pin(self.overwrite_unserved(&config, &opener, to, overwrite)).await,
        }
    }

    /// Whether an overwrite was carried out under this id before, as the head record of `to` tells. It is asked before the source is looked
    /// for, which may be gone since, and whoever serves `to`.
    async fn done_before(
        &self,
        config: &DatabaseConfig,
        opener: &Opener,
        to: &BranchName,
        asked: &OverwriteRequest,
        hash: &str,
    ) -> Result<Option<Overwritten>, Arc<Error>> {
        let Some(id) = asked.id.as_deref() else { return Ok(None) };
        let Some(stored) = opener.heads(config).read(to).await? else { return Ok(None) };
        match remembered(&config.name, to, &stored.record, id, hash)? {
            Remembered::Done(done) => Ok(Some(done)),
            Remembered::NotDone => Ok(None),
            // Of a branch that is open this process knows that it was not, and goes on.
            Remembered::Begun if self.target(config, to, asked.meant_for.as_ref())?.is_some() => Ok(None),
            Remembered::Begun => {
                let config = at_branch(config, to);
                let mut ready = opener.open(&config).await?;
                let found = remembered(&config.name, to, ready.tenure.record(), id, hash);
                ready.release().await;
                Ok(if let Remembered::Done(done) = found? { Some(done) } else { None })
            }
        }
    }

    /// The database that serves the branch that is to be overwritten, if it is the one that asks; `None` if nobody does or is meant to.
    fn target(&self, config: &DatabaseConfig, to: &BranchName, meant_for: Option<&DatabaseName>) -> Result<Option<Database>, Error> {
        let database = config.name.clone();
        let place = place_of(config, to);
        let slots = self.slots.lock();
        if let Some(by) = holder(&slots, &place, &database) {
            return Err(Error::ServedElsewhere { database, branch: to.clone(), by });
        }
        let served = slots.get(&database).filter(|slot| slot.place == place && !slot.is_only_known());
        let why = match served.map(|slot| &slot.status) {
            None | Some(Status::Declared) => {
                return match meant_for {
                    Some(by) => Err(Error::ServedElsewhere { database, branch: to.clone(), by: by.clone() }),
                    None => Ok(None),
                };
            }
            Some(Status::Open(serving)) => return Ok(Some(serving.database.clone())),
            Some(Status::Opening { .. }) => NotServed::Opening,
            Some(Status::Failed { .. }) => NotServed::Failed,
            Some(Status::Closing(..)) => NotServed::Closing,
            Some(Status::Suspended { .. }) => NotServed::Suspended,
        };
        Err(Error::NotServed { database, why })
    }

    async fn overwrite_unserved(
        &self,
        config: &DatabaseConfig,
        opener: &Opener,
        to: &BranchName,
        overwrite: impl FnOnce(oneshot::Sender<Result<Overwritten, Arc<Error>>>) -> Overwrite,
    ) -> Result<Overwritten, Arc<Error>> {
        let config = at_branch(config, to);
        let ready = opener.open(&config).await?;
        let (_settings, settings_seen) = watch::channel(Settings::of(&config, Arc::clone(&opener.bucket)));
        let mut flusher = self.flusher(&config, settings_seen, ready, Box::new(|| {}), Box::new(|_| {}));
        let (reply, mut answer) = oneshot::channel();
        flusher.overwrite(overwrite(reply)).await;
        flusher.release().await;
        answer.try_recv().unwrap_or_else(|_| {
            let detail = "an overwrite ended without an answer".to_owned();
            Err(Arc::new(Error::Internal { database: config.name.clone(), detail }))
        })
    }

    /// Goes on with the branch that the configuration names, unless another one was asked for by hand since it did. Requests that write wait
    /// meanwhile, and so do other switches; open transactions are rolled back. What has begun goes on without whoever asked.
    pub async fn switch_branch(self: &Arc<Self>, name: &DatabaseName, to: &BranchName) -> Result<(), Arc<Error>> {
        self.switch(name, to, false).await
    }

    /// The same, whatever the configuration names, until it names another branch.
    pub async fn switch_branch_by_hand(self: &Arc<Self>, name: &DatabaseName, to: &BranchName) -> Result<(), Arc<Error>> {
        self.switch(name, to, true).await
    }

    async fn switch(self: &Arc<Self>, name: &DatabaseName, to: &BranchName, by_hand: bool) -> Result<(), Arc<Error>> {
        let mut changes = self.changes();
        let begun = loop {
            match self.begin_switch(name, to, by_hand)? {
                Beginning::Begun(begun) => break begun,
                Beginning::Needless => return Ok(()),
                // However that one ends, it is told.
                Beginning::AfterAnother => drop(changes.recv().await),
            }
        };
        let host = Arc::clone(self);
        let work = async move {
            let Begun { serving, config, .. } = &*begun;
            let switched = caught(&config.name, "switching", host.switch_to(serving, config)).await;
            host.end_switch(&begun, switched.is_ok());
            switched
        };
        // A task of the host's own: the place must not stay that of another branch because whoever asked for the switch went away.
        let task = self.tasks.spawn(work.in_current_span());
        task.await.expect("the task catches panics, and nobody aborts it")
    }

    /// Reserves the place that is switched to.
    fn begin_switch(&self, name: &DatabaseName, to: &BranchName, by_hand: bool) -> Result<Beginning, Arc<Error>> {
        let serving = self.serving_of(name).ok_or_else(|| self.not_served(name))?;
        let mut slots = self.slots.lock();
        let Some(slot) = slots.get(name) else { return Err(unknown(name)) };
        // Whoever asks for what the configuration names may not know yet that somebody has asked for another one since.
        if slot.by_hand && !by_hand {
            return Ok(Beginning::Needless);
        }
        if slot.next.is_some() {
            return Ok(Beginning::AfterAnother);
        }
        if serving.database.facts().branch == *to {
            return Ok(Beginning::Needless);
        }
        let config = at_branch(&slot.config, to);
        let next = Held { endpoint: slot.place.endpoint.clone(), location: config.location.clone() };
        if let Some(by) = holder(&slots, &next, name) {
            return Err(Arc::new(Error::HeldElsewhere { database: name.clone(), by }));
        }
        let was_by_hand = slot.by_hand;
        if let Some(slot) = slots.get_mut(name) {
            slot.next = Some(next);
            // Before anybody can see that the branch is not the one of the configuration.
            slot.by_hand = by_hand;
        }
        Ok(Beginning::Begun(Box::new(Begun { serving, config, was_by_hand })))
    }

    fn end_switch(&self, Begun { serving, config, was_by_hand }: &Begun, is_switched: bool) {
        let mut slots = self.slots.lock();
        // It may have been abandoned, and even opened anew, in the meantime.
        if let Some(slot) = slots.get_mut(&config.name).filter(|slot| slot.is_serving(serving)) {
            match slot.next.take() {
                Some(next) if is_switched => slot.place = next,
                // The configuration may have named another branch since.
                _ => slot.by_hand &= was_by_hand,
            }
        }
        drop(slots);
        self.changed(&config.name);
    }

    async fn switch_to(&self, serving: &Serving, config: &DatabaseConfig) -> Result<(), Arc<Error>> {
        let opener = self.opener(config).await?;
        self.await_left(config, &config.location.branch).await;
        let ready = opener.open(config).await?;
        seed::create_tables(&ready.state.memory).await?;
        self.remember(&config.name, ready.tenure.epoch());
        serving.database.switch(ready).await?;
        // gc must know what this branch needs before its next run.
        serving.database.files().announce().await;
        Ok(())
    }

    /// A state of a branch that is in the bucket. The newest of one that is served here is flushed first.
    async fn source(&self, config: &DatabaseConfig, opener: &Opener, branch: &BranchName, point: Point) -> Result<Source, Arc<Error>> {
        let archive = opener.archive(config);
        let newest = match self.server_of(config, branch) {
            Some((_, database)) => database.source().await?,
            None => newest_in_bucket(&archive, branch).await?,
        };
        match point {
            Point::Newest => return Ok(newest),
            // A fence gives the same content another number.
            Point::Txid(asked) if (newest.same_since..=newest.txid).contains(&asked) => return Ok(newest),
            Point::At(at) if (newest.time..=archive.now).contains(&at) => return Ok(newest),
            Point::Txid(_) | Point::At(_) => {}
        }
        if let Some(begins) = archive.record(branch).await?.as_ref().and_then(HeadRecord::chained_from) {
            return Ok(archive.recalled(branch, begins, point).await?.into_source(branch, None));
        }
        let PastState { txid, time, memory } = archive.state(branch, point).await?;
        Ok(Source { branch: branch.clone(), txid, time, same_since: txid, pin: memory.pin(), checksum: None, base: None })
    }

    /// Waits for whoever has gone on with another branch here, and has something left to do of this one.
    pub(super) async fn await_left(&self, config: &DatabaseConfig, branch: &BranchName) {
        let place = place_of(config, branch);
        let leaving: Vec<_> = {
            let slots = self.slots.lock();
            let open = slots.values().filter(|slot| at(&slot.place, branch) == place).filter_map(|slot| match &slot.status {
                Status::Open(serving) => serving.database.leaving(),
                _ => None,
            });
            open.filter(|leaving| leaving.branch == *branch).map(|leaving| leaving.done).collect()
        };
        for done in leaving {
            done.await;
        }
    }

    /// Who serves a branch of this database here.
    pub(super) fn server_of(&self, config: &DatabaseConfig, branch: &BranchName) -> Option<(DatabaseName, Database)> {
        let place = place_of(config, branch);
        self.slots.lock().iter().find(|(_, slot)| slot.place == place).and_then(|(name, slot)| match &slot.status {
            Status::Open(serving) if !slot.is_only_known() => Some((name.clone(), serving.database.clone())),
            _ => None,
        })
    }

    pub(super) fn serving_of(&self, name: &DatabaseName) -> Option<Serving> {
        match &self.slots.lock().get(name)?.status {
            Status::Open(serving) => Some(Serving::clone(serving)),
            Status::Declared | Status::Opening { .. } | Status::Failed { .. } | Status::Closing(..) | Status::Suspended { .. } => None,
        }
    }

    pub(super) fn config_of(&self, name: &DatabaseName) -> Result<DatabaseConfig, Arc<Error>> {
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

async fn newest_in_bucket(archive: &Archive, branch: &BranchName) -> Result<Source, Error> {
    let record = archive.record(branch).await?;
    let noted = record.as_ref().and_then(|record| record.snapshot.clone());
    if let Some(begins) = record.as_ref().and_then(HeadRecord::chained_from) {
        let newest = archive.recalled(branch, begins, Point::Newest).await?;
        return Ok(newest.into_source(branch, noted.as_ref()));
    }
    let PastState { txid, time, memory } = archive.state(branch, Point::Newest).await?;
    let same_since = noted.filter(|noted| noted.txid == txid).map_or(txid, |noted| noted.same_since);
    Ok(Source { branch: branch.clone(), txid, time, same_since, pin: memory.pin(), checksum: None, base: None })
}

pub(super) fn place_of(config: &DatabaseConfig, branch: &BranchName) -> Held {
    Held { endpoint: config.store.endpoint.clone(), location: Location { branch: branch.clone(), ..config.location.clone() } }
}

/// The same place but for the branch.
fn at(place: &Held, branch: &BranchName) -> Held {
    Held { endpoint: place.endpoint.clone(), location: Location { branch: branch.clone(), ..place.location.clone() } }
}

/// The same database at another branch.
fn at_branch(config: &DatabaseConfig, branch: &BranchName) -> DatabaseConfig {
    DatabaseConfig { location: Location { branch: branch.clone(), ..config.location.clone() }, ..config.clone() }
}

fn unknown(name: &DatabaseName) -> Arc<Error> {
    Arc::new(Error::NotServed { database: name.clone(), why: NotServed::Unknown })
}
