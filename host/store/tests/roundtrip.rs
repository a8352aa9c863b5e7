//! What goes in comes out: every field of a record, and what is written with it.
#![allow(clippy::unwrap_used, clippy::panic, reason = "what fails here fails the test")]

mod common;

use std::sync::Arc;

use common::{all_records, change as changed, entry, key, open_in, outcome, turned};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use roundsman_model::counts::Counts;
use roundsman_model::findings::{FindingChange, Findings};
use roundsman_model::flap::Flap;
use roundsman_model::key::Key;
use roundsman_model::name::{CheckName, PluginName};
use roundsman_model::record::{Blame, Call, Finding, Level, LogLine, Origin, Point, Record, Status, Story, Value};
use roundsman_model::silence::{MAX_SILENCES, Silence, Until};
use roundsman_model::state::{Change, Quiet, Soft, Standing, State};
use roundsman_model::time::Timestamp;
use roundsman_store::{Cursor, ENCODER, Entry, Query, Recorded, TagSet, Turned};

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
    let flap = vec(status(), 0..30)
        .prop_map(|results| results.into_iter().fold(Flap::default(), |flap, result| flap.after(result)));
    (state(), time(), soft, flap).prop_map(|(state, since, soft, flap)| Standing { state, since, soft, flap })
}

fn change() -> impl Strategy<Value = (State, State, Timestamp, Option<Quiet>)> {
    let quiet = option::of(prop::sample::select(vec![Quiet::Shadow, Quiet::Silenced, Quiet::Suspect, Quiet::Flapping]));
    (state(), state(), time(), quiet)
}

/// Subjects that differ, with a change or without one.
fn finding_changes() -> impl Strategy<Value = Vec<FindingChange>> {
    let change = (option::of(standing()), option::of(change()), any::<String>());
    prop::collection::btree_map(any::<String>(), change, 0..4).prop_map(|changes| {
        let made = changes.into_iter().map(|(subject, (standing, change, summary))| FindingChange {
            subject: subject.into(),
            standing,
            change: change.map(|change| made_at(change, Timestamp(0))),
            summary: summary.into(),
        });
        made.rev().collect()
    })
}

fn made_at((from, to, since, quiet): (State, State, Timestamp, Option<Quiet>), at: Timestamp) -> Change {
    Change { from, to, since, at, quiet }
}

fn story() -> impl Strategy<Value = Story> {
    let level = prop::sample::select(vec![Level::Trace, Level::Debug, Level::Info, Level::Warn, Level::Error]);
    let line = (level, any::<String>()).prop_map(|(level, text)| LogLine { level, text });
    let phases = vec((any::<String>(), any::<u64>()), 0..3);
    let call = (any::<String>(), any::<String>(), phases, any::<u64>())
        .prop_map(|(what, result, phases, duration_ns)| Call { what, result, phases, duration_ns });
    (vec(line, 0..3), vec(call, 0..3)).prop_map(|(log, calls)| Story { log, calls })
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
            prop::sample::select(vec![
                Origin::Schedule,
                Origin::Retry,
                Origin::RunNow,
                Origin::CatchUp,
                Origin::Pushed,
                Origin::Expired,
            ]),
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
        (findings, suspect) in (vec(finding(), 0..3), any::<bool>()),
    ) -> Record {
        Record {
            key: Key { check: CheckName::new("a").unwrap(), target: target.map(Arc::from) },
            plugin: PluginName::new("p").unwrap(),
            origin, time, started, status, blame,
            code: code.map(Arc::from), summary: summary.into(),
            standing, attempt, latency_ns, duration_ns, lag_ns, cpu_ns, interval_ns, points, findings, suspect,
        }
    }
}

prop_compose! {
    fn recorded()(
        record in record(),
        tags in vec(any::<(String, String)>(), 0..4),
        change in option::of(change()),
        mut findings in finding_changes(),
        memory in vec((any::<String>(), vec(any::<u8>(), 0..20)), 0..3),
        counts in counts(),
        last_tick in time(),
        story in story(),
    ) -> Recorded {
        let at = record.time;
        for change in findings.iter_mut().filter_map(|finding| finding.change.as_mut()) {
            change.at = at;
        }
        Recorded {
            record,
            tags: TagSet::new(tags),
            change: change.map(|change| made_at(change, at)),
            findings,
            memory: memory.into_iter().map(|(name, value)| (name, Some(value))).collect(),
            counts,
            last_tick,
            story,
            conduct: None,
        }
    }
}

/// What is to become rows: the subject's own change, then those of findings by name.
fn transitions(recorded: &Recorded) -> Vec<(Option<Arc<str>>, Change, Arc<str>)> {
    let own = recorded.change.map(|change| (None, change, recorded.record.summary.clone()));
    let of_finding = |f: &FindingChange| Some((Some(f.subject.clone()), f.change?, f.summary.clone()));
    let mut all: Vec<_> = own.into_iter().chain(recorded.findings.iter().filter_map(of_finding)).collect();
    all.sort_by(|a, b| a.0.cmp(&b.0));
    all
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
        let expected = transitions(&recorded);
        prop_assert_eq!(batch.transitions.len(), expected.len());
        for (i, (transition, (finding, change, summary))) in batch.transitions.iter().zip(expected).enumerate() {
            prop_assert_eq!((&transition.key, &transition.plugin), (&recorded.record.key, &recorded.record.plugin));
            prop_assert_eq!((&transition.tags, transition.record), (&recorded.tags, row.id));
            prop_assert_eq!((&transition.finding, transition.change, &transition.summary), (&finding, change, &summary));
            let end = recorded.record.time.0 > i64::MAX - 10;
            prop_assert!(transition.time.0 == recorded.record.time.0.saturating_add(i as i64) || end);
        }
        let mut memory = reader.memory(&recorded.record.key).unwrap();
        memory.sort();
        let mut expected = std::collections::BTreeMap::new();
        expected.extend(recorded.memory.iter().map(|(name, value)| (name.clone(), value.clone().unwrap())));
        prop_assert_eq!(memory, expected.into_iter().collect::<Vec<_>>());
        let kept = (recorded.record.status != Status::Ok).then(|| (row.clone(), recorded.story.clone()));
        prop_assert_eq!(reader.stories(&recorded.record.key, 10).unwrap(), kept.into_iter().collect::<Vec<_>>());
        drop(reader);
        runtime.block_on(store.close()).unwrap();
        let (store, restored, _) = open_in(directory.path());
        let subject = &restored.subjects[0];
        prop_assert_eq!((&subject.key, subject.standing), (&recorded.record.key, Some(recorded.record.standing)));
        prop_assert_eq!((subject.counts, subject.last_tick), (recorded.counts, recorded.last_tick));
        prop_assert_eq!((subject.high_water, subject.last_status), (recorded.record.time, Some(recorded.record.status)));
        let known = recorded.findings.iter().filter_map(|f| Some((f.subject.clone(), f.standing?)));
        let known: Findings = known.collect();
        prop_assert_eq!(restored.findings.get(&recorded.record.key).cloned().unwrap_or_default(), known);
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
async fn stories_of_the_last_failing_runs() {
    let directory = tempfile::tempdir().unwrap();
    let (store, _, _) = open_in(directory.path());
    for number in 1..=8 {
        let status = if number == 7 { Status::Ok } else { Status::Critical };
        let mut recorded = outcome(&key(0), number, status);
        // A run that left nothing to tell is found all the same.
        let told = (number != 5).then(|| LogLine { level: Level::Info, text: format!("run {number}") });
        recorded.story.log.extend(told);
        store.submit(entry(recorded)).unwrap();
    }
    store.submit(entry(outcome(&key(1), 9, Status::Unknown))).unwrap();
    store.flush().await.unwrap();
    let mut reader = store.reader().unwrap();
    let mut told = |key: &Key, limit: usize| -> Vec<(i64, Option<String>)> {
        let stories = reader.stories(key, limit).unwrap();
        let text = |story: &Story| story.log.first().map(|line| line.text.clone());
        stories.iter().map(|(row, story)| (row.record.time.0, text(story))).collect()
    };
    let run = |number: i64| (number, (number != 5).then(|| format!("run {number}")));
    assert_eq!(told(&key(0), 100), [8, 6, 5, 4, 3].map(run));
    assert_eq!(told(&key(0), 2), [8, 6].map(run));
    assert_eq!((told(&key(1), 5), told(&key(2), 5)), (vec![(9, None)], vec![]));
    drop(reader);
    store.close().await.unwrap();
    let conn = rusqlite::Connection::open(directory.path().join("roundsman.db")).unwrap();
    let kept: i64 = conn.query_row("SELECT count(*) FROM story", [], |row| row.get(0)).unwrap();
    assert_eq!(kept, 5, "what is not among the last is gone");
}

fn silence(id: u64) -> Silence {
    Silence {
        id,
        check: id.is_multiple_of(2).then(|| "shop".into()),
        target: id.is_multiple_of(3).then(|| "".into()),
        author: "ann".into(),
        reason: "known".into(),
        created: Timestamp(5),
        until: if id.is_multiple_of(5) { Until::Recovery } else { Until::Instant(Timestamp(9)) },
    }
}

#[tokio::test]
async fn silences_come_change_and_go() {
    let directory = tempfile::tempdir().unwrap();
    let (store, restored, _) = open_in(directory.path());
    assert_eq!(restored.silences, []);
    let renewed = Silence { reason: "still known".into(), ..silence(2) };
    for silence in [silence(u64::MAX), silence(10), silence(2), silence(3), renewed.clone()] {
        store.submit(Entry::Silenced(Arc::new(silence))).unwrap();
    }
    for id in [3, 4] {
        store.submit(Entry::Unsilenced { id }).unwrap();
    }
    store.close().await.unwrap();
    let (store, restored, published) = open_in(directory.path());
    assert_eq!(restored.silences, [renewed, silence(10), silence(u64::MAX)]);
    for id in 100..100 + MAX_SILENCES as u64 {
        store.submit(Entry::Silenced(Arc::new(silence(id)))).unwrap();
    }
    store.submit(Entry::Unsilenced { id: 2 }).unwrap();
    store.submit(Entry::Silenced(Arc::new(silence(7)))).unwrap();
    store.flush().await.unwrap();
    assert_eq!((store.health().refused, published.lock().unwrap().len()), (3, MAX_SILENCES - 3 + 2));
    store.close().await.unwrap();
    let (store, restored, _) = open_in(directory.path());
    assert_eq!(restored.silences.len(), MAX_SILENCES);
    assert_eq!((restored.silences[0].id, restored.silences[1].id), (7, 10));
    store.close().await.unwrap();
}

#[tokio::test]
async fn findings_go_with_their_subject() {
    let directory = tempfile::tempdir().unwrap();
    let (store, _, _) = open_in(directory.path());
    let finding = |name: &str, standing: Option<Standing>| FindingChange {
        subject: name.into(),
        standing,
        change: None,
        summary: "full".into(),
    };
    let full = Standing { state: State::Critical, ..Standing::pending(Timestamp(7)) };
    for (number, changes) in [
        (0, vec![finding("/", Some(full)), finding("/var", Some(full))]),
        (1, vec![finding("/", Some(full))]),
        (0, vec![finding("/", Some(Standing::pending(Timestamp(8)))), finding("/var", None)]),
    ] {
        let time = all_records(&mut store.reader().unwrap()).len() as i64 + 1;
        let recorded = Recorded { findings: changes, ..outcome(&key(number), time, Status::Critical) };
        store.submit(entry(recorded)).unwrap();
        store.flush().await.unwrap();
    }
    store.submit(Entry::Forget { key: key(1) }).unwrap();
    store.close().await.unwrap();
    let (store, restored, _) = open_in(directory.path());
    let left = Findings::from([("/".into(), Standing::pending(Timestamp(8)))]);
    assert_eq!(restored.findings.into_iter().collect::<Vec<_>>(), [(key(0), left)]);
    store.close().await.unwrap();
    let conn = rusqlite::Connection::open(directory.path().join("roundsman.db")).unwrap();
    let rows: i64 = conn.query_row("SELECT count(*) FROM finding", [], |row| row.get(0)).unwrap();
    assert_eq!(rows, 1);
}

/// A change without a record: a row of its own, the standing, the counters, and nothing of records.
#[tokio::test]
async fn a_turn_without_a_record() {
    let directory = tempfile::tempdir().unwrap();
    let (store, _, published) = open_in(directory.path());
    let after: Turned = turned(&key(0), 50);
    let fresh = turned(&key(1), 60);
    store.submit(entry(outcome(&key(0), 10, Status::Ok))).unwrap();
    store.submit(Entry::Turned(Box::new(after.clone()))).unwrap();
    store.submit(Entry::Turned(Box::new(fresh.clone()))).unwrap();
    store.flush().await.unwrap();
    assert_eq!(published.lock().unwrap().len(), 3);
    let mut reader = store.reader().unwrap();
    let batch = reader.outbox(Cursor::default(), 10).unwrap();
    assert_eq!((batch.records.len(), batch.next), (1, Cursor { record: 1, transition: 2 }));
    for (row, turned) in batch.transitions.iter().zip([&after, &fresh]) {
        assert_eq!((&row.key, &row.plugin, &row.tags), (&turned.key, &turned.plugin, &turned.tags));
        assert_eq!((row.change, &row.summary, row.time), (turned.change, &turned.summary, turned.change.at));
        assert_eq!((row.record, &row.finding), (0, &None));
    }
    let of_it = Query { check: Some(key(1).check), limit: 10, ..Query::default() };
    let page = reader.transitions(&of_it).unwrap();
    assert_eq!((page.rows.len(), page.searched_down_to), (1, None));
    assert_eq!(reader.records(&of_it).unwrap().rows, []);
    assert_eq!(store.health().transitions, 2);
    drop(reader);
    store.close().await.unwrap();

    let (store, restored, _) = open_in(directory.path());
    for (subject, turned) in restored.subjects.iter().zip([after, fresh]) {
        assert_eq!((subject.standing, subject.counts), (Some(turned.standing), turned.counts));
        assert_eq!(subject.last_tick, turned.last_tick);
    }
    let marks: Vec<_> = restored.subjects.iter().map(|s| (s.high_water.0, s.last_status)).collect();
    assert_eq!(marks, [(10, Some(Status::Ok)), (i64::MIN, None)]);
    // Records go on where they were, before the instant of the change, too.
    store.submit(entry(outcome(&key(0), 11, Status::Ok))).unwrap();
    store.flush().await.unwrap();
    assert_eq!(store.health().refused, 0);
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
        recorded.change = Some(changed(number as i64 + 1));
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
    assert_eq!(reader.records(&of_it).unwrap().rows.len(), 1);
    drop(reader);
    store.close().await.unwrap();

    let (store, restored, published) = open_in(directory.path());
    assert_eq!(restored.subjects, []);
    // Its series goes on: an instant that was used stays used.
    store.submit(entry(outcome(&key(0), 10, Status::Ok))).unwrap();
    store.submit(entry(outcome(&key(0), 11, Status::Ok))).unwrap();
    store.flush().await.unwrap();
    assert_eq!((published.lock().unwrap().len(), store.health().refused), (1, 1));
    assert_eq!(store.reader().unwrap().records(&of_it).unwrap().rows.len(), 2);
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
