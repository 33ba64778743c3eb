//! The state of a branch that a command works on: from its arguments and the environment.

use engine::{BranchName, DatabaseKey, Point, WallTime};

use super::store::{self, SettingsError, Store, StoreArguments, wrong};

/// Which database, branch and state.
#[derive(Debug, clap::Args)]
#[group(skip)]
pub(super) struct StateArguments {
    #[command(flatten)]
    store: StoreArguments,
    /// The database; by default `BUCKETHEAD_KEY`.
    #[arg(long, value_name = "KEY")]
    key: Option<String>,
    /// The branch.
    #[arg(long, value_name = "NAME", default_value = "main")]
    branch: String,
    /// The state with this number.
    #[arg(long, value_name = "N", conflicts_with = "at")]
    txid: Option<u64>,
    /// The newest state that was made no later than this, such as `2026-11-23T08:00:00Z`.
    #[arg(long, value_name = "TIME")]
    at: Option<String>,
}

/// A state of a branch, and how its bucket is reached.
#[derive(Debug, PartialEq)]
pub(super) struct StateSettings {
    pub(super) store: Store,
    pub(super) key: DatabaseKey,
    pub(super) branch: BranchName,
    pub(super) point: Point,
}

/// What the help of such a command says of the environment.
macro_rules! environment {
    () => {
        "\
Environment: R2_BUCKET, R2_ENDPOINT_URL or R2_ACCOUNT_ID, R2_ACCESS_KEY_ID, R2_SECRET_ACCESS_KEY, BUCKETHEAD_KEY, or AWS_ACCESS_KEY_ID, \
AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN, AWS_ENDPOINT_URL, AWS_REGION.\n\n"
    };
}
pub(super) use environment;

impl StateArguments {
    /// With what the environment says where an argument is absent.
    pub(super) fn settings(self, env: impl Fn(&str) -> Option<String>) -> Result<StateSettings, SettingsError> {
        let Self { store, key, branch, txid, at } = self;
        let env = store::trimmed(env);
        let key = key.or_else(|| env("BUCKETHEAD_KEY")).unwrap_or_else(|| DatabaseKey::DEFAULT.to_owned());
        let point = match (txid, at) {
            (None, None) => Point::Newest,
            (Some(0), _) => return Err(wrong("--txid: states are numbered from 1")),
            (Some(txid), _) => Point::Txid(txid),
            (None, Some(at)) => {
                Point::At(at.parse::<WallTime>().map_err(|_| wrong(format!("--at: `{at}` is no moment, such as 2026-11-23T08:00:00Z")))?)
            }
        };
        Ok(StateSettings {
            store: store.settings(&env)?,
            key: DatabaseKey::parse(&key).map_err(wrong)?,
            branch: BranchName::parse(&branch).map_err(wrong)?,
            point,
        })
    }
}
