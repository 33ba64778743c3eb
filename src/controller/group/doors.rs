//! The doors of databases: who is in is waited for before a database is closed, and who comes then waits outside.

use std::collections::HashMap;
use std::sync::Arc;

use engine::DatabaseName;
use parking_lot::Mutex;
use tokio::sync::watch;

/// All of them. A database that nobody asks and that stays has none.
#[derive(Debug, Clone, Default)]
pub(super) struct Doors(Arc<Mutex<HashMap<DatabaseName, Door>>>);

#[derive(Debug)]
struct Door {
    /// How many are in.
    inside: watch::Sender<usize>,
    is_closed: bool,
}

/// A request that is in. It is out when this is dropped.
#[derive(Debug)]
pub struct Stay {
    doors: Doors,
    database: DatabaseName,
}

impl Doors {
    /// Goes in. `None` if the door is closed.
    pub(super) fn enter(&self, database: &DatabaseName) -> Option<Stay> {
        let mut doors = self.0.lock();
        let door = doors.entry(database.clone()).or_insert_with(Door::open);
        if door.is_closed {
            return None;
        }
        door.inside.send_modify(|inside| *inside += 1);
        Some(Stay { doors: self.clone(), database: database.clone() })
    }

    /// Lets nobody in any more. What is returned tells how many are in.
    pub(super) fn close(&self, database: &DatabaseName) -> watch::Receiver<usize> {
        let mut doors = self.0.lock();
        let door = doors.entry(database.clone()).or_insert_with(Door::open);
        door.is_closed = true;
        door.inside.subscribe()
    }

    /// Lets whoever comes in again.
    pub(super) fn open(&self, database: &DatabaseName) {
        let mut doors = self.0.lock();
        if let Some(door) = doors.get_mut(database) {
            door.is_closed = false;
            if *door.inside.borrow() == 0 {
                doors.remove(database);
            }
        }
    }
}

impl Door {
    fn open() -> Self {
        Self { inside: watch::Sender::new(0), is_closed: false }
    }
}

impl Drop for Stay {
    fn drop(&mut self) {
        let mut doors = self.doors.0.lock();
        let Some(door) = doors.get_mut(&self.database) else { return };
        door.inside.send_modify(|inside| *inside = inside.saturating_sub(1));
        if *door.inside.borrow() == 0 && !door.is_closed {
            doors.remove(&self.database);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name() -> DatabaseName {
        DatabaseName::new("apps", "orders")
    }

    #[test]
    fn who_is_in_is_counted_and_nobody_comes_in_by_a_closed_door() {
        let doors = Doors::default();
        let (one, other) = (doors.enter(&name()).unwrap(), doors.enter(&name()).unwrap());
        let inside = doors.close(&name());
        assert_eq!(*inside.borrow(), 2);
        assert!(doors.enter(&name()).is_none());
        drop((one, other));
        assert_eq!(*inside.borrow(), 0);
        assert!(doors.enter(&name()).is_none(), "still closed");
        doors.open(&name());
        drop(doors.enter(&name()).unwrap());
    }

    #[test]
    fn doors_of_databases_that_nobody_asks_are_not_kept() {
        let doors = Doors::default();
        drop(doors.enter(&name()));
        assert!(doors.0.lock().is_empty());
        drop(doors.close(&name()));
        doors.open(&name());
        assert!(doors.0.lock().is_empty());
    }
}
