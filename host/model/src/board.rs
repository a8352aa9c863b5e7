//! The present state of every (check, target), here and on peers, and since when.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Serialize, Serializer};

use crate::counts::Counts;
use crate::key::Key;
use crate::name::PluginName;
use crate::record::{Blame, Record, Status};
use crate::state::{Standing, State};
use crate::time::Timestamp;

/// Everything that is configured, by key, with what is known of it. As JSON: a list of entries.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Board {
    entries: BTreeMap<Key, Entry>,
}

/// One (check, target).
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Entry {
    #[serde(flatten)]
    pub key: Key,
    #[serde(flatten)]
    pub configured: Configured,
    /// What the records say. `state_at` says what to show.
    pub standing: Standing,
    /// None: no record yet.
    pub last: Option<Last>,
    pub counts: Counts,
    /// The instant from which silence is stale. None: never, for what does not run on a schedule.
    pub stale_at: Option<Timestamp>,
    /// Why it is not running: its plugin is being compiled or is broken, its configuration is outdated.
    pub note: Option<String>,
}

/// What the operator wrote. Cheap to clone: the targets of a check share it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Configured {
    pub plugin: PluginName,
    pub labels: Arc<BTreeMap<String, String>>,
    pub owner: Option<Arc<str>>,
    pub runbook: Option<Arc<str>>,
    pub enabled: bool,
}

/// What is shown of the last record.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Last {
    pub time: Timestamp,
    pub status: Status,
    pub blame: Blame,
    pub code: Option<Arc<str>>,
    pub summary: Arc<str>,
    pub latency_ns: Option<u64>,
    pub duration_ns: u64,
    pub lag_ns: u64,
    pub attempt: u32,
}

/// How many entries are in each state.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Summary {
    pub ok: u64,
    pub warning: u64,
    pub critical: u64,
    pub unknown: u64,
    pub pending: u64,
    pub skipped: u64,
    pub stale: u64,
}

impl Board {
    /// Puts an entry as it is, for instance from an earlier life of the agent; returns the one that it replaces.
    pub fn insert(&mut self, entry: Entry) -> Option<Entry> {
        self.entries.insert(entry.key.clone(), entry)
    }

    /// A check appeared or changed: what is new is pending, what was there keeps what is known of it.
    pub fn configure(
        &mut self,
        key: Key,
        configured: Configured,
        now: Timestamp,
        stale_at: Option<Timestamp>,
    ) -> &mut Entry {
        let entry = self
            .entries
            .entry(key)
            .and_modify(|entry| entry.configured = configured.clone())
            .or_insert_with_key(|key| Entry::pending(key.clone(), configured, now));
        entry.stale_at = stale_at;
        entry
    }

    /// Takes an entry off; the last that was known of it.
    pub fn remove(&mut self, key: &Key) -> Option<Entry> {
        self.entries.remove(key)
    }

    /// Shows a record. False: its key is not, or no longer, on the board.
    pub fn apply(&mut self, record: &Record, counts: Counts, stale_at: Option<Timestamp>) -> bool {
        let Some(entry) = self.entries.get_mut(&record.key) else { return false };
        entry.standing = record.standing;
        entry.last = Some(Last::of(record));
        entry.counts = counts;
        entry.stale_at = stale_at;
        true
    }

    /// The entry of a key.
    pub fn get(&self, key: &Key) -> Option<&Entry> {
        self.entries.get(key)
    }

    /// The entry of a key, to change its note or its counts.
    pub fn get_mut(&mut self, key: &Key) -> Option<&mut Entry> {
        self.entries.get_mut(key)
    }

    /// All entries, in the order of their keys.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Entry> {
        self.entries.values()
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether nothing is configured.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The state that needs somebody most. None: there are no entries.
    pub fn worst(&self, now: Timestamp) -> Option<State> {
        self.iter().map(|entry| entry.state_at(now)).max_by_key(|state| state.severity())
    }

    /// Entries by state.
    pub fn summary(&self, now: Timestamp) -> Summary {
        let mut summary = Summary::default();
        for entry in self.iter() {
            *summary.slot(entry.state_at(now)) += 1;
        }
        summary
    }
}

impl Serialize for Board {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(self.iter())
    }
}

impl Entry {
    /// A new one, of which nothing is known yet.
    pub fn pending(key: Key, configured: Configured, now: Timestamp) -> Self {
        let standing = Standing::pending(now);
        Self { key, configured, standing, last: None, counts: Counts::default(), stale_at: None, note: None }
    }

    /// The state to show: nothing that was not heard of for too long is shown as it once was.
    pub fn state_at(&self, now: Timestamp) -> State {
        if !self.configured.enabled {
            State::Skipped
        } else if self.stale_at.is_some_and(|stale_at| now > stale_at) {
            State::Stale
        } else {
            self.standing.state
        }
    }
}

impl Last {
    /// What is shown of a record.
    pub fn of(record: &Record) -> Self {
        Self {
            time: record.time,
            status: record.status,
            blame: record.blame,
            code: record.code.clone(),
            summary: record.summary.clone(),
            latency_ns: record.latency_ns,
            duration_ns: record.duration_ns,
            lag_ns: record.lag_ns,
            attempt: record.attempt,
        }
    }
}

impl Summary {
    /// The count of a state.
    pub fn get(mut self, state: State) -> u64 {
        *self.slot(state)
    }

    fn slot(&mut self, state: State) -> &mut u64 {
        match state {
            State::Ok => &mut self.ok,
            State::Warning => &mut self.warning,
            State::Critical => &mut self.critical,
            State::Unknown => &mut self.unknown,
            State::Pending => &mut self.pending,
            State::Skipped => &mut self.skipped,
            State::Stale => &mut self.stale,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::name::CheckName;
    use crate::record::Origin;

    fn key(check: &str, target: Option<&str>) -> Key {
        Key::new(CheckName::new(check).unwrap(), target)
    }

    fn configured(enabled: bool) -> Configured {
        let labels = BTreeMap::from([("team".to_owned(), "web".to_owned())]);
        let plugin = PluginName::new("http").unwrap();
        Configured { plugin, labels: labels.into(), owner: Some("shop-team".into()), runbook: None, enabled }
    }

    fn record(key: &Key, state: State, time: i64) -> Record {
        let time = Timestamp(time);
        Record {
            key: key.clone(),
            plugin: PluginName::new("http").unwrap(),
            origin: Origin::Schedule,
            time,
            started: time,
            status: Status::from_number(i64::from(state.number())).unwrap(),
            blame: Blame::Target,
            code: None,
            summary: "200 in 3 ms".into(),
            standing: Standing { state, since: time, soft: None },
            attempt: 1,
            latency_ns: Some(3),
            duration_ns: 4,
            lag_ns: 5,
            cpu_ns: 6,
            interval_ns: 7,
            points: Vec::new(),
            findings: Vec::new(),
        }
    }

    #[test]
    fn states_to_show() {
        for (enabled, known, stale_at, now, shown) in [
            (true, None, Some(100), 100, State::Pending),
            (true, None, Some(100), 101, State::Stale),
            (true, None, None, i64::MAX, State::Pending),
            (true, Some(State::Ok), Some(100), 100, State::Ok),
            (true, Some(State::Ok), Some(100), 101, State::Stale),
            (true, Some(State::Critical), Some(100), 101, State::Stale),
            (false, None, Some(100), 101, State::Skipped),
            (false, Some(State::Critical), Some(100), 1, State::Skipped),
        ] {
            let mut board = Board::default();
            let key = key("shop", Some("eu"));
            board.configure(key.clone(), configured(enabled), Timestamp(0), stale_at.map(Timestamp));
            if let Some(state) = known {
                assert!(board.apply(&record(&key, state, 50), Counts::default(), stale_at.map(Timestamp)));
            }
            assert_eq!(board.get(&key).unwrap().state_at(Timestamp(now)), shown);
        }
    }

    #[test]
    fn a_changed_check_keeps_what_is_known() {
        let mut board = Board::default();
        let key = key("shop", None);
        board.configure(key.clone(), configured(true), Timestamp(1), Some(Timestamp(100)));
        let counts = Counts { due: 1, run: 1, ..Counts::default() };
        assert!(board.apply(&record(&key, State::Warning, 50), counts, Some(Timestamp(200))));
        let entry = board.configure(key.clone(), configured(false), Timestamp(60), Some(Timestamp(300)));
        assert_eq!((entry.standing.state, entry.standing.since), (State::Warning, Timestamp(50)));
        assert_eq!((entry.counts, entry.stale_at), (counts, Some(Timestamp(300))));
        assert!(!entry.configured.enabled);
        assert_eq!(entry.last.as_ref().unwrap().time, Timestamp(50));
        assert!(board.remove(&key).is_some());
        assert!(!board.apply(&record(&key, State::Ok, 70), counts, None), "a late record does not bring it back");
        assert!(board.is_empty());
    }

    #[test]
    fn the_worst_and_the_sum() {
        let mut board = Board::default();
        assert_eq!(board.worst(Timestamp(0)), None);
        let states = [State::Ok, State::Pending, State::Warning, State::Stale, State::Unknown, State::Critical];
        for (n, state) in states.into_iter().enumerate() {
            let key = key(&format!("c{n}"), None);
            let stale_at = (state == State::Stale).then_some(Timestamp(10));
            board.configure(key.clone(), configured(true), Timestamp(0), stale_at);
            if !matches!(state, State::Pending | State::Stale) {
                board.apply(&record(&key, state, 1), Counts::default(), None);
            }
            assert_eq!(board.worst(Timestamp(20)), Some(state));
            assert_eq!(board.summary(Timestamp(20)).get(state), 1);
        }
        let json = serde_json::to_value(board.summary(Timestamp(20))).unwrap();
        assert_eq!(json["stale"], 1);
        assert_eq!(json["skipped"], 0);
    }

    #[test]
    fn as_json() {
        let mut board = Board::default();
        let key = key("shop", Some("eu"));
        board.configure(key.clone(), configured(true), Timestamp(1), None);
        board.apply(&record(&key, State::Ok, 50), Counts::default(), None);
        let json = serde_json::to_value(&board).unwrap();
        assert_eq!(json[0]["check"], "shop");
        assert_eq!(json[0]["target"], "eu");
        assert_eq!(json[0]["plugin"], "http");
        assert_eq!(json[0]["labels"]["team"], "web");
        assert_eq!(json[0]["standing"]["state"], "ok");
        assert_eq!(json[0]["last"]["summary"], "200 in 3 ms");
    }
}
