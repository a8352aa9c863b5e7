//! An agent that only holds data, with a real store behind it, served on real sockets.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;

use roundsman_model::record::{Origin, Status};
use roundsman_model::silence::Silence;
use roundsman_model::time::Timestamp;
use roundsman_store::{Config, Health, Reader, Store, StoreError};
use roundsman_web::App;
use roundsman_web::agent::{Agent, Later, PushError, Pushed, ReleaseError, RunError, SilenceDraft, SilenceError};
use roundsman_web::authority::{Authority, Public, Token};
use roundsman_web::sample::{Family, Fault, Histogram, Kind, Process, Sample};
use roundsman_web::serve::{Listener, serve};
use roundsman_web::view;
use tokio::net::TcpListener;
use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::data::{check, fill, key, record, subjects, switch};

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
    pub(crate) silences: Mutex<Vec<Silence>>,
    /// What was pushed and taken.
    pub(crate) pushed: Mutex<Vec<Pushed>>,
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
            origin: (state == view::PluginState::Ready).then(|| view::Origin {
                trust: view::Trust::Signed,
                signed_by: Some("ops".into()),
                key_id: Some("E7620F1842B4E81F".to_owned()),
                comment: Some(HOSTILE.into()),
                doubt: Some(HOSTILE.into()),
            }),
            version: Some("0.1.0".to_owned()),
            summary: Some("Asks over HTTP.".to_owned()),
            loaded: Some(NOW.into()),
            compile_ms: Some(312.5),
            describe: Some(serde_json::json!({"series": [{"name": "own"}]})),
            checks: vec!["shop".into()],
            supervision: (state == view::PluginState::Ready).then(|| view::Supervision {
                state: view::Supervised::Quarantined,
                since: NOW.into(),
                reason: Some(format!("5 of 5 runs failed {HOSTILE}")),
                failures: 5,
                runs: 5,
                backoffs: 3,
                next_attempt: Some(NOW.into()),
            }),
        };
        vec![
            plugin("http", view::PluginState::Ready, None),
            plugin("broken", view::PluginState::Broken, Some(HOSTILE)),
            plugin("dns", view::PluginState::Compiling, None),
        ]
    }

    fn silences(&self) -> Vec<Silence> {
        self.silences.lock().unwrap().clone()
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
                anonymous_bytes: 31 << 20,
                open_files: 33,
                max_open_files: 1024,
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

    fn silence(&self, draft: SilenceDraft) -> Later<'_, Result<Silence, SilenceError>> {
        Box::pin(async move {
            match &*draft.reason {
                "nothing is wrong" => return Err(SilenceError::NoProblem),
                "too many" => return Err(SilenceError::TooMany),
                "disk full" => return Err(SilenceError::NotStored),
                "stopping" => return Err(SilenceError::Stopping),
                "removed meanwhile" => return Err(SilenceError::NoSuchKey),
                _ => {}
            }
            let mut silences = self.silences.lock().unwrap();
            let id = silences.iter().map(|silence| silence.id).max().unwrap_or(0) + 1;
            let SilenceDraft { check, target, author, reason, until } = draft;
            let silence = Silence { id, check, target, author, reason, created: NOW, until };
            silences.push(silence.clone());
            Ok(silence)
        })
    }

    fn unsilence(&self, id: u64) -> Later<'_, Result<bool, SilenceError>> {
        Box::pin(async move {
            let mut silences = self.silences.lock().unwrap();
            let before = silences.len();
            silences.retain(|silence| silence.id != id);
            Ok(silences.len() < before)
        })
    }

    fn release<'a>(&'a self, plugin: &'a str) -> Later<'a, Result<view::Plugin, ReleaseError>> {
        Box::pin(async move {
            match plugin {
                "http" => {
                    let plugin = self.plugins().into_iter().find(|known| *known.name == *plugin);
                    plugin.ok_or(ReleaseError::NotStored)
                }
                "dns" => Err(ReleaseError::Running(plugin.to_owned())),
                "broken" => Err(ReleaseError::NotStored),
                "load" => Err(ReleaseError::Stopping),
                _ => Err(ReleaseError::NoPlugin(plugin.to_owned())),
            }
        })
    }

    fn push(&self, pushed: Pushed) -> Later<'_, Result<view::Record, PushError>> {
        Box::pin(async move {
            match (&*pushed.check, pushed.target.as_deref(), &*pushed.summary) {
                ("backup", None, "too slow") => return Err(PushError::NotTaken("the store is behind".into())),
                ("backup", None, "stopping") => return Err(PushError::Stopping),
                ("backup", None, _) | ("mirror", Some("eu"), _) => {}
                (check, target, _) => {
                    let target = target.unwrap_or("").into();
                    return Err(PushError::NoTarget { check: check.into(), target });
                }
            }
            let key = key(&pushed.check, pushed.target.as_deref());
            let mut record = record(&key, 10_000, pushed.status, &pushed.summary);
            record.origin = Origin::Pushed;
            record.latency_ns = pushed.latency_ns;
            record.points.clone_from(&pushed.points);
            record.findings.clone_from(&pushed.findings);
            self.pushed.lock().unwrap().push(pushed);
            Ok(view::Record::of(&record, None))
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
        checks: vec![
            check("shop", &["eu", "us", "asia"]),
            check("hostile", &[HOSTILE]),
            check("disk", &[]),
            switch("backup", &[]),
            switch("mirror", &["eu"]),
        ],
        silences: Mutex::default(),
        pushed: Mutex::default(),
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
