//! A [`Bucket`](super::Bucket) on S3-compatible stores.

use std::net::IpAddr;

/// Keys of an account of the store.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// `AWS_ACCESS_KEY_ID`.
    pub access_key_id: String,
    /// `AWS_SECRET_ACCESS_KEY`.
    pub secret_access_key: String,
    /// `AWS_SESSION_TOKEN`.
    pub session_token: Option<String>,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials").field("access_key_id", &self.access_key_id).finish_non_exhaustive()
    }
}

/// How a store is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreConfig {
    /// Absent for AWS itself.
    pub endpoint: Option<url::Url>,
    /// `auto` for R2; with AWS a real one.
    pub region: String,
    /// Who asks.
    pub credentials: Credentials,
    /// PEM certificates of a private authority, besides the system's.
    pub ca_bundle: Option<Vec<u8>>,
    /// The key for the store's own encryption (SSE-KMS).
    pub kms_key_id: Option<String>,
}

/// Which endpoints are refused. Link-local and metadata addresses always are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EndpointPolicy {
    /// For `dev` and tests only.
    pub allow_loopback: bool,
    /// Refuse private addresses (RFC 1918, unique local, shared), too.
    pub deny_private: bool,
    /// Addresses refused besides: the API server's.
    pub refused: Vec<IpAddr>,
}

/// Makes buckets; holds what they share (connections, certificates, the endpoint rules).
#[derive(Debug, Clone)]
pub struct Stores {}

#[allow(missing_docs, unused_variables, clippy::todo, reason = "skeleton")]
impl Stores {
    /// With these rules.
    pub fn new(policy: EndpointPolicy) -> Self {
        todo!()
    }
    /// A bucket of a store. Does no request yet.
    pub fn bucket(&self, config: &StoreConfig, bucket: &crate::names::BucketName) -> Result<std::sync::Arc<dyn super::Bucket>, super::Error> {
        todo!()
    }
}
