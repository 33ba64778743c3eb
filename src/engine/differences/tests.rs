//! Plain databases side by side.

mod random;

use super::*;

fn state(sql: &str) -> Connection {
    let connection = Connection::open_in_memory().unwrap();
    connection.execute_batch(sql).unwrap();
    connection
}

fn between(before: &str, after: &str) -> Differences {
    differences(&state(before), &state(after)).unwrap()
}

fn table(found: &Differences) -> &TableChange {
    let [table] = found.tables.as_slice() else { panic!("{found:?}") };
    table
}

/// How many were added, removed and changed.
fn counts(table: &TableChange) -> [u64; 3] {
    [&table.added, &table.removed, &table.changed].map(|rows| rows.count)
}

fn key(value: i64) -> Vec<Value> {
    vec![Value::Integer(value)]
}

const ORDERS: &str = "create table orders(id integer primary key, item text, n);
                      insert into orders values (1, 'a', 1), (2, 'b', 2), (3, 'c', 3);";

#[test]
fn rows_are_told_by_their_primary_key() {
    let after = format!(
        "{ORDERS} delete from orders where id = 1; update orders set n = 20 where id = 2; insert into orders values (7, 'g', 7), (8, 'h', 8);"
    );
    let found = between(ORDERS, &after);
    let table = table(&found);
    assert_eq!((table.name.as_str(), table.rows_before, table.rows_after), ("orders", Some(3), Some(4)));
    assert_eq!((table.key.as_slice(), counts(table)), (["id".to_owned()].as_slice(), [2, 1, 1]));
    assert_eq!((&table.added.keys, &table.removed.keys, &table.changed.keys), (&vec![key(7), key(8)], &vec![key(1)], &vec![key(2)]));
    assert_eq!((found.schema.as_slice(), found.unchanged_tables, found.truncated), ([].as_slice(), 0, false));
}

#[test]
fn what_is_the_same_is_only_counted() {
    let found = between(ORDERS, ORDERS);
    assert_eq!((found.is_empty(), found.unchanged_tables), (true, 1));
    // Not the order in which they were written.
    let one = "create table t(a text primary key, b) without rowid; insert into t values ('x', 1), ('y', 2);";
    let other = "create table t(a text primary key, b) without rowid; insert into t values ('y', 2), ('x', 1);";
    assert!(between(one, other).is_empty());
}

#[test]
fn a_type_is_part_of_a_value() {
    let found = between("create table t(a); insert into t values (1)", "create table t(a); insert into t values ('1')");
    assert_eq!((counts(table(&found)), &table(&found).key), ([0, 0, 1], &vec!["rowid".to_owned()]));
}

#[test]
fn keys_of_every_type_and_size_meet_each_other() {
    // In no column with an affinity, so that each keeps its type; NULLs and mixed numbers among them.
    let values = "(null), (-9223372036854775808), (9223372036854775807), (9.3e18), (-1e300), (0.5), (1), (1.5), ('a'), ('B'), ('ä'), (x'00'), (x'ff')";
    let before = format!("create table t(k primary key, v default 0); insert into t(k) values {values};");
    assert!(between(&before, &before).is_empty());
    let found = between(
        &before,
        &format!("{before} update t set v = 1; delete from t where k = 9.3e18; insert into t(k) values (9.2e18), (x'01');"),
    );
    // The row with NULL is another one now.
    assert_eq!(counts(table(&found)), [3, 2, 11]);
}

#[test]
fn rows_with_null_in_their_key_are_told_by_all_that_they_hold() {
    let before = "create table t(k text primary key, v); insert into t values (null, 1), (null, 2), ('a', 3);";
    let again = "create table t(k text primary key, v); insert into t values ('a', 3), (null, 2), (null, 1);";
    assert!(between(before, again).is_empty());
    let found = between(before, &format!("{before} delete from t where v = 1; insert into t values (null, 2);"));
    assert_eq!(counts(table(&found)), [1, 1, 0]);
}

#[test]
fn keys_are_compared_by_their_bytes_whatever_their_collation() {
    let before = "create table t(k text primary key collate nocase, v); insert into t values ('a', 1), ('B', 2), ('c', 3);";
    let found = between(before, &format!("{before} update t set k = 'b' where v = 2;"));
    assert_eq!(counts(table(&found)), [1, 1, 0]);
}

#[test]
fn keys_of_several_columns_in_their_own_order() {
    let before = "create table t(a, b, c, primary key (c, a)) without rowid; insert into t values (1, 1, 1), (2, 2, 1), (1, 3, 2);";
    let found = between(before, &format!("{before} update t set b = 9 where c = 2;"));
    assert_eq!((counts(table(&found)), table(&found).key.join(",")), ([0, 0, 1], "c,a".to_owned()));
    assert_eq!(table(&found).changed.keys, [[Value::Integer(2), Value::Integer(1)]]);
}

#[test]
fn a_table_that_came_or_went_has_all_its_rows_added_or_removed() {
    let found = between("create table gone(x); insert into gone values (1), (2)", "create table came(x); insert into came values (1)");
    let [came, gone] = found.tables.as_slice() else { panic!("{found:?}") };
    assert_eq!((counts(came), came.rows_before, came.rows_after), ([1, 0, 0], None, Some(1)));
    assert_eq!((counts(gone), gone.rows_before, gone.rows_after), ([0, 2, 0], Some(2), None));
    let schema: Vec<_> = found.schema.iter().map(|part| (part.name.as_str(), part.before.is_some(), part.after.is_some())).collect();
    assert_eq!(schema, [("came", false, true), ("gone", true, false)]);
}

#[test]
fn columns_that_both_have_are_compared_where_others_came() {
    let found = between(
        ORDERS,
        &format!("{ORDERS} alter table orders add column note; update orders set note = 'x'; update orders set n = 0 where id = 3;"),
    );
    assert_eq!((counts(table(&found)), found.schema.len()), ([0, 0, 1], 1));
    let SchemaChange { kind, before, after, .. } = &found.schema[0];
    assert!(kind == "table" && !before.as_ref().unwrap().contains("note") && after.as_ref().unwrap().contains("note"));
}

#[test]
fn views_indexes_and_triggers_are_schema() {
    let made = format!(
        "{ORDERS} create index by_item on orders(item); create view v as select 1; create trigger tr after insert on orders begin select 1; end;"
    );
    let found = between(ORDERS, &made);
    let kinds: Vec<_> = found.schema.iter().map(|part| part.kind.as_str()).collect();
    assert_eq!((kinds.as_slice(), found.tables.len()), (["index", "trigger", "view"].as_slice(), 0));
}

#[test]
fn a_column_that_takes_the_row_ids_name_is_none() {
    let before = "create table t(rowid, x); insert into t values (5, 1), (5, 2);";
    let found = between(before, &format!("{before} update t set x = 3 where x = 2;"));
    assert_eq!((counts(table(&found)), table(&found).key.as_slice()), ([0, 0, 1], ["_rowid_".to_owned()].as_slice()));
    let all = "create table t(rowid, _rowid_, oid); insert into t values (1, 2, 3), (4, 5, 6);";
    let found = between(all, &format!("{all} update t set oid = 7 where rowid = 4;"));
    assert_eq!((counts(table(&found)), table(&found).key.len()), ([1, 1, 0], 3));
}

#[test]
fn names_are_quoted() {
    let before = r#"create table "a ""b"" --"("select" primary key, "x y"); insert into "a ""b"" --" values (1, 2);"#;
    let found = between(before, &format!(r#"{before} update "a ""b"" --" set "x y" = 3;"#));
    assert_eq!((counts(table(&found)), table(&found).name.as_str()), ([0, 0, 1], r#"a "b" --"#));
}

#[test]
fn texts_that_are_searched_are_compared_and_what_lies_behind_them_is_not_told() {
    let before = "create virtual table notes using fts5(body); insert into notes(rowid, body) values (1, 'one'), (2, 'two');";
    let found = between(before, &format!("{before} update notes set body = 'three' where rowid = 2;"));
    assert_eq!((table(&found).name.as_str(), counts(table(&found))), ("notes", [0, 0, 1]));
}

#[test]
fn what_cannot_be_compared_is_named_and_the_others_are_compared() {
    let shape = |columns: &str| format!("create table t({columns}) without rowid; {ORDERS}");
    let found = between(&shape("a primary key"), &format!("{} delete from orders where id = 1;", shape("b primary key")));
    let [orders, t] = found.tables.as_slice() else { panic!("{found:?}") };
    assert_eq!((counts(orders), t.name.as_str(), counts(t)), ([0, 1, 0], "t", [0, 0, 0]));
    assert!(t.not_compared.as_ref().unwrap().contains("in common"));
}

#[test]
fn texts_in_utf_16_are_refused() {
    let utf_16 = "pragma encoding = 'UTF-16le'; create table t(x);";
    let refused = differences(&state(ORDERS), &state(utf_16)).unwrap_err();
    assert!(refused.message.contains("UTF-16le"), "{refused}");
}

#[test]
fn what_is_told_is_bounded() {
    let many = "create table t(k text primary key); with n(i) as (select 1 union all select i + 1 from n where i < 100)
                insert into t select printf('%0200d', i) from n;";
    let found = between("create table t(k text primary key)", many);
    let added = &table(&found).added;
    let Value::Text(first) = &added.keys[0][0] else { panic!("{added:?}") };
    assert_eq!((added.count, added.keys.len(), first.chars().count()), (100, KEYS, KEY_VALUE + 1));
    let tables: Vec<String> = (0..=MOST).map(|number| format!("create table t{number}(x); insert into t{number} values (1);")).collect();
    let found = between("", &tables.concat());
    assert_eq!((found.tables.len(), found.schema.len(), found.truncated), (MOST, MOST, true));
}
