//! Lists of ETags, as `If-Match` and `If-None-Match` have them. Pure.

use axum::http::{HeaderMap, HeaderName};

use crate::error::Problem;

/// An ETag that a client named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Tag {
    /// What stands between the quotes.
    pub(crate) opaque: String,
    /// HTTP lets a weak one match only where nothing is changed on its word.
    pub(crate) is_weak: bool,
}

/// What a header names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Named {
    /// Whatever is there.
    Any,
    /// One of these.
    Tags(Vec<Tag>),
}

/// What the header names, if it is there.
pub(crate) fn named(headers: &HeaderMap, name: &HeaderName) -> Result<Option<Named>, Problem> {
    let mut tags = Vec::new();
    let mut is_given = false;
    for value in headers.get_all(name) {
        let malformed = || Problem::bad_request(format!("{name} must be `*`, or ETags in quotes with commas between them"));
        let text = value.to_str().map_err(|_| malformed())?.trim();
        is_given = true;
        if text == "*" {
            return Ok(Some(Named::Any));
        }
        for tag in text.split(',').map(str::trim) {
            let (is_weak, quoted) = tag.strip_prefix("W/").map_or((false, tag), |quoted| (true, quoted));
            let opaque = quoted.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).ok_or_else(malformed)?;
            tags.push(Tag { opaque: opaque.to_owned(), is_weak });
        }
    }
    Ok(is_given.then_some(Named::Tags(tags)))
}
