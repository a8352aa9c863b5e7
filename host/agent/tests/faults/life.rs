//! Signals: the orderly end, the hasty one, and a pause.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, ExitStatus};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::support::{Agent, Place, eventually, eventually_some};
use super::{GOOD, goes_on, subject};

/// Longer than any test waits.
const GRACE_S: u64 = 50;

fn signal(pid: u32, signal: Signal) {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).unwrap();
    kill_process(pid, signal).unwrap();
}

/// Waits for the end of a process that is not waited for elsewhere: its exit code by the log, and that it is gone.
fn gone(pid: u32) -> bool {
    // A zombie has no command line.
    std::fs::read(format!("/proc/{pid}/cmdline")).map_or(true, |line| line.is_empty())
}

/// A place with a check of a target that accepts and says nothing.
fn with_silent_target(grace_s: u64) -> (Place, TcpListener) {
    let target = TcpListener::bind("127.0.0.1:0").unwrap();
    let place = Place::with_plugins(&["tcp"]);
    place.configure(&format!("shutdown: {{grace: {grace_s}s}}"));
    let address = target.local_addr().unwrap();
    place.write_checks(
        "a.yaml",
        &format!(
            "checks:\n  - {{name: silent, plugin: tcp, interval: 1m, timeout: 40s, target: \"{address}\", \
             settings: {{expect: hello}}}}\n"
        ),
    );
    (place, target)
}

/// Has the check run now, off its schedule, and takes its connection.
fn run_in_flight(place: &Place, target: &TcpListener) -> (Child, TcpStream) {
    let socket = place.state().join("agent.sock");
    let mut asks = std::process::Command::new(env!("CARGO_BIN_EXE_roundsman"));
    asks.args(["check", "run", "silent", "--addr"]).arg(socket);
    asks.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
    let asking = asks.spawn().unwrap();
    (asking, target.accept().unwrap().0)
}

fn counts(agent: &Agent, check: &str) -> [u64; 5] {
    let counts = subject(agent, check)["counts"].clone();
    ["due", "run", "missed", "overlap", "skipped"].map(|name| counts[name].as_u64().unwrap())
}

fn balanced([due, run, missed, overlap, skipped]: [u64; 5]) -> bool {
    due == run + missed + overlap + skipped
}

fn await_stopping(agent: &Agent) {
    eventually("it says that it stops", || agent.log().text().contains("stopping"));
}

/// SIGTERM while something is in flight: what happens until the end is the closure's.
fn ended(agent: Agent, meanwhile: impl FnOnce(&Agent)) -> ExitStatus {
    signal(agent.pid(), Signal::TERM);
    await_stopping(&agent);
    meanwhile(&agent);
    agent.wait()
}

#[test]
fn a_run_that_ends_within_the_grace_is_recorded() {
    let (place, target) = with_silent_target(GRACE_S);
    let agent = place.start();
    let (mut asking, mut connection) = run_in_flight(&place, &target);
    let status = ended(agent, |_| connection.write_all(b"hello\n").unwrap());
    assert_eq!(status.code(), Some(0));
    asking.wait().unwrap();
    let again = place.start();
    let records = again.get("/api/v1/records?check=silent");
    assert_eq!(records["records"][0]["status"], "ok", "{records}");
    assert!(balanced(counts(&again, "silent")));
}

#[test]
fn a_run_that_does_not_end_is_cut_and_counted() {
    let target = TcpListener::bind("127.0.0.1:0").unwrap();
    let place = Place::with_plugins(&["tcp"]);
    place.configure("shutdown: {grace: 2s}");
    let address = target.local_addr().unwrap();
    let check = format!("name: silent, plugin: tcp, interval: 1s, timeout: 40s, target: \"{address}\"");
    place.write_checks("a.yaml", &format!("checks:\n  - {{{check}, settings: {{expect: hello}}}}\n"));
    let agent = place.start();
    // One run by a tick is in flight.
    let (mut connection, _) = target.accept().unwrap();
    let began = Instant::now();
    assert_eq!(ended(agent, |_| {}).code(), Some(0));
    assert!(began.elapsed() < Duration::from_secs(40), "it waited for the run, not for the grace");
    eprintln!("ended {:.1?} after SIGTERM with a grace of 2 s", began.elapsed());
    // The connection of the run ends with it.
    assert_eq!(connection.read(&mut [0]).unwrap_or(0), 0);
    let again = place.start();
    let counted = eventually_some("what was cut is counted", || {
        Some(counts(&again, "silent")).filter(|[_, _, missed, ..]| *missed > 0)
    });
    assert!(balanced(counted), "{counted:?}");
    let records = again.get("/api/v1/records?check=silent");
    assert_eq!(records["records"].as_array().unwrap().len(), 0, "{records}");
}

#[test]
fn a_second_signal_aborts() {
    let (place, target) = with_silent_target(GRACE_S);
    let agent = place.start();
    let (mut asking, _connection) = run_in_flight(&place, &target);
    let pid = agent.pid();
    let status = ended(agent, |agent| {
        assert!(!gone(pid), "it waits for the run in flight");
        signal(agent.pid(), Signal::TERM);
        eventually("it says so", || agent.log().text().contains("aborted"));
    });
    assert_eq!(status.code(), Some(1));
    asking.wait().unwrap();
    // Nothing is lost but the run.
    let again = place.start();
    assert!(balanced(counts(&again, "silent")));
    again.stop();
}

#[test]
fn a_pause_is_missed_not_lost() {
    let place = Place::with_plugins(&["load"]);
    place.write_checks("a.yaml", GOOD);
    let agent = place.start();
    goes_on(&agent);
    let before = counts(&agent, "good");
    signal(agent.pid(), Signal::STOP);
    // What is tested is a pause of some length, not an order of events.
    std::thread::sleep(Duration::from_secs(3));
    signal(agent.pid(), Signal::CONT);
    goes_on(&agent);
    let after = counts(&agent, "good");
    let lost = |[_, _, missed, overlap, _]: [u64; 5]| missed + overlap;
    assert!(balanced(after), "{after:?}");
    assert!(lost(after) >= lost(before) + 10, "15 ticks passed in 3 s: {before:?}, {after:?}");
    assert!(after[0] >= before[0] + 15, "{before:?}, {after:?}");
    // The schedule has not gone by its own time: it is on its old grid again.
    let records = agent.get("/api/v1/records?check=good&limit=200");
    let phases: std::collections::BTreeSet<u64> = records["records"].as_array().unwrap().iter().map(phase_ns).collect();
    assert_eq!(phases.len(), 1, "{phases:?}");
    agent.stop();
}

/// Where in its interval of 200 ms the tick of a record lies.
fn phase_ns(record: &serde_json::Value) -> u64 {
    let (_, fraction) = record["time"].as_str().unwrap().trim_end_matches('Z').split_once('.').unwrap();
    fraction.parse::<u64>().unwrap() % 200_000_000
}
