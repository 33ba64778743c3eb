//! The state that a tenure begins with, and what becomes of a branch whose newest state cannot be proved.
//!
//! Invariants: a state earlier than the newest is offered, and taken only if its user names it; numbers of states that cannot be had are
//! not given again; the chain goes on behind them with a whole database, behind the slot that a late write would take.

use chain::Level;
use ltx::Txid;

use super::{Opener, ended, fault};
use crate::chains::{Chain, Landing, Recalled, SlotMark, Upload, wall};
use crate::config::DatabaseConfig;
use crate::delta::{Draft, Tip};
use crate::error::{Error, Offered};
use crate::head::HeadRecord;
use crate::memory::Pin;
use crate::naming::ProvedState;
use crate::tenure::Tenure;

/// A state that the files prove.
pub(super) struct Proved {
    pub(super) recalled: Recalled,
    /// It is not the newest.
    pub(super) accepted: Option<Accepted>,
}

/// What its user takes for the newest state.
pub(super) struct Accepted {
    pub(super) state: ProvedState,
    /// The highest number that was ever given.
    pub(super) instead_of: u64,
}

/// What is wrong where files end before what the record knows.
pub(crate) fn short_of(noted: u64, newest: Txid) -> String {
    format!("its record knows of txid {noted}, but the files end with txid {}", newest.get())
}

impl Opener {
    /// The newest state, or the one that its user takes for it.
    pub(super) async fn proved(
        &self,
        config: &DatabaseConfig,
        chain: &Chain,
        first: Txid,
        last: Option<&HeadRecord>,
    ) -> Result<Proved, Error> {
        let noted = last.map_or(0, |record| record.txid);
        let detail = match chain.newest(first, &self.options).await {
            Ok(recalled) if recalled.tip.txid.get() >= noted => return Ok(Proved { recalled, accepted: None }),
            Ok(recalled) => short_of(noted, recalled.tip.txid),
            Err(Error::ChainBroken { detail, .. }) => detail,
            Err(error) => return Err(error),
        };
        let recalled = chain.provable(first, &self.options).await?;
        let offered = recalled.as_ref().map(|recalled| Offered {
            state: ProvedState { epoch: recalled.epoch, txid: recalled.tip.txid.get() },
            time: wall(recalled.tip.time),
        });
        match (recalled, offered) {
            (Some(recalled), Some(Offered { state, .. })) if config.accept_state == Some(state) => {
                let instead_of = chain.newest_number(first).await?.max(noted);
                tracing::warn!(database = %config.name, branch = %config.location.branch, %state, instead_of, "an earlier state takes the place of the newest, as its user said");
                Ok(Proved { recalled, accepted: Some(Accepted { state, instead_of }) })
            }
            _ => Err(Error::ChainBroken { database: config.name.clone(), branch: config.location.branch.clone(), detail, offered }),
        }
    }

    /// Has the chain go on with this state behind all numbers that were given. `None` if the branch must be looked at again.
    pub(super) async fn begin_anew(
        &self,
        config: &DatabaseConfig,
        tenure: &mut Tenure,
        chain: &Chain,
        from: &Tip,
        pin: &Pin,
        instead_of: u64,
    ) -> Result<Option<Tip>, Error> {
        let newest = Txid::new(instead_of).ok_or_else(|| fault(config, "a number that was given is not zero"))?;
        // The slot that a late write of the last tenure would take. Nobody reads it, since the whole database of the same number comes first.
        let mut tip = Tip { txid: newest, ..from.clone() };
        let (state, by, pinned) = (tip.clone(), self.by(tenure), pin.clone());
        let fence = tokio::task::spawn_blocking(move || state.delta(&pinned, None, by)).await.map_err(|panic| fault(config, panic))?;
        if !self.land(config, tenure, chain, &mut tip, &fence, SlotMark::Fence).await? {
            return Ok(None);
        }
        tip.same_since = tip.txid;
        let (whole, put_id) = (Draft::whole(pin, &tip, tenure.epoch()), self.put_ids.fresh());
        let file = tokio::task::spawn_blocking(move || whole.encoded()).await.map_err(|panic| fault(config, panic))?;
        let upload = Upload { level: Level::Whole, file: file.map_err(|error| fault(config, error))?, put_id, mark: SlotMark::None };
        match chain.put(&upload).await {
            Landing::Stored => Ok(Some(tip)),
            Landing::Taken(_) => tenure.check().await.map(|()| None).map_err(|failure| ended(config, tenure, failure)),
            Landing::NotWritten(source) | Landing::Unclear(source) => {
                Err(Error::Bucket { database: config.name.clone(), doing: "beginning the chain anew", source })
            }
        }
    }
}
