//! `dev`: a folder of manifests as the desired state, carried out with the decisions of the cluster's controller.
//!
//! Owns: watching the folder, and when which resource is looked at. Does not own: decisions (`plan`), nor printing: whoever called
//! [`run`] prints the [`LocalEvent`]s.
//! Invariant: at most one look at a resource at a time, and none is lost: what is poked during a look is looked at again.

mod desired;
mod folder;
mod gc;
mod look;
mod manifest;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use engine::{Clock, DatabaseName, Host};
use notify::Watcher as _;
use tokio::sync::{broadcast, mpsc};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use url::Url;

use self::desired::Desired;
use self::folder::{Folder, Remark};
pub use self::look::MakeBucket;
use self::look::{Looked, Looks, Subject};
use crate::crd::BucketDatabase;
use crate::error::Error;
use crate::memory::Memory;
use crate::objects::Tokens;
use crate::resolve::{Defaults, Secrets};
use crate::rival::{neighbours, rival};
use crate::status;

/// Several changes of the folder within this time are read together: editors write a file in several steps.
const SETTLE: Duration = Duration::from_millis(100);

/// How a folder is carried out.
pub struct LocalOptions {
    /// The manifests: `*.yaml` and `*.yml` at its top level.
    pub folder: PathBuf,
    /// The embedded store, for resources without endpoint and credentials; and whether requests need a token.
    pub defaults: Defaults,
    /// Makes a bucket of the embedded store.
    pub make_bucket: MakeBucket,
    /// Where clients reach the API.
    pub base_url: Url,
    /// Where the time comes from.
    pub clock: Arc<dyn Clock>,
}

/// What happened, to be printed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LocalEvent {
    /// A database answers requests.
    Ready {
        /// Which one.
        name: DatabaseName,
        /// Where.
        url: String,
    },
    /// Something changed that is worth a line.
    Changed {
        /// Which database.
        name: DatabaseName,
        /// Somebody should look at it.
        is_warning: bool,
        /// In one word.
        reason: String,
        /// In a sentence.
        message: String,
    },
    /// A file, or a part of it, is not carried out; what it declared before stays in force.
    Refused {
        /// Its name.
        file: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A file holds something that is not for us.
    Skipped {
        /// Its name.
        file: String,
        /// What it is.
        kind: String,
    },
    /// A database that is declared no more is saved and closed.
    Removed {
        /// Which one.
        name: DatabaseName,
    },
    /// Every database that is declared is ready.
    AllReady {
        /// Each with its bucket.
        databases: Vec<(DatabaseName, String)>,
    },
}

impl From<Remark> for LocalEvent {
    fn from(remark: Remark) -> Self {
        match remark {
            Remark::Refused { file, problem } => Self::Refused { file, problem },
            Remark::Skipped { file, kind } => Self::Skipped { file, kind },
        }
    }
}

/// Carries out what the folder declares until `shutdown`. The host outlives it: whoever called this shuts it down after it.
pub async fn run(
    host: Arc<Host>,
    options: LocalOptions,
    shutdown: CancellationToken,
    events: mpsc::UnboundedSender<LocalEvent>,
) -> Result<(), Error> {
    let (touch, mut touches) = mpsc::unbounded_channel();
    let _watcher = watch(&options, touch)?;
    let mut changes = host.changes();
    let mut local = Local::new(host, options, events);
    local.read_folder()?;
    loop {
        tokio::select! {
            () = shutdown.cancelled() => break,
            Some(()) = touches.recv() => local.read_at = local.read_at.or(Some(local.looks.clock.now() + SETTLE)),
            () = until(local.read_at) => local.read_folder()?,
            reported = changes.recv() => match reported {
                Ok(name) => local.poke(&name),
                Err(broadcast::error::RecvError::Lagged(_)) => local.poke_all(),
                Err(broadcast::error::RecvError::Closed) => break,
            },
            () = until(local.next_look()) => local.poke_due(),
            Some(ended) = local.running.join_next() => match ended {
                Ok((name, looked)) => local.take(&name, &looked),
                // Looks are never cancelled. One that panicked leaves its resource in a state that nobody knows.
                Err(panicked) => std::panic::resume_unwind(panicked.into_panic()),
            },
        }
    }
    while local.running.join_next().await.is_some() {}
    Ok(())
}

fn watch(options: &LocalOptions, touched: mpsc::UnboundedSender<()>) -> Result<notify::RecommendedWatcher, Error> {
    let failed = |doing| {
        let folder = options.folder.display().to_string();
        move |error: notify::Error| Error::Folder { folder: folder.clone(), doing, source: std::io::Error::other(error) }
    };
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        // Our own reading is no news. Of an error we do not know what it hides, so the folder is read.
        if !event.is_ok_and(|event| event.kind.is_access()) {
            // Nobody listens any more only at the end.
            let _ = touched.send(());
        }
    })
    .map_err(failed("watched"))?;
    watcher.watch(&options.folder, notify::RecursiveMode::NonRecursive).map_err(failed("watched"))?;
    Ok(watcher)
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

struct Local {
    looks: Arc<Looks>,
    path: PathBuf,
    folder: Folder,
    desired: Desired,
    events: mpsc::UnboundedSender<LocalEvent>,
    /// When the folder is read again.
    read_at: Option<Instant>,
    /// When each resource is looked at again at the latest.
    due: BTreeMap<DatabaseName, Instant>,
    running: JoinSet<(DatabaseName, Looked)>,
    /// Names of `running`.
    busy: BTreeSet<DatabaseName>,
    /// Poked while they were busy.
    again: BTreeSet<DatabaseName>,
    ready: BTreeSet<DatabaseName>,
    /// The names of which it was last said that all are ready.
    told_ready: Option<BTreeSet<DatabaseName>>,
}

impl Local {
    fn new(host: Arc<Host>, options: LocalOptions, events: mpsc::UnboundedSender<LocalEvent>) -> Self {
        let LocalOptions { folder: path, defaults, make_bucket, base_url, clock } = options;
        Self {
            looks: Arc::new(Looks { host, memory: Memory::default(), defaults, make_bucket, base_url, clock }),
            path,
            folder: Folder::default(),
            desired: Desired::default(),
            events,
            read_at: None,
            due: BTreeMap::new(),
            running: JoinSet::new(),
            busy: BTreeSet::new(),
            again: BTreeSet::new(),
            ready: BTreeSet::new(),
            told_ready: None,
        }
    }

    fn read_folder(&mut self) -> Result<(), Error> {
        self.read_at = None;
        let failed = |source| Error::Folder { folder: self.path.display().to_string(), doing: "read", source };
        let remarks = self.folder.update(folder::read(&self.path).map_err(failed)?);
        self.tell_remarks(remarks);
        self.take_over();
        Ok(())
    }

    /// The folder's declarations become resources, and each is looked at.
    fn take_over(&mut self) {
        let remarks = self.desired.update(&self.folder, self.looks.clock.wall());
        self.tell_remarks(remarks);
        self.poke_all();
        self.tell_all_ready();
    }

    fn poke_all(&mut self) {
        let names: Vec<_> = self.desired.resources().keys().cloned().collect();
        self.poke_each(&names);
    }

    fn poke_each(&mut self, names: &[DatabaseName]) {
        for name in names {
            self.poke(name);
        }
    }

    fn poke_due(&mut self) {
        let now = self.looks.clock.now();
        let names: Vec<_> = self.due.iter().filter(|(_, at)| **at <= now).map(|(name, _)| name.clone()).collect();
        self.poke_each(&names);
    }

    fn next_look(&self) -> Option<Instant> {
        self.due.values().min().copied()
    }

    fn poke(&mut self, name: &DatabaseName) {
        self.due.remove(name);
        let Some(resource) = self.desired.resources().get(name) else { return };
        if self.busy.contains(name) {
            self.again.insert(name.clone());
            return;
        }
        let subject = self.subject(resource.clone());
        let (looks, name) = (Arc::clone(&self.looks), name.clone());
        self.busy.insert(name.clone());
        self.running.spawn(async move {
            let looked = looks.look(&subject).await;
            (name, looked)
        });
    }

    fn subject(&self, resource: BucketDatabase) -> Subject {
        let namespace = resource.metadata.namespace.clone().unwrap_or_default();
        let named = |name: Option<&str>| name.and_then(|name| self.folder.secret(&namespace, name));
        let spec = &resource.spec;
        let secrets = Secrets {
            credentials: named(spec.credentials.as_ref().map(|credentials| &*credentials.secret_ref.name)),
            ca: named(spec.endpoint_tls.as_ref().map(|tls| &*tls.ca_ref.name)),
            token: named(spec.api.token_secret_ref.as_ref().map(|token| &*token.name)),
            previous: Tokens::default(),
        };
        let rival = rival(&resource, self.desired.resources().values());
        let neighbours = neighbours(&resource, self.desired.resources().values());
        let sharers = crate::gc::sharers(&resource, self.desired.resources().values());
        Subject { resource, secrets, rival, neighbours, sharers }
    }

    /// Takes over what came of a look.
    fn take(&mut self, name: &DatabaseName, looked: &Looked) {
        self.busy.remove(name);
        self.tell_news(name, looked);
        if looked.let_go {
            self.again.remove(name);
            self.desired.let_go(name);
            // It may be declared again already, and others may have waited for its place.
            self.take_over();
            return;
        }
        self.due.insert(name.clone(), self.looks.clock.now() + looked.look_again);
        if looked.freed {
            self.poke_all();
        }
        if self.again.remove(name) {
            self.poke(name);
        }
        self.tell_all_ready();
    }

    fn tell_news(&mut self, name: &DatabaseName, looked: &Looked) {
        for notice in &looked.notices {
            let (reason, message) = (notice.reason.clone(), notice.note.clone());
            self.tell(LocalEvent::Changed { name: name.clone(), is_warning: notice.is_warning, reason, message });
        }
        if looked.let_go {
            self.ready.remove(name);
            self.tell(LocalEvent::Removed { name: name.clone() });
        } else if !status::is_ready(&looked.status) {
            self.ready.remove(name);
        } else if self.ready.insert(name.clone()) {
            let url = looked.status.url.clone().unwrap_or_default();
            self.tell(LocalEvent::Ready { name: name.clone(), url });
        }
    }

    fn tell_all_ready(&mut self) {
        // A suspended one is as it should be, and no request reaches it.
        let served = || self.desired.resources().iter().filter(|(_, resource)| !resource.spec.suspend);
        let declared: BTreeSet<DatabaseName> = served().map(|(name, _)| name.clone()).collect();
        if !declared.is_subset(&self.ready) {
            self.told_ready = None;
        } else if self.told_ready.as_ref() != Some(&declared) {
            let databases = served().map(|(name, resource)| (name.clone(), resource.spec.bucket.clone())).collect();
            self.told_ready = Some(declared);
            self.tell(LocalEvent::AllReady { databases });
        }
    }

    fn tell_remarks(&self, remarks: Vec<Remark>) {
        for remark in remarks {
            self.tell(remark.into());
        }
    }

    fn tell(&self, event: LocalEvent) {
        // Nobody prints any more only at the end.
        let _ = self.events.send(event);
    }
}
