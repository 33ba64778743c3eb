//! `If-Match` and `If-None-Match`. Pure.

use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use engine::kv::{Condition, Tags, ValueDigest};

use crate::error::Problem;

/// What the headers ask for.
pub(super) fn of(headers: &HeaderMap) -> Result<Condition, Problem> {
    Ok(Condition {
        if_match: tags(headers, &header::IF_MATCH, Weak::Refused)?,
        if_none_match: tags(headers, &header::IF_NONE_MATCH, Weak::Taken)?,
    })
}

/// The `ETag` of a value.
pub(super) fn etag(digest: ValueDigest) -> HeaderValue {
    HeaderValue::from_str(&format!("\"{digest}\"")).expect("hexadecimal digits in quotes are plain ASCII")
}

/// Whether a tag may be a weak one: HTTP lets it match only where nothing is changed on its word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Weak {
    Taken,
    Refused,
}

fn tags(headers: &HeaderMap, name: &HeaderName, weak: Weak) -> Result<Option<Tags>, Problem> {
    let mut listed = Vec::new();
    let mut is_given = false;
    for value in headers.get_all(name) {
        let malformed = || Problem::bad_request(format!("{name} must be `*`, or ETags in quotes with commas between them"));
        let text = value.to_str().map_err(|_| malformed())?.trim();
        is_given = true;
        if text == "*" {
            return Ok(Some(Tags::Any));
        }
        for tag in text.split(',').map(str::trim) {
            let (is_weak, quoted) = tag.strip_prefix("W/").map_or((false, tag), |quoted| (true, quoted));
            let opaque = quoted.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).ok_or_else(malformed)?;
            // What is no digest of ours matches nothing.
            listed.extend(ValueDigest::parse(opaque).filter(|_| !is_weak || weak == Weak::Taken));
        }
    }
    Ok(is_given.then_some(Tags::Listed(listed)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(name: &HeaderName, values: &[&str]) -> Result<Condition, Problem> {
        of(&values.iter().map(|value| (name.clone(), HeaderValue::from_str(value).unwrap())).collect())
    }

    #[test]
    fn tags_are_read_from_lists_and_repeated_headers() {
        let (a, b) = (ValueDigest::of(b"a"), ValueDigest::of(b"b"));
        let (tag_a, tag_b) = (etag(a).to_str().unwrap().to_owned(), etag(b).to_str().unwrap().to_owned());
        assert_eq!(of(&HeaderMap::new()).unwrap(), Condition::default());
        let listed = Some(Tags::Listed(vec![a, b]));
        assert_eq!(parse(&header::IF_MATCH, &[&format!("{tag_a}, {tag_b}")]).unwrap().if_match, listed);
        assert_eq!(parse(&header::IF_MATCH, &[&tag_a, &tag_b]).unwrap().if_match, listed);
        assert_eq!(parse(&header::IF_NONE_MATCH, &["*"]).unwrap().if_none_match, Some(Tags::Any));
        assert_eq!(parse(&header::IF_MATCH, &["\"other\""]).unwrap().if_match, Some(Tags::Listed(vec![])));
        let weak = format!("W/{tag_a}");
        assert_eq!(parse(&header::IF_NONE_MATCH, &[&weak]).unwrap().if_none_match, Some(Tags::Listed(vec![a])));
        assert_eq!(parse(&header::IF_MATCH, &[&weak]).unwrap().if_match, Some(Tags::Listed(vec![])));
    }

    #[test]
    fn what_is_no_list_of_tags_is_refused_by_the_headers_name() {
        for value in ["", "abc", "\"abc", "\"a\",", "\"a\" \"b\""] {
            let result = parse(&header::IF_MATCH, &[value]);
            assert!(value == "\"a\" \"b\"" || result.unwrap_err().detail.contains("if-match"), "{value}");
        }
    }
}
