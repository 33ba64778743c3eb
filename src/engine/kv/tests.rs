use super::*;
use crate::seed::tables_in_memory;
use crate::sql::SqlErrorKind;

fn key(text: &str) -> Key {
    Key::parse(text).unwrap()
}

fn put(sql: &Connection, text: &str, value: &[u8]) {
    assert_eq!(set(sql, &key(text), value, &Condition::default(), 1.0), Ok(Changed::Done));
}

fn value(sql: &Connection, text: &str) -> Option<Vec<u8>> {
    get(sql, &key(text)).unwrap().map(|entry| entry.value)
}

fn all(sql: &Connection, prefix: &str) -> Vec<String> {
    keys(sql, &Range::of(prefix, None), 1000, &QueryLimits::default()).unwrap().keys
}

fn rows(sql: &Connection) -> Vec<(String, Vec<u8>, f64, f64)> {
    let mut select = sql.prepare("SELECT * FROM bh_kv ORDER BY key").unwrap();
    let rows = select.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))).unwrap();
    rows.collect::<Result<_, _>>().unwrap()
}

#[test]
fn a_key_that_is_set_again_keeps_the_time_of_its_first_value() {
    let sql = tables_in_memory();
    set(&sql, &key("a"), b"one", &Condition::default(), 1.5).unwrap();
    set(&sql, &key("a"), b"\xff\0", &Condition::default(), 2.5).unwrap();
    assert_eq!(rows(&sql), [("a".to_owned(), b"\xff\0".to_vec(), 1.5, 2.5)]);
    let entry = get(&sql, &key("a")).unwrap().unwrap();
    assert_eq!(entry.value, b"\xff\0");
    assert_eq!(entry.created_at.unwrap().to_string(), "1970-01-01T00:00:01.5Z");
    assert_eq!(entry.updated_at.unwrap().to_string(), "1970-01-01T00:00:02.5Z");
}

#[test]
fn what_is_deleted_is_gone_and_deleting_it_again_says_so() {
    let sql = tables_in_memory();
    put(&sql, "a", b"");
    assert_eq!(value(&sql, "a"), Some(Vec::new()));
    assert!(exists(&sql, &key("a")).unwrap());
    assert_eq!(delete(&sql, &key("a"), &Condition::default()), Ok(Changed::Done));
    assert_eq!(delete(&sql, &key("a"), &Condition::default()), Ok(Changed::Missing));
    assert_eq!(value(&sql, "a"), None);
    assert!(!exists(&sql, &key("a")).unwrap());
}

#[test]
fn a_change_under_a_condition_is_made_only_where_it_holds() {
    let sql = tables_in_memory();
    let create = Condition { if_none_match: Some(Tags::Any), ..Condition::default() };
    let still = |value: &[u8]| Condition { if_match: Some(Tags::Listed(vec![ValueDigest::of(value)])), ..Condition::default() };
    assert_eq!(set(&sql, &key("a"), b"1", &still(b"1"), 1.0), Ok(Changed::ConditionFailed));
    assert_eq!(set(&sql, &key("a"), b"1", &create, 1.0), Ok(Changed::Done));
    assert_eq!(set(&sql, &key("a"), b"2", &create, 1.0), Ok(Changed::ConditionFailed));
    assert_eq!(set(&sql, &key("a"), b"3", &still(b"2"), 1.0), Ok(Changed::ConditionFailed));
    assert_eq!(value(&sql, "a").unwrap(), b"1");
    assert_eq!(set(&sql, &key("a"), b"3", &still(b"1"), 1.0), Ok(Changed::Done));
    assert_eq!(delete(&sql, &key("a"), &still(b"1")), Ok(Changed::ConditionFailed));
    assert_eq!(delete(&sql, &key("a"), &still(b"3")), Ok(Changed::Done));
}

#[test]
fn a_prefix_is_taken_as_it_stands() {
    let sql = tables_in_memory();
    for text in ["user/1", "user/2", "user0", "USER/3", "u%", "u_er", "%", "\u{10ffff}a", "\u{10ffff}"] {
        put(&sql, text, b"x");
    }
    assert_eq!(all(&sql, "user/"), ["user/1", "user/2"]);
    assert_eq!(all(&sql, "u%"), ["u%"]);
    assert_eq!(all(&sql, "u_"), ["u_er"]);
    assert_eq!(all(&sql, "\u{10ffff}"), ["\u{10ffff}", "\u{10ffff}a"]);
    assert_eq!(all(&sql, "").len(), 9);
    assert_eq!(all(&sql, "' OR 1=1 --"), Vec::<String>::new());
    assert_eq!(count(&sql, &Range::of("user/", None)), Ok(2));
    assert_eq!(count(&sql, &Range::of("", None)), Ok(9));
}

#[test]
fn keys_come_in_pages_that_end_at_a_limit_of_rows_or_bytes() {
    let sql = tables_in_memory();
    for text in ["a1", "a2", "a3", "b1"] {
        put(&sql, text, b"x");
    }
    let limits = QueryLimits::default();
    let page = |after: Option<&str>, limit, limits: &QueryLimits| keys(&sql, &Range::of("a", after), limit, limits).unwrap();
    assert_eq!(page(None, 2, &limits), Keys { keys: vec!["a1".to_owned(), "a2".to_owned()], has_more: true });
    assert_eq!(page(Some("a2"), 2, &limits), Keys { keys: vec!["a3".to_owned()], has_more: false });
    assert_eq!(page(None, 3, &limits).keys.len(), 3);
    assert!(!page(None, 3, &limits).has_more);
    assert_eq!(page(None, 9, &QueryLimits { max_rows: 1, ..limits }), Keys { keys: vec!["a1".to_owned()], has_more: true });
    assert_eq!(page(Some("a1"), 9, &QueryLimits { max_result_size: 1, ..limits }), Keys { keys: vec!["a2".to_owned()], has_more: true });
    assert_eq!(page(Some("zz"), 9, &limits), Keys::default());
}

#[test]
fn reading_keys_of_a_prefix_looks_at_no_others() {
    let sql = tables_in_memory();
    for select in [KEYS, COUNT] {
        let plan: String =
            sql.query_row(&format!("EXPLAIN QUERY PLAN {select}"), params!["a", end(&Range::of("", None))], |row| row.get(3)).unwrap();
        assert!(plan.contains("(key>? AND key<?)"), "{plan}");
    }
}

#[test]
fn a_batch_is_done_in_its_order() {
    let sql = tables_in_memory();
    put(&sql, "old", b"x");
    let set = |text: &str, value: &'static [u8]| KvChange::Set { key: key(text), value: Bytes::from_static(value) };
    let delete = |text: &str| KvChange::Delete { key: key(text) };
    let changes = [set("a", b"1"), set("a", b"2"), delete("old"), delete("never"), set("b", b"3"), delete("b")];
    assert_eq!(batch(&sql, &changes, 1.0), Ok(BatchDone { set: 3, deleted: 2 }));
    assert_eq!(rows(&sql).len(), 1);
    assert_eq!(value(&sql, "a").unwrap(), b"2");
}

#[test]
fn values_that_sql_wrote_in_other_types_are_read_as_their_text() {
    let sql = tables_in_memory();
    sql.execute_batch("INSERT INTO bh_kv VALUES ('t', 'grüße', 1, 'x'), ('i', -42, 1, 1), ('r', 1.5, 1e300, 1)").unwrap();
    assert_eq!(value(&sql, "t").unwrap(), "grüße".as_bytes());
    assert_eq!(value(&sql, "i").unwrap(), b"-42");
    assert_eq!(value(&sql, "r").unwrap(), b"1.5");
    assert_eq!(get(&sql, &key("t")).unwrap().unwrap().updated_at, None);
    assert_eq!(get(&sql, &key("r")).unwrap().unwrap().created_at, None);
    let still = Condition { if_match: Some(Tags::Listed(vec![ValueDigest::of(b"-42")])), ..Condition::default() };
    assert_eq!(set(&sql, &key("i"), b"7", &still, 1.0), Ok(Changed::Done));
}

#[test]
fn a_table_that_is_gone_or_altered_is_named() {
    for change in ["DROP TABLE bh_kv", "ALTER TABLE bh_kv RENAME COLUMN value TO content", "ALTER TABLE bh_kv RENAME TO elsewhere"] {
        let sql = tables_in_memory();
        sql.execute_batch(change).unwrap();
        let error = get(&sql, &key("a")).map_err(altered("bh_kv")).unwrap_err();
        assert_eq!(error.kind, SqlErrorKind::Constraint, "{change}");
        assert!(error.message.starts_with("the table bh_kv is not as it was made (no such "), "{}", error.message);
        assert!(set(&sql, &key("a"), b"x", &Condition::default(), 1.0).is_err(), "{change}");
    }
}
