//! Spans: how they come to the collector, and those of work that the engine tells of.
//!
//! Requests to stores are part of the request that they are made for; those of uploads are counted by metrics alone, since the upload itself is a
//! span.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use engine::{Clock as _, FlushEnd, FlushOf, Hooks, StoreRequest, SystemClock};
use opentelemetry::trace::{Span as _, SpanBuilder, SpanKind, Status, TraceContextExt as _, Tracer as _};
use opentelemetry::{Context, KeyValue};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::transform::common::tonic::ResourceAttributesWithSchema;
use opentelemetry_proto::transform::trace::tonic::group_spans_by_resource_and_scope;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::{OTelSdkError, OTelSdkResult};
use opentelemetry_sdk::trace::{SdkTracer, SpanData, SpanExporter};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use super::collector::{Collector, Kind};

/// Brings batches to the collector. The SDK asks it from a thread of its own, where no runtime is.
#[derive(Debug)]
pub(super) struct Exporter {
    pub(super) collector: Arc<Collector>,
    pub(super) runtime: Handle,
    pub(super) resource: ResourceAttributesWithSchema,
    /// Nobody waits for it any more.
    pub(super) is_over: CancellationToken,
}

impl SpanExporter for Exporter {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let request = ExportTraceServiceRequest { resource_spans: group_spans_by_resource_and_scope(batch, &self.resource) };
        let collector = Arc::clone(&self.collector);
        let sending = {
            let _here = self.runtime.enter();
            engine::spawn_owned(async move { collector.take(Kind::Traces, &request).await })
        };
        // The collector has logged why.
        match self.is_over.run_until_cancelled(sending).await {
            Some(Ok(Ok(()))) => Ok(()),
            _ => Err(OTelSdkError::InternalFailure("the collector did not take it".to_owned())),
        }
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.resource = resource.into();
    }
}

/// Makes spans of what the engine tells.
pub(super) struct Told(pub(super) SdkTracer);

impl Told {
    /// Of something that ended just now.
    fn ended(&self, builder: SpanBuilder, parent: &Context, took: Duration, status: Status) {
        let end = SystemTime::from(SystemClock.wall());
        let begun = end.checked_sub(took).unwrap_or(end);
        let mut span = self.0.build_with_context(builder.with_start_time(begun), parent);
        span.set_status(status);
        span.end_with_timestamp(end);
    }
}

impl Hooks for Told {
    fn flush_ended(&self, flush: &FlushOf, end: &FlushEnd) {
        let mut told = vec![
            KeyValue::new("db.system.name", "sqlite"),
            KeyValue::new("db.namespace", flush.database.to_string()),
            KeyValue::new("buckethead.branch", flush.branch.to_string()),
        ];
        let number = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        let (took, status) = match end {
            FlushEnd::Skipped => return,
            FlushEnd::Completed { txid, bytes, took } => {
                told.extend([KeyValue::new("buckethead.txid", number(*txid)), KeyValue::new("buckethead.bytes", number(*bytes))]);
                (*took, Status::Unset)
            }
            FlushEnd::Failed { error, took } => {
                told.push(KeyValue::new("error.type", error.kind()));
                (*took, Status::error(""))
            }
        };
        let builder = SpanBuilder::from_name(format!("flush {}", flush.kind.as_str())).with_kind(SpanKind::Internal).with_attributes(told);
        self.ended(builder, &Context::new(), took, status);
    }

    fn store_request(&self, request: &StoreRequest) {
        let parent = Context::current();
        if !parent.span().span_context().is_sampled() {
            return;
        }
        let StoreRequest { operation, status, took, .. } = request;
        let mut told = vec![
            KeyValue::new("rpc.system", "aws-api"),
            KeyValue::new("rpc.service", "S3"),
            KeyValue::new("rpc.method", operation.clone().into_owned()),
        ];
        told.extend(status.map(|status| KeyValue::new("http.response.status_code", i64::from(status))));
        let status = if request.has_failed() { Status::error("") } else { Status::Unset };
        let builder = SpanBuilder::from_name(format!("S3.{operation}")).with_kind(SpanKind::Client).with_attributes(told);
        self.ended(builder, &parent, *took, status);
    }
}
