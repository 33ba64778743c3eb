//! Hands databases over to the pods that are to have them: one after the other, and several at once when this process ends.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use engine::{DatabaseName, NotServed};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::Group;
use crate::placement::Part;
use crate::problem::{FIRST_PAUSE, LOOK_AGAIN, doubled};

/// How long requests under way are waited for before their database is closed.
const DRAIN: Duration = Duration::from_secs(2);
/// How many are handed over at once by a process that ends.
const WHEN_LEAVING: usize = 8;

/// A database, and whether it could be saved.
type Moved = (DatabaseName, bool);

/// Does what it is asked for until `stop`. What could not be saved stays, and is tried again with growing pauses, in which others have their turn.
pub(crate) async fn hand_over(group: Arc<Group>, stop: CancellationToken) {
    let Some(mut asked) = group.asked.lock().take() else { return };
    let mut waiting: Vec<DatabaseName> = Vec::new();
    // Those that move or pause.
    let mut busy: HashSet<DatabaseName> = HashSet::new();
    let mut failures: HashMap<DatabaseName, u32> = HashMap::new();
    let (mut moves, mut pauses) = (JoinSet::<Moved>::new(), JoinSet::<DatabaseName>::new());
    loop {
        let most = if group.is_leaving() { WHEN_LEAVING } else { 1 };
        while moves.len() < most
            && let Some(at) = waiting.iter().position(|name| !busy.contains(name))
        {
            let (name, group) = (waiting.remove(at), Arc::clone(&group));
            busy.insert(name.clone());
            moves.spawn(async move { group.hand_over(name).await });
        }
        tokio::select! {
            () = stop.cancelled() => break,
            Some(name) = asked.recv() => {
                if !waiting.contains(&name) {
                    waiting.push(name);
                }
            }
            Some(Ok(name)) = pauses.join_next() => {
                busy.remove(&name);
                waiting.push(name);
            }
            Some(ended) = moves.join_next() => match ended {
                Ok((name, true)) => {
                    busy.remove(&name);
                    failures.remove(&name);
                }
                Ok((name, false)) => {
                    let failed = failures.entry(name.clone()).or_default();
                    *failed += 1;
                    let pause = doubled(FIRST_PAUSE, *failed, LOOK_AGAIN);
                    pauses.spawn(async move {
                        tokio::time::sleep(pause).await;
                        name
                    });
                }
                Err(error) => tracing::error!(%error, "a move failed, and its database stays until this process ends"),
            },
        }
    }
    // What has begun to close goes on without us.
    moves.shutdown().await;
}

impl Group {
    fn is_leaving(&self) -> bool {
        let members = self.membership.members();
        members.get(self.name()).is_none_or(|me| me.is_leaving)
    }

    /// Flushes, releases and forgets one database, if it is still another's. The look at its resource that follows tells the others.
    async fn hand_over(&self, name: DatabaseName) -> Moved {
        let mut news = self.news.subscribe();
        // An opening holds the branch before it can be closed.
        while self.here(&name) == Some(NotServed::Opening) && news.changed().await.is_ok() {}
        if self.resource(&name).is_none_or(|resource| self.part(&resource) != Part::HandsOver) {
            return (name, true);
        }
        let mut inside = self.doors.close(&name);
        // Whoever takes longer is cut off by the close.
        let _ = tokio::time::timeout(DRAIN, inside.wait_for(|inside| *inside == 0)).await;
        let closed = match self.here(&name) {
            None | Some(NotServed::Opening | NotServed::Closing) => self.host.close(&name).await.map(drop),
            Some(NotServed::Failed | NotServed::Suspended) => self.host.give_away(&name).await,
            Some(NotServed::Unknown) => Ok(()),
        };
        self.doors.open(&name);
        self.note_news();
        match &closed {
            Ok(()) => tracing::info!(database = %name, "handed over"),
            Err(error) => {
                let error = &**error as &dyn std::error::Error;
                tracing::warn!(database = %name, error, "it stays here until it can be saved");
            }
        }
        self.host.look_again(&name);
        (name, closed.is_ok())
    }
}
