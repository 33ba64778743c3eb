//! Who of the processes may answer, where somebody keeps account of it. A lease ends only when the world says so, for one that was killed or stands still; whoever
//! has none any more answers nothing, whatever they still have.

use std::collections::BTreeSet;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use parking_lot::Mutex;

use crate::liveness::{Life, Liveness};

/// The processes whose leases have ended, by their names.
#[derive(Debug, Default)]
pub(super) struct Leases(Mutex<BTreeSet<String>>);

impl Leases {
    pub(super) fn end(&self, pod: String) {
        self.0.lock().insert(pod);
    }

    pub(super) fn has_ended(&self, pod: &str) -> bool {
        self.0.lock().contains(pod)
    }
}

impl Liveness for Leases {
    fn of<'a>(&'a self, pod: &'a str) -> BoxFuture<'a, Life> {
        let life = if self.has_ended(pod) { Life::Ended } else { Life::Lives };
        std::future::ready(life).boxed()
    }
}
