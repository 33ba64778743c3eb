//! The query string of a request.

use std::borrow::Cow;

use axum::http::Uri;
use axum::http::uri::PathAndQuery;

use crate::error::Problem;

/// Its parameters: those that the route knows, each at most once. A misspelt one must not be ignored.
pub(crate) struct Query(Vec<(&'static str, String)>);

impl Query {
    /// Reads the string behind the `?`.
    pub(crate) fn parse(text: Option<&str>, known: &[&'static str]) -> Result<Self, Problem> {
        let text = text.unwrap_or_default();
        whole(text, "the query string")?;
        let mut parameters: Vec<(&'static str, String)> = Vec::new();
        for (name, value) in url::form_urlencoded::parse(text.as_bytes()) {
            let Some(known) = known.iter().find(|known| **known == name) else {
                let known = known.iter().map(|known| format!("`{known}`")).collect::<Vec<_>>().join(", ");
                return Err(Problem::bad_request(format!("query parameter `{name}` is unknown; there are {known}")));
            };
            if parameters.iter().any(|(given, _)| given == known) {
                return Err(Problem::bad_request(format!("query parameter `{name}` is given twice")));
            }
            parameters.push((known, value.into_owned()));
        }
        Ok(Self(parameters))
    }

    /// The value of a parameter; empty if it has none.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(given, _)| *given == name).map(|(_, value)| value.as_str())
    }

    /// How many are wanted on one page; 1000 where nothing is said.
    pub(crate) fn limit(&self) -> Result<u64, Problem> {
        const USUAL: u64 = 1000;
        let Some(text) = self.get("limit") else { return Ok(USUAL) };
        text.parse()
            .ok()
            .filter(|limit| *limit > 0)
            .ok_or_else(|| Problem::bad_request("query parameter `limit` must be an integer from 1 on"))
    }
}

/// Parameters that are taken out of a query string, each given at most once.
struct Taken<'a, const N: usize> {
    /// Their values, in the order of their names.
    values: [Option<Cow<'a, str>>; N],
    /// What is left, as it was.
    others: Vec<&'a str>,
}

/// Takes these parameters out.
fn take<'a, const N: usize>(query: &'a str, names: [&str; N]) -> Result<Taken<'a, N>, Problem> {
    let mut taken = Taken { values: [const { None }; N], others: Vec::new() };
    for part in query.split('&') {
        let Some((name, value)) = url::form_urlencoded::parse(part.as_bytes()).next() else { continue };
        match names.iter().position(|known| *known == name) {
            None => taken.others.push(part),
            Some(place) if taken.values[place].replace(value).is_some() => {
                return Err(Problem::bad_request(format!("query parameter `{name}` is given twice")));
            }
            Some(_) => {}
        }
    }
    Ok(taken)
}

/// Takes these parameters out of the address of a request.
pub(crate) fn take_out<const N: usize>(uri: &mut Uri, names: [&str; N]) -> Result<[Option<String>; N], Problem> {
    let Some(query) = uri.query().filter(|query| names.iter().any(|name| query.contains(name))) else { return Ok([const { None }; N]) };
    let Taken { values, others } = take(query, names)?;
    let values = values.map(|value| value.map(Cow::into_owned));
    if values.iter().all(Option::is_none) {
        return Ok(values);
    }
    let others = others.join("&");
    let rest = if others.is_empty() { uri.path().to_owned() } else { format!("{}?{others}", uri.path()) };
    let mut parts = std::mem::take(uri).into_parts();
    // A part of what was an address is one.
    parts.path_and_query = Some(PathAndQuery::try_from(rest).map_err(|error| Problem::bad_request(format!("the query string: {error}")))?);
    *uri = Uri::from_parts(parts).map_err(|error| Problem::bad_request(format!("the address: {error}")))?;
    Ok(values)
}

/// Refuses a `%` without two hexadecimal digits behind it, and bytes that are no UTF-8: decoders would each make something else of them.
pub(crate) fn whole(encoded: &str, what: &str) -> Result<(), Problem> {
    let mut parts = encoded.split('%');
    parts.next();
    if let Some(part) = parts.find(|part| part.len() < 2 || !part.bytes().take(2).all(|byte| byte.is_ascii_hexdigit())) {
        let shown: String = part.chars().take(2).collect();
        return Err(Problem::bad_request(format!("{what} holds `%{shown}`; write a percent sign as %25")));
    }
    if percent_encoding::percent_decode_str(encoded).decode_utf8().is_err() {
        return Err(Problem::bad_request(format!("{what} is not UTF-8 when it is decoded")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Query, Problem> {
        Query::parse(Some(text), &["prefix", "limit"])
    }

    #[test]
    fn parameters_are_decoded() {
        let query = parse("prefix=a%2Fb+c%C3%BC&limit=7").unwrap();
        assert_eq!(query.get("prefix"), Some("a/b cü"));
        assert_eq!(query.limit(), Ok(7));
        assert_eq!(parse("prefix").unwrap().get("prefix"), Some(""));
        assert_eq!(Query::parse(None, &[]).unwrap().limit(), Ok(1000));
    }

    #[test]
    fn what_is_unknown_double_or_badly_encoded_is_refused() {
        for (text, word) in [
            ("after=x", "`after` is unknown; there are `prefix`, `limit`"),
            ("prefix=a&prefix=b", "given twice"),
            ("prefix=%zz", "`%zz`"),
            ("prefix=%", "`%`"),
            ("prefix=%4", "`%4`"),
            ("prefix=%ff", "not UTF-8"),
        ] {
            let detail = parse(text).err().unwrap().detail;
            assert!(detail.contains(word), "{detail}");
        }
        for text in ["limit=0", "limit=-1", "limit=x", "limit="] {
            assert!(parse(text).unwrap().limit().is_err(), "{text}");
        }
    }
}
