//! Samples and a store in a directory of its own, for all tests of the store.
#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]
#![allow(dead_code, reason = "each test program uses its own part of this")]

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use roundsman_model::counts::Counts;
use roundsman_model::key::Key;
use roundsman_model::name::{CheckName, PluginName};
use roundsman_model::record::{Blame, Origin, Point, Record, Status, Story, Value};
use roundsman_model::state::{Change, Standing, State};
use roundsman_model::time::Timestamp;
use roundsman_store::{Config, Cursor, Entry, Reader, RecordRow, Recorded, Restored, Store, TagSet, Turned};

/// Long enough for a machine that is busy with something else.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

pub(crate) fn key(number: usize) -> Key {
    Key::new(CheckName::new(&format!("check-{number}")).unwrap(), None)
}

pub(crate) fn tags(key: &Key) -> TagSet {
    TagSet::new([("cluster", "prod"), ("host", "node-a"), ("check", key.check.as_str()), ("plugin", "http")])
}

/// A plain outcome at an instant, with one point.
pub(crate) fn outcome(key: &Key, time: i64, status: Status) -> Recorded {
    let standing = Standing { state: State::Ok, ..Standing::pending(Timestamp(1)) };
    let counts = Counts { due: 3, run: 2, missed: 1, ..Counts::default() };
    let point = Point {
        series: "http".into(),
        tags: vec![("region".into(), "eu".into())],
        fields: vec![("total_ms".into(), Value::Real(1.25)), ("status".into(), Value::Integer(200))],
    };
    let record = Record {
        key: key.clone(),
        plugin: PluginName::new("http").unwrap(),
        origin: Origin::Schedule,
        time: Timestamp(time),
        started: Timestamp(time + 5),
        status,
        blame: Blame::Target,
        code: None,
        summary: "200 OK in 1.2 ms".into(),
        standing,
        attempt: 1,
        latency_ns: Some(1_200_000),
        duration_ns: 1_300_000,
        lag_ns: 40_000,
        cpu_ns: 20_000,
        interval_ns: 1_000_000_000,
        points: vec![point],
        findings: Vec::new(),
        suspect: false,
    };
    Recorded {
        record,
        tags: tags(key),
        change: None,
        findings: Vec::new(),
        memory: Vec::new(),
        counts,
        last_tick: Timestamp(time),
        story: Story::default(),
        conduct: None,
    }
}

/// A change without a record at an instant: nothing was heard for too long.
pub(crate) fn turned(key: &Key, at: i64) -> Turned {
    let (standing, change) = Standing::pending(Timestamp(1)).turn(State::Stale, Timestamp(at)).unwrap();
    Turned {
        key: key.clone(),
        plugin: PluginName::new("http").unwrap(),
        tags: tags(key),
        standing,
        change,
        summary: "not heard of".into(),
        counts: Counts { due: 4, run: 2, missed: 2, ..Counts::default() },
        last_tick: Timestamp(at),
    }
}

pub(crate) fn entry(recorded: Recorded) -> Entry {
    Entry::Record(Box::new(recorded))
}

pub(crate) fn change(at: i64) -> Change {
    Change { from: State::Ok, to: State::Critical, since: Timestamp(1), at: Timestamp(at), quiet: None }
}

/// Where a test can see what was published.
pub(crate) type Published = Arc<Mutex<Vec<Entry>>>;

pub(crate) fn open(config: Config) -> (Store, Restored, Published) {
    let published = Published::default();
    let seen = published.clone();
    let (store, restored) =
        Store::open(config, move |entries| seen.lock().unwrap().extend_from_slice(entries)).unwrap();
    (store, restored, published)
}

pub(crate) fn open_in(directory: &Path) -> (Store, Restored, Published) {
    open(Config::new(directory))
}

/// Everything that the outbox has, from the beginning.
pub(crate) fn all_records(reader: &mut Reader) -> Vec<RecordRow> {
    let mut rows = Vec::new();
    let mut cursor = Cursor::default();
    loop {
        let batch = reader.outbox(cursor, 1_000).unwrap();
        if batch.next == cursor {
            return rows;
        }
        rows.extend(batch.records);
        cursor = batch.next;
    }
}

/// Asks until the answer is yes.
pub(crate) fn eventually(what: &str, mut done: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !done() {
        assert!(begin.elapsed() < DEADLINE, "{what}: not within {DEADLINE:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Ends the child also when an assertion ends the test.
pub(crate) struct Killed(pub(crate) std::process::Child);

impl Drop for Killed {
    fn drop(&mut self) {
        if let Err(error) = self.0.kill().and_then(|()| self.0.wait().map(drop)) {
            eprintln!("the child could not be ended: {error}");
        }
    }
}
