//! The state of a branch that a command works on: from its arguments and the environment.

use std::path::PathBuf;

use engine::{BranchName, DatabaseKey, Point, WallTime};

use super::store::{self, SettingsError, Store, StoreArguments, wrong};

/// Which database, branch and state.
#[derive(Debug, Clone, Default, clap::Args)]
#[group(skip)]
pub(super) struct StateArguments {
    #[command(flatten)]
    store: StoreArguments,
    /// The database; by default `BUCKETHEAD_KEY`.
    #[arg(long, value_name = "KEY")]
    key: Option<String>,
    /// The branch; by default `BUCKETHEAD_BRANCH`, or `main`.
    #[arg(long, value_name = "NAME")]
    branch: Option<String>,
    /// The state with this number.
    #[arg(long, value_name = "N", conflicts_with = "at")]
    txid: Option<u64>,
    /// The newest state that was made no later than this, such as `2026-11-23T08:00:00Z`.
    #[arg(long, value_name = "TIME")]
    at: Option<String>,
}

/// A state of a branch, and how its bucket is reached.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct StateSettings {
    pub(super) store: Store,
    pub(super) key: DatabaseKey,
    pub(super) branch: BranchName,
    pub(super) point: Point,
}

impl StateArguments {
    /// Whether the command line says which bucket is meant.
    pub(super) fn names_a_bucket(&self) -> bool {
        self.store.names_a_bucket() || self.key.is_some()
    }

    pub(super) fn into_ca_file(self) -> Option<PathBuf> {
        self.store.ca_file
    }

    /// Which state is meant.
    pub(super) fn point(&self) -> Result<Point, SettingsError> {
        match (self.txid, &self.at) {
            (None, None) => Ok(Point::Newest),
            (Some(0), _) => Err(wrong("--txid: states are numbered from 1")),
            (Some(txid), _) => Ok(Point::Txid(txid)),
            (None, Some(at)) => match at.parse::<WallTime>() {
                Ok(at) => Ok(Point::At(at)),
                Err(_) => Err(wrong(format!("--at: `{at}` is no moment, such as 2026-11-23T08:00:00Z"))),
            },
        }
    }

    /// With what the environment says where an argument is absent.
    pub(super) fn settings(self, env: impl Fn(&str) -> Option<String>) -> Result<StateSettings, SettingsError> {
        let point = self.point()?;
        let Self { store, key, branch, .. } = self;
        let env = store::trimmed(env);
        let key = key.or_else(|| env("BUCKETHEAD_KEY")).unwrap_or_else(|| DatabaseKey::DEFAULT.to_owned());
        let branch = branch.or_else(|| env("BUCKETHEAD_BRANCH")).unwrap_or_else(|| BranchName::main().to_string());
        Ok(StateSettings {
            store: store.settings(&env)?,
            key: DatabaseKey::parse(&key).map_err(wrong)?,
            branch: BranchName::parse(&branch).map_err(wrong)?,
            point,
        })
    }
}
