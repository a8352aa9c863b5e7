//! Tables of lines, and the encoder against the parser of InfluxDB 3 on random records.

use std::sync::Arc;

use proptest::prelude::*;
use roundsman_model::state::{Change, Quiet, Standing, State};
use roundsman_store::TagSet;

use super::holds::{any_record, any_strings, sample};
use super::*;

const TAGS: [(&str, &str); 4] = [("check", "shop"), ("cluster", "c"), ("host", "n1"), ("plugin", "http")];

fn lines(record: &Record) -> Vec<String> {
    let mut out = b"kept\n".to_vec();
    let count = super::record(TAGS, record, &mut out);
    let text = String::from_utf8(out).unwrap();
    let lines: Vec<String> = text.strip_prefix("kept\n").unwrap().lines().map(str::to_owned).collect();
    assert_eq!(lines.len(), count);
    lines
}

fn point(series: &str, tags: &[(&str, &str)], fields: &[(&str, Value)]) -> Point {
    Point {
        series: series.to_owned(),
        tags: tags.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
        fields: fields.iter().map(|(k, v)| ((*k).to_owned(), v.clone())).collect(),
    }
}

#[test]
fn the_line_of_a_check() {
    let key = "check,check=shop,cluster=c,host=n1,plugin=http";
    assert_eq!(
        lines(&sample()),
        [format!(
            "{key} up=1i,status=0i,state=0i,latency_ms=1.25,duration_ms=3.0,lag_ms=0.4,interval_s=0.5,attempt=1i,\
             blame=\"target\",summary=\"200 OK\" 1700000000000000000"
        )]
    );
    let failed = Record {
        status: Status::Unknown,
        blame: Blame::Plugin,
        code: Some("trap".into()),
        summary: "unreachable\nexecuted \"x\\\"".into(),
        standing: Standing::pending(Timestamp(0)),
        latency_ns: None,
        attempt: 3,
        suspect: true,
        ..sample()
    };
    assert_eq!(
        lines(&failed),
        [format!(
            "{key} status=3i,state=4i,duration_ms=3.0,lag_ms=0.4,interval_s=0.5,attempt=3i,blame=\"plugin\",\
             summary=\"unreachable executed \\\"x\\\\\\\"\",code=\"trap\",suspect=true 1700000000000000000"
        )]
    );
}

#[test]
fn up_says_only_what_is_known_of_the_target() {
    for (blame, status, expected) in [
        (Blame::Target, Status::Ok, Some(1)),
        (Blame::Target, Status::Warning, Some(1)),
        (Blame::Target, Status::Critical, Some(0)),
        (Blame::Target, Status::Unknown, None),
        (Blame::Plugin, Status::Critical, None),
        (Blame::Host, Status::Ok, None),
    ] {
        assert_eq!(up(&Record { blame, status, ..sample() }), expected, "{blame:?} {status:?}");
    }
}

#[test]
fn lines_of_points() {
    use Value::{Boolean, Integer, Real, Text};
    let key = "check=shop,cluster=c,host=n1,plugin=http";
    let t = "1700000000000000000";
    for (given, expected) in [
        (
            point("http", &[("code", "200")], &[("total_ms", Real(12.0)), ("size", Integer(7)), ("ok", Boolean(true))]),
            vec![format!("http,check=shop,cluster=c,code=200,host=n1,plugin=http total_ms=12.0,size=7i,ok=1i {t}")],
        ),
        (point("check", &[], &[("up", Integer(1))]), vec![format!("series_check,{key} up=1i {t}")]),
        (
            point("x", &[], &[("host", Integer(1)), ("time", Text("t".into()))]),
            vec![format!("x,{key} field_host=1i,field_time=\"t\" {t}")],
        ),
        (
            point("x", &[("dev", "sda")], &[("dev", Integer(1)), ("a", Integer(2)), ("a", Integer(3))]),
            vec![format!("x,check=shop,cluster=c,dev=sda,host=n1,plugin=http field_dev=1i,a=2i {t}")],
        ),
        (point("x", &[], &[("nan", Real(f64::NAN)), ("a", Integer(1))]), vec![format!("x,{key} a=1i {t}")]),
        (point("x", &[], &[("nan", Real(f64::NAN)), ("Bad name", Integer(1)), ("_y", Integer(1))]), vec![]),
        (point("x", &[], &[]), vec![]),
        (point("x y,z=1 f=1\nevil", &[], &[("a", Integer(1))]), vec![]),
        (point("_x", &[], &[("a", Integer(1))]), vec![]),
    ] {
        let record = Record { points: vec![given.clone()], ..sample() };
        assert_eq!(lines(&record)[1..], expected, "{given:?}");
    }
}

#[test]
fn equal_lines_get_different_times() {
    let p = |dev: &str| point("disk", &[("dev", dev)], &[("free", Value::Integer(1))]);
    let empty = point("disk", &[("dev", "a")], &[]);
    let finding = |subject: &str| Finding { subject: subject.into(), status: Status::Critical, summary: "full".into() };
    let record = Record {
        // `a\b` and `a/b` are the same tag once they are safe.
        points: vec![p("a"), p("b"), empty, p("a"), p(r"a\b"), p("a/b"), p("a")],
        findings: vec![finding("/"), finding("/var")],
        ..sample()
    };
    let times: Vec<String> = lines(&record)[1..].iter().map(|line| line[line.len() - 1..].to_owned()).collect();
    assert_eq!(times, ["0", "0", "1", "0", "1", "2", "0", "1"]);
    assert!(lines(&record)[8].starts_with("finding,check=shop"));
    assert!(lines(&record)[8].contains(" subject=\"/var\",status=2i,summary=\"full\" "));
}

fn transition_row(change: Change, time: i64, finding: Option<&str>) -> TransitionRow {
    TransitionRow {
        id: 1,
        key: sample().key,
        plugin: sample().plugin,
        tags: TagSet::new(TAGS),
        encoder: ENCODER_VERSION,
        time: Timestamp(time),
        finding: finding.map(Arc::from),
        change,
        summary: "gone".into(),
        record: 0,
    }
}

#[test]
fn lines_of_transitions() {
    let change = Change { from: State::Ok, to: State::Critical, since: Timestamp(5), at: Timestamp(77), quiet: None };
    let stale = Change { to: State::Stale, quiet: Some(Quiet::Flapping), ..change };
    let skipped = Change { from: State::Stale, to: State::Skipped, quiet: Some(Quiet::Shadow), ..change };
    for (row, expected) in [
        (transition_row(change, 77, None), "from=0i,to=2i,since=5i,summary=\"gone\" 77"),
        // The instant is that of the row: several changes of one moment do not replace each other.
        (
            transition_row(change, 79, Some("/v \"a\"")),
            r#"from=0i,to=2i,since=5i,summary="gone",finding="/v \"a\"" 79"#,
        ),
        (transition_row(stale, 77, None), "from=0i,to=6i,since=5i,summary=\"gone\",quiet=\"flapping\" 77"),
        (
            transition_row(skipped, 78, Some("x")),
            "from=6i,to=5i,since=5i,summary=\"gone\",quiet=\"shadow\",finding=\"x\" 78",
        ),
    ] {
        let mut out = Vec::new();
        assert_eq!(transition(&row, &mut out), 1);
        let key = "transition,check=shop,cluster=c,host=n1,plugin=http";
        assert_eq!(String::from_utf8(out).unwrap(), format!("{key} {expected}\n"));
    }
}

// ---- against the parser ----

#[test]
fn words_of_the_corpus() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus/lines");
    let mut files = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        // Shown only if something does not hold.
        eprintln!("{}", path.display());
        let text = String::from_utf8_lossy(&std::fs::read(path).unwrap()).into_owned();
        any_strings(&text);
        // Every word in every place.
        let words: Vec<_> = text.split('\0').collect();
        (0..words.len()).for_each(|n| any_strings(&[&words[n..], &words[..n]].concat().join("\0")));
        files += 1;
    }
    assert!(files > 5);
}

fn name() -> impl Strategy<Value = String> {
    prop_oneof![6 => "[a-z][a-z0-9_]{0,6}", 1 => "host|check|time|status|finding|a|b", 1 => any::<String>()]
}

fn hostile() -> impl Strategy<Value = String> {
    prop_oneof![
        3 => any::<String>(),
        3 => r#"[a ,=\\"\t\r\n\x00-\x1f\x7f\u{85}\u{a0}\u{2028}é#]{0,12}"#,
        1 => r#"x\\" ,a=b 5\nm,t=evil f=1 6\n"#,
        1 => any::<char>().prop_map(|c| String::from(c).repeat(600)),
    ]
}

fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        any::<f64>().prop_map(Value::Real),
        Just(Value::Real(f64::INFINITY)),
        any::<i64>().prop_map(Value::Integer),
        any::<bool>().prop_map(Value::Boolean),
        hostile().prop_map(Value::Text),
    ]
}

fn points() -> impl Strategy<Value = Vec<Point>> {
    let tags = prop::collection::btree_map(name(), hostile(), 0..5);
    let fields = prop::collection::vec((name(), value()), 0..6);
    let point = (name(), tags, fields).prop_map(|(series, tags, fields)| Point {
        series,
        tags: tags.into_iter().collect(),
        fields,
    });
    prop::collection::vec(point, 0..8)
}

proptest! {
    #[test]
    fn the_parser_reads_what_was_meant(
        row in prop::collection::btree_map("[a-z]{1,3}|host|status|[A-Z]", hostile(), 0..6),
        points in points(),
        texts in (hostile(), hostile(), hostile()),
        time in any::<i64>(),
    ) {
        let record = Record {
            time: Timestamp(time),
            summary: Arc::from(texts.0.as_str()),
            code: Some(Arc::from(texts.1.as_str())),
            findings: vec![Finding { subject: texts.2.clone(), status: Status::Warning, summary: texts.0.clone() }],
            points,
            ..sample()
        };
        any_record(&row, &record);
    }
}
