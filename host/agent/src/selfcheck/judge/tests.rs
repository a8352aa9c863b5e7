//! Tests of `judge` and of the points that come with it.

use std::sync::Arc;

use roundsman_model::counts::Counts;
use roundsman_model::name::is_series_name;
use roundsman_model::record::Value;
use roundsman_plugin::describe::HOST_TAGS;
use roundsman_web::sample::Process;

use super::*;
use crate::cgroup::{Cpu, Memory};
use crate::selfcheck::age::Marks;
use crate::selfcheck::window::{DestinationFacts, Facts};
use crate::stats::Histogram;

const MI: u64 = 1 << 20;
const LOOK: Duration = Duration::from_secs(10);

/// An agent that keeps all its promises: 1,000 ticks were run in the window.
fn calm_facts() -> Facts {
    let histogram = Histogram::default();
    (0..1_000).for_each(|_| histogram.observe(Duration::from_micros(400)));
    let process = Process {
        cpu_seconds: 100.0,
        resident_bytes: 60 * MI,
        anonymous_bytes: 31 * MI,
        open_files: 40,
        max_open_files: 1024,
        threads: 9,
        start_time_s: 0.0,
    };
    let mut facts = Facts {
        at: LOOK,
        lag: histogram.now(),
        queue: histogram.now(),
        run: histogram.now(),
        ticks: Counts { due: 1_000, run: 1_000, ..Counts::default() },
        slots: 256,
        process: Some(process),
        store_max_bytes: 512 * MI,
        committed: 1_000,
        destinations: vec![main(5)],
        ..Facts::default()
    };
    facts.store.bytes = 100 * MI;
    facts.store.records = 100_000;
    facts.cgroup.cpu = Some(Cpu { cores: 0.5, periods: 100, throttled: 10, throttled_us: 5_000 });
    facts.cgroup.memory = Some(Memory { limit_bytes: 200 * MI, used_bytes: 100 * MI });
    facts
}

fn main(rows: u64) -> DestinationFacts {
    DestinationFacts { name: "main".into(), rows, failures: 0, rejected: 0, held: None }
}

/// The look before.
fn earlier() -> Facts {
    let mut facts = Facts { destinations: vec![main(0)], ..Facts::default() };
    facts.process = Some(Process { cpu_seconds: 98.5, ..Process::default() });
    facts.cgroup.cpu = Some(Cpu { cores: 0.5, periods: 0, throttled: 0, throttled_us: 0 });
    facts.cgroup.oom_kills = Some(0);
    facts
}

fn look(now: &Facts, away: Option<Duration>) -> Verdict {
    let mut marks = Marks::default();
    marks.note(Duration::ZERO, 1_000, u64::MAX);
    judge(&Window::between(&earlier(), now, &marks, away))
}

fn observe(lags_ms: &[(u64, u64)]) -> crate::stats::Distribution {
    let histogram = Histogram::default();
    for (count, ms) in lags_ms {
        (0..*count).for_each(|_| histogram.observe(Duration::from_millis(*ms)));
    }
    histogram.now()
}

fn memory(used: u64) -> Option<Memory> {
    Some(Memory { limit_bytes: 200 * MI, used_bytes: used * MI })
}

type Case = (fn(&mut Facts), Status, &'static str, &'static str);

/// (what is different, status, the subject of the worst finding, the summary)
const CASES: [Case; 29] = [
    (|_| {}, Status::Ok, "", "lag p99 0.5 ms; 1000 of 1000 ticks run; 31 MiB in use"),
    (|f| f.lag = observe(&[]), Status::Ok, "", "no runs; 1000 of 1000 ticks run; 31 MiB in use"),
    (
        |f| f.quarantined = vec![("http".into(), "plugin http is quarantined".into())],
        Status::Warning,
        "plugin/http",
        "plugin http is quarantined",
    ),
    (
        |f| f.quarantined = vec![("a".into(), "a is".into()), ("b".into(), "b is".into())],
        Status::Warning,
        "plugin/a",
        "a is; and 1 more",
    ),
    // Lag: up to the bound, beyond it, and why.
    (|f| f.lag = observe(&[(999, 1), (1, 1_000)]), Status::Ok, "", "lag p99"),
    (|f| f.lag = observe(&[(990, 1), (10, 1_001)]), Status::Critical, "lag", "p99.9 lag 2"),
    (
        |f| f.lag = observe(&[(1, 30_000)]),
        Status::Critical,
        "lag",
        "p99.9 lag 30000 ms: the machine has no processor time",
    ),
    (|f| f.lag = observe(&[(980, 1), (20, 100)]), Status::Ok, "", "lag p99"),
    (|f| f.lag = observe(&[(980, 1), (20, 101)]), Status::Warning, "lag", "p99 lag 1"),
    (
        |f| (f.lag, f.queue) = (observe(&[(100, 200)]), observe(&[(100, 200)])),
        Status::Warning,
        "lag",
        "p99 lag 248 ms: runs wait 248 ms for a slot: raise `limits: {runs}` (256)",
    ),
    (
        |f| {
            f.lag = observe(&[(100, 200)]);
            f.cgroup.cpu = Some(Cpu { cores: 0.5, periods: 100, throttled: 34, throttled_us: 5_000 });
        },
        Status::Warning,
        "lag",
        "p99 lag 248 ms: the agent is throttled in 34 % of periods: raise the CPU limit; and 1 more",
    ),
    (
        |f| f.cgroup.cpu = Some(Cpu { cores: 0.5, periods: 100, throttled: 34, throttled_us: 5_000 }),
        Status::Warning,
        "cpu",
        "throttled in 34 % of periods: raise the CPU limit (0.5 cores)",
    ),
    (
        |f| f.pause = Duration::from_millis(1_001),
        Status::Warning,
        "loop",
        "the engine's loop stood still for 1001 ms: ",
    ),
    (|f| f.pause = Duration::from_secs(1), Status::Ok, "", "lag p99"),
    (
        |f| f.ticks = Counts { due: 1_000, run: 997, missed: 3, ..Counts::default() },
        Status::Critical,
        "missed",
        "3 of 1000 ticks missed for want of a slot (256 in all): raise `limits: {runs}`",
    ),
    (|f| f.ticks = Counts { due: 9, run: 4, overlap: 3, skipped: 2, missed: 0 }, Status::Ok, "", "lag p99"),
    // The store.
    (|f| f.lost = 1, Status::Critical, "store", "1 records lost: the disk does not keep up; give the disk"),
    (
        |f| f.store.degraded = Some("disk full".into()),
        Status::Critical,
        "store",
        "the store keeps records in memory only: disk full; ",
    ),
    (
        |f| (f.lost, f.store.degraded) = (7, Some("disk full".into())),
        Status::Critical,
        "store",
        "7 records lost: disk full; ",
    ),
    (|f| f.store.dropped_unsent = 4, Status::Warning, "store", "4 records deleted before every destination had them; "),
    // Memory.
    (|f| f.cgroup.memory = memory(170), Status::Ok, "", "lag p99"),
    (
        |f| f.cgroup.memory = memory(172),
        Status::Warning,
        "memory",
        "14 % of the memory limit left (172 of 200 MiB in use): raise",
    ),
    (
        |f| f.cgroup.memory = memory(192),
        Status::Critical,
        "memory",
        "4 % of the memory limit left (192 of 200 MiB in use): raise",
    ),
    (
        |f| f.cgroup.oom_kills = Some(2),
        Status::Warning,
        "memory",
        "2 processes of the agent killed for want of memory: ",
    ),
    (|f| f.cgroup.high = memory(200), Status::Warning, "memory", "slowed down beyond 200 MiB (memory.high): "),
    // Descriptors.
    (
        |f| f.process = f.process.map(|p| Process { open_files: 973, ..p }),
        Status::Critical,
        "files",
        "973 of 1024 file descriptors open: raise the limit (LimitNOFILE=",
    ),
    (
        |f| f.process = f.process.map(|p| Process { open_files: 5_000, max_open_files: 0, ..p }),
        Status::Ok,
        "",
        "lag p99",
    ),
    // The worst is told first, whatever its place.
    (
        |f| (f.lost, f.pause, f.cgroup.memory) = (0, Duration::from_secs(2), memory(199)),
        Status::Critical,
        "memory",
        "0 % of the memory limit left (199 of 200 MiB in use): raise the memory limit, or lower `limits: {memory}`; and 1 more",
    ),
    (|f| f.process = None, Status::Ok, "", "lag p99 0.5 ms; 1000 of 1000 ticks run; 0 MiB in use"),
];

#[test]
fn promises() {
    for (change, status, subject, summary) in CASES {
        let mut facts = calm_facts();
        change(&mut facts);
        let verdict = look(&facts, None);
        assert_eq!((verdict.status, verdict.summary.starts_with(summary)), (status, true), "{summary}: {verdict:?}");
        assert_eq!(verdict.findings.first().map_or("", |worst| &worst.subject), subject, "{verdict:?}");
        let worst = verdict.findings.iter().map(|finding| finding.status).max().unwrap_or(Status::Ok);
        assert_eq!(worst, status, "{verdict:?}");
    }
}

#[test]
fn an_absence_explains_what_was_missed() {
    let mut facts = calm_facts();
    facts.ticks = Counts { due: 1_012, run: 1_000, missed: 12, ..Counts::default() };
    facts.lag = observe(&[(1, 30_000)]);
    facts.pause = Duration::from_secs(30);
    assert_eq!(look(&facts, None).status, Status::Critical);
    let verdict = look(&facts, Some(Duration::from_millis(30_400)));
    assert_eq!(verdict.status, Status::Warning);
    assert_eq!(verdict.summary, "was away for 30s (stopped, asleep or without a processor): 12 ticks missed");
    assert_eq!(verdict.findings.len(), 1);
    facts.lost = 1;
    assert_eq!(look(&facts, Some(LOOK)).status, Status::Critical, "it explains nothing else");
}

#[test]
fn destinations_that_do_not_follow() {
    let held = |rows, held: &str| DestinationFacts { held: Some(held.into()), ..main(rows) };
    for (destination, after_s, max_mib, expected) in [
        (main(1_000), 600, 512, None),
        (main(1_000), 601, 512, Some("main is 10m1s behind by 1000 records: it takes less than there is")),
        (held(1_000, "401 Unauthorized"), 3_600, 512, Some("main is 1h behind by 1000 records: 401 Unauthorized")),
        // What waits takes 60 of 100 MiB.
        (
            main(60_000),
            10,
            100,
            Some(
                "60000 records wait for main, 60 % of the history's budget: it takes less than there is; mend it or raise \
                 `store: {maxSize}`",
            ),
        ),
        (main(60_000), 10, 512, None),
        (
            DestinationFacts { rejected: 3, ..main(0) },
            10,
            512,
            Some("main refused 3 points for good: see rejected lines in `paths: {state}` and the log"),
        ),
        (DestinationFacts { failures: 3, ..main(0) }, 10, 512, None),
    ] {
        let mut facts = calm_facts();
        (facts.at, facts.store_max_bytes) = (Duration::from_secs(after_s), max_mib * MI);
        facts.destinations = vec![destination];
        let verdict = look(&facts, None);
        let found = verdict.findings.iter().find(|finding| finding.subject == "destination main");
        assert_eq!(found.map(|finding| &*finding.summary), expected, "{verdict:?}");
        assert_eq!(verdict.status, if expected.is_some() { Status::Warning } else { Status::Ok });
    }
}

fn value<'a>(point: &'a Point, name: &str) -> Option<&'a Value> {
    point.fields.iter().find(|(field, _)| field == name).map(|(_, value)| value)
}

#[test]
fn points_say_what_happened_since_the_last_look() {
    let verdict = look(&calm_facts(), None);
    let [agent, destination] = &verdict.points[..] else { panic!("{verdict:?}") };
    assert_eq!((&*agent.series, &*destination.series), ("agent", "agent_destination"));
    assert_eq!(destination.tags, [("destination".to_owned(), "main".to_owned())]);
    for (name, expected) in [
        ("due", Value::Integer(1_000)),
        ("missed", Value::Integer(0)),
        ("slots", Value::Integer(256)),
        ("cpu_percent", Value::Real(15.0)),
        ("cpu_seconds", Value::Real(100.0)),
        ("rss_anon_bytes", Value::Integer(31 << 20)),
        ("memory_headroom_percent", Value::Real(50.0)),
        ("throttled_percent", Value::Real(10.0)),
        ("throttled_ms", Value::Real(5.0)),
        ("store_bytes", Value::Integer(100 << 20)),
        ("away_s", Value::Real(0.0)),
        ("open_files", Value::Integer(40)),
    ] {
        assert_eq!(value(agent, name), Some(&expected), "{name}");
    }
    assert_eq!(value(destination, "behind_rows"), Some(&Value::Integer(5)));
    assert_eq!(value(destination, "oldest_unsent_s"), Some(&Value::Real(10.0)));
}

#[test]
fn fields_have_good_names_and_one_type() {
    let bare = Facts { destinations: vec![main(u64::MAX)], ..Facts::default() };
    let mut types = std::collections::BTreeMap::new();
    for facts in [calm_facts(), bare, Facts { lag: observe(&[(1, 2)]), ..Facts::default() }] {
        for point in look(&facts, Some(LOOK)).points {
            assert!(is_series_name(&point.series));
            let mut names: Vec<Arc<str>> = point.tags.iter().map(|(tag, _)| tag.as_str().into()).collect();
            for (name, value) in &point.fields {
                assert!(is_series_name(name) && name != "time" && !HOST_TAGS.contains(&name.as_str()), "{name}");
                assert!(!names.iter().any(|seen| **seen == **name), "{name} comes twice");
                names.push(name.as_str().into());
                let kind = std::mem::discriminant(value);
                assert_eq!(*types.entry((point.series.clone(), name.clone())).or_insert(kind), kind, "{name}");
                assert!(!matches!(value, Value::Real(real) if !real.is_finite()), "{name}");
            }
            assert!(!point.fields.is_empty());
        }
    }
    assert!(types.len() > 40, "{}", types.len());
}
