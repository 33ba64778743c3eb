//! The part of the spec that says where the store is and how it is reached.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use super::rules;

/// A bucket of Cloudflare R2: the endpoint is `https://<accountId>.r2.cloudflarestorage.com`.
#[derive(KubeSchema, Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct R2 {
    /// The account's id: 32 hexadecimal digits, as the dashboard shows it.
    #[schemars(length(min = 32, max = 32))]
    #[x_kube(validation = rules::account_id())]
    pub account_id: String,

    /// The jurisdiction that the bucket was made in, if any: `eu` or `fedramp`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jurisdiction: Option<Jurisdiction>,
}

/// A jurisdiction of Cloudflare R2; its buckets have an endpoint of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Jurisdiction {
    /// The European Union.
    Eu,
    /// The federal government of the United States.
    Fedramp,
}

/// How the certificate of the endpoint is checked.
#[derive(KubeSchema, Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EndpointTls {
    /// A key of a Secret in this namespace that holds the certificates (PEM) of a private authority. They are trusted besides the public
    /// ones, by this database alone.
    pub ca_ref: SecretKeyRef,
}

/// One key of a Secret in the namespace of the resource.
#[derive(KubeSchema, Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SecretKeyRef {
    /// The name of the Secret.
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = rules::object_name())]
    pub name: String,

    /// The key in the Secret's data.
    #[serde(default = "ca_crt")]
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = rules::data_key())]
    pub key: String,
}

/// A Secret in the namespace of the resource.
#[derive(KubeSchema, Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SecretRef {
    /// The name of the Secret.
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = rules::object_name())]
    pub name: String,
}

/// Encryption by the store.
#[derive(KubeSchema, Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Encryption {
    /// The KMS key that the store encrypts with (SSE-KMS): its id, ARN or alias. It holds for objects written from now on.
    #[schemars(length(min = 1, max = 2048))]
    #[x_kube(validation = rules::kms_key_id())]
    pub kms_key_id: String,
}

/// Where the keys for the bucket come from.
#[derive(KubeSchema, Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Credentials {
    /// A Secret in this namespace with `AWS_ACCESS_KEY_ID` and `AWS_SECRET_ACCESS_KEY` (and `AWS_SESSION_TOKEN`, if there is one), or with
    /// `R2_ACCESS_KEY_ID` and `R2_SECRET_ACCESS_KEY`. A changed Secret is noticed within five
    /// minutes (later among more than 150 resources), and at once when the store refuses the old keys.
    pub secret_ref: SecretRef,
}

fn ca_crt() -> String {
    "ca.crt".to_owned()
}
