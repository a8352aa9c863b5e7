//! What the store gives back: rows of the history, positions in it, and how the body of a row is laid out.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use roundsman_model::counts::Counts;
use roundsman_model::findings::Findings;
use roundsman_model::key::Key;
use roundsman_model::name::{CheckName, PluginName};
use roundsman_model::record::{Blame, Finding, Origin, Point, Record, Status};
use roundsman_model::silence::Silence;
use roundsman_model::state::{Change, Standing};
use roundsman_model::supervision::Conduct;
use roundsman_model::time::Timestamp;
use serde::{Deserialize, Serialize};

use crate::entry::{Recorded, TagSet};

/// The version that rows get now: the layout of the body, and how lines are made of it. A row keeps its version for
/// life, and readers keep the old ones, so that a row that is sent again is the same bytes.
pub const ENCODER: u16 = 1;

/// A record as it stands in the history.
#[derive(Debug, Clone, PartialEq)]
pub struct RecordRow {
    /// Grows with every row and is never given twice.
    pub id: i64,
    pub tags: TagSet,
    pub encoder: u16,
    pub record: Record,
}

/// A hard change as it stands in the history.
#[derive(Debug, Clone, PartialEq)]
pub struct TransitionRow {
    /// Grows with every row and is never given twice.
    pub id: i64,
    pub key: Key,
    pub plugin: PluginName,
    pub tags: TagSet,
    pub encoder: u16,
    /// Its identity in its series, where it only grows: `change.at`, or some ns later for the second and further changes
    /// of that instant.
    pub time: Timestamp,
    /// What changed of all that the check looks at; none: where the (check, target) itself stands.
    pub finding: Option<Arc<str>>,
    pub change: Change,
    /// The summary of the record or finding that confirmed the change, or why it came without a record.
    pub summary: Arc<str>,
    /// The row of that record, which may be gone; 0: no record brought it about.
    pub record: i64,
}

/// A position in the outbox: the last row of each table that a destination has acknowledged.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cursor {
    pub record: i64,
    pub transition: i64,
}

/// A stretch of the outbox.
#[derive(Debug, Clone, PartialEq)]
pub struct Batch {
    /// In the order of their ids.
    pub records: Vec<RecordRow>,
    /// In the order of their ids.
    pub transitions: Vec<TransitionRow>,
    /// Where to go on once these are acknowledged. Equal to the cursor that was asked for: there is nothing more.
    pub next: Cursor,
}

/// Which rows to look for; the newest come first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Query {
    pub check: Option<CheckName>,
    /// The target's name; empty: the node itself.
    pub target: Option<Arc<str>>,
    /// Rows of this instant and later.
    pub since: Option<Timestamp>,
    /// Rows of this instant and earlier.
    pub until: Option<Timestamp>,
    /// Rows with an id below this one: the last id of the page before.
    pub before: Option<i64>,
    /// Of transitions: what they lead to.
    pub status: Option<Status>,
    /// At most so many rows, at least one, and never more than `MAX_ROWS`.
    pub limit: usize,
}

/// An answer to a `Query`: the newest rows first.
#[derive(Debug, Clone, PartialEq)]
pub struct Page<Row> {
    pub rows: Vec<Row>,
    /// All rows from this id on were looked at, and older ones were not: they are for a query with it as `before`. None:
    /// there is nothing older that was asked for. A page may hold few rows, or none, and still not be the last.
    pub searched_down_to: Option<i64>,
}

/// What is known of a (check, target) from before.
#[derive(Debug, Clone, PartialEq)]
pub struct Subject {
    pub key: Key,
    /// None: there was no record yet.
    pub standing: Option<Standing>,
    pub counts: Counts,
    /// The tick up to which `counts` know every fate; 0 when there was none.
    pub last_tick: Timestamp,
    /// The time of the newest record; the next one must be later. The lowest possible instant when there was none.
    pub high_water: Timestamp,
    pub last_status: Option<Status>,
}

/// What an opened store remembers.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Restored {
    /// In the order of their keys.
    pub subjects: Vec<Subject>,
    /// Where the findings of each (check, target) stand that has some.
    pub findings: HashMap<Key, Findings>,
    /// In the order of their ids.
    pub silences: Vec<Silence>,
    /// How plugins behaved, of those of which there is something to remember.
    pub conducts: HashMap<PluginName, Conduct>,
    /// Where each configured destination stands.
    pub cursors: Vec<(String, Cursor)>,
    /// Something that an operator should know: a damaged file was set aside, and under which name.
    pub note: Option<String>,
}

/// What stands in the column `body` of a record, in postcard's encoding. Instants are distances from the row's time.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Body<'a> {
    started: i64,
    origin: Origin,
    blame: Blame,
    #[serde(borrow)]
    code: Option<&'a str>,
    #[serde(borrow)]
    summary: &'a str,
    pub(crate) standing: Standing,
    attempt: u32,
    latency_ns: Option<u64>,
    duration_ns: u64,
    lag_ns: u64,
    cpu_ns: u64,
    interval_ns: u64,
    pub(crate) counts: Counts,
    last_tick: i64,
    suspect: bool,
    points: Cow<'a, [Point]>,
    findings: Cow<'a, [Finding]>,
}

impl<'a> Body<'a> {
    pub(crate) fn of(recorded: &'a Recorded) -> Self {
        let record = &recorded.record;
        Self {
            started: record.started.0.wrapping_sub(record.time.0),
            origin: record.origin,
            blame: record.blame,
            code: record.code.as_deref(),
            summary: &record.summary,
            standing: record.standing,
            attempt: record.attempt,
            latency_ns: record.latency_ns,
            duration_ns: record.duration_ns,
            lag_ns: record.lag_ns,
            cpu_ns: record.cpu_ns,
            interval_ns: record.interval_ns,
            counts: recorded.counts,
            last_tick: recorded.last_tick.0.wrapping_sub(record.time.0),
            suspect: record.suspect,
            points: Cow::Borrowed(&record.points),
            findings: Cow::Borrowed(&record.findings),
        }
    }

    pub(crate) fn last_tick(&self, time: Timestamp) -> Timestamp {
        Timestamp(self.last_tick.wrapping_add(time.0))
    }

    pub(crate) fn into_record(self, key: Key, plugin: PluginName, time: Timestamp, status: Status) -> Record {
        Record {
            key,
            plugin,
            origin: self.origin,
            time,
            started: Timestamp(self.started.wrapping_add(time.0)),
            status,
            blame: self.blame,
            code: self.code.map(Arc::from),
            summary: self.summary.into(),
            standing: self.standing,
            attempt: self.attempt,
            latency_ns: self.latency_ns,
            duration_ns: self.duration_ns,
            lag_ns: self.lag_ns,
            cpu_ns: self.cpu_ns,
            interval_ns: self.interval_ns,
            points: self.points.into_owned(),
            findings: self.findings.into_owned(),
            suspect: self.suspect,
        }
    }
}

/// What stands in the column `body` of a transition.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct TransitionBody<'a> {
    pub(crate) change: Change,
    #[serde(borrow)]
    pub(crate) finding: Option<&'a str>,
    #[serde(borrow)]
    pub(crate) summary: &'a str,
    pub(crate) record: i64,
}

/// What stands in the column `body` of a tag set. The subject and the plugin are part of it, so that a row of the
/// history can be read without any other table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Interned {
    pub(crate) key: Key,
    pub(crate) plugin: PluginName,
    pub(crate) tags: TagSet,
}

/// What stands in the column `state` of a subject.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SubjectState {
    pub(crate) standing: Option<Standing>,
    pub(crate) counts: Counts,
    pub(crate) last_tick: Timestamp,
    pub(crate) high_water: Timestamp,
    pub(crate) last_status: Option<Status>,
    /// Its newest row in `transition`. Whoever writes one writes this with it.
    pub(crate) changed: Option<Changed>,
}

/// The newest hard change of a subject.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Changed {
    /// When it was; the next one must be later.
    pub(crate) at: Timestamp,
    /// The identity of its row.
    pub(crate) time: Timestamp,
}

impl Default for SubjectState {
    fn default() -> Self {
        Self {
            standing: None,
            counts: Counts::default(),
            last_tick: Timestamp(0),
            high_water: Timestamp(i64::MIN),
            last_status: None,
            changed: None,
        }
    }
}

/// Appends a value in postcard's encoding.
pub(crate) fn encode<T: Serialize>(value: &T, buffer: Vec<u8>) -> Vec<u8> {
    postcard::to_extend(value, buffer).expect("a vector grows as needed and every sequence here knows its length")
}
