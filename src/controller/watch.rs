//! The watches of an operator: what makes it look at which resource.
//!
//! Owns: the watch of each namespace, the pokes besides it, and what happens when a resource is gone. Does not own: what is done then.
//! Secrets are not among the watches; Jobs of gc (`watch/jobs.rs`) and the Services of databases (`owned`) are.

pub(crate) mod jobs;

use std::hash::{DefaultHasher, Hash, Hasher as _};
use std::sync::Arc;
use std::time::Duration;

use engine::{DatabaseName, Host, State};
use futures::stream::{self, BoxStream};
use futures::{Stream, StreamExt as _};
use kube::api::ListParams;
use kube::core::NamespaceResourceScope;
use kube::runtime::reflector::{ObjectRef, Store};
use kube::runtime::{Predicate as _, PredicateConfig, WatchStreamExt as _, predicates, reflector, watcher};
use kube::{Api, Client, CustomResourceExt as _, Resource};
use tokio::sync::{broadcast, mpsc};
use tokio::task::JoinSet;
use tokio_stream::wrappers::BroadcastStream;
use tokio_util::sync::CancellationToken;

pub(crate) use self::jobs::Jobs;
use crate::context::Context;
use crate::crd::{BucketDatabase, BucketDatabaseSpec};
use crate::group::{Group, told_host};
use crate::guarded::Guarded;
use crate::owned::{self, Owned};
use crate::problem::{FIRST_PAUSE, LOOK_AGAIN, doubled};
use crate::reconcile::name_of;
use crate::rival::same_database;
use crate::{act, plan};

type Touched = BoxStream<'static, Result<Guarded, watcher::Error>>;

/// One watch: what it saw last, and the stream that keeps it so.
pub(crate) struct Watch {
    /// What it saw last.
    pub(crate) store: Store<Guarded>,
    /// Resources that changed in what matters to a look.
    pub(crate) touched: Touched,
    /// Resources whose Service changed.
    pub(crate) services: BoxStream<'static, ObjectRef<Guarded>>,
}

/// The watches of all namespaces, what they see of our Services, and the resources that were seen to go.
pub(crate) fn watches(
    client: &Client,
    namespaces: &[String],
    group: Option<&Arc<Group>>,
) -> (Vec<Watch>, Vec<Owned>, mpsc::UnboundedReceiver<Guarded>) {
    let (gone, gone_receiver) = mpsc::unbounded_channel();
    let watch = |(api, (owned, services))| (watch(api, services, gone.clone(), group.cloned()), owned);
    let (watches, owned) = apis(client, namespaces).into_iter().zip(owned::watches(client, namespaces)).map(watch).unzip();
    (watches, owned, gone_receiver)
}

/// One for each namespace, or one for all.
pub(crate) fn apis<K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>>(client: &Client, namespaces: &[String]) -> Vec<Api<K>> {
    if namespaces.is_empty() {
        vec![Api::all(client.clone())]
    } else {
        namespaces.iter().map(|namespace| Api::namespaced(client.clone(), namespace)).collect()
    }
}

fn watch(
    api: Api<Guarded>,
    services: BoxStream<'static, ObjectRef<Guarded>>,
    gone: mpsc::UnboundedSender<Guarded>,
    group: Option<Arc<Group>>,
) -> Watch {
    let (store, writer) = reflector::store();
    let mut missing = Missing { store: store.clone(), before: Vec::new() };
    let tell_gone = move |event: &watcher::Result<watcher::Event<Guarded>>| {
        for resource in missing.after(event) {
            // Nobody listens any more only when the operator ends.
            let _ = gone.send(resource);
        }
    };
    // Our own writes of the status are no news. Finalizers and annotations are, and they do not move the generation. Among several pods it is
    // news, too, who has the database.
    let me = group.as_ref().map(|group| group.name().to_owned());
    let tell_group = move |event: &watcher::Result<watcher::Event<Guarded>>| group.iter().for_each(|group| group.saw(event));
    let host = move |resource: &Guarded| {
        // That it is this process is no news to it.
        let told = resource.0.as_ref().ok().and_then(told_host).filter(|told| me.as_deref() != Some(*told));
        Some(if me.is_some() { hash(&told) } else { 0 })
    };
    let news = predicates::generation.combine(predicates::finalizers).combine(predicates::annotations).combine(host);
    let touched = watcher(api, watcher::Config::default())
        .default_backoff()
        .reflect(writer)
        .inspect(tell_gone)
        .inspect(tell_group)
        .applied_objects()
        .predicate_filter(news, PredicateConfig::default())
        .boxed();
    Watch { store, touched, services }
}

fn hash(value: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

/// Tells which resources went. After an interruption the watch begins with a new list, and says nothing of what is not on it.
struct Missing {
    /// It holds the old list until the new one is whole.
    store: Store<Guarded>,
    before: Vec<Arc<Guarded>>,
}

impl Missing {
    fn after(&mut self, event: &watcher::Result<watcher::Event<Guarded>>) -> Vec<Guarded> {
        match event {
            Ok(watcher::Event::Delete(resource)) => vec![resource.clone()],
            Ok(watcher::Event::Init) => {
                self.before = self.store.state();
                Vec::new()
            }
            Ok(watcher::Event::InitDone) => {
                let before = std::mem::take(&mut self.before).into_iter();
                let went = before.filter(|resource| self.store.get(&ObjectRef::from_obj(&**resource)).is_none());
                went.map(Arc::unwrap_or_clone).collect()
            }
            Ok(watcher::Event::Apply(_) | watcher::Event::InitApply(_)) | Err(_) => Vec::new(),
        }
    }
}

/// Resources to look at that no watch told of: the host reports them, or the one that held their place is gone.
pub(crate) fn pokes(
    host: &Host,
    freed: &broadcast::Sender<DatabaseName>,
    group: Option<&Arc<Group>>,
    store: &Store<Guarded>,
) -> impl Stream<Item = ObjectRef<Guarded>> + Send + 'static {
    let moved = group.map_or_else(|| stream::empty().boxed(), |group| group.pokes(store).boxed());
    stream::select(stream::select(reported(host.changes(), store.clone()), reported(freed.subscribe(), store.clone())), moved)
}

/// Reported names, as far as this watch knows them. After a lag nobody knows what was missed: all are looked at.
fn reported(names: broadcast::Receiver<DatabaseName>, store: Store<Guarded>) -> impl Stream<Item = ObjectRef<Guarded>> + Send + 'static {
    BroadcastStream::new(names).flat_map(move |reported| {
        let resources = match reported {
            Ok(name) => store.get(&ObjectRef::new(name.name()).within(name.namespace())).into_iter().collect(),
            Err(_lagged) => store.state(),
        };
        stream::iter(resources).map(|resource| ObjectRef::from_obj(&*resource))
    })
}

/// Deals with resources that are gone, until `stop`: those that waited for their place are looked at, and what the host still has of them
/// (somebody took the finalizer away) is saved and closed.
pub(crate) async fn follow_gone(ctx: Arc<Context>, mut gone: mpsc::UnboundedReceiver<Guarded>, stop: CancellationToken) {
    let mut closings = JoinSet::new();
    while let Some(Some(resource)) = stop.run_until_cancelled(gone.recv()).await {
        let name = name_of(&resource);
        tracing::info!(database = %name, "the resource is gone");
        ctx.cluster.memory.forget(&name);
        if let Ok(resource) = &resource.0 {
            ctx.free(resource);
        }
        while closings.try_join_next().is_some() {}
        closings.spawn(close_orphan(Arc::clone(&ctx), name, stop.clone()));
    }
    closings.join_all().await;
}

/// Resources that have to do with the database of one that is gone or at rest.
pub(crate) fn waiting_for(spec: &BucketDatabaseSpec, known: &[Arc<Guarded>]) -> Vec<DatabaseName> {
    let others = known.iter().filter_map(|other| other.0.as_ref().ok()).filter(|other| same_database(spec, &other.spec));
    others.map(plan::name_of).collect()
}

/// Saves and closes what nobody declares any more. Ends when it is closed, or declared again.
async fn close_orphan(ctx: Arc<Context>, name: DatabaseName, stop: CancellationToken) {
    let mut attempts = 0;
    while !matches!(ctx.host.state(&name), State::Absent) && !ctx.known().iter().any(|resource| name_of(resource) == name) {
        let Err(error) = ctx.host.close(&name).await else { continue };
        attempts += 1;
        tracing::warn!(database = %name, error = &*error as &dyn std::error::Error, "its resource is gone, and its final flush failed");
        if stop.run_until_cancelled(tokio::time::sleep(doubled(FIRST_PAUSE, attempts, LOOK_AGAIN))).await.is_none() {
            return;
        }
    }
}

/// Waits until the API server knows our resource and lets us see it; says what it waits for.
pub(crate) async fn until_established(client: &Client, namespaces: &[String]) {
    let resources: Api<Guarded> = match namespaces.first() {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    };
    let mut attempts = 0;
    while let Err(error) = resources.list_metadata(&ListParams::default().limit(1)).await {
        attempts += 1;
        let pause = doubled(FIRST_PAUSE, attempts, LONGEST_WAIT);
        if act::is_gone(&error) {
            tracing::warn!(
                ?pause,
                "waiting for the CustomResourceDefinition {}: apply what `buckethead crd` prints",
                BucketDatabase::crd_name()
            );
        } else {
            tracing::warn!(?pause, error = &error as &dyn std::error::Error, "waiting for the API server to list BucketDatabases");
        }
        tokio::time::sleep(pause).await;
    }
}

/// Between two looks for the `CustomResourceDefinition`.
const LONGEST_WAIT: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {

    use super::*;
    use crate::fixtures::resource;

    fn named(name: &str) -> Guarded {
        Guarded(Ok(resource(serde_json::json!({"metadata": {"name": name}}))))
    }

    /// The names of those that went, event by event.
    fn went(events: Vec<watcher::Event<Guarded>>) -> Vec<Vec<String>> {
        let (store, mut writer) = reflector::store();
        let mut missing = Missing { store, before: Vec::new() };
        let mut after = |event: watcher::Event<Guarded>| {
            writer.apply_watcher_event(&event);
            missing.after(&Ok(event)).iter().map(|resource| name_of(resource).name().to_owned()).collect()
        };
        events.into_iter().map(&mut after).collect()
    }

    #[test]
    fn what_was_deleted_is_gone_and_so_is_what_a_new_list_does_not_have() {
        use watcher::Event::{Apply, Delete, Init, InitApply, InitDone};
        let first = vec![Init, InitApply(named("a")), InitApply(named("b")), InitDone, Apply(named("c")), Delete(named("a"))];
        let again = vec![
            Init,
            InitApply(named("c")),
            InitApply(named("d")),
            InitDone,
            Init,
            InitApply(named("c")),
            InitApply(named("d")),
            InitDone,
        ];
        let went = went(first.into_iter().chain(again).collect());
        let told: Vec<(usize, &str)> =
            went.iter().enumerate().flat_map(|(at, names)| names.iter().map(move |name| (at, &**name))).collect();
        assert_eq!(told, [(5, "a"), (9, "b")]);
    }
}
