//! The identity of this process, as the default chain of the AWS SDK finds it: the environment, a profile, a web identity (IRSA), the
//! container's (EKS Pod Identity), the machine's.
//!
//! Owns: where it comes from, and that all clients share one answer. Does not own: who may use it, which is for whoever makes a
//! [`StoreConfig`](super::StoreConfig) to decide.
//! The endpoint rules do not apply to these requests: the environment of this process names where they go, no tenant does, and metadata
//! services are what it names.

use aws_config::default_provider::credentials::DefaultCredentialsChain;
use aws_config::provider_config::ProviderConfig;
use aws_credential_types::provider::future::ProvideCredentials as Answer;
use aws_credential_types::provider::{self, ProvideCredentials, SharedCredentialsProvider};
use aws_sdk_s3::config::{IdentityCache, SharedIdentityCache};
use tokio::sync::OnceCell;

use super::connect::{self, Proxy};

/// The identity, and the last answer to who it is.
#[derive(Clone)]
pub(super) struct Ambient {
    provider: SharedCredentialsProvider,
    answers: SharedIdentityCache,
}

impl Ambient {
    /// That of this process. Nobody is asked before the first request needs it.
    pub(super) fn of_process(proxy: Option<Proxy>) -> Self {
        Self::from(SharedCredentialsProvider::new(Chain { proxy, found: OnceCell::new() }))
    }

    /// A client that asks with it. The same provider and the same answers each time, or each client would ask for itself.
    pub(super) fn sign(&self, sdk: &mut aws_sdk_s3::config::Builder) {
        sdk.set_credentials_provider(Some(self.provider.clone()));
        sdk.set_identity_cache(self.answers.clone());
    }
}

impl From<SharedCredentialsProvider> for Ambient {
    fn from(provider: SharedCredentialsProvider) -> Self {
        Self { provider, answers: IdentityCache::lazy().build() }
    }
}

/// What the environment names, once somebody asked.
struct Chain {
    proxy: Option<Proxy>,
    found: OnceCell<DefaultCredentialsChain>,
}

impl std::fmt::Debug for Chain {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Chain(…)")
    }
}

impl Chain {
    async fn credentials(&self) -> provider::Result {
        let find = || async {
            let http = connect::unchecked_http_client(self.proxy.clone());
            DefaultCredentialsChain::builder().configure(ProviderConfig::default().with_http_client(http)).build().await
        };
        self.found.get_or_init(find).await.provide_credentials().await
    }
}

impl ProvideCredentials for Chain {
    fn provide_credentials<'a>(&'a self) -> Answer<'a>
    where
        Self: 'a,
    {
        Answer::new(self.credentials())
    }
}
