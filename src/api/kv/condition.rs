//! `If-Match` and `If-None-Match`. Pure.

use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use engine::kv::{Condition, Tags, ValueDigest};

use crate::error::Problem;
use crate::tags::{self, Named};

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
    Ok(tags::named(headers, name)?.map(|named| match named {
        Named::Any => Tags::Any,
        // What is no digest of ours matches nothing.
        Named::Tags(tags) => {
            let usable = tags.iter().filter(|tag| !tag.is_weak || weak == Weak::Taken);
            Tags::Listed(usable.filter_map(|tag| ValueDigest::parse(&tag.opaque)).collect())
        }
    }))
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
