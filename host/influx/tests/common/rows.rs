//! Records as runs leave them, and a store that holds them.

use std::path::Path;
use std::sync::Arc;

use roundsman_model::counts::Counts;
use roundsman_model::key::Key;
use roundsman_model::name::{CheckName, PluginName};
use roundsman_model::record::{Blame, Origin, Point, Record, Status, Story, Value};
use roundsman_model::state::{Change, Standing, State};
use roundsman_model::time::Timestamp;
use roundsman_store::{Config, Entry, Recorded, Store, TagSet};
use tokio::sync::watch;

/// A recent instant, so that no server thinks the points too old; the same for the whole process.
pub fn now() -> i64 {
    static NOW: std::sync::OnceLock<i64> = std::sync::OnceLock::new();
    *NOW.get_or_init(|| {
        let now = std::time::SystemTime::UNIX_EPOCH.elapsed().expect("the clock is right");
        i64::try_from(now.as_secs()).expect("not before 2262") * 1_000_000_000 - 3_600_000_000_000
    })
}

/// The record of run `i` of a check, one second after the one before, with one point.
pub fn record(check: &str, i: i64, summary: &str) -> Record {
    let time = Timestamp(now() + i * 1_000_000_000);
    Record {
        key: Key::new(CheckName::new(check).expect("a name"), None),
        plugin: PluginName::new("http").expect("a name"),
        origin: Origin::Schedule,
        time,
        started: time,
        status: Status::Ok,
        blame: Blame::Target,
        code: None,
        summary: summary.into(),
        standing: Standing { state: State::Ok, ..Standing::pending(time) },
        attempt: 1,
        latency_ns: Some(1_500_000),
        duration_ns: 2_000_000,
        lag_ns: 100_000,
        cpu_ns: 10_000,
        interval_ns: 1_000_000_000,
        points: vec![Point {
            series: "http".to_owned(),
            tags: vec![("version".to_owned(), "1.1".to_owned())],
            fields: vec![("total_ms".to_owned(), Value::Real(i as f64)), ("size".to_owned(), Value::Integer(i))],
        }],
        findings: Vec::new(),
        suspect: false,
    }
}

/// The tags that the agent would give.
pub fn tags(record: &Record) -> TagSet {
    let check = record.key.check.as_str();
    TagSet::new([("check", check), ("cluster", "test"), ("host", "n1"), ("plugin", record.plugin.as_str())])
}

/// A record as it is handed to the store.
pub fn entry(record: Record, change: Option<Change>) -> Entry {
    let (tags, last_tick) = (tags(&record), record.time);
    let counts = Counts { due: 1, run: 1, ..Counts::default() };
    let (findings, memory, story) = (Vec::new(), Vec::new(), Story::default());
    Entry::Record(Box::new(Recorded {
        record,
        tags,
        change,
        findings,
        memory,
        counts,
        last_tick,
        story,
        conduct: None,
    }))
}

/// A store with one destination, and what counts its rows.
pub fn store(directory: &Path, destination: &str) -> (Store, watch::Receiver<u64>) {
    let config = Config { destinations: vec![destination.to_owned()], ..Config::new(directory) };
    let (sender, committed) = watch::channel(0);
    let count = move |entries: &[Entry]| sender.send_modify(|rows| *rows += entries.len() as u64);
    let (store, _) = Store::open(config, count).expect("the directory is ours");
    (store, committed)
}

/// Submits entries and waits until they are committed.
pub async fn commit(store: &Store, entries: impl IntoIterator<Item = Entry>) {
    for entry in entries {
        store.submit(entry).expect("the queue has room");
    }
    store.flush().await.expect("the disk has room");
}

/// Nothing but a text that tries everything.
pub fn hostile() -> Vec<Arc<str>> {
    let plain = [
        "plain",
        "",
        " ",
        "a b,c=d",
        r"C:\path\",
        "x\" ,a=b 5\nm,t=evil f=1 6\n",
        "x\\\" f=1",
        "\\",
        "\\\\",
        "\"",
        "a\tb\r\nc",
        "nul\0esc\u{1b}[31m",
        "é漢字🦀\u{2028}\u{a0}",
        "#comment",
        "'; DROP DATABASE d; --",
        "a=1i,b=t",
    ];
    let long = "é".repeat(900);
    plain.iter().map(|text| Arc::from(*text)).chain([Arc::from(long.as_str())]).collect()
}
