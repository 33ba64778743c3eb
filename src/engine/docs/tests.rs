use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::seed::tables_in_memory;
use crate::sql::SqlErrorKind;

mod random;

fn people() -> Name {
    Name::collection("people").unwrap()
}

fn id(text: &str) -> Name {
    Name::id(text).unwrap()
}

fn document(value: &Value) -> NewDocument {
    NewDocument::parse(&value.to_string()).unwrap()
}

fn put(sql: &Connection, documents: &[Value]) -> Vec<String> {
    let documents = documents.iter().map(|value| document(value).with_id().unwrap()).collect();
    insert(sql, &people(), documents, 1.0).unwrap().iter().map(ToString::to_string).collect()
}

fn find(sql: &Connection, find: &Find) -> Vec<Value> {
    let found = find::find(sql, &people(), find, &QueryLimits::default()).unwrap();
    found.documents.iter().map(|text| serde_json::from_str(text).unwrap()).collect()
}

fn filter(value: &Value) -> Filter {
    Filter::parse(&value.to_string()).unwrap()
}

fn ids(documents: &[Value]) -> Vec<&str> {
    documents.iter().map(|document| document["_id"].as_str().unwrap()).collect()
}

fn create_index(sql: &Connection, path: &str) -> bool {
    index::create(sql, &IndexPath::new(Path::parse(path).unwrap()).unwrap()).unwrap()
}

fn three() -> Connection {
    let sql = tables_in_memory();
    put(
        &sql,
        &[json!({"_id": "c", "age": 30, "name": "Ada"}), json!({"_id": "a", "age": 20, "name": "Bo"}), json!({"_id": "b", "age": 40})],
    );
    sql
}

#[test]
fn documents_come_in_the_order_in_which_they_were_inserted() {
    let sql = three();
    assert_eq!(ids(&find(&sql, &Find::default())), ["c", "a", "b"]);
    insert(&sql, &people(), vec![(id("0"), document(&json!({})))], 0.5).unwrap();
    assert_eq!(ids(&find(&sql, &Find::default())), ["0", "c", "a", "b"]);
}

#[test]
fn a_generated_id_is_a_random_uuid_in_hexadecimal() {
    assert_eq!(fresh_id(0).as_str(), "00000000000040008000000000000000");
    assert_eq!(fresh_id(u128::MAX).as_str(), "ffffffffffff4fffbfffffffffffffff");
    let sql = tables_in_memory();
    let given = put(&sql, &[json!({}), json!({})]);
    assert!(given[0] != given[1] && given.iter().all(|id| id.len() == 32), "{given:?}");
    assert_eq!(ids(&find(&sql, &Find::default())), given);
}

#[test]
fn an_id_that_is_taken_is_named() {
    let sql = three();
    let error = insert(&sql, &people(), vec![(id("a"), document(&json!({})))], 2.0).unwrap_err();
    assert_eq!(error.kind, SqlErrorKind::Constraint);
    assert_eq!(error.message, "the collection `people` has a document `a` already; none was inserted");
    let other = Name::collection("other").unwrap();
    insert(&sql, &other, vec![(id("a"), document(&json!({})))], 2.0).unwrap();
    let all = collections(&sql, &QueryLimits::default()).unwrap();
    assert_eq!(all.collections, [("other".to_owned(), 1), ("people".to_owned(), 3)]);
}

#[test]
fn a_document_is_replaced_merged_and_deleted() {
    let sql = three();
    let text = || get(&sql, &people(), &id("a")).unwrap();
    assert!(store(&sql, &people(), &id("a"), &document(&json!({"x": {"y": 1}})).text(&id("a")), 5.0).unwrap());
    assert_eq!(text().unwrap(), r#"{"x":{"y":1},"_id":"a"}"#);
    let merged = update(&sql, &people(), &id("a"), document(&json!({"x": null, "z": 1})), 6.0).unwrap();
    assert_eq!(merged, text());
    assert_eq!(merged.unwrap(), r#"{"x":null,"_id":"a","z":1}"#);
    let times: (f64, f64) =
        sql.query_row("SELECT created_at, updated_at FROM bh_docs WHERE id = 'a'", [], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    assert!(times.0 < 1.1 && times.1 > 5.9, "{times:?}");
    assert!(delete(&sql, &people(), &id("a")).unwrap());
    assert!(!delete(&sql, &people(), &id("a")).unwrap());
    assert_eq!(update(&sql, &people(), &id("a"), document(&json!({})), 6.0), Ok(None));
    assert_eq!(store(&sql, &people(), &id("a"), "{}", 6.0), Ok(false));
    assert_eq!(clear(&sql, &people()), Ok(2));
    assert_eq!(clear(&sql, &people()), Ok(0));
}

#[test]
fn a_search_is_sorted_skipped_limited_and_projected() {
    let sql = three();
    let by_age = Find { sort: Sort::parse(r#"{"age":-1}"#).unwrap(), ..Find::default() };
    assert_eq!(ids(&find(&sql, &by_age)), ["b", "c", "a"]);
    assert_eq!(ids(&find(&sql, &Find { skip: 1, limit: Some(1), ..by_age.clone() })), ["c"]);
    assert_eq!(ids(&find(&sql, &Find { skip: 9, ..by_age.clone() })), Vec::<&str>::new());
    let names =
        Find { projection: Projection::parse(r#"{"name":1,"_id":0}"#).unwrap(), filter: filter(&json!({"age": {"$lt": 40}})), ..by_age };
    assert_eq!(find(&sql, &names), [json!({"name": "Ada"}), json!({"name": "Bo"})]);
    assert_eq!(find::count(&sql, &people(), &names.filter), Ok(2));
    assert_eq!(find::count(&sql, &people(), &Filter::default()), Ok(3));
    assert_eq!(find::count(&sql, &Name::collection("none").unwrap(), &names.filter), Ok(0));
}

#[test]
fn limits_of_the_database_cut_rows_off_and_refuse_bytes() {
    let sql = three();
    let limits = |max_rows, max_result_size| QueryLimits { max_rows, max_result_size, ..QueryLimits::default() };
    let run = |limit, limits: &QueryLimits| find::find(&sql, &people(), &Find { limit, ..Find::default() }, limits);
    for (limit, rows, truncated) in [(None, 2, true), (Some(2), 2, false), (Some(5), 2, true), (None, 3, false), (Some(1), 2, false)] {
        let found = run(limit, &limits(rows, 1000)).unwrap();
        assert_eq!((found.documents.len() as u64, found.truncated), (rows.min(limit.unwrap_or(9)), truncated), "{limit:?} {rows}");
    }
    assert_eq!(run(None, &limits(9, 50)).unwrap_err().kind, SqlErrorKind::ResultTooLarge);
}

#[test]
fn pages_lead_through_a_collection_and_end_early_at_a_limit() {
    let sql = three();
    let page = |after: Option<&str>, limit, limits: QueryLimits| {
        find::page(&sql, &people(), after.map(|text| Cursor::parse(text).unwrap()).as_ref(), limit, &limits).unwrap()
    };
    let first = page(None, 2, QueryLimits::default());
    assert_eq!(first.documents.len(), 2);
    let next = first.next.unwrap().to_string();
    let last = page(Some(&next), 2, QueryLimits::default());
    assert!(last.documents[0].contains("\"_id\":\"b\"") && last.next.is_none(), "{last:?}");
    let small = page(None, 2, QueryLimits { max_result_size: 1, ..QueryLimits::default() });
    assert!(small.documents.len() == 1 && small.next.is_some());
    // The document at which a page ended may be gone.
    delete(&sql, &people(), &id("a")).unwrap();
    assert_eq!(page(Some(&next), 2, QueryLimits::default()).documents, last.documents);
    for text in ["", "x", "x:y", "NaN:a"] {
        assert_eq!(Cursor::parse(text), None, "{text}");
    }
}

#[test]
fn an_index_leads_to_what_a_full_search_finds() {
    let sql = tables_in_memory();
    let values = [
        json!(1),
        json!(1.0),
        json!(true),
        json!(false),
        json!(0),
        json!("1"),
        json!("[x"),
        json!(""),
        json!(null),
        json!([1, "x"]),
        json!([]),
        json!({"b": 1}),
        json!([{"b": 1}]),
        json!("a\u{0}b"),
        json!("a"),
        json!(9_007_199_254_740_993_i64),
        json!(u64::MAX),
        json!(0.1),
        json!([[1]]),
        json!("{"),
        json!("é"),
    ];
    let mut documents: Vec<Value> = values.iter().map(|value| json!({"a": value})).collect();
    documents.push(json!({}));
    put(&sql, &documents);
    let filters: Vec<Filter> = values
        .iter()
        .flat_map(|value| {
            let mut all = vec![json!({"a": {"$eq": value}}), json!({"a": {"$in": [value, "a"]}}), json!({"a.b": {"$eq": value}})];
            if !(value.is_null() || value.is_array() || value.is_object()) {
                all.extend(["$gt", "$gte", "$lt", "$lte"].map(|relation| json!({"a": {relation: value}})));
            }
            all
        })
        .map(|value| filter(&value))
        .collect();
    let search = |filter: &Filter| find(&sql, &Find { filter: filter.clone(), ..Find::default() });
    let without: Vec<_> = filters.iter().map(search).collect();
    assert!(create_index(&sql, "a") && create_index(&sql, "a.b"));
    for (filter, expected) in filters.iter().zip(without) {
        assert_eq!(search(filter), expected, "{filter:?}");
    }
}

#[test]
fn sqlite_searches_the_index_and_nothing_else() {
    let sql = tables_in_memory();
    let path = IndexPath::new(Path::parse("address.zip-code").unwrap()).unwrap();
    index::create(&sql, &path).unwrap();
    for (condition, searched) in [("BETWEEN ?2 AND ?3", "collection=? AND <expr>>? AND <expr><?"), ("IS NULL", "collection=? AND <expr>=?")]
    {
        let select = format!("EXPLAIN QUERY PLAN {}", find::lookup(&path, condition));
        let mut explain = sql.prepare(&select).unwrap();
        let plan: Vec<String> = explain
            .query_map(rusqlite::params_from_iter(["people", "a", "b"].iter().take(explain.parameter_count())), |row| row.get(3))
            .unwrap()
            .collect::<Result<_, _>>()
            .unwrap();
        assert_eq!(plan, [format!("SEARCH bh_docs USING INDEX idx_bh_docs_path_address.zip-code ({searched})")]);
    }
}

#[test]
fn indexes_are_made_listed_and_dropped() {
    let sql = three();
    let list = || index::list(&sql).unwrap().iter().map(|index| index.path().to_string()).collect::<Vec<_>>();
    assert!(create_index(&sql, "name") && create_index(&sql, "age"));
    assert!(!create_index(&sql, "age"));
    assert_eq!(list(), ["age", "name"]);
    let age = IndexPath::new(Path::parse("age").unwrap()).unwrap();
    assert!(index::remove(&sql, &age).unwrap());
    assert!(!index::remove(&sql, &age).unwrap());
    assert_eq!(list(), ["name"]);
}

#[test]
fn an_index_that_somebody_defined_otherwise_is_not_used() {
    let sql = three();
    sql.execute_batch("CREATE INDEX idx_bh_docs_path_age ON bh_docs(doc)").unwrap();
    assert_eq!(index::list(&sql).unwrap(), []);
    let age = IndexPath::new(Path::parse("age").unwrap()).unwrap();
    assert!(index::create(&sql, &age).unwrap_err().message.contains("something else is called idx_bh_docs_path_age"));
    assert!(!index::remove(&sql, &age).unwrap());
    assert_eq!(ids(&find(&sql, &Find { filter: filter(&json!({"age": 30})), ..Find::default() })), ["c"]);
}

#[test]
fn hostile_texts_are_only_texts() {
    let sql = three();
    let hostile = "x'); DROP TABLE bh_docs; --";
    put(&sql, &[json!({"_id": hostile, hostile: hostile, "\"$x\"": 1})]);
    let by = |filter_of: Value| ids(&find(&sql, &Find { filter: filter(&filter_of), ..Find::default() })).join(",");
    assert_eq!(by(json!({hostile: hostile})), hostile);
    assert_eq!(by(json!({"_id": hostile})), hostile);
    assert_eq!(by(json!({"name": "' OR '1'='1"})), "");
    assert_eq!(by(json!({"a') OR (1=1": {"$gt": 0}})), "");
    assert_eq!(find::count(&sql, &Name::collection(hostile).unwrap(), &Filter::default()), Ok(0));
    let sorted = Find { sort: Sort::parse(r#"{"a' DESC; --":1}"#).unwrap(), ..Find::default() };
    assert_eq!(find(&sql, &sorted).len(), 4);
}

#[test]
fn a_document_that_sql_broke_is_named_and_can_be_repaired() {
    let sql = three();
    sql.execute_batch("UPDATE bh_docs SET doc = '{\"age\": NaN}' WHERE id = 'a'").unwrap();
    let search = || find::find(&sql, &people(), &Find { filter: filter(&json!({"age": 30})), ..Find::default() }, &QueryLimits::default());
    for error in [
        search().unwrap_err(),
        get(&sql, &people(), &id("a")).unwrap_err(),
        update(&sql, &people(), &id("a"), document(&json!({})), 1.0).unwrap_err(),
        find::page(&sql, &people(), None, 9, &QueryLimits::default()).unwrap_err(),
    ] {
        assert_eq!(error.kind, SqlErrorKind::Constraint);
        assert!(error.message.starts_with("the document `a` is not a JSON object that can be read"), "{}", error.message);
    }
    for broken in ["'[]'", "x'ff'", "''", "'null'"] {
        sql.execute_batch(&format!("UPDATE bh_docs SET doc = {broken} WHERE id = 'a'")).unwrap();
        assert!(search().is_err(), "{broken}");
    }
    assert!(store(&sql, &people(), &id("a"), "{}", 1.0).unwrap());
    assert_eq!(search().unwrap().documents.len(), 1);
    // Bytes of JSON are JSON, and the id is that of the row.
    sql.execute_batch("UPDATE bh_docs SET doc = CAST('{\"_id\": 1, \"age\": 30}' AS BLOB) WHERE id = 'a'").unwrap();
    assert_eq!(search().unwrap().documents[1], r#"{"_id":"a","age":30}"#);
}

#[test]
fn a_table_that_is_gone_or_altered_is_named() {
    for change in ["DROP TABLE bh_docs", "ALTER TABLE bh_docs RENAME COLUMN doc TO content", "ALTER TABLE bh_docs RENAME TO elsewhere"] {
        let sql = three();
        sql.execute_batch(change).unwrap();
        let error = find::find(&sql, &people(), &Find::default(), &QueryLimits::default()).map_err(altered("bh_docs")).unwrap_err();
        assert_eq!(error.kind, SqlErrorKind::Constraint, "{change}");
        assert!(error.message.starts_with("the table bh_docs is not as it was made (no such "), "{}", error.message);
        assert!(clear(&sql, &people()).is_err() || change.contains("COLUMN"));
    }
}
