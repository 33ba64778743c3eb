//! Deleting a database from its bucket, step by step. Each may be done again, and whoever died in between is no obstacle.
//!
//! Owns: that nothing goes which this process serves for another resource. Does not own: what is deleted, nor in which order.

use std::sync::Arc;

use super::branches::place_of;
use super::{Host, holder};
use crate::branches;
use crate::config::DatabaseConfig;
use crate::error::Error;
use crate::names::{BranchName, DatabaseName};
use crate::remains::{self, Remains};

impl Host {
    /// What there is of a database in its bucket. It need not be open.
    pub async fn survey(&self, config: &DatabaseConfig) -> Result<Remains, Arc<Error>> {
        let mut remains = remains::survey(&self.heads(config).await?, &config.files.prefix, &self.holder(config)).await?;
        for branch in &mut remains.branches {
            branch.served_by = self.other_server_of(config, &branch.name);
        }
        Ok(remains)
    }

    /// Deletes a branch that this resource made, `main` as well. One that another resource holds, or serves here, is refused.
    pub async fn delete_own_branch(&self, config: &DatabaseConfig, branch: &BranchName) -> Result<(), Arc<Error>> {
        if let Some(by) = self.other_server_of(config, branch) {
            let why = format!("is served by {by}");
            return Err(Arc::new(Error::BranchRefused { database: config.name.clone(), branch: branch.clone(), why }));
        }
        Ok(branches::delete_own(&self.heads(config).await?, branch, &self.holder(config)).await?)
    }

    /// Deletes what is left besides the branches, once they are gone.
    pub async fn delete_rest(&self, config: &DatabaseConfig) -> Result<(), Arc<Error>> {
        Ok(remains::delete_rest(&self.heads(config).await?, &config.files.prefix).await?)
    }

    fn other_server_of(&self, config: &DatabaseConfig, branch: &BranchName) -> Option<DatabaseName> {
        holder(&self.slots.lock(), &place_of(config, branch), &config.name)
    }
}
