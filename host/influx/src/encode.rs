//! From rows of the store to lines of InfluxDB's line protocol: pure, and the same bytes for the same row, always.
//!
//! A row names the version of the encoder that writes its lines, so that a line sent again is the same bytes also
//! after an upgrade. Whoever changes what this file, `tags` or `escape` write must keep the old form under its number.
//!
//! - `check`: one line per record; fields `up` (1 for ok and warning, 0 for critical; absent where nothing is known of
//!   the target: blame is not the target, or the status is unknown), `status`, `state`, `latency_ms` when there is one,
//!   `duration_ms`, `lag_ms`, `interval_s`, `attempt`, `blame`, `summary`, `code` when there is one, `suspect` (true)
//!   when this node's own way out was down
//! - one line per plugin point, measurement = series; booleans are 0 and 1; what is not finite is left out, a point
//!   without fields too; names that are taken or not safe go by the rule in `tags`
//! - `finding`: fields `subject`, `status`, `summary`
//! - `transition`: fields `from`, `to`, `since` (ns since 1970), `summary`, `quiet` (why it alarms nobody) when it does
//!   not, `finding` (what changed of all that the check looks at) when it is not the check's own state
//!
//! Lines of one record with equal measurement and tags would replace each other: the i-th gets + i ns. Transitions have
//! an instant of their own from the store.

use std::borrow::Cow;
use std::collections::HashMap;
use std::io::Write;

use roundsman_model::name::{BUILT_IN, RESERVED_SERIES};
use roundsman_model::record::{Blame, Finding, Point, Record, Status, Value};
use roundsman_model::time::Timestamp;
use roundsman_store::TransitionRow;

use crate::escape;
use crate::tags::{RowTags, free_name};

/// The version that this file writes; rows carry it.
pub const ENCODER_VERSION: u16 = 1;

/// Most fields of one line: 3.x allows a table 500 columns, tags and all.
const MAX_FIELDS: usize = 400;

/// Whether rows of this version can be encoded here; a newer agent may have written the store before a downgrade.
pub fn knows(version: u16) -> bool {
    version == ENCODER_VERSION
}

/// Appends the lines of a record; tells how many.
pub fn record<'a>(tags: impl IntoIterator<Item = (&'a str, &'a str)>, record: &Record, out: &mut Vec<u8>) -> usize {
    let tags = RowTags::new(tags);
    check_line(&tags, record, out);
    let mut seen = Seen::new(record.points.len());
    let own = record.plugin.as_str() == BUILT_IN;
    let points =
        record.points.iter().filter(|point| point_line(&tags, point, own, record.time, &mut seen, out)).count();
    for (i, finding) in record.findings.iter().enumerate() {
        finding_line(&tags, finding, later(record.time, i), out);
    }
    1 + points + record.findings.len()
}

/// Appends the line of a hard change; tells how many lines: one.
pub fn transition(row: &TransitionRow, out: &mut Vec<u8>) -> usize {
    let change = &row.change;
    let mut line = Line::begin("transition", &RowTags::new(row.tags.iter()), out);
    line.integer("from", change.from as i64);
    line.integer("to", change.to as i64);
    line.integer("since", change.since.0);
    line.text("summary", &row.summary);
    if let Some(quiet) = change.quiet {
        line.text("quiet", quiet.as_str());
    }
    if let Some(finding) = &row.finding {
        line.text("finding", finding);
    }
    line.end(row.time);
    1
}

fn check_line(tags: &RowTags<'_>, record: &Record, out: &mut Vec<u8>) {
    let mut line = Line::begin("check", tags, out);
    if let Some(up) = up(record) {
        line.integer("up", up);
    }
    line.integer("status", record.status as i64);
    line.integer("state", record.standing.state as i64);
    if let Some(latency_ns) = record.latency_ns {
        line.real("latency_ms", ms(latency_ns));
    }
    line.real("duration_ms", ms(record.duration_ns));
    line.real("lag_ms", ms(record.lag_ns));
    line.real("interval_s", record.interval_ns as f64 / 1e9);
    line.integer("attempt", i64::from(record.attempt));
    line.text("blame", record.blame.as_str());
    line.text("summary", &record.summary);
    if let Some(code) = &record.code {
        line.text("code", code);
    }
    if record.suspect {
        line.truth("suspect");
    }
    line.end(record.time);
}

/// Whether the target is up; none when the record says nothing of it.
fn up(record: &Record) -> Option<i64> {
    match (record.blame, record.status) {
        (Blame::Target, Status::Ok | Status::Warning) => Some(1),
        (Blame::Target, Status::Critical) => Some(0),
        (Blame::Target, Status::Unknown) | (Blame::Plugin | Blame::Host, _) => None,
    }
}

fn finding_line(tags: &RowTags<'_>, finding: &Finding, time: Timestamp, out: &mut Vec<u8>) {
    let mut line = Line::begin("finding", tags, out);
    line.text("subject", &finding.subject);
    line.integer("status", finding.status as i64);
    line.text("summary", &finding.summary);
    line.end(time);
}

/// False, and nothing appended, when nothing of the point can be written. `own`: it is of the agent itself.
fn point_line(
    tags: &RowTags<'_>,
    point: &Point,
    own: bool,
    time: Timestamp,
    seen: &mut Seen,
    out: &mut Vec<u8>,
) -> bool {
    let taken = |name: &str| !own && RESERVED_SERIES.contains(&name);
    let Some(measurement) = free_name(&point.series, "series_", taken) else { return false };
    let start = out.len();
    out.extend_from_slice(measurement.as_bytes());
    let own = tags.write_with(point.tags.iter().map(|(key, value)| (key.as_str(), value.as_str())), out);
    let key_end = out.len();
    let mut line = Line { out, empty: true };
    let mut names: Vec<Cow<'_, str>> = Vec::with_capacity(point.fields.len());
    for (name, value) in &point.fields {
        let Some(name) = free_name(name, "field_", |name| tags.takes(&own, name)) else { continue };
        if names.len() < MAX_FIELDS && !names.contains(&name) && line.value(&name, value) {
            names.push(name);
        }
    }
    if line.empty {
        out.truncate(start);
        return false;
    }
    let i = seen.count(&out[start..key_end]);
    Line { out, empty: false }.end(later(time, i));
    true
}

/// How many lines of a record had which measurement and tags. One point cannot collide, so it is not looked at.
struct Seen(Option<HashMap<Box<[u8]>, usize>>);

impl Seen {
    fn new(points: usize) -> Self {
        Self((points > 1).then(HashMap::new))
    }

    /// How often this key came before.
    fn count(&mut self, key: &[u8]) -> usize {
        let Some(counts) = &mut self.0 else { return 0 };
        if let Some(count) = counts.get_mut(key) {
            *count += 1;
            return *count;
        }
        counts.insert(key.into(), 0);
        0
    }
}

/// A line that is being written.
struct Line<'a> {
    out: &'a mut Vec<u8>,
    empty: bool,
}

impl<'a> Line<'a> {
    fn begin(measurement: &str, tags: &RowTags<'_>, out: &'a mut Vec<u8>) -> Self {
        out.extend_from_slice(measurement.as_bytes());
        tags.write(out);
        Self { out, empty: true }
    }

    fn name(&mut self, name: &str) {
        self.out.push(if self.empty { b' ' } else { b',' });
        self.empty = false;
        self.out.extend_from_slice(name.as_bytes());
        self.out.push(b'=');
    }

    fn integer(&mut self, name: &str, value: i64) {
        self.name(name);
        escape::integer(value, self.out);
    }

    fn real(&mut self, name: &str, value: f64) {
        self.name(name);
        escape::real(value, self.out);
    }

    fn text(&mut self, name: &str, value: &str) {
        self.name(name);
        escape::text(value, self.out);
    }

    /// A word that is there only when it is true: nothing to count or to average.
    fn truth(&mut self, name: &str) {
        self.name(name);
        self.out.extend_from_slice(b"true");
    }

    /// False, and nothing written, when the value has no portable form.
    fn value(&mut self, name: &str, value: &Value) -> bool {
        let (start, empty) = (self.out.len(), self.empty);
        self.name(name);
        let written = escape::value(value, self.out);
        if !written {
            self.out.truncate(start);
            self.empty = empty;
        }
        written
    }

    fn end(self, time: Timestamp) {
        writeln!(self.out, " {}", time.0).expect("writing to memory cannot fail");
    }
}

fn ms(ns: u64) -> f64 {
    ns as f64 / 1e6
}

fn later(time: Timestamp, by_ns: usize) -> Timestamp {
    Timestamp(time.0.saturating_add(i64::try_from(by_ns).unwrap_or(i64::MAX)))
}

#[cfg(test)]
mod holds;
#[cfg(test)]
mod tests;
