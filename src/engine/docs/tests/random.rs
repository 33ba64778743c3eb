//! Random filters over random documents, beside a meaning that is written down a second time, and beside SQLite's own operators.

use std::collections::BTreeMap;

use super::*;

/// Few names and values, so that they often meet.
fn scalar() -> impl Strategy<Value = Value> {
    prop_oneof![
        12 => prop::sample::select(vec![json!(0), json!(1), json!("a")]),
        1 => Just(Value::Null),
        1 => any::<bool>().prop_map(Value::from),
        1 => prop::sample::select(vec![-1_i64, 0, 1, 2, i64::MAX, i64::MIN, (1 << 53) + 1]).prop_map(Value::from),
        1 => prop::sample::select(vec![0.0, 1.0, 1.5, -0.1, 9_007_199_254_740_992.0, 1e300]).prop_map(Value::from),
        1 => prop::sample::select(vec!["", "a", "b", "[", "{", "1", "ü", "\u{10ffff}", "a\u{0}b"]).prop_map(Value::from),
    ]
}

fn value() -> impl Strategy<Value = Value> {
    scalar().prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            prop::collection::btree_map(name(), inner, 0..3).prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

fn name() -> impl Strategy<Value = String> {
    prop::sample::select(vec!["a", "b", "0"]).prop_map(str::to_owned)
}

fn documents() -> impl Strategy<Value = Vec<Value>> {
    let one = prop::collection::btree_map(name(), value(), 0..3).prop_map(|members| Value::Object(members.into_iter().collect()));
    prop::collection::vec(one, 1..8)
}

fn path() -> impl Strategy<Value = String> {
    prop::collection::vec(name(), 1..3).prop_map(|names| names.join("."))
}

fn operators() -> impl Strategy<Value = Value> {
    let one = |name: &'static str, operand: BoxedStrategy<Value>| operand.prop_map(move |operand| (name.to_owned(), operand)).boxed();
    let comparable = || scalar().prop_filter("null has no order", |value| !value.is_null()).boxed();
    let list = || prop::collection::vec(value(), 0..3).prop_map(Value::from).boxed();
    let operator = prop_oneof![
        one("$eq", value().boxed()),
        one("$ne", value().boxed()),
        one("$gt", comparable()),
        one("$gte", comparable()),
        one("$lt", comparable()),
        one("$lte", comparable()),
        one("$in", list()),
        one("$nin", list()),
        one("$exists", any::<bool>().prop_map(Value::from).boxed()),
        one("$regex", Just(json!("^[ab]")).boxed()),
    ];
    let flat = prop::collection::vec(operator, 1..3)
        .prop_map(|all| Value::Object(all.into_iter().collect::<BTreeMap<_, _>>().into_iter().collect()));
    flat.prop_recursive(2, 6, 2, |inner| {
        prop_oneof![inner.clone().prop_map(|inner| json!({"$not": inner})), inner.prop_map(|inner| json!({"$elemMatch": inner}))]
    })
}

fn random_filter() -> impl Strategy<Value = Value> {
    let field = prop_oneof![(path(), value()), (path(), operators())].prop_map(|(path, test)| json!({path: test}));
    let field = field.prop_filter("a value with operators in it is none", |filter| Filter::parse(&filter.to_string()).is_ok());
    // One field alone is what an index is for.
    let fields = field.clone().prop_recursive(2, 8, 3, |inner| {
        let several = prop::collection::vec(inner, 1..3);
        (prop::sample::select(vec!["$and", "$or", "$nor"]), several).prop_map(|(operator, filters)| json!({operator: filters}))
    });
    prop_oneof![field, fields]
}

/// What a filter means, once more: without early ends, without a parser, on all values at once.
fn means(filter: &Value, document: &Value) -> bool {
    filter.as_object().unwrap().iter().all(|(name, test)| {
        let filters = || test.as_array().unwrap().iter().filter(|filter| means(filter, document)).count();
        match name.as_str() {
            "$and" => filters() == test.as_array().unwrap().len(),
            "$or" => filters() > 0,
            "$nor" => filters() == 0,
            path => {
                let names: Vec<&str> = path.split('.').collect();
                passes(test, &values(document, &names))
            }
        }
    })
}

/// The values at a path; `None` for each place where one is missing.
fn values(value: &Value, names: &[&str]) -> Vec<Option<Value>> {
    let Some((name, rest)) = names.split_first() else { return vec![Some(value.clone())] };
    match value {
        Value::Object(members) => members.get(*name).map_or_else(|| vec![None], |member| values(member, rest)),
        Value::Array(elements) => {
            let number: Option<usize> = name.parse().ok();
            let mut all: Vec<_> = number.and_then(|number| elements.get(number)).map(|element| values(element, rest)).into_iter().collect();
            for element in elements.iter().filter(|element| element.is_object()) {
                if number.is_none() || element.get(name).is_some() {
                    all.push(values(element, names));
                }
            }
            if number.is_some() && all.is_empty() { vec![None] } else { all.concat() }
        }
        _ => vec![None],
    }
}

fn passes(test: &Value, found: &[Option<Value>]) -> bool {
    let operators = test.as_object().filter(|object| object.keys().any(|name| name.starts_with('$')));
    let Some(operators) = operators else { return passes(&json!({"$eq": test}), found) };
    let mut candidates: Vec<Value> = found.iter().map(|value| value.clone().unwrap_or_default()).collect();
    for value in found {
        candidates.extend(value.as_ref().and_then(Value::as_array).cloned().unwrap_or_default());
    }
    operators.iter().all(|(operator, operand)| match operator.as_str() {
        "$eq" => candidates.iter().any(|value| equal(value, operand)),
        "$ne" => !candidates.iter().any(|value| equal(value, operand)),
        "$in" => operand.as_array().unwrap().iter().any(|operand| candidates.iter().any(|value| equal(value, operand))),
        "$nin" => !operand.as_array().unwrap().iter().any(|operand| candidates.iter().any(|value| equal(value, operand))),
        "$gt" => candidates.iter().any(|value| less(operand, value)),
        "$lt" => candidates.iter().any(|value| less(value, operand)),
        "$gte" => candidates.iter().any(|value| less(operand, value) || equal(value, operand)),
        "$lte" => candidates.iter().any(|value| less(value, operand) || equal(value, operand)),
        "$exists" => found.iter().any(Option::is_some) == operand.as_bool().unwrap(),
        "$regex" => candidates.iter().any(|value| value.as_str().is_some_and(|text| text.starts_with(['a', 'b']))),
        "$not" => !passes(operand, found),
        "$elemMatch" => {
            found.iter().flatten().filter_map(Value::as_array).flatten().any(|element| passes(operand, &[Some(element.clone())]))
        }
        other => panic!("{other}"),
    })
}

fn equal(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::Number(_), Value::Number(_)) => !less(left, right) && !less(right, left),
        (Value::Array(left), Value::Array(right)) => {
            left.len() == right.len() && left.iter().zip(right).all(|(left, right)| equal(left, right))
        }
        (Value::Object(left), Value::Object(right)) => {
            left.len() == right.len() && left.iter().all(|(name, left)| right.get(name).is_some_and(|right| equal(left, right)))
        }
        _ => left == right,
    }
}

/// Numbers are asked of SQLite, which compares integers and reals exactly.
fn less(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::String(left), Value::String(right)) => left.chars().lt(right.chars()),
        (Value::Bool(left), Value::Bool(right)) => !left & right,
        (Value::Number(left), Value::Number(right)) => {
            let text = |number: &serde_json::Number| number.to_string();
            SQLITE.with(|sql| {
                sql.query_row("SELECT json_extract(?1, '$') < json_extract(?2, '$')", [text(left), text(right)], |row| row.get(0)).unwrap()
            })
        }
        _ => false,
    }
}

thread_local! {
    static SQLITE: Connection = Connection::open_in_memory().unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, ..ProptestConfig::default() })]

    #[test]
    fn every_search_finds_what_the_filter_means(documents in documents(), wanted in random_filter(), indexed in any::<bool>()) {
        let sql = tables_in_memory();
        if indexed {
            for path in ["a", "b", "a.b", "b.a"] {
                create_index(&sql, path);
            }
        }
        let given = put(&sql, &documents);
        let expected: Vec<&String> = given.iter().zip(&documents).filter(|(_, document)| means(&wanted, document)).map(|(id, _)| id).collect();
        let search = Find { filter: filter(&wanted), ..Find::default() };
        let found = find(&sql, &search);
        prop_assert_eq!(ids(&found), expected.clone(), "{}", wanted);
        prop_assert_eq!(find::count(&sql, &people(), &search.filter), Ok(expected.len() as u64));
    }

    #[test]
    fn a_limited_search_is_a_part_of_the_whole_one(documents in documents(), skip in 0_u8..4, limit in 0_u8..4, up in any::<bool>()) {
        let sql = tables_in_memory();
        put(&sql, &documents);
        let sort = Sort::parse(if up { r#"{"a":1,"b":-1}"# } else { r#"{"a.b":-1}"# }).unwrap();
        let all = find(&sql, &Find { sort: sort.clone(), ..Find::default() });
        let part = find(&sql, &Find { sort, skip: skip.into(), limit: Some(limit.into()), ..Find::default() });
        let expected: Vec<Value> = all.into_iter().skip(skip.into()).take(limit.into()).collect();
        prop_assert_eq!(part, expected);
    }

    #[test]
    fn a_stored_document_is_answered_as_it_was_given(documents in documents()) {
        let sql = tables_in_memory();
        let given = put(&sql, &documents);
        for (id, mut document) in given.iter().zip(documents) {
            document["_id"] = json!(id);
            let text = get(&sql, &people(), &Name::id(id.as_str()).unwrap()).unwrap().unwrap();
            prop_assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), document);
        }
    }
}
