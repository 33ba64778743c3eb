//! One look at one resource: observe, plan, act, tell.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use engine::DatabaseName;
use kube::ResourceExt;
use kube::runtime::controller::Action;
use opentelemetry::context::FutureExt as _;
use opentelemetry::global::BoxedTracer;
use opentelemetry::trace::{SpanBuilder, SpanKind, Status, TraceContextExt as _, Tracer as _};
use opentelemetry::{Context as Telling, KeyValue};

use crate::context::Context;
use crate::crd::BucketDatabase;
use crate::error::Error;
use crate::group::Group;
use crate::guarded::Guarded;
use crate::placement::Part;
use crate::plan::Verdict;
use crate::problem::{FIRST_PAUSE, LOOK_AGAIN, Problem, doubled};
use crate::reason::Reason;
use crate::{act, observe, plan, status};

/// Brings one database closer to what its resource asks for.
async fn reconcile(resource: &Guarded, ctx: &Context) -> Result<Action, Error> {
    if let Some(group) = &ctx.cluster.options.group {
        match group.part(resource) {
            Part::Acts => {}
            part => return beside(resource, ctx, group, &part).await,
        }
    }
    let (resource, broken) = readable(resource);
    if ctx.cluster.memory.of(&resource).let_go {
        return Ok(Action::await_change());
    }
    let mut seen = observe::observe(ctx, &resource, broken).await;
    let plan = plan::plan(&resource, &seen);
    let outcome = act::run(ctx, &resource, &plan.steps).await;
    seen.lineage = ctx.cluster.memory.lineage(&resource, seen.now);
    seen.held = ctx.cluster.memory.held(&resource);
    let look_again = plan.look_again_after(&resource, &seen);
    if outcome.connected && outcome.result.is_ok() && resource.status.is_none() {
        // The look that follows now opens it, and tells more.
        return Ok(Action::requeue(look_again));
    }
    let verdict = plan.verdict.after(&resource, &outcome.result);
    // Written on failure, too: the status is the first place where a user looks.
    let told = status::publish(&ctx.cluster, &resource, &seen, &verdict, &outcome).await;
    outcome.result?;
    let asked = look_again.min(told?);
    // By the newest status: the steps may have set the time of the next run just now.
    let next_run = plan::gc::next_run(&ctx.cluster.memory.status(&resource), seen.now);
    let resources = if verdict == (Verdict::Serving { but: None }) { ctx.known().len() } else { 0 };
    Ok(Action::requeue(rest(asked, next_run, resources)))
}

/// What is done about a resource that another pod carries out, or is about to.
async fn beside(resource: &Guarded, ctx: &Context, group: &Group, part: &Part) -> Result<Action, Error> {
    let name = name_of(resource);
    if *part == Part::HandsOver {
        group.ask_to_move(name);
        return Ok(Action::await_change());
    }
    if *part == Part::GivesUp {
        status::give_up(&ctx.cluster, &readable(resource).0).await?;
    }
    if let Ok(resource) = &resource.0 {
        // It may need less of its namespace's quota than before, and another one that waits is ours.
        ctx.free_share(resource);
    }
    // By the time that it comes back another pod will have written its status.
    ctx.cluster.memory.forget(&name);
    Ok(Action::await_change())
}

/// How many Secrets a look reads that finds nothing to do: the store's credentials and the connection Secret.
const READS: u64 = 2;
/// How often all looks at rest together may ask the API server: so many times in so many seconds. With the renewals of two pods' leases it is once a second.
const ASKED: (u64, u64) = (3, 5);

/// When to look again at a database that lacks nothing. Looks that only read Secrets again come less often the more resources there are, so
/// that all of them together, on all pods, ask the API server less than once a second. A store that refuses the credentials is reported by the host at once; that
/// gc is due nobody reports.
fn rest(asked: Duration, next_run: Duration, resources: usize) -> Duration {
    let put_off = if asked < LOOK_AGAIN { asked } else { asked.max(Duration::from_secs(READS * resources as u64 * ASKED.1 / ASKED.0)) };
    put_off.min(next_run)
}

/// The resource, or what is left of one that does not parse: its metadata are enough to say so, and to let it go.
fn readable(resource: &Guarded) -> (Cow<'_, BucketDatabase>, Option<Problem>) {
    match &resource.0 {
        Ok(resource) => (Cow::Borrowed(resource), None),
        Err(invalid) => {
            let spec = serde_json::from_value(serde_json::json!({"bucket": ""})).expect("every other field has a default");
            let message = format!("the resource does not parse: {}; correct it, or apply the CRD of this version", invalid.error);
            let resource = BucketDatabase { metadata: invalid.metadata.clone(), spec, status: None };
            (Cow::Owned(resource), Some(Problem::stuck(Reason::InvalidSpec, message)))
        }
    }
}

/// Looks once, and counts it.
pub(crate) async fn run(resource: Arc<Guarded>, ctx: Arc<Context>) -> Result<Action, Error> {
    let begun = ctx.cluster.options.clock.now();
    let looking = Box::pin(reconcile(&resource, &ctx));
    let result = match &ctx.cluster.options.tracer {
        Some(tracer) => traced(tracer, &name_of(&resource), looking).await,
        None => looking.await,
    };
    ctx.cluster.options.metrics.count(ctx.cluster.options.clock.now() - begun, &result);
    ctx.cluster.memory.count_failure(&name_of(&resource), result.is_err());
    result
}

/// The same as a span, on which hangs what is asked of stores meanwhile.
async fn traced<T>(tracer: &BoxedTracer, name: &DatabaseName, looking: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    let told = [KeyValue::new("db.system.name", "sqlite"), KeyValue::new("db.namespace", name.to_string())];
    let builder = SpanBuilder::from_name("reconcile").with_kind(SpanKind::Internal).with_attributes(told);
    let context = Telling::new().with_span(tracer.build_with_context(builder, &Telling::new()));
    let result = looking.with_context(context.clone()).await;
    if let Err(error) = &result {
        context.span().set_attribute(KeyValue::new("error.type", error.kind()));
        context.span().set_status(Status::error(error.kind()));
    }
    context.span().end();
    result
}

/// After a failure: again, with pauses that grow for this resource alone.
#[allow(clippy::needless_pass_by_value, reason = "kube asks for this signature")]
pub(crate) fn after_failure(resource: Arc<Guarded>, error: &Error, ctx: Arc<Context>) -> Action {
    let name = name_of(&resource);
    let pause = doubled(FIRST_PAUSE, ctx.cluster.memory.failures(&name), LOOK_AGAIN);
    tracing::warn!(database = %name, kind = error.kind(), error = error as &dyn std::error::Error, ?pause, "a look at a resource failed");
    Action::requeue(pause)
}

/// The engine's name of a resource, also of one that does not parse.
pub(crate) fn name_of(resource: &Guarded) -> DatabaseName {
    DatabaseName::new(resource.namespace().unwrap_or_default(), resource.name_any())
}

#[cfg(test)]
mod tests {
    use engine::bucket::s3::{EndpointPolicy, Stores};
    use engine::{Host, HostOptions, Spool, SqlPool};
    use opentelemetry::trace::TracerProvider as _;
    use opentelemetry_sdk::error::OTelSdkResult;
    use opentelemetry_sdk::trace::{SdkTracerProvider, Span, SpanData, SpanProcessor};
    use parking_lot::Mutex;
    use tokio::sync::broadcast;

    use super::*;
    use crate::context::Cluster;
    use crate::fixtures::resource;
    use crate::gc::claims::Claims;
    use crate::scripted;
    use crate::watch::jobs::Jobs;

    /// What looks share, around a cluster of a script.
    fn context(cluster: Cluster) -> Context {
        let host = Host::new(HostOptions {
            parallel_restores: 1,
            ..HostOptions::new(
                "pod-0".to_owned(),
                Arc::new(Stores::new(EndpointPolicy::default())),
                SqlPool::new(1.try_into().unwrap()),
                Spool::new(std::env::temp_dir(), 0),
            )
        });
        let jobs = Jobs { stores: Vec::new(), begun: Claims::default() };
        Context { host, cluster, freed: broadcast::Sender::new(1), stores: Vec::new(), jobs, owned: Vec::new() }
    }

    #[tokio::test(start_paused = true)]
    async fn a_resource_that_was_let_go_and_is_still_shown_is_left_alone() {
        let gone = resource(serde_json::json!({"metadata": {"deletionTimestamp": "2026-11-25T08:00:00Z"}}));
        let (cluster, server) = scripted::cluster();
        cluster.memory.update(&gone, |known| known.let_go = true);
        let ctx = context(cluster);
        let looked = Box::pin(scripted::within(reconcile(&Guarded(Ok(gone)), &ctx))).await;
        assert_eq!(looked.unwrap(), Action::await_change());
        drop(ctx);
        server.finish().await;
    }

    /// Keeps those that ended. Clones are the same.
    #[derive(Debug, Clone, Default)]
    struct Ended(Arc<Mutex<Vec<SpanData>>>);

    impl SpanProcessor for Ended {
        fn on_start(&self, _: &mut Span, _: &Telling) {}

        fn on_end(&self, span: SpanData) {
            self.0.lock().push(span);
        }

        fn force_flush(&self) -> OTelSdkResult {
            Ok(())
        }

        fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
            Ok(())
        }
    }

    #[tokio::test]
    async fn a_look_is_a_span_of_its_database_with_what_it_failed_by() {
        let ended = Ended::default();
        let provider = SdkTracerProvider::builder().with_span_processor(ended.clone()).build();
        let tracer = BoxedTracer::new(Box::new(provider.tracer("test")));
        let name = DatabaseName::new("apps", "orders");
        let inside = traced(&tracer, &name, async { Ok(Telling::current().span().span_context().span_id()) }).await.unwrap();
        traced(&tracer, &name, async { Err::<(), _>(Error::WatchEnded) }).await.unwrap_err();
        let spans = ended.0.lock();
        let told = |span: &SpanData, key| span.attributes.iter().find(|told| told.key.as_str() == key).map(|told| told.value.to_string());
        assert_eq!((&*spans[0].name, spans[0].span_context.span_id(), &spans[0].status), ("reconcile", inside, &Status::Unset));
        assert_eq!((told(&spans[0], "db.namespace").as_deref(), told(&spans[0], "error.type")), (Some("apps/orders"), None));
        assert_eq!(told(&spans[1], "error.type").as_deref(), Some(Error::WatchEnded.kind()));
        assert_eq!(spans[1].status, Status::error(Error::WatchEnded.kind()));
    }

    #[test]
    fn secrets_of_many_resources_are_read_less_often_and_nothing_else_waits_longer() {
        for (asked, resources, pauses) in [(300, 0, 300), (300, 90, 300), (300, 1000, 3333), (299, 1000, 299), (2, 1_000_000, 2)] {
            assert_eq!(rest(Duration::from_secs(asked), Duration::MAX, resources), Duration::from_secs(pauses), "{asked} {resources}");
        }
    }

    #[test]
    fn a_run_of_gc_is_looked_at_in_time_among_a_thousand_resources() {
        for (next_run, pauses) in [(1200, 1200), (7, 7), (86_400, 3333)] {
            assert_eq!(rest(LOOK_AGAIN, Duration::from_secs(next_run), 1000), Duration::from_secs(pauses), "{next_run}");
        }
    }
}
