//! Under which condition a value is changed, as HTTP says it. Pure.

use std::fmt;

use sha2::{Digest as _, Sha256};

/// SHA-256 of a value: what its `ETag` shows.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ValueDigest([u8; 32]);

impl ValueDigest {
    /// Of these bytes.
    pub fn of(value: &[u8]) -> Self {
        Self(Sha256::digest(value).into())
    }

    /// Reads the 64 hexadecimal digits back.
    pub fn parse(text: &str) -> Option<Self> {
        let mut digest = [0; 32];
        hex::decode_to_slice(text, &mut digest).ok()?;
        Some(Self(digest))
    }
}

impl fmt::Display for ValueDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for ValueDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The values that a condition speaks of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tags {
    /// Whatever is there, as long as something is.
    Any,
    /// One of these.
    Listed(Vec<ValueDigest>),
}

impl Tags {
    /// Whether they speak of what is there now.
    pub fn hold(&self, current: Option<ValueDigest>) -> bool {
        match (self, current) {
            (_, None) => false,
            (Self::Any, Some(_)) => true,
            (Self::Listed(tags), Some(current)) => tags.contains(&current),
        }
    }
}

/// What must be so for a change to be made. Without any part it is always made.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Condition {
    /// The value is one of these.
    pub if_match: Option<Tags>,
    /// The value is none of these. With [`Tags::Any`]: there is no value yet.
    pub if_none_match: Option<Tags>,
}

impl Condition {
    /// Whether it holds anyhow.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Whether it holds for what is there now.
    pub fn holds(&self, current: Option<ValueDigest>) -> bool {
        self.if_match.as_ref().is_none_or(|tags| tags.hold(current)) && self.if_none_match.as_ref().is_none_or(|tags| !tags.hold(current))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(values: &[&str]) -> Tags {
        Tags::Listed(values.iter().map(|value| ValueDigest::of(value.as_bytes())).collect())
    }

    #[test]
    fn a_digest_is_read_back_as_it_was_shown() {
        let digest = ValueDigest::of(b"hello");
        assert_eq!(digest.to_string(), "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824");
        assert_eq!(ValueDigest::parse(&digest.to_string()), Some(digest));
        for text in ["", "2cf2", "zz", &"0".repeat(66)] {
            assert_eq!(ValueDigest::parse(text), None);
        }
    }

    #[test]
    fn conditions_mean_what_http_says() {
        let here = Some(ValueDigest::of(b"a"));
        let if_match = |tags| Condition { if_match: Some(tags), ..Condition::default() };
        let if_none_match = |tags| Condition { if_none_match: Some(tags), ..Condition::default() };
        assert!(Condition::default().holds(None) && Condition::default().holds(here));
        assert!(if_match(Tags::Any).holds(here) && !if_match(Tags::Any).holds(None));
        assert!(if_match(listed(&["b", "a"])).holds(here) && !if_match(listed(&["b"])).holds(here));
        assert!(!if_match(listed(&["a"])).holds(None) && !if_match(listed(&[])).holds(here));
        assert!(!if_none_match(Tags::Any).holds(here) && if_none_match(Tags::Any).holds(None));
        assert!(!if_none_match(listed(&["a"])).holds(here) && if_none_match(listed(&["b"])).holds(here));
        assert!(if_none_match(listed(&["a"])).holds(None));
    }

    #[test]
    fn both_parts_must_hold() {
        let here = Some(ValueDigest::of(b"a"));
        let both = |none| Condition { if_match: Some(listed(&["a"])), if_none_match: Some(none) };
        assert!(both(listed(&["b"])).holds(here));
        assert!(!both(Tags::Any).holds(here) && !both(listed(&["b"])).holds(None));
    }
}
