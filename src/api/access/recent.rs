//! A table that forgets what nobody asked for the longest.
//!
//! Invariant: it never has more than `most` entries.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;

/// At most so many entries, those used last.
#[derive(Debug)]
pub(super) struct Recent<K, V> {
    most: usize,
    /// Uses are counted; each entry bears the number of its last one.
    uses: u64,
    entries: HashMap<K, (u64, V)>,
    order: BTreeMap<u64, K>,
}

impl<K: Hash + Eq + Clone, V> Recent<K, V> {
    pub(super) fn new(most: usize) -> Self {
        Self { most, uses: 0, entries: HashMap::new(), order: BTreeMap::new() }
    }

    /// The value of a key, which counts as used.
    pub(super) fn get(&mut self, key: &K) -> Option<&mut V> {
        let (used, value) = self.entries.get_mut(key)?;
        let key = self.order.remove(used)?;
        self.uses += 1;
        *used = self.uses;
        self.order.insert(self.uses, key);
        Some(value)
    }

    /// Gives a key a value, and forgets another key if there are too many.
    pub(super) fn insert(&mut self, key: K, value: V) {
        self.remove(&key);
        if self.entries.len() >= self.most
            && let Some((_, oldest)) = self.order.pop_first()
        {
            self.entries.remove(&oldest);
        }
        self.uses += 1;
        self.order.insert(self.uses, key.clone());
        self.entries.insert(key, (self.uses, value));
    }

    pub(super) fn remove(&mut self, key: &K) -> Option<V> {
        let (used, value) = self.entries.remove(key)?;
        self.order.remove(&used);
        Some(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_one_that_nobody_used_the_longest_is_forgotten_first() {
        let mut table = Recent::new(2);
        table.insert("a", 1);
        table.insert("b", 2);
        assert_eq!(table.get(&"a"), Some(&mut 1));
        table.insert("c", 3);
        assert_eq!(["a", "b", "c"].map(|key| table.get(&key).copied()), [Some(1), None, Some(3)]);
        table.insert("a", 4);
        assert_eq!((table.entries.len(), table.order.len()), (2, 2), "a new value takes no place of its own");
        assert_eq!((table.remove(&"a"), table.remove(&"a"), table.order.len()), (Some(4), None, 1));
    }
}
