//! Too much of everything, and values that are none.

use roundsman_model::check::Limits;
use roundsman_model::record::{Blame, Status, Value};

use crate::support::{Run, guest};
use crate::{assert_outcome, assert_unknown, bench};

#[test]
fn what_is_too_much_is_dropped_or_refused() {
    let bench = bench();
    let plugin = bench.load(&guest("hostile")).unwrap();
    for (what, with, status, says) in [
        ("log", "", Status::Ok, "logged"),
        ("points", "", Status::Warning, "1000, then limit"),
        ("findings", "", Status::Warning, "1000, then limit"),
        ("summary", "500000", Status::Ok, "xxx"),
        ("bodies-dropped", "", Status::Ok, "none is left"),
        ("state-keys", "", Status::Warning, "64, then limit"),
        ("state-bytes", "", Status::Warning, "6, then limit"),
        ("state-deletes", "", Status::Ok, "deleted"),
        ("sockets", "", Status::Ok, "32 sockets, then "),
        ("sockets-dropped", "", Status::Ok, "none is left"),
        ("terminal", "", Status::Critical, "[31mred secondline"),
        ("environment", "", Status::Ok, "[] "),
    ] {
        let report = bench.run(&plugin, &Run::what(what, with));
        assert_outcome(&report, status, says);
        assert!(report.summary.len() <= 1024 && report.story.log.len() <= 50, "{what}: {report:?}");
        assert!(report.points.len() + report.findings.len() <= 1000, "{what}");
        assert!(report.memory_changes.len() <= 64, "{what}: {}", report.memory_changes.len());
        assert!(!report.summary.chars().any(char::is_control), "{what}: {:?}", report.summary);
    }
}

#[test]
fn what_is_far_too_much_ends_the_run() {
    let bench = bench();
    let plugin = bench.load(&guest("hostile")).unwrap();
    let cpu = Limits { cpu: std::time::Duration::from_millis(200), ..Limits::default() };
    for (what, with, limits, code, says) in [
        ("summary", "10000000", Run::new().limits, "limit", "handed over more than 1 MiB in one call"),
        ("log-large", "", Run::new().limits, "limit", "handed over more than 1 MiB in one call"),
        ("requests", "", Run::new().limits, "limit", "held more than 4352 handles"),
        ("bodies", "", Run::new().limits, "memory", "more than its 32 MiB of memory"),
        ("print-for-ever", "", cpu, "cpu", "200ms"),
    ] {
        let report = bench.run(&plugin, &Run { limits, ..Run::what(what, with) });
        assert_unknown(&report, Blame::Plugin, code, says);
        assert!(report.story.log.len() <= 50, "{what}");
    }
}

#[test]
fn output_is_one_budget() {
    let bench = bench();
    let plugin = bench.load(&guest("hostile")).unwrap();
    let limits = Limits { output: 2 << 10, points: 1_000_000, ..Run::new().limits };
    for what in ["points", "findings", "log", "print-and-panic"] {
        let report = bench.run(&plugin, &Run { limits, ..Run::what(what, "") });
        let logged: usize = report.story.log.iter().map(|line| line.text.len()).sum();
        let found: usize = report.findings.iter().map(|f| f.subject.len() + f.summary.len()).sum();
        let points = report.points.len() * "guestvalue12345678".len();
        assert!(logged + found + points <= 2 << 10, "{what}: {logged} + {found} + {points}");
    }
}

#[test]
fn values_and_names_that_are_none() {
    let bench = bench();
    let plugin = bench.load(&guest("hostile")).unwrap();
    let report = bench.run(&plugin, &Run::what("nan", ""));
    assert_outcome(&report, Status::Ok, "reported");
    let fields: Vec<_> = report.points.iter().flat_map(|point| &point.fields).cloned().collect();
    assert_eq!(fields, [("text".to_owned(), Value::Text("still here".into()))], "what is not finite is left out");

    for (point, says) in [
        ("undeclared|||value", "invalid: the series `undeclared` is not declared in `describe`"),
        ("guest|||other", "invalid: the field `other` of series `guest` is not declared"),
        ("guest|host|x|value", "invalid: the tag `host` of series `guest` is not declared"),
        ("guest|||text", "invalid: the field `text` of series `guest` is declared as Text"),
        ("guest,host=x value=1 1\ncheck|||value", "is not a name for a series"),
        ("guest value=1||x|value", "is not a name for a series"),
        ("guest|name=x,host|y|value", "is not declared in `describe`"),
        ("guest|||value=1,other", "is not declared"),
        ("guest||x|", "is not declared"),
    ] {
        let report = bench.run(&plugin, &Run::what("point", point));
        assert_outcome(&report, Status::Warning, says);
        assert!(report.points.is_empty(), "{report:?}");
    }

    let report = bench.run(&plugin, &Run::what("point", "guest|name|x\nguest,host=y value=2 1\\\u{1b}\u{202e}|value"));
    assert_outcome(&report, Status::Ok, "taken");
    assert_eq!(
        report.points[0].tags,
        [("name".to_owned(), "x guest,host=y value=2 1\\".to_owned())],
        "one line, for the encoder to escape"
    );
}
