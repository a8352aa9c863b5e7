//! What holds for any record: the parser of InfluxDB 3 reads from its lines what was meant.

use std::collections::{BTreeMap, HashSet};

use influxdb_line_protocol::{EscapedStr, FieldValue, ParsedLine, parse_lines};
use roundsman_model::key::Key;
use roundsman_model::name::{CheckName, PluginName, RESERVED_SERIES, is_series_name};
use roundsman_model::record::{Blame, Finding, Origin, Point, Record, Status, Value};
use roundsman_model::state::{Standing, State};
use roundsman_model::time::Timestamp;

use super::record as encode;

/// A record like many.
pub(crate) fn sample() -> Record {
    Record {
        key: Key::new(CheckName::new("shop").expect("it is in the line"), None),
        plugin: PluginName::new("http").expect("it is in the line"),
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

/// A record whose every word is one of these, between zero bytes: tags and their values, then what stands in the fields.
pub(crate) fn any_strings(text: &str) {
    let mut words = text.split('\0').map(str::to_owned);
    let mut word = || words.next().unwrap_or_default();
    let (summary, code, subject, time) = (word(), word(), word(), word());
    let row: BTreeMap<_, _> = (0..2).map(|_| (word(), word())).collect();
    let points: Vec<_> = (0..3)
        .map(|_| {
            let (series, tags) = (word(), BTreeMap::from([(word(), word()), (word(), word())]));
            let fields = (0..2).map(|_| (word(), value(word()))).collect();
            Point { series, tags: tags.into_iter().collect(), fields }
        })
        .collect();
    let record = Record {
        time: Timestamp(time.parse().unwrap_or(1)),
        summary: summary.as_str().into(),
        code: Some(code.into()),
        findings: vec![Finding { subject, status: Status::Warning, summary }],
        points,
        ..sample()
    };
    any_record(&row, &record);
}

/// What a word looks like.
fn value(word: String) -> Value {
    match (word.parse(), word.parse(), word.parse()) {
        (Ok(boolean), ..) => Value::Boolean(boolean),
        (_, Ok(integer), _) => Value::Integer(integer),
        (.., Ok(real)) => Value::Real(real),
        _ => Value::Text(word),
    }
}

/// Encodes a record, twice alike, and reads it by a parser that is not ours. The record has one finding.
pub(crate) fn any_record(row: &BTreeMap<String, String>, record: &Record) {
    let tags = || row.iter().map(|(key, value)| (key.as_str(), value.as_str()));
    let (mut out, mut again) = (Vec::new(), Vec::new());
    let count = encode(tags(), record, &mut out);
    encode(tags(), record, &mut again);
    assert_eq!(out, again);

    let text = String::from_utf8(out).expect("what goes in is text");
    assert_eq!(text.matches('\n').count(), count, "a line is a line");
    let parsed: Vec<_> = parse_lines(&text).collect::<Result<_, _>>().expect("InfluxDB takes it");
    assert_eq!(parsed.len(), count);
    let mut identities = HashSet::new();
    for line in &parsed {
        let tags = line.series.tag_set.clone().unwrap_or_default();
        assert!(tags.is_sorted_by(|a, b| a.0 < b.0), "{line}");
        assert!(line.field_set.iter().all(|(name, _)| line.tag_value(name).is_none()), "{line}");
        // Saturated times at the end of the calendar would be equal: they are not what this is about.
        let end = record.time.0 > i64::MAX - 1_000;
        assert!(identities.insert((line.series.to_string(), line.timestamp)) || end, "{line}");
    }
    let reads_as = |name: &str, text: &str| {
        assert_eq!(parsed[0].field_value(name), Some(&FieldValue::String(text_reads(text).as_str().into())));
    };
    reads_as("summary", &record.summary);
    reads_as("code", record.code.as_deref().unwrap_or_default());
    assert_eq!(parsed[0].timestamp, Some(record.time.0));

    let of_points = &parsed[1..parsed.len() - record.findings.len()];
    let meant: Vec<_> = record.points.iter().filter_map(|point| Meant::of(row, point)).collect();
    assert_eq!(of_points.len(), meant.len());
    for (line, meant) in of_points.iter().zip(meant) {
        assert_eq!(Meant::read(line), meant, "{line}");
    }
}

/// A line of a point, taken apart.
#[derive(Debug, PartialEq)]
struct Meant {
    series: String,
    tags: BTreeMap<String, String>,
    fields: Vec<(String, FieldValue<'static>)>,
}

/// Tags of the host, and fields of its measurements, as the documents list them.
const TAGS_OF_THE_HOST: [&str; 6] = ["check", "cluster", "host", "peer", "plugin", "target"];
const FIELDS_OF_THE_HOST: &str = "attempt blame code duration_ms finding from interval_s lag_ms latency_ms quiet since \
                                  state status subject summary suspect time to up";

impl Meant {
    fn read(line: &ParsedLine<'_>) -> Self {
        let tags = line.series.tag_set.iter().flatten().map(|(key, value)| (key.to_string(), value.to_string()));
        let owned = |value: &FieldValue<'_>| match value {
            FieldValue::F64(real) => FieldValue::F64(*real),
            FieldValue::I64(integer) => FieldValue::I64(*integer),
            FieldValue::String(text) => text_value(text),
            other => unreachable!("nobody writes {other:?}"),
        };
        Self {
            series: line.series.measurement.to_string(),
            tags: tags.collect(),
            fields: line.field_set.iter().map(|(name, value)| (name.to_string(), owned(value))).collect(),
        }
    }

    /// The rule of `tags.rs`, word by word: none where nothing of the point can be written.
    fn of(row: &BTreeMap<String, String>, point: &Point) -> Option<Self> {
        // What is taken gets a prefix; what is taken even so, or no safe name, is left out.
        let free = |name: &str, prefix: &str, taken: &dyn Fn(&str) -> bool| {
            let names = [name.to_owned(), format!("{prefix}{name}")];
            names.into_iter().find(|free| !taken(free)).filter(|_| is_series_name(name))
        };
        let series = free(&point.series, "series_", &|name| RESERVED_SERIES.contains(&name))?;
        let mut tags = BTreeMap::new();
        // The first of equal keys counts.
        for (key, value) in row.iter().filter(|(_, value)| !value.is_empty()) {
            let taken = |key: &str| FIELDS_OF_THE_HOST.split_whitespace().any(|field| field == key);
            if let Some(key) = free(key, "label_", &taken) {
                tags.entry(key).or_insert_with(|| tag_reads(value));
            }
        }
        let of_row = tags.clone();
        let of_host = |name: &str| name == "time" || TAGS_OF_THE_HOST.contains(&name);
        for (key, value) in point.tags.iter().filter(|(_, value)| !value.is_empty()) {
            if let Some(key) = free(key, "tag_", &|key| of_host(key) || of_row.contains_key(key)) {
                tags.entry(key).or_insert_with(|| tag_reads(value));
            }
        }
        let mut fields: Vec<(String, FieldValue<'static>)> = Vec::new();
        for (name, value) in &point.fields {
            let Some(name) = free(name, "field_", &|name| of_host(name) || tags.contains_key(name)) else { continue };
            if let Some(value) = reads(value).filter(|_| fields.iter().all(|(earlier, _)| *earlier != name)) {
                fields.push((name, value));
            }
        }
        (!fields.is_empty()).then_some(Self { series, tags, fields })
    }
}

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

/// None for what is not finite.
fn reads(value: &Value) -> Option<FieldValue<'static>> {
    match value {
        Value::Real(value) => value.is_finite().then_some(FieldValue::F64(*value)),
        Value::Integer(value) => Some(FieldValue::I64(*value)),
        Value::Boolean(value) => Some(FieldValue::I64(i64::from(*value))),
        Value::Text(text) => Some(text_value(&text_reads(text))),
    }
}

fn text_value(text: &str) -> FieldValue<'static> {
    FieldValue::String(EscapedStr::CopiedValue(text.to_owned()))
}
