//! `durability` and `consistency`: what the answer to one request promises beyond what its database promises anyway.

use std::borrow::Cow;

use axum::http::Uri;
use axum::http::uri::PathAndQuery;

use crate::error::Problem;
use crate::query::{self, Taken};

/// What a request asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Promise {
    /// What the answer tells of is in the bucket.
    pub(crate) durable: bool,
    /// Nobody else had the branch when the request began.
    pub(crate) strong: bool,
}

impl Promise {
    /// Takes both parameters out of a request's address: no route has others of these names.
    pub(crate) fn take(uri: &mut Uri) -> Result<Self, Problem> {
        let Some(query) = uri.query().filter(|query| query.contains("durability") || query.contains("consistency")) else {
            return Ok(Self::default());
        };
        let Taken { values: [durability, consistency], others } = query::take(query, ["durability", "consistency"])?;
        let only = |name: &str, value: Option<Cow<'_, str>>, known: &str| match value {
            None => Ok(false),
            Some(value) if value == known => Ok(true),
            Some(value) => Err(Problem::bad_request(format!("`{name}`: `{value}` cannot be asked for; there is `{known}`"))),
        };
        let promise = Self { durable: only("durability", durability, "sync")?, strong: only("consistency", consistency, "strong")? };
        let others = others.join("&");
        let rest = if others.is_empty() { uri.path().to_owned() } else { format!("{}?{others}", uri.path()) };
        let mut parts = std::mem::take(uri).into_parts();
        // A part of what was an address is one.
        parts.path_and_query =
            Some(PathAndQuery::try_from(rest).map_err(|error| Problem::bad_request(format!("the query string: {error}")))?);
        *uri = Uri::from_parts(parts).map_err(|error| Problem::bad_request(format!("the address: {error}")))?;
        Ok(promise)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(uri: &str) -> Result<(Promise, String), Problem> {
        let mut uri = uri.parse().unwrap();
        Promise::take(&mut uri).map(|promise| (promise, uri.to_string()))
    }

    #[test]
    fn both_parameters_are_taken_and_others_are_left_as_they_are() {
        let promise = |durable, strong| Promise { durable, strong };
        assert_eq!(taken("/a/b/sql").unwrap(), (promise(false, false), "/a/b/sql".to_owned()));
        assert_eq!(taken("/a/b/sql?durability=sync").unwrap(), (promise(true, false), "/a/b/sql".to_owned()));
        assert_eq!(taken("/a?x=%20a&consistency=strong&y").unwrap(), (promise(false, true), "/a?x=%20a&y".to_owned()));
        assert_eq!(taken("http://h/a?durability=sync&consistency=strong").unwrap(), (promise(true, true), "http://h/a".to_owned()));
        assert_eq!(taken("/a?q=durability").unwrap(), (promise(false, false), "/a?q=durability".to_owned()));
    }

    #[test]
    fn what_cannot_be_promised_is_refused_by_name() {
        for (query, word) in [
            ("durability=stream", "`durability`: `stream`"),
            ("durability", "`durability`: ``"),
            ("durability=sync&durability=sync", "given twice"),
            ("consistency=weak", "there is `strong`"),
        ] {
            let detail = taken(&format!("/a?{query}")).unwrap_err().detail;
            assert!(detail.contains(word), "{detail}");
        }
    }
}
