//! Times as text: exact for programs, short for people.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use roundsman_model::time::Timestamp;
use roundsman_model::units::parse_duration;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// An instant as RFC 3339 text in UTC with all nine digits: exact, sortable, safe where numbers are doubles.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Instant(pub Timestamp);

/// A text is neither an instant nor a duration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a time: write RFC 3339 (2026-11-20T10:54:10Z), or how long ago (90s, 1h, 7d)")]
pub struct InstantError(String);

impl Instant {
    /// Reads RFC 3339 text, or a duration before `now`.
    pub fn read(text: &str, now: Instant) -> Result<Self, InstantError> {
        match parse_duration(text) {
            Ok(ago) => Ok(Self(now.0 - ago)),
            Err(_) => text.parse(),
        }
    }

    /// Seconds since 1970, as metrics want them.
    pub fn as_seconds(self) -> f64 {
        self.0.0 as f64 / 1e9
    }
}

impl From<Timestamp> for Instant {
    fn from(time: Timestamp) -> Self {
        Self(time)
    }
}

impl FromStr for Instant {
    type Err = InstantError;
    fn from_str(text: &str) -> Result<Self, InstantError> {
        let bad = || InstantError(roundsman_model::name::excerpt(text));
        let time: jiff::Timestamp = text.parse().map_err(|_| bad())?;
        i64::try_from(time.as_nanosecond()).map(|ns| Self(Timestamp(ns))).map_err(|_| bad())
    }
}

impl fmt::Display for Instant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = jiff::Timestamp::from_nanosecond(i128::from(self.0.0))
            .expect("64 bits of nanoseconds lie between the years 1677 and 2262");
        write!(f, "{time:.9}")
    }
}

impl Serialize for Instant {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Instant {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from)?.parse().map_err(serde::de::Error::custom)
    }
}

/// A duration for people: two units at most, `3m 20s`, `250 ms`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Short(pub(crate) Duration);

impl fmt::Display for Short {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let s = self.0.as_secs();
        let (minutes, hours, days) = (s / 60, s / 3_600, s / 86_400);
        match s {
            0 if self.0.is_zero() => f.write_str("0s"),
            0 if self.0.as_millis() == 0 => f.write_str("<1ms"),
            0 => write!(f, "{}ms", self.0.as_millis()),
            1..60 => write!(f, "{s}s"),
            60..3_600 => write!(f, "{minutes}m {:02}s", s % 60),
            3_600..86_400 => write!(f, "{hours}h {:02}m", minutes % 60),
            _ => write!(f, "{days}d {:02}h", hours % 24),
        }
    }
}

/// Milliseconds for people: three significant digits are enough.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Millis(pub(crate) f64);

impl fmt::Display for Millis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            ms if ms < 10.0 => write!(f, "{ms:.2} ms"),
            ms if ms < 100.0 => write!(f, "{ms:.1} ms"),
            ms if ms < 10_000.0 => write!(f, "{ms:.0} ms"),
            ms => write!(f, "{:.1} s", ms / 1_000.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_exact_both_ways() {
        for (ns, text) in [
            (0, "1970-01-01T00:00:00.000000000Z"),
            (1_795_172_050_250_000_001, "2026-11-20T10:54:10.250000001Z"),
            (-1, "1969-12-31T23:59:59.999999999Z"),
            (i64::MAX, "2262-04-11T23:47:16.854775807Z"),
            (i64::MIN, "1677-09-21T00:12:43.145224192Z"),
        ] {
            assert_eq!(Instant(Timestamp(ns)).to_string(), text);
            assert_eq!(text.parse(), Ok(Instant(Timestamp(ns))));
        }
    }

    #[test]
    fn reading() {
        let now = Instant(Timestamp(10_000_000_000));
        for (text, ns) in [
            ("1s", Some(9_000_000_000)),
            ("0", Some(10_000_000_000)),
            ("1970-01-01T00:00:03Z", Some(3_000_000_000)),
            ("1970-01-01T02:00:03+02:00", Some(3_000_000_000)),
            ("9999-01-01T00:00:00Z", None),
            ("yesterday", None),
            ("", None),
            ("-1h", None),
        ] {
            assert_eq!(Instant::read(text, now).ok(), ns.map(|ns| Instant(Timestamp(ns))), "{text:?}");
        }
    }

    #[test]
    fn short() {
        for (ms, text) in [
            (0, "0s"),
            (999, "999ms"),
            (59_999, "59s"),
            (61_000, "1m 01s"),
            (3_660_000, "1h 01m"),
            (90_000_000, "1d 01h"),
        ] {
            assert_eq!(Short(Duration::from_millis(ms)).to_string(), text);
        }
        for (ms, text) in [(0.123, "0.12 ms"), (12.34, "12.3 ms"), (1234.5, "1234 ms"), (12_345.0, "12.3 s")] {
            assert_eq!(Millis(ms).to_string(), text);
        }
    }
}
