//! What the store holds, as points; what a server holds, as points; and the full outer join of both.
//!
//! The store's side is made by the rules that the design states, not by the encoder that the agent uses.

use std::collections::{BTreeMap, HashMap};

use roundsman_model::key::Key;
use roundsman_model::record::{Blame, Origin, Point, Record, Status, Value};
use roundsman_model::state::{Change, Quiet, Standing, State};
use roundsman_model::time::Timestamp;
use roundsman_store::{Config, Cursor, MAX_ROWS, RecordRow, Restored, Store, TransitionRow};

use crate::scene::{LABEL, OWN, Scene};
use crate::support::servers::{Server, request};
use crate::support::{CLUSTER, NODE, eventually_some};

/// Differences that are shown when there are any.
const SHOWN: usize = 20;

/// Everything that an agent left behind.
pub(crate) struct Left {
    pub(crate) records: Vec<RecordRow>,
    pub(crate) transitions: Vec<TransitionRow>,
    pub(crate) restored: Restored,
}

/// Measurement, tags in order and time.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Identity {
    pub(crate) measurement: String,
    pub(crate) tags: BTreeMap<String, String>,
    pub(crate) time: i64,
}

/// A field's value, so that what is equal is equal whether it was written `1` or `1.0`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Field {
    Integer(i64),
    Real(f64),
    Text(String),
}

pub(crate) type Points = BTreeMap<Identity, BTreeMap<String, Field>>;

impl Left {
    /// Reads the store of an agent that was stopped in order.
    pub(crate) fn read(scene: &Scene, destinations: &[&str]) -> Self {
        let destinations = destinations.iter().map(|name| (*name).to_owned()).collect();
        let config = Config { destinations, ..Config::new(scene.place.state()) };
        let (store, restored) = Store::open(config, |_| {}).expect("the agent let go of it");
        assert_eq!(restored.note, None);
        let mut reader = store.reader().expect("it is open");
        let (mut records, mut transitions, mut cursor) = (Vec::new(), Vec::new(), Cursor::default());
        loop {
            let batch = reader.outbox(cursor, MAX_ROWS).expect("it can be read");
            if batch.next == cursor {
                let health = store.health();
                assert_eq!((health.unreadable, health.dropped_unsent), (0, 0));
                return Self { records, transitions, restored };
            }
            cursor = batch.next;
            records.extend(batch.records);
            transitions.extend(batch.transitions);
        }
    }

    /// Everything as it is to be found in InfluxDB.
    pub(crate) fn points(&self, scene: &Scene) -> Points {
        let mut points = Points::new();
        let mut put = |identity: Identity, fields| {
            assert!(points.insert(identity.clone(), fields).is_none(), "twice in the store: {identity:?}");
        };
        for RecordRow { record, .. } in &self.records {
            let tags = host_tags(scene, &record.key);
            put(Identity { measurement: "check".to_owned(), tags: tags.clone(), time: record.time.0 }, fields(record));
            for (finding, time) in record.findings.iter().zip(record.time.0..) {
                let fields = named([
                    ("subject", Field::Text(finding.subject.clone())),
                    ("status", Field::Integer(finding.status as i64)),
                    ("summary", Field::Text(finding.summary.clone())),
                ]);
                put(Identity { measurement: "finding".to_owned(), tags: tags.clone(), time }, fields);
            }
            let mut same: HashMap<_, i64> = HashMap::new();
            for point in &record.points {
                let own = point.tags.iter().cloned();
                let (measurement, tags) = (point.series.clone(), tags.clone().into_iter().chain(own).collect());
                let number = same.entry((measurement.clone(), point.tags.clone())).or_default();
                let time = record.time.0 + *number;
                *number += 1;
                put(Identity { measurement, tags, time }, point_fields(point));
            }
        }
        for row in &self.transitions {
            let (measurement, time) = ("transition".to_owned(), row.time.0);
            let mut fields = named([
                ("from", Field::Integer(row.change.from as i64)),
                ("to", Field::Integer(row.change.to as i64)),
                ("since", Field::Integer(row.change.since.0)),
                ("summary", Field::Text(row.summary.to_string())),
            ]);
            let quiet = row.change.quiet.map(|quiet| ("quiet", quiet.as_str()));
            for (name, text) in quiet.into_iter().chain(row.finding.as_deref().map(|finding| ("finding", finding))) {
                fields.insert(name.to_owned(), Field::Text(text.to_owned()));
            }
            put(Identity { measurement, tags: host_tags(scene, &row.key), time }, fields);
        }
        points
    }

    /// Every tick has a fate, records and counters tell the same story, and states follow from records, across every
    /// death of the agent. Returns the sums.
    pub(crate) fn audit(&self, scene: &Scene) -> roundsman_model::counts::Counts {
        let mut sums = roundsman_model::counts::Counts::default();
        assert_eq!(self.restored.subjects.len(), scene.subjects());
        let newest = self.restored.subjects.iter().map(|subject| subject.last_tick).max().expect("there are some");
        for subject in &self.restored.subjects {
            let key = &subject.key;
            let counts = subject.counts;
            let records: Vec<&Record> =
                self.records.iter().map(|row| &row.record).filter(|record| record.key == *key).collect();
            let own = |row: &&TransitionRow| row.key == *key && row.finding.is_none();
            let transitions: Vec<_> = self.transitions.iter().filter(own).collect();
            assert!(records.is_sorted_by(|a, b| a.time < b.time), "{key}: time goes forward");
            assert!(transitions.is_sorted_by(|a, b| a.change.at < b.change.at), "{key}: time goes forward");
            assert_eq!(subject.high_water, records.last().expect("there is one").time, "{key}");
            assert!(counts.balanced(), "{key}: {counts:?}");
            // The pending state began when the check was put in force.
            let begin = transitions.first().unwrap_or_else(|| panic!("{key} never left pending")).change;
            assert_eq!(begin.from, State::Pending, "{key}");
            let ticks: Vec<i64> = records.iter().filter(|r| r.origin == Origin::Schedule).map(|r| r.time.0).collect();
            let interval = scene.check(key.check.as_str()).period;
            let period = i64::try_from(interval.as_nanos()).expect("it is short");
            let on_grid = |tick: &i64| (tick - ticks[0]) % period == 0;
            assert!(ticks.iter().all(on_grid), "{key}: a tick is off the grid");
            let number = |at: Timestamp| (at.0 - ticks[0]).div_euclid(period);
            let due = number(subject.last_tick) - number(begin.since);
            assert_eq!(counts.due, u64::try_from(due).expect("time goes forward"), "{key}: {counts:?}");
            assert_eq!(counts.run, ticks.len() as u64, "{key}: a run has a record, a record has a run");
            assert!(ticks.last() <= Some(&subject.last_tick.0), "{key}");
            let behind = newest.since(subject.last_tick);
            assert!(behind < crate::support::DEADLINE / 6 + interval, "{key} is {behind:?} behind the others");
            replay(scene, key, begin.since, &records, &transitions);
            for (sum, count) in [
                (&mut sums.due, counts.due),
                (&mut sums.run, counts.run),
                (&mut sums.missed, counts.missed),
                (&mut sums.overlap, counts.overlap),
                (&mut sums.skipped, counts.skipped),
            ] {
                *sum += count;
            }
        }
        assert!(self.records.is_sorted_by(|a, b| a.id < b.id));
        sums
    }
}

/// From pending on, each record's standing follows from the one before it, and each change is a transition.
fn replay(scene: &Scene, key: &Key, begin: Timestamp, records: &[&Record], transitions: &[&TransitionRow]) {
    let thresholds = scene.check(key.check.as_str()).thresholds;
    let mut standing = Standing::pending(begin);
    let mut changes = Vec::new();
    for record in records {
        let (next, change) = standing.apply(record.status, record.blame, thresholds, record.time);
        assert_eq!(record.standing, next, "{key} at {}", record.time);
        standing = next;
        let quiet = next.flap.is_flapping().then_some(Quiet::Flapping);
        changes.extend(change.map(|change| Change { quiet, ..change }));
    }
    let written: Vec<_> = transitions.iter().map(|row| row.change).collect();
    assert_eq!(written, changes, "{key}");
}

fn host_tags(scene: &Scene, key: &Key) -> BTreeMap<String, String> {
    let plugin = scene.check(key.check.as_str()).plugin;
    let mut tags =
        named_texts([("cluster", CLUSTER), ("host", NODE), ("check", key.check.as_str()), ("plugin", plugin)]);
    if plugin != OWN {
        tags.extend(named_texts([LABEL]));
    }
    if let Some(target) = &key.target {
        tags.insert("target".to_owned(), target.to_string());
    }
    tags
}

fn named_texts<const N: usize>(texts: [(&str, &str); N]) -> BTreeMap<String, String> {
    texts.into_iter().map(|(name, text)| (name.to_owned(), text.to_owned())).collect()
}

fn fields(record: &Record) -> BTreeMap<String, Field> {
    let ms = |ns: u64| Field::Real(ns as f64 / 1e6);
    let mut fields = named([
        ("status", Field::Integer(record.status as i64)),
        ("state", Field::Integer(record.standing.state as i64)),
        ("duration_ms", ms(record.duration_ns)),
        ("lag_ms", ms(record.lag_ns)),
        ("interval_s", Field::Real(record.interval_ns as f64 / 1e9)),
        ("attempt", Field::Integer(i64::from(record.attempt))),
        ("blame", Field::Text(record.blame.as_str().to_owned())),
        ("summary", Field::Text(record.summary.to_string())),
    ]);
    if record.blame == Blame::Target && record.status != Status::Unknown {
        let up = matches!(record.status, Status::Ok | Status::Warning);
        fields.insert("up".to_owned(), Field::Integer(i64::from(up)));
    }
    if let Some(latency_ns) = record.latency_ns {
        fields.insert("latency_ms".to_owned(), ms(latency_ns));
    }
    if let Some(code) = &record.code {
        fields.insert("code".to_owned(), Field::Text(code.to_string()));
    }
    fields
}

fn point_fields(point: &Point) -> BTreeMap<String, Field> {
    let field = |value: &Value| match value {
        Value::Real(value) => Field::Real(*value),
        Value::Integer(value) => Field::Integer(*value),
        Value::Boolean(value) => Field::Integer(i64::from(*value)),
        Value::Text(text) => Field::Text(text.clone()),
    };
    point.fields.iter().map(|(name, value)| (name.clone(), field(value))).collect()
}

fn named<const N: usize>(fields: [(&str, Field); N]) -> BTreeMap<String, Field> {
    fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// Everything in a database of InfluxDB 1.x, by InfluxQL.
pub(crate) fn influx(server: &Server, database: &str) -> Points {
    let mut points = Points::new();
    for measurement in server.rows(database, "SHOW MEASUREMENTS") {
        let measurement = measurement["name"].as_str().expect("a name").to_owned();
        let answer = server.query(database, &format!("SELECT * FROM \"{measurement}\" GROUP BY *"));
        for series in answer["results"][0]["series"].as_array().expect("it has series") {
            let tags = series["tags"].as_object().into_iter().flatten();
            // A tag that a series does not have reads as an empty text.
            let tags: BTreeMap<String, String> = tags
                .map(|(name, value)| (name.clone(), value.as_str().expect("a text").to_owned()))
                .filter(|(_, value)| !value.is_empty())
                .collect();
            let columns: Vec<&str> =
                series["columns"].as_array().expect("a list").iter().filter_map(|column| column.as_str()).collect();
            for row in series["values"].as_array().expect("a list") {
                let row = columns.iter().zip(row.as_array().expect("a list"));
                let (mut fields, mut time) = (BTreeMap::new(), None);
                for (column, value) in row.filter(|(_, value)| !value.is_null()) {
                    match *column {
                        "time" => time = value.as_i64(),
                        field => drop(fields.insert(field.to_owned(), Field::of(value))),
                    }
                }
                let identity =
                    Identity { measurement: measurement.clone(), tags: tags.clone(), time: time.expect("a time") };
                assert!(points.insert(identity.clone(), fields).is_none(), "twice in InfluxDB: {identity:?}");
            }
        }
    }
    points
}

impl Field {
    fn of(value: &serde_json::Value) -> Self {
        match value {
            serde_json::Value::String(text) => Self::Text(text.clone()),
            value => value.as_i64().map(Self::Integer).or(value.as_f64().map(Self::Real)).expect("a number"),
        }
    }

    /// InfluxDB writes the real number 1 as `1`.
    fn same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Real(real), Self::Integer(integer)) | (Self::Integer(integer), Self::Real(real)) => {
                *real == *integer as f64
            }
            (a, b) => a == b,
        }
    }

    fn number(&self) -> Option<f64> {
        match self {
            Self::Integer(integer) => Some(*integer as f64),
            Self::Real(real) => Some(*real),
            Self::Text(_) => None,
        }
    }
}

/// The full outer join: fails unless both sides hold the same points with the same fields.
pub(crate) fn assert_same(store: &Points, server: &Points) {
    let mut differences = Vec::new();
    for (identity, fields) in store {
        match server.get(identity) {
            None => differences.push(format!("only in the store: {identity:?}")),
            Some(there) => {
                let same = fields.len() == there.len()
                    && fields.iter().all(|(name, value)| there.get(name).is_some_and(|other| value.same(other)));
                if !same {
                    differences.push(format!("{identity:?}:\n  store  {fields:?}\n  server {there:?}"));
                }
            }
        }
    }
    let foreign = server.keys().filter(|identity| !store.contains_key(identity));
    differences.extend(foreign.map(|identity| format!("only on the server: {identity:?}")));
    let shown = differences[..differences.len().min(SHOWN)].join("\n");
    assert!(differences.is_empty(), "{} differences:\n{shown}", differences.len());
}

/// Samples by series: instants in milliseconds, and values.
type Samples = BTreeMap<(String, BTreeMap<String, String>), Vec<(i64, f64)>>;

/// Fails unless VictoriaMetrics holds a sample for each numeric field, and no other. It keeps milliseconds, and about
/// fifteen digits.
pub(crate) fn assert_same_samples(store: &Points, server: &Server) {
    let (mut expected, mut texts) = (Samples::new(), Vec::new());
    for (identity, fields) in store {
        for (name, value) in fields {
            let metric = format!("{}_{name}", identity.measurement);
            match value.number() {
                Some(number) => {
                    let samples = expected.entry((metric, identity.tags.clone())).or_default();
                    samples.push((identity.time.div_euclid(1_000_000), number));
                }
                None => texts.push(metric),
            }
        }
    }
    // The server knows milliseconds: samples of one of them have no order.
    let ordered = |samples: &mut Samples| {
        let order = |a: &(i64, f64), b: &(i64, f64)| a.0.cmp(&b.0).then(a.1.total_cmp(&b.1));
        samples.values_mut().for_each(|samples| samples.sort_by(order));
    };
    let count = |samples: &Samples| samples.values().map(Vec::len).sum::<usize>();
    let mut found = Samples::new();
    eventually_some("every sample can be read", || {
        found = exported(server, &texts);
        (count(&found) >= count(&expected)).then_some(())
    });
    assert_eq!(count(&found), count(&expected));
    [&mut expected, &mut found].into_iter().for_each(ordered);
    for (series, samples) in &expected {
        let there = found.get(series).unwrap_or_else(|| panic!("not on the server: {series:?}"));
        let same = |(a, b): (&(i64, f64), &(i64, f64))| a.0 == b.0 && (a.1 - b.1).abs() <= twelfth_digit(a.1);
        assert!(
            samples.len() == there.len() && samples.iter().zip(there).all(same),
            "{series:?}: {samples:?} {there:?}"
        );
    }
    assert_eq!(found.len(), expected.len());
}

/// Everything but what comes of text fields, of which VictoriaMetrics makes zeros.
fn exported(server: &Server, texts: &[String]) -> Samples {
    let ask = |path| request(server.address, "GET", path, &[], b"").expect("the server answers");
    assert_eq!(ask("/internal/force_flush").0, 200);
    let (status, text) = ask("/api/v1/export?match%5B%5D=%7B__name__%21%3D%22%22%7D");
    assert_eq!(status, 200, "{text}");
    let mut samples = Samples::new();
    for line in text.lines() {
        let series: serde_json::Value = serde_json::from_str(line).expect("a line is JSON");
        let mut tags: BTreeMap<String, String> =
            serde_json::from_value(series["metric"].clone()).expect("labels are texts");
        let metric = tags.remove("__name__").expect("a name");
        tags.remove("db");
        if texts.contains(&metric) {
            continue;
        }
        let list = |name: &str| series[name].as_array().expect("a list").iter();
        let pairs = list("timestamps").zip(list("values"));
        let pairs = pairs.map(|(at, value)| (at.as_i64().expect("ms"), value.as_f64().expect("a number")));
        samples.entry((metric, tags)).or_default().extend(pairs);
    }
    samples
}

/// What a one is worth there: VictoriaMetrics keeps twelve significant digits and cuts off the rest.
fn twelfth_digit(value: f64) -> f64 {
    if value == 0.0 { 0.0 } else { 10_f64.powi(value.abs().log10().floor() as i32 - 11) }
}
