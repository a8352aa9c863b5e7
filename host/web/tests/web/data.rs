//! What the fake agent holds: checks, a board with a bit of everything, records, stories, silences.

use std::sync::Arc;
use std::time::Duration;

use roundsman_model::board;
use roundsman_model::check::{CatchUp, Check, Limits, Maintenance, Timing};
use roundsman_model::counts::Counts;
use roundsman_model::flap::Flap;
use roundsman_model::grants::Allow;
use roundsman_model::key::Key;
use roundsman_model::name::{CheckName, PluginName};
use roundsman_model::record::{Blame, Call, Finding, Level, LogLine, Origin, Point, Record, Status, Story, Value};
use roundsman_model::silence::{Silence, Until};
use roundsman_model::state::{Change, Quiet, Soft, Standing, State};
use roundsman_model::target::Target;
use roundsman_model::time::Timestamp;
use roundsman_model::units::Size;
use roundsman_store::{Entry, Recorded, Store, TagSet};
use roundsman_web::view;

use crate::fake::{HOSTILE, NOW};

pub(crate) fn key(check: &str, target: Option<&str>) -> Key {
    Key::new(CheckName::new(check).unwrap(), target)
}

/// A record that is so many seconds old or young, counted from `NOW - 10,000 s`.
pub(crate) fn record(key: &Key, at_s: i64, status: Status, summary: &str) -> Record {
    let time = Timestamp(NOW.0 + (at_s - 10_000) * 1_000_000_000);
    Record {
        key: key.clone(),
        plugin: PluginName::new("http").unwrap(),
        origin: Origin::Schedule,
        time,
        started: time + Duration::from_micros(150),
        status,
        blame: Blame::Target,
        code: (status == Status::Critical).then(|| "refused".into()),
        summary: summary.into(),
        standing: Standing { state: status.into(), since: time, soft: None, flap: Flap::default() },
        attempt: 1,
        latency_ns: Some(3_200_000),
        duration_ns: 4_100_000,
        lag_ns: 150_000,
        cpu_ns: 30_000,
        interval_ns: 10_000_000_000,
        points: vec![Point {
            series: "http".to_owned(),
            tags: vec![("phase".to_owned(), "total".to_owned())],
            fields: vec![
                ("total_ms".to_owned(), Value::Real(3.2)),
                ("status".to_owned(), Value::Integer(200)),
                ("reused".to_owned(), Value::Boolean(false)),
                ("server".to_owned(), Value::Text(HOSTILE.to_owned())),
            ],
        }],
        findings: vec![Finding { subject: "certificate".to_owned(), status, summary: "30 days left".to_owned() }],
        suspect: false,
    }
}

pub(crate) fn check(name: &str, targets: &[&str]) -> view::Check {
    check_of(name, targets, None)
}

/// A check that takes pushed results.
pub(crate) fn switch(name: &str, targets: &[&str]) -> view::Check {
    check_of(name, targets, Some(Duration::from_hours(25)))
}

fn check_of(name: &str, targets: &[&str], ttl: Option<Duration>) -> view::Check {
    let target = |name: &&str| Target {
        name: (*name).into(),
        address: format!("https://{name}.shop.example").into(),
        labels: [("region".to_owned(), (*name).to_owned())].into(),
    };
    let check = Check {
        name: CheckName::new(name).unwrap(),
        plugin: PluginName::new("http").unwrap(),
        timing: Timing::Interval(Duration::from_secs(10)),
        jitter_percent: 10,
        catch_up: CatchUp::Skip,
        timeout: Duration::from_secs(2),
        initial_delay: Duration::ZERO,
        retry_interval: Some(Duration::from_secs(2)),
        success_threshold: 1,
        failure_threshold: 3,
        targets: targets.iter().map(target).collect(),
        thresholds: Vec::new(),
        depends_on: vec![CheckName::new("dns").unwrap()],
        maintenance: vec![Maintenance {
            cron: "0 2 * * sun".to_owned(),
            timezone: "UTC".to_owned(),
            length: Duration::from_hours(2),
        }],
        negate: false,
        shadow: false,
        settings: serde_json::Map::from_iter([("path".to_owned(), HOSTILE.into())]),
        allow: Allow { network: vec!["https://*.shop.example:443".to_owned()], ..Allow::default() },
        limits: Limits::default(),
        labels: [("team".to_owned(), "web".to_owned())].into(),
        owner: Some("shop-team".to_owned()),
        runbook: Some("https://wiki.example/shop?a=1&b=\"2\"".to_owned()),
        enabled: true,
    };
    let check = Check { timing: ttl.map_or(check.timing.clone(), Timing::Ttl), ..check };
    let mut check = view::Check::of(&check);
    if ttl.is_some() {
        // Less than a body may hold, so that the limit can be met.
        check.limits.output = Size(16 << 10);
    }
    check.file = Some("/etc/roundsman/checks/shop.yaml".to_owned());
    check
}

/// A line of the board by way of the model's own board.
pub(crate) fn subject(key: &Key, state: State, summary: &str, since_s: u64) -> view::Subject {
    let configured = board::Configured {
        plugin: PluginName::new("http").unwrap(),
        labels: Arc::default(),
        owner: Some("shop-team".into()),
        runbook: None,
        enabled: state != State::Skipped || !summary.is_empty(),
        shadow: false,
    };
    let mut board = board::Board::default();
    let since = NOW - Duration::from_secs(since_s);
    let stale_at = (state == State::Stale).then_some(since);
    let entry = board.configure(key.clone(), configured, since, stale_at);
    entry.standing = Standing { state, since, soft: None, flap: Flap::default() };
    let status = match state {
        State::Warning => Status::Warning,
        State::Critical => Status::Critical,
        State::Unknown => Status::Unknown,
        _ => Status::Ok,
    };
    let mut shown = record(key, 9_996, status, summary);
    shown.standing = entry.standing;
    if state == State::Unknown {
        shown.blame = Blame::Plugin;
        shown.code = Some("trap".into());
    }
    if state == State::Warning {
        shown.standing.soft = Some(Soft { status: Status::Critical, count: 2 });
    }
    if state != State::Pending {
        board.apply(&shown, Counts { due: 1_003, run: 1_000, missed: 1, overlap: 2, skipped: 0 }, stale_at);
    }
    let mut subject = view::Subject::of(board.get(key).unwrap(), NOW);
    subject.next_run = (state != State::Skipped).then(|| (NOW + Duration::from_secs(6)).into());
    if state == State::Stale {
        subject.note = Some("nothing was heard for 41 s".to_owned());
    }
    subject
}

/// A board with a bit of everything.
pub(crate) fn subjects() -> Vec<view::Subject> {
    let mut all = vec![
        subject(&key("shop", Some("eu")), State::Critical, "connect 10.0.0.7:443: connection refused", 312),
        subject(&key("shop", Some("us")), State::Ok, "200 OK in 3.2 ms, certificate good for 61 days", 90_211),
        subject(&key("shop", Some("asia")), State::Warning, "200 OK in 812 ms: slower than 300 ms", 61),
        subject(&key("hostile", Some(HOSTILE)), State::Unknown, HOSTILE, 4_000),
        subject(&key("dns", None), State::Pending, "", 2),
        subject(&key("load", None), State::Stale, "load 0.4, 61 % of memory free", 41),
        subject(&key("backup", None), State::Skipped, "", 800),
    ];
    for (n, what) in ["disk", "etcd", "registry", "kubelet", "conntrack", "ntp"].iter().enumerate() {
        let text =
            ["/: 41 % used, 12 % of inodes; /var: 77 % used", "leader since 4 d, 12 ms fsync", "200 OK in 14 ms"]
                [n % 3];
        all.push(subject(&key(what, None), State::Ok, text, 5_000 * (n as u64 + 1)));
    }
    all
}

/// 120 records of `shop/eu`, 10 s apart, of which the second half is critical, and one of each other subject.
pub(crate) async fn fill(store: &Store) {
    let eu = key("shop", Some("eu"));
    for n in 0..120 {
        let (status, summary) = if n < 60 { (Status::Ok, "200 in 3 ms") } else { (Status::Critical, "refused") };
        let record = record(&eu, 8_000 + n * 10, status, summary);
        let change = (n == 60).then(|| Change {
            from: State::Ok,
            to: State::Critical,
            since: Timestamp(record.time.0 - 600_000_000_000),
            at: record.time,
            quiet: Some(Quiet::Flapping),
        });
        submit(store, record, change);
    }
    submit(store, record(&key("disk", None), 9_000, Status::Warning, "/var: 91 % used"), None);
    let hostile = record(&key("hostile", Some(HOSTILE)), 9_010, Status::Unknown, HOSTILE);
    let change =
        Change { from: State::Pending, to: State::Unknown, since: hostile.started, at: hostile.time, quiet: None };
    submit(store, hostile, Some(change));
    store.flush().await.unwrap();
}

fn submit(store: &Store, record: Record, change: Option<Change>) {
    let tags = TagSet::new([("host", "node-a"), ("check", record.key.check.as_str())]);
    let last_tick = record.time;
    let counts = Counts::default();
    let story = story(&record);
    let findings = Vec::new();
    let entry =
        Recorded { record, tags, change, findings, memory: Vec::new(), counts, last_tick, story, conduct: None };
    store.submit(Entry::Record(Box::new(entry))).unwrap();
}

/// What a failing run left behind.
fn story(record: &Record) -> Story {
    if record.status == Status::Ok {
        return Story::default();
    }
    Story {
        log: vec![LogLine { level: Level::Warn, text: format!("gave up: {HOSTILE}") }],
        calls: vec![Call {
            what: "GET https://eu.shop.example/healthz".to_owned(),
            result: format!("timeout while connecting {HOSTILE}"),
            phases: vec![("resolve".to_owned(), 2_000_000), ("connect".to_owned(), 1_900_000_000)],
            duration_ns: 1_902_000_000,
        }],
    }
}

/// A silence of everything that a check looks at, or of one target.
pub(crate) fn silenced(id: u64, check: &str, target: Option<&str>, until: Until) -> Silence {
    Silence {
        id,
        check: Some(check.into()),
        target: target.map(Into::into),
        author: "ops <b>".into(),
        reason: format!("known {HOSTILE}").into(),
        created: NOW - Duration::from_mins(5),
        until,
    }
}
