//! Runs that this process began and no watch has shown yet.
//!
//! Owns: that two resources of one prefix, in one namespace or in two, do not begin in the moment between the request for a Job and the news
//! of it. Losing it, at a restart, costs a run beside another; what that may do to blobs the engine's marks decide, not this.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use engine::{DatabaseName, WallTime};

use super::Place;
use crate::plan::elapsed;

/// After so long nobody waits for the news any more: the Job came and went unseen.
const FORGOTTEN: Duration = Duration::from_mins(1);

/// Who began to run where, and when.
#[derive(Debug, Default)]
pub(crate) struct Claims(Mutex<HashMap<Place, (DatabaseName, WallTime)>>);

impl Claims {
    /// Takes a place for a database, unless another one has it.
    pub(crate) fn take(&self, place: Place, name: &DatabaseName, now: WallTime) -> bool {
        let mut known = self.lock();
        match holder(&known, &place, now) {
            Some(other) if other != *name => false,
            Some(_) | None => {
                known.insert(place, (name.clone(), now));
                true
            }
        }
    }

    /// Who has a place.
    pub(crate) fn holder(&self, place: &Place, now: WallTime) -> Option<DatabaseName> {
        holder(&self.lock(), place, now)
    }

    /// Gives a place back: the Job is seen, or there is none.
    pub(crate) fn give_back(&self, place: &Place, name: &DatabaseName) {
        let mut known = self.lock();
        if known.get(place).is_some_and(|(holder, _)| holder == name) {
            known.remove(place);
        }
    }

    /// Nobody panics while holding it, and each entry is whole after each change.
    fn lock(&self) -> MutexGuard<'_, HashMap<Place, (DatabaseName, WallTime)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn holder(known: &HashMap<Place, (DatabaseName, WallTime)>, place: &Place, now: WallTime) -> Option<DatabaseName> {
    known.get(place).filter(|(_, since)| elapsed(*since, now) < FORGOTTEN).map(|(name, _)| name.clone())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::fixtures::{name, resource, second};

    #[test]
    fn a_place_has_one_holder_until_it_is_given_back_or_forgotten() {
        let (claims, place) = (Claims::default(), Place::of(&resource(json!({})).spec));
        let other = DatabaseName::new("apps", "other");
        assert!(claims.take(place.clone(), &name(), second(0)));
        assert!(claims.take(place.clone(), &name(), second(1)), "it has it already");
        assert!(!claims.take(place.clone(), &other, second(1)));
        claims.give_back(&place, &other);
        assert_eq!(claims.holder(&place, second(2)), Some(name()), "nobody gives back what another one has");
        claims.give_back(&place, &name());
        assert!(claims.take(place.clone(), &other, second(3)));
        assert_eq!(claims.holder(&place, second(63)), None);
        assert!(claims.take(place, &name(), second(63)));
    }
}
