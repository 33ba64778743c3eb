//! Which part of a file a request asks for, and under which conditions (RFC 9110). Pure.

use std::ops::Range;

use axum::http::{HeaderMap, HeaderName, header};
use engine::FileKey;

/// What a request asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Asked {
    /// All of it.
    Whole,
    /// These bytes.
    Range(Range<u64>),
    /// Bytes that the file has not.
    Nowhere,
    /// Nothing: the client has it.
    Unchanged,
    /// Nothing: the client thinks of another content.
    Changed,
}

pub(super) fn asked(headers: &HeaderMap, key: &FileKey, size: u64) -> Asked {
    if let Some(false) = names(headers, header::IF_MATCH, key, Comparison::Strong) {
        return Asked::Changed;
    }
    if let Some(true) = names(headers, header::IF_NONE_MATCH, key, Comparison::Weak) {
        return Asked::Unchanged;
    }
    // A range of another content would be of no use. A date tells nothing: the content of a key never changes.
    if headers.contains_key(header::IF_RANGE) && names(headers, header::IF_RANGE, key, Comparison::Strong) != Some(true) {
        return Asked::Whole;
    }
    let mut values = headers.get_all(header::RANGE).iter();
    match (values.next().and_then(|value| value.to_str().ok()), values.next()) {
        (Some(value), None) => parse(value, size),
        _ => Asked::Whole,
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Comparison {
    Strong,
    Weak,
}

/// Whether a header's list of ETags holds the file's; `None` without the header.
fn names(headers: &HeaderMap, name: HeaderName, key: &FileKey, comparison: Comparison) -> Option<bool> {
    let ours = format!("\"{key}\"");
    let mut tags = headers.get_all(name).iter().flat_map(|value| value.to_str().unwrap_or_default().split(',')).map(str::trim).peekable();
    tags.peek()?;
    Some(tags.any(|tag| {
        let tag = if comparison == Comparison::Weak { tag.strip_prefix("W/").unwrap_or(tag) } else { tag };
        tag == "*" || tag == ours
    }))
}

/// What is not understood, and several ranges at once, are answered with the whole file, as HTTP allows.
fn parse(value: &str, size: u64) -> Asked {
    let Some((unit, range)) = value.split_once('=') else { return Asked::Whole };
    let Some((first, last)) = range.trim().split_once('-') else { return Asked::Whole };
    let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if !unit.trim().eq_ignore_ascii_case("bytes") || !is_number(first) || !is_number(last) {
        return Asked::Whole;
    }
    // A number beyond 64 bits lies behind every file.
    let number = |text: &str| text.parse::<u64>().unwrap_or(u64::MAX);
    let range = match (first, last) {
        ("", "") => return Asked::Whole,
        ("", suffix) => size.saturating_sub(number(suffix))..size,
        (first, "") => number(first)..size,
        (first, last) if number(last) < number(first) => return Asked::Whole,
        (first, last) => number(first)..number(last).saturating_add(1).min(size),
    };
    if range.is_empty() { Asked::Nowhere } else { Asked::Range(range) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    fn key() -> FileKey {
        FileKey::parse(&"ab".repeat(32)).unwrap()
    }

    fn with(pairs: &[(HeaderName, &str)]) -> Asked {
        let headers: HeaderMap = pairs.iter().map(|(name, value)| (name.clone(), HeaderValue::from_str(value).unwrap())).collect();
        asked(&headers, &key(), 10)
    }

    #[test]
    fn ranges_are_read_as_http_says() {
        let table = [
            ("bytes=0-0", Asked::Range(0..1)),
            ("bytes=2-4", Asked::Range(2..5)),
            ("bytes=7-", Asked::Range(7..10)),
            ("bytes=-3", Asked::Range(7..10)),
            ("bytes=-99", Asked::Range(0..10)),
            ("bytes=8-99999999999999999999999", Asked::Range(8..10)),
            ("Bytes=0-", Asked::Range(0..10)),
            ("bytes=10-", Asked::Nowhere),
            ("bytes=-0", Asked::Nowhere),
            ("bytes=99999999999999999999999-", Asked::Nowhere),
            ("bytes=4-2", Asked::Whole),
            ("bytes=0-1,3-4", Asked::Whole),
            ("bytes=a-b", Asked::Whole),
            ("bytes=+1-2", Asked::Whole),
            ("bytes=-", Asked::Whole),
            ("lines=1-2", Asked::Whole),
            ("bytes", Asked::Whole),
        ];
        for (value, expected) in table {
            assert_eq!(with(&[(header::RANGE, value)]), expected, "{value}");
        }
        assert_eq!(parse("bytes=0-", 0), Asked::Nowhere);
    }

    #[test]
    fn conditions_come_before_ranges() {
        let (ours, weak) = (format!("\"{}\"", key()), format!("W/\"{}\"", key()));
        let range = (header::RANGE, "bytes=0-1");
        assert_eq!(with(&[(header::IF_NONE_MATCH, &ours), range.clone()]), Asked::Unchanged);
        assert_eq!(with(&[(header::IF_NONE_MATCH, &format!("\"x\", {weak}"))]), Asked::Unchanged);
        assert_eq!(with(&[(header::IF_NONE_MATCH, "*")]), Asked::Unchanged);
        assert_eq!(with(&[(header::IF_NONE_MATCH, "\"x\""), range.clone()]), Asked::Range(0..2));
        assert_eq!(with(&[(header::IF_MATCH, "\"x\"")]), Asked::Changed);
        assert_eq!(with(&[(header::IF_MATCH, &weak)]), Asked::Changed);
        assert_eq!(with(&[(header::IF_MATCH, &ours), range.clone()]), Asked::Range(0..2));
        assert_eq!(with(&[(header::IF_RANGE, &ours), range.clone()]), Asked::Range(0..2));
        assert_eq!(with(&[(header::IF_RANGE, &weak), range.clone()]), Asked::Whole);
        assert_eq!(with(&[(header::IF_RANGE, "Mon, 23 Nov 2026 08:00:00 GMT"), range]), Asked::Whole);
    }
}
