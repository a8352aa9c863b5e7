//! The five fields of a cron expression: from their text to sets of minutes, hours, days, months and weekdays.

use jiff::civil::{Date, DateTime};
use roundsman_model::name::excerpt;

use crate::error::CronError;

/// The last year that a timestamp in nanoseconds reaches: no search goes on beyond it.
const LAST_YEAR: i16 = 2262;

/// All hours of a day.
const ALL_HOURS: u64 = (1 << 24) - 1;

/// The most days that each month ever has.
const LONGEST: [(u32, &str); 12] = [
    (31, "January"),
    (29, "February"),
    (31, "March"),
    (30, "April"),
    (31, "May"),
    (30, "June"),
    (31, "July"),
    (31, "August"),
    (30, "September"),
    (31, "October"),
    (30, "November"),
    (31, "December"),
];

/// What an expression says of the clock on the wall and the calendar, without a time zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Expression {
    minutes: u64,
    hours: u64,
    days: u64,
    months: u64,
    weekdays: u64,
    /// The hours begin with `*`, or name all of them.
    every_hour: bool,
    /// Both days and weekdays are restricted: one of them is enough. Otherwise both have to fit, as in Vixie cron.
    either_day: bool,
}

/// What may stand in a field.
struct Field {
    name: &'static str,
    low: u32,
    high: u32,
    words: &'static [&'static str],
}

const MINUTE: Field = Field { name: "minute", low: 0, high: 59, words: &[] };
const HOUR: Field = Field { name: "hour", low: 0, high: 23, words: &[] };
const DAY: Field = Field { name: "day of month", low: 1, high: 31, words: &[] };
const MONTH: Field = Field {
    name: "month",
    low: 1,
    high: 12,
    words: &["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"],
};
/// Sunday is 0, and also 7.
const WEEKDAY: Field =
    Field { name: "day of week", low: 0, high: 7, words: &["sun", "mon", "tue", "wed", "thu", "fri", "sat"] };

impl Expression {
    pub(crate) fn parse(text: &str) -> Result<Self, CronError> {
        let lower = text.trim().to_ascii_lowercase();
        let long = if lower.starts_with('@') { short_form(&lower)? } else { &lower };
        let fields: Vec<&str> = long.split_ascii_whitespace().collect();
        let &[minute, hour, day, month, weekday] = fields.as_slice() else {
            return Err(CronError::Fields { expression: excerpt(&lower), found: fields.len() });
        };
        let set = |field: &Field, text: &str| {
            field.parse(text).map_err(|(part, hint)| CronError::Part {
                expression: excerpt(&lower),
                field: field.name,
                part: excerpt(part),
                hint,
            })
        };
        let (hours, weekdays) = (set(&HOUR, hour)?, set(&WEEKDAY, weekday)?);
        let parsed = Self {
            minutes: set(&MINUTE, minute)?,
            hours,
            days: set(&DAY, day)?,
            months: set(&MONTH, month)?,
            weekdays: (weekdays | weekdays >> 7) & 0x7f,
            every_hour: hour.starts_with('*') || hours == ALL_HOURS,
            either_day: !day.starts_with('*') && !weekday.starts_with('*'),
        };
        parsed.fires_ever().map_err(|reason| CronError::Never { expression: excerpt(&lower), reason })?;
        Ok(parsed)
    }

    /// Whether it follows the clock on the wall through a change of the time zone's offset, rather than naming hours.
    pub(crate) fn every_hour(&self) -> bool {
        self.every_hour
    }

    /// How often it fires on a day of 24 hours.
    pub(crate) fn times_on(&self, date: Date) -> u64 {
        if self.fits(date) { u64::from(self.minutes.count_ones()) * u64::from(self.hours.count_ones()) } else { 0 }
    }

    /// The first minute after this moment, on the wall clock, that fits.
    pub(crate) fn next_after(&self, moment: DateTime) -> Option<DateTime> {
        let (hour, minute) = (number(moment.hour()), number(moment.minute()));
        let mut date = moment.date();
        let mut time = None;
        if self.fits(date) {
            let later_minute = above(self.minutes, minute).filter(|_| self.hours & (1 << hour) != 0);
            let later_hour = || above(self.hours, hour).map(|hour| (hour, self.minutes.trailing_zeros()));
            time = later_minute.map(|minute| (hour, minute)).or_else(later_hour);
        }
        if time.is_none() {
            date = self.day_after(date)?;
        }
        let (hour, minute) = time.unwrap_or((self.hours.trailing_zeros(), self.minutes.trailing_zeros()));
        Some(date.at(small(hour), small(minute), 0, 0))
    }

    /// The first day after this one that fits.
    fn day_after(&self, date: Date) -> Option<Date> {
        let mut date = date.tomorrow().ok()?;
        while !self.fits(date) {
            let whole_month = self.months & (1 << date.month()) == 0;
            date = if whole_month { date.last_of_month() } else { date }.tomorrow().ok()?;
            if date.year() > LAST_YEAR {
                return None;
            }
        }
        Some(date)
    }

    fn fits(&self, date: Date) -> bool {
        let day = self.days & (1 << date.day()) != 0;
        let weekday = self.weekdays & (1 << date.weekday().to_sunday_zero_offset()) != 0;
        self.months & (1 << date.month()) != 0 && if self.either_day { day || weekday } else { day && weekday }
    }

    /// Every weekday falls on every day of the calendar at some time, so that only days without a month are hopeless.
    fn fires_ever(&self) -> Result<(), String> {
        let months = || (1_u32..).zip(LONGEST).filter(|(month, _)| self.months & (1 << month) != 0);
        let first = self.days.trailing_zeros();
        if self.either_day || months().any(|(_, (longest, _))| first <= longest) {
            return Ok(());
        }
        let reasons: Vec<String> =
            months().map(|(_, (longest, name))| format!("{name} has at most {longest} days")).collect();
        Err(reasons.join(", "))
    }
}

impl Field {
    /// The set of a field; otherwise the part that is wrong, and what to write.
    fn parse<'t>(&self, text: &'t str) -> Result<u64, (&'t str, String)> {
        let mut set = 0;
        for part in text.split(',') {
            let (range, step) = match part.split_once('/') {
                None => (part, None),
                Some((range, step)) => (range, Some(self.step(step).map_err(|hint| (part, hint))?)),
            };
            let (low, high) = self.range(range, step.is_some()).map_err(|hint| (part, hint))?;
            set = (low..=high).step_by(step.unwrap_or(1)).fold(set, |set, value| set | 1 << value);
        }
        Ok(set)
    }

    fn range(&self, text: &str, stepped: bool) -> Result<(u32, u32), String> {
        if text == "*" {
            return Ok((self.low, self.last()));
        }
        let Some((low, high)) = text.split_once('-') else {
            let value = self.value(text)?;
            let open = format!("a step needs a range, for instance `{value}-{}/2`", self.last());
            return if stepped { Err(open) } else { Ok((value, value)) };
        };
        let (low, mut high) = (self.value(low)?, self.value(high)?);
        // `fri-sun` ends with the Sunday that is 7.
        if self.high == 7 && high == 0 && low > 0 {
            high = 7;
        }
        let wrapped = || format!("the range ends before it begins; write `{low}-{},{}-{high}`", self.last(), self.low);
        if low <= high { Ok((low, high)) } else { Err(wrapped()) }
    }

    fn value(&self, text: &str) -> Result<u32, String> {
        if let Some(at) = (self.low..).zip(self.words).find(|(_, word)| **word == text) {
            return Ok(at.0);
        }
        let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        let value = text.parse().ok().filter(|value| digits && (self.low..=self.high).contains(value));
        value.ok_or_else(|| {
            let words = self.words.first().zip(self.words.last());
            let words = words.map(|(first, last)| format!(" or {first} to {last}")).unwrap_or_default();
            format!("write {} to {}{words}, a list, a range or `*`", self.low, self.high)
        })
    }

    fn step(&self, text: &str) -> Result<usize, String> {
        let most = (self.last() - self.low + 1) as usize;
        let digits = text.bytes().all(|b| b.is_ascii_digit());
        let step = text.parse().ok().filter(|step| digits && (1..=most).contains(step));
        step.ok_or_else(|| format!("a step is 1 to {most}; for a longer time between runs use `interval:`"))
    }

    /// The greatest value that `*` stands for: the second number of Sunday is none of its own.
    fn last(&self) -> u32 {
        if self.high == 7 { 6 } else { self.high }
    }
}

fn short_form(text: &str) -> Result<&'static str, CronError> {
    let hint = match text {
        "@hourly" => return Ok("0 * * * *"),
        "@daily" | "@midnight" => return Ok("0 0 * * *"),
        "@weekly" => return Ok("0 0 * * 0"),
        "@monthly" => return Ok("0 0 1 * *"),
        "@yearly" | "@annually" => return Ok("0 0 1 1 *"),
        every if every.starts_with("@every") => "use `interval:`",
        _ => "write @hourly, @daily, @midnight, @weekly, @monthly, @yearly or @annually",
    };
    Err(CronError::ShortForm { expression: excerpt(text), hint })
}

/// The least member of a set that is greater than a value below 64.
fn above(set: u64, value: u32) -> Option<u32> {
    let rest = set & (u64::MAX << value << 1);
    (rest != 0).then(|| rest.trailing_zeros())
}

fn number(part: i8) -> u32 {
    u32::try_from(part).expect("hours and minutes are not negative")
}

fn small(part: u32) -> i8 {
    i8::try_from(part).expect("hours and minutes are below 64")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bits(values: impl IntoIterator<Item = u32>) -> u64 {
        values.into_iter().fold(0, |set, value| set | 1 << value)
    }

    #[test]
    fn fields() {
        for (field, text, expected) in [
            (&MINUTE, "*", bits(0..=59)),
            (&MINUTE, "*/15", bits([0, 15, 30, 45])),
            (&MINUTE, "3,10-12,50-59/3", bits([3, 10, 11, 12, 50, 53, 56, 59])),
            (&MINUTE, "*/60", bits([0])),
            (&HOUR, "0-23", ALL_HOURS),
            (&DAY, "*/10", bits([1, 11, 21, 31])),
            (&MONTH, "jan-mar,dec", bits([1, 2, 3, 12])),
            (&WEEKDAY, "mon-fri", bits(1..=5)),
            (&WEEKDAY, "fri-sun", bits(5..=7)),
            (&WEEKDAY, "*", bits(0..=6)),
            (&WEEKDAY, "7", bits([7])),
        ] {
            assert_eq!(field.parse(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn days_of_the_week() {
        for text in ["sun", "0", "7", "0,7", "sun-sun"] {
            assert_eq!(Expression::parse(&format!("0 0 * * {text}")).unwrap().weekdays, 1, "{text}");
        }
        assert_eq!(Expression::parse("0 0 * * SAT-sun").unwrap().weekdays, bits([0, 6]));
    }

    #[test]
    fn errors_say_what_to_write() {
        for (text, expected) in [
            ("* * * *", "has 4 fields; write five"),
            ("", "has 0 fields"),
            ("0 */5 * * * *", "has 6 fields"),
            ("60 * * * *", "`60` is no minute: write 0 to 59, a list"),
            ("* 24 * * *", "`24` is no hour: write 0 to 23"),
            ("* * 0 * *", "`0` is no day of month: write 1 to 31"),
            ("* * * 13 *", "`13` is no month: write 1 to 12 or jan to dec"),
            ("* * * * 8", "`8` is no day of week: write 0 to 7 or sun to sat"),
            ("* * * * monday", "`monday` is no day of week"),
            ("1,,2 * * * *", "`` is no minute"),
            ("+5 * * * *", "`+5` is no minute"),
            ("5/15 * * * *", "a step needs a range, for instance `5-59/2`"),
            ("*/0 * * * *", "a step is 1 to 60"),
            ("*/90 * * * *", "a step is 1 to 60"),
            ("*/+5 * * * *", "a step is 1 to 60"),
            ("* 22-4 * * *", "the range ends before it begins; write `22-23,0-4`"),
            ("* * L * *", "`l` is no day of month"),
            ("@reboot", "write @hourly, @daily"),
            ("@every 5m", "use `interval:`"),
            ("0 0 30 2 *", "never fires: February has at most 29 days"),
            ("0 0 31 4,6 *", "never fires: April has at most 30 days, June has at most 30 days"),
            ("0 0 31 feb */2", "never fires"),
        ] {
            let error = Expression::parse(text).unwrap_err().to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }

    #[test]
    fn rare_days_are_no_error() {
        for text in ["0 0 29 2 *", "0 0 31 * *", "0 0 31 2 mon", "0 0 30 2,3 *", "0 0 29 feb */7"] {
            let from = jiff::civil::date(2026, 1, 1).at(0, 0, 0, 0);
            assert!(Expression::parse(text).unwrap().next_after(from).is_some(), "{text}");
        }
    }

    #[test]
    fn the_calendar() {
        for (text, from, expected) in [
            ("*/5 8-18 * * mon-fri", "2026-11-20T18:55", "2026-11-23T08:00"),
            ("*/5 8-18 * * mon-fri", "2026-11-20T08:04", "2026-11-20T08:05"),
            ("0 0 29 2 *", "2028-02-29T00:00", "2032-02-29T00:00"),
            ("0 0 29 2 *", "2096-02-29T00:00", "2104-02-29T00:00"),
            ("59 23 31 12 *", "2026-12-31T23:59", "2027-12-31T23:59"),
            ("@weekly", "2026-11-20T00:00", "2026-11-22T00:00"),
            ("@yearly", "2026-11-20T00:00", "2027-01-01T00:00"),
            // Both days restricted: either will do. One begins with a star: both have to fit.
            ("0 0 13 * fri", "2026-11-20T12:00", "2026-11-27T00:00"),
            ("0 0 13 * fri", "2026-12-11T12:00", "2026-12-13T00:00"),
            ("0 0 */2 * fri", "2026-11-20T12:00", "2026-11-27T00:00"),
            ("0 0 13 * */5", "2026-11-20T12:00", "2026-12-13T00:00"),
        ] {
            let next = Expression::parse(text).unwrap().next_after(from.parse().unwrap());
            assert_eq!(next, Some(expected.parse().unwrap()), "{text} after {from}");
        }
    }
}
