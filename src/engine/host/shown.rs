//! Databases that somebody looks at without serving them.
//!
//! Owns: that they are in nobody's way: neither what is declared nor what is shown holds its place against others.
//! Invariant: nothing is written to the bucket by either.

use std::sync::Arc;

use tokio::sync::{mpsc, watch};

use super::{COMMANDS_KEPT, Held, Host, Serving, Slot, Status};
use crate::config::DatabaseConfig;
use crate::database::Database;
use crate::error::Error;
use crate::facts::Origin;
use crate::flusher::Settings;
use crate::past::{Archive, Point};
use crate::seed;
use crate::shown::Shown;

impl Host {
    /// Makes a database known whose branches are to be worked with, and which is not opened.
    pub fn declare(&self, config: DatabaseConfig) {
        self.slots.lock().insert(config.name.clone(), Slot::of(config, Status::Declared));
    }

    /// Opens a state of the branch that a configuration names, to look at. Whoever has the branch is not disturbed.
    pub async fn show(&self, config: DatabaseConfig, point: Point) -> Result<(), Error> {
        let heads = self.heads(&config).await?;
        let bucket = Arc::clone(&heads.bucket);
        let archive = Archive { heads, options: self.memory_options(&config), now: self.options.clock.wall() };
        let branch = &config.location.branch;
        let epoch = archive.record(branch).await?.map(|record| record.epoch).unwrap_or_default();
        let state = archive.state(branch, point).await?;
        // Whoever asks the views of a database finds their tables, also in one that somebody else made.
        seed::create_tables(&state.memory).await?;
        let shown = Shown::new(config.name.clone(), branch.clone(), &state);
        let files = self.file_store(&config, &bucket);
        let (settings, _) = watch::channel(Settings::of(&config, bucket));
        let (commands, commands_seen) = mpsc::channel(COMMANDS_KEPT);
        let origin = Origin::Chain { txid: state.txid, size: state.memory.size() };
        let database = Database::new(config.name.clone(), state.memory, origin, shown.ledger(epoch), files, commands, config.limits);
        self.tasks.spawn(shown.run(commands_seen));
        let status = Status::Open(Box::new(Serving { database, settings }));
        self.slots.lock().insert(config.name.clone(), Slot::of(config, status));
        Ok(())
    }
}

impl Slot {
    /// At the place that its configuration names.
    pub(super) fn of(config: DatabaseConfig, status: Status) -> Self {
        Self {
            place: Held { endpoint: config.store.endpoint.clone(), location: config.location.clone() },
            next: None,
            by_hand: false,
            rests: false,
            access: Arc::new(config.access.clone()),
            config: Arc::new(config),
            status,
        }
    }
}
