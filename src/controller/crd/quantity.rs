//! Lengths of time and numbers of bytes, as people write them: `90s`, `1h30m`, `500Mi`.
//!
//! Owns: which texts are allowed, what they mean, and that a value is written back as it was read.
//! Invariant: every text that the pattern lets through parses, here and in CEL. The schema's rules hold the spec to the pattern.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A text that is no quantity of its kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not {wanted}")]
pub struct QuantityError {
    text: String,
    wanted: &'static str,
}

/// A length of time. Two are equal if they last equally long, however they are written.
#[derive(Debug, Clone)]
pub struct Period {
    text: Cow<'static, str>,
    lasts: Duration,
}

impl Period {
    pub(super) const PATTERN: &str = "^([0-9]{1,6}(h|m|s|ms))+$";
    const LONGEST: usize = 20;

    /// A length of time that stands in this program.
    pub(super) fn literal(text: &'static str) -> Self {
        Self { lasts: parse_period(text).expect("a literal of this program is one, and a test reads it"), text: Cow::Borrowed(text) }
    }

    /// For the clock.
    pub fn as_duration(&self) -> Duration {
        self.lasts
    }
}

impl From<Duration> for Period {
    /// Rounded up to whole milliseconds: what took time never shows as `0s`.
    fn from(lasts: Duration) -> Self {
        const LONGEST: u128 = 999_999 * HOUR;
        let millis = lasts.as_nanos().div_ceil(1_000_000).min(LONGEST);
        let parts = [(millis / HOUR, "h"), (millis % HOUR / MINUTE, "m"), (millis % MINUTE / SECOND, "s"), (millis % SECOND, "ms")];
        let mut text = String::new();
        for (count, unit) in parts.into_iter().filter(|(count, _)| *count > 0) {
            text.push_str(&count.to_string());
            text.push_str(unit);
        }
        let text = if text.is_empty() { Cow::Borrowed("0s") } else { Cow::Owned(text) };
        Self { lasts: parse_period(&text).expect("it is made of counts and units"), text }
    }
}

const SECOND: u128 = 1_000;
const MINUTE: u128 = 60 * SECOND;
const HOUR: u128 = 60 * MINUTE;

fn parse_period(text: &str) -> Result<Duration, QuantityError> {
    let refusal = || QuantityError { text: text.to_owned(), wanted: "a length of time such as `90s`, `1h30m` or `500ms`" };
    if text.is_empty() || text.len() > Period::LONGEST {
        return Err(refusal());
    }
    let mut rest = text;
    let mut lasts = Duration::ZERO;
    while !rest.is_empty() {
        let (count, after) = leading_count(rest, 6).ok_or_else(refusal)?;
        let length = after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len());
        let (unit, after) = after.split_at(length);
        lasts += match unit {
            "h" => Duration::from_secs(count * 3600),
            "m" => Duration::from_secs(count * 60),
            "s" => Duration::from_secs(count),
            "ms" => Duration::from_millis(count),
            _ => return Err(refusal()),
        };
        rest = after;
    }
    Ok(lasts)
}

/// The number that the text begins with, if it has at most so many digits, and what follows it.
fn leading_count(text: &str, digits: usize) -> Option<(u64, &str)> {
    let length = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (count, rest) = text.split_at(length);
    if count.len() > digits { None } else { Some((count.parse().ok()?, rest)) }
}

impl FromStr for Period {
    type Err = QuantityError;

    fn from_str(text: &str) -> Result<Self, QuantityError> {
        Ok(Self { lasts: parse_period(text)?, text: Cow::Owned(text.to_owned()) })
    }
}

/// A number of bytes. Two are equal if they count equally many, however they are written.
#[derive(Debug, Clone)]
pub struct ByteSize {
    text: Cow<'static, str>,
    bytes: u64,
}

impl ByteSize {
    pub(super) const PATTERN: &str = "^([0-9]{1,18}|[0-9]{1,10}(k|M|G|Ki|Mi|Gi))$";
    const LONGEST: usize = 18;

    /// A size that stands in this program.
    pub(super) fn literal(text: &'static str) -> Self {
        Self { bytes: parse_size(text).expect("a literal of this program is one, and a test reads it"), text: Cow::Borrowed(text) }
    }

    /// How many bytes these are.
    pub fn as_bytes(&self) -> u64 {
        self.bytes
    }
}

impl From<u64> for ByteSize {
    /// Exact: in the largest of Gi, Mi and Ki that leaves no rest, else in bytes.
    fn from(bytes: u64) -> Self {
        let fits = |(name, unit): &&(&str, u64)| {
            name.ends_with('i') && bytes.is_multiple_of(*unit) && (1..=LARGEST_COUNT).contains(&(bytes / unit))
        };
        let unit = UNITS.iter().find(fits);
        let text = unit.map_or_else(|| bytes.to_string(), |(name, unit)| format!("{}{name}", bytes / unit));
        Self { text: Cow::Owned(text), bytes }
    }
}

/// What the pattern allows before a unit.
const LARGEST_COUNT: u64 = 9_999_999_999;

/// Larger ones first among those of one kind.
const UNITS: [(&str, u64); 6] = [("Gi", 1 << 30), ("Mi", 1 << 20), ("Ki", 1 << 10), ("G", 1_000_000_000), ("M", 1_000_000), ("k", 1_000)];

fn parse_size(text: &str) -> Result<u64, QuantityError> {
    let refusal = || QuantityError { text: text.to_owned(), wanted: "a number of bytes such as `500Mi`, `2G` or `65536`" };
    let (count, unit) = leading_count(text, ByteSize::LONGEST).ok_or_else(refusal)?;
    if unit.is_empty() {
        return Ok(count);
    }
    let (_, factor) = UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(refusal)?;
    if text.len() - unit.len() > 10 { Err(refusal()) } else { Ok(count * factor) }
}

impl FromStr for ByteSize {
    type Err = QuantityError;

    fn from_str(text: &str) -> Result<Self, QuantityError> {
        Ok(Self { bytes: parse_size(text)?, text: Cow::Owned(text.to_owned()) })
    }
}

/// What the two have in common: a text on the outside, a number on the inside.
macro_rules! written_as_text {
    ($type:ident, $number:ident) => {
        impl PartialEq for $type {
            fn eq(&self, other: &Self) -> bool {
                self.$number == other.$number
            }
        }

        impl Eq for $type {}

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.text)
            }
        }

        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.text)
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
            }
        }

        impl JsonSchema for $type {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> Cow<'static, str> {
                stringify!($type).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({"type": "string", "maxLength": Self::LONGEST})
            }
        }
    };
}

written_as_text!(Period, lasts);
written_as_text!(ByteSize, bytes);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn lengths_of_time_mean_what_go_and_cel_mean() {
        for (text, millis) in [("0s", 0), ("60s", 60_000), ("1h30m", 5_400_000), ("500ms", 500), ("1m1s1ms", 61_001), ("24h", 86_400_000)] {
            assert_eq!(text.parse::<Period>().unwrap().as_duration(), Duration::from_millis(millis), "{text}");
        }
        for text in ["", "60", "s", "1d", "-1s", "1.5h", "1 s", "1234567s", "1h30", "1s1s1s1s1s1s1s1s1s1s1s"] {
            assert!(text.parse::<Period>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn sizes_mean_what_kubernetes_means() {
        for (text, bytes) in [("0", 0), ("65536", 65_536), ("10k", 10_000), ("500Mi", 524_288_000), ("2G", 2_000_000_000), ("1Gi", 1 << 30)]
        {
            assert_eq!(text.parse::<ByteSize>().unwrap().as_bytes(), bytes, "{text}");
        }
        for text in ["", "Mi", "1.5Mi", "-1", "1 Mi", "1mi", "1K", "12345678901Gi", "1234567890123456789"] {
            assert!(text.parse::<ByteSize>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_quantity_is_written_back_as_it_was_read() {
        let period: Period = serde_json::from_str("\"90m\"").unwrap();
        assert_eq!(serde_json::to_string(&period).unwrap(), "\"90m\"");
        let size: ByteSize = serde_json::from_str("\"1024Ki\"").unwrap();
        assert_eq!(serde_json::to_string(&size).unwrap(), "\"1024Ki\"");
        assert_eq!((period, size), (Period::literal("1h30m"), ByteSize::literal("1Mi")));
    }

    #[test]
    fn a_measured_value_is_short_and_exact() {
        for (millis, text) in [(0, "0s"), (350, "350ms"), (60_000, "1m"), (1_200_500, "20m500ms")] {
            assert_eq!(Period::from(Duration::from_millis(millis)).to_string(), text);
        }
        assert_eq!(Period::from(Duration::from_nanos(1)).to_string(), "1ms");
        for (bytes, text) in [
            (0, "0"),
            (512, "512"),
            (8192, "8Ki"),
            (54 << 20, "54Mi"),
            (3 << 30, "3Gi"),
            (1_000_000, "1000000"),
            (467_933_085_396_362_240, "467933085396362240"),
        ] {
            assert_eq!(ByteSize::from(bytes).to_string(), text);
        }
    }

    proptest! {
        #[test]
        fn what_the_pattern_lets_through_parses(period in "([0-9]{1,6}(h|m|s|ms)){1,2}", size in "([0-9]{1,18}|[0-9]{1,10}(k|M|G|Ki|Mi|Gi))") {
            prop_assert!(period.parse::<Period>().is_ok());
            prop_assert!(size.parse::<ByteSize>().is_ok());
        }

        #[test]
        fn what_we_measure_is_read_back(nanos in 0..u64::MAX, count in 0..1_000_000_000_000_000u64, shift in 0..10) {
            let period = Period::from(Duration::from_nanos(nanos));
            prop_assert_eq!(period.to_string().parse::<Period>().unwrap(), period);
            let size = ByteSize::from(count << shift);
            prop_assert_eq!(size.to_string().parse::<ByteSize>().unwrap(), size);
        }
    }
}
