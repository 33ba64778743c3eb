//! What a client asks for, as JSON, text or a query string, becomes an [`engine::Request`].
//!
//! Owns: how values are written in JSON. Errors name the field and what to write instead.
//! Invariant: a number is bound exactly or refused; digits alone are an INTEGER, anything with a point or exponent is a REAL.

use std::borrow::Cow;

use std::collections::HashSet;
use std::fmt;

use base64::Engine as _;
use engine::{Params, Request, Statement, Transaction, Value};
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::body::BASE64;
use crate::error::Problem;

/// `{"sql", "params"}` or `{"statements": [{"sql", "params"}, …]}`, and `"transaction"`.
pub(super) fn from_json(body: &[u8]) -> Result<Request, Problem> {
    let body: JsonBody = serde_json::from_slice(body).map_err(|error| Problem::bad_request(format!("the body: {error}")))?;
    let transaction = match body.transaction {
        None | Some(JsonTransaction::Immediate) => Transaction::Immediate,
        Some(JsonTransaction::None) => Transaction::None,
    };
    let statements = match (body.sql, body.statements) {
        (Some(sql), None) => vec![Statement { sql, params: params(body.params, "params")? }],
        (None, Some(_)) if body.params.is_some() => {
            return Err(Problem::bad_request("`params` belongs into each of `statements`"));
        }
        (None, Some(statements)) => {
            let parse = |(index, statement): (usize, JsonStatement)| {
                let params = params(statement.params, &format!("statements[{index}].params"))?;
                Ok(Statement { sql: statement.sql, params })
            };
            statements.into_iter().enumerate().map(parse).collect::<Result<_, Problem>>()?
        }
        (None, None) => return Err(Problem::bad_request("`sql` is missing; or give `statements`")),
        (Some(_), Some(_)) => return Err(Problem::bad_request("give `sql` or `statements`, not both")),
    };
    Ok(Request { statements, transaction })
}

/// `{"statements": ["SQL" or {"q", "params"}, …]}`.
pub(super) fn from_sqld(body: &[u8]) -> Result<Request, Problem> {
    let SqldBody { statements } =
        serde_json::from_slice(body).map_err(|error| Problem::bad_request(format!("the body: {error}; it is {{\"statements\": […]}}")))?;
    let parse = |(index, json): (usize, &RawValue)| {
        let at = format!("statements[{index}]");
        if json.get().starts_with('"') {
            return Ok(Statement { sql: within(json, &at)?, params: Params::None });
        }
        let SqldStatement { q, params: given } = within(json, &at)?;
        Ok(Statement { sql: q, params: params(given, &format!("{at}.params"))? })
    };
    let statements = statements.into_iter().enumerate().map(parse).collect::<Result<_, Problem>>()?;
    Ok(Request { statements, transaction: Transaction::default() })
}

/// One or more statements and nothing else.
pub(super) fn from_text(body: &[u8]) -> Result<Request, Problem> {
    let sql = str::from_utf8(body).map_err(|error| Problem::bad_request(format!("the body is not UTF-8: {error}")))?;
    Ok(one(sql.to_owned(), Params::None))
}

/// `q`, and `params` as JSON.
pub(super) fn from_parameters<'a>(parameters: impl IntoIterator<Item = (Cow<'a, str>, Cow<'a, str>)>) -> Result<Request, Problem> {
    let (mut sql, mut json) = (None, None);
    for (name, value) in parameters {
        let place = match &*name {
            "q" => &mut sql,
            "params" => &mut json,
            _ => {
                return Err(Problem::bad_request(format!("query parameter `{name}` is unknown; there are `q`, `params`, `txid` and `at`")));
            }
        };
        if place.replace(value.into_owned()).is_some() {
            return Err(Problem::bad_request(format!("query parameter `{name}` is given twice")));
        }
    }
    let sql = sql.ok_or_else(|| Problem::bad_request("query parameter `q` is missing: the SQL to run"))?;
    let json: Option<&RawValue> = json
        .as_deref()
        .map(serde_json::from_str)
        .transpose()
        .map_err(|error| Problem::bad_request(format!("query parameter `params`: {error}")))?;
    Ok(one(sql, params(json, "params")?))
}

fn one(sql: String, params: Params) -> Request {
    Request { statements: vec![Statement { sql, params }], transaction: Transaction::default() }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct JsonBody<'a> {
    sql: Option<String>,
    #[serde(borrow)]
    params: Option<&'a RawValue>,
    #[serde(borrow)]
    statements: Option<Vec<JsonStatement<'a>>>,
    transaction: Option<JsonTransaction>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct JsonStatement<'a> {
    sql: String,
    #[serde(borrow)]
    params: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct SqldBody<'a> {
    #[serde(borrow)]
    statements: Vec<&'a RawValue>,
}

#[derive(Deserialize)]
struct SqldStatement<'a> {
    q: String,
    #[serde(borrow)]
    params: Option<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum JsonTransaction {
    Immediate,
    None,
}

/// A value that JSON has no form of its own for.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct JsonObject {
    base64: Option<String>,
    float: Option<String>,
}

/// `at` is where they stand in the request.
fn params(json: Option<&RawValue>, at: &str) -> Result<Params, Problem> {
    let Some(json) = json else { return Ok(Params::None) };
    match json.get().as_bytes() {
        [b'[', ..] => {
            let values: Vec<&RawValue> = within(json, at)?;
            let values = values.into_iter().enumerate().map(|(index, json)| value(json, || format!("{at}[{index}]")));
            Ok(Params::Positional(values.collect::<Result<_, _>>()?))
        }
        [b'{', ..] => {
            let Members(members) = within(json, at)?;
            let mut seen = HashSet::with_capacity(members.len());
            if let Some((twice, _)) = members.iter().find(|(name, _)| !seen.insert(name.clone())) {
                return Err(Problem::bad_request(format!("`{at}.{twice}` is given twice")));
            }
            let named = members.into_iter().map(|(name, json)| {
                let value = value(json, || format!("{at}.{name}"))?;
                Ok((name, value))
            });
            Ok(Params::Named(named.collect::<Result<_, Problem>>()?))
        }
        _ => Err(Problem::bad_request(format!("`{at}` must be an array (by position) or an object (by name)"))),
    }
}

fn value(json: &RawValue, at: impl Fn() -> String) -> Result<Value, Problem> {
    let text = json.get();
    match text.as_bytes() {
        b"null" => Ok(Value::Null),
        // SQLite has no booleans: its TRUE and FALSE are these integers.
        b"true" => Ok(Value::Integer(1)),
        b"false" => Ok(Value::Integer(0)),
        [b'"', ..] => Ok(Value::Text(within(json, &at())?)),
        [b'{', ..] => object(within(json, &at())?).map_err(|expected| refuse(&at(), &expected)),
        [b'[', ..] => Err(refuse(&at(), "an array is no SQL value; bind its JSON text")),
        _ => number(text).map_err(|problem| refuse(&at(), &problem)),
    }
}

fn refuse(at: &str, problem: &str) -> Problem {
    Problem::bad_request(format!("`{at}`: {problem}"))
}

/// `text` is a number by JSON's grammar.
fn number(text: &str) -> Result<Value, String> {
    if text.bytes().all(|byte| byte == b'-' || byte.is_ascii_digit()) {
        return text
            .parse()
            .map(Value::Integer)
            .map_err(|_| format!("{text} does not fit 64 bits; bind it as text or as a REAL, {text}.0"));
    }
    match text.parse::<f64>() {
        Ok(real) if real.is_finite() => Ok(Value::Real(real)),
        _ => Err(format!("{text} is larger than any REAL; infinity is {{\"float\": \"Infinity\"}}")),
    }
}

fn object(json: JsonObject) -> Result<Value, String> {
    match (json.base64, json.float.as_deref()) {
        (Some(text), None) => BASE64.decode(text).map(Value::Blob).map_err(|error| format!("`base64` is not base64: {error}")),
        (None, Some("Infinity")) => Ok(Value::Real(f64::INFINITY)),
        (None, Some("-Infinity")) => Ok(Value::Real(f64::NEG_INFINITY)),
        (None, Some(other)) => Err(format!("`float` may be `Infinity` or `-Infinity`, not `{other}`; write others as numbers")),
        (None, None) | (Some(_), Some(_)) => Err("an object is {\"base64\": …} or {\"float\": …}".to_owned()),
    }
}

fn within<'a, T: Deserialize<'a>>(json: &'a RawValue, at: &str) -> Result<T, Problem> {
    serde_json::from_str(json.get()).map_err(|error| refuse(at, &error.to_string()))
}

/// The members of an object in their order, repeated ones too.
struct Members<'a>(Vec<(String, &'a RawValue)>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect;
        impl<'de> Visitor<'de> for Collect {
            type Value = Members<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<'de>, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Collect)
    }
}

#[cfg(test)]
mod tests;
