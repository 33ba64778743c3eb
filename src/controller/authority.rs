//! The API server as the one who knows tokens: whose they are (`TokenReview`), and what RBAC lets them do (`SubjectAccessReview`).
//!
//! Owns: which rights on which resource stand for which permission. Does not own: for how long an answer holds (`api`).
//! Invariant: whatever is not a clear yes of the API server is no permission.

use std::fmt::Debug;

use engine::{Authority, AuthorityError, DatabaseName, Permission};
use futures::future::BoxFuture;
use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec, UserInfo};
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec};
use kube::api::PostParams;
use kube::{Api, Client, Resource};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::crd::BucketDatabase;

/// What of a `BucketDatabase` roles name where they mean its data.
const DATA: &str = "data";
/// The verb of roles that lets somebody change the data, and with that read it.
const WRITES: &str = "update";
/// The verb that lets somebody read it.
const READS: &str = "get";

/// The API server that a client leads to.
pub struct KubernetesAuthority {
    client: Client,
}

impl KubernetesAuthority {
    /// The identity of `client` must have the right to create both kinds of reviews.
    pub fn new(client: Client) -> Self {
        Self { client }
    }

    /// Whose token it is.
    async fn user(&self, token: &str) -> Result<Option<UserInfo>, AuthorityError> {
        let spec = TokenReviewSpec { token: Some(token.to_owned()), ..TokenReviewSpec::default() };
        let asked = TokenReview { spec, ..TokenReview::default() };
        let status = self.create(&asked, "asking the API server whose token it is").await?.status.unwrap_or_default();
        Ok(status.user.filter(|_| status.authenticated == Some(true)))
    }

    /// Whether RBAC, or whatever else the API server asks, lets them.
    async fn may(&self, user: &UserInfo, verb: &str, database: &DatabaseName) -> Result<bool, AuthorityError> {
        let attributes = ResourceAttributes {
            group: Some(BucketDatabase::group(&()).into_owned()),
            version: Some(BucketDatabase::version(&()).into_owned()),
            resource: Some(BucketDatabase::plural(&()).into_owned()),
            subresource: Some(DATA.to_owned()),
            namespace: Some(database.namespace().to_owned()),
            name: Some(database.name().to_owned()),
            verb: Some(verb.to_owned()),
            ..ResourceAttributes::default()
        };
        let UserInfo { username, groups, uid, extra } = user.clone();
        let spec = SubjectAccessReviewSpec {
            user: username,
            groups,
            uid,
            extra,
            resource_attributes: Some(attributes),
            ..SubjectAccessReviewSpec::default()
        };
        let asked = SubjectAccessReview { spec, ..SubjectAccessReview::default() };
        let status = self.create(&asked, "asking the API server what its bearer may do").await?.status.unwrap_or_default();
        Ok(status.allowed && status.denied != Some(true))
    }

    async fn create<K>(&self, asked: &K, doing: &'static str) -> Result<K, AuthorityError>
    where
        K: Resource<DynamicType = ()> + Serialize + DeserializeOwned + Clone + Debug,
    {
        let created = Api::<K>::all(self.client.clone()).create(&PostParams::default(), asked).await;
        created.map_err(|error| AuthorityError { doing, source: error.into() })
    }
}

impl Authority for KubernetesAuthority {
    fn review<'a>(&'a self, database: &'a DatabaseName, token: &'a str) -> BoxFuture<'a, Result<Option<Permission>, AuthorityError>> {
        Box::pin(async move {
            let Some(user) = self.user(token).await? else { return Ok(None) };
            for (verb, permission) in [(WRITES, Permission::Write), (READS, Permission::Read)] {
                if self.may(&user, verb, database).await? {
                    return Ok(Some(permission));
                }
            }
            Ok(None)
        })
    }
}

#[cfg(test)]
mod tests;
