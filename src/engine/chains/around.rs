//! Ways around what is damaged.
//!
//! Owns: which other files are taken for one that is not what it was, and the newest state that can still be proved. Does not own: what proves
//! a state (`memory/assembly.rs`).
//! Invariants: what is damaged is named; no other state is ever taken for the one that is asked for; the plain file counts for nothing but the
//! state whose checksum it has.

use std::collections::BTreeSet;

use chain::{File, Files, Level, Target};
use ltx::{Txid, TxidRange};

use super::reading::{Fetched, Problem, Recalled};
use super::{Chain, SlotMark, millis};
use crate::bucket::{self, ObjectMeta};
use crate::clock::WallTime;
use crate::delta::{self, Encoded, Tip};
use crate::error::Error;
use crate::facts::Damage;
use crate::image;
use crate::memory::{LoadError, MemoryDatabase, MemoryOptions};
use crate::restore::{epoch_of, txid_of};
use crate::snapshot::metadata;

/// The plain file of a branch as a file of its chain.
pub(super) struct Plain {
    pub(super) file: File,
    encoded: Encoded,
}

impl Plain {
    pub(super) fn fetched(&self) -> Fetched {
        Fetched { mark: SlotMark::None, body: self.encoded.content().reader() }
    }
}

/// The files of a chain, and which of them may be taken.
struct Ways<'a> {
    chain: &'a Chain,
    first: Txid,
    options: &'a MemoryOptions,
    files: Files,
    damage: Vec<Damage>,
    /// The plain file, if it is a way.
    plain: Option<Plain>,
    /// Somebody has looked for it.
    looked: bool,
}

impl Chain {
    /// Some state, by whichever files there are for it.
    pub(crate) async fn past(&self, first: Txid, target: Target, options: &MemoryOptions) -> Result<Recalled, Error> {
        let mut ways = Ways::of(self, first, options).await?;
        // Damage makes no other state the newest.
        let target = ways.files.asked(target).map_or(target, Target::Txid);
        loop {
            let problem = match ways.recall(target).await? {
                Ok(recalled) => return Ok(Recalled { damage: ways.damage, ..recalled }),
                Err(problem) => problem,
            };
            if let Problem::Missing(missing) = &problem
                && !ways.look_at_plain().await?
            {
                let details = [missing.to_string()].into_iter().chain(ways.damage.iter().map(ToString::to_string));
                return Err(self.broken(details.collect::<Vec<_>>().join("; ")));
            }
            ways.avoid(problem).await?;
        }
    }

    /// The newest state that can be proved.
    pub(crate) async fn provable(&self, first: Txid, options: &MemoryOptions) -> Result<Option<Recalled>, Error> {
        let mut ways = Ways::of(self, first, options).await?;
        ways.look_at_plain().await?;
        loop {
            let Some(furthest) = ways.left().reach() else { return Ok(None) };
            match ways.recall(Target::Txid(furthest)).await? {
                Ok(recalled) => return Ok(Some(Recalled { damage: ways.damage, ..recalled })),
                Err(Problem::Missing(_)) => return Ok(None),
                Err(problem) => ways.avoid(problem).await?,
            }
        }
    }

    /// The plain file, where it is a state of this branch: where it has the checksum that its writer knew of that state.
    async fn plain(&self, first: Txid, options: &MemoryOptions) -> Result<Option<Plain>, Error> {
        let object = self.bucket.get(&self.plain, None).await.map_err(|source| self.failed(source))?;
        let Some(object) = object else { return Ok(None) };
        let meta = object.meta.clone();
        let Some(claim) = Claim::of(&meta, self, first).filter(|_| meta.size <= options.max_size) else { return Ok(None) };
        let reader = bucket::reader(object.body);
        let (txids, time) = (TxidRange::new(Txid::FIRST, claim.txid), millis(meta.last_modified.unwrap_or(WallTime::UNIX_EPOCH)));
        let Some(file) = txids.map(|txids| File { level: Level::Whole, txids, time, size: meta.size }) else { return Ok(None) };
        let (options, pace, epoch) = (options.clone(), options.pace.clone(), epoch_of(&meta));
        let read = move || -> Result<Option<Encoded>, LoadError> {
            let Some(image) = image::unstamped(reader, &claim.counters)? else { return Ok(None) };
            let pin = MemoryDatabase::load(image, options)?.pin();
            let tip = Tip::of(&pin, claim.txid, time);
            if tip.checksum().to_string() != claim.checksum {
                return Ok(None);
            }
            Ok(Some(delta::Draft::whole(&pin, &tip, epoch).encoded()?))
        };
        match pace.run(read).await.map_err(|panic| self.fault(panic.to_string()))? {
            Ok(encoded) => Ok(encoded.map(|encoded| Plain { file, encoded })),
            Err(LoadError::NotADatabase(_) | LoadError::TooLarge { .. }) => Ok(None),
            Err(error) => Err(self.unloaded(error)),
        }
    }
}

/// What the plain file says of itself. Copies inherit metadata, so it proves nothing.
struct Claim {
    txid: Txid,
    checksum: String,
    counters: String,
}

impl Claim {
    fn of(meta: &ObjectMeta, chain: &Chain, first: Txid) -> Option<Self> {
        let of = |key: &str| meta.metadata.get(key).cloned();
        let txid = Txid::new(txid_of(meta)).filter(|txid| *txid >= first)?;
        let is_of_branch = of(metadata::BRANCH).as_deref() == Some(chain.branch.as_str());
        is_of_branch.then_some(Self { txid, checksum: of(metadata::CHECKSUM)?, counters: of(metadata::COUNTERS)? })
    }
}

impl<'a> Ways<'a> {
    async fn of(chain: &'a Chain, first: Txid, options: &'a MemoryOptions) -> Result<Self, Error> {
        Ok(Self { chain, first, options, files: chain.all_files(first).await?, damage: Vec::new(), plain: None, looked: false })
    }

    /// Those that were not found damaged.
    fn left(&self) -> Files {
        let damaged: BTreeSet<String> = self.damage.iter().map(|damage| damage.file.clone()).collect();
        let left = self.files.without(&damaged);
        match &self.plain {
            Some(plain) if !left.iter().any(|file| file.level == Level::Whole && file.txids == plain.file.txids) => left.and(plain.file),
            Some(_) | None => left,
        }
    }

    async fn recall(&self, target: Target) -> Result<Result<Recalled, Problem>, Error> {
        Box::pin(self.chain.recall(&self.left(), target, self.plain.as_ref(), self.options)).await
    }

    /// Whether the plain file, which nobody has looked at yet, is one more way.
    async fn look_at_plain(&mut self) -> Result<bool, Error> {
        if self.looked {
            return Ok(false);
        }
        self.plain = self.chain.plain(self.first, self.options).await?;
        self.looked = true;
        Ok(self.plain.is_some())
    }

    /// Takes the file no more.
    async fn avoid(&mut self, problem: Problem) -> Result<(), Error> {
        match problem {
            Problem::Damaged(file, detail) => self.note(file, detail),
            Problem::Gone(file) => {
                // Whoever retires old files may have been faster than we.
                self.files = self.chain.all_files(self.first).await?;
                if self.files.iter().any(|there| there.to_string() == file.to_string()) {
                    self.note(file, "it is listed, and it is not there".to_owned());
                }
            }
            Problem::Missing(_) => {}
        }
        Ok(())
    }

    fn note(&mut self, file: File, detail: String) {
        self.plain = self.plain.take().filter(|plain| plain.file != file);
        tracing::error!(database = %self.chain.database, branch = %self.chain.branch, %file, detail, "a file of the chain is damaged");
        self.damage.push(Damage { file: file.to_string(), detail });
    }
}
