//! Which keys there may be, and the range of those that begin alike. Pure.

use std::fmt;

/// A key: 1 to [`Key::LONGEST`] bytes of UTF-8 without NUL.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key(String);

/// Why a text is no key, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// It has no character.
    #[error("a key has at least one character")]
    Empty,
    /// It has too many bytes.
    #[error("a key has at most {} bytes of UTF-8, but this one has {length}; keep its end in the value, or use a hash of it", Key::LONGEST)]
    TooLong {
        /// In bytes.
        length: usize,
    },
    /// SQLite's functions end a text at a NUL.
    #[error("a key holds no NUL character (U+0000); leave it out")]
    Nul,
}

impl Key {
    /// In bytes. A key percent-encoded whole still fits into a request's line.
    pub const LONGEST: usize = 1024;

    /// Takes a text that may be a key.
    pub fn parse(text: impl Into<String>) -> Result<Self, KeyError> {
        let text = text.into();
        match text.len() {
            0 => Err(KeyError::Empty),
            length if length > Self::LONGEST => Err(KeyError::TooLong { length }),
            _ if text.contains('\0') => Err(KeyError::Nul),
            _ => Ok(Self(text)),
        }
    }

    /// As it was given.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The texts from `from` on that come before `before`, if there is an end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Range {
    pub(super) from: String,
    pub(super) before: Option<String>,
}

impl Range {
    /// The texts that begin with `prefix`, after `after` if one is given. SQLite compares texts byte by byte, and UTF-8 sorts as its
    /// characters do.
    pub(super) fn of(prefix: &str, after: Option<&str>) -> Self {
        // Nothing lies between a text and the same text with a NUL behind it.
        let next = after.map(|after| format!("{after}\0")).filter(|next| next.as_str() > prefix);
        Self { from: next.unwrap_or_else(|| prefix.to_owned()), before: after_all_with(prefix) }
    }
}

/// The first text after all that begin with `prefix`: its last character becomes the next one. Where there is no next one, nothing that
/// begins with the characters before it comes later.
fn after_all_with(prefix: &str) -> Option<String> {
    let mut text = prefix.to_owned();
    while let Some(last) = text.pop() {
        // Steps over the surrogates, which are no characters.
        if let Some(next) = (last..=char::MAX).nth(1) {
            text.push(next);
            return Some(text);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_key_is_any_text_of_bounded_length_without_nul() {
        for text in ["a", "user/123", " ", "%_", "ключ", "\u{10ffff}", "a'b\"c", &"k".repeat(Key::LONGEST)] {
            assert_eq!(Key::parse(text).unwrap().as_str(), text);
        }
        assert_eq!(Key::parse(""), Err(KeyError::Empty));
        assert_eq!(Key::parse("a\0b"), Err(KeyError::Nul));
        let length = Key::LONGEST + 2;
        assert_eq!(Key::parse("ü".repeat(length / 2)), Err(KeyError::TooLong { length }));
    }

    #[test]
    fn the_end_of_a_prefix_is_its_next_text() {
        let end = |prefix: &str| Range::of(prefix, None).before;
        assert_eq!(end("user/").as_deref(), Some("user0"));
        assert_eq!(end("").as_deref(), None);
        assert_eq!(end("\u{10ffff}\u{10ffff}").as_deref(), None);
        assert_eq!(end("a\u{10ffff}").as_deref(), Some("b"));
        assert_eq!(end("\u{7f}").as_deref(), Some("\u{80}"));
        assert_eq!(end("\u{d7ff}").as_deref(), Some("\u{e000}"));
        assert_eq!(end("%").as_deref(), Some("&"));
    }

    #[test]
    fn what_comes_after_a_key_never_leaves_the_prefix() {
        assert_eq!(Range::of("b", Some("a")).from, "b");
        assert_eq!(Range::of("b", Some("b")).from, "b\0");
        assert_eq!(Range::of("b", Some("bx")).from, "bx\0");
        let past = Range::of("b", Some("c"));
        assert!(Some(past.from) > past.before);
    }

    /// Few characters, so that texts often begin alike, and those around which UTF-8 changes its length.
    fn text() -> impl Strategy<Value = String> {
        let letters = prop::sample::select(vec!['\u{1}', 'a', 'b', '\u{7f}', '\u{80}', '\u{7ff}', '\u{d7ff}', '\u{e000}', '\u{10ffff}']);
        prop::collection::vec(letters, 0..4).prop_map(String::from_iter)
    }

    proptest! {
        #[test]
        fn a_range_holds_exactly_what_begins_with_the_prefix(prefix in text(), after in prop::option::of(text()), key in text()) {
            let range = Range::of(&prefix, after.as_deref());
            let inside = key >= range.from && range.before.is_none_or(|before| key < before);
            prop_assert_eq!(inside, key.starts_with(&prefix) && after.is_none_or(|after| key > after));
        }
    }
}
