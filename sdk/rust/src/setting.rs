//! Types for settings, written as everywhere in Roundsman's files: durations, sizes, regular expressions.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize, Serializer};

/// A duration such as `250ms`, `10s` or `1h30m`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub struct Span(pub Duration);

/// A number of bytes such as `64Mi`, `1Ki` or `512`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub struct Size(pub u64);

/// A regular expression, in the words of the crate `regex-lite`. `(?i)` at its beginning ignores case.
#[cfg(feature = "regex")]
#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "String")]
pub struct Pattern(pub regex_lite::Regex);

/// What something is when it is not as expected: `warning`, or `critical`, which it is unless the operator says otherwise.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum Severity {
    /// Somebody should look at it in working hours.
    Warning,
    /// It is broken.
    #[default]
    Critical,
}

impl From<Severity> for crate::Status {
    fn from(severity: Severity) -> Self {
        match severity {
            Severity::Warning => Self::Warning,
            Severity::Critical => Self::Critical,
        }
    }
}

const DURATIONS: [(&str, f64); 7] =
    [("ns", 1.0), ("us", 1e3), ("ms", 1e6), ("s", 1e9), ("m", 60e9), ("h", 3_600e9), ("d", 86_400e9)];
const SIZES: [(&str, f64); 4] = [("", 1.0), ("Ki", 1_024.0), ("Mi", 1_048_576.0), ("Gi", 1_073_741_824.0)];
/// Beyond it, `f64` does not hold every whole number: 104 days in nanoseconds, 8 PiB.
const MAX: f64 = 9_007_199_254_740_992.0;

impl TryFrom<String> for Span {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        let bad = || format!("`{text}` is not a duration: write, for instance, 250ms, 10s, 5m or 1h30m");
        let mut rest = text.as_str();
        let mut total = 0;
        while !rest.is_empty() {
            let unit = rest.find(|c: char| c.is_ascii_alphabetic()).ok_or_else(bad)?;
            let end = rest[unit..].find(|c: char| !c.is_ascii_alphabetic()).map_or(rest.len(), |length| unit + length);
            total += scaled(&rest[..unit], &rest[unit..end], &DURATIONS).ok_or_else(bad)?;
            rest = &rest[end..];
        }
        if text.is_empty() { Err(bad()) } else { Ok(Self(Duration::from_nanos(total))) }
    }
}

impl TryFrom<String> for Size {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        let unit = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
        scaled(&text[..unit], &text[unit..], &SIZES)
            .map(Self)
            .ok_or_else(|| format!("`{text}` is not a size: write a number of bytes, or one with Ki, Mi or Gi"))
    }
}

fn scaled(number: &str, unit: &str, units: &[(&str, f64)]) -> Option<u64> {
    if !number.bytes().all(|b| b.is_ascii_digit() || b == b'.') {
        return None;
    }
    let scale = units.iter().find(|(name, _)| *name == unit)?.1;
    let value = (number.parse::<f64>().ok()? * scale).round();
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked: whole, not negative, exact")]
    (value <= MAX).then_some(value as u64)
}

/// In the largest units that tell it exactly: `1h30m`, not `90m` or `1.5h`.
impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0.as_nanos();
        if rest == 0 {
            return f.write_str("0s");
        }
        for (unit, nanos) in [
            ("d", 86_400_000_000_000),
            ("h", 3_600_000_000_000),
            ("m", 60_000_000_000),
            ("s", 1_000_000_000),
            ("ms", 1_000_000),
            ("us", 1_000),
            ("ns", 1),
        ] {
            let count: u128 = rest / nanos;
            rest %= nanos;
            if count > 0 {
                write!(f, "{count}{unit}")?;
            }
        }
        Ok(())
    }
}

/// In the largest unit that tells it exactly: `64Ki`, and `1536` for what is no whole number of these.
impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [("Gi", 1_u64 << 30), ("Mi", 1 << 20), ("Ki", 1 << 10)];
        match units.into_iter().find(|(_, bytes)| self.0 > 0 && self.0.is_multiple_of(*bytes)) {
            Some((unit, bytes)) => write!(f, "{}{unit}", self.0 / bytes),
            None => write!(f, "{}", self.0),
        }
    }
}

/// As it is written, so that the description of settings can tell its default.
impl Serialize for Span {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// As it is written, so that the description of settings can tell its default.
impl Serialize for Size {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(feature = "regex")]
impl Serialize for Pattern {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0.as_str())
    }
}

#[cfg(feature = "regex")]
impl TryFrom<String> for Pattern {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        regex_lite::Regex::new(&text)
            .map(Self)
            .map_err(|error| format!("`{text}` is not a regular expression: {error}"))
    }
}

macro_rules! text_schema {
    ($type:ident, $($key:literal: $value:expr),+) => {
        impl JsonSchema for $type {
            fn schema_name() -> Cow<'static, str> {
                stringify!($type).into()
            }
            fn inline_schema() -> bool {
                true
            }
            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({"type": "string", $($key: $value),+})
            }
        }
    };
}

text_schema!(Span, "pattern": "^([0-9.]+(ns|us|ms|s|m|h|d))+$", "examples": ["250ms", "10s"]);
text_schema!(Size, "pattern": "^[0-9.]+(Ki|Mi|Gi)?$", "examples": ["64Ki"]);
#[cfg(feature = "regex")]
text_schema!(Pattern, "format": "regex");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        for (text, ns) in [
            ("250ms", Some(250_000_000)),
            ("10s", Some(10_000_000_000)),
            ("1.5s", Some(1_500_000_000)),
            ("1h30m", Some(5_400_000_000_000)),
            ("0s", Some(0)),
            ("", None),
            ("10", None),
            ("s", None),
            ("-1s", None),
            ("10 s", None),
            ("1x", None),
            ("1e9s", None),
            ("9999999d", None),
        ] {
            assert_eq!(Span::try_from(text.to_owned()).ok(), ns.map(|ns| Span(Duration::from_nanos(ns))), "{text:?}");
        }
    }

    #[test]
    fn what_is_written_is_read() {
        for text in ["0s", "250ms", "1s500ms", "1h30m", "2d", "1us1ns"] {
            assert_eq!(Span::try_from(text.to_owned()).unwrap().to_string(), text);
        }
        for text in ["0", "1536", "64Ki", "3Mi", "2Gi"] {
            assert_eq!(Size::try_from(text.to_owned()).unwrap().to_string(), text);
        }
    }

    #[test]
    fn the_schema_tells_defaults() {
        #[derive(Deserialize, JsonSchema)]
        #[serde(default)]
        struct Settings {
            timeout: Span,
            most: Size,
            severity: Severity,
        }
        impl Default for Settings {
            fn default() -> Self {
                Self { timeout: Span(Duration::from_secs(90)), most: Size(1 << 16), severity: Severity::Warning }
            }
        }
        let schema = schemars::schema_for!(Settings);
        for (name, default) in [("timeout", "1m30s"), ("most", "64Ki"), ("severity", "warning")] {
            let pointer = format!("/properties/{name}/default");
            assert_eq!(schema.pointer(&pointer).and_then(|value| value.as_str()), Some(default), "{name}");
        }
    }

    #[test]
    fn sizes() {
        for (text, bytes) in [
            ("512", Some(512)),
            ("64Ki", Some(65_536)),
            ("1.5Mi", Some(1_572_864)),
            ("", None),
            ("Ki", None),
            ("64K", None),
            ("-1", None),
        ] {
            assert_eq!(Size::try_from(text.to_owned()).ok(), bytes.map(Size), "{text:?}");
        }
    }
}
