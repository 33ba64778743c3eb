use super::*;
use proptest::prelude::*;

fn parsed(json: &str) -> Result<Request, String> {
    from_json(json.as_bytes()).map_err(|problem| problem.detail)
}

fn params_of(json: &str) -> Result<Params, String> {
    let body = format!(r#"{{"sql":"select 1","params":{json}}}"#);
    parsed(&body).map(|mut request| request.statements.remove(0).params)
}

fn value_of(json: &str) -> Result<Value, String> {
    match params_of(&format!("[{json}]"))? {
        Params::Positional(mut values) => Ok(values.remove(0)),
        other => panic!("an array is {other:?}"),
    }
}

fn from_query(query: &str) -> Result<Request, Problem> {
    from_parameters(url::form_urlencoded::parse(query.as_bytes()))
}

#[test]
fn one_statement_or_many_become_a_request() {
    let statement = |sql: &str, params| Statement { sql: sql.to_owned(), params };
    assert_eq!(parsed(r#"{"sql":"select 1"}"#), Ok(one("select 1".to_owned(), Params::None)));
    assert_eq!(
        parsed(r#"{"statements":[{"sql":"insert into t values(?)","params":["a"]},{"sql":"select changes()"}],"transaction":"none"}"#),
        Ok(Request {
            statements: vec![
                statement("insert into t values(?)", Params::Positional(vec![Value::Text("a".to_owned())])),
                statement("select changes()", Params::None),
            ],
            transaction: Transaction::None,
        })
    );
    assert_eq!(parsed(r#"{"sql":"x","transaction":"immediate"}"#).map(|request| request.transaction), Ok(Transaction::Immediate));
    assert_eq!(parsed(r#"{"statements":[]}"#).map(|request| request.statements.len()), Ok(0));
}

#[test]
fn values_keep_the_type_in_which_they_are_written() {
    let table = [
        ("null", Value::Null),
        ("true", Value::Integer(1)),
        ("false", Value::Integer(0)),
        ("1", Value::Integer(1)),
        ("-0", Value::Integer(0)),
        ("1.0", Value::Real(1.0)),
        ("1e3", Value::Real(1000.0)),
        ("9223372036854775807", Value::Integer(i64::MAX)),
        ("-9223372036854775808", Value::Integer(i64::MIN)),
        ("9007199254740993", Value::Integer(9_007_199_254_740_993)),
        ("9223372036854775808.0", Value::Real(9_223_372_036_854_775_808.0)),
        (r#""Zürich \u00e9\n""#, Value::Text("Zürich é\n".to_owned())),
        (r#""""#, Value::Text(String::new())),
        (r#"{"base64":"AP8="}"#, Value::Blob(vec![0, 255])),
        (r#"{"base64":"AP8"}"#, Value::Blob(vec![0, 255])),
        (r#"{"base64":""}"#, Value::Blob(vec![])),
        (r#"{"float":"Infinity"}"#, Value::Real(f64::INFINITY)),
        (r#"{"float":"-Infinity"}"#, Value::Real(f64::NEG_INFINITY)),
        (" 7 ", Value::Integer(7)),
    ];
    for (json, value) in table {
        assert_eq!(value_of(json), Ok(value), "{json}");
    }
}

/// What is sent, and what the answer must name.
#[test]
fn what_cannot_be_bound_is_refused_by_its_place() {
    let table = [
        ("[1,9223372036854775808]", "`params[1]`: 9223372036854775808 does not fit"),
        ("[-9223372036854775809]", "-9223372036854775809 does not fit"),
        ("[99999999999999999999999999]", "99999999999999999999999999 does not fit"),
        ("[1e400]", "`params[0]`: 1e400 is larger"),
        ("[[1]]", "`params[0]`: an array is no SQL value"),
        ("[{}]", "`params[0]`: an object is {\"base64\""),
        (r#"[{"blob":"AA=="}]"#, "unknown field `blob`"),
        (r#"[{"base64":"A","float":"Infinity"}]"#, "`params[0]`: an object is"),
        (r#"[{"base64":"*"}]"#, "`params[0]`: `base64` is not base64"),
        (r#"[{"base64":7}]"#, "`params[0]`: invalid type"),
        (r#"[{"float":"NaN"}]"#, "not `NaN`"),
        (r#"{"id":1e999}"#, "`params.id`: 1e999"),
        (r#"{"id":1,"id":2}"#, "`params.id` is given twice"),
        ("7", "`params` must be an array"),
        (r#""a""#, "`params` must be an array"),
        (r#"["\ud800"]"#, "`params[0]`: "),
    ];
    for (json, named) in table {
        let detail = params_of(json).unwrap_err();
        assert!(detail.contains(named), "{json}: {detail}");
    }
}

#[test]
fn a_malformed_body_is_refused_by_its_field() {
    let table = [
        ("", "the body: "),
        ("select 1", "the body: "),
        ("[]", "the body: "),
        ("{}", "`sql` is missing"),
        (r#"{"sql":"a","statements":[]}"#, "not both"),
        (r#"{"statements":[],"params":[]}"#, "`params` belongs into each"),
        (r#"{"sql":"a","args":[]}"#, "unknown field `args`"),
        (r#"{"sql":"a","sql":"b"}"#, "duplicate field `sql`"),
        (r#"{"sql":"a","transaction":"deferred"}"#, "unknown variant `deferred`"),
        (r#"{"statements":[{"sql":"a","q":1}]}"#, "unknown field `q`"),
        (r#"{"statements":[{"params":[]}]}"#, "missing field `sql`"),
        (r#"{"statements":["select 1"]}"#, "the body: "),
        (r#"{"statements":[{"sql":"a"},{"sql":"b","params":[1e999]}]}"#, "`statements[1].params[0]`"),
        (r#"{"sql":"a"} x"#, "the body: "),
    ];
    for (json, named) in table {
        let detail = parsed(json).unwrap_err();
        assert!(detail.contains(named), "{json}: {detail}");
    }
    assert!(from_json(b"{\"sql\":\"\xff\"}").is_err());
}

#[test]
fn named_parameters_keep_their_order() {
    let named = |name: &str, value| (name.to_owned(), Value::Integer(value));
    assert_eq!(params_of(r#"{"b":1,":a":2}"#), Ok(Params::Named(vec![named("b", 1), named(":a", 2)])));
    assert_eq!(params_of("{}"), Ok(Params::Named(vec![])));
    assert_eq!(params_of("null"), Ok(Params::None));
}

#[test]
fn values_nested_without_end_are_refused_without_recursion() {
    let deep = "[".repeat(1_000_000) + &"]".repeat(1_000_000);
    assert!(value_of(&deep).is_err());
}

#[test]
fn a_text_is_taken_as_it_is() {
    assert_eq!(from_text(b"a=1&b=%20;"), Ok(one("a=1&b=%20;".to_owned(), Params::None)));
    assert!(from_text(b"select '\xff'").unwrap_err().detail.contains("UTF-8"));
}

#[test]
fn a_query_string_holds_sql_and_its_parameters() {
    let sql = "select * from t where a = :a and b = '+'";
    let query = "q=select+*+from+t+where+a+=+:a+and+b+%3D+'%2B'&params=%7B%22a%22%3A1%7D";
    assert_eq!(from_query(query), Ok(one(sql.to_owned(), Params::Named(vec![("a".to_owned(), Value::Integer(1))]))));
    let refused = [
        ("", "`q` is missing"),
        ("params=%5B%5D", "`q` is missing"),
        ("q=1&ints=string", "`ints` is unknown"),
        ("q=1&q=2", "`q` is given twice"),
        ("q=1&params=7", "`params` must be"),
        ("q=1&params=%5B", "query parameter `params`: "),
        ("q=1&params=%5B1e999%5D", "`params[0]`"),
    ];
    for (query, named) in refused {
        let detail = from_query(query).unwrap_err().detail;
        assert!(detail.contains(named), "{query}: {detail}");
    }
}

proptest! {
    #[test]
    fn every_integer_is_bound_exactly(integer: i64) {
        prop_assert_eq!(value_of(&integer.to_string()), Ok(Value::Integer(integer)));
    }

    #[test]
    fn every_real_is_bound_to_the_last_bit(real in proptest::num::f64::NORMAL | proptest::num::f64::SUBNORMAL | proptest::num::f64::ZERO) {
        let Ok(Value::Real(bound)) = value_of(&format!("{real:e}")) else { panic!("{real:e} is no REAL") };
        prop_assert_eq!(bound.to_bits(), real.to_bits());
    }

    #[test]
    fn no_input_makes_the_parser_panic(body: Vec<u8>, text in r#"[\[\]{}":,0-9eE.+a-z\\ -]{0,60}"#) {
        let _ = from_json(&body);
        let _ = params_of(&text);
        let _ = from_query(&text);
    }
}
