//! Tells hooks of each request, as it is sent.

use aws_sdk_s3::config::interceptors::{BeforeTransmitInterceptorContextRef, FinalizerInterceptorContextRef};
use aws_sdk_s3::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::dyn_dispatch_hint;
use aws_smithy_runtime_api::client::orchestrator::Metadata;
use aws_smithy_types::config_bag::{Storable, StoreReplace};
use tokio::time::Instant;

use crate::clock::{Clock as _, SystemClock};
use crate::hooks::{HookSet, StoreRequest};

#[derive(Debug)]
pub(super) struct Told(pub(super) HookSet);

/// A request that is on its way.
#[derive(Debug)]
struct Sent {
    at: Instant,
    bytes: u64,
}

impl Storable for Sent {
    type Storer = StoreReplace<Self>;
}

#[dyn_dispatch_hint]
impl Intercept for Told {
    fn name(&self) -> &'static str {
        "Told"
    }

    fn read_before_attempt(
        &self,
        _: &BeforeTransmitInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        // Of a try that is never sent, the one before must not be told again.
        config.interceptor_state().unset::<Sent>();
        Ok(())
    }

    fn read_before_transmit(
        &self,
        context: &BeforeTransmitInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let bytes = context.request().body().content_length().unwrap_or(0);
        config.interceptor_state().store_put(Sent { at: SystemClock.now(), bytes });
        Ok(())
    }

    fn read_after_attempt(
        &self,
        context: &FinalizerInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        // Without one, nothing was sent.
        let Some(Sent { at, bytes }) = config.load::<Sent>() else { return Ok(()) };
        let operation = config.load::<Metadata>().map_or_else(String::new, |metadata| metadata.name().to_owned());
        let answer = context.response();
        let length = answer.and_then(|answer| answer.headers().get("content-length")?.parse().ok());
        self.0.store_request(&StoreRequest {
            status: answer.map(|answer| answer.status().as_u16()),
            sent: *bytes,
            received: length.filter(|_| !operation.starts_with("Head")).unwrap_or(0),
            took: SystemClock.now().saturating_duration_since(*at),
            operation: operation.into(),
        });
        Ok(())
    }
}
