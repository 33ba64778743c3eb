//! Letting another process have what this one does not serve.
//!
//! Invariant: the record is changed only while it still names this process, and never said to be released: a late write of an earlier tenure may be under
//! way, and whoever opens the branch makes it harmless.

use std::sync::Arc;

use super::{Host, Status};
use crate::error::Error;
use crate::names::DatabaseName;

impl Host {
    /// Forgets a database that is failed or suspended, and takes this process's name from its branch, so that another need not wait for this process to
    /// end. Nothing of it is served, and nothing unsaved.
    pub async fn give_away(&self, name: &DatabaseName) -> Result<(), Arc<Error>> {
        let config = match self.slots.lock().get(name) {
            Some(slot) if matches!(slot.status, Status::Failed { .. } | Status::Suspended { .. }) => Arc::clone(&slot.config),
            Some(_) | None => return Ok(()),
        };
        let heads = self.heads(&config).await?;
        let branch = &config.location.branch;
        if let Some(found) = heads.read(branch).await?
            && !found.record.released
            && found.record.holder.as_ref() == Some(&self.holder(&config))
        {
            let next = found.record.unheld();
            // Whoever was faster has the branch.
            heads.write(branch, Some(&found), next).await?;
        }
        self.forget(name);
        Ok(())
    }
}
