//! What a machine can do to an agent: stop it, set its clock, take its processors away. It loses no tick without counting
//! it, makes up for none in a burst, and stamps nothing twice.
//!
//! - `stopped`: SIGSTOP and SIGCONT; `skew`: the clock set forward and back; `neighbours`: busy ones; `quota`: a limit of
//!   the control group; `boundary`: a thousand checks at the same minute
//! - `history`: what is left in the store, against which every promise is held
//!
//! No time is asserted: how late something is says as much of the machine as of the agent. Lags are printed
//! (`-- --nocapture`); what is asserted are counts, stamps and words.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "hardship/boundary.rs"]
mod boundary;
#[path = "hardship/history.rs"]
mod history;
#[path = "hardship/neighbours.rs"]
mod neighbours;
#[path = "hardship/quota.rs"]
mod quota;
#[path = "hardship/skew.rs"]
mod skew;
#[path = "hardship/stopped.rs"]
mod stopped;
mod support;

use std::fmt::Write;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use roundsman_model::time::{Timestamp, nanos};
use support::{Agent, eventually};

/// What one test does to its agent would be a hardship for another's: they take turns. `boundary` hardly needs a
/// processor, and waits beside them.
fn alone() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// As many checks as there are intervals, which are in milliseconds: `c0`, `c1` …; the timeout is half a second.
fn checks(intervals_ms: impl Iterator<Item = u64>) -> String {
    let mut yaml = "defaults: {plugin: load, allow: {system: [load]}, timeout: 500ms, \
                    settings: {parts: [load], load: null}}\nchecks:\n"
        .to_owned();
    for (number, interval_ms) in intervals_ms.enumerate() {
        writeln!(yaml, "  - {{name: c{number}, interval: {interval_ms}ms}}").unwrap();
    }
    yaml
}

/// Waits until every check has had so many more runs.
fn await_runs(agent: &Agent, more: u64) {
    let run = || -> Vec<u64> {
        let status = agent.get("/api/v1/status");
        let own = |subject: &&serde_json::Value| subject["check"] != "roundsman";
        let list = status["status"].as_array().unwrap().iter().filter(own);
        list.map(|subject| subject["counts"]["run"].as_u64().unwrap()).collect()
    };
    let before = run();
    eventually("every check runs on", || run().iter().zip(&before).all(|(now, then)| *now >= then + more));
}

/// The wall clock.
fn now() -> Timestamp {
    Timestamp(nanos(SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap()))
}
