//! The part of the spec that is about branches: which there are, and which overwrites which.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use super::{DeletionPolicy, rules};

/// A branch that is created once. Where it began cannot be changed: delete it and declare another name.
#[derive(KubeSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = rules::one_point())]
pub struct BranchSpec {
    /// The branch's name: letters, digits, `_` and `-`, but not `main`, which always exists. For example `release-7`.
    #[schemars(length(min = 1, max = 63))]
    #[x_kube(validation = rules::branch_name(), validation = rules::not_main())]
    pub name: String,

    /// The branch that it begins as a copy of.
    #[serde(default = "super::default::main")]
    #[schemars(length(min = 1, max = 63))]
    #[x_kube(validation = rules::branch_name())]
    pub from: String,

    /// The moment of `from` that it begins at, for example `2026-11-23T08:00:00Z`; within `durability.retention`. Without `at` and `txid` it
    /// begins at the newest state.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at: Option<Time>,

    /// The state of `from` that it begins at, by its number; in place of `at`. It must be within `durability.retention`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "rules::txid")]
    pub txid: Option<u64>,

    /// What happens to the branch's objects in the bucket when it leaves this list: `Retain` leaves them, `Delete` removes them after
    /// `durability.retention`, if this resource made it and nobody needs it. Until then the annotation `buckethead.dev/keep-branch` with
    /// its name brings it back.
    #[serde(default)]
    pub deletion_policy: DeletionPolicy,
}

/// Overwrites the branch `to` with the content of another, once for each `id`.
#[derive(KubeSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = rules::promotion_needs_two_branches(),
    validation = rules::promotion_keeps_under_new_name(),
    validation = rules::promotion_id_is_used_once()
)]
pub struct Promotion {
    /// Names this promotion, for example `release-7`. The bucket remembers it, so that a promotion is never carried out twice, not even by
    /// another cluster over the same bucket. Other content needs another id.
    #[schemars(length(min = 1, max = 63))]
    #[x_kube(validation = rules::promotion_id())]
    pub id: String,

    /// Where the content comes from.
    pub from: PromotionSource,

    /// The branch that is overwritten: the one that this resource serves, or one that nobody serves.
    #[serde(default = "super::default::main")]
    #[schemars(length(min = 1, max = 63))]
    #[x_kube(validation = rules::branch_name())]
    pub to: String,

    /// Overwrite only if `to` still has the content of this txid; else the promotion ends in `Stalled`. Absent: whatever `to` holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "rules::txid")]
    pub expected_txid: Option<u64>,

    /// Keeps what `to` held as a branch of this name, for example `main-before-release-7`; the way back. It may not be declared in
    /// `branches`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    #[x_kube(validation = rules::branch_name(), validation = rules::not_main())]
    pub keep_previous_as: Option<String>,
}

/// Where a promotion takes its content from.
#[derive(KubeSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PromotionSource {
    /// The branch.
    #[schemars(length(min = 1, max = 63))]
    #[x_kube(validation = rules::branch_name())]
    pub branch: String,

    /// Its state by number: pins what was reviewed, so that nothing newer is promoted. Absent: the newest one when the promotion begins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "rules::txid")]
    pub txid: Option<u64>,
}
