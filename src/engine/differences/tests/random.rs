//! Random tables beside what `EXCEPT` finds in them.

use proptest::prelude::*;

use super::*;

/// A way to make the table `t` of four columns; `@` stands for the schema.
#[derive(Debug, Clone, Copy)]
struct Shape {
    sql: &'static str,
    columns: [&'static str; 4],
    key: &'static [&'static str],
}

const NAMES: [&str; 4] = ["k", "l", "v", "w"];

const SHAPES: [Shape; 7] = [
    Shape { sql: "create table @.t(k, l, v, w)", columns: NAMES, key: &["rowid"] },
    Shape { sql: "create table @.t(k integer primary key, l, v, w)", columns: NAMES, key: &["k"] },
    Shape { sql: "create table @.t(k primary key, l, v, w)", columns: NAMES, key: &["k"] },
    Shape { sql: "create table @.t(k, l text collate nocase, v, w, primary key (l, k))", columns: NAMES, key: &["l", "k"] },
    Shape { sql: "create table @.t(k, l, v, w, primary key (l, k)) without rowid", columns: NAMES, key: &["l", "k"] },
    Shape { sql: "create virtual table @.t using fts5(k, l, v, w)", columns: NAMES, key: &["rowid"] },
    Shape { sql: "create table @.t(rowid, _rowid_, oid, v)", columns: ["rowid", "_rowid_", "oid", "v"], key: &[] },
];

type Row = [Value; 4];

/// So few that rows often meet.
fn value() -> impl Strategy<Value = Value> {
    let texts = prop::sample::select(vec!["a", "A", "1"]).prop_map(|text| Value::Text(text.to_owned()));
    let numbers = prop_oneof![(0..3_i64).prop_map(Value::Integer), prop::sample::select(vec![1.0, 1.5]).prop_map(Value::Real)];
    prop_oneof![2 => Just(Value::Null), 4 => numbers, 2 => texts, 1 => Just(Value::Blob(b"a".to_vec()))]
}

fn rows() -> impl Strategy<Value = Vec<Row>> {
    prop::collection::vec(prop::array::uniform4(value()), 0..10)
}

/// The same row, as far as numbers are compared by their values.
fn in_reals(row: &Row) -> Row {
    row.clone().map(|value| match value {
        Value::Integer(0) => Value::Real(0.0),
        Value::Integer(1) => Value::Real(1.0),
        value => value,
    })
}

/// Rows that the table refuses are left out: keys that are there, or that are no integers.
fn fill(connection: &Connection, schema: &str, rows: &[Row]) {
    let mut insert = connection.prepare(&format!("insert into {schema}.t values (?1, ?2, ?3, ?4)")).unwrap();
    for row in rows {
        let row = row.clone().map(|value| match value {
            Value::Null => rusqlite::types::Value::Null,
            Value::Integer(number) => number.into(),
            Value::Real(number) => number.into(),
            Value::Text(text) => text.into(),
            Value::Blob(bytes) => bytes.into(),
        });
        let _ = insert.execute(rusqlite::params_from_iter(row));
    }
}

fn state_of(shape: Shape, rows: &[Row]) -> Connection {
    let connection = state(&shape.sql.replace('@', "main"));
    fill(&connection, "main", rows);
    connection
}

/// The same numbers by sets of rows instead of one row after the other.
fn by_sets(shape: Shape, before: &[Row], after: &[Row]) -> [u64; 3] {
    let connection = state_of(shape, before);
    connection.execute_batch("attach ':memory:' as later").unwrap();
    connection.execute_batch(&shape.sql.replace('@', "later")).unwrap();
    fill(&connection, "later", after);

    let key = shape.key.join(", ");
    let columns = shape.columns.join(", ");
    let types = shape.columns.map(|column| format!("typeof({column})")).join(", ");
    let is_told = if key.is_empty() {
        "0".to_owned()
    } else {
        shape.key.iter().map(|k| format!("{k} is not null")).collect::<Vec<_>>().join(" and ")
    };
    // By their bytes, as `EXCEPT` would not compare a column with a collation of its own.
    let bare = |list: &str| list.split(", ").map(|column| format!("{column} collate binary")).collect::<Vec<_>>().join(", ");
    let count = |rows: &str, one: &str, other: &str| -> u64 {
        let sql = format!("select count(*) from ({} except {})", rows.replace('@', one), rows.replace('@', other));
        connection.query_row(&sql, [], |row| crate::seed::rows_counted(row, 0)).unwrap()
    };
    let [mut added, mut removed, mut changed] = [0; 3];
    if !key.is_empty() {
        let keys = format!("select {} from @.t where {is_told}", bare(&key));
        let whole = format!("select {}, {}, {types} from @.t where {is_told}", bare(&key), bare(&columns));
        (added, removed) = (count(&keys, "later", "main"), count(&keys, "main", "later"));
        changed = count(&whole, "later", "main") - added;
    }
    // Each of the rows that are alike has a number.
    let all = bare(&columns);
    let numbered = format!("select {all}, {types}, row_number() over (partition by {all}, {types}) from @.t where not ({is_told})");
    added += count(&numbered, "later", "main");
    removed += count(&numbered, "main", "later");
    [added, removed, changed]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, ..ProptestConfig::default() })]
    #[test]
    fn it_finds_what_sets_of_rows_find(shape in prop::sample::select(SHAPES.to_vec()), before in rows(), after in rows(), common in rows()) {
        // More in both than chance would have, but in another order, and some of it with numbers of another type.
        let (mut before, mut after) = (before, after);
        let reals: Vec<Row> = common.iter().map(in_reals).collect();
        after.splice(0..0, reals.iter().cloned());
        after.extend(common.iter().skip(1).cloned());
        before.splice(0..0, common);
        before.extend(reals);
        let found = differences(&state_of(shape, &before), &state_of(shape, &after)).unwrap();
        prop_assert!(found.schema.is_empty() && !found.truncated);
        let told = found.tables.first().map_or([0; 3], counts);
        prop_assert_eq!(told, by_sets(shape, &before, &after));
        for table in &found.tables {
            prop_assert_eq!(table.rows_before.unwrap() + table.added.count, table.rows_after.unwrap() + table.removed.count);
        }
    }
}
