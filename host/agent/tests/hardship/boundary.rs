//! The load test of Stripe's scheduler: a thousand `cron` checks, all due at the same minute.

use std::fmt::Write;
use std::time::Duration;

use roundsman_model::time::nanos;

use crate::history::History;
use crate::now;
use crate::support::{Agent, Place, eventually};

const CHECKS: usize = 1_000;
const MINUTE: Duration = Duration::from_secs(60);
const LATE: Duration = Duration::from_secs(1);

fn all_have_run(agent: &Agent) -> bool {
    let status = agent.get("/api/v1/status");
    status["status"].as_array().unwrap().iter().all(|subject| subject["counts"]["run"].as_u64() > Some(0))
}

/// It takes up to a minute, most of which it sleeps: named so that it begins first.
#[test]
fn a_thousand_checks_at_the_same_minute_all_run() {
    let place = Place::with_plugins(&["load"]);
    let agent = place.start();
    agent.await_plugins(&["load"]);
    let mut yaml = "defaults: {plugin: load, allow: {system: [load]}, timeout: 10s, \
                    settings: {parts: [load], load: null}}\nchecks:\n"
        .to_owned();
    for number in 0..CHECKS {
        writeln!(yaml, "  - {{name: c{number}, cron: \"* * * * *\"}}").unwrap();
    }
    place.write_checks("cron.yaml", &yaml);
    eventually("they are there", || agent.get("/api/v1/status")["total"] == CHECKS);
    let into_minute = now().0.rem_euclid(nanos(MINUTE)).unsigned_abs();
    std::thread::sleep(MINUTE - Duration::from_nanos(into_minute));
    eventually("all of them have run", || all_have_run(&agent));
    agent.stop();

    let history = History::read(&place.state());
    let sum = history.assert_whole(CHECKS);
    assert_eq!((sum.missed, sum.overlap, sum.skipped), (0, 0, 0), "{sum:?}");
    for record in history.records() {
        assert_eq!(record.time.0 % nanos(MINUTE), 0, "{record:?}");
    }
    let in_time = history.records().filter(|record| Duration::from_nanos(record.lag_ns) <= LATE).count();
    eprintln!(
        "{CHECKS} checks at the minute: {sum:?}; {:.1} % began within {LATE:?}; {}",
        in_time as f64 * 100.0 / sum.run as f64,
        history.lags(|_| true),
    );
}
