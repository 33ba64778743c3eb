//! What lies at `<key>` although the head record does not know it.
//!
//! The branch is its chain, so `<key>` decides nothing by itself. The Python package uploads whenever it exits, and a process of ours may
//! have ended between its PUT and its note: neither is news. A content that nobody has seen is.
//! Invariant: a content that is not in the chain is taken over only where nothing but fences came after the snapshot that it replaced, and
//! where it shows that it was made from that one (`lineage.rs`); otherwise it is kept aside.

use ltx::Txid;

use super::{Opener, fault};
use crate::bucket::ObjectMeta;
use crate::chains::Chain;
use crate::config::DatabaseConfig;
use crate::delta::Tip;
use crate::error::Error;
use crate::head::SnapshotRef;
use crate::memory::MemoryDatabase;
use crate::restore::{self, txid_of};
use crate::snapshot::{Place, content_of, metadata};
use crate::tenure::Tenure;

/// What was found at `<key>`.
pub(super) enum Standing {
    /// What the head record says.
    Known(ObjectMeta),
    /// A state of the chain.
    State { meta: ObjectMeta, txid: u64, content: String },
    /// Nothing.
    Gone,
    /// No database.
    Damaged(ObjectMeta),
    /// Somebody went on from the branch's newest state.
    Newer { found: MemoryDatabase, meta: ObjectMeta, content: String },
    /// Somebody went on from an earlier state, or from none, or nobody can tell.
    Aside(ObjectMeta),
}

impl Opener {
    #[allow(clippy::too_many_arguments, reason = "all that is known of the branch")]
    pub(super) async fn look_at_snapshot(
        &self,
        config: &DatabaseConfig,
        tenure: &Tenure,
        chain: &Chain,
        first: Txid,
        tip: &Tip,
        memory: &MemoryDatabase,
        recorded: Option<&SnapshotRef>,
        meta: Option<ObjectMeta>,
    ) -> Result<Standing, Error> {
        let Some(meta) = meta else { return Ok(Standing::Gone) };
        if recorded.is_some_and(|recorded| recorded.etag() == meta.etag) {
            return Ok(Standing::Known(meta));
        }
        let (found, meta) = match restore::read(&config.name, &self.bucket, tenure.place(), self.options.clone()).await {
            Ok(Some(found)) => found,
            Ok(None) => return Ok(Standing::Gone),
            Err(Error::SnapshotCorrupt { .. }) => return Ok(Standing::Damaged(meta)),
            // Whatever it is, it is not ours, and nobody can go on from it.
            Err(Error::SnapshotTooLarge { .. }) => return Ok(Standing::Aside(meta)),
            Err(error) => return Err(error),
        };
        let content = content_of(&found.pin()).await.map_err(|error| fault(config, error))?;
        let current = content_of(&memory.pin()).await.map_err(|error| fault(config, error))?;
        if content == current {
            return Ok(Standing::State { meta, txid: tip.txid.get(), content });
        }
        if let Some(recorded) = recorded.filter(|recorded| recorded.content == content) {
            let txid = recorded.txid;
            return Ok(Standing::State { meta, txid, content });
        }
        if tenure.record().had(&content) {
            let txid = txid_of(&meta);
            return Ok(Standing::State { meta, txid, content });
        }
        if chain.has_state_of(first, tip.txid, &meta, &content, &self.options).await? || self.is_previous(config, tenure, &content).await? {
            let txid = txid_of(&meta);
            return Ok(Standing::State { meta, txid, content });
        }
        // What says that it is one of ours, and is not what it says, is damaged: nobody else went on from anything.
        let is_damaged = meta.metadata.contains_key(metadata::CHECKSUM);
        if is_damaged || recorded.is_none_or(|recorded| recorded.content != current) {
            return Ok(Standing::Aside(meta));
        }
        if found.page_size() != memory.page_size() {
            let (theirs, ours) = (found.page_size(), memory.page_size());
            tracing::warn!(database = %config.name, %theirs, %ours, "the snapshot of somebody else has pages of another size, and is not taken over");
            return Ok(Standing::Aside(meta));
        }
        let follows = self.goes_on_from(config, chain, first, tip, memory, &found).await?;
        Ok(if follows { Standing::Newer { found, meta, content } } else { Standing::Aside(meta) })
    }

    /// Whether it is the snapshot before the newest, which somebody brought back.
    async fn is_previous(&self, config: &DatabaseConfig, tenure: &Tenure, content: &str) -> Result<bool, Error> {
        let place = Place { key: tenure.place().previous.clone(), ..tenure.place().clone() };
        match restore::read(&config.name, &self.bucket, &place, self.options.clone()).await {
            Ok(Some((found, _))) => Ok(content_of(&found.pin()).await.is_ok_and(|previous| previous == content)),
            Ok(None) | Err(Error::SnapshotCorrupt { .. } | Error::SnapshotTooLarge { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }
}
