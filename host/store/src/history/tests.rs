//! Every question against a look at all rows, also when the search stops early and goes on elsewhere.

use roundsman_model::key::Key;
use roundsman_model::name::CheckName;
use roundsman_model::time::Timestamp;

use super::*;
use crate::entry::{Config, Entry};
use crate::samples;
use crate::store::Store;

const MINUTE: i64 = 60_000_000_000;
const CHECKS: i64 = 3;
const RECORDS: i64 = 400;

fn key(number: i64) -> Key {
    Key::new(CheckName::new(&format!("check-{number}")).unwrap(), None)
}

/// One record in ten minutes, written in order but stamped up to half an hour before; some fail, some change something.
fn entry(number: i64) -> Entry {
    let time = (number * 10 - number % 4 * 7) * MINUTE;
    let status = if number % 11 < 2 { Status::Critical } else { Status::Ok };
    let mut recorded = samples::recorded(&key(number % CHECKS), time, status);
    recorded.change = (number % 5 == 0).then(|| samples::change(time));
    Entry::Record(Box::new(recorded))
}

fn queries(ids: &[i64]) -> Vec<Query> {
    let mut queries = Vec::new();
    let instants = [None, Some(700), Some(2_001), Some(9_999)].map(|minutes| minutes.map(|m| Timestamp(m * MINUTE)));
    for check in [None, Some(0), Some(2), Some(9)] {
        for status in [None, Some(Status::Ok), Some(Status::Critical)] {
            for since in instants {
                for until in instants {
                    for before in [None, Some(ids[ids.len() / 2]), Some(ids[ids.len() / 2] + 1)] {
                        for limit in [1, 7, 1_000] {
                            let check = check.map(|number| key(number).check);
                            queries.push(Query { check, target: None, since, until, before, status, limit });
                        }
                    }
                }
            }
        }
    }
    queries
}

/// Page after page, with a search that stops after `most` rows.
fn whole<Row>(
    query: &Query,
    id: impl Fn(&Row) -> i64,
    mut page: impl FnMut(&Query) -> rusqlite::Result<Page<Row>>,
) -> Vec<i64> {
    let (mut found, mut query) = (Vec::new(), query.clone());
    loop {
        let page = page(&query).unwrap();
        assert!(page.rows.len() <= query.limit);
        found.extend(page.rows.iter().map(&id));
        let Some(reached) = page.searched_down_to else { return found };
        assert!(query.before.is_none_or(|before| reached < before), "it comes further: {query:?}");
        assert!(found.last().is_none_or(|last| *last >= reached), "nothing below is told: {query:?}");
        query.before = Some(reached);
    }
}

#[tokio::test]
async fn pages_are_the_whole_however_early_a_search_stops() {
    let directory = tempfile::tempdir().unwrap();
    let (store, _) = Store::open(Config::new(directory.path()), |_| {}).unwrap();
    for number in 1..=RECORDS {
        store.submit(entry(number)).unwrap();
    }
    store.flush().await.unwrap();
    store.close().await.unwrap();
    // Opening again has made a snapshot; a few more come after it, and some of before are gone.
    let (store, _) = Store::open(Config::new(directory.path()), |_| {}).unwrap();
    for number in RECORDS + 1..RECORDS + 20 {
        store.submit(entry(number)).unwrap();
    }
    store.flush().await.unwrap();
    let conn = Connection::open(directory.path().join("roundsman.db")).unwrap();
    conn.execute("DELETE FROM record WHERE notable = 0 AND id <= 100", []).unwrap();
    let mut reader = store.reader().unwrap();
    let batch = reader.outbox(crate::row::Cursor::default(), MAX_ROWS).unwrap();
    assert!(batch.records.len() > 300 && batch.transitions.len() > 60);
    let ids: Vec<i64> = batch.records.iter().map(|row| row.id).collect();
    for query in queries(&ids) {
        let wanted = |id: i64, key: &Key, time: i64| {
            query.check.as_ref().is_none_or(|check| key.check == *check)
                && query.before.is_none_or(|before| id < before)
                && is_within(&query, time)
        };
        let of_records = batch.records.iter().rev().filter(|row| {
            wanted(row.id, &row.record.key, row.record.time.0)
                && query.status.is_none_or(|status| row.record.status == status)
        });
        let of_transitions = batch.transitions.iter().rev().filter(|row| {
            wanted(row.id, &row.key, row.change.at.0)
                && query.status.is_none_or(|status| row.change.to as i64 == status as i64)
        });
        let (records, transitions): (Vec<i64>, Vec<i64>) =
            (of_records.map(|row| row.id).collect(), of_transitions.map(|row| row.id).collect());
        for most in [Most { visited: 1, ..MOST }, Most { visited: 5, ..MOST }, Most { bytes: 500, ..MOST }, MOST] {
            let found = whole(&query, |row: &RecordRow| row.id, |q| reader.find_records(q, most));
            assert_eq!(found, records, "{query:?} {most:?}");
            let found = whole(&query, |row: &TransitionRow| row.id, |q| reader.find_transitions(q, most));
            assert_eq!(found, transitions, "{query:?} {most:?}");
        }
    }
    drop(reader);
    store.close().await.unwrap();
}

/// A search for what is long past does not begin with what is new.
#[tokio::test]
async fn until_is_found_by_halves() {
    let directory = tempfile::tempdir().unwrap();
    let (store, _) = Store::open(Config::new(directory.path()), |_| {}).unwrap();
    for number in 1..=RECORDS {
        store.submit(entry(number)).unwrap();
    }
    store.flush().await.unwrap();
    let mut reader = store.reader().unwrap();
    let query = Query { until: Some(Timestamp(500 * MINUTE)), limit: 5, ..Query::default() };
    // No more than the hour in which a row may be late.
    let page = reader.find_records(&query, Most { visited: 15, ..MOST }).unwrap();
    assert_eq!(page.rows.len(), 5);
    assert!(page.rows.iter().all(|row| row.record.time <= Timestamp(500 * MINUTE)));
    drop(reader);
    store.close().await.unwrap();
}

/// However many are asked for, and however large they are.
#[tokio::test]
async fn a_page_is_not_much_larger_than_its_bound() {
    let directory = tempfile::tempdir().unwrap();
    let (store, _) = Store::open(Config::new(directory.path()), |_| {}).unwrap();
    for number in 1..=50 {
        store.submit(entry(number)).unwrap();
    }
    store.flush().await.unwrap();
    let mut reader = store.reader().unwrap();
    let query = Query { limit: 50, ..Query::default() };
    let all = reader.find_records(&query, MOST).unwrap().rows.len();
    let one = reader.find_records(&query, Most { bytes: 1, ..MOST }).unwrap();
    let some = reader.find_records(&query, Most { bytes: 1_000, ..MOST }).unwrap();
    assert_eq!((all, one.rows.len()), (50, 1));
    assert!((2..50).contains(&some.rows.len()), "{} rows", some.rows.len());
    assert_eq!(some.searched_down_to, some.rows.last().map(|row| row.id));
    drop(reader);
    store.close().await.unwrap();
}
