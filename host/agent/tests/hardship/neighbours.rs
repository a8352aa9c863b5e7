//! Processors that are taken by others: what comes late is late, and what does not come is counted.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use roundsman_model::key::Key;

use crate::history::History;
use crate::support::{Place, eventually};
use crate::{alone, await_runs, checks, now};

const INTERVALS_MS: [u64; 4] = [50, 100, 200, 500];
const CHECKS: usize = 100;
/// For each processor.
const NEIGHBOURS: usize = 2;
const STOLEN: Duration = Duration::from_secs(10);

fn interval_ms(key: &Key) -> u64 {
    let number: usize = key.check.as_str().trim_start_matches('c').parse().unwrap();
    INTERVALS_MS[number % INTERVALS_MS.len()]
}

/// Keeps every processor busy for so long.
fn steal(processors: usize) {
    let enough = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..processors * NEIGHBOURS {
            scope.spawn(|| {
                while !enough.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            });
        }
        std::thread::sleep(STOLEN);
        enough.store(true, Ordering::Relaxed);
    });
}

#[test]
fn busy_neighbours_make_runs_late_and_lose_none() {
    let _turn = alone();
    let place = Place::with_plugins(&["load"]);
    let agent = place.start();
    agent.await_plugins(&["load"]);
    let began = now();
    place.write_checks("many.yaml", &checks(INTERVALS_MS.into_iter().cycle().take(CHECKS)));
    eventually("they are there", || agent.get("/api/v1/status")["total"] == CHECKS);
    await_runs(&agent, 3);
    let from = now();
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    steal(processors);
    let until = now();
    await_runs(&agent, 1);
    agent.stop();

    let history = History::read(&place.state());
    let sum = history.assert_whole(CHECKS);
    history.assert_no_tick_lost(interval_ms, began, now());
    // Half of the processors is more than enough for what these checks ask for.
    for (key, past) in history.checks() {
        let runs = past.records.iter().filter(|record| (from..until).contains(&record.time)).count();
        assert!(runs > 0, "{key} starved: {:?}", past.counts);
    }
    eprintln!(
        "{} busy threads on {processors} processors for {STOLEN:?}: {sum:?}; before: {}; beside them: {}",
        processors * NEIGHBOURS,
        history.lags(|record| record.time < from),
        history.lags(|record| (from..until).contains(&record.time)),
    );
}
