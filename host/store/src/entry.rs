//! What the agent hands to the store: outcomes of runs, counters, and which subjects are no more.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use roundsman_model::counts::Counts;
use roundsman_model::key::Key;
use roundsman_model::record::{Point, Record, Value};
use roundsman_model::state::Change;
use roundsman_model::time::Timestamp;
use serde::{Deserialize, Serialize};

/// The promise is that a record is on disk 250 ms after it was submitted; a longer interval is cut to this.
pub const MAX_COMMIT_INTERVAL: Duration = Duration::from_millis(250);

/// Where the store lives and how much it may keep.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// `paths.state`: made with mode 0700 when it does not exist.
    pub directory: PathBuf,
    /// Bytes on disk, write-ahead log included; what is oldest goes first.
    pub max_size: u64,
    /// Age at which records go, measured from the newest record.
    pub max_age: Duration,
    /// Age at which transitions go; they are few and outlive records.
    pub transitions_max_age: Duration,
    /// The longest that an entry waits for others before they are committed together.
    pub commit_interval: Duration,
    /// Names of the destinations that read the outbox. A new one begins with the oldest row; one that is no longer
    /// named is forgotten.
    pub destinations: Vec<String>,
}

impl Config {
    /// The defaults of the agent's configuration, in a directory.
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        let day = Duration::from_hours(24);
        Self {
            directory: directory.into(),
            max_size: 512 << 20,
            max_age: 7 * day,
            transitions_max_age: 90 * day,
            commit_interval: Duration::from_millis(200),
            destinations: Vec::new(),
        }
    }
}

/// One thing to persist. Entries take effect in the order in which they were submitted.
#[derive(Debug, Clone, PartialEq)]
pub enum Entry {
    /// The outcome of a run, with everything that belongs to it.
    Record(Box<Recorded>),
    /// Ticks of a subject whose fate is known although no record came of them.
    Counted { key: Key, counts: Counts, last_tick: Timestamp },
    /// The subject is no longer configured: its standing, counters and memory go, its history stays.
    Forget { key: Key },
}

/// A record and what is written in one transaction with it.
#[derive(Debug, Clone, PartialEq)]
pub struct Recorded {
    pub record: Record,
    pub tags: TagSet,
    /// The hard change that this record brought about.
    pub change: Option<Change>,
    /// What the plugin set (or deleted, where there is no value) in its memory.
    pub memory: Vec<(String, Option<Vec<u8>>)>,
    /// The subject's counters after this run.
    pub counts: Counts,
    /// The tick up to which `counts` know every fate.
    pub last_tick: Timestamp,
    /// What the run logged. Kept for the last failing runs of each subject only.
    pub log: Vec<LogLine>,
}

/// A line that a plugin logged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLine {
    pub level: LogLevel,
    pub text: String,
}

/// How much a line matters to its author.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    Trace,
    Debug,
    Info,
    Warn,
    Error,
}

/// The tags that the host gives to every line of a record (cluster, host, check, plugin, target, labels): sorted by
/// key, each key once. Cheap to clone; the store recognises the same set by its address before it compares contents.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct TagSet(Arc<[(Box<str>, Box<str>)]>);

impl TagSet {
    /// Sorts the tags; where a key comes twice, the first one counts.
    pub fn new<K: Into<Box<str>>, V: Into<Box<str>>>(tags: impl IntoIterator<Item = (K, V)>) -> Self {
        let mut tags: Vec<(Box<str>, Box<str>)> = tags.into_iter().map(|(k, v)| (k.into(), v.into())).collect();
        tags.sort_by(|(a, _), (b, _)| a.cmp(b));
        tags.dedup_by(|(later, _), (first, _)| later == first);
        Self(tags.into())
    }

    /// Keys and values in the order of their keys.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &str)> {
        self.0.iter().map(|(key, value)| (&**key, &**value))
    }

    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<&str> {
        let found = self.0.binary_search_by(|(k, _)| (**k).cmp(key)).ok()?;
        Some(&self.0[found].1)
    }

    /// Equal, at the price of comparing two addresses in the usual case.
    pub(crate) fn same(&self, other: &TagSet) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self == other
    }
}

impl Entry {
    /// Which (check, target) this is about.
    pub fn key(&self) -> &Key {
        match self {
            Entry::Record(recorded) => &recorded.record.key,
            Entry::Counted { key, .. } | Entry::Forget { key } => key,
        }
    }

    /// Roughly how many bytes of memory this holds, so that queues can be bounded by what they really weigh.
    pub(crate) fn weight(&self) -> usize {
        match self {
            Entry::Record(recorded) => recorded.weight(),
            Entry::Counted { .. } | Entry::Forget { .. } => size_of::<Entry>(),
        }
    }
}

impl Recorded {
    fn weight(&self) -> usize {
        const PAIR: usize = size_of::<(String, String)>();
        let findings = self.record.findings.iter().map(|f| 2 * PAIR + f.subject.len() + f.summary.len());
        let memory = self.memory.iter().map(|(key, value)| PAIR + key.len() + value.as_ref().map_or(0, Vec::len));
        let log = self.log.iter().map(|line| PAIR + line.text.len());
        let points = self.record.points.iter().map(point_weight);
        size_of::<Self>() + self.record.summary.len() + points.chain(findings).chain(memory).chain(log).sum::<usize>()
    }
}

fn point_weight(point: &Point) -> usize {
    const PAIR: usize = size_of::<(String, Value)>();
    let tags = point.tags.iter().map(|(key, value)| PAIR + key.len() + value.len());
    let fields = point.fields.iter().map(|(key, value)| {
        let text = if let Value::Text(text) = value { text.len() } else { 0 };
        PAIR + key.len() + text
    });
    size_of::<Point>() + point.series.len() + tags.chain(fields).sum::<usize>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tag_sets_are_sorted_and_unique() {
        let tags = TagSet::new([("host", "a"), ("check", "x"), ("host", "b")]);
        assert_eq!(tags.iter().collect::<Vec<_>>(), [("check", "x"), ("host", "a")]);
        assert_eq!((tags.get("host"), tags.get("target")), (Some("a"), None));
        assert!(tags.same(&TagSet::new([("check", "x"), ("host", "a")])));
        assert!(!tags.same(&TagSet::new([("check", "x"), ("host", "b")])));
    }
}
