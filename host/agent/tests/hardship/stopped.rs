//! A process that is stopped for seconds and goes on, as a frozen container or a machine that sleeps does.

use std::time::Duration;

use roundsman_model::key::Key;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::history::{History, due};
use crate::support::{Agent, Place, eventually_some};
use crate::{alone, await_runs, checks, now};

const INTERVALS_MS: [u64; 4] = [250, 500, 1_000, 2_000];
const CHECKS: usize = 100;
const STOPPED: Duration = Duration::from_secs(6);
/// In which runs that make up for something would be seen.
const FIRST: Duration = Duration::from_millis(300);
/// By which the clocks of two processes may differ, and more.
const SLACK: Duration = Duration::from_millis(50);
/// A tick that is no older than this may still be run after an absence.
const TOLERANCE: Duration = Duration::from_secs(1);

fn interval_ms(key: &Key) -> u64 {
    let number: usize = key.check.as_str().trim_start_matches('c').parse().unwrap();
    INTERVALS_MS[number % INTERVALS_MS.len()]
}

fn signal(agent: &Agent, signal: Signal) {
    let pid = Pid::from_raw(agent.pid().try_into().unwrap()).unwrap();
    kill_process(pid, signal).unwrap();
}

/// Looks now, and returns all that looks have found so far, the newest first.
fn looks(agent: &Agent) -> Vec<Value> {
    agent.cli(&["check", "run", "roundsman"]);
    agent.get("/api/v1/records?check=roundsman")["records"].as_array().unwrap().clone()
}

#[test]
fn an_agent_that_was_stopped_counts_what_it_missed_and_goes_on_without_a_burst() {
    let _turn = alone();
    let place = Place::with_plugins(&["load"]);
    place.configure("selfCheck: {enabled: true}");
    let agent = place.start();
    agent.await_plugins(&["load"]);
    let began = now();
    place.write_checks("many.yaml", &checks(INTERVALS_MS.into_iter().cycle().take(CHECKS)));
    eventually_some("they are there", || (agent.get("/api/v1/status")["total"] == CHECKS + 1).then_some(()));
    await_runs(&agent, 1);
    let known = looks(&agent).len();

    signal(&agent, Signal::STOP);
    let stopped = now();
    std::thread::sleep(STOPPED);
    let continued = now();
    signal(&agent, Signal::CONT);

    let look = eventually_some("the absence is told", || {
        let looks = looks(&agent);
        let newer = looks.len() - known;
        looks.into_iter().take(newer).find(|look| look["summary"].as_str().unwrap().contains("was away for "))
    });
    await_runs(&agent, 2);
    agent.stop();

    let history = History::read(&place.state());
    let sum = history.assert_whole(CHECKS);
    history.assert_no_tick_lost(interval_ms, began, now());
    for (key, past) in history.checks() {
        if interval_ms(key) <= 1_000 {
            // A run that was in flight has overlapped what passed.
            assert!(past.counts.missed + past.counts.overlap > 0, "{key}: {:?}", past.counts);
        }
    }
    assert!(sum.missed > sum.overlap, "most checks had no run in flight: {sum:?}");
    // What was handed over when the stop came may be up to 50 ms ahead.
    let away = stopped + TOLERANCE..continued - TOLERANCE;
    let made_up_for: Vec<_> = history.records().filter(|record| away.contains(&due(record))).collect();
    assert!(made_up_for.is_empty(), "ticks that were missed were run: {made_up_for:?}");
    for (key, past) in history.checks() {
        // What was under way when the stop came, or else the one tick that is young enough to be run after it.
        let passed = past.records.iter().filter(|record| due(record) < continued - SLACK);
        let late = passed.filter(|record| record.started >= continued).count();
        assert!(late <= 1, "{key}: {late} runs of ticks that had passed");
    }
    let burst = continued..continued + FIRST;
    let at_once = history.records().filter(|record| burst.contains(&record.started)).count();
    eprintln!(
        "stopped for {STOPPED:?}: {sum:?}; {at_once} runs began within {FIRST:?}; {} changes to stale; before: {}; \
         after: {}; the agent: {}",
        history.stale,
        history.lags(|record| record.started < stopped),
        history.lags(|record| due(record) >= continued),
        look["summary"],
    );
}
