//! The row about the way from the store to a socket: reading SQLite, encoding, compressing, sending.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use roundsman_influx::destination::{Api, DEFAULT_FLUSH_INTERVAL, Destination};
use roundsman_influx::forward::Forwarder;
use roundsman_influx::stats::Stats;
use roundsman_model::counts::Counts;
use roundsman_model::flap::Flap;
use roundsman_model::key::Key;
use roundsman_model::name::{CheckName, PluginName};
use roundsman_model::record::{Blame, Origin, Point, Record, Status, Story, Value};
use roundsman_model::state::{Standing, State};
use roundsman_model::time::Timestamp;
use roundsman_store::{Config, Cursor, Entry, Recorded, Store, TagSet};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::measure::{cpu, median, runtime};
use crate::servers::{Kind, Server};
use crate::table::{Measured, Setting};

const REPEATS: usize = 3;
const SECOND_NS: i64 = 1_000_000_000;
/// The first record of each series, in seconds since 1970.
const BEGIN_S: i64 = 1_700_000_000;
const SUBJECTS: i64 = 100;
/// Entries between two waits for the store, so that its queue never overflows.
const CHUNK: i64 = 5_000;
/// One for the record itself and one for the plugin's point.
const LINES: u64 = 2;
const FIELDS: [&str; 6] = ["resolve_ms", "connect_ms", "tls_ms", "first_byte_ms", "transfer_ms", "total_ms"];

/// Drains a full store, from the beginning each time.
pub(crate) fn stream(setting: &Setting) -> Result<Measured> {
    let count = if setting.quick { 50_000 } else { 300_000 };
    let directory = tempfile::tempdir()?;
    let runtime = runtime()?;
    runtime.block_on(fill(directory.path(), count))?;
    let sink = Server::start(Kind::Sink, &setting.place)?;
    let (mut rates, mut wire) = (Vec::new(), 0.0);
    for _ in 0..REPEATS {
        let (rate, bytes) =
            runtime.block_on(drain(directory.path(), sink.address(0)?, count.unsigned_abs() * LINES))?;
        rates.push(rate / 1e3);
        wire = bytes;
    }
    Ok(Measured {
        measured: median(rates, "thousand points/s/core"),
        control: "processor time of all threads of this process".to_owned(),
        notes: format!("{count} records with one point of 6 fields, v2, {wire:.0} bytes/point; the sink answers 204"),
    })
}

fn open(directory: &Path) -> Result<(Store, watch::Receiver<u64>)> {
    let destinations = vec!["sink".to_owned()];
    let config = Config { destinations, max_size: 4 << 30, ..Config::new(directory) };
    let (sender, rows) = watch::channel(0);
    let publish = move |entries: &[Entry]| sender.send_modify(|rows| *rows += entries.len() as u64);
    Ok((Store::open(config, publish)?.0, rows))
}

async fn fill(directory: &Path, count: i64) -> Result<()> {
    let (store, _) = open(directory)?;
    let plugin = PluginName::new("http")?;
    let mut subjects = Vec::new();
    for number in 0..SUBJECTS {
        let name = format!("shop-{number}");
        let tags = [("cluster", "prod"), ("host", "node-a"), ("plugin", "http"), ("check", &name), ("target", "eu")];
        subjects.push((Key::new(CheckName::new(&name)?, Some("eu")), TagSet::new(tags)));
    }
    for number in 0..count {
        let subject = usize::try_from(number % SUBJECTS)?;
        let (key, tags) = &subjects[subject];
        store.submit(entry(number, key.clone(), tags.clone(), plugin.clone()))?;
        if number % CHUNK == 0 {
            store.flush().await?;
        }
    }
    store.flush().await?;
    Ok(store.close().await?)
}

fn entry(number: i64, key: Key, tags: TagSet, plugin: PluginName) -> Entry {
    let time = Timestamp((BEGIN_S + number / SUBJECTS) * SECOND_NS);
    let value = |n: usize| Value::Real((number % 977) as f64 * 0.37 + n as f64);
    let fields = FIELDS.iter().enumerate().map(|(n, field)| ((*field).to_owned(), value(n))).collect();
    let record = Record {
        key,
        plugin,
        origin: Origin::Schedule,
        time,
        started: time,
        status: Status::Ok,
        blame: Blame::Target,
        code: None,
        summary: "200 OK in 12 ms".into(),
        standing: Standing {
            state: State::Ok,
            since: Timestamp(BEGIN_S * SECOND_NS),
            soft: None,
            flap: Flap::default(),
        },
        attempt: 1,
        latency_ns: Some(12_000_000),
        duration_ns: 12_500_000,
        lag_ns: 400_000,
        cpu_ns: 60_000,
        interval_ns: SECOND_NS.unsigned_abs(),
        points: vec![Point { series: "http".to_owned(), tags: Vec::new(), fields }],
        findings: Vec::new(),
        suspect: false,
    };
    let counts = Counts { due: 1, run: 1, ..Counts::default() };
    let (change, findings, memory, story) = (None, Vec::new(), Vec::new(), Story::default());
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

/// Points per second and core, and bytes per point on the wire.
async fn drain(directory: &Path, sink: &str, lines: u64) -> Result<(f64, f64)> {
    let (store, rows) = open(directory)?;
    let (stop, stats) = (CancellationToken::new(), Arc::new(Stats::default()));
    let api = Api::V2 { org: "bench".to_owned(), bucket: "bench".to_owned(), token_file: None };
    let forwarder = Forwarder {
        destination: Destination {
            name: "sink".to_owned(),
            url: format!("http://{sink}"),
            api,
            flush_interval: DEFAULT_FLUSH_INTERVAL,
        },
        node: "node-a".to_owned(),
        state: directory.to_owned(),
        cursor: Cursor::default(),
        grace: Duration::from_secs(1),
        stats: stats.clone(),
    };
    let before = cpu();
    let done = async {
        while stats.snapshot().written < lines {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        stop.cancel();
        cpu()
    };
    let (ended, after) = tokio::join!(forwarder.run(store.clone(), rows, stop.clone()), done);
    ended?;
    store.close().await?;
    let rate = lines as f64 / (after - before).as_secs_f64();
    Ok((rate, stats.snapshot().bytes as f64 / lines as f64))
}
