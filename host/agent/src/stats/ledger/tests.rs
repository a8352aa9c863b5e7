//! Tests of `ledger`.

use roundsman_model::flap::Flap;
use roundsman_model::name::PluginName;
use roundsman_model::record::{Origin, Story};
use roundsman_model::state::{Standing, State};
use roundsman_model::time::Timestamp;
use roundsman_store::{Recorded, TagSet};

use super::*;

fn key(check: &str, target: &str) -> Key {
    Key::new(CheckName::new(check).unwrap(), Some(target))
}

fn counts(run: u64, missed: u64, overlap: u64, skipped: u64) -> Counts {
    Counts { due: run + missed + overlap + skipped, run, missed, overlap, skipped }
}

fn counted(key: &Key, counts: Counts) -> Entry {
    Entry::Counted { key: key.clone(), counts, last_tick: Timestamp(0) }
}

fn record(key: &Key, counts: Counts, status: Status, blame: Blame, code: Option<&str>, suspect: bool) -> Entry {
    let time = Timestamp(1);
    let record = Record {
        key: key.clone(),
        plugin: PluginName::new("http").unwrap(),
        origin: Origin::Schedule,
        time,
        started: time,
        status,
        blame,
        code: code.map(Into::into),
        summary: "".into(),
        standing: Standing { state: State::Ok, since: time, soft: None, flap: Flap::default() },
        attempt: 1,
        latency_ns: None,
        duration_ns: 0,
        lag_ns: 0,
        cpu_ns: 0,
        interval_ns: 0,
        points: Vec::new(),
        findings: Vec::new(),
        suspect,
    };
    let (tags, story) = (TagSet::new([("host", "a")]), Story::default());
    let (change, findings, memory) = (None, Vec::new(), Vec::new());
    Entry::Record(Box::new(Recorded {
        record,
        tags,
        change,
        findings,
        memory,
        counts,
        last_tick: time,
        story,
        conduct: None,
    }))
}

/// `family{check,word}` of everything that is not zero.
fn shown(checks: &Checks) -> Vec<String> {
    let families = checks.families();
    let of = |family: &Family| {
        let name = family.name.strip_prefix("roundsman_").unwrap();
        let line = |(labels, value): &(Vec<(&str, String)>, f64)| {
            (*value > 0.0).then(|| format!("{name} {} {} {value}", labels[0].1, labels[1].1))
        };
        family.values.iter().filter_map(line).collect::<Vec<_>>()
    };
    families.iter().flat_map(of).collect()
}

#[test]
fn ticks_of_earlier_lives_are_not_counted_again() {
    let (checks, mut ledger) = (Checks::default(), Ledger::default());
    let (eu, us) = (key("shop", "eu"), key("shop", "us"));
    for entry in [
        counted(&eu, counts(100, 7, 0, 0)),
        counted(&us, Counts::default()),
        record(&eu, counts(101, 7, 0, 0), Status::Ok, Blame::Target, None, false),
        record(&us, counts(1, 0, 0, 0), Status::Critical, Blame::Target, None, false),
        counted(&us, counts(1, 2, 3, 4)),
        counted(&us, counts(1, 2, 3, 4)),
        Entry::Unsilenced { id: 1 },
    ] {
        ledger.note(&checks, &entry);
    }
    assert_eq!(
        shown(&checks),
        [
            "ticks shop run 2",
            "ticks shop missed 2",
            "ticks shop overlap 3",
            "ticks shop skipped 4",
            "runs shop ok 1",
            "runs shop critical 1"
        ]
    );
    assert_eq!(checks.ticks(), counts(2, 2, 3, 4));
    assert!(checks.ticks().balanced());
}

#[test]
fn checks_leave_with_their_last_target() {
    let (checks, mut ledger) = (Checks::default(), Ledger::default());
    let (eu, us) = (key("shop", "eu"), key("shop", "us"));
    let forget = |key: &Key| Entry::Forget { key: key.clone() };
    for key in [&eu, &us] {
        ledger.note(&checks, &counted(key, Counts::default()));
        ledger.note(&checks, &counted(key, counts(1, 0, 0, 0)));
    }
    ledger.note(&checks, &forget(&eu));
    assert_eq!(shown(&checks), ["ticks shop run 2"], "what was counted stays while a target does");
    ledger.note(&checks, &forget(&us));
    ledger.note(&checks, &forget(&us));
    assert_eq!(shown(&checks), [""; 0]);
    assert!(checks.families().iter().all(|family| family.values.is_empty()));
    assert_eq!(checks.ticks(), counts(2, 0, 0, 0), "the sum never goes back");
    ledger.note(&checks, &counted(&key("dns", "a"), counts(9, 0, 0, 0)));
    assert_eq!(checks.by_name.lock().unwrap().len(), 1, "names that went made room");
    assert_eq!(checks.ticks(), counts(2, 0, 0, 0));
}

#[test]
fn troubles() {
    use {Blame::*, Status::*};
    for (status, blame, code, suspect, expected) in [
        (Ok, Target, None, false, vec!["runs shop ok 1"]),
        (Warning, Target, Some("threshold"), false, vec!["runs shop warning 1"]),
        (
            Critical,
            Target,
            Some("timeout"),
            true,
            vec!["runs shop critical 1", "run_troubles shop timeout 1", "run_troubles shop suspect 1"],
        ),
        (Unknown, Plugin, Some("timeout"), false, vec!["runs shop unknown 1", "run_troubles shop timeout 1"]),
        (Unknown, Plugin, Some("trap"), false, vec!["runs shop unknown 1", "run_troubles shop trap 1"]),
        (Unknown, Plugin, Some("stack"), false, vec!["runs shop unknown 1", "run_troubles shop trap 1"]),
        (Unknown, Plugin, Some("cpu"), false, vec!["runs shop unknown 1", "run_troubles shop limit 1"]),
        (Unknown, Host, Some("memory"), false, vec!["runs shop unknown 1", "run_troubles shop limit 1"]),
        (Unknown, Host, Some("denied"), false, vec!["runs shop unknown 1", "run_troubles shop denied 1"]),
        // Words of a plugin's own are not ours.
        (Unknown, Plugin, Some("denied"), false, vec!["runs shop unknown 1"]),
        (Unknown, Plugin, Some("odd"), false, vec!["runs shop unknown 1"]),
    ] {
        let (checks, mut ledger, eu) = (Checks::default(), Ledger::default(), key("shop", "eu"));
        ledger.note(&checks, &record(&eu, Counts::default(), status, blame, code, suspect));
        assert_eq!(shown(&checks), expected, "{status:?} {blame:?} {code:?}");
    }
}
