//! Measures the store: processor time per record at several rates, bytes written, reading the outbox, opening.
#![expect(clippy::print_stdout, reason = "a program that prints its figures")]
#![expect(clippy::unwrap_used, reason = "a measurement that fails has nothing to clean up")]

use std::path::Path;
use std::time::{Duration, Instant};

use roundsman_model::counts::Counts;
use roundsman_model::key::Key;
use roundsman_model::name::{CheckName, PluginName};
use roundsman_model::record::{Blame, Origin, Point, Record, Status, Story, Value};
use roundsman_model::state::{Standing, State};
use roundsman_model::time::Timestamp;
use roundsman_store::{Config, Cursor, Entry, Query, Recorded, Refused, Store, TagSet};

const SECOND: i64 = 1_000_000_000;

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let scale: u64 = std::env::args().nth(1).map_or(10, |seconds| seconds.parse().unwrap());
    println!("{:<44} {:>10} {:>12} {:>12} {:>12}", "", "records", "us/record", "of it store", "B written");
    for (subjects, rate) in [(1_000, 100), (1_000, 1_000), (1_000, 10_000), (10_000, 10_000)] {
        sustained(subjects, rate, scale, 512).await;
    }
    // The budget is reached after half of the time: what retention costs.
    sustained(1_000, 10_000, scale, 64.min(scale)).await;
    let directory = tempfile::tempdir().unwrap();
    fill(directory.path(), 1_000_000).await;
    read(directory.path()).await;
}

/// A steady rate, as the engine would submit it.
async fn sustained(subjects: usize, rate: u64, seconds: u64, max_mib: u64) {
    let directory = tempfile::tempdir().unwrap();
    let config = Config { max_size: max_mib << 20, ..Config::new(directory.path()) };
    let (store, _) = Store::open(config, |_| {}).unwrap();
    let samples: Vec<Recorded> = (0..subjects).map(sample).collect();
    for (number, sample) in samples.iter().enumerate() {
        store.submit(at(sample, number as i64 - subjects as i64)).unwrap();
    }
    store.flush().await.unwrap();
    let before = Usage::now();
    let begin = Instant::now();
    let total = rate * seconds;
    let mut made = 0;
    while made < total {
        let due = total.min((begin.elapsed().as_secs_f64() * rate as f64) as u64);
        for number in made..due {
            let entry = at(&samples[number as usize % subjects], number as i64 + 1);
            store.submit(entry).unwrap();
        }
        made = due;
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    store.flush().await.unwrap();
    let after = Usage::now();
    let micros = |ns: u64| ns as f64 / 1_000.0 / total as f64;
    println!(
        "{:<44} {total:>10} {:>12.2} {:>12.2} {:>12.0}",
        format!("{rate}/s, {subjects} subjects, {seconds} s, {max_mib} MiB"),
        micros(after.process_ns - before.process_ns),
        micros(after.store_ns - before.store_ns),
        (after.written - before.written) as f64 / total as f64,
    );
    let removed = total + subjects as u64 - store.health().records;
    if removed > 0 {
        println!("  of these, {removed} were removed; {} bytes on disk", store.health().bytes);
    }
    store.close().await.unwrap();
}

/// As fast as it goes.
async fn fill(directory: &Path, total: u64) {
    let (store, _) = Store::open(Config::new(directory), |_| {}).unwrap();
    let samples: Vec<Recorded> = (0..1_000).map(sample).collect();
    let before = Usage::now();
    let begin = Instant::now();
    for number in 0..total {
        let mut entry = at(&samples[number as usize % samples.len()], number as i64 + 1);
        while let Err(Refused::Overrun) = store.submit(entry) {
            tokio::time::sleep(Duration::from_millis(1)).await;
            entry = at(&samples[number as usize % samples.len()], number as i64 + 1);
        }
    }
    store.flush().await.unwrap();
    let (took, after) = (begin.elapsed(), Usage::now());
    let bytes = store.health().bytes;
    println!(
        "as fast as it goes: {:.0} records/s, {:.2} us of the store's thread per record, {:.0} B per record on disk",
        total as f64 / took.as_secs_f64(),
        (after.store_ns - before.store_ns) as f64 / 1_000.0 / total as f64,
        bytes as f64 / total as f64
    );
    store.close().await.unwrap();
}

async fn read(directory: &Path) {
    let begin = Instant::now();
    let (store, restored) = Store::open(Config::new(directory), |_| {}).unwrap();
    println!("open after a clean end, {} subjects: {:?}", restored.subjects.len(), begin.elapsed());
    let mut reader = store.reader().unwrap();
    let (begin, mut rows, mut cursor) = (Instant::now(), 0, Cursor::default());
    loop {
        let batch = reader.outbox(cursor, 5_000).unwrap();
        if batch.next == cursor {
            break;
        }
        rows += batch.records.len();
        cursor = batch.next;
    }
    println!("outbox: {:.0} rows/s", rows as f64 / begin.elapsed().as_secs_f64());
    let check = Some(CheckName::new("check-7").unwrap());
    for (what, query) in [
        ("newest 100 of all", Query { limit: 100, ..Query::default() }),
        ("newest 100 of one check", Query { check: check.clone(), limit: 100, ..Query::default() }),
        ("all of one check", Query { check, limit: 10_000, ..Query::default() }),
        ("newest 100 critical", Query { status: Some(Status::Critical), limit: 100, ..Query::default() }),
    ] {
        let begin = Instant::now();
        let found = reader.records(&query).unwrap().rows.len();
        println!("{what}: {found} rows in {:?}", begin.elapsed());
    }
    drop(reader);
    store.close().await.unwrap();
    let conn = rusqlite::Connection::open(directory.join("roundsman.db")).unwrap();
    let begin = Instant::now();
    conn.query_row("PRAGMA quick_check(1)", [], |_| Ok(())).unwrap();
    let bytes = std::fs::metadata(directory.join("roundsman.db")).unwrap().len();
    println!("looking at every page: {:.2} s per GiB", begin.elapsed().as_secs_f64() * (1 << 30) as f64 / bytes as f64);
}

fn sample(number: usize) -> Recorded {
    let key = Key::new(CheckName::new(&format!("check-{number}")).unwrap(), None);
    let tags =
        TagSet::new([("cluster", "prod"), ("host", "node-a"), ("check", key.check.as_str()), ("plugin", "http")]);
    let point = Point {
        series: "http".into(),
        tags: vec![("region".into(), "eu".into())],
        fields: vec![("total_ms".into(), Value::Real(1.25)), ("status".into(), Value::Integer(200))],
    };
    let record = Record {
        key,
        plugin: PluginName::new("http").unwrap(),
        origin: Origin::Schedule,
        time: Timestamp(0),
        started: Timestamp(0),
        status: Status::Ok,
        blame: Blame::Target,
        code: None,
        summary: "200 OK in 1.2 ms".into(),
        standing: Standing { state: State::Ok, ..Standing::pending(Timestamp(1_795_172_050 * SECOND)) },
        attempt: 1,
        latency_ns: Some(1_200_000),
        duration_ns: 1_300_000,
        lag_ns: 40_000,
        cpu_ns: 20_000,
        interval_ns: SECOND as u64,
        points: vec![point],
        findings: Vec::new(),
        suspect: false,
    };
    Recorded {
        record,
        tags,
        change: None,
        findings: Vec::new(),
        memory: Vec::new(),
        counts: Counts::default(),
        last_tick: Timestamp(0),
        story: Story::default(),
        conduct: None,
    }
}

fn at(sample: &Recorded, number: i64) -> Entry {
    let mut recorded = sample.clone();
    let time = Timestamp(1_795_172_050 * SECOND + number * 100_000);
    (recorded.record.time, recorded.record.started, recorded.last_tick) =
        (time, time + Duration::from_micros(60), time);
    recorded.counts.due = number.unsigned_abs();
    recorded.counts.run = number.unsigned_abs();
    Entry::Record(Box::new(recorded))
}

/// What the process and the store's thread have used, by the kernel's account.
struct Usage {
    process_ns: u64,
    store_ns: u64,
    written: u64,
}

impl Usage {
    fn now() -> Self {
        let mut usage = Self { process_ns: 0, store_ns: 0, written: 0 };
        for task in std::fs::read_dir("/proc/self/task").unwrap() {
            let task = task.unwrap().path();
            let on_cpu = std::fs::read_to_string(task.join("schedstat")).unwrap();
            let ns: u64 = on_cpu.split(' ').next().unwrap().parse().unwrap();
            usage.process_ns += ns;
            if std::fs::read_to_string(task.join("comm")).unwrap().trim() == "store" {
                usage.store_ns += ns;
            }
        }
        let io = std::fs::read_to_string("/proc/self/io").unwrap();
        let written = io.lines().find_map(|line| line.strip_prefix("wchar: ")).unwrap();
        usage.written = written.parse().unwrap();
        usage
    }
}
