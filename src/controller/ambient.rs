//! To whom the operator lends its own identity: which namespace, for which objects. Pure.
//!
//! Whoever writes a resource works with the operator's rights then, so that all a database writes must lie where its namespace was given
//! room: `<key>` and what begins with it, the contents below the files' prefix, and what lies beside that prefix. Requests that bear the
//! operator's signature go to AWS, or to the endpoint that the list itself names; never to one of a tenant's choosing.

use std::sync::Arc;

use engine::{FilesPolicy, Location};
use serde::Deserialize;
use url::Url;

use crate::crd::BucketDatabaseSpec;
use crate::resolve::parse_endpoint;

/// What the operator lends; nothing, unless somebody says so.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(from = "Vec<Lent>")]
pub struct AmbientCredentials(Arc<[Lent]>);

impl From<Vec<Lent>> for AmbientCredentials {
    fn from(lent: Vec<Lent>) -> Self {
        Self(lent.into())
    }
}

/// What one namespace is lent.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Lent {
    namespace: String,
    buckets: Vec<Room>,
}

/// Where databases of the namespace may lie.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Room {
    bucket: String,
    prefix: Prefix,
    /// The store; AWS if there is none.
    endpoint: Option<Endpoint>,
}

/// What the keys of all objects must begin with: nothing, or whole parts up to a slash. So `apps/` can never mean `apps-of-others/`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(try_from = "String")]
struct Prefix(String);

impl TryFrom<String> for Prefix {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if text.is_empty() || (text.ends_with('/') && !text.starts_with('/')) {
            Ok(Self(text))
        } else {
            Err(format!("the prefix `{text}` must end with `/` and not begin with it; an empty one is the whole bucket"))
        }
    }
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(try_from = "String")]
struct Endpoint(Url);

impl TryFrom<String> for Endpoint {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        parse_endpoint(&text).map(Self).map_err(|error| error.to_string())
    }
}

/// Why a resource without credentials does not get the operator's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NotLent {
    /// Its namespace is lent nothing.
    #[error("spec.credentials is not set, and the operator does not lend its own identity to this namespace: {SECRET}")]
    Namespace,
    /// The bucket is none of its namespace.
    #[error(
        "spec.bucket: the operator lends its own identity to this namespace for other buckets than `{bucket}`: name one of those, or {SECRET}"
    )]
    Bucket {
        /// What it asks for.
        bucket: String,
    },
    /// The endpoint is none for which the bucket is lent.
    #[error(
        "spec.endpoint: the operator's own identity is never used with an endpoint that its list does not name for the bucket: {}, or {SECRET}",
        if *.is_named { "leave it out" } else { "name the endpoint of the list" }
    )]
    Endpoint {
        /// Whether the resource names one.
        is_named: bool,
    },
    /// The objects of the database would lie elsewhere.
    #[error("spec.key: the operator lends its own identity to this namespace only for keys that begin with {}: take such a key, or {SECRET}", quoted(.prefixes))]
    Key {
        /// What it must begin with.
        prefixes: Vec<String>,
    },
    /// The files would lie elsewhere, or what lies beside their prefix would.
    #[error(
        "spec.files.prefix: the operator lends its own identity to this namespace only for prefixes that begin with {} and go on after it: take such \
         a prefix, or {SECRET}",
        quoted(.prefixes)
    )]
    FilesPrefix {
        /// What it must begin with.
        prefixes: Vec<String>,
    },
    /// A key for encryption is named, and by the operator's identity that could be anybody's.
    #[error(
        "spec.encryption: the operator's own identity is not used with a key that the resource names: leave it out and give the bucket a default \
         key, or {SECRET}"
    )]
    Encryption,
}

const SECRET: &str = "name a Secret in spec.credentials.secretRef that holds AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or R2_ACCESS_KEY_ID and \
                      R2_SECRET_ACCESS_KEY";

fn quoted(prefixes: &[String]) -> String {
    let quoted: Vec<_> = prefixes.iter().map(|prefix| format!("`{prefix}`")).collect();
    quoted.join(" or ")
}

/// Where the objects of a resource lie.
pub(crate) struct Wanted<'a> {
    pub(crate) namespace: &'a str,
    pub(crate) spec: &'a BucketDatabaseSpec,
    pub(crate) location: &'a Location,
    pub(crate) files: &'a FilesPolicy,
    pub(crate) endpoint: Option<&'a Url>,
}

impl AmbientCredentials {
    /// Whether a resource may have the operator's identity.
    pub(crate) fn lend(&self, wanted: &Wanted<'_>) -> Result<(), NotLent> {
        let Wanted { namespace, spec, location, files, endpoint } = wanted;
        let mut rooms: Vec<&Room> = self.0.iter().filter(|lent| lent.namespace == *namespace).flat_map(|lent| &lent.buckets).collect();
        if rooms.is_empty() {
            return Err(NotLent::Namespace);
        }
        rooms.retain(|room| room.bucket == location.bucket.as_str());
        if rooms.is_empty() {
            return Err(NotLent::Bucket { bucket: location.bucket.as_str().to_owned() });
        }
        rooms.retain(|room| room.endpoint.as_ref().map(|endpoint| &endpoint.0) == *endpoint);
        if rooms.is_empty() {
            return Err(NotLent::Endpoint { is_named: endpoint.is_some() });
        }
        // Chains, head records and branches lie at keys that begin with that of the database.
        let (prefixes, is_inside) = within(rooms, location.key.as_str());
        let rooms = is_inside.ok_or(NotLent::Key { prefixes })?;
        // Owners and marks lie beside the prefix: at keys that begin with it, without its slash.
        let (prefixes, is_inside) = within(rooms, files.prefix.as_str().trim_end_matches('/'));
        is_inside.ok_or(NotLent::FilesPrefix { prefixes })?;
        if spec.encryption.is_some() { Err(NotLent::Encryption) } else { Ok(()) }
    }
}

/// The prefixes that there are, and the rooms in which an object of this key may lie, if there is one.
fn within<'a>(rooms: Vec<&'a Room>, key: &str) -> (Vec<String>, Option<Vec<&'a Room>>) {
    let prefixes = rooms.iter().map(|room| room.prefix.0.clone()).collect();
    let inside: Vec<_> = rooms.into_iter().filter(|room| key.starts_with(&room.prefix.0)).collect();
    (prefixes, Some(inside).filter(|inside| !inside.is_empty()))
}

#[cfg(test)]
mod tests;
