//! What goes in comes out: every field of a record, and what is written with it.
#![allow(clippy::unwrap_used, clippy::panic, reason = "what fails here fails the test")]

mod common;

use std::sync::Arc;

use common::{all_records, change, entry, key, open_in, outcome};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use roundsman_model::counts::Counts;
use roundsman_model::key::Key;
use roundsman_model::name::{CheckName, PluginName};
use roundsman_model::record::{Blame, Finding, Origin, Point, Record, Status, Value};
use roundsman_model::state::{Change, Soft, Standing, State};
use roundsman_model::time::Timestamp;
use roundsman_store::{Cursor, ENCODER, Entry, LogLevel, LogLine, Query, Recorded, TagSet};

fn status() -> impl Strategy<Value = Status> {
    prop::sample::select(vec![Status::Ok, Status::Warning, Status::Critical, Status::Unknown])
}

fn state() -> impl Strategy<Value = State> {
    use State::{Critical, Ok, Pending, Skipped, Stale, Unknown, Warning};
    prop::sample::select(vec![Ok, Warning, Critical, Unknown, Pending, Skipped, Stale])
}

fn time() -> impl Strategy<Value = Timestamp> {
    prop_oneof![any::<i64>(), Just(i64::MIN), Just(i64::MAX), Just(0)].prop_map(Timestamp)
}

fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        any::<f64>().prop_filter("finite", |real| real.is_finite()).prop_map(Value::Real),
        any::<i64>().prop_map(Value::Integer),
        any::<bool>().prop_map(Value::Boolean),
        any::<String>().prop_map(Value::Text),
    ]
}

fn point() -> impl Strategy<Value = Point> {
    let pair = (any::<String>(), any::<String>());
    let points = (any::<String>(), vec(pair, 0..3), vec((any::<String>(), value()), 0..4));
    points.prop_map(|(series, tags, fields)| Point { series, tags, fields })
}

fn finding() -> impl Strategy<Value = Finding> {
    let parts = (any::<String>(), status(), any::<String>());
    parts.prop_map(|(subject, status, summary)| Finding { subject, status, summary })
}

fn standing() -> impl Strategy<Value = Standing> {
    let soft = option::of((status(), any::<u32>()).prop_map(|(status, count)| Soft { status, count }));
    (state(), time(), soft).prop_map(|(state, since, soft)| Standing { state, since, soft })
}

prop_compose! {
    fn counts()(due in any::<u64>(), run in any::<u64>(), missed in any::<u64>(), overlap in any::<u64>(), skipped in any::<u64>()) -> Counts {
        Counts { due, run, missed, overlap, skipped }
    }
}

prop_compose! {
    fn record()(
        (target, origin, time, started) in (
            option::of("[^\0]{1,20}"),
            prop::sample::select(vec![Origin::Schedule, Origin::Retry, Origin::RunNow]),
            any::<i64>().prop_filter("later than the lowest", |time| *time > i64::MIN).prop_map(Timestamp),
            time(),
        ),
        (status, blame, code, summary) in (
            status(),
            prop::sample::select(vec![Blame::Target, Blame::Plugin, Blame::Host]),
            option::of(any::<String>()),
            any::<String>(),
        ),
        (standing, attempt, latency_ns) in (standing(), any::<u32>(), option::of(any::<u64>())),
        (duration_ns, lag_ns, cpu_ns, interval_ns) in any::<(u64, u64, u64, u64)>(),
        points in vec(point(), 0..3),
        findings in vec(finding(), 0..3),
    ) -> Record {
        Record {
            key: Key { check: CheckName::new("a").unwrap(), target: target.map(Arc::from) },
            plugin: PluginName::new("p").unwrap(),
            origin, time, started, status, blame,
            code: code.map(Arc::from), summary: summary.into(),
            standing, attempt, latency_ns, duration_ns, lag_ns, cpu_ns, interval_ns, points, findings,
        }
    }
}

prop_compose! {
    fn recorded()(
        record in record(),
        tags in vec(any::<(String, String)>(), 0..4),
        change in option::of((state(), state(), time())),
        memory in vec((any::<String>(), vec(any::<u8>(), 0..20)), 0..3),
        counts in counts(),
        last_tick in time(),
        log in vec(any::<String>(), 0..3),
    ) -> Recorded {
        let at = record.time;
        Recorded {
            record,
            tags: TagSet::new(tags),
            change: change.map(|(from, to, since)| Change { from, to, since, at }),
            memory: memory.into_iter().map(|(name, value)| (name, Some(value))).collect(),
            counts,
            last_tick,
            log: log.into_iter().map(|text| LogLine { level: LogLevel::Warn, text }).collect(),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_field(recorded in recorded()) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let directory = tempfile::tempdir().unwrap();
        let (store, _, published) = open_in(directory.path());
        store.submit(entry(recorded.clone())).unwrap();
        runtime.block_on(store.flush()).unwrap();
        prop_assert_eq!(&*published.lock().unwrap(), &[entry(recorded.clone())]);
        let mut reader = store.reader().unwrap();
        let batch = reader.outbox(Cursor::default(), 10).unwrap();
        let row = &batch.records[0];
        prop_assert_eq!(&row.record, &recorded.record);
        prop_assert_eq!((&row.tags, row.encoder, batch.next.record), (&recorded.tags, ENCODER, row.id));
        let transition = batch.transitions.first();
        prop_assert_eq!(transition.map(|row| row.change), recorded.change);
        if let Some(transition) = transition {
            prop_assert_eq!((&transition.key, &transition.plugin), (&recorded.record.key, &recorded.record.plugin));
            prop_assert_eq!((&transition.tags, transition.record), (&recorded.tags, row.id));
            prop_assert_eq!(&transition.summary, &recorded.record.summary);
        }
        let mut memory = reader.memory(&recorded.record.key).unwrap();
        memory.sort();
        let mut expected = std::collections::BTreeMap::new();
        expected.extend(recorded.memory.iter().map(|(name, value)| (name.clone(), value.clone().unwrap())));
        prop_assert_eq!(memory, expected.into_iter().collect::<Vec<_>>());
        let kept = if recorded.record.status == Status::Ok { Vec::new() } else { recorded.log.clone() };
        prop_assert_eq!(reader.logs(row.id).unwrap(), kept);
        drop(reader);
        runtime.block_on(store.close()).unwrap();
        let (store, restored, _) = open_in(directory.path());
        let subject = &restored.subjects[0];
        prop_assert_eq!((&subject.key, subject.standing), (&recorded.record.key, Some(recorded.record.standing)));
        prop_assert_eq!((subject.counts, subject.last_tick), (recorded.counts, recorded.last_tick));
        prop_assert_eq!((subject.high_water, subject.last_status), (recorded.record.time, Some(recorded.record.status)));
        runtime.block_on(store.close()).unwrap();
    }
}

#[tokio::test]
async fn memory_is_set_replaced_and_deleted() {
    let directory = tempfile::tempdir().unwrap();
    let (store, _, _) = open_in(directory.path());
    type Step = (&'static [(&'static str, Option<&'static str>)], &'static [(&'static str, &'static str)]);
    let steps: [Step; 4] = [
        (&[("a", Some("1")), ("b", Some("2"))], &[("a", "1"), ("b", "2")]),
        (&[("a", Some("3"))], &[("a", "3"), ("b", "2")]),
        (&[("b", None)], &[("a", "3")]),
        (&[], &[("a", "3")]),
    ];
    for (number, (changes, expected)) in steps.into_iter().enumerate() {
        let mut recorded = outcome(&key(0), number as i64 + 1, Status::Ok);
        let owned = |(name, value): &(&str, Option<&str>)| ((*name).to_owned(), value.map(|v| v.as_bytes().to_vec()));
        recorded.memory = changes.iter().map(owned).collect();
        store.submit(entry(recorded)).unwrap();
        store.flush().await.unwrap();
        let memory = store.reader().unwrap().memory(&key(0)).unwrap();
        let expected: Vec<_> = expected.iter().map(|(n, v)| ((*n).to_owned(), v.as_bytes().to_vec())).collect();
        assert_eq!(memory, expected);
    }
    assert_eq!(store.reader().unwrap().memory(&key(1)).unwrap(), []);
    store.close().await.unwrap();
}

#[tokio::test]
async fn logs_of_the_last_failing_runs() {
    let directory = tempfile::tempdir().unwrap();
    let (store, _, _) = open_in(directory.path());
    for number in 1..=8 {
        let status = if number == 7 { Status::Ok } else { Status::Critical };
        let mut recorded = outcome(&key(0), number, status);
        recorded.log = vec![LogLine { level: LogLevel::Info, text: format!("run {number}") }];
        store.submit(entry(recorded)).unwrap();
    }
    store.flush().await.unwrap();
    let mut reader = store.reader().unwrap();
    let rows = all_records(&mut reader);
    let logged: Vec<i64> =
        rows.iter().filter(|row| !reader.logs(row.id).unwrap().is_empty()).map(|row| row.record.time.0).collect();
    assert_eq!(logged, [3, 4, 5, 6, 8]);
    store.close().await.unwrap();
}

#[tokio::test]
async fn a_changed_label_changes_later_rows_only() {
    let directory = tempfile::tempdir().unwrap();
    let (store, _, _) = open_in(directory.path());
    let teams = ["web", "web", "db", "web"];
    for (number, team) in teams.into_iter().enumerate() {
        let mut recorded = outcome(&key(0), number as i64 + 1, Status::Ok);
        recorded.tags = TagSet::new([("check", "check-0"), ("team", team)]);
        recorded.change = Some(change(number as i64 + 1));
        store.submit(entry(recorded)).unwrap();
        store.flush().await.unwrap();
    }
    let batch = store.reader().unwrap().outbox(Cursor::default(), 10).unwrap();
    let of_records: Vec<_> = batch.records.iter().map(|row| row.tags.get("team").unwrap()).collect();
    let of_transitions: Vec<_> = batch.transitions.iter().map(|row| row.tags.get("team").unwrap()).collect();
    assert_eq!((&of_records[..], &of_transitions[..]), (&teams[..], &teams[..]));
    store.close().await.unwrap();
}

#[tokio::test]
async fn a_forgotten_subject_keeps_its_history_and_comes_back() {
    let directory = tempfile::tempdir().unwrap();
    let (store, _, _) = open_in(directory.path());
    let mut recorded = outcome(&key(0), 10, Status::Critical);
    recorded.memory = vec![("a".into(), Some(b"1".to_vec()))];
    store.submit(entry(recorded)).unwrap();
    store.submit(Entry::Forget { key: key(0) }).unwrap();
    store.submit(Entry::Forget { key: key(1) }).unwrap();
    store.flush().await.unwrap();
    let mut reader = store.reader().unwrap();
    assert_eq!(reader.memory(&key(0)).unwrap(), []);
    let of_it = Query { check: Some(key(0).check), limit: 10, ..Query::default() };
    assert_eq!(reader.records(&of_it).unwrap().len(), 1);
    drop(reader);
    store.close().await.unwrap();

    let (store, restored, published) = open_in(directory.path());
    assert_eq!(restored.subjects, []);
    // Its series goes on: an instant that was used stays used.
    store.submit(entry(outcome(&key(0), 10, Status::Ok))).unwrap();
    store.submit(entry(outcome(&key(0), 11, Status::Ok))).unwrap();
    store.flush().await.unwrap();
    assert_eq!((published.lock().unwrap().len(), store.health().refused), (1, 1));
    assert_eq!(store.reader().unwrap().records(&of_it).unwrap().len(), 2);
    store.close().await.unwrap();
    let (store, restored, _) = open_in(directory.path());
    assert_eq!(restored.subjects.len(), 1);
    store.close().await.unwrap();
}

#[tokio::test]
async fn counters_without_a_record_are_kept() {
    let directory = tempfile::tempdir().unwrap();
    let (store, _, _) = open_in(directory.path());
    store.submit(entry(outcome(&key(0), 10, Status::Warning))).unwrap();
    let counts = Counts { due: 9, run: 2, missed: 7, ..Counts::default() };
    store.submit(Entry::Counted { key: key(0), counts, last_tick: Timestamp(90) }).unwrap();
    store.submit(Entry::Counted { key: key(1), counts, last_tick: Timestamp(91) }).unwrap();
    store.close().await.unwrap();
    let (store, restored, _) = open_in(directory.path());
    let seen: Vec<_> = restored.subjects.iter().map(|s| (s.counts, s.last_tick.0, s.last_status)).collect();
    assert_eq!(seen, [(counts, 90, Some(Status::Warning)), (counts, 91, None)]);
    assert_eq!(restored.subjects[0].high_water, Timestamp(10));
    store.close().await.unwrap();
}
