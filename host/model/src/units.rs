//! Durations and sizes as operators write them: `250ms`, `10s`, `5m`; `64Ki`, `512Mi`.

use std::fmt::Write;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Why a text is not a duration or size.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnitError {
    #[error("`{0}` is not a duration: write a number and a unit, for instance 250ms, 10s, 5m, 2h or 7d")]
    Duration(String),
    #[error("`{0}` is not a size: write a number of bytes, or one with Ki, Mi or Gi, for instance 64Mi")]
    Size(String),
}

const DURATION_UNITS: [(&str, u64); 7] = [
    ("d", 86_400_000_000_000),
    ("h", 3_600_000_000_000),
    ("m", 60_000_000_000),
    ("s", 1_000_000_000),
    ("ms", 1_000_000),
    ("us", 1_000),
    ("ns", 1),
];

const SIZE_UNITS: [(&str, u64); 4] = [("Gi", 1 << 30), ("Mi", 1 << 20), ("Ki", 1 << 10), ("", 1)];

/// Reads `1h30m`, `10s`, `1.5s` …; `0` needs no unit.
pub fn parse_duration(text: &str) -> Result<Duration, UnitError> {
    let bad = || UnitError::Duration(crate::name::excerpt(text));
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let mut rest = text;
    let mut total: u64 = 0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(bad)?;
        let (number, tail) = rest.split_at(digits);
        let end = tail.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(end);
        let scale = DURATION_UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(bad)?.1;
        total = scaled(number, scale).and_then(|ns| total.checked_add(ns)).ok_or_else(bad)?;
        rest = tail;
    }
    if text.is_empty() || i64::try_from(total).is_err() { Err(bad()) } else { Ok(Duration::from_nanos(total)) }
}

/// Reads `64Mi`, `1.5Gi`, `1000`.
pub fn parse_size(text: &str) -> Result<u64, UnitError> {
    let bad = || UnitError::Size(crate::name::excerpt(text));
    let (unit, scale) = SIZE_UNITS.iter().find(|(unit, _)| text.ends_with(unit)).ok_or_else(bad)?;
    scaled(text.strip_suffix(unit).unwrap_or(text), *scale).ok_or_else(bad)
}

/// A decimal number times a scale, exactly, without floating point.
fn scaled(number: &str, scale: u64) -> Option<u64> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let digits = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit());
    if !digits(whole) || (number.contains('.') && !digits(fraction)) || fraction.len() > 9 {
        return None;
    }
    let mut total = whole.parse::<u64>().ok()?.checked_mul(scale)?;
    if !fraction.is_empty() {
        let tenths = 10_u64.pow(u32::try_from(fraction.len()).ok()?);
        let part = u128::from(fraction.parse::<u64>().ok()?) * u128::from(scale) / u128::from(tenths);
        total = total.checked_add(u64::try_from(part).ok()?)?;
    }
    Some(total)
}

/// The shortest exact text: `1h30m`, `250ms`, `0s`.
pub fn format_duration(duration: Duration) -> String {
    let mut rest = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
    if rest == 0 {
        return "0s".to_owned();
    }
    let mut text = String::new();
    for (unit, scale) in DURATION_UNITS {
        if rest >= scale {
            write!(text, "{}{unit}", rest / scale).expect("writing to a string cannot fail");
            rest %= scale;
        }
    }
    text
}

/// A duration in a configuration file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(pub Duration);

/// A number of bytes in a configuration file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(pub u64);

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        parse_duration(&String::deserialize(from)?).map(Span).map_err(serde::de::Error::custom)
    }
}

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&format_duration(self.0))
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        parse_size(&String::deserialize(from)?).map(Size).map_err(serde::de::Error::custom)
    }
}

impl Serialize for Size {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let (unit, scale) = SIZE_UNITS
            .into_iter()
            .find(|(_, scale)| self.0 >= *scale && self.0.is_multiple_of(*scale))
            .unwrap_or(("", 1));
        to.collect_str(&format_args!("{}{unit}", self.0 / scale))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        for (text, ns) in [
            ("250ms", Some(250_000_000)),
            ("10s", Some(10_000_000_000)),
            ("1h30m", Some(5_400_000_000_000)),
            ("1.5s", Some(1_500_000_000)),
            ("0", Some(0)),
            ("7d", Some(604_800_000_000_000)),
            ("", None),
            ("10", None),
            ("s", None),
            ("-1s", None),
            ("1.s", None),
            ("10 s", None),
            ("1x", None),
            ("999999999999d", None),
        ] {
            assert_eq!(parse_duration(text).ok(), ns.map(Duration::from_nanos), "{text:?}");
        }
    }

    #[test]
    fn durations_round_trip() {
        for text in ["250ms", "10s", "1h30m", "7d", "0s", "1d1ns"] {
            assert_eq!(format_duration(parse_duration(text).unwrap()), text);
        }
    }

    #[test]
    fn sizes() {
        for (text, bytes) in [
            ("64Mi", Some(64 << 20)),
            ("1.5Ki", Some(1536)),
            ("17", Some(17)),
            ("64M", None),
            ("Mi", None),
            ("", None),
            ("-1", None),
            ("99999999999Gi", None),
        ] {
            assert_eq!(parse_size(text).ok(), bytes, "{text:?}");
        }
    }
}
