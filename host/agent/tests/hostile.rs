//! Hostile plugins of every kind at once beside well-behaved neighbours: nobody crashes, memory and open files come back to
//! where they were, and the neighbours go on as if nothing were.
//!
//! Ten seconds here. `ROUNDSMAN_HOSTILE_SECONDS=600 cargo test --release --workspace --test hostile -- --nocapture` is the
//! long version, which prints the same figures.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use support::{Agent, Place, eventually, target_folder};

const NEIGHBOURS: usize = 20;
/// How long they are hostile, unless the environment says otherwise.
const SECONDS: u64 = 10;
/// What the allocator may keep of what was once needed, and what the kernel counts late.
const SLACK_BYTES: u64 = 12 << 20;

/// What the guest `hostile` does in each of its checks; none of it is ended by anything but a limit.
const DEEDS: [&str; 26] = [
    "spin",
    "recurse",
    "grow",
    "panic",
    "trap",
    "exit",
    "sleep",
    "log",
    "points",
    "findings",
    "summary",
    "requests",
    "bodies",
    "sockets",
    "print-for-ever",
    "print-and-panic",
    "read",
    "connect-and-sleep",
    "connect-and-spin",
    "fetch-for-ever",
    "state-keys",
    "state-bytes",
    "log-large",
    "files",
    "hold-and-sleep",
    "terminal",
];

/// The guest of host/plugin's own tests.
fn hostile() -> PathBuf {
    let guests = concat!(env!("CARGO_MANIFEST_DIR"), "/../plugin/tests/guests/Cargo.toml");
    let cargo = std::env::var_os("CARGO").expect("the test is run by cargo");
    let folder = target_folder().join("guests");
    let mut command = Command::new(cargo);
    command.args(["build", "--quiet", "--locked", "--release", "--target", "wasm32-wasip2", "--manifest-path", guests]);
    command.arg("--target-dir").arg(&folder).current_dir(env!("CARGO_MANIFEST_DIR")).stdin(Stdio::null());
    assert!(command.status().unwrap().success(), "the guests cannot be built: run `cargo xtask build` once");
    folder.join("wasm32-wasip2/release/hostile.wasm")
}

/// Accepts, and does what is told with each connection, for as long as the test runs.
fn serve(with: fn(TcpStream)) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || with(stream));
        }
    });
    address
}

fn silent(mut stream: TcpStream) {
    while stream.read(&mut [0; 512]).is_ok_and(|n| n > 0) {}
}

fn neighbours(address: SocketAddr) -> String {
    let one = |n| {
        format!(
            "  - {{name: good-{n}, plugin: tcp, interval: 100ms, timeout: 90ms, failureThreshold: 1, target: \"{address}\"}}\n"
        )
    };
    format!("checks:\n{}", (0..NEIGHBOURS).map(one).collect::<String>())
}

fn hostile_checks(silent: SocketAddr) -> String {
    let one = |deed: &&str| {
        let with = match *deed {
            "summary" => "10000000".to_owned(),
            "fetch-for-ever" => format!("http://{silent}/"),
            _ => silent.to_string(),
        };
        format!(
            "  - {{name: {deed}, plugin: hostile, settings: {{what: {deed}, with: \"{with}\"}}, \
             allow: {{network: [\"tcp://{silent}\", \"http://{silent}\"]}}}}\n"
        )
    };
    // Most are cut at their time: of 26 such, 8 are under way at any moment.
    let defaults = "defaults: {interval: 500ms, timeout: 150ms, limits: {cpu: 40ms}}";
    format!("{defaults}\nchecks:\n{}", DEEDS.iter().map(one).collect::<String>())
}

/// Of the agent: memory that is its own alone, and open files.
fn held(agent: &Agent) -> (u64, usize) {
    let proc = PathBuf::from(format!("/proc/{}", agent.pid()));
    let status = std::fs::read_to_string(proc.join("status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
    let kib: u64 = line.trim().strip_suffix(" kB").unwrap().parse().unwrap();
    (kib << 10, std::fs::read_dir(proc.join("fd")).unwrap().count())
}

/// Newest first.
fn records(agent: &Agent, query: &str) -> Vec<Value> {
    agent.get(&format!("/api/v1/records?{query}"))["records"].as_array().unwrap().clone()
}

fn runs(agent: &Agent, prefix: &str) -> u64 {
    let status = agent.get("/api/v1/status");
    let mine = status["status"].as_array().unwrap().iter().filter(|s| s["check"].as_str().unwrap().starts_with(prefix));
    mine.map(|subject| subject["counts"]["run"].as_u64().unwrap()).sum()
}

/// As the agent's clock has it.
fn now(agent: &Agent) -> String {
    agent.get("/api/v1/agent")["agent"]["now"].as_str().unwrap().to_owned()
}

/// Of all runs of the neighbours since then: the lag in the middle, that one in a hundred exceeds, and one in a thousand.
fn lags(agent: &Agent, since: &str) -> String {
    let mut lags: Vec<f64> = Vec::new();
    for n in 0..NEIGHBOURS {
        let query = format!("/api/v1/records?check=good-{n}&since={since}&limit=1000");
        let mut page = agent.get(&query);
        loop {
            lags.extend(page["records"].as_array().unwrap().iter().map(|record| record["lag_ms"].as_f64().unwrap()));
            let Some(before) = page["next_before"].as_i64() else { break };
            page = agent.get(&format!("{query}&before={before}"));
        }
    }
    lags.sort_by(f64::total_cmp);
    let at = |q: f64| {
        lags.get(((lags.len() as f64 * q) as usize).min(lags.len().saturating_sub(1))).copied().unwrap_or(f64::NAN)
    };
    format!("{} runs, lag p50 {:.2} p99 {:.2} p99.9 {:.2} ms", lags.len(), at(0.5), at(0.99), at(0.999))
}

/// Lets them loose for so long, and takes them away again; says how often they ran.
fn let_loose(place: &Place, agent: &Agent, silent: SocketAddr, seconds: u64) -> u64 {
    place.write_checks("hostile.yaml", &hostile_checks(silent));
    let total = NEIGHBOURS + DEEDS.len();
    eventually("they are there", || agent.get("/api/v1/status")["total"] == total);
    let began = runs(agent, "good-");
    // Ten runs a second for each, of which a busy machine may miss some.
    let wanted = seconds * 10 * NEIGHBOURS as u64 * 8 / 10;
    let start = std::time::Instant::now();
    let (least, end) = (start + Duration::from_secs(seconds), start + Duration::from_secs(seconds * 3 + 60));
    while runs(agent, "good-") < began + wanted || std::time::Instant::now() < least {
        assert!(std::time::Instant::now() < end, "the neighbours starve: {} runs", runs(agent, "good-") - began);
        std::thread::sleep(Duration::from_millis(200));
    }
    let status = agent.get("/api/v1/status");
    let hostile = status["status"].as_array().unwrap().iter().filter(|s| DEEDS.contains(&s["check"].as_str().unwrap()));
    let ran = hostile.map(|subject| subject["counts"]["run"].as_u64().unwrap()).sum();
    std::fs::remove_file(place.checks().join("hostile.yaml")).unwrap();
    eventually("they are gone", || agent.get("/api/v1/status")["total"] == NEIGHBOURS);
    ran
}

#[test]
fn all_of_them_at_once() {
    let seconds = std::env::var("ROUNDSMAN_HOSTILE_SECONDS").map_or(SECONDS, |text| text.parse().unwrap());
    let (answering, silent) = (serve(drop), serve(silent));
    let place = Place::with_plugins(&["tcp"]);
    support::replace(&place.plugins().join("hostile.wasm"), &std::fs::read(hostile()).unwrap());
    // They are to go on, and not to be put away: so many failures do not fit into a second.
    place.configure("supervision: {failures: 1000, window: 1s}\n");
    let agent = place.start();
    agent.await_plugins(&["tcp", "hostile"]);
    place.write_checks("good.yaml", &neighbours(answering));
    eventually("the neighbours run", || runs(&agent, "good-") > 0);
    let alone = now(&agent);
    let enough = runs(&agent, "good-") + (seconds * 20).max(20 * NEIGHBOURS as u64);
    while runs(&agent, "good-") < enough {
        std::thread::sleep(Duration::from_millis(200));
    }
    let control = lags(&agent, &alone);
    // What is needed once and kept belongs to the floor.
    let_loose(&place, &agent, silent, 2);
    eventually("the floor is reached", || held(&agent).1 < 200);
    let floor = held(&agent);

    let together = now(&agent);
    let ran = let_loose(&place, &agent, silent, seconds);
    let beside = lags(&agent, &together);
    assert!(ran > DEEDS.len() as u64, "{ran} hostile runs");
    eventually("open files are as before", || held(&agent).1 <= floor.1 + 4);
    eventually("memory is as before", || held(&agent).0 <= floor.0 + SLACK_BYTES);
    let after = held(&agent);
    eprintln!(
        "{ran} hostile runs of {} kinds in {seconds} s; neighbours before: {control}; beside them: {beside}; \
         memory {} -> {} KiB, open files {} -> {}",
        DEEDS.len(),
        floor.0 >> 10,
        after.0 >> 10,
        floor.1,
        after.1
    );
    let status = agent.get("/api/v1/status");
    for subject in status["status"].as_array().unwrap() {
        let of = |name: &str| subject["counts"][name].as_u64().unwrap();
        assert_eq!(of("due"), of("run") + of("missed") + of("overlap") + of("skipped"), "{subject}");
        assert_eq!(subject["state"], "ok", "{subject}");
    }
    // A neighbour's target answers at once: whatever else it says would be their doing.
    for status in ["critical", "unknown", "warning"] {
        let bad = records(&agent, &format!("limit=2000&status={status}"));
        let bad: Vec<_> = bad.iter().filter(|record| record["check"].as_str().unwrap().starts_with("good-")).collect();
        assert!(bad.len() <= 1 + NEIGHBOURS * seconds as usize / 20, "{} of them: {:?}", bad.len(), bad.first());
    }
    agent.stop();
}

#[test]
fn a_peer_that_answers_slowly_holds_nobody_up() {
    // The head of an answer, a byte at a time, for ever.
    let dripping = serve(|mut stream| {
        drop(stream.write_all(b"HTTP/1.1 200 OK\r\nx: "));
        while stream.write_all(b"a").is_ok() {
            std::thread::sleep(Duration::from_millis(10));
        }
    });
    let place = Place::with_plugins(&["http"]);
    place.write_checks(
        "slow.yaml",
        &format!("checks:\n  - {{name: slow, plugin: http, interval: 400ms, timeout: 300ms, failureThreshold: 1, target: \"http://{dripping}/\"}}\n"),
    );
    let agent = place.start();
    eventually("it ran", || runs(&agent, "slow") >= 3);
    for record in records(&agent, "check=slow&limit=3") {
        assert_eq!(
            (record["status"].as_str(), record["blame"].as_str()),
            (Some("critical"), Some("target")),
            "{record}"
        );
        assert!(record["duration_ms"].as_f64().unwrap() < 1_300.0, "{record}");
    }
    agent.stop();
}
