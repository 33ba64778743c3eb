//! Who may ask, and in which form: signatures, R2's rules, and the faults of tests.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use s3s::access::{S3Access, S3AccessContext};
use s3s::auth::{S3Auth, SecretKey};
use s3s::{S3Result, s3_error};

use super::Dialect;
use super::faults::{FaultEffect, Faults, Operation, RequestCounts};
use crate::bucket::s3::Credentials;

/// What R2 accepts: its own regions, and what clients send that insist on one of AWS.
const R2_REGIONS: [&str; 8] = ["auto", "us-east-1", "wnam", "enam", "weur", "eeur", "apac", "oc"];

/// How one request fails. Put into its extensions before it is parsed, filled in once its operation and key are known.
#[derive(Debug, Clone, Default)]
pub(super) struct Fate(Arc<Mutex<Option<FaultEffect>>>);

impl Fate {
    pub(super) fn effect(&self) -> Option<FaultEffect> {
        *self.0.lock()
    }
}

/// What all requests of a store have in common.
#[derive(Debug, Default)]
pub(super) struct Desk {
    pub(super) faults: Faults,
    pub(super) total: AtomicU64,
    by_operation: Mutex<BTreeMap<Operation, u64>>,
}

impl Desk {
    pub(super) fn counts(&self) -> RequestCounts {
        RequestCounts { total: self.total.load(Ordering::Relaxed), by_operation: self.by_operation.lock().clone() }
    }
}

/// The one account of the store.
pub(super) struct Account(pub(super) Credentials);

#[async_trait::async_trait]
impl S3Auth for Account {
    async fn get_secret_key(&self, access_key: &str) -> S3Result<SecretKey> {
        if access_key == self.0.access_key_id {
            Ok(SecretKey::from(self.0.secret_access_key.as_str()))
        } else {
            Err(s3_error!(InvalidAccessKeyId, "The access key id does not exist in our records."))
        }
    }
}

/// Looks at each request whose signature is good, before its body is read.
pub(super) struct Gate {
    pub(super) desk: Arc<Desk>,
    pub(super) dialect: Dialect,
}

#[async_trait::async_trait]
impl S3Access for Gate {
    async fn check(&self, request: &mut S3AccessContext<'_>) -> S3Result<()> {
        if request.credentials().is_none() {
            return Err(s3_error!(AccessDenied, "The request is not signed."));
        }
        let operation = Operation::named(request.s3_op().name());
        *self.desk.by_operation.lock().entry(operation).or_default() += 1;
        if self.dialect == Dialect::R2 {
            check_r2(request)?;
        }
        if operation == Operation::CopyObject && ["if-match", "if-none-match"].iter().any(|name| request.headers().contains_key(*name)) {
            // A condition that is not looked at would be worse than none.
            return Err(s3_error!(NotImplemented, "CopyObject takes no condition on its destination."));
        }
        let key = request.s3_path().as_object().map_or("", |(_, key)| key).to_owned();
        let effect = self.desk.faults.take(operation, &key);
        if let Some(fate) = request.extensions_mut().get::<Fate>() {
            *fate.0.lock() = effect;
        }
        match effect {
            Some(FaultEffect::Refuse) => Err(s3_error!(SlowDown, "Please reduce your request rate.")),
            Some(FaultEffect::Reject) => Err(s3_error!(InvalidRequest, "The request is not valid.")),
            Some(FaultEffect::Fail) => Err(s3_error!(InternalError, "We encountered an internal error. Please try again.")),
            Some(FaultEffect::RefuseConditions) if writes_on_condition(request, operation) => {
                Err(s3_error!(NotImplemented, "A header you provided implies functionality that is not implemented."))
            }
            _ => Ok(()),
        }
    }
}

fn writes_on_condition(request: &S3AccessContext<'_>, operation: Operation) -> bool {
    let is_read = matches!(operation, Operation::GetObject | Operation::HeadObject);
    !is_read && ["if-match", "if-none-match", "x-amz-copy-source-if-match"].iter().any(|name| request.headers().contains_key(*name))
}

fn check_r2(request: &S3AccessContext<'_>) -> S3Result<()> {
    let header = |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok());
    let trails = header("x-amz-content-sha256").is_some_and(|kind| kind.ends_with("-TRAILER"));
    if trails || header("x-amz-trailer").is_some() {
        return Err(s3_error!(NotImplemented, "Checksums that trail the body are not implemented."));
    }
    let region = header("authorization").and_then(|value| scope_region(value, "Credential=", "/"));
    let region = region.or_else(|| request.uri().query().and_then(|query| scope_region(query, "X-Amz-Credential=", "%2F")));
    match region {
        Some(region) if !R2_REGIONS.contains(&region) => Err(s3_error!(
            InvalidRegion,
            "The region name '{region}' is not valid. Must be one of: wnam, enam, weur, eeur, apac, oc, auto."
        )),
        _ => Ok(()),
    }
}

/// The region within `<access key>/<date>/<region>/s3/aws4_request`.
fn scope_region<'a>(text: &'a str, before: &str, separator: &str) -> Option<&'a str> {
    let (_, scope) = text.split_once(before)?;
    scope.split(separator).nth(2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_region_is_read_from_both_kinds_of_signature() {
        let header = "AWS4-HMAC-SHA256 Credential=AK/20261123/auto/s3/aws4_request, SignedHeaders=host, Signature=0";
        assert_eq!(scope_region(header, "Credential=", "/"), Some("auto"));
        let query = "X-Amz-Algorithm=AWS4&X-Amz-Credential=AK%2F20261123%2Feu-west-1%2Fs3%2Faws4_request&X-Amz-Date=1";
        assert_eq!(scope_region(query, "X-Amz-Credential=", "%2F"), Some("eu-west-1"));
    }
}
