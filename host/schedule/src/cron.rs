//! When a cron expression fires in its time zone, right across changes of the zone's offset.
//!
//! An expression whose hours begin with `*` (or name all 24) follows the clock on the wall: it fires whenever the clock
//! shows a minute that fits, so that `0 * * * *` runs in every real hour where clocks change by whole hours. Any other
//! expression names its hours, and each of its minutes fires once a day: the first time that the clock shows it, or at
//! the first instant after a gap that leaves it out.

use jiff::civil::DateTime;
use jiff::tz::{AmbiguousOffset, Offset, TimeZone};
use roundsman_model::name::excerpt;
use roundsman_model::time::Timestamp;

use crate::error::CronError;
use crate::expression::Expression;

const MINUTE_NS: i64 = 60_000_000_000;
const DAY_NS: i64 = 1_440 * MINUTE_NS;

/// Longer than any expression rests: a weekday on 29 February may take 40 years, where a century leaves a leap day out.
const LONGEST_REST_NS: i64 = 60 * 366 * DAY_NS;

/// A cron expression in a time zone. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cron {
    expression: Expression,
    zone: TimeZone,
}

impl Cron {
    /// Reads five fields or a short form such as `@daily`, and a name of the IANA time zone database.
    pub fn new(expression: &str, timezone: &str) -> Result<Self, CronError> {
        let expression = Expression::parse(expression)?;
        let zone = TimeZone::get(timezone).map_err(|source| CronError::TimeZone { name: excerpt(timezone), source })?;
        Ok(Self { expression, zone })
    }

    /// The first instant after this one at which it fires. None: not before 2262.
    pub fn next_after(&self, instant: Timestamp) -> Option<Timestamp> {
        if self.expression.every_hour() { self.next_shown(instant) } else { self.next_named(instant) }
    }

    /// The last instant before this one at which it fired.
    pub fn previous(&self, instant: Timestamp) -> Option<Timestamp> {
        let earlier = |from: i64| self.next_after(Timestamp(from)).filter(|tick| *tick < instant);
        // Back in growing strides until something lies between, then halving what is between.
        let mut stride = MINUTE_NS;
        let mut low = loop {
            match earlier(instant.0.checked_sub(stride)?) {
                Some(tick) => break tick.0,
                None if stride > LONGEST_REST_NS => return None,
                None => stride *= 4,
            }
        };
        let mut high = instant.0;
        while earlier(low).is_some() {
            let middle = low + (high - low) / 2;
            match earlier(middle) {
                Some(tick) => low = tick.0,
                None => high = middle,
            }
        }
        Some(Timestamp(low))
    }

    /// How often it fires after one instant and up to another, inclusive. Plain days are counted without being walked.
    pub fn count(&self, after: Timestamp, until: Timestamp) -> u64 {
        let mut count = 0;
        let mut at = after;
        while at < until {
            let (end, plain) = self.day_end(at, until);
            let mut tick = at;
            match plain {
                Some(times) => count += times,
                None => {
                    while let Some(next) = self.next_after(tick).filter(|next| *next <= end) {
                        (tick, count) = (next, count + 1);
                    }
                }
            }
            at = end;
        }
        count
    }

    /// The last instant of the day that begins or goes on after `at`, at most `until`; and how often the expression
    /// fires until then if that is a whole day of 24 hours in which the offset does not change.
    fn day_end(&self, at: Timestamp, until: Timestamp) -> (Timestamp, Option<u64>) {
        let begin = Timestamp(at.0 + 1);
        let local = self.zone.to_datetime(jiff(begin));
        let midnight = local.date().tomorrow().ok().map(|date| date.at(0, 0, 0, 0));
        let next = midnight.and_then(|midnight| from_jiff(self.zone.to_ambiguous_timestamp(midnight).later().ok()?));
        let Some(next) = next.filter(|next| *next > begin && next.0 - 1 <= until.0) else { return (until, None) };
        let end = Timestamp(next.0 - 1);
        let whole = next.0 - begin.0 == DAY_NS && local.time() == jiff::civil::Time::midnight();
        let calm = || self.zone.following(jiff(at)).next().is_none_or(|change| change.timestamp() > jiff(end));
        (end, (whole && calm()).then(|| self.expression.times_on(local.date())))
    }

    /// For expressions that follow the clock on the wall: from one change of the offset to the next.
    fn next_shown(&self, instant: Timestamp) -> Option<Timestamp> {
        let mut from = jiff(instant);
        let mut offset = self.zone.to_offset(from);
        let mut changes = self.zone.following(from);
        loop {
            let local = self.expression.next_after(offset.to_datetime(from))?;
            let tick = offset.to_timestamp(local).ok()?;
            match changes.next() {
                Some(change) if change.timestamp() <= tick => {
                    offset = change.offset();
                    // The instant of the change itself is not left out.
                    from = change.timestamp().checked_sub(jiff::SignedDuration::from_nanos(1)).ok()?;
                }
                _ => return from_jiff(tick),
            }
        }
    }

    /// For expressions that name their hours: of the minutes that the clock has not shown yet, the first.
    fn next_named(&self, instant: Timestamp) -> Option<Timestamp> {
        let mut local = self.zone.to_datetime(jiff(instant));
        loop {
            local = self.expression.next_after(local)?;
            let tick = self.first_shown(local)?;
            // Otherwise the clock has been set back, and shows for the second time what it showed before.
            if tick > instant {
                return Some(tick);
            }
        }
    }

    /// The first instant at which the clock shows this or, in a gap, the first instant after the gap.
    fn first_shown(&self, local: DateTime) -> Option<Timestamp> {
        let at = |offset: Offset| offset.to_timestamp(local).ok();
        match self.zone.to_ambiguous_timestamp(local).offset() {
            AmbiguousOffset::Unambiguous { offset } => from_jiff(at(offset)?),
            AmbiguousOffset::Fold { before, .. } => from_jiff(at(before)?),
            AmbiguousOffset::Gap { before, .. } => {
                let beyond = at(before)?.checked_add(jiff::SignedDuration::from_secs(1)).ok()?;
                from_jiff(self.zone.preceding(beyond).next()?.timestamp())
            }
        }
    }
}

fn jiff(instant: Timestamp) -> jiff::Timestamp {
    jiff::Timestamp::from_nanosecond(i128::from(instant.0)).expect("64 bits of nanoseconds end in 2262")
}

fn from_jiff(instant: jiff::Timestamp) -> Option<Timestamp> {
    i64::try_from(instant.as_nanosecond()).ok().map(Timestamp)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        let full = if text.contains('T') { format!("{text}:00Z") } else { format!("{text}T00:00:00Z") };
        from_jiff(full.parse().unwrap()).unwrap()
    }

    #[test]
    fn changes_of_the_clock() {
        for (zone, expression, after, expected) in [
            // From 02:00 to 03:00 on 29 March at 01:00Z.
            ("Europe/Berlin", "30 2 * * *", "2026-03-28", ["03-28T01:30", "03-29T01:00", "03-30T00:30"]),
            ("Europe/Berlin", "*/20 2 * * *", "2026-03-28T01:30", ["03-28T01:40", "03-29T01:00", "03-30T00:00"]),
            ("Europe/Berlin", "0 2,3 * * *", "2026-03-28T01:30", ["03-28T02:00", "03-29T01:00", "03-30T00:00"]),
            ("Europe/Berlin", "0 3 * * *", "2026-03-28", ["03-28T02:00", "03-29T01:00", "03-30T01:00"]),
            ("Europe/Berlin", "0 * * * *", "2026-03-28T23:30", ["03-29T00:00", "03-29T01:00", "03-29T02:00"]),
            ("Europe/Berlin", "30 * * * *", "2026-03-29", ["03-29T00:30", "03-29T01:30", "03-29T02:30"]),
            ("Europe/Berlin", "0 */2 * * *", "2026-03-28T22:30", ["03-28T23:00", "03-29T02:00", "03-29T04:00"]),
            // From 03:00 to 02:00 on 25 October at 01:00Z.
            ("Europe/Berlin", "30 2 * * *", "2026-10-24", ["10-24T00:30", "10-25T00:30", "10-26T01:30"]),
            ("Europe/Berlin", "*/30 2 * * *", "2026-10-24T23:59", ["10-25T00:00", "10-25T00:30", "10-26T01:00"]),
            ("Europe/Berlin", "0 3 * * *", "2026-10-24", ["10-24T01:00", "10-25T02:00", "10-26T02:00"]),
            ("Europe/Berlin", "30 * * * *", "2026-10-25", ["10-25T00:30", "10-25T01:30", "10-25T02:30"]),
            ("Europe/Berlin", "30 0-23 * * *", "2026-10-25", ["10-25T00:30", "10-25T01:30", "10-25T02:30"]),
            ("Europe/Berlin", "0 */2 * * *", "2026-10-24T23:00", ["10-25T00:00", "10-25T01:00", "10-25T03:00"]),
            // In the hour that comes twice, looking on from its second half.
            ("Europe/Berlin", "45 2 * * *", "2026-10-25T01:15", ["10-26T01:45", "10-27T01:45", "10-28T01:45"]),
            (
                "Europe/Berlin",
                "0 0 25 10 *",
                "2026-10-25T01:15",
                ["2027-10-24T22:00", "2028-10-24T22:00", "2029-10-24T22:00"],
            ),
            // From 02:00 to 03:00 on 8 March at 07:00Z, from 02:00 to 01:00 on 1 November at 06:00Z.
            ("America/New_York", "30 2 * * *", "2026-03-07", ["03-07T07:30", "03-08T07:00", "03-09T06:30"]),
            ("America/New_York", "30 1 * * *", "2026-10-31", ["10-31T05:30", "11-01T05:30", "11-02T06:30"]),
            ("America/New_York", "*/30 * * * sun", "2026-11-01T05:00", ["11-01T05:30", "11-01T06:00", "11-01T06:30"]),
            // Never changes.
            ("Asia/Tokyo", "0 8 * * mon-fri", "2026-11-19", ["11-19T23:00", "11-22T23:00", "11-23T23:00"]),
            ("UTC", "@daily", "2026-11-19", ["11-20", "11-21", "11-22"]),
            // From 02:00 to 01:30 on 5 April at 15:00Z (4 April), from 02:00 to 02:30 on 4 October at 15:30Z (3 October).
            ("Australia/Lord_Howe", "45 1 * * *", "2026-04-04", ["04-04T14:45", "04-05T15:15", "04-06T15:15"]),
            ("Australia/Lord_Howe", "45 * * * *", "2026-04-04T14:30", ["04-04T14:45", "04-04T15:15", "04-04T16:15"]),
            ("Australia/Lord_Howe", "15 2 * * *", "2026-10-02", ["10-02T15:45", "10-03T15:30", "10-04T15:15"]),
            ("Australia/Lord_Howe", "0 * * * *", "2026-10-03T14:00", ["10-03T14:30", "10-03T16:00", "10-03T17:00"]),
            // From 01:00 to 00:00 on 25 October at 01:00Z: midnight comes twice.
            ("Atlantic/Azores", "30 0 * * *", "2026-10-24", ["10-24T00:30", "10-25T00:30", "10-26T01:30"]),
            // Midnight itself is left out on 24 April.
            ("Africa/Cairo", "0 0 * * *", "2026-04-23", ["04-23T22:00", "04-24T21:00", "04-25T21:00"]),
        ] {
            let cron = Cron::new(expression, zone).unwrap();
            let expected = expected.map(|t| if t.starts_with("20") { at(t) } else { at(&format!("2026-{t}")) });
            let mut from = at(after);
            for tick in expected {
                assert_eq!(cron.next_after(from), Some(tick), "{zone} {expression} after {from}, not {tick}");
                assert_eq!(
                    cron.next_after(Timestamp(tick.0 - 1)),
                    Some(tick),
                    "{zone} {expression} just before {tick}"
                );
                from = tick;
            }
            assert_eq!(cron.previous(expected[2]), Some(expected[1]), "{zone} {expression}");
            assert_eq!(cron.previous(Timestamp(expected[1].0 + 1)), Some(expected[1]), "{zone} {expression}");
            assert_eq!(cron.count(at(after), expected[2]), 3, "{zone} {expression}");
        }
    }

    #[test]
    fn time_ends() {
        let cron = Cron::new("0 0 29 2 mon", "UTC").unwrap();
        let (first, last) = (Timestamp(i64::MIN), Timestamp(i64::MAX));
        assert_eq!(cron.next_after(last), None);
        assert_eq!(cron.previous(first), None);
        assert_eq!(cron.previous(cron.next_after(first).unwrap()), None);
        let rare = Cron::new("0 0 29 2 */7", "UTC").unwrap();
        assert_eq!(rare.next_after(at("2088-03-01")), Some(at("2128-02-29")));
        assert_eq!(rare.previous(at("2128-02-29")), Some(at("2088-02-29")));
        assert_eq!(rare.next_after(at("2256-03-01")), None);
    }

    #[test]
    fn long_times_are_counted_by_days() {
        let cron = Cron::new("* * * * *", "Europe/Berlin").unwrap();
        assert_eq!(cron.count(at("1996-01-01"), at("2126-01-01")), 47_482 * 1_440);
        let cron = Cron::new("*/5 8-18 * * mon-fri", "America/New_York").unwrap();
        assert_eq!(cron.count(at("2026-01-01"), at("2027-01-01")), 261 * 11 * 12);
    }

    #[test]
    fn unknown_zones_are_named() {
        let error = Cron::new("@daily", "Europe/Berln").unwrap_err().to_string();
        assert_eq!(
            error,
            "time zone `Europe/Berln` is not in the IANA database; write for instance `Europe/Berlin` or `UTC`"
        );
    }
}
