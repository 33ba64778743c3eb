//! Turns to restore: so many at once, and of those that wait the smallest first, so that most are back soon.
//!
//! Invariant: a turn is never lost, whoever stops waiting.

use std::collections::BTreeMap;

use parking_lot::Mutex;
use tokio::sync::oneshot;

/// Turns for all databases together.
#[derive(Debug)]
pub(crate) struct Restores(Mutex<State>);

#[derive(Debug)]
struct State {
    free: usize,
    /// Tells those of one size apart: who came first is first.
    arrivals: u64,
    waiting: BTreeMap<(u64, u64), oneshot::Sender<()>>,
}

/// A turn. It is over when this is dropped.
#[derive(Debug)]
pub(crate) struct Turn<'a>(&'a Restores);

impl Restores {
    /// So many at once.
    pub(crate) fn new(parallel: usize) -> Self {
        Self(Mutex::new(State { free: parallel.max(1), arrivals: 0, waiting: BTreeMap::new() }))
    }

    /// Waits for a turn. `size` is what is to be restored, in bytes, as far as anybody knows.
    pub(crate) async fn turn(&self, size: u64) -> Turn<'_> {
        let mut waiting = {
            let mut state = self.0.lock();
            if state.free > 0 {
                state.free -= 1;
                return Turn(self);
            }
            let place = (size, state.arrivals);
            state.arrivals += 1;
            let (give, given) = oneshot::channel();
            state.waiting.insert(place, give);
            Waiting { restores: self, place, given, is_over: false }
        };
        // Whoever takes the sender from the map sends.
        let _ = (&mut waiting.given).await;
        waiting.is_over = true;
        Turn(self)
    }

    /// Gives a turn to the next, or keeps it for whoever comes.
    fn pass_on(&self) {
        let mut state = self.0.lock();
        while let Some((_, next)) = state.waiting.pop_first() {
            if next.send(()).is_ok() {
                return;
            }
        }
        state.free += 1;
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.pass_on();
    }
}

/// Somebody who waits.
struct Waiting<'a> {
    restores: &'a Restores,
    place: (u64, u64),
    given: oneshot::Receiver<()>,
    is_over: bool,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if self.is_over {
            return;
        }
        let was_waiting = self.restores.0.lock().waiting.remove(&self.place).is_some();
        // It was given a turn that nobody takes any more.
        if !was_waiting {
            self.restores.pass_on();
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    #[test]
    fn the_smallest_is_first_and_of_one_size_who_came_first() {
        let restores = Restores::new(1);
        let first = restores.turn(9).now_or_never().unwrap();
        let mut waiting: Vec<_> = [5, 3, 7, 3].map(|size| Box::pin(restores.turn(size))).into();
        assert!(waiting.iter_mut().all(|turn| turn.now_or_never().is_none()));
        let mut held = Some(first);
        for expected in [1, 3, 0, 2] {
            drop(held.take());
            let given: Vec<_> = waiting.iter_mut().enumerate().filter_map(|(at, turn)| Some((at, turn.now_or_never()?))).collect();
            let [(at, turn)] = <[_; 1]>::try_from(given).unwrap();
            assert_eq!(at, expected);
            held = Some(turn);
            // What has ended is not polled again.
            waiting[at] = Box::pin(restores.turn(u64::MAX));
        }
    }

    #[test]
    fn a_turn_is_passed_on_by_whoever_stops_waiting() {
        let restores = Restores::new(1);
        let first = restores.turn(0).now_or_never().unwrap();
        let (mut gives_up, mut next) = (Box::pin(restores.turn(1)), Box::pin(restores.turn(2)));
        assert!((&mut gives_up).now_or_never().is_none() && (&mut next).now_or_never().is_none());
        drop(first);
        // It was given the turn, and never looks.
        drop(gives_up);
        let turn = (&mut next).now_or_never().unwrap();
        let mut other = Box::pin(restores.turn(1));
        assert!((&mut other).now_or_never().is_none());
        drop(other);
        drop(turn);
        assert!(restores.turn(0).now_or_never().is_some());
    }

    #[test]
    fn so_many_at_once_and_at_least_one() {
        let restores = Restores::new(0);
        let _turn = restores.turn(0).now_or_never().unwrap();
        assert!(restores.turn(0).now_or_never().is_none());
    }
}
