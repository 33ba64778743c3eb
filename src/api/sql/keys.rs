//! The requests under way that are to run once: whoever sends one again before it is answered is told so.

use std::collections::HashSet;
use std::sync::Arc;

use engine::DatabaseName;
use parking_lot::Mutex;

use crate::error::{Kind, Problem};

/// Their keys, by database.
#[derive(Debug, Clone, Default)]
pub(crate) struct Keys(Arc<Mutex<HashSet<(DatabaseName, String)>>>);

/// A request that is under way until this is dropped.
#[derive(Debug)]
pub(super) struct UnderWay {
    keys: Keys,
    own: (DatabaseName, String),
}

impl Keys {
    pub(super) fn enter(&self, database: &DatabaseName, key: &str) -> Result<UnderWay, Problem> {
        let own = (database.clone(), key.to_owned());
        if !self.0.lock().insert(own.clone()) {
            let detail = format!("idempotency-key: a request with the key `{key}` is under way; ask again for its answer");
            return Err(Problem::new(Kind::IdempotencyKeyInUse, detail));
        }
        Ok(UnderWay { keys: self.clone(), own })
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.keys.0.lock().remove(&self.own);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_in_use_until_its_request_ends_and_in_its_database_alone() {
        let keys = Keys::default();
        let (one, other) = (DatabaseName::new("apps", "one"), DatabaseName::new("apps", "other"));
        let under_way = keys.enter(&one, "k").unwrap();
        assert_eq!(keys.enter(&one, "k").unwrap_err().kind, Kind::IdempotencyKeyInUse);
        keys.enter(&other, "k").unwrap();
        drop(under_way);
        keys.enter(&one, "k").unwrap();
    }
}
