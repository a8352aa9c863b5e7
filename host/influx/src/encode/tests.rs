//! Tables of lines, and the encoder against the parser of InfluxDB 3 on random records.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use influxdb_line_protocol::{FieldValue, parse_lines};
use proptest::prelude::*;
use roundsman_model::key::Key;
use roundsman_model::name::{CheckName, PluginName, is_series_name};
use roundsman_model::record::Origin;
use roundsman_model::state::{Change, Quiet, Standing, State};
use roundsman_store::TagSet;

use super::*;

const TAGS: [(&str, &str); 4] = [("check", "shop"), ("cluster", "c"), ("host", "n1"), ("plugin", "http")];

fn sample() -> Record {
    Record {
        key: Key::new(CheckName::new("shop").unwrap(), None),
        plugin: PluginName::new("http").unwrap(),
        origin: Origin::Schedule,
        time: Timestamp(1_700_000_000_000_000_000),
        started: Timestamp(1_700_000_000_000_400_000),
        status: Status::Ok,
        blame: Blame::Target,
        code: None,
        summary: "200 OK".into(),
        standing: Standing { state: State::Ok, ..Standing::pending(Timestamp(0)) },
        attempt: 1,
        latency_ns: Some(1_250_000),
        duration_ns: 3_000_000,
        lag_ns: 400_000,
        cpu_ns: 9_000,
        interval_ns: 500_000_000,
        points: Vec::new(),
        findings: Vec::new(),
        suspect: false,
    }
}

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

/// What a tag value must read as: an independent statement of the rule.
fn tag_reads(raw: &str) -> String {
    shortened(raw, 256).chars().map(|c| if c.is_control() { '_' } else { c }).collect::<String>().replace('\\', "/")
}

fn text_reads(raw: &str) -> String {
    let spaced = shortened(raw, 1_024).replace(['\r', '\n', '\t'], " ");
    spaced.chars().filter(|c| !c.is_control()).collect()
}

fn shortened(raw: &str, bytes: usize) -> String {
    let mut raw = raw.to_owned();
    while raw.len() > bytes {
        raw.pop();
    }
    raw
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

fn reads(value: &Value) -> FieldValue<'_> {
    match value {
        Value::Real(value) => FieldValue::F64(*value),
        Value::Integer(value) => FieldValue::I64(*value),
        Value::Boolean(value) => FieldValue::I64(i64::from(*value)),
        Value::Text(_) => unreachable!("texts are compared by the caller"),
    }
}

/// Compares a parsed line with the point it was made from, as far as its words were free.
fn compare(line: &influxdb_line_protocol::ParsedLine<'_>, row: &BTreeMap<String, String>, point: &Point) {
    let series = &point.series;
    let renamed = line.series.measurement == format!("series_{series}");
    assert!(line.series.measurement == *series || (renamed && RESERVED_SERIES.contains(&series.as_str())));
    for (key, value) in row.iter().filter(|(key, value)| is_series_name(key) && !value.is_empty()) {
        let taken = ["status", "to", "up"].contains(&key.as_str());
        let key = if taken { format!("label_{key}") } else { key.clone() };
        assert_eq!(line.tag_value(&key).unwrap().as_str(), tag_reads(value));
    }
    for (key, value) in point.tags.iter().filter(|(key, value)| is_series_name(key) && !value.is_empty()) {
        let read = [key.clone(), format!("tag_{key}")]
            .iter()
            .any(|key| line.tag_value(key).is_some_and(|read| read.as_str() == tag_reads(value)));
        assert!(read, "{key}={value:?} is not in {line}");
    }
    let mut first = HashSet::new();
    for (key, value) in point
        .fields
        .iter()
        .filter(|(key, value)| is_series_name(key) && !matches!(value, Value::Real(real) if !real.is_finite()))
    {
        if !first.insert(key) {
            continue;
        }
        let read = line.field_value(key).or_else(|| line.field_value(&format!("field_{key}"))).unwrap();
        match value {
            Value::Text(text) => assert_eq!(read, &FieldValue::String(text_reads(text).as_str().into())),
            other => assert_eq!(read, &reads(other)),
        }
    }
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
        let mut out = Vec::new();
        let tags = || row.iter().map(|(key, value)| (key.as_str(), value.as_str()));
        let count = super::record(tags(), &record, &mut out);
        let mut again = Vec::new();
        super::record(tags(), &record, &mut again);
        prop_assert_eq!(&out, &again);

        let text = String::from_utf8(out).unwrap();
        prop_assert_eq!(text.matches('\n').count(), count, "a line is a line");
        let parsed: Vec<_> = parse_lines(&text).collect::<Result<_, _>>().unwrap();
        prop_assert_eq!(parsed.len(), count);
        let mut identities = HashSet::new();
        for line in &parsed {
            let tags = line.series.tag_set.clone().unwrap_or_default();
            prop_assert!(tags.is_sorted_by(|a, b| a.0 < b.0), "{}", line);
            prop_assert!(line.field_set.iter().all(|(name, _)| line.tag_value(name).is_none()));
            // Saturated times at the end of the calendar would be equal: they are not what this is about.
            let end = time > i64::MAX - 1_000;
            prop_assert!(identities.insert((line.series.to_string(), line.timestamp)) || end, "{}", line);
        }
        let (summary, code) = (text_reads(&texts.0), text_reads(&texts.1));
        prop_assert_eq!(parsed[0].field_value("summary").unwrap(), &FieldValue::String(summary.as_str().into()));
        prop_assert_eq!(parsed[0].field_value("code").unwrap(), &FieldValue::String(code.as_str().into()));
        prop_assert_eq!(parsed[0].timestamp, Some(time));

        let usable = |point: &&Point| is_series_name(&point.series) && point.fields.iter().any(|(name, value)| {
            is_series_name(name) && !matches!(value, Value::Real(real) if !real.is_finite())
        });
        let of_points = &parsed[1..parsed.len() - 1];
        prop_assert_eq!(of_points.len(), record.points.iter().filter(usable).count());
        for (line, point) in of_points.iter().zip(record.points.iter().filter(usable)) {
            compare(line, &row, point);
        }
    }
}
