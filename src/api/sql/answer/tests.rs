use super::*;
use engine::{Column, Value};
use proptest::prelude::*;
use serde_json::value::RawValue;

fn one_row(values: Vec<Value>) -> Response {
    let columns = values.iter().enumerate().map(|(index, _)| Column { name: format!("c{index}"), decltype: None }).collect();
    Response { results: vec![ResultSet { columns, rows: vec![values], ..ResultSet::default() }], ..Response::default() }
}

fn text(value: &Value) -> String {
    let mut out = Vec::new();
    Style::default().value(&mut out, ValueRef::from(value));
    String::from_utf8(out).unwrap()
}

#[test]
fn a_reply_has_the_documented_shape() {
    let response = Response {
        results: vec![
            ResultSet {
                columns: vec![
                    Column { name: "id".to_owned(), decltype: Some("INTEGER".to_owned()) },
                    Column { name: "count(\"*\")".to_owned(), decltype: None },
                ],
                rows: vec![vec![Value::Integer(1), Value::Null], vec![Value::Integer(2), Value::Text("x".to_owned())]],
                truncated: true,
                ..ResultSet::default()
            },
            ResultSet { rows_affected: 3, last_insert_rowid: Some(-7), ..ResultSet::default() },
        ],
        ..Response::default()
    };
    assert_eq!(
        String::from_utf8(json(&response, Duration::from_nanos(214_999), Style::default())).unwrap(),
        r#"{"results":[{"columns":[{"name":"id","type":"INTEGER"},{"name":"count(\"*\")","type":null}],"rows":[[1,null],[2,"x"]],"#
            .to_owned()
            + r#""row_count":2,"truncated":true,"rows_affected":0,"last_insert_rowid":null},"#
            + r#"{"columns":[],"rows":[],"row_count":0,"truncated":false,"rows_affected":3,"last_insert_rowid":-7}],"time_ms":0.214}"#
    );
    assert_eq!(json(&Response::default(), Duration::ZERO, Style::default()), br#"{"results":[],"time_ms":0.0}"#);
}

#[test]
fn the_type_of_a_value_can_be_read_from_its_text() {
    let table = [
        (Value::Null, "null"),
        (Value::Integer(i64::MAX), "9223372036854775807"),
        (Value::Integer(i64::MIN), "-9223372036854775808"),
        (Value::Real(1.0), "1.0"),
        (Value::Real(-0.0), "-0.0"),
        (Value::Real(0.1), "0.1"),
        (Value::Real(f64::INFINITY), r#"{"float":"Infinity"}"#),
        (Value::Real(f64::NEG_INFINITY), r#"{"float":"-Infinity"}"#),
        (Value::Real(f64::NAN), "null"),
        (Value::Text("\"\\\n\u{0}é".to_owned()), r#""\"\\\n\u0000é""#),
        (Value::Blob(vec![]), r#"{"base64":""}"#),
        (Value::Blob(vec![0, 255]), r#"{"base64":"AP8="}"#),
        (Value::Blob(vec![0; 3]), r#"{"base64":"AAAA"}"#),
    ];
    for (value, expected) in table {
        assert_eq!(text(&value), expected);
    }
}

fn any_value() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<i64>().prop_map(Value::Integer),
        any::<f64>().prop_filter("SQLite stores no NaN", |real| !real.is_nan()).prop_map(Value::Real),
        any::<String>().prop_map(Value::Text),
        any::<Vec<u8>>().prop_map(Value::Blob),
    ]
}

proptest! {
    #[test]
    fn a_real_always_has_a_point_or_an_exponent(real in proptest::num::f64::ANY) {
        prop_assume!(real.is_finite());
        prop_assert!(text(&Value::Real(real)).contains(['.', 'e']));
    }

    /// What we write, we read: a client may bind what it was given.
    #[test]
    fn every_value_comes_back_through_our_own_parser(values in proptest::collection::vec(any_value(), 1..8)) {
        #[derive(serde::Deserialize)]
        struct Reply<'a> {
            #[serde(borrow)]
            results: Vec<Results<'a>>,
        }
        #[derive(serde::Deserialize)]
        struct Results<'a> {
            #[serde(borrow)]
            rows: Vec<&'a RawValue>,
        }
        let written = json(&one_row(values.clone()), Duration::from_micros(5), Style::default());
        let reply: Reply = serde_json::from_slice(&written).unwrap();
        let body = format!(r#"{{"sql":"select 1","params":{}}}"#, reply.results[0].rows[0].get());
        let request = crate::sql::request::from_json(body.as_bytes()).unwrap();
        prop_assert_eq!(&request.statements[0].params, &engine::Params::Positional(values));
    }
}
