//! What `dev` keeps beside the data so that the next start has it again: the store's keys, and the API's token.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use anyhow::Context as _;
use engine::bucket::s3::Credentials;
use rand::Rng as _;
use serde::{Deserialize, Serialize};

/// The secrets of one data folder.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Secrets {
    access_key_id: String,
    secret_access_key: String,
    api_token: String,
    /// What stands for the identity of a cluster: two folders are two.
    #[serde(default = "random_text")]
    cluster: String,
}

impl Secrets {
    /// Reads those of an earlier start, or makes new ones, readable by their owner alone.
    pub(super) fn of_folder(folder: &Path) -> anyhow::Result<Self> {
        let path = folder.join("secrets.json");
        match fs::read(&path) {
            Ok(bytes) => {
                serde_json::from_slice(&bytes).with_context(|| format!("{} is damaged; delete it to get new keys", path.display()))
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let secrets = Self::fresh();
                let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
                file.write_all(&serde_json::to_vec_pretty(&secrets)?)?;
                Ok(secrets)
            }
            Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
        }
    }

    fn fresh() -> Self {
        Self {
            access_key_id: "buckethead-dev".to_owned(),
            secret_access_key: random_text(),
            api_token: random_text(),
            cluster: random_text(),
        }
    }

    /// For the embedded store.
    pub(super) fn credentials(&self) -> Credentials {
        Credentials { access_key_id: self.access_key_id.clone(), secret_access_key: self.secret_access_key.clone(), session_token: None }
    }

    /// Tells the resources of this folder from those of another.
    pub(super) fn cluster(&self) -> &str {
        &self.cluster
    }

    /// For an API that others can reach.
    pub(super) fn api_token(&self) -> &str {
        &self.api_token
    }
}

/// 128 random bits, as text.
fn random_text() -> String {
    #[allow(clippy::disallowed_methods, reason = "secrets are drawn here, once for each data folder")]
    let bits: u128 = rand::rng().random();
    format!("{bits:032x}")
}
