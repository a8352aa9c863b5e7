//! What the agent looks at: 45 checks, itself, and the local servers of which some fail now and then.

use std::fmt::Write;
use std::net::SocketAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use roundsman_model::state::Confirm;

use crate::support::servers::mock::{Asked, Mock, Reply};
use crate::support::{Agent, Place, eventually};

/// The label of every check: nothing but what line protocol has to escape.
pub(crate) const LABEL: (&str, &str) = ("team", "Öl, Gas = 1 \"x\"");

/// The agent's own check, and its plugin.
pub(crate) const OWN: &str = "roundsman";

const PLUGINS: [&str; 4] = ["http", "tcp", "load", "disk"];
/// How long a flaky page is well, and then how long it is ill.
const SPELL_MS: u128 = 3_000;

/// A place with everything that its checks need.
#[derive(Debug)]
pub(crate) struct Scene {
    pub(crate) place: Place,
    checks: Vec<Check>,
    _pages: Mock,
    /// Bound, and nobody listens: it refuses, and nobody else can take it.
    _closed: tokio::net::TcpSocket,
}

/// What the test knows of a check, without asking the agent.
#[derive(Debug, Clone)]
pub(crate) struct Check {
    pub(crate) name: String,
    pub(crate) plugin: &'static str,
    pub(crate) period: Duration,
    pub(crate) targets: Vec<(&'static str, String)>,
    pub(crate) thresholds: Confirm,
    /// The rest, as it is written.
    more: String,
}

impl Scene {
    /// `config`: sections of roundsman.yaml. The checks are written later, by `begin`.
    pub(crate) fn new(config: &str) -> Self {
        let pages = Mock::start(|_, asked| page(asked));
        let closed = tokio::net::TcpSocket::new_v4().expect("a socket");
        closed.bind(SocketAddr::from(([127, 0, 0, 1], 0))).expect("a port is free");
        let refused = closed.local_addr().expect("it is bound");
        let checks = checks(&pages.url(), pages.address, refused);
        let place = Place::with_plugins(&PLUGINS);
        place.configure(&format!("{config}\nselfCheck: {{enabled: true}}"));
        Self { place, checks, _pages: pages, _closed: closed }
    }

    /// Starts the agent; then, with every plugin ready, puts all checks in force at once and waits for a record of each.
    pub(crate) fn begin(&self) -> Agent {
        let agent = self.place.start();
        agent.await_plugins(&PLUGINS);
        self.place.write_checks("all.yaml", &self.yaml());
        let subjects: usize = self.checks.iter().map(|check| check.targets.len().max(1)).sum();
        eventually("every check has a record", || {
            let status = agent.get("/api/v1/status");
            let list = status["status"].as_array().expect("a list");
            list.len() == subjects && list.iter().all(|subject| !subject["last"].is_null())
        });
        agent
    }

    pub(crate) fn check(&self, name: &str) -> &Check {
        self.checks.iter().find(|check| check.name == name).expect("we configured it")
    }

    /// How many things there are that have a state.
    pub(crate) fn subjects(&self) -> usize {
        self.checks.iter().map(|check| check.targets.len().max(1)).sum()
    }

    fn yaml(&self) -> String {
        let mut yaml = format!("defaults:\n  labels: {{{}: '{}'}}\nchecks:\n", LABEL.0, LABEL.1);
        for check in self.checks.iter().filter(|check| check.name != OWN) {
            let targets: Vec<String> = check
                .targets
                .iter()
                .map(|(name, address)| format!("{{name: {name}, address: \"{address}\"}}"))
                .collect();
            let targets =
                if targets.is_empty() { String::new() } else { format!(", targets: [{}]", targets.join(", ")) };
            let (name, plugin, ms, more) = (&check.name, check.plugin, check.period.as_millis(), &check.more);
            let (success, failure) = (check.thresholds.success, check.thresholds.failure);
            writeln!(
                yaml,
                "  - {{name: {name}, plugin: {plugin}, interval: {ms}ms, successThreshold: {success}, \
                 failureThreshold: {failure}{targets}{more}}}"
            )
            .expect("writing to memory cannot fail");
        }
        yaml
    }
}

/// 40 checks at 1 s, and five faster ones. Some look at two targets.
fn checks(pages: &str, open: SocketAddr, closed: SocketAddr) -> Vec<Check> {
    let (pages, open, closed) = (pages.to_owned(), open.to_string(), closed.to_string());
    let http = |path: &str, more: &str| format!(", settings: {{path: {path}}}{more}");
    let load = ", allow: {system: [load, memory, pressure]}";
    let disk = ", allow: {system: [filesystems]}";
    let mut all = Vec::new();
    let mut add = |name: String, plugin, ms, failure, addresses: &[&String], more: &str| {
        let targets = ["eu", "us"].into_iter().zip(addresses.iter().map(|address| (*address).clone())).collect();
        let thresholds = Confirm { success: 1 + failure / 3, failure };
        let period = Duration::from_millis(ms);
        all.push(Check { name, plugin, period, targets, thresholds, more: more.to_owned() });
    };
    for i in 0..16 {
        let targets: &[&String] = if i < 4 { &[&pages, &pages] } else { &[&pages] };
        add(format!("page-{i}"), "http", 1_000, 3, targets, &http("/ok", ""));
    }
    for i in 0..8_u32 {
        let retry = if i % 2 == 0 { ", retryInterval: 300ms" } else { "" };
        add(format!("flaky-{i}"), "http", 1_000, 1 + i % 3, &[&pages], &http(&format!("/flaky/{i}"), retry));
    }
    // Takes longer than its interval: every second tick finds it running.
    add("slow".to_owned(), "http", 1_000, 3, &[&pages], &http("/slow", ", timeout: 3s"));
    add("hanging".to_owned(), "http", 1_000, 2, &[&pages], &http("/slow", ", timeout: 500ms"));
    for i in 0..6 {
        add(format!("port-{i}"), "tcp", 1_000, 3, &[&open, &open], "");
    }
    for i in 0..2 {
        add(format!("closed-{i}"), "tcp", 1_000, 3, &[&closed], "");
    }
    for i in 0..3 {
        add(format!("load-{i}"), "load", 1_000, 3, &[], load);
        add(format!("disk-{i}"), "disk", 1_000, 3, &[], disk);
    }
    assert_eq!(all.len(), 40);
    let mut add = |name: &str, plugin, ms, failure, addresses: &[&String], more: &str| {
        let targets = ["eu"].into_iter().zip(addresses.iter().map(|address| (*address).clone())).collect();
        let (thresholds, period) = (Confirm { success: 1, failure }, Duration::from_millis(ms));
        all.push(Check { name: name.to_owned(), plugin, period, targets, thresholds, more: more.to_owned() });
    };
    add("fast-page", "http", 100, 3, &[&pages], &http("/ok", ""));
    add("fast-port", "tcp", 150, 3, &[&open], "");
    add("fast-load", "load", 200, 3, &[], load);
    add("fast-disk", "disk", 200, 3, &[], disk);
    add("fast-flaky", "http", 250, 3, &[&pages], &http("/flaky/9", ", retryInterval: 80ms"));
    all.push(own());
    all
}

/// The check by which the agent looks at itself, which nobody configures.
fn own() -> Check {
    let (period, thresholds) = (Duration::from_secs(10), Confirm { success: 1, failure: 3 });
    Check { name: OWN.to_owned(), plugin: OWN, period, targets: Vec::new(), thresholds, more: String::new() }
}

/// `/flaky/<n>` is ill in every other spell; neighbours are ill in turn.
fn page(asked: &Asked) -> Reply {
    if asked.path == "/slow" {
        return Reply::Slow(Duration::from_millis(1_200), 200);
    }
    let Some(number) = asked.path.strip_prefix("/flaky/") else { return Reply::new(200, "fine\n") };
    let number: u128 = number.parse().expect("a number");
    let now_ms = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is after 1970").as_millis();
    let ill = (now_ms / SPELL_MS + number) % 2 == 1;
    if ill { Reply::new(500, "ill, \"very\" ill = \\\n") } else { Reply::new(200, "well\n") }
}
