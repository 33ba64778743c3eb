//! A state of a database that is shown as it lies in its bucket, to whoever looks at a database that they do not serve.
//!
//! Owns: what such a database answers where others have a flusher. Does not own: how the state is put together (`past.rs`).
//! Invariants: nothing is written to the bucket, and whoever has the branch is not disturbed.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::mpsc;

use crate::branches::Source;
use crate::durable::Durable;
use crate::error::Error;
use crate::facts::Uploads;
use crate::flusher::{Command, Ledger};
use crate::head::Epoch;
use crate::names::{BranchName, DatabaseName};
use crate::naming::Naming;
use crate::past::PastState;

/// What is in the place of a flusher.
pub(crate) struct Shown {
    database: DatabaseName,
    source: Source,
}

impl Shown {
    /// A state of a branch.
    pub(crate) fn new(database: DatabaseName, branch: BranchName, state: &PastState) -> Self {
        let PastState { txid, time, memory } = state;
        Self {
            database,
            source: Source { branch, txid: *txid, time: *time, same_since: *txid, pin: memory.pin(), checksum: None, base: None },
        }
    }

    /// What others see of it. `epoch` is that of whoever has the branch.
    pub(crate) fn ledger(&self, epoch: Epoch) -> (Arc<Mutex<Ledger>>, Arc<Durable>) {
        let Source { branch, txid, time, pin, .. } = &self.source;
        let ledger = Ledger {
            branch: branch.clone(),
            epoch,
            durable: Some(pin.commits()),
            durable_time: Some(*time),
            txid: *txid,
            last_snapshot: None,
            uploads: Uploads::Fine,
            outside: None,
            damaged: None,
            dirty_since: None,
            longest_lag: None,
            naming: Naming::without_names(),
            only_shown: true,
            leaving: None,
        };
        (Arc::new(Mutex::new(ledger)), Arc::new(Durable::at(pin.commits())))
    }

    /// Answers until it is told to finish.
    pub(crate) async fn run(self, mut commands: mpsc::Receiver<Command>) {
        // Nobody may be waiting for an answer any more.
        while let Some(command) = commands.recv().await {
            match command {
                Command::Flush(_, reply) => drop(reply.send(Err(self.refused()))),
                Command::Pin(reply) => drop(reply.send(Ok(self.source.clone()))),
                Command::Check(reply) => drop(reply.send(Err(self.refused()))),
                Command::Switch(switch) => drop(switch.reply.send(Err(self.refused()))),
                Command::Overwrite(overwrite) => drop(overwrite.reply.send(Err(self.refused()))),
                // Proofs are for what is served.
                Command::Tell(_) | Command::Renew(..) => {}
                Command::Finish(reply) => {
                    reply.send(Ok(None)).ok();
                    return;
                }
            }
        }
    }

    fn refused(&self) -> Arc<Error> {
        Arc::new(refused(&self.database))
    }
}

/// It is not for changes.
pub(crate) fn refused(database: &DatabaseName) -> Error {
    Error::OnlyShown { database: database.clone() }
}
