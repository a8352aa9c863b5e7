//! When a check is due: `interval`, `cron`, `ttl` or `at`, and what goes with each of them.

use std::ops::RangeInclusive;
use std::time::Duration;

use roundsman_model::check::{CatchUp, Maintenance, Timing};
use roundsman_schedule::error::CronError;
use roundsman_schedule::grid::Grid;

use crate::checks::check::{DAY, INTERVALS, Role};
use crate::config::read::{Fields, Value, Walk};

/// Below a second nobody could push in time; a month without a word is no check.
const TTLS: RangeInclusive<Duration> = Duration::from_secs(1)..=DAY.saturating_mul(31);
/// Beyond nine tenths a tick could come together with the next one.
const JITTERS: RangeInclusive<u8> = 0..=90;
/// Below a second the run could hardly begin in time; later than a month it catches up with nothing.
const CATCH_UP_DEADLINES: RangeInclusive<Duration> = Duration::from_secs(1)..=DAY.saturating_mul(31);
/// Cron knows minutes; what rests longer than a month is switched off with `enabled: false`.
const MAINTENANCE_LENGTHS: RangeInclusive<Duration> = Duration::from_mins(1)..=DAY.saturating_mul(31);
/// Each is asked before every run.
const MAX_MAINTENANCE: usize = 32;
/// The one zone in which no hour is missing or doubled.
const DEFAULT_ZONE: &str = "UTC";
/// Keys of which a check has exactly one.
pub(super) const TIMINGS: [&str; 4] = ["interval", "cron", "ttl", "at"];

/// Everything about time that depends on how the check is due.
pub(super) struct Time {
    pub(super) timing: Option<Timing>,
    pub(super) jitter_percent: u8,
    pub(super) catch_up: CatchUp,
    pub(super) maintenance: Vec<Maintenance>,
}

/// Which of the four keys is there, and whether its value can be used.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Kind {
    Interval,
    Cron,
    Ttl,
    Start,
    /// `defaults:`, whose keys are for checks of every kind, or a check of which it was told that it has none.
    Unknown,
}

/// Reads the keys; what belongs to another way of being due is refused where the check itself writes it, and left out
/// of account where it comes from the defaults.
pub(super) fn read(fields: &mut Fields<'_>, role: Role, walk: &mut Walk) -> (Time, Kind) {
    let written = fields.one_of(TIMINGS, walk);
    tell_several(&written, walk);
    let kinds = [Kind::Interval, Kind::Cron, Kind::Ttl, Kind::Start];
    let first = written.iter().zip(kinds).find(|(value, _)| value.is_some()).map(|(_, kind)| kind);
    let kind = first.filter(|_| role == Role::Check).unwrap_or(Kind::Unknown);
    let zone = zone(fields, role, kind, walk);
    let maintenance = maintenance(fields, zone.as_ref(), walk);
    let [interval, cron, ttl, at] = written;
    let timing = match (interval, cron, ttl, at) {
        (Some(interval), ..) => interval.duration(walk, INTERVALS).map(Timing::Interval),
        (None, Some(cron), ..) => {
            read_cron(&cron, zone.as_ref(), walk).map(|(expression, timezone)| Timing::Cron { expression, timezone })
        }
        (None, None, Some(ttl), _) => ttl.duration(walk, TTLS).map(Timing::Ttl),
        (None, None, None, Some(at)) => at.word(walk, &[("start", ())]).map(|()| Timing::Start),
        (None, None, None, None) => None,
    };
    // What a `ttl` has no use for is refused by whoever reads the rest of its keys.
    let jitter = match kind {
        Kind::Interval | Kind::Unknown => fields.get("jitter", walk).and_then(|v| v.percent(walk, JITTERS)),
        Kind::Cron | Kind::Start => {
            fields.refuse("jitter", "belongs to `interval`: nothing else has ticks that could be moved", walk);
            None
        }
        Kind::Ttl => None,
    };
    let catch_up = match kind {
        Kind::Interval | Kind::Cron | Kind::Unknown => catch_up(fields, role, walk),
        Kind::Start => {
            for key in ["catchUp", "catchUpDeadline"] {
                fields.refuse(key, "belongs to `interval` and `cron`: a run at the start cannot be missed", walk);
            }
            CatchUp::Skip
        }
        Kind::Ttl => CatchUp::Skip,
    };
    (Time { timing, jitter_percent: jitter.unwrap_or(0), catch_up, maintenance }, kind)
}

fn tell_several(written: &[Option<Value<'_>>], walk: &mut Walk) {
    let mut there = TIMINGS.iter().zip(written).filter_map(|(key, value)| Some((key, value.as_ref()?)));
    let Some((first, _)) = there.next() else { return };
    for (key, value) in there {
        walk.error(value, format!("a check has either `{first}` or `{key}`, not both"));
    }
}

/// Of `cron` and of the maintenance that names none.
fn zone<'n>(fields: &mut Fields<'n>, role: Role, kind: Kind, walk: &mut Walk) -> Option<Value<'n>> {
    let value = fields.get("timezone", walk)?;
    let used = kind == Kind::Cron || fields.peek("maintenance").is_some();
    if role == Role::Check && !used && fields.writes(&["timezone"]) {
        walk.error(&value, "`timezone` belongs to `cron` and `maintenance`: here is neither");
    }
    Some(value)
}

fn read_cron(cron: &Value<'_>, zone: Option<&Value<'_>>, walk: &mut Walk) -> Option<(String, String)> {
    let expression = cron.text(walk)?;
    let timezone = match zone {
        Some(value) => value.text(walk)?,
        None => DEFAULT_ZONE,
    };
    match Grid::cron(expression, timezone) {
        Ok(_) => Some((expression.to_owned(), timezone.to_owned())),
        Err(error) => {
            let place = match (&error, zone) {
                (CronError::TimeZone { .. }, Some(zone)) => zone,
                _ => cron,
            };
            walk.error(place, error.to_string());
            None
        }
    }
}

/// `catchUp` and `catchUpDeadline`; the deadline of the defaults is not meant by a check that skips.
fn catch_up(fields: &mut Fields<'_>, role: Role, walk: &mut Walk) -> CatchUp {
    let once = fields.get("catchUp", walk).and_then(|v| v.word(walk, &[("skip", false), ("once", true)]));
    let deadline = fields.get("catchUpDeadline", walk);
    let length = deadline.as_ref().and_then(|v| v.duration(walk, CATCH_UP_DEADLINES));
    if once == Some(true) {
        return CatchUp::Once { deadline: length };
    }
    if let Some(deadline) = deadline.filter(|_| role == Role::Check && fields.writes(&["catchUpDeadline"])) {
        walk.error_hint(&deadline, "`catchUpDeadline` needs `catchUp: once`: otherwise nothing is caught up", CATCH_UP);
    }
    CatchUp::Skip
}

const CATCH_UP: &str = "write `catchUp: once` beside it, or leave the key out";

fn maintenance(fields: &mut Fields<'_>, zone: Option<&Value<'_>>, walk: &mut Walk) -> Vec<Maintenance> {
    let Some(value) = fields.get("maintenance", walk) else { return Vec::new() };
    let items = value.list(walk).unwrap_or_default();
    if items.len() > MAX_MAINTENANCE {
        walk.error(&value, format!("{} entries are more than {MAX_MAINTENANCE}", items.len()));
    }
    items.iter().filter_map(|item| window(item, zone, walk)).collect()
}

fn window(item: &Value<'_>, zone: Option<&Value<'_>>, walk: &mut Walk) -> Option<Maintenance> {
    let mut fields = Fields::new(item.clone(), walk)?;
    let cron = fields.require("cron", walk);
    let length = fields.require("for", walk).and_then(|v| v.duration(walk, MAINTENANCE_LENGTHS));
    let own = fields.get("timezone", walk);
    fields.finish(walk);
    let (cron, timezone) = read_cron(&cron?, own.as_ref().or(zone), walk)?;
    Some(Maintenance { cron, timezone, length: length? })
}
