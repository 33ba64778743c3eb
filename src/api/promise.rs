//! `durability` and `consistency`: what the answer to one request promises beyond what its database promises anyway.

use axum::http::Uri;

use crate::error::Problem;
use crate::query;

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
        let [durability, consistency] = query::take_out(uri, ["durability", "consistency"])?;
        let only = |name: &str, value: Option<String>, known: &str| match value {
            None => Ok(false),
            Some(value) if value == known => Ok(true),
            Some(value) => Err(Problem::bad_request(format!("`{name}`: `{value}` cannot be asked for; there is `{known}`"))),
        };
        Ok(Self { durable: only("durability", durability, "sync")?, strong: only("consistency", consistency, "strong")? })
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
