//! An agent that only holds data, with a real store behind it, served on real sockets.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;

use roundsman_model::board;
use roundsman_model::check::{Check, Limits, Timing};
use roundsman_model::counts::Counts;
use roundsman_model::grants::Allow;
use roundsman_model::key::Key;
use roundsman_model::name::{CheckName, PluginName};
use roundsman_model::record::{Blame, Finding, Origin, Point, Record, Status, Value};
use roundsman_model::state::{Change, Soft, Standing, State};
use roundsman_model::target::Target;
use roundsman_model::time::Timestamp;
use roundsman_store::{Config, Entry, Health, Reader, Recorded, Store, StoreError, TagSet};
use roundsman_web::App;
use roundsman_web::agent::{Agent, Later, RunError};
use roundsman_web::authority::{Authority, Public, Token};
use roundsman_web::sample::{Family, Fault, Histogram, Kind, Process, Sample};
use roundsman_web::serve::{Listener, serve};
use roundsman_web::view;
use tokio::net::TcpListener;
use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// 2026-11-20T11:00:00Z.
pub(crate) const NOW: Timestamp = Timestamp(1_795_172_400_000_000_000);

pub(crate) const TOKEN: &str = "0123456789abcdef0123456789abcdef";

/// Everything that an attacker would like to see unescaped somewhere.
pub(crate) const HOSTILE: &str = "<script>alert(1)</script>\" onload='x' \\ &amp;\n\u{202e}evil\u{1b}[31m";

/// So few that a listener is quickly behind.
pub(crate) const EVENTS: usize = 16;

#[derive(Debug)]
pub(crate) struct Fake {
    pub(crate) board: Mutex<Vec<view::Subject>>,
    pub(crate) checks: Vec<view::Check>,
    pub(crate) ready: Mutex<bool>,
    pub(crate) beating: Mutex<Result<(), String>>,
    pub(crate) events: broadcast::Sender<view::Event>,
    store: Store,
}

impl Agent for Fake {
    fn about(&self) -> view::About {
        let component = |name: &str, health, detail: &str| view::Component {
            name: name.to_owned(),
            health,
            detail: detail.to_owned(),
        };
        let ready = *self.ready.lock().unwrap();
        view::About {
            node: "node-a".to_owned(),
            cluster: Some("prod".to_owned()),
            zone: Some("eu-1a".to_owned()),
            version: "0.1.0".to_owned(),
            socket: Some("/var/lib/roundsman/agent.sock".to_owned()),
            now: NOW.into(),
            started: (NOW - Duration::from_secs(93_784)).into(),
            ready,
            components: vec![
                component("engine", if ready { view::Health::Ok } else { view::Health::Failed }, "its loop beats"),
                component("watcher", view::Health::Degraded, "the directory of checks cannot be watched: polling"),
            ],
            store: view::StoreHealth::of(
                &Health {
                    records: 1_234_567,
                    transitions: 321,
                    bytes: 104_857_600,
                    oldest: Some(NOW - Duration::from_hours(160)),
                    ..Health::default()
                },
                536_870_912,
            ),
            destinations: vec![
                destination("main", view::Health::Ok, "", 0),
                destination("old", view::Health::Degraded, "connection refused, trying again in 8 s", 18_204),
            ],
            problems: vec![format!("checks/shop.yaml:12:5: unknown key `intervall` {HOSTILE}")],
        }
    }

    fn board(&self) -> Vec<view::Subject> {
        self.board.lock().unwrap().clone()
    }

    fn checks(&self) -> Vec<view::Check> {
        self.checks.clone()
    }

    fn plugins(&self) -> Vec<view::Plugin> {
        let plugin = |name: &str, state, reason: Option<&str>| view::Plugin {
            name: name.into(),
            state,
            reason: reason.map(str::to_owned),
            outdated: false,
            file: format!("/etc/roundsman/plugins/{name}.wasm"),
            size_bytes: 81_920,
            digest: (state == view::PluginState::Ready).then(|| "ab".repeat(32)),
            version: Some("0.1.0".to_owned()),
            summary: Some("Asks over HTTP.".to_owned()),
            loaded: Some(NOW.into()),
            compile_ms: Some(312.5),
            describe: Some(serde_json::json!({"series": []})),
            checks: vec!["shop".into()],
        };
        vec![
            plugin("http", view::PluginState::Ready, None),
            plugin("broken", view::PluginState::Broken, Some(HOSTILE)),
            plugin("dns", view::PluginState::Compiling, None),
        ]
    }

    fn sample(&self) -> Sample {
        let histogram = Histogram { bounds_s: vec![0.001, 0.01, 0.1], counts: vec![90, 9, 0, 1], sum_s: 1.5 };
        let labels = vec![("what", HOSTILE.to_owned())];
        Sample {
            lag: histogram.clone(),
            queue: histogram.clone(),
            run: histogram,
            runs_in_flight: 3,
            runs_limit: 256,
            guest_memory_bytes: 1 << 20,
            guest_memory_limit_bytes: 512 << 20,
            refusals: vec![("network".to_owned(), 7)],
            faults: vec![Fault { plugin: "http".to_owned(), code: HOSTILE.to_owned(), count: 2 }],
            process: Process {
                cpu_seconds: 12.5,
                resident_bytes: 42 << 20,
                open_files: 33,
                threads: 9,
                start_time_s: 1e9,
            },
            more: vec![Family {
                name: "fake_things",
                help: "Things.",
                kind: Kind::Counter,
                values: vec![(labels, 1.0)],
            }],
        }
    }

    fn beating(&self) -> Result<(), String> {
        self.beating.lock().unwrap().clone()
    }

    fn reader(&self) -> Result<Reader, StoreError> {
        self.store.reader()
    }

    fn events(&self) -> broadcast::Receiver<view::Event> {
        self.events.subscribe()
    }

    fn run_now<'a>(
        &'a self,
        check: &'a str,
        target: Option<&'a str>,
    ) -> Later<'a, Result<Vec<view::Record>, RunError>> {
        Box::pin(async move {
            match (check, target) {
                ("shop", None | Some("eu")) => {
                    let mut record = record(&key("shop", Some("eu")), 9_000, Status::Ok, "200 in 3 ms");
                    record.origin = Origin::RunNow;
                    Ok(vec![view::Record::of(&record, None)])
                }
                ("shop", Some(target)) => Err(RunError::NoTarget { check: check.into(), target: target.into() }),
                ("disk", _) => Err(RunError::Busy(check.into())),
                ("dns", _) => Err(RunError::NotRunnable("its plugin is being compiled".into())),
                ("load", _) => Err(RunError::Stopping),
                _ => Err(RunError::NoCheck(check.into())),
            }
        })
    }
}

fn destination(name: &str, health: view::Health, detail: &str, backlog: u64) -> view::Destination {
    view::Destination {
        name: name.to_owned(),
        url: "http://127.0.0.1:8086".to_owned(),
        api: "v2".to_owned(),
        health,
        detail: detail.to_owned(),
        backlog,
        points_written: 1_000,
        bytes_written: 100_000,
        points_rejected: 0,
        requests: 50,
        requests_failed: 2,
        last_success: Some(NOW.into()),
    }
}

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
        standing: Standing { state: status.into(), since: time, soft: None },
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
    }
}

fn check(name: &str, targets: &[&str]) -> view::Check {
    let target = |name: &&str| Target {
        name: (*name).into(),
        address: format!("https://{name}.shop.example").into(),
        labels: [("region".to_owned(), (*name).to_owned())].into(),
    };
    let check = Check {
        name: CheckName::new(name).unwrap(),
        plugin: PluginName::new("http").unwrap(),
        timing: Timing::Interval(Duration::from_secs(10)),
        timeout: Duration::from_secs(2),
        initial_delay: Duration::ZERO,
        retry_interval: Some(Duration::from_secs(2)),
        success_threshold: 1,
        failure_threshold: 3,
        targets: targets.iter().map(target).collect(),
        settings: serde_json::Map::from_iter([("path".to_owned(), HOSTILE.into())]),
        allow: Allow { network: vec!["https://*.shop.example:443".to_owned()], ..Allow::default() },
        limits: Limits::default(),
        labels: [("team".to_owned(), "web".to_owned())].into(),
        owner: Some("shop-team".to_owned()),
        runbook: Some("https://wiki.example/shop?a=1&b=\"2\"".to_owned()),
        enabled: true,
    };
    let mut check = view::Check::of(&check);
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
        enabled: state != State::Skipped,
    };
    let mut board = board::Board::default();
    let since = NOW - Duration::from_secs(since_s);
    let stale_at = (state == State::Stale).then_some(since);
    let entry = board.configure(key.clone(), configured, since, stale_at);
    entry.standing = Standing { state, since, soft: None };
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
fn subjects() -> Vec<view::Subject> {
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

/// An agent that is being served, its store in a directory of its own.
#[derive(Debug)]
pub(crate) struct Served {
    pub(crate) agent: Arc<Fake>,
    pub(crate) address: SocketAddr,
    pub(crate) app: App,
    pub(crate) stop: CancellationToken,
    pub(crate) tasks: TaskTracker,
    pub(crate) directory: tempfile::TempDir,
}

/// The defaults of a network listener.
pub(crate) fn network() -> Authority {
    Authority::Network {
        token: Some(Token::new(TOKEN).unwrap()),
        public: vec![Public::Livez, Public::Readyz, Public::Alwayshappy],
        loopback: true,
        hosts: vec!["node-a".to_owned()],
    }
}

/// Serves a fake agent on a free port of loopback.
pub(crate) async fn start() -> Served {
    start_with(network()).await
}

pub(crate) async fn start_with(authority: Authority) -> Served {
    let directory = tempfile::tempdir().unwrap();
    let (store, _) = Store::open(Config::new(directory.path()), |_| {}).unwrap();
    fill(&store).await;
    let agent = Arc::new(Fake {
        board: Mutex::new(subjects()),
        checks: vec![check("shop", &["eu", "us", "asia"]), check("hostile", &[HOSTILE]), check("disk", &[])],
        ready: Mutex::new(true),
        beating: Mutex::new(Ok(())),
        events: broadcast::channel(EVENTS).0,
        store,
    });
    let stop = CancellationToken::new();
    let app = App::new(agent.clone(), stop.clone());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let tasks = TaskTracker::new();
    tasks.spawn(serve(Listener::from(listener), app.clone(), authority, stop.clone()));
    Served { agent, address, app, stop, tasks, directory }
}

/// 120 records of `shop/eu`, 10 s apart, of which the second half is critical, and one of each other subject.
async fn fill(store: &Store) {
    let eu = key("shop", Some("eu"));
    for n in 0..120 {
        let (status, summary) = if n < 60 { (Status::Ok, "200 in 3 ms") } else { (Status::Critical, "refused") };
        let record = record(&eu, 8_000 + n * 10, status, summary);
        let change = (n == 60).then(|| Change {
            from: State::Ok,
            to: State::Critical,
            since: Timestamp(record.time.0 - 600_000_000_000),
            at: record.time,
        });
        submit(store, record, change);
    }
    submit(store, record(&key("disk", None), 9_000, Status::Warning, "/var: 91 % used"), None);
    let hostile = record(&key("hostile", Some(HOSTILE)), 9_010, Status::Unknown, HOSTILE);
    let change = Change { from: State::Pending, to: State::Unknown, since: hostile.started, at: hostile.time };
    submit(store, hostile, Some(change));
    store.flush().await.unwrap();
}

fn submit(store: &Store, record: Record, change: Option<Change>) {
    let tags = TagSet::new([("host", "node-a"), ("check", record.key.check.as_str())]);
    let last_tick = record.time;
    let counts = Counts::default();
    let entry = Recorded { record, tags, change, memory: Vec::new(), counts, last_tick, log: Vec::new() };
    store.submit(Entry::Record(Box::new(entry))).unwrap();
}
