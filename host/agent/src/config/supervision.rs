//! `supervision:` when plugins that break are left alone.

use std::ops::RangeInclusive;
use std::time::Duration;

use roundsman_model::supervision::Rules;
use roundsman_model::units::format_duration;

use crate::config::read::{Fields, Walk};

/// One failure would be an accident; a thousand are beyond what any window holds.
const FAILURES: RangeInclusive<u32> = 1..=1_000;
/// Shorter than a second, and hardly two runs lie in it; beyond an hour, nobody remembers the first.
const WINDOWS: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_hours(1);
/// Below 100 ms nothing rests; a plugin that rests for more than a day is as good as quarantined.
const BACKOFFS: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_hours(24);
/// A hundred back-offs of the longest kind are more than anybody waits for.
const LADDERS: RangeInclusive<u32> = 1..=100;

pub(super) fn read(mut fields: Fields<'_>, walk: &mut Walk) -> Rules {
    let usual = Rules::default();
    let failures = fields.get("failures", walk).and_then(|v| v.integer(walk, FAILURES));
    let window = fields.get("window", walk).and_then(|v| v.duration(walk, WINDOWS));
    let backoff = fields.get("backoff", walk).and_then(|v| v.duration(walk, BACKOFFS)).unwrap_or(usual.backoff);
    let longest = fields.get("maxBackoff", walk);
    let max_backoff = longest.as_ref().and_then(|v| v.duration(walk, BACKOFFS));
    if let Some((value, max)) = longest.zip(max_backoff).filter(|(_, max)| *max < backoff) {
        let (max, first) = (format_duration(max), format_duration(backoff));
        let message = format!("the longest back-off of {max} is shorter than the first one of {first}");
        walk.error_hint(&value, message, "raise `maxBackoff`, or lower `backoff`");
    }
    let after = fields.get("quarantineAfter", walk).and_then(|v| v.integer(walk, LADDERS));
    fields.finish(walk);
    Rules {
        failures: failures.unwrap_or(usual.failures),
        window: window.unwrap_or(usual.window),
        backoff,
        max_backoff: max_backoff.unwrap_or(usual.max_backoff.max(backoff)),
        quarantine_after: after.unwrap_or(usual.quarantine_after),
    }
}
