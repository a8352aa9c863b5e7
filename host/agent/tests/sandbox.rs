//! Targets that hang: each is critical at its deadline, blamed on the target, and a hundred neighbours notice nothing.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use roundsman_web::view;
use serde_json::Value;
use tokio::net::TcpSocket;

mod support;

use support::{Agent, Place, eventually};

const TIMEOUT_MS: f64 = 500.0;
/// Calls of the host end up to 50 ms before the run does, so that a plugin can say what hung.
const MARGIN_MS: f64 = 50.0;
/// What a loaded machine may add to the end of a run.
const SLACK_MS: f64 = 1_000.0;
const NEIGHBOURS: usize = 100;
/// Records of every neighbour that are compared.
const ROUNDS: usize = 5;

/// The three ways to hang, and what keeps the backlog of one of them full.
#[derive(Debug)]
struct Hanging {
    silent: SocketAddr,
    full: SocketAddr,
    trickling: SocketAddr,
    _held: Vec<TcpStream>,
    /// Nobody ever takes from its queue.
    _listener: tokio::net::TcpListener,
}

/// Accepts, and then does what is told with each connection, for as long as the test runs.
fn serve(with: fn(TcpStream)) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let accept = move || {
        for stream in listener.incoming().map_while(Result::ok) {
            std::thread::spawn(move || with(stream));
        }
    };
    std::thread::spawn(accept);
    address
}

/// Keeps the connection and says nothing; ends when the other side does.
fn silent(mut stream: TcpStream) {
    while stream.read(&mut [0; 512]).is_ok_and(|n| n > 0) {}
}

/// The head of an answer, and then a byte now and then. Who asks nothing gets it all the same.
fn trickling(mut stream: TcpStream) {
    stream.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    drop(stream.read(&mut [0; 4096]));
    let mut more = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n").is_ok();
    while more {
        more = stream.write_all(b".").is_ok();
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A listener whose backlog is full: the kernel drops what else comes.
fn full(runtime: &tokio::runtime::Runtime) -> (SocketAddr, tokio::net::TcpListener, Vec<TcpStream>) {
    let _context = runtime.enter();
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    let listener = socket.listen(0).unwrap();
    let address = listener.local_addr().unwrap();
    let connect = || TcpStream::connect_timeout(&address, Duration::from_millis(200));
    let held: Vec<_> = std::iter::from_fn(|| connect().ok()).take(16).collect();
    assert!(held.len() < 16, "the backlog never fills");
    (address, listener, held)
}

fn hanging(runtime: &tokio::runtime::Runtime) -> Hanging {
    let (full, listener, held) = full(runtime);
    Hanging { silent: serve(silent), full, trickling: serve(trickling), _held: held, _listener: listener }
}

fn neighbours(address: SocketAddr) -> String {
    let mut yaml = "checks:\n".to_owned();
    for n in 0..NEIGHBOURS {
        yaml.push_str(&format!(
            "  - {{name: neighbour-{n}, plugin: tcp, interval: 500ms, timeout: 400ms, target: \"{address}\"}}\n"
        ));
    }
    yaml
}

fn hanging_checks(hanging: &Hanging) -> String {
    let mut yaml = format!("defaults: {{interval: 1s, timeout: {TIMEOUT_MS}ms, failureThreshold: 1}}\nchecks:\n");
    for (name, address) in [("silent", hanging.silent), ("full", hanging.full), ("trickling", hanging.trickling)] {
        yaml.push_str(&format!("  - {{name: http-{name}, plugin: http, target: \"http://{address}/\"}}\n"));
        // Connecting to the others succeeds: it is the answer that does not come.
        yaml.push_str(&format!(
            "  - {{name: tcp-{name}, plugin: tcp, target: \"{address}\", settings: {{expect: never said}}}}\n"
        ));
    }
    yaml
}

fn records(agent: &Agent, query: &str) -> Vec<view::Record> {
    let answer: Value = agent.get(&format!("/api/v1/records?{query}"));
    serde_json::from_value(answer["records"].clone()).expect("records")
}

/// The lag that one in a hundred runs of the neighbours exceeds, over their newest records.
fn p99_lag_ms(agent: &Agent) -> f64 {
    let mut lags: Vec<f64> = records(agent, &format!("limit={}", NEIGHBOURS * ROUNDS))
        .into_iter()
        .filter(|record| record.check.starts_with("neighbour-"))
        .map(|record| record.lag_ms)
        .collect();
    assert!(lags.len() > NEIGHBOURS, "only {} records of neighbours", lags.len());
    lags.sort_by(f64::total_cmp);
    lags[lags.len() * 99 / 100]
}

/// Waits until every neighbour has had so many more runs, none of which was missed.
fn await_rounds(agent: &Agent) {
    let run = |agent: &Agent| -> Vec<u64> {
        let board = agent.get("/api/v1/status");
        let list = board["status"].as_array().expect("a list").iter();
        let neighbours = list.filter(|s| s["check"].as_str().is_some_and(|name| name.starts_with("neighbour-")));
        neighbours.map(|subject| subject["counts"]["run"].as_u64().expect("a number")).collect()
    };
    let before = run(agent);
    assert_eq!(before.len(), NEIGHBOURS);
    let rounds = ROUNDS as u64;
    eventually("every neighbour runs on", || run(agent).iter().zip(&before).all(|(now, then)| *now >= then + rounds));
}

#[test]
fn hanging_targets_are_critical_at_the_deadline_and_neighbours_keep_their_lag() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let hanging = hanging(&runtime);
    let answering = serve(drop);
    let place = Place::with_plugins(&["http", "tcp"]);
    let agent = place.start();
    agent.await_plugins(&["http", "tcp"]);
    place.write_checks("neighbours.yaml", &neighbours(answering));
    eventually("the neighbours are there", || agent.get("/api/v1/status")["total"] == NEIGHBOURS);
    await_rounds(&agent);
    let alone_ms = p99_lag_ms(&agent);

    place.write_checks("hanging.yaml", &hanging_checks(&hanging));
    eventually("the hanging ones have run", || records(&agent, "status=critical&limit=100").len() >= 12);
    await_rounds(&agent);
    let beside_ms = p99_lag_ms(&agent);
    eprintln!("p99 lag of {NEIGHBOURS} neighbours: {alone_ms:.2} ms alone, {beside_ms:.2} ms beside hanging targets");
    // Nothing absolute: a hang that held a neighbour up would do so for hundreds of milliseconds.
    assert!(beside_ms < alone_ms * 10.0 + TIMEOUT_MS / 2.0, "{alone_ms} ms became {beside_ms} ms");

    for check in ["http-silent", "http-full", "http-trickling", "tcp-silent", "tcp-full", "tcp-trickling"] {
        let found = records(&agent, &format!("check={check}&limit=3"));
        assert!(!found.is_empty(), "{check} never ran");
        for record in found {
            assert_eq!((record.status.as_str(), record.blame.as_str()), ("critical", "target"), "{record:?}");
            let expected = TIMEOUT_MS - 2.0 * MARGIN_MS..TIMEOUT_MS + SLACK_MS;
            assert!(expected.contains(&record.duration_ms), "{check} took {} ms: {record:?}", record.duration_ms);
            assert!(!record.summary.is_empty());
        }
    }
    let board = agent.get("/api/v1/status");
    for subject in board["status"].as_array().expect("a list") {
        let counts = &subject["counts"];
        let of = |name: &str| counts[name].as_u64().expect("a number");
        assert_eq!(of("due"), of("run") + of("missed") + of("overlap") + of("skipped"), "{subject}");
        if subject["check"].as_str().is_some_and(|name| name.starts_with("neighbour-")) {
            assert_eq!(subject["state"], "ok", "{subject}");
        }
    }
    agent.stop();
}
