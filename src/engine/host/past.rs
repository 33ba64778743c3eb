//! Past states of the databases that are open, for whoever wants to read them.
//!
//! Owns: which state of which tenure is meant, and that those who ask for the same one share it. Does not own: for how long it stays
//! (`pasts.rs`), nor how it is put together (`past.rs`).
//! Invariants: a state ends with the opening of the database whose past it is; of one database one is put together at a time.

use std::sync::Arc;

use tokio::sync::mpsc;

use super::{COMMANDS_KEPT, Host};
use crate::database::Database;
use crate::error::{Error, NotServed};
use crate::facts::Origin;
use crate::head::HeadRecord;
use crate::names::DatabaseName;
use crate::past::{PastState, Point};
use crate::pasts::{Line, NoRoom, Room};
use crate::seed;
use crate::shown::Shown;

impl Host {
    /// A state of the branch that an open database serves, as a database of its own that can only be read. Whoever asks for the same gets the same.
    pub async fn past(&self, name: &DatabaseName, point: Point) -> Result<Database, Arc<Error>> {
        let present = self.get(name)?.database;
        if point == Point::Newest {
            return Ok(present);
        }
        let config = self.config_of(name)?;
        let line = present.line();
        let known = |point| self.pasts.find(&line, point).inspect(|past| past.set_limits(config.limits));
        if let Some(past) = known(point) {
            return Ok(past);
        }
        let _turn = present.turn_to_recall().await;
        // Whoever had the turn may have asked for the same.
        if let Some(past) = known(point) {
            return Ok(past);
        }
        let archive = self.opener(&config).await?.archive(&config);
        let newest = present.facts().txid;
        let begins = archive.record(&line.branch).await?.as_ref().and_then(HeadRecord::chained_from);
        let meant = match begins {
            Some(begins) => archive.meant(&line.branch, begins, point).await?.map(|meant| (begins, meant)),
            None => None,
        };
        let txid = meant.as_ref().map(|(_, meant)| meant.txid.get());
        let past = if let Some(past) = txid.and_then(|txid| known(Point::Txid(txid))) {
            past
        } else {
            let restoring = async {
                match meant {
                    Some((begins, meant)) => Ok(PastState::of(archive.recall(&line.branch, begins, meant).await?)),
                    None => archive.state(&line.branch, point).await,
                }
            };
            let (state, room) = self.restored(name, present.size(), restoring).await?;
            self.begin_to_show(&present, &line, state, room).await?
        };
        if let (Point::At(at), Some(txid)) = (point, txid)
            && txid < newest
        {
            // A later state was there when it was looked for, and times never run backwards.
            self.pasts.settle(&line, txid, at);
        }
        Ok(past)
    }

    /// Has a state put together in room of its own. `expected` is what it takes, in bytes, as far as anybody knows before.
    pub(super) async fn restored(
        &self,
        name: &DatabaseName,
        expected: u64,
        restoring: impl Future<Output = Result<PastState, Error>>,
    ) -> Result<(PastState, Room), Error> {
        let too_large = |needed| move |no_room| too_large(name, needed, no_room);
        let mut room = self.pasts.room(expected).map_err(too_large(expected))?;
        // Others are restored as well, and all of it takes memory.
        let _turn = self.restores.turn(expected).await;
        let state = restoring.await?;
        room.resize(state.memory.size()).map_err(too_large(state.memory.size()))?;
        Ok((state, room))
    }

    async fn begin_to_show(&self, present: &Database, line: &Line, state: PastState, room: Room) -> Result<Database, Error> {
        // Whoever asks the views of a database finds their tables, also in one from before they came.
        seed::create_tables(&state.memory).await?;
        let shown = Shown::new(line.database.clone(), line.branch.clone(), &state);
        let (commands, commands_seen) = mpsc::channel(COMMANDS_KEPT);
        let origin = Origin::Chain { txid: state.txid, size: state.memory.size() };
        let txid = state.txid;
        let past = present.past(state.memory, origin, shown.ledger(line.epoch), commands, room);
        let (weak, present, pasts, line) = (past.downgrade(), present.clone(), Arc::clone(&self.pasts), line.clone());
        pasts.keep(line.clone(), txid, past.clone());
        self.tasks.spawn(async move {
            tokio::select! {
                () = shown.run(commands_seen) => {}
                () = present.ended() => {
                    pasts.forget(&line);
                    if let Some(past) = weak.upgrade() {
                        let gone = Error::NotServed { database: line.database, why: NotServed::Closing };
                        past.lose(Arc::new(gone)).await;
                    }
                }
            }
        });
        Ok(past)
    }
}

fn too_large(database: &DatabaseName, needed: u64, NoRoom { free, limit }: NoRoom) -> Error {
    let database = database.clone();
    if needed > limit { Error::PastTooLarge { database, needed, limit } } else { Error::NoRoomForPast { database, needed, free, limit } }
}
