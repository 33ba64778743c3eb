//! Which log lines are written: a filter that may be changed while we run, for good or for a while.
//!
//! Owns: how a filter is written, and which one is in force. Does not own: who may change it (`admin.rs`).
//! Invariant: a line or span that is not written costs what it did before: each place in the program is asked once for each change, not each time.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use engine::{Clock as _, SystemClock, WallTime, spawn_owned};
use parking_lot::{Mutex, RwLock};
use tokio_util::task::AbortOnDropHandle;
use tracing::level_filters::LevelFilter;
use tracing::subscriber::Interest;
use tracing::{Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::Context;

/// As somebody wrote it: `info,kube=warn`.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::cli) struct Filter {
    text: String,
    targets: Targets,
}

/// A text that is no filter.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(in crate::cli) enum FilterError {
    #[error("a filter names a level at least, as `info` or `info,engine=debug`")]
    Empty,
    #[error("`{0}` is neither a level nor `target=level`; levels are off, error, warn, info, debug and trace")]
    Directive(String),
}

impl FromStr for Filter {
    type Err = FilterError;

    fn from_str(text: &str) -> Result<Self, FilterError> {
        let mut targets = Targets::new();
        let mut given = text.split(',').map(str::trim).filter(|directive| !directive.is_empty()).peekable();
        if given.peek().is_none() {
            return Err(FilterError::Empty);
        }
        for directive in given {
            let wrong = || FilterError::Directive(directive.to_owned());
            let level = |word: &str| word.parse::<LevelFilter>().ok().filter(|_| !word.is_empty()).ok_or_else(wrong);
            targets = match directive.split_once('=') {
                None => targets.with_default(level(directive)?),
                Some((target, word)) => {
                    let target = target.trim();
                    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_-:".contains(c);
                    if target.is_empty() || !target.chars().all(is_plain) {
                        return Err(wrong());
                    }
                    targets.with_target(target, level(word.trim())?)
                }
            };
        }
        Ok(Self { text: text.trim().to_owned(), targets })
    }
}

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// The one that is in force. Clones are the same.
///
/// Not `tracing_subscriber::reload`, which takes a lock whenever a span is made, entered, left and closed.
#[derive(Debug, Clone)]
pub(super) struct InForce(Arc<RwLock<Targets>>);

impl InForce {
    fn set(&self, filter: &Filter) {
        *self.0.write() = filter.targets.clone();
        tracing::callsite::rebuild_interest_cache();
    }
}

impl<S: Subscriber> Layer<S> for InForce {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        Layer::<S>::register_callsite(&*self.0.read(), metadata)
    }

    fn enabled(&self, metadata: &Metadata<'_>, context: Context<'_, S>) -> bool {
        self.0.read().enabled(metadata, context)
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Layer::<S>::max_level_hint(&*self.0.read())
    }
}

/// Changes it. Clones are the same.
#[derive(Clone)]
pub(in crate::cli) struct Levels(Arc<Shared>);

struct Shared {
    in_force: InForce,
    state: Mutex<State>,
}

struct State {
    lasting: Filter,
    /// Instead of it, until then.
    passing: Option<Passing>,
    /// How many there were that pass.
    count: u64,
}

struct Passing {
    filter: Filter,
    until: WallTime,
    _end: AbortOnDropHandle<()>,
}

/// What is in force, and for how long.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::cli) struct Told {
    pub(in crate::cli) filter: Filter,
    /// When it passes, and what comes then.
    pub(in crate::cli) then: Option<(WallTime, Filter)>,
}

impl Levels {
    pub(super) fn new(filter: Filter) -> (Self, InForce) {
        let in_force = InForce(Arc::new(RwLock::new(filter.targets.clone())));
        let state = State { lasting: filter, passing: None, count: 0 };
        (Self(Arc::new(Shared { in_force: in_force.clone(), state: Mutex::new(state) })), in_force)
    }

    /// What is in force.
    pub(in crate::cli) fn told(&self) -> Told {
        let State { lasting, passing, .. } = &*self.0.state.lock();
        match passing {
            None => Told { filter: lasting.clone(), then: None },
            Some(Passing { filter, until, .. }) => Told { filter: filter.clone(), then: Some((*until, lasting.clone())) },
        }
    }

    /// For good.
    pub(in crate::cli) fn set(&self, filter: Filter) {
        let mut state = self.0.state.lock();
        state.passing = None;
        self.0.in_force.set(&filter);
        state.lasting = filter;
    }

    /// For so long; then what was set for good is in force again.
    pub(in crate::cli) fn set_for(&self, filter: Filter, time: Duration) {
        let mut state = self.0.state.lock();
        state.count += 1;
        let (levels, number) = (self.clone(), state.count);
        let end = spawn_owned(async move {
            tokio::time::sleep(time).await;
            levels.fall_back(number);
        });
        self.0.in_force.set(&filter);
        state.passing = Some(Passing { filter, until: SystemClock.wall().saturating_add(time).unwrap_or(WallTime::MAX), _end: end });
    }

    /// Unless another came after that one.
    fn fall_back(&self, number: u64) {
        let mut state = self.0.state.lock();
        if state.count == number && state.passing.is_some() {
            self.0.in_force.set(&state.lasting);
            tracing::info!(filter = %state.lasting, "the log has its lasting filter again");
            // It holds the handle of whoever calls this, who has nothing left to wait for.
            state.passing = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(text: &str) -> Filter {
        text.parse().unwrap()
    }

    #[test]
    fn a_filter_has_a_level_for_all_and_levels_for_targets() {
        let levels = filter(" info, engine=debug,kube = off ").targets;
        let lets = |target, level| levels.would_enable(target, &level);
        assert!(lets("api", tracing::Level::INFO) && !lets("api", tracing::Level::DEBUG));
        assert!(lets("engine::flusher", tracing::Level::DEBUG) && !lets("engine", tracing::Level::TRACE));
        assert!(!lets("kube_runtime", tracing::Level::ERROR));
        assert!(filter("DEBUG").targets.would_enable("api", &tracing::Level::DEBUG));
        assert_eq!(filter(" info,kube=warn\n").to_string(), "info,kube=warn");
    }

    #[test]
    fn a_text_that_is_no_filter_is_named() {
        for wrong in ["inof", "engine", "engine=loud", "=info", "engine=", "api[request]=debug", "a b=info"] {
            assert_eq!(format!("info,{wrong}").parse::<Filter>(), Err(FilterError::Directive(wrong.to_owned())), "{wrong}");
        }
        for empty in ["", "  ", ",,"] {
            assert_eq!(empty.parse::<Filter>(), Err(FilterError::Empty));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_filter_for_a_while_passes_and_the_lasting_one_comes_back() {
        let (levels, in_force) = Levels::new(filter("info"));
        let is = |text| *in_force.0.read() == filter(text).targets;
        levels.set_for(filter("debug"), Duration::from_mins(10));
        levels.set_for(filter("trace"), Duration::from_mins(20));
        assert!(is("trace"));
        assert_eq!(levels.told().then.map(|(_, then)| then), Some(filter("info")), "the one before passed with it");
        tokio::time::sleep(Duration::from_mins(19)).await;
        assert!(is("trace"));
        tokio::time::sleep(Duration::from_mins(2)).await;
        assert!(is("info"));
        assert_eq!(levels.told(), Told { filter: filter("info"), then: None });
    }

    #[tokio::test(start_paused = true)]
    async fn a_filter_that_is_set_for_good_stays() {
        let (levels, in_force) = Levels::new(filter("info"));
        levels.set_for(filter("debug"), Duration::from_mins(1));
        levels.set(filter("warn"));
        tokio::time::sleep(Duration::from_mins(2)).await;
        assert_eq!(levels.told(), Told { filter: filter("warn"), then: None });
        assert_eq!(*in_force.0.read(), filter("warn").targets);
    }
}
