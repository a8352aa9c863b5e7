//! A clock that is set, by an hour, forward and back: checks go on, and no series goes back with it.
//!
//! The agent lives in this process, whose idea of the system's clock can be changed; all others here are processes of
//! their own.

use std::fmt::Write;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use roundsman_agent::agent::{Agent, Handle};
use roundsman_agent::clock::set_skew;
use roundsman_agent::config::Config;
use roundsman_model::counts::Counts;
use roundsman_model::record::Record;
use roundsman_model::time::{Timestamp, nanos};
use roundsman_plugin::compile::Compiler;

use crate::history::History;
use crate::support::{DEADLINE, Place};
use crate::{alone, checks, now};

const INTERVALS_MS: [u64; 2] = [250, 500];
const CHECKS: usize = 40;
const HOUR: Duration = Duration::from_secs(3_600);
/// Around a jump, for what the agent takes to notice it.
const SOON: Duration = Duration::from_secs(60);
/// Runs of every check between two jumps.
const ROUNDS: u64 = 3;

/// The clock, which is right again when this is dropped.
struct Skew(i64);

impl Skew {
    fn now(&self) -> Timestamp {
        Timestamp(now().0 + self.0)
    }
}

impl Drop for Skew {
    fn drop(&mut self) {
        set_skew(0);
    }
}

fn number(check: &str) -> usize {
    check.trim_start_matches('c').parse().unwrap()
}

fn interval_ms(number: usize) -> u64 {
    INTERVALS_MS[number % INTERVALS_MS.len()]
}

async fn start(place: &Place) -> Handle {
    let path = place.path().join("roundsman.yaml");
    let (text, flags): (_, [&str; 0]) = (std::fs::read(&path).unwrap(), []);
    let config = Config::load(Some((&path, &text)), [], &flags, "embedded").unwrap().config;
    let compiler = Compiler::new(PathBuf::from(env!("CARGO_BIN_EXE_roundsman")));
    Agent::start(config, compiler).await.unwrap()
}

/// How long each check takes, in its own intervals, to one more run and to so many more: the most of all of them.
async fn goes_on(handle: &Handle, what: &str) -> [f64; 2] {
    let (before, began, mut took) = (counts(handle), Instant::now(), [0.0_f64; 2]);
    let mut done = [[false; 2]; CHECKS];
    while done.iter().any(|done| done.contains(&false)) {
        assert!(began.elapsed() < DEADLINE, "not every check runs on after {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
        for (number, counts) in counts(handle).into_iter().enumerate() {
            for (step, more) in [1, ROUNDS].into_iter().enumerate() {
                if !done[number][step] && counts.run >= before[number].run + more {
                    done[number][step] = true;
                    took[step] = took[step].max(began.elapsed().as_secs_f64() * 1e3 / interval_ms(number) as f64);
                }
            }
        }
    }
    took
}

/// By the numbers of the checks.
fn counts(handle: &Handle) -> [Counts; CHECKS] {
    let mut counts = [Counts::default(); CHECKS];
    for line in handle.agent().board() {
        counts[number(&line.check)] = line.counts;
    }
    counts
}

/// Ticks that passed in a jump: missed, or overlapped by a run that was in flight.
fn not_run(counts: &Counts) -> u64 {
    counts.missed + counts.overlap
}

/// Sets the clock, and lets every check run on. Returns the clock's readings around the jump.
async fn jump(handle: &Handle, skew: &mut Skew, to_ns: i64, report: &mut String) -> [Timestamp; 2] {
    let (before, counts_before) = (skew.now(), counts(handle));
    skew.0 = to_ns;
    set_skew(to_ns);
    let (after, what) = (skew.now(), format!("{} s", to_ns / 1_000_000_000));
    let [one, several] = goes_on(handle, &what).await;
    // It looks at the clock once a second; by then all of them have had their runs. Until the change shows, wait.
    if after > before {
        let patience = Instant::now() + DEADLINE;
        while counts(handle).iter().zip(&counts_before).any(|(now, then)| not_run(now) == not_run(then)) {
            assert!(Instant::now() < patience, "some check has missed nothing by the jump to {what}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
    goes_on(handle, &what).await;
    write!(report, " to {what}: next runs within {one:.1} intervals, {ROUNDS} within {several:.1};").unwrap();
    [before, after]
}

#[test]
fn a_clock_that_is_set_by_an_hour_stops_no_check_and_turns_no_series_back() {
    let _turn = alone();
    let place = Place::with_plugins(&["load"]);
    place.write_checks("many.yaml", &checks(INTERVALS_MS.into_iter().cycle().take(CHECKS)));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let (mut skew, mut report, hour) = (Skew(0), String::new(), nanos(HOUR));
    let jumps = runtime.block_on(async {
        let handle = start(&place).await;
        let patience = Instant::now() + DEADLINE;
        while handle.agent().board().len() < CHECKS {
            assert!(Instant::now() < patience, "{:?}", handle.agent().about().problems);
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        goes_on(&handle, "the start").await;
        let mut jumps = Vec::new();
        for to_ns in [hour, 0, -hour, 0] {
            jumps.push(jump(&handle, &mut skew, to_ns, &mut report).await);
        }
        handle.stop().await.unwrap();
        jumps
    });

    let history = History::read(&place.state());
    let sum = history.assert_whole(CHECKS);
    assert!(sum.missed > sum.overlap, "most checks have no run in flight: {sum:?}");
    let [ahead, _, _, home] = jumps[..] else { panic!("four jumps") };
    // A run that was handed over before a jump was not late by an hour.
    let late = history.records().find(|record| Duration::from_nanos(record.lag_ns) > SOON);
    assert!(late.is_none(), "nobody waited for {late:?}");
    // Forward: the hour in between is missed, not run. By what was started: stamps are ahead after a jump back.
    let hour_between = ahead[0] + SOON..ahead[1] - SOON;
    assert!(!history.records().any(|record| hour_between.contains(&record.started)), "what was missed was run");
    for (key, past) in history.checks() {
        // Two jumps forward, an hour each.
        let ticks = 2 * (HOUR - SOON).as_millis() as u64 / interval_ms(number(key.check.as_str()));
        assert!(not_run(&past.counts) >= ticks, "{key}: {:?}, and two hours hold {ticks}", past.counts);
        // Back: stamps go on from the last one, not from the clock.
        let high_water = past.records.iter().filter(|record| record.time < ahead[1] + SOON).map(|record| record.time);
        assert!(high_water.max() > Some(ahead[1] - SOON), "{key} did not follow the clock forward");
        let behind = |record: &&Record| record.started + SOON < record.time;
        let [at_home, far_back] = [home[1] - SOON, home[0] - SOON].map(|from| {
            let near = from..from + SOON * 2;
            past.records.iter().filter(behind).filter(|record| near.contains(&record.started)).count() as u64
        });
        assert!(at_home >= 2 * ROUNDS, "{key} ran {at_home} times after the clock was right again");
        assert!(far_back >= ROUNDS, "{key} ran {far_back} times while the clock was an hour behind");
    }
    eprintln!("clock set:{report} {sum:?}; {} changes to stale; {}", history.stale, history.lags(|_| true));
}
