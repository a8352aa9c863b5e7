//! Order and identity: instants that only grow, cursors that survive, publication after the commit, and the end.
#![allow(clippy::unwrap_used, clippy::panic, reason = "what fails here fails the test")]

mod common;

use std::sync::mpsc;
use std::time::Duration;

use common::{all_records, change, entry, eventually, key, open, open_in, outcome, turned};
use roundsman_model::findings::FindingChange;
use roundsman_model::record::Status;
use roundsman_store::{Config, Cursor, Entry, NotCommitted, Recorded, Refused, Store};

#[tokio::test]
async fn an_instant_is_used_once_per_subject() {
    let directory = tempfile::tempdir().unwrap();
    let (store, _, published) = open_in(directory.path());
    for (time, summary) in [(5, "first"), (5, "again"), (4, "earlier"), (6, "later")] {
        let mut recorded = outcome(&key(0), time, Status::Ok);
        recorded.record.summary = summary.into();
        store.submit(entry(recorded)).unwrap();
    }
    store.submit(entry(outcome(&key(1), 5, Status::Ok))).unwrap();
    store.flush().await.unwrap();
    let expected = [("first", 5), ("later", 6), ("200 OK in 1.2 ms", 5)];
    let rows = all_records(&mut store.reader().unwrap());
    assert_eq!(rows.iter().map(|row| (&*row.record.summary, row.record.time.0)).collect::<Vec<_>>(), expected);
    let shown: Vec<String> = published
        .lock()
        .unwrap()
        .iter()
        .filter_map(|entry| if let Entry::Record(r) = entry { Some(r.record.summary.to_string()) } else { None })
        .collect();
    assert_eq!(shown, expected.map(|(summary, _)| summary));
    assert_eq!(store.health().refused, 2);
    store.close().await.unwrap();
    // Also across a restart.
    let (store, _, published) = open_in(directory.path());
    store.submit(entry(outcome(&key(0), 6, Status::Critical))).unwrap();
    store.flush().await.unwrap();
    assert!(published.lock().unwrap().is_empty());
    assert_eq!(all_records(&mut store.reader().unwrap()).len(), 3);
    store.close().await.unwrap();
}

/// In `transition` time only grows: what comes too late has no row, and what is of one instant gets its own.
#[tokio::test]
async fn changes_have_instants_of_their_own() {
    let directory = tempfile::tempdir().unwrap();
    let (store, _, published) = open_in(directory.path());
    let found = |name: &str, at: i64| FindingChange {
        subject: name.into(),
        standing: None,
        change: Some(change(at)),
        summary: "full".into(),
    };
    let run = |time: i64, own: Option<i64>, findings: &[&str]| {
        let findings = findings.iter().map(|name| found(name, time)).collect();
        entry(Recorded { change: own.map(change), findings, ..outcome(&key(0), time, Status::Ok) })
    };
    let turn = |at: i64| Entry::Turned(Box::new(turned(&key(0), at)));
    let steps = [
        (
            run(10, Some(10), &["/z", "/a", "/b"]),
            vec![(10, None), (11, Some("/a")), (12, Some("/b")), (13, Some("/z"))],
        ),
        // A moment later, when the instants are taken already.
        (run(11, Some(11), &["/c"]), vec![(14, None), (15, Some("/c"))]),
        (run(12, None, &["/c"]), vec![(16, Some("/c"))]),
        (turn(20), vec![(20, None)]),
        (turn(20), vec![]),
        (turn(15), vec![]),
        // The record counts all the same, and so does where the subject stands.
        (run(18, Some(18), &["/c"]), vec![]),
        (run(21, Some(21), &[]), vec![(21, None)]),
        (turn(9), vec![]),
    ];
    let mut cursor = Cursor::default();
    let count = steps.len();
    for (number, (entry, expected)) in steps.into_iter().enumerate() {
        store.submit(entry).unwrap();
        store.flush().await.unwrap();
        let batch = store.reader().unwrap().outbox(cursor, 100).unwrap();
        let rows: Vec<_> = batch.transitions.iter().map(|row| (row.time.0, row.finding.as_deref())).collect();
        assert_eq!(rows, expected, "step {number}");
        cursor = batch.next;
    }
    assert_eq!((store.health().refused, store.health().transitions), (5, 9));
    assert_eq!(published.lock().unwrap().len(), count);
    store.close().await.unwrap();
    // Also across a restart.
    let (store, restored, _) = open_in(directory.path());
    assert_eq!(restored.subjects[0].standing, Some(turned(&key(0), 9).standing));
    assert_eq!(restored.subjects[0].high_water.0, 21);
    store.submit(turn(21)).unwrap();
    store.submit(turn(22)).unwrap();
    store.flush().await.unwrap();
    assert_eq!((store.health().refused, store.health().transitions), (1, 10));
    store.close().await.unwrap();
}

#[tokio::test]
async fn cursors_survive_and_follow_the_configuration() {
    let directory = tempfile::tempdir().unwrap();
    let with = |destinations: &[&str]| Config {
        destinations: destinations.iter().map(|name| (*name).to_owned()).collect(),
        ..Config::new(directory.path())
    };
    let here = Cursor { record: 2, transition: 1 };
    let (store, restored, _) = open(with(&["main", "old"]));
    let zero = Cursor::default();
    assert_eq!(restored.cursors, [("main".to_owned(), zero), ("old".to_owned(), zero)]);
    for time in 1..=3 {
        let mut recorded = outcome(&key(0), time, Status::Ok);
        recorded.change = Some(change(time));
        store.submit(entry(recorded)).unwrap();
    }
    store.flush().await.unwrap();
    store.acknowledge("main", here);
    store.acknowledge("main", Cursor { record: 1, transition: 0 });
    store.acknowledge("nobody", here);
    // An acknowledgement alone is committed, too.
    let mut reader = store.reader().unwrap();
    eventually("the cursor moves", || reader.cursor("main").unwrap() == Some(here));
    assert_eq!((reader.cursor("old").unwrap(), reader.cursor("nobody").unwrap()), (Some(zero), None));
    drop(reader);
    store.close().await.unwrap();

    let (store, restored, _) = open(with(&["main", "new"]));
    assert_eq!(restored.cursors, [("main".to_owned(), here), ("new".to_owned(), zero)]);
    let mut reader = store.reader().unwrap();
    let rest = reader.outbox(here, 10).unwrap();
    assert_eq!((rest.records.len(), rest.transitions.len()), (1, 2));
    assert_eq!(rest.next, Cursor { record: 3, transition: 3 });
    assert_eq!(reader.outbox(rest.next, 10).unwrap().next, rest.next);
    // A short page goes on where it ended.
    let page = reader.outbox(zero, 2).unwrap();
    assert_eq!((page.records.len(), page.next), (2, Cursor { record: 2, transition: 2 }));
    drop(reader);
    store.close().await.unwrap();
    let (store, restored, _) = open(with(&["old"]));
    assert_eq!(restored.cursors, [("old".to_owned(), zero)]);
    store.close().await.unwrap();
}

#[tokio::test]
async fn published_is_what_another_connection_can_read() {
    let directory = tempfile::tempdir().unwrap();
    let (send, published) = mpsc::sync_channel(10_000);
    let (store, _) =
        Store::open(Config::new(directory.path()), move |entries| send.send(entries.len()).unwrap()).unwrap();
    let mut reader = store.reader().unwrap();
    let (mut shown, mut time) = (0, 0);
    for _ in 0..20 {
        for _ in 0..50 {
            time += 1;
            store.submit(entry(outcome(&key(time % 7), time as i64, Status::Ok))).unwrap();
        }
        while shown < time {
            shown += published.recv_timeout(common::DEADLINE).unwrap();
            assert!(all_records(&mut reader).len() >= shown);
        }
    }
    drop(reader);
    store.close().await.unwrap();
}

#[tokio::test]
async fn closing_writes_what_was_submitted_and_refuses_the_rest() {
    let directory = tempfile::tempdir().unwrap();
    let (store, _, published) = open_in(directory.path());
    let other = store.clone();
    for time in 1..=1_000 {
        store.submit(entry(outcome(&key(0), time, Status::Ok))).unwrap();
    }
    store.close().await.unwrap();
    assert_eq!(published.lock().unwrap().len(), 1_000);
    assert_eq!(other.submit(entry(outcome(&key(0), 1_001, Status::Ok))), Err(Refused::Closed));
    assert_eq!(other.flush().await, Ok(()), "all that was taken is on the disk");
    // A clean end leaves one file, without a log.
    let files: Vec<_> = std::fs::read_dir(directory.path()).unwrap().map(|f| f.unwrap().file_name()).collect();
    assert!(files.iter().all(|name| name != "roundsman.db-wal"), "{files:?}");
    drop(other);
    let (store, restored, _) = open_in(directory.path());
    assert_eq!((restored.subjects[0].high_water.0, restored.note), (1_000, None));
    drop(store);
    // The last handle gone is an end, too: the lock is free soon.
    eventually("the lock is released", || Store::open(Config::new(directory.path()), |_| {}).is_ok());
}

#[tokio::test]
async fn a_long_interval_is_cut_and_a_flush_does_not_wait_for_it() {
    let directory = tempfile::tempdir().unwrap();
    let config = Config { commit_interval: Duration::from_hours(1), ..Config::new(directory.path()) };
    let (store, _, published) = open(config);
    let mut committed = store.committed();
    store.submit(entry(outcome(&key(0), 1, Status::Ok))).unwrap();
    tokio::time::timeout(common::DEADLINE, committed.changed()).await.unwrap().unwrap();
    store.submit(entry(outcome(&key(0), 2, Status::Ok))).unwrap();
    store.flush().await.unwrap();
    assert_eq!(published.lock().unwrap().len(), 2);
    store.close().await.unwrap();
}

#[tokio::test]
async fn a_panic_in_the_writer_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let (store, _) = Store::open(Config::new(directory.path()), |_| panic!("no board")).unwrap();
    store.submit(entry(outcome(&key(0), 1, Status::Ok))).unwrap();
    let why = tokio::time::timeout(common::DEADLINE, store.died()).await.unwrap();
    assert!(why.contains("no board"), "{why}");
    assert_eq!(store.submit(entry(outcome(&key(0), 2, Status::Ok))), Err(Refused::Closed));
    assert!(matches!(store.flush().await, Err(NotCommitted::Died(_))));
    assert!(matches!(store.close().await, Err(NotCommitted::Died(_))));
    // What was committed before is there.
    let (store, restored, _) = open_in(directory.path());
    assert_eq!(restored.subjects.len(), 1);
    store.close().await.unwrap();
}

/// The agent hands these to tasks of its own.
#[tokio::test]
async fn futures_can_be_sent() {
    fn sendable<T: Send>(value: T) -> T {
        value
    }
    let directory = tempfile::tempdir().unwrap();
    let (store, _, _) = open_in(directory.path());
    let died = sendable(store.died());
    sendable(store.flush()).await.unwrap();
    sendable(store.clone().close()).await.unwrap();
    let still = tokio::time::timeout(Duration::from_millis(20), died).await;
    assert!(still.is_err(), "a clean end is no death");
}
