//! The agent looks at itself: the check `roundsman` and what `/metrics` shows by check.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use support::{Agent, Place, eventually, eventually_some};

/// A check that is always ok, ten times a second.
const GOOD: &str = "checks:\n  - {name: good, plugin: load, interval: 100ms, timeout: 100ms, \
                    allow: {system: [load]}, settings: {parts: [load], load: null}}\n";
/// Beyond what a busy machine makes the engine late by, which it takes for an absence as well.
const ABSENCE: Duration = Duration::from_secs(4);

fn start() -> (Place, Agent) {
    let place = Place::with_plugins(&["load"]);
    place.configure("selfCheck: {enabled: true}");
    place.write_checks("good.yaml", GOOD);
    let agent = place.start();
    eventually("the good check runs", || {
        metric(&agent, "roundsman_runs_total{check=\"good\",result=\"ok\"}") > Some(2.0)
    });
    (place, agent)
}

/// The value of a line of `/metrics`, by everything that stands before it.
fn metric(agent: &Agent, name: &str) -> Option<f64> {
    let (_, page) = agent.request("GET", "/metrics").ok()?;
    page.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
}

/// Looks now, and returns all that looks have found so far, the newest first.
fn looks(agent: &Agent) -> Vec<Value> {
    agent.cli(&["check", "run", "roundsman"]);
    agent.get("/api/v1/records?check=roundsman")["records"].as_array().unwrap().clone()
}

#[test]
fn it_says_how_it_fares() {
    let (_place, agent) = start();
    let of_agent = |record: &Value| {
        let points = record["points"].as_array().unwrap();
        points.iter().find(|point| point["series"] == "agent").map(|point| point["fields"].clone())
    };
    let fields = eventually_some("a look after runs", || {
        looks(&agent).iter().find(|look| of_agent(look).unwrap()["run"].as_u64() > Some(0)).and_then(of_agent)
    });
    for name in ["lag_p50_ms", "lag_p99_ms", "lag_p999_ms", "run_p99_ms", "cpu_percent", "loop_pause_ms"] {
        assert!(fields[name].is_number(), "{name}: {fields}");
    }
    for name in ["due", "slots", "rss_anon_bytes", "threads", "open_files", "store_bytes"] {
        assert!(fields[name].as_u64() > Some(0), "{name}: {fields}");
    }
    assert_eq!((&fields["records_lost"], &fields["records_dropped"]), (&Value::from(0), &Value::from(0)), "{fields}");
    let shown = agent.get("/api/v1/status?check=roundsman");
    assert_eq!(shown["status"][0]["last"]["blame"], "target", "{shown}");
}

#[test]
fn an_absence_is_told_and_is_no_promise_broken() {
    let (_place, agent) = start();
    // Whatever was before is another look's.
    let before = looks(&agent).len();
    let pid = Pid::from_raw(agent.pid().try_into().unwrap()).unwrap();
    kill_process(pid, Signal::STOP).unwrap();
    std::thread::sleep(ABSENCE);
    kill_process(pid, Signal::CONT).unwrap();
    let look = eventually_some("the absence is told", || {
        let looks = looks(&agent);
        let newer = looks.len() - before;
        looks.into_iter().take(newer).find(|look| look["summary"].as_str().unwrap().contains("was away for "))
    });
    assert_eq!(look["status"], "warning", "{look}");
    let subjects: Vec<_> = look["findings"].as_array().unwrap().iter().map(|finding| &finding["subject"]).collect();
    assert!(subjects.contains(&&Value::from("away")) && !subjects.contains(&&Value::from("missed")), "{look}");
    // A run that was under way, or was just being handed over, overlapped what passed meanwhile.
    let ticks = |outcome: &str| {
        metric(&agent, &format!("roundsman_ticks_total{{check=\"good\",outcome=\"{outcome}\"}}")).unwrap()
    };
    assert!(ticks("missed") + ticks("overlap") > 0.0);
}

#[test]
fn checks_that_are_removed_leave_the_metrics() {
    let (place, agent) = start();
    let page = || agent.request("GET", "/metrics").unwrap().1;
    assert!(metric(&agent, "roundsman_ticks_total{check=\"good\",outcome=\"run\"}") > Some(2.0));
    std::fs::remove_file(place.checks().join("good.yaml")).unwrap();
    eventually("it is gone", || !page().contains("check=\"good\""));
    assert!(page().contains("roundsman_ticks_total{check=\"roundsman\",outcome=\"run\"}"), "{}", page());
}
