//! The rules of the schema, in CEL, each with the sentence that the user reads, and the shapes of numbers.
//!
//! Owns: what a manifest may say. Names follow `engine::names`; a test holds both to the same list.
//! Every string and list that a rule reads is bounded in the schema, because the API server adds up the worst case of all rules.

use kube::core::Rule;
use schemars::{Schema, SchemaGenerator, json_schema};

use super::quantity::{ByteSize, Period};

fn rule(cel: impl Into<String>, message: impl Into<String>) -> Rule {
    Rule::new(cel).message(message.into().as_str())
}

/// The name becomes part of a URL and, with `api.service`, of a Service.
pub(super) fn resource_name() -> Rule {
    rule(
        "size(self.metadata.name) <= 63 && self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')",
        "metadata.name: at most 63 lower-case letters, digits and hyphens, beginning with a letter and ending with a letter or digit",
    )
}

/// `has()` on both sides, so that adding and removing the field is a change, too.
pub(super) fn immutable(field: &str) -> Rule {
    rule(
        format!("has(self.{field}) == has(oldSelf.{field}) && (!has(self.{field}) || self.{field} == oldSelf.{field})"),
        format!("{field} is immutable, because it says where the data is: to move a database, declare another one and copy the data"),
    )
}

pub(super) fn immutable_prefix() -> Rule {
    rule(
        "has(self.files) == has(oldSelf.files) && (!has(self.files) || self.files.prefix == oldSelf.files.prefix)",
        "files.prefix is immutable, because files lie under it: to move a database, declare another one and copy the data",
    )
}

/// A rule of the list, not of its items: the API server finds an item's old self by its name, a folder of manifests by its place.
pub(super) fn immutable_origins() -> Rule {
    let is_same = |field: &str| format!("has(new.{field}) == has(old.{field}) && (!has(new.{field}) || new.{field} == old.{field})");
    let is_kept = ["from", "at", "txid"].map(is_same).join(" && ");
    rule(
        format!("oldSelf.all(old, self.all(new, new.name != old.name || ({is_kept})))"),
        "from, at and txid of a branch are immutable, because it is created once: declare a branch with another name",
    )
}

pub(super) fn one_endpoint() -> Rule {
    rule("!(has(self.endpoint) && has(self.r2))", "set endpoint or r2, not both: r2 makes the endpoint from the account")
}

/// Without credentials it may be the store of `dev` mode, which takes any region.
pub(super) fn region_for_aws() -> Rule {
    rule(
        "has(self.endpoint) || has(self.r2) || !has(self.credentials) || self.region != 'auto'",
        "region: without endpoint and r2 the store is AWS S3, which needs a real region such as us-east-1",
    )
}

pub(super) fn tokens_of_one_source() -> Rule {
    rule(
        "!has(self.tokenSecretRef) || self.auth != 'Kubernetes'",
        "tokenSecretRef: with auth: Kubernetes the cluster's tokens open the database: remove tokenSecretRef",
    )
}

pub(super) fn tls_needs_https() -> Rule {
    rule(
        "!has(self.endpointTls) || (has(self.endpoint) && self.endpoint.startsWith('https://'))",
        "endpointTls: needs an endpoint that begins with https://",
    )
}

/// Blobs lie under the prefix; which databases use it and what gc marked lie beside it.
pub(super) fn key_beside_prefix() -> Rule {
    rule(
        "!self.key.startsWith(self.files.prefix) && !self.files.prefix.startsWith(self.key) \
         && !(self.key + '/').startsWith(self.files.prefix.substring(0, size(self.files.prefix) - 1) + '.owners/') \
         && self.key != self.files.prefix.substring(0, size(self.files.prefix) - 1) + '.gc.json'",
        "key and files.prefix: neither may begin with the other, nor may key lie at <prefix>.owners/ or <prefix>.gc.json: \
         gc would take the database for a file",
    )
}

pub(super) fn min_interval() -> Rule {
    let pattern = Period::PATTERN;
    let is_malformed = |field: &str| format!("!self.{field}.matches('{pattern}')");
    rule(
        format!("{} || {} || duration(self.minInterval) <= duration(self.interval)", is_malformed("interval"), is_malformed("minInterval")),
        "minInterval (default 5s) may not be longer than interval",
    )
}

pub(super) fn bucket() -> Rule {
    rule(
        "self.matches('^[a-z0-9][a-z0-9.-]*[a-z0-9]$')",
        "3 to 63 lower-case letters, digits, dots and hyphens, beginning and ending with a letter or digit",
    )
}

pub(super) fn key_shape() -> Rule {
    shape("!self.startsWith('/') && !self.endsWith('/')", "no slash at the beginning or end")
}

pub(super) fn key_not_derived() -> Rule {
    rule(
        "!self.endsWith('.prev') && !self.contains('.branch.') && !self.contains('.ltx/') && !self.contains('.head/')",
        "may not end in .prev nor contain .branch., .ltx/ or .head/: such names belong to the objects of another key",
    )
}

pub(super) fn prefix_shape() -> Rule {
    shape("!self.startsWith('/') && self.endsWith('/')", "no slash at the beginning, one at the end")
}

pub(super) fn prefix_not_derived() -> Rule {
    rule(
        "!self.contains('.branch.') && !self.contains('.ltx/') && !self.contains('.head/')",
        "may not contain .branch., .ltx/ or .head/: such names belong to the objects of a key",
    )
}

fn shape(slashes: &str, in_words: &str) -> Rule {
    rule(
        format!(r"{slashes} && !self.contains('//') && !self.matches('(^|/)[.][.]?(/|$)|\\p{{Cc}}') && size(bytes(self)) <= 512"),
        format!("at most 512 bytes, {in_words}, no empty part, no part `.` or `..`, no control characters"),
    )
}

pub(super) fn endpoint() -> Rule {
    rule(
        r"self.matches('^https?://([A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?|\\[[0-9A-Fa-f:.]+\\])(:[0-9]{1,5})?/?$')",
        "http:// or https://, a host and perhaps a port; no user, path or query",
    )
}

pub(super) fn account_id() -> Rule {
    rule("self.matches('^[0-9a-f]{32}$')", "32 hexadecimal digits in lower case, as the dashboard shows them")
}

pub(super) fn region() -> Rule {
    rule("self.matches('^[A-Za-z0-9][A-Za-z0-9_-]*$')", "letters, digits, hyphens and underscores, such as us-east-1 or auto")
}

pub(super) fn kms_key_id() -> Rule {
    rule("self.matches('^[A-Za-z0-9:/_.-]+$')", "the id, ARN or alias of a KMS key")
}

pub(super) fn object_name() -> Rule {
    rule("self.matches('^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$')", "the name of a Secret: lower-case letters, digits, dots and hyphens")
}

pub(super) fn data_key() -> Rule {
    rule("self.matches('^[-._A-Za-z0-9]+$')", "a key of a Secret: letters, digits, dots, hyphens and underscores")
}

pub(super) fn branch_name() -> Rule {
    rule("self.matches('^[A-Za-z0-9_-]+$')", "a branch name: 1 to 63 letters, digits, `_` and `-`")
}

pub(super) fn not_main() -> Rule {
    rule("self != 'main'", "`main` always exists: choose another name")
}

/// The API server refuses twins by itself, since the list is a map by name; a folder of manifests has only this rule.
pub(super) fn unique_branches() -> Rule {
    rule("self.all(one, self.exists_one(other, other.name == one.name))", "each name may stand there once")
}

pub(super) fn one_point() -> Rule {
    rule("!(has(self.at) && has(self.txid))", "set at or txid, not both: each names one point in the past of `from`")
}

pub(super) fn promotion_id() -> Rule {
    rule(
        "self.matches('^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$')",
        "1 to 63 letters, digits, dots, hyphens and underscores, beginning and ending with a letter or digit",
    )
}

pub(super) fn promotion_needs_two_branches() -> Rule {
    rule("self.from.branch != self.to || has(self.from.txid)", "from and to are the same branch; to go back in its past, set from.txid")
}

pub(super) fn promotion_keeps_under_new_name() -> Rule {
    rule(
        "!has(self.keepPreviousAs) || (self.keepPreviousAs != self.to && self.keepPreviousAs != self.from.branch)",
        "keepPreviousAs: must differ from both branches of the promotion",
    )
}

pub(super) fn promotion_id_is_used_once() -> Rule {
    rule("self == oldSelf || self.id != oldSelf.id", "a promotion is carried out once for each id; to change it, choose another id")
}

pub(super) fn schedule() -> Rule {
    rule(
        "self.matches('^(@(hourly|daily|weekly|monthly)|[-0-9A-Za-z*,/]+( [-0-9A-Za-z*,/]+){4})?$')",
        "a cron expression of five fields such as `0 3 * * *`, or @hourly, @daily, @weekly, @monthly, or empty",
    )
}

/// The pattern is part of the rule, not of the schema: the schema's own sentence would only repeat the pattern, and the API server asks the
/// rules in any case.
pub(super) fn lasts(from: &str, to: &str) -> Rule {
    let pattern = Period::PATTERN;
    rule(
        format!("self.matches('{pattern}') && duration(self) >= duration('{from}') && duration(self) <= duration('{to}')"),
        format!("must be a length of time from {from} to {to}, such as 90s or 1h30m"),
    )
}

pub(super) fn lasts_or_off(from: &str, to: &str) -> Rule {
    let pattern = Period::PATTERN;
    rule(
        format!(
            "self.matches('{pattern}') && (duration(self) == duration('0s') \
             || (duration(self) >= duration('{from}') && duration(self) <= duration('{to}')))"
        ),
        format!("must be a length of time from {from} to {to}, such as 36h, or 0s for never"),
    )
}

pub(super) fn measures(from: &str, to: &str) -> Rule {
    let pattern = ByteSize::PATTERN;
    rule(
        format!(
            "self.matches('{pattern}') && quantity(self).compareTo(quantity('{from}')) >= 0 && quantity(self).compareTo(quantity('{to}')) <= 0"
        ),
        format!("must be a number of bytes from {from} to {to}, such as 500Mi or 2G"),
    )
}

/// The number of a state in the bucket, as a user names it.
pub(super) fn txid(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "integer", "format": "int64", "minimum": 1})
}

/// How many there are, in the status.
pub(super) fn count(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "integer", "format": "int64", "minimum": 0})
}

pub(super) fn small_count(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "integer", "format": "int32", "minimum": 0})
}

pub(super) fn seconds(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "integer", "format": "int32", "minimum": 0, "maximum": 31_536_000})
}

pub(super) fn rows(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "integer", "format": "int32", "minimum": 1, "maximum": 10_000_000})
}

#[cfg(test)]
mod tests;
