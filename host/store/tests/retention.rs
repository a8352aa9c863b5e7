//! What goes and what stays: budgets of size and age, the dull before the telling, counted when unsent.
#![allow(clippy::unwrap_used, clippy::panic, reason = "what fails here fails the test")]

mod common;

use std::collections::HashSet;
use std::ops::Range;
use std::time::Duration;

use common::{all_records, change, entry, eventually, key, open, outcome};
use roundsman_model::name::CheckName;
use roundsman_model::record::{Level, LogLine, Status};
use roundsman_model::time::Timestamp;
use roundsman_store::{Config, Cursor, Entry, Query, Reader, RecordRow, STORIES_KEPT, Store};

const BUDGET: u64 = 2 << 20;
const SUBJECTS: i64 = 7;
const RECORDS: i64 = 20_000;

/// Every 50th run of each subject fails.
fn is_failure(time: i64) -> bool {
    time / SUBJECTS % 50 == 0
}

fn recorded(time: i64) -> Entry {
    let status = if is_failure(time) { Status::Critical } else { Status::Ok };
    let mut recorded = outcome(&key((time % SUBJECTS) as usize), time, status);
    recorded.story.log.push(LogLine { level: Level::Info, text: time.to_string() });
    entry(recorded)
}

/// Opens a store, writes what `make` gives for each instant, and closes it.
async fn fill(config: &Config, times: Range<i64>, make: impl Fn(i64) -> Entry) {
    let (store, _, _) = open(config.clone());
    for time in times {
        store.submit(make(time)).unwrap();
        if time % 200 == 199 {
            store.flush().await.unwrap();
        }
    }
    store.close().await.unwrap();
}

/// Opens the store with so large a budget that nothing goes while one looks at it.
fn at_rest(config: &Config) -> Store {
    open(Config { max_size: 1 << 40, ..config.clone() }).0
}

fn file_size(config: &Config) -> u64 {
    std::fs::metadata(config.directory.join("roundsman.db")).unwrap().len()
}

#[tokio::test]
async fn repeated_ok_goes_first_and_what_was_not_sent_is_counted() {
    let directory = tempfile::tempdir().unwrap();
    let config = Config { max_size: BUDGET, destinations: vec!["main".into()], ..Config::new(directory.path()) };
    fill(&config, 0..RECORDS, recorded).await;
    assert!(file_size(&config) <= BUDGET);
    let store = at_rest(&config);
    let rows = all_records(&mut store.reader().unwrap());
    let health = store.health();
    assert_eq!(health.records, rows.len() as u64);
    assert_eq!(health.dropped_unsent, RECORDS as u64 - health.records);
    assert!(rows.len() > 2_000, "{} records are left of the budget", rows.len());
    let failures = rows.iter().filter(|row| row.record.status != Status::Ok).count();
    assert_eq!(failures, (0..RECORDS).filter(|time| is_failure(*time)).count(), "all failures are left");
    // The newest are whole: nothing is missing after the first gap from the end.
    let whole = rows.iter().rev().zip((0..RECORDS).rev()).take_while(|(row, time)| row.record.time.0 == *time).count();
    assert!(whole * 2 > rows.len(), "{whole} of {} are without a gap", rows.len());
    same_answers(&mut store.reader().unwrap(), &rows);
    // Among what is left are the runs with a story.
    let last = |number: i64| (0..RECORDS).rev().filter(move |time| is_failure(*time) && time % SUBJECTS == number);
    for number in 0..SUBJECTS {
        let stories = store.reader().unwrap().stories(&key(number as usize), usize::MAX).unwrap();
        let times: Vec<i64> = stories.iter().map(|(row, _)| row.record.time.0).collect();
        assert_eq!(times, last(number).take(STORIES_KEPT).collect::<Vec<_>>());
        assert!(stories.iter().all(|(row, story)| story.log[0].text == row.record.time.0.to_string()));
    }

    // What was acknowledged may go without being counted.
    store.acknowledge("main", Cursor { record: i64::MAX, transition: i64::MAX });
    store.close().await.unwrap();
    fill(&config, RECORDS..2 * RECORDS, recorded).await;
    assert!(file_size(&config) <= BUDGET);
    let store = at_rest(&config);
    assert_eq!(store.health().dropped_unsent, health.dropped_unsent);
    let rows = all_records(&mut store.reader().unwrap());
    assert_eq!(store.health().records, rows.len() as u64);
    assert!((rows.len() as i64) < RECORDS);
    same_answers(&mut store.reader().unwrap(), &rows);
    store.close().await.unwrap();
}

#[tokio::test]
async fn when_everything_fails_the_oldest_go() {
    let directory = tempfile::tempdir().unwrap();
    let config = Config { max_size: BUDGET, ..Config::new(directory.path()) };
    let failing = |time| entry(outcome(&key((time % SUBJECTS) as usize), time, Status::Critical));
    fill(&config, 0..RECORDS, failing).await;
    assert!(file_size(&config) <= BUDGET);
    let store = at_rest(&config);
    let rows = all_records(&mut store.reader().unwrap());
    let times: Vec<i64> = rows.iter().map(|row| row.record.time.0).collect();
    assert_eq!(times, (RECORDS - rows.len() as i64..RECORDS).collect::<Vec<_>>());
    assert!((2_000..RECORDS as usize).contains(&rows.len()), "{} are left", rows.len());
    // Nobody waits for them: none is unsent.
    assert_eq!(store.health().dropped_unsent, 0);
    same_answers(&mut store.reader().unwrap(), &rows);
    store.close().await.unwrap();
}

#[tokio::test]
async fn ages_are_measured_from_the_newest_record() {
    const HOUR: i64 = 3_600_000_000_000;
    let directory = tempfile::tempdir().unwrap();
    let hours = |hours: u64| Duration::from_hours(hours);
    let config = Config { max_age: hours(2), transitions_max_age: hours(10), ..Config::new(directory.path()) };
    let (store, _, _) = open(config);
    let mut reader = store.reader().unwrap();
    for hour in 1..=24 {
        let mut recorded = outcome(&key(0), hour * HOUR, Status::Critical);
        recorded.change = Some(change(hour * HOUR));
        store.submit(entry(recorded)).unwrap();
        store.submit(entry(outcome(&key(hour as usize), hour * HOUR, Status::Ok))).unwrap();
        store.submit(Entry::Forget { key: key(hour as usize) }).unwrap();
        store.flush().await.unwrap();
    }
    eventually("old records go", || store.health().records == 6);
    eventually("old transitions go", || store.health().transitions == 11);
    let batch = reader.outbox(Cursor::default(), 100).unwrap();
    assert_eq!(batch.records[0].record.time, Timestamp(22 * HOUR));
    assert_eq!(batch.transitions[0].change.at, Timestamp(14 * HOUR));
    assert_eq!(store.health().oldest, Some(Timestamp(22 * HOUR)));
    drop(reader);
    store.close().await.unwrap();
    // Subjects that are no more went with their last rows, and so did their tag sets.
    let conn = rusqlite::Connection::open(directory.path().join("roundsman.db")).unwrap();
    let count = |table: &str| conn.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0)).unwrap();
    let (subjects, tag_sets): (i64, i64) = (count("subject"), count("tagset"));
    assert_eq!((subjects, tag_sets), (4, 4));
}

#[tokio::test]
async fn a_lowered_budget_gives_space_back() {
    let directory = tempfile::tempdir().unwrap();
    let config = Config::new(directory.path());
    fill(&config, 0..RECORDS, recorded).await;
    assert!(file_size(&config) > BUDGET);
    let (store, _, _) = open(Config { max_size: BUDGET, ..config.clone() });
    eventually("the file shrinks", || file_size(&config) < BUDGET);
    store.close().await.unwrap();
}

/// Every kind of question gives what a look at all rows gives.
fn same_answers(reader: &mut Reader, rows: &[RecordRow]) {
    let ids: HashSet<i64> = rows.iter().map(|row| row.id).collect();
    assert_eq!(ids.len(), rows.len());
    let middle = rows[rows.len() / 2].id;
    let checks = [None, Some(key(0).check), Some(key(3).check), Some(CheckName::new("nobody").unwrap())];
    let instants = [None, Some(Timestamp(rows[rows.len() / 3].record.time.0))];
    for check in checks {
        for target in [None, Some(""), Some("x")] {
            for status in [None, Some(Status::Ok), Some(Status::Critical)] {
                for before in [None, Some(middle), Some(0)] {
                    for since in instants {
                        let target = target.map(Into::into);
                        let query =
                            Query { check: check.clone(), target, status, before, since, limit: 300, until: None };
                        compare(reader, rows, &query);
                    }
                }
            }
        }
    }
    let all = Query { check: Some(key(2).check), limit: 10_000, ..Query::default() };
    compare(reader, rows, &all);
}

fn compare(reader: &mut Reader, rows: &[RecordRow], query: &Query) {
    let fits = |row: &&RecordRow| {
        let target = query.target.as_ref().is_none_or(|target| row.record.key.target_or_empty() == &**target);
        target
            && query.check.as_ref().is_none_or(|check| row.record.key.check == *check)
            && query.status.is_none_or(|status| row.record.status == status)
            && query.before.is_none_or(|before| row.id < before)
            && query.since.is_none_or(|since| row.record.time >= since)
    };
    let expected: Vec<i64> = rows.iter().rev().filter(fits).take(query.limit).map(|row| row.id).collect();
    let found: Vec<i64> = reader.records(query).unwrap().rows.iter().map(|row| row.id).collect();
    assert_eq!(found, expected, "{query:?}");
}
