//! The store that a command works on: from its arguments and the environment.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;
use engine::BucketName;
use engine::bucket::s3::{Credentials, EndpointPolicy, StoreConfig, Stores};
use engine::bucket::{Bucket, BucketSource as _};
use url::Url;

/// Which bucket, where, and with which keys.
#[derive(Debug, Clone, Default, clap::Args)]
pub(super) struct StoreArguments {
    /// The bucket; by default `R2_BUCKET`.
    #[arg(long, value_name = "NAME")]
    bucket: Option<String>,
    /// The store; by default `R2_ENDPOINT_URL`, that of `R2_ACCOUNT_ID`, or `AWS_ENDPOINT_URL`. AWS itself, if none is named and the keys are
    /// those of `AWS_*`.
    #[arg(long, value_name = "URL")]
    endpoint: Option<String>,
    /// The store's region; by default `AWS_REGION`, or `auto`.
    #[arg(long, value_name = "NAME")]
    region: Option<String>,
    /// If keys of both families are set, take those of `AWS_*`, as the operator does with a Secret; by default those of `R2_*`.
    #[arg(long)]
    prefer_aws: bool,
    /// Certificates (PEM) of a private authority that the certificate of the store, or of the server, is from; trusted besides the public
    /// ones.
    #[arg(long, value_name = "FILE")]
    pub(super) ca_file: Option<PathBuf>,
}

/// A bucket, and how it is reached.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Store {
    pub(super) bucket: BucketName,
    pub(super) config: StoreConfig,
    ca_file: Option<PathBuf>,
}

/// What was not said, or cannot be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum SettingsError {
    /// Nothing was done.
    #[error("settings are missing: {}", .0.join(", "))]
    Missing(Vec<&'static str>),
    /// Nothing was done: neither a server nor a bucket is named.
    #[error("name a server by BUCKETHEAD_URL (or --url), or a bucket, for which settings are missing: {}", .0.join(", "))]
    Neither(Vec<&'static str>),
    /// Nothing was done.
    #[error("{0}")]
    Wrong(String),
}

/// The environment, without the line break that `echo` leaves in a Secret and without what is empty.
pub(super) fn trimmed(env: impl Fn(&str) -> Option<String>) -> impl Fn(&str) -> Option<String> {
    move |name| env(name).map(|value| value.trim_end_matches(['\r', '\n']).to_owned()).filter(|value| !value.is_empty())
}

impl StoreArguments {
    /// Whether the command line says which bucket is meant.
    pub(super) fn names_a_bucket(&self) -> bool {
        self.bucket.is_some() || self.endpoint.is_some()
    }

    /// With what the environment says where an argument is absent.
    pub(super) fn settings(self, env: &impl Fn(&str) -> Option<String>) -> Result<Store, SettingsError> {
        let mut missing = Vec::new();
        let has = |family: &str| env(&format!("{family}_ACCESS_KEY_ID")).or(env(&format!("{family}_SECRET_ACCESS_KEY"))).is_some();
        let is_r2 = if self.prefer_aws { !has("AWS") } else { has("R2") || env("AWS_ACCESS_KEY_ID").is_none() };
        let (id, secret) =
            if is_r2 { ("R2_ACCESS_KEY_ID", "R2_SECRET_ACCESS_KEY") } else { ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY") };
        let account = || env("R2_ACCOUNT_ID").map(|account| format!("https://{account}.r2.cloudflarestorage.com"));
        let endpoint = self.endpoint.or_else(|| env("R2_ENDPOINT_URL")).or_else(account).or_else(|| env("AWS_ENDPOINT_URL"));
        let bucket = self.bucket.or_else(|| env("R2_BUCKET"));
        let mut need = |value: Option<String>, name| {
            value.unwrap_or_else(|| {
                missing.push(name);
                String::new()
            })
        };
        let bucket = need(bucket, "R2_BUCKET (or --bucket)");
        let credentials = Credentials {
            access_key_id: need(env(id), id),
            secret_access_key: need(env(secret), secret),
            session_token: env("AWS_SESSION_TOKEN").filter(|_| !is_r2),
        };
        if is_r2 && endpoint.is_none() {
            missing.push("R2_ENDPOINT_URL or R2_ACCOUNT_ID (or --endpoint)");
        }
        if !missing.is_empty() {
            return Err(SettingsError::Missing(missing));
        }
        let config = StoreConfig {
            endpoint: endpoint.as_deref().map(parse_endpoint).transpose()?,
            region: self.region.or_else(|| env("AWS_REGION")).unwrap_or_else(|| "auto".to_owned()),
            credentials: credentials.into(),
            ca_bundle: None,
            kms_key_id: None,
        };
        Ok(Store { bucket: BucketName::parse(&bucket).map_err(wrong)?, config, ca_file: self.ca_file })
    }
}

impl Store {
    /// The bucket itself.
    pub(super) fn reach(self) -> anyhow::Result<Arc<dyn Bucket>> {
        let (bucket, config) = self.into_config()?;
        stores().bucket(&config, &bucket).context("preparing to reach the store")
    }

    /// The bucket's name, and how its store is reached.
    pub(super) fn into_config(mut self) -> anyhow::Result<(BucketName, StoreConfig)> {
        let read =
            |path: &PathBuf| std::fs::read(path).with_context(|| format!("cannot read the certificates of --ca-file {}", path.display()));
        self.config.ca_bundle = self.ca_file.as_ref().map(read).transpose()?;
        Ok((self.bucket, self.config))
    }
}

/// What its user names on the command line is theirs to reach, and lends nobody's identity but its own.
pub(super) fn stores() -> Stores {
    Stores::new(EndpointPolicy { allow_loopback: true, ..EndpointPolicy::default() })
}

pub(super) fn wrong(error: impl std::fmt::Display) -> SettingsError {
    SettingsError::Wrong(error.to_string())
}

fn parse_endpoint(text: &str) -> Result<Url, SettingsError> {
    let url = Url::parse(text).map_err(|error| wrong(format!("the endpoint `{text}` is no URL: {error}")))?;
    if matches!(url.scheme(), "http" | "https") {
        Ok(url)
    } else {
        Err(wrong(format!("the endpoint `{text}` must begin with http:// or https://")))
    }
}
