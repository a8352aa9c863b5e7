//! What the agent hands to the store: outcomes of runs, counters, and which subjects are no more.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use roundsman_model::counts::Counts;
use roundsman_model::findings::FindingChange;
use roundsman_model::key::Key;
use roundsman_model::name::PluginName;
use roundsman_model::record::{Call, LogLine, Point, Record, Story, Value};
use roundsman_model::silence::Silence;
use roundsman_model::state::{Change, Standing};
use roundsman_model::supervision::Conduct;
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
    /// A hard change that no record brought about: silence, a dependency, maintenance, the end of a target. Should its
    /// instant not be later than that of the last change, there is no row of it, which is counted; it stands there all
    /// the same.
    Turned(Box<Turned>),
    /// Ticks of a subject whose fate is known although no record came of them.
    Counted { key: Key, counts: Counts, last_tick: Timestamp },
    /// The subject is no longer configured: its standing, counters, findings and memory go, its history stays.
    Forget { key: Key },
    /// A silence begins, or takes the place of the one with its id. Refused when there are `MAX_SILENCES` already.
    Silenced(Arc<Silence>),
    /// A silence ends.
    Unsilenced { id: u64 },
    /// How a plugin behaved, where no record tells it. None: there is nothing to be remembered of it any more.
    Supervised { plugin: PluginName, conduct: Option<Box<Conduct>> },
}

/// A record and what is written in one transaction with it.
#[derive(Debug, Clone, PartialEq)]
pub struct Recorded {
    pub record: Record,
    pub tags: TagSet,
    /// The hard change that this record brought about.
    pub change: Option<Change>,
    /// What became of the subjects that the check looks at: only what differs, each subject once.
    pub findings: Vec<FindingChange>,
    /// What the plugin set (or deleted, where there is no value) in its memory.
    pub memory: Vec<(String, Option<Vec<u8>>)>,
    /// The subject's counters after this run.
    pub counts: Counts,
    /// The tick up to which `counts` know every fate.
    pub last_tick: Timestamp,
    /// What explains the run. Kept for the last failing runs of each subject only.
    pub story: Story,
    /// How the record's plugin behaved, where this run changed what is to be done about it.
    pub conduct: Option<Box<Conduct>>,
}

/// A hard change without a record, and what is written in one transaction with it.
#[derive(Debug, Clone, PartialEq)]
pub struct Turned {
    pub key: Key,
    pub plugin: PluginName,
    pub tags: TagSet,
    /// Where it stands from now on.
    pub standing: Standing,
    pub change: Change,
    /// Why: `not heard of since …`, `depends on dns, which is critical`.
    pub summary: Arc<str>,
    pub counts: Counts,
    pub last_tick: Timestamp,
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
    /// Which (check, target) this is about. None: a silence or a plugin, which may be about many.
    pub fn key(&self) -> Option<&Key> {
        match self {
            Entry::Record(recorded) => Some(&recorded.record.key),
            Entry::Turned(turned) => Some(&turned.key),
            Entry::Counted { key, .. } | Entry::Forget { key } => Some(key),
            Entry::Silenced(_) | Entry::Unsilenced { .. } | Entry::Supervised { .. } => None,
        }
    }

    /// Roughly how many bytes of memory this holds, so that queues can be bounded by what they really weigh.
    pub(crate) fn weight(&self) -> usize {
        match self {
            Entry::Record(recorded) => recorded.weight(),
            Entry::Turned(turned) => size_of::<Turned>() + turned.summary.len(),
            Entry::Silenced(silence) => size_of::<Silence>() + silence.author.len() + silence.reason.len(),
            Entry::Supervised { conduct, .. } => size_of::<Entry>() + conduct.as_deref().map_or(0, conduct_weight),
            Entry::Counted { .. } | Entry::Forget { .. } | Entry::Unsilenced { .. } => size_of::<Entry>(),
        }
    }

    /// Whether nothing else tells again what this tells: losing it is to be counted.
    pub(crate) fn is_telling(&self) -> bool {
        !matches!(self, Entry::Counted { .. } | Entry::Forget { .. })
    }
}

impl Recorded {
    fn weight(&self) -> usize {
        const PAIR: usize = size_of::<(String, String)>();
        let findings = self.record.findings.iter().map(|f| 2 * PAIR + f.subject.len() + f.summary.len());
        let memory = self.memory.iter().map(|(key, value)| PAIR + key.len() + value.as_ref().map_or(0, Vec::len));
        let changes = self.findings.iter().map(|f| size_of::<FindingChange>() + f.subject.len() + f.summary.len());
        let points = self.record.points.iter().map(point_weight);
        let parts = points.chain(findings).chain(memory).chain(changes);
        let conduct = self.conduct.as_deref().map_or(0, conduct_weight);
        size_of::<Self>() + self.record.summary.len() + story_weight(&self.story) + conduct + parts.sum::<usize>()
    }
}

fn conduct_weight(conduct: &Conduct) -> usize {
    size_of::<Conduct>() + conduct.digest.len() + conduct.last.len()
}

fn story_weight(story: &Story) -> usize {
    let log = story.log.iter().map(|line| size_of::<LogLine>() + line.text.len());
    let calls = story.calls.iter().map(|call| {
        let phases = call.phases.iter().map(|(name, _)| size_of::<(String, u64)>() + name.len());
        size_of::<Call>() + call.what.len() + call.result.len() + phases.sum::<usize>()
    });
    log.chain(calls).sum()
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
