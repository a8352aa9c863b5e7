//! Time, memory and stack of a run; traps and panics.

use std::time::Duration;

use roundsman_model::check::Limits;
use roundsman_model::record::{Blame, Status};
use roundsman_plugin::engine::EngineLimits;

use crate::support::component::{LOOP, Parts};
use crate::support::{DEADLINE, Run, guest};
use crate::{assert_outcome, assert_unknown, bench, bench_with};

const CPU: Limits = Limits { memory: 32 << 20, cpu: Duration::from_millis(50), points: 10, output: 1 << 10 };

#[test]
fn loops_end_wherever_they_are() {
    let bench = bench();
    let in_realloc = Parts { realloc: LOOP, run: "(call $settings (i32.const 256))", ..Parts::default() };
    for (what, parts) in [
        ("run", Parts { run: LOOP, ..Parts::default() }),
        ("an allocation for the host", in_realloc),
        (
            "copies of memory",
            Parts {
                memory: "256",
                run: "(loop $again (memory.copy (i32.const 0) (i32.const 8) (i32.const 16777208)) (br $again))",
                ..Parts::default()
            },
        ),
    ] {
        let plugin = bench.load(&parts.bytes()).unwrap();
        let report = bench.run(&plugin, &Run { limits: CPU, ..Run::new() });
        assert_unknown(&report, Blame::Plugin, "cpu", "used up its 50ms of processor time; raise the check's `limits");
        assert!(report.began.is_some() && report.cpu >= CPU.cpu, "{what}: {report:?}");
    }
    let spin = bench.run(&bench.load(&guest("hostile")).unwrap(), &Run { limits: CPU, ..Run::what("spin", "") });
    assert_unknown(&spin, Blame::Plugin, "cpu", "50ms");
}

/// Of this process: memory that is its own alone.
fn anonymous() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
    line.trim().strip_suffix(" kB").unwrap().parse::<u64>().unwrap() << 10
}

/// Also if no other run comes that would take the same place.
#[test]
fn what_a_run_held_goes_back_at_once() {
    const HELD: u64 = 16 << 20;
    let bench = bench();
    let fill = "(memory.fill (i32.const 65536) (i32.const 1) (i32.const 16711680))";
    let plugin = bench.load(&Parts { memory: "256", run: fill, ..Parts::default() }.bytes()).unwrap();
    let before = anonymous();
    for _ in 0..3 {
        assert_outcome(&bench.run(&plugin, &Run::new()), Status::Ok, "");
        crate::support::eventually("its memory is gone", || anonymous() < before + HELD / 2);
    }
}

/// What interrupts guests rests while there are none, and must be there for the next one at once.
#[test]
fn a_loop_that_begins_while_the_ticker_rests() {
    let bench = bench();
    let plugin = bench.load(&Parts { run: LOOP, ..Parts::default() }.bytes()).unwrap();
    for _ in 0..3 {
        crate::support::eventually("nothing runs", || bench.engine.rests());
        let report = bench.run(&plugin, &Run { limits: CPU, ..Run::new() });
        assert_unknown(&report, Blame::Plugin, "cpu", "50ms");
        assert!(report.cpu < CPU.cpu + 10 * Duration::from_millis(10), "{report:?}");
    }
}

/// A start function runs for `describe` first: it may not even get so far as to be a plugin.
#[test]
fn loops_before_the_first_run() {
    let bench = bench();
    for parts in [Parts { start: LOOP, ..Parts::default() }, Parts { describe: LOOP, ..Parts::default() }] {
        let why = bench.refused(&parts.bytes());
        assert!(why.starts_with("its `describe` failed: the plugin used up its 2s of processor time"), "{why}");
        bench.assert_floor();
    }
    let validate = bench.load(&Parts { realloc: LOOP, ..Parts::default() }.bytes()).unwrap();
    let wrong = bench.runtime.block_on(validate.validate(&serde_json::json!({})));
    assert!(wrong[0].starts_with("the plugin's `validate` failed: the plugin used up its 2s"), "{wrong:?}");
    bench.assert_floor();
}

#[test]
fn what_is_left_of_the_limit_is_not_touched() {
    let bench = bench();
    let plugin = bench.load(&guest("hostile")).unwrap();
    let run = Run { limits: Limits { cpu: DEADLINE, ..CPU }, ..Run::what("compute", 30) };
    let report = bench.run(&plugin, &run);
    assert_outcome(&report, Status::Ok, "turns");
    assert!(report.cpu <= report.ended.duration_since(report.began.unwrap()) + Duration::from_millis(5), "{report:?}");
}

#[test]
fn a_run_that_computes_when_its_deadline_comes() {
    let bench = bench();
    let plugin = bench.load(&guest("hostile")).unwrap();
    let run = Run { limits: Limits { cpu: DEADLINE, ..CPU }, ..Run::what("spin", "") };
    let report = bench.run(&plugin, &run.within(Duration::from_millis(100)));
    assert_unknown(&report, Blame::Plugin, "timeout", "the plugin was cut after 100ms: it was computing");
    let took = report.ended.duration_since(report.began.unwrap());
    assert!(took >= Duration::from_millis(90), "{took:?}");
}

#[test]
fn recursion() {
    let bench = bench();
    let deep = Parts { more: "(func $deep (call $deep))", run: "(call $deep)", ..Parts::default() };
    let report = bench.run(&bench.load(&deep.bytes()).unwrap(), &Run::new());
    assert_unknown(&report, Blame::Plugin, "stack", "overflowed its stack");
    // Rust keeps what has an address on a stack in linear memory, whose end is out of bounds.
    let report = bench.run(&bench.load(&guest("hostile")).unwrap(), &Run::what("recurse", ""));
    assert_unknown(&report, Blame::Plugin, "trap", "overflows");
}

#[test]
fn memory_of_a_run() {
    let bench = bench();
    let hostile = bench.load(&guest("hostile")).unwrap();
    let report = bench.run(&hostile, &Run::what("grow", ""));
    assert_unknown(&report, Blame::Plugin, "memory", "wanted more than its 32 MiB of memory; raise the check's");
    assert!((16 << 20..=32 << 20).contains(&report.memory_bytes), "{report:?}");

    let grow = "(loop $again (br_if $again (i32.ge_s (memory.grow (i32.const 16)) (i32.const 0))))";
    let to_the_end = Parts { run: grow, ..Parts::default() };
    let report = bench.run(&bench.load(&to_the_end.bytes()).unwrap(), &Run::new());
    assert_outcome(&report, Status::Ok, "");
    assert!(report.memory_bytes > 30 << 20, "a guest that takes no for an answer goes on: {report:?}");

    let then_loop = format!("{grow} {LOOP}");
    let report = bench.run(
        &bench.load(&Parts { run: &then_loop, ..Parts::default() }.bytes()).unwrap(),
        &Run { limits: CPU, ..Run::new() },
    );
    assert_unknown(&report, Blame::Plugin, "cpu", "50ms");

    // 48 MiB to begin with.
    let large = Parts { memory: "768", ..Parts::default() };
    let report = bench.run(&bench.load(&large.bytes()).unwrap(), &Run::new());
    assert_unknown(&report, Blame::Plugin, "memory", "32 MiB");
    assert_eq!(report.began, None, "it never came to its first instruction");

    let table = Parts { more: "(table 1000000 funcref)", ..Parts::default() };
    let why = bench.refused(&table.bytes());
    assert!(
        why.contains("table index 0 has a minimum element size of 1000000 which exceeds the limit of 20000"),
        "{why}"
    );
}

#[test]
fn memory_of_all_runs_together() {
    let bench = bench_with(EngineLimits { runs: 8, memory: 40 << 20 });
    let plugin = bench.load(&guest("hostile")).unwrap();
    let holding = Run::what("hold-memory", 24).within(Duration::from_secs(2));
    let (holder, job) = (plugin.clone(), holding.job());
    let held = bench.runtime.spawn(async move { holder.run(job).await });
    crate::support::eventually("it holds its memory", || bench.engine.memory().used() > 24 << 20);
    let report = bench.runtime.block_on(plugin.run(Run::what("grow", "").job()));
    assert_unknown(&report, Blame::Host, "memory", "all runs together hold the agent's `limits: {memory}`");
    let held = bench.runtime.block_on(held).unwrap();
    assert_unknown(&held, Blame::Plugin, "timeout", "it was asleep");
    assert!(bench.engine.memory().peak() <= 40 << 20);
    bench.assert_floor();
}

#[test]
fn more_runs_than_there_is_room_for() {
    let bench = bench_with(EngineLimits { runs: 1, memory: 512 << 20 });
    let plugin = bench.load(&guest("hostile")).unwrap();
    let sleeping: Vec<_> = (0..16)
        .map(|_| {
            let (plugin, job) = (plugin.clone(), Run::what("sleep", "").within(Duration::from_secs(2)).job());
            bench.runtime.spawn(async move { plugin.run(job).await })
        })
        .collect();
    let reports: Vec<_> = sleeping.into_iter().map(|run| bench.runtime.block_on(run).unwrap()).collect();
    let (full, slept): (Vec<_>, Vec<_>) = reports.iter().partition(|report| report.blame == Blame::Host);
    full.iter().for_each(|report| assert_unknown(report, Blame::Host, "limit", "no room for another run"));
    slept.iter().for_each(|report| assert_unknown(report, Blame::Plugin, "timeout", "it was asleep"));
    assert!(full.len() >= 7 && !slept.is_empty(), "{} of 16 found no room", full.len());
    bench.assert_floor();
}

#[test]
fn traps_panics_and_sleep() {
    let bench = bench();
    let plugin = bench.load(&guest("hostile")).unwrap();
    for (what, with, code, says) in [
        ("panic", "thirst", "trap", "the plugin broke off: panicked at hostile/src/lib.rs:"),
        ("panic", "thirst", "trap", ": the reason is thirst"),
        ("print-and-panic", "", "trap", "panicked at hostile/src/floods.rs:"),
        ("print-and-panic", "", "trap", ": after a flood"),
        ("trap", "", "trap", "unreachable"),
        ("exit", "", "trap", "it ended itself with code 1"),
        ("fault", "", "mine", "as I please"),
        ("claims-denied", "", "denied", "says who"),
        ("remember-and-fault", "", "mine", "after writing"),
        ("remember-and-panic", "", "trap", "after writing"),
    ] {
        let report = bench.run(&plugin, &Run::what(what, with));
        assert_unknown(&report, Blame::Plugin, code, says);
    }
    for what in ["sleep", "remember-and-sleep"] {
        let report = bench.run(&plugin, &Run::what(what, "").within(Duration::from_millis(200)));
        assert_unknown(&report, Blame::Plugin, "timeout", "the plugin was cut after 200ms: it was asleep");
    }
    let stats = bench.engine.stats();
    let count = |counter: &std::sync::atomic::AtomicU64| counter.load(std::sync::atomic::Ordering::Relaxed);
    assert_eq!((count(&stats.runs), count(&stats.deadlines)), (12, 2));
    assert_eq!((count(&stats.traps), count(&stats.faults)), (7, 3));
}

#[test]
fn state_is_kept_by_outcomes_alone() {
    let bench = bench();
    let plugin = bench.load(&guest("hostile")).unwrap();
    let report = bench.run(&plugin, &Run::what("remember", ""));
    assert_outcome(&report, Status::Critical, "written");
    assert_eq!(report.memory_changes, [("key".to_owned(), Some(b"value".to_vec()))]);
    let memory = report.memory_changes.into_iter().filter_map(|(key, value)| Some((key, value?))).collect();
    let report = bench.run(&plugin, &Run { memory, ..Run::what("recall", "") });
    assert_outcome(&report, Status::Ok, "value");
    assert!(report.memory_changes.is_empty());
}
