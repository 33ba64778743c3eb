//! What a client asks for in headers: on which state a request runs, that it runs once, how long it waits, what comes back. Pure.

use std::fmt::Write as _;
use std::time::Duration;

use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use engine::{StateId, Terms};
use sha2::{Digest as _, Sha256};

use super::format::Format;
use crate::error::Problem;
use crate::tags::{self, Named, Tag};

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const PREFER: HeaderName = HeaderName::from_static("prefer");
pub(super) const PREFERENCE_APPLIED: HeaderName = HeaderName::from_static("preference-applied");

/// The most characters of a key.
const LONGEST_KEY: usize = 255;

/// What the headers say.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Wishes {
    pub(super) terms: Terms,
    /// The states of which the client has the answer already.
    known: Vec<Tag>,
    /// The name that makes the request run once.
    pub(super) key: Option<String>,
}

impl Wishes {
    pub(super) fn of(headers: &HeaderMap) -> Result<Self, Problem> {
        let only_at = match tags::named(headers, &header::IF_MATCH)? {
            // There is a state always.
            None | Some(Named::Any) => None,
            // What names no state of ours matches nothing.
            Some(Named::Tags(tags)) => Some(tags.iter().filter(|tag| !tag.is_weak).filter_map(|tag| tag.opaque.parse().ok()).collect()),
        };
        let known = match tags::named(headers, &header::IF_NONE_MATCH)? {
            None => Vec::new(),
            Some(Named::Any) => {
                return Err(Problem::bad_request("if-none-match: `*` never holds, since a database always has a state; name an ETag"));
            }
            Some(Named::Tags(tags)) => tags,
        };
        let preferences = Preferences::of(headers);
        let terms = Terms { only_at, wait: preferences.wait, without_rows: preferences.minimal };
        Ok(Self { terms, known, key: key(headers)? })
    }

    /// Whether the client has what this tag stands for.
    pub(super) fn knows(&self, etag: &str) -> bool {
        self.known.iter().any(|tag| tag.opaque == etag)
    }

    /// What tells the request from others under the same key: all that its answer depends on.
    pub(super) fn digest(&self, query: Option<&str>, content_type: Option<&HeaderValue>, body: &[u8]) -> [u8; 32] {
        let mut digest = Sha256::new();
        let parts = [query.unwrap_or_default().as_bytes(), content_type.map_or(b"".as_slice(), HeaderValue::as_bytes), body];
        for part in parts {
            digest.update((part.len() as u64).to_le_bytes());
            digest.update(part);
        }
        digest.update([u8::from(self.terms.without_rows)]);
        digest.finalize().into()
    }

    /// The header that tells which preferences are followed.
    pub(super) fn applied(&self) -> Option<HeaderValue> {
        let mut applied = String::new();
        if let Some(wait) = self.terms.wait {
            let _ = write!(applied, "wait={}", wait.as_secs());
        }
        if self.terms.without_rows {
            applied.push_str(if applied.is_empty() { "return=minimal" } else { ", return=minimal" });
        }
        HeaderValue::try_from(applied).ok().filter(|applied| !applied.is_empty())
    }
}

/// The ETag of a result: of the state that it was read from, and of its format. It is a weak one, because the time that a reply tells is
/// another each time.
pub(super) fn etag(state: StateId, format: Format) -> String {
    match format {
        Format::Json => state.to_string(),
        Format::Ndjson => format!("{state}-ndjson"),
        Format::Csv => format!("{state}-csv"),
        Format::Arrow => format!("{state}-arrow"),
    }
}

/// As a structured string or as it is.
fn key(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let mut values = headers.get_all(IDEMPOTENCY_KEY).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let refuse = |why: &str| Err(Problem::bad_request(format!("idempotency-key: {why}; send 1 to {LONGEST_KEY} visible characters")));
    if values.next().is_some() {
        return refuse("it is given twice");
    }
    let Ok(text) = value.to_str() else { return refuse("it is not plain text") };
    let text = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(text);
    if text.is_empty() || text.len() > LONGEST_KEY || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return refuse("it is empty, too long, or has blanks");
    }
    Ok(Some(text.to_owned()))
}

/// What `Prefer` asks for that we know; what we do not know is ignored, as RFC 7240 wants it.
#[derive(Debug, Default)]
struct Preferences {
    wait: Option<Duration>,
    minimal: bool,
}

impl Preferences {
    fn of(headers: &HeaderMap) -> Self {
        let mut found = Self::default();
        let values = headers.get_all(PREFER).iter().filter_map(|value| value.to_str().ok());
        for preference in values.flat_map(|value| value.split(',')) {
            let preference = preference.split(';').next().unwrap_or_default();
            let (name, value) = preference.split_once('=').unwrap_or((preference, ""));
            let value = value.trim().trim_matches('"');
            match name.trim().to_ascii_lowercase().as_str() {
                "wait" if found.wait.is_none() => found.wait = value.parse().ok().map(Duration::from_secs),
                "return" => found.minimal |= value.eq_ignore_ascii_case("minimal"),
                _ => {}
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use engine::Epoch;

    fn wishes(given: &[(&HeaderName, &'static str)]) -> Result<Wishes, Problem> {
        Wishes::of(&given.iter().map(|(name, value)| ((*name).clone(), HeaderValue::from_static(value))).collect())
    }

    #[test]
    fn states_are_named_by_strong_tags() {
        let state = StateId { epoch: Epoch(3), txid: 41, place: 2 };
        let only_at = |value| wishes(&[(&header::IF_MATCH, value)]).unwrap().terms.only_at;
        assert_eq!(only_at("\"3.41.2\""), Some(vec![state]));
        assert_eq!(only_at("\"other\", \"3.41.2\""), Some(vec![state]));
        assert_eq!(only_at("W/\"3.41.2\""), Some(vec![]), "a weak tag matches nothing");
        assert_eq!(only_at("*"), None);
        for value in ["3.41.2", ""] {
            assert!(wishes(&[(&header::IF_MATCH, value)]).unwrap_err().detail.contains("if-match"), "{value}");
        }
        assert!(wishes(&[(&header::IF_NONE_MATCH, "*")]).is_err());
        let known = wishes(&[(&header::IF_NONE_MATCH, "W/\"3.41.2\", \"3.41.1-csv\"")]).unwrap();
        assert!(known.knows(&etag(state, Format::Json)));
        assert!(!known.knows(&etag(state, Format::Csv)), "another format is another answer");
        assert!(known.knows(&etag(StateId { place: 1, ..state }, Format::Csv)));
    }

    #[test]
    fn keys_are_plain_text_with_or_without_quotes() {
        let key = |value| wishes(&[(&IDEMPOTENCY_KEY, value)]).map(|wishes| wishes.key);
        assert_eq!(key("abc-1").unwrap().as_deref(), Some("abc-1"));
        assert_eq!(key("\"abc-1\"").unwrap().as_deref(), Some("abc-1"));
        for value in ["", "\"\"", "a b"] {
            assert!(key(value).is_err(), "{value}");
        }
        assert!(wishes(&[(&IDEMPOTENCY_KEY, "a"), (&IDEMPOTENCY_KEY, "a")]).is_err());
    }

    #[test]
    fn preferences_that_we_know_are_followed_and_told() {
        let of = |value| wishes(&[(&PREFER, value)]).unwrap();
        let both = of("wait=5; x=y, return=minimal, handling=strict");
        assert_eq!((both.terms.wait, both.terms.without_rows), (Some(Duration::from_secs(5)), true));
        assert_eq!(both.applied().unwrap(), "wait=5, return=minimal");
        assert_eq!(of("return=representation").applied(), None);
        assert_eq!(of("Return=\"minimal\"").applied().unwrap(), "return=minimal");
        assert_eq!(of("wait=soon").terms.wait, None);
    }

    #[test]
    fn the_digest_tells_requests_apart_by_all_that_their_answer_depends_on() {
        let plain = Wishes::default();
        let minimal = wishes(&[(&PREFER, "return=minimal")]).unwrap();
        let json = HeaderValue::from_static("application/json");
        let all = [
            plain.digest(None, None, b"select 1"),
            plain.digest(Some("shape=objects"), None, b"select 1"),
            plain.digest(None, Some(&json), b"select 1"),
            plain.digest(None, None, b"select 2"),
            minimal.digest(None, None, b"select 1"),
        ];
        for (at, one) in all.iter().enumerate() {
            assert!(all[..at].iter().all(|other| other != one), "{at}");
        }
        assert_eq!(plain.digest(None, None, b"select 1"), all[0]);
    }
}
