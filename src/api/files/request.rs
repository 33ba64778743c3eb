//! What a request says about a file, or about a page of the listing. Pure.

use std::collections::BTreeMap;

use axum::http::{HeaderMap, HeaderValue, header};
use engine::{Description, FileKey};

use super::{META, disposition};
use crate::error::{Kind, Problem};

/// The longest name, media type, and all metadata together, in bytes. They are kept in the database's memory.
const LONGEST_NAME: usize = 1024;
const LONGEST_TYPE: usize = 255;
const MOST_METADATA: usize = 8 << 10;

/// The files of a page that asks for no number, and the most that it may ask for.
pub(super) const PAGE: u32 = 100;
pub(super) const LARGEST_PAGE: u32 = 1000;

/// From the headers of `POST files`.
pub(super) fn description(headers: &HeaderMap) -> Result<Description, Problem> {
    if headers.contains_key(header::CONTENT_ENCODING) {
        return Err(Problem::new(Kind::UnsupportedMediaType, "a file is kept as it is: send it without Content-Encoding"));
    }
    Ok(Description { mime: media_type(headers)?, filename: filename(headers)?, metadata: metadata(headers)? })
}

/// Refuses a body that says itself that it will not fit.
pub(super) fn fits(headers: &HeaderMap, largest: u64) -> Result<(), Problem> {
    let announced = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    match announced {
        Some(length) if length > largest => {
            Err(Problem::new(Kind::BodyTooLarge, format!("the file has {length} bytes; at most {largest} are taken")))
        }
        _ => Ok(()),
    }
}

/// The one that curl sends by itself says nothing about a file.
fn media_type(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let Some(value) = headers.get(header::CONTENT_TYPE) else { return Ok(None) };
    let text = text(value, "Content-Type")?;
    if text == "application/x-www-form-urlencoded" {
        return Ok(None);
    }
    if !is_media_type(text) {
        return Err(Problem::bad_request(format!("Content-Type `{text}` is no media type, such as image/png")));
    }
    Ok(Some(text.to_owned()))
}

/// `type/subtype`, and parameters that can stand in a header.
pub(super) fn is_media_type(text: &str) -> bool {
    let essence = text.split(';').next().unwrap_or_default().trim();
    let is_token = |part: &str| !part.is_empty() && part.bytes().all(|c| c.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&c));
    let is_plain = text.len() <= LONGEST_TYPE && text.bytes().all(|c| (b' '..=b'~').contains(&c));
    is_plain && essence.split_once('/').is_some_and(|(kind, of)| is_token(kind) && is_token(of))
}

fn filename(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let Some(value) = headers.get(header::CONTENT_DISPOSITION) else { return Ok(None) };
    let value = text(value, "Content-Disposition")?;
    let name = disposition::filename(value)
        .map_err(|problem| Problem::bad_request(format!("Content-Disposition {problem}; write it like attachment; filename=\"a.txt\"")))?;
    match name {
        Some(name) if name.len() > LONGEST_NAME => {
            Err(Problem::bad_request(format!("the file's name has {} bytes; at most {LONGEST_NAME} are kept", name.len())))
        }
        Some(name) if name.is_empty() || name.chars().any(char::is_control) => {
            Err(Problem::bad_request("the file's name may be neither empty nor hold control characters"))
        }
        name => Ok(name),
    }
}

fn metadata(headers: &HeaderMap) -> Result<BTreeMap<String, String>, Problem> {
    let (mut found, mut size) = (BTreeMap::new(), 0);
    for (name, value) in headers {
        let Some(key) = name.as_str().strip_prefix(META) else { continue };
        if key.is_empty() {
            return Err(Problem::bad_request(format!("the header {META} names nothing")));
        }
        let value = text(value, name.as_str())?;
        size += key.len() + value.len();
        if found.insert(key.to_owned(), value.to_owned()).is_some() {
            return Err(Problem::bad_request(format!("the header {name} stands twice")));
        }
    }
    if size > MOST_METADATA {
        return Err(Problem::bad_request(format!("the metadata has {size} bytes; at most {MOST_METADATA} are kept")));
    }
    Ok(found)
}

fn text<'a>(value: &'a HeaderValue, name: &str) -> Result<&'a str, Problem> {
    std::str::from_utf8(value.as_bytes()).map_err(|_| Problem::bad_request(format!("the header {name} is not UTF-8")))
}

/// A page of the listing.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Page {
    pub(super) limit: u32,
    pub(super) after: Option<FileKey>,
}

pub(super) fn page(query: &str) -> Result<Page, Problem> {
    let (mut limit, mut after) = (None, None);
    for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
        let is_second = match &*name {
            "limit" => {
                let parsed = value.parse().ok().filter(|limit| (1..=LARGEST_PAGE).contains(limit));
                let refused = || Problem::bad_request(format!("query parameter `limit` must be a number from 1 to {LARGEST_PAGE}"));
                limit.replace(parsed.ok_or_else(refused)?).is_some()
            }
            "after" => {
                let parsed = FileKey::parse(&value).map_err(|error| Problem::bad_request(format!("query parameter `after`: {error}")))?;
                after.replace(parsed).is_some()
            }
            _ => return Err(Problem::bad_request(format!("query parameter `{name}` is unknown: this route takes limit and after"))),
        };
        if is_second {
            return Err(Problem::bad_request(format!("query parameter `{name}` stands twice")));
        }
    }
    Ok(Page { limit: limit.unwrap_or(PAGE), after })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        headers
    }

    #[test]
    fn the_headers_say_what_a_file_is() {
        let described = description(&headers(&[
            ("content-type", "text/plain; charset=utf-8"),
            ("content-disposition", "attachment; filename=\"a b.txt\""),
            ("X-Buckethead-Meta-Color", "grün"),
            ("x-other", "no"),
        ]));
        let metadata = [("color".to_owned(), "grün".to_owned())].into();
        let (mime, filename) = (Some("text/plain; charset=utf-8".to_owned()), Some("a b.txt".to_owned()));
        assert_eq!(described, Ok(Description { mime, filename, metadata }));
        assert_eq!(description(&headers(&[("content-type", "application/x-www-form-urlencoded")])), Ok(Description::default()));
        assert_eq!(description(&HeaderMap::new()), Ok(Description::default()));
    }

    #[test]
    fn what_cannot_be_kept_is_refused() {
        let long = "x".repeat(MOST_METADATA);
        for pair in [
            ("content-type", "nonsense"),
            ("content-type", "text/pl ain"),
            ("content-type", "text/ä"),
            ("content-disposition", "attachment; filename=\"\""),
            ("content-disposition", "attachment; filename*=UTF-8''a%0d%0ab"),
            ("content-encoding", "gzip"),
            ("x-buckethead-meta-", "x"),
            ("x-buckethead-meta-long", long.as_str()),
        ] {
            assert!(description(&headers(&[pair])).is_err(), "{pair:?}");
        }
        let twice = headers(&[("x-buckethead-meta-a", "1"), ("x-buckethead-meta-a", "2")]);
        assert!(description(&twice).unwrap_err().detail.contains("twice"));
    }

    #[test]
    fn a_body_that_says_that_it_is_too_large_is_not_read() {
        assert!(fits(&headers(&[("content-length", "10")]), 10).is_ok());
        assert_eq!(fits(&headers(&[("content-length", "11")]), 10).unwrap_err().kind, Kind::BodyTooLarge);
        assert!(fits(&HeaderMap::new(), 10).is_ok());
    }

    #[test]
    fn a_page_is_asked_for_by_limit_and_cursor() {
        let key = "ab".repeat(32);
        assert_eq!(page(""), Ok(Page { limit: 100, after: None }));
        assert_eq!(page(&format!("limit=7&after={key}")), Ok(Page { limit: 7, after: FileKey::parse(&key).ok() }));
        for query in ["limit=0", "limit=1001", "limit=x", "limit=1&limit=2", "after=x", "after=", "before=x", "limit=-1"] {
            assert_eq!(page(query).unwrap_err().kind, Kind::BadRequest, "{query}");
        }
    }
}
