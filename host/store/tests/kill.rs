//! Killed at any moment, the store holds all that it had published, and no instant twice.
#![allow(clippy::unwrap_used, clippy::panic, reason = "what fails here fails the test")]

mod common;

use std::collections::{BTreeMap, HashSet};
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, SystemTime};

use common::{Killed, all_records, entry, eventually, key, open_in, outcome};
use roundsman_model::record::Status;
use roundsman_store::{Config, Entry, Query, Restored, Store};

/// Set in the process that is to be killed: the directory of the store.
const DIRECTORY: &str = "ROUNDSMAN_TEST_STORE";
const PUBLISHED: &str = "published";
const ROUNDS: usize = 12;
const SUBJECTS: usize = 40;

#[test]
fn killed_at_any_moment() {
    if let Some(directory) = std::env::var_os(DIRECTORY) {
        submit_for_ever(Path::new(&directory));
    }
    let directory = tempfile::tempdir().unwrap();
    let seed = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().subsec_nanos();
    eprintln!("seed {seed}");
    let mut random = u64::from(seed) | 1;
    for round in 0..ROUNDS {
        let before = length(directory.path());
        let mut child = Killed(start(directory.path()));
        eventually("the child publishes", || length(directory.path()) > before);
        // Some linear congruential generator: up to 400 ms, so that several commits, a checkpoint or none fall into it.
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        std::thread::sleep(Duration::from_micros((random >> 33) % 400_000));
        child.0.kill().unwrap();
        child.0.wait().unwrap();
        examine(directory.path(), round);
    }
}

fn start(directory: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["killed_at_any_moment", "--exact", "--nocapture"])
        .env(DIRECTORY, directory)
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

fn length(directory: &Path) -> u64 {
    std::fs::metadata(directory.join(PUBLISHED)).map_or(0, |file| file.len())
}

/// In the child: notes what is published in a file, which outlives the process as the pages of SQLite do.
fn submit_for_ever(directory: &Path) -> ! {
    let mut file = OpenOptions::new().create(true).append(true).open(directory.join(PUBLISHED)).unwrap();
    let publish = move |entries: &[Entry]| note(&mut file, entries);
    let config = Config { commit_interval: Duration::from_millis(5), ..Config::new(directory) };
    let (store, restored) = Store::open(config, publish).unwrap();
    let mut time = newest(&restored);
    loop {
        time += 1;
        let status = if time % 13 == 0 { Status::Critical } else { Status::Ok };
        let mut recorded = outcome(&key(time as usize % SUBJECTS), time, status);
        recorded.counts.due = time as u64;
        recorded.memory = vec![("last".into(), Some(time.to_string().into_bytes()))];
        while store.submit(entry(recorded.clone())).is_err() {
            std::thread::yield_now();
        }
        if time % 20 == 0 {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

fn note(file: &mut File, entries: &[Entry]) {
    let mut lines = Vec::new();
    for entry in entries {
        if let Entry::Record(recorded) = entry {
            writeln!(lines, "{} {}", recorded.record.key, recorded.record.time.0).unwrap();
        }
    }
    file.write_all(&lines).unwrap();
}

fn newest(restored: &Restored) -> i64 {
    restored.subjects.iter().map(|subject| subject.high_water.0).max().unwrap_or(0)
}

fn examine(directory: &Path, round: usize) {
    let (store, restored, _) = open_in(directory);
    assert_eq!(restored.note, None);
    let mut reader = store.reader().unwrap();
    let rows = all_records(&mut reader);
    let mut stored = HashSet::new();
    let mut newest = BTreeMap::new();
    for row in &rows {
        let subject = row.record.key.to_string();
        assert!(stored.insert((subject.clone(), row.record.time.0)), "twice: {subject} {:?}", row.record.time);
        let before = newest.insert(subject, row.record.time);
        assert!(before < Some(row.record.time), "time grows within a subject");
    }
    let text = std::fs::read_to_string(directory.join(PUBLISHED)).unwrap();
    // A line that the kill cut short was not shown whole.
    let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
    for line in whole.lines() {
        let (subject, time) = line.split_once(' ').unwrap();
        assert!(stored.contains(&(subject.to_owned(), time.parse().unwrap())), "round {round}: {line} is lost");
    }
    assert_eq!(restored.subjects.len(), newest.len());
    for subject in &restored.subjects {
        let time = newest[&subject.key.to_string()];
        assert_eq!((subject.high_water, subject.counts.due), (time, time.0 as u64));
        assert_eq!(reader.memory(&subject.key).unwrap(), [("last".to_owned(), time.0.to_string().into_bytes())]);
        let of_it = Query { check: Some(subject.key.check.clone()), limit: 10_000, ..Query::default() };
        let found: Vec<i64> = reader.records(&of_it).unwrap().rows.iter().rev().map(|row| row.id).collect();
        let expected: Vec<i64> = rows.iter().filter(|row| row.record.key == subject.key).map(|row| row.id).collect();
        assert_eq!(found, expected);
    }
    assert_eq!(store.health().records, rows.len() as u64);
    eprintln!("round {round}: {} published, {} stored", whole.lines().count(), rows.len());
    drop(reader);
    // Every other time the file stays as the kill left it, with the snapshot of an earlier round.
    if round.is_multiple_of(2) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(store.close()).unwrap();
    } else {
        drop(store);
        eventually("the lock is free", || {
            let file = File::open(directory.join("roundsman.lock")).unwrap();
            file.try_lock().is_ok()
        });
    }
}
