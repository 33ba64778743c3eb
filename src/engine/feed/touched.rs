//! The rows that one transaction touched, within bounds.

use std::collections::HashMap;
use std::sync::Arc;

/// Of a transaction that touches more rows only the tables are kept.
const MOST_ROWS: usize = 10_000;

/// If even their names take more, in bytes, nothing is.
const MOST_NAMES: usize = 1 << 20;

/// What was done with a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum RowKind {
    Insert,
    Update,
    Delete,
}

/// A row as SQLite tells of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Row {
    /// Its place among the names.
    table: u32,
    pub(crate) kind: RowKind,
    /// Means nothing where a table has none.
    pub(crate) rowid: i64,
}

/// Rows and the tables that they are of.
#[derive(Debug, Default)]
pub(crate) struct Touched {
    names: Vec<Arc<str>>,
    places: HashMap<Arc<str>, u32>,
    /// Bytes of all names.
    length: usize,
    rows: Vec<Row>,
    has_too_many: bool,
}

impl Touched {
    pub(crate) fn add(&mut self, table: &str, kind: RowKind, rowid: i64) {
        let last = self.rows.last();
        // Most rows are of the same table as the one before.
        let table = match last {
            Some(last) if *self.names[last.table as usize] == *table => last.table,
            _ => match self.place(table) {
                Some(place) => place,
                None => return,
            },
        };
        let row = Row { table, kind, rowid };
        if self.has_too_many || self.rows.last() == Some(&row) {
            return;
        }
        if self.rows.len() == MOST_ROWS {
            self.has_too_many = true;
            self.rows = Vec::new();
            return;
        }
        self.rows.push(row);
    }

    /// Where its name is. `None` if there is no room for it.
    fn place(&mut self, table: &str) -> Option<u32> {
        if let Some(place) = self.places.get(table) {
            return Some(*place);
        }
        self.length += table.len();
        if self.is_beyond_bounds() {
            return None;
        }
        let (name, place) = (Arc::<str>::from(table), u32::try_from(self.names.len()).ok()?);
        self.names.push(Arc::clone(&name));
        self.places.insert(name, place);
        Some(place)
    }

    /// Whether there is more than is known here.
    pub(crate) fn is_beyond_bounds(&self) -> bool {
        self.length > MOST_NAMES
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// The rows in the order in which they were touched; `None` if they are too many.
    pub(crate) fn rows(&self) -> Option<impl Iterator<Item = (&str, Row)>> {
        (!self.has_too_many).then(|| self.rows.iter().map(|row| (&*self.names[row.table as usize], *row)))
    }

    /// All tables.
    pub(crate) fn tables(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(|name| &**name)
    }

    /// In bytes, once it is kept.
    pub(super) fn cost(&self) -> usize {
        self.rows.capacity() * size_of::<Row>() + self.length + self.names.capacity() * size_of::<Arc<str>>()
    }

    /// As it is kept when nothing more comes.
    pub(super) fn closed(mut self) -> Self {
        self.places = HashMap::new();
        self.rows.shrink_to_fit();
        self.names.shrink_to_fit();
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(touched: &Touched) -> Vec<(&str, i64)> {
        touched.rows().unwrap().map(|(table, row)| (table, row.rowid)).collect()
    }

    #[test]
    fn rows_keep_their_order_and_the_same_change_is_kept_once() {
        let mut touched = Touched::default();
        for (table, rowid) in [("a", 1), ("a", 1), ("b", 1), ("a", 2), ("a", 1)] {
            touched.add(table, RowKind::Update, rowid);
        }
        assert_eq!(rows(&touched), [("a", 1), ("b", 1), ("a", 2), ("a", 1)]);
        touched.add("a", RowKind::Delete, 1);
        assert_eq!(rows(&touched).len(), 5);
    }

    #[test]
    fn of_too_many_rows_the_tables_stay() {
        let mut touched = Touched::default();
        for rowid in 0..10_000 {
            touched.add("a", RowKind::Insert, rowid);
        }
        assert_eq!(rows(&touched).len(), MOST_ROWS);
        touched.add("a", RowKind::Insert, -1);
        touched.add("b", RowKind::Insert, 1);
        assert!(touched.rows().is_none() && !touched.is_beyond_bounds());
        assert_eq!(touched.tables().collect::<Vec<_>>(), ["a", "b"]);
        assert!(touched.closed().cost() < 100);
    }

    #[test]
    fn even_names_may_be_too_many() {
        let mut touched = Touched::default();
        let name = |number: usize| number.to_string().repeat(100_000);
        (0..9).for_each(|number| touched.add(&name(number), RowKind::Insert, 1));
        assert!(!touched.is_beyond_bounds());
        touched.add(&name(10), RowKind::Insert, 1);
        assert!(touched.is_beyond_bounds());
        assert_eq!(touched.tables().count(), 9);
    }
}
