//! Keeps this process's Lease, and ends those of others that have run out.

use std::pin::pin;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::StreamExt as _;
use k8s_openapi::api::coordination::v1::Lease;
use kube::ResourceExt;
use kube::api::{DeleteParams, PostParams, Preconditions};
use kube::runtime::{WatchStreamExt as _, watcher};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Membership;
use super::lease::{self, Decision};
use super::view::Overdue;

/// Between two tries, while the API server does not answer as it should.
const PAUSE: Duration = Duration::from_secs(1);

/// Another pod has ended this process's lease, since it was not renewed in time: its databases may be served elsewhere.
#[derive(Debug, thiserror::Error)]
#[error("the Lease `{lease}` of this pod was ended by another, since it had not been renewed for as long as it holds")]
pub struct Ended {
    lease: String,
}

/// How a try to renew ended.
enum Tried {
    Renewed(Box<Lease>),
    /// It is not as we knew it.
    Changed,
    Failed,
}

impl Membership {
    /// Takes part until `stop`, and gives the lease back then. Ends by itself only when another pod has ended our lease.
    pub async fn keep(&self, stop: CancellationToken) -> Result<(), Ended> {
        let kept = tokio::select! {
            ended = self.renew() => Err(ended),
            () = self.look() => Ok(()),
            () = self.tell_lapses() => Ok(()),
            () = stop.cancelled() => Ok(()),
        };
        self.standing.end();
        if kept.is_ok() {
            self.give_back().await;
        }
        kept
    }

    /// Renews in time, for ever.
    async fn renew(&self) -> Ended {
        let mut known: Option<Lease> = None;
        let mut renewed: Option<Instant> = None;
        loop {
            let sent = self.clock.now();
            let pause = match self.try_to_renew(known.as_ref()).await {
                Tried::Renewed(lease) => {
                    renewed = Some(sent);
                    known = Some(*lease);
                    self.standing.renewed(sent);
                    let mut steady = self.steady.lock();
                    *steady = steady.or(Some(sent));
                    drop(steady);
                    self.note_joined();
                    (sent + self.options.lease / 3).saturating_duration_since(self.clock.now())
                }
                tried => {
                    *self.steady.lock() = None;
                    let found = if matches!(tried, Tried::Changed) { self.find().await } else { None };
                    let held = renewed.map(|renewed| self.clock.now() - renewed);
                    match found.map(|found| (lease::decide(&self.identity, held, found.as_ref()), found)) {
                        Some((Decision::Ousted, _)) => return Ended { lease: self.lease_name() },
                        Some((Decision::Take | Decision::Make, found)) => {
                            known = found;
                            Duration::ZERO
                        }
                        None => PAUSE,
                    }
                }
            };
            // Woken before its time or not, it goes on.
            let _ = tokio::time::timeout(pause, self.hurry.notified()).await;
        }
    }

    async fn try_to_renew(&self, known: Option<&Lease>) -> Tried {
        let leaving = self.leaving.load(Ordering::Acquire);
        let lease = lease::renewed(&self.options, &self.identity, leaving, self.clock.wall(), known);
        let params = PostParams::default();
        let asking = async {
            match known {
                Some(_) => self.leases.replace(&lease.name_any(), &params, &lease).await,
                None => self.leases.create(&params, &lease).await,
            }
        };
        let left = || self.standing.left(self.clock.now());
        match tokio::time::timeout(self.patience(), asking).await {
            Ok(Ok(lease)) => Tried::Renewed(Box::new(lease)),
            // There is one, or another than we knew, or none any more.
            Ok(Err(kube::Error::Api(status))) if matches!(status.code, 404 | 409) => Tried::Changed,
            Ok(Err(error)) => {
                tracing::warn!(error = &error as &dyn std::error::Error, left = ?left(), "the lease could not be renewed; it is tried again");
                Tried::Failed
            }
            Err(_) => {
                tracing::warn!(left = ?left(), "the API server did not answer in time; the lease is renewed again");
                Tried::Failed
            }
        }
    }

    /// Our Lease as it is. `None` if that cannot be told.
    async fn find(&self) -> Option<Option<Lease>> {
        match tokio::time::timeout(self.patience(), self.leases.get_opt(&self.lease_name())).await {
            Ok(Ok(found)) => Some(found),
            Ok(Err(error)) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "the lease could not be read; it is tried again");
                None
            }
            Err(_) => None,
        }
    }

    /// Follows the Leases of the group, and ends those that have run out.
    async fn look(&self) {
        let config = watcher::Config::default().labels(&lease::selector(&self.options.group));
        let mut events = pin!(watcher(self.leases.clone(), config).default_backoff());
        let mine = self.lease_name();
        // Whoever may have missed a renewal counts anew.
        let mut seeing = self.clock.now();
        loop {
            let now = self.clock.now();
            // Whoever cannot renew must not think that others could.
            let steady = self.steady.lock().map_or(now, |steady| steady.max(seeing));
            let overdue = self.view.lock().overdue(&mine, now, steady);
            for lease in overdue {
                if !self.settle(lease).await {
                    seeing = self.clock.now();
                }
            }
            let next = self.view.lock().next(&mine, steady.max(seeing)).unwrap_or(now + self.options.lease);
            tokio::select! {
                event = events.next() => match event {
                    Some(Ok(event)) => self.follow(event),
                    Some(Err(error)) => {
                        tracing::warn!(error = &error as &dyn std::error::Error, "the watch of leases failed; it is tried again");
                        seeing = self.clock.now();
                    }
                    None => return,
                },
                () = tokio::time::sleep_until(next) => {}
            }
        }
    }

    fn follow(&self, event: watcher::Event<Lease>) {
        let now = self.clock.now();
        let is_whole = matches!(event, watcher::Event::InitDone);
        let is_news = !matches!(event, watcher::Event::Init | watcher::Event::InitApply(_));
        {
            let mut view = self.view.lock();
            match event {
                watcher::Event::Init => view.begin(),
                watcher::Event::InitApply(lease) | watcher::Event::Apply(lease) => view.see(lease, now),
                watcher::Event::InitDone => view.complete(),
                watcher::Event::Delete(lease) => view.lose(&lease.name_any()),
            }
        }
        if is_news {
            self.publish();
        }
        if is_whole {
            self.listed.store(true, Ordering::Release);
            self.note_joined();
        }
    }

    /// Ends or deletes a Lease of another, if it is still as it was seen. Whether that is settled.
    async fn settle(&self, overdue: Overdue) -> bool {
        let params = PostParams::default();
        let (name, asked) = match overdue {
            Overdue::End(lease) => {
                let name = lease.name_any();
                tracing::warn!(lease = name, holder = lease::holder(&lease), "a lease has run out: its pod's databases are taken over");
                let ended = lease::ended(&lease);
                let asking = self.leases.replace(&name, &params, &ended);
                let asked = tokio::time::timeout(self.patience(), asking).await;
                (name, asked.map(|answer| answer.map(Some)))
            }
            Overdue::Forget(lease) => {
                let name = lease.name_any();
                let preconditions = Preconditions { resource_version: lease.resource_version(), uid: lease.uid() };
                let params = DeleteParams::default().preconditions(preconditions);
                let asked = tokio::time::timeout(self.patience(), self.leases.delete(&name, &params)).await;
                (name, asked.map(|answer| answer.map(|_| None)))
            }
        };
        match asked {
            Ok(Ok(now_ended)) => {
                {
                    let mut view = self.view.lock();
                    match now_ended {
                        Some(lease) => view.see(lease, self.clock.now()),
                        None => view.lose(&name),
                    }
                }
                self.publish();
                true
            }
            // It was renewed, or somebody was faster: the watch tells.
            Ok(Err(kube::Error::Api(status))) if matches!(status.code, 404 | 409) => false,
            Ok(Err(error)) => {
                tracing::warn!(error = &error as &dyn std::error::Error, lease = name, "a lease that has run out could not be ended");
                false
            }
            Err(_) => false,
        }
    }

    /// Says it when the lease has run out by our own clock.
    async fn tell_lapses(&self) {
        let mut told = self.standing.watch();
        while told.wait_for(|is_current| *is_current).await.is_ok() {
            loop {
                let left = self.standing.left(self.clock.now());
                if left.is_zero() {
                    break;
                }
                tokio::time::sleep(left).await;
            }
            self.standing.tell(false);
            tracing::error!("the lease has run out: nothing is answered until it is renewed");
        }
    }

    /// Tells the others that this process answers for nothing any more.
    async fn give_back(&self) {
        let Some(Some(found)) = self.find().await else { return };
        if lease::holder(&found) != Some(&self.identity) {
            return;
        }
        let (name, params, ended) = (self.lease_name(), PostParams::default(), lease::ended(&found));
        let asking = self.leases.replace(&name, &params, &ended);
        if let Ok(Err(error)) = tokio::time::timeout(self.patience(), asking).await {
            tracing::warn!(error = &error as &dyn std::error::Error, "the lease could not be given back; it runs out");
        }
    }

    /// How long a request about a lease may take.
    fn patience(&self) -> Duration {
        self.options.lease / 3
    }
}
