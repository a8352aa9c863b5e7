//! The row about more work than there is time for: what cannot be run is counted, and all checks get their turn alike.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Result, ensure};
use roundsman_model::counts::Counts;
use roundsman_model::key::Key;
use roundsman_model::record::Origin;
use roundsman_store::{Config, Cursor, MAX_ROWS, Store};

use crate::measure::{Lags, anonymous_mib, median, runtime};
use crate::rig::{Live, Rig, checks};
use crate::rows::floor;
use crate::table::{Measured, Setting};

const CHECKS: usize = 3_000;
/// With as many checks: 30,000 runs a second.
const INTERVAL: &str = "100ms";

/// Three times what the schedule promises.
pub(crate) fn overload(setting: &Setting) -> Result<Measured> {
    let point = |number: usize| format!("plugin: point, interval: {INTERVAL}, settings: {{value: {number}.5}}");
    let rig = Rig::new(setting, &["point"], &checks(CHECKS, point))?;
    let (window, lags, ticks, memory) = runtime()?.block_on(async {
        let live = rig.start().await?;
        let (before, memory_before) = (by_check(&live), anonymous_mib()?);
        let window = live.watch(setting.seconds(20, 10)).await;
        let (after, memory_after) = (by_check(&live), anonymous_mib()?);
        let lags = Lags::new(live.records(&window, |record| Some(record.lag_ns)).await?);
        live.stop().await?;
        let ticks = after.into_iter().map(|(name, after)| (after, before.get(&name).copied().unwrap_or_default()));
        let ticks: Vec<Counts> = ticks.map(|(after, before)| difference(after, before)).collect();
        anyhow::Ok((window, lags, ticks, [memory_before, memory_after]))
    })?;
    let lost = account(&rig.directory.path().join("state"))?;
    let mut runs: Vec<u64> = ticks.iter().map(|counts| counts.run).collect();
    runs.sort_unstable();
    let sum = ticks.into_iter().fold(Counts::default(), add);
    ensure!(sum.balanced(), "ticks without a fate: {sum:?}");
    let bare = median(floor::bare(setting, "point", "{\"value\":1.5}")?, "µs");
    let [least, middle, most] = [0, runs.len() / 2, runs.len().saturating_sub(1)].map(|at| runs.get(at).unwrap_or(&0));
    let Counts { due, run, missed, overlap, skipped } = sum;
    Ok(Measured {
        measured: format!(
            "{:.0} runs/s; due {due} = run {run} + missed {missed} + overlap {overlap} + skipped {skipped}; {lags}",
            window.runs_per_second()
        ),
        control: format!("same guest without the agent: {bare}"),
        notes: format!(
            "{CHECKS} checks at {INTERVAL} for {:.0} s; runs of a check: least {least}, median {middle}, most {most}; \
             {:.1} µs CPU per run, {:.2} cores; RssAnon {:.0} MiB, then {:.0}; {lost} records lost",
            window.wall.as_secs_f64(),
            window.cpu_us_per_run(),
            window.cpu.as_secs_f64() / window.wall.as_secs_f64(),
            memory[0],
            memory[1],
        ),
    })
}

fn by_check(live: &Live) -> HashMap<Arc<str>, Counts> {
    live.board().into_iter().map(|line| (line.check, line.counts)).collect()
}

fn difference(after: Counts, before: Counts) -> Counts {
    Counts {
        due: after.due - before.due,
        run: after.run - before.run,
        missed: after.missed - before.missed,
        overlap: after.overlap - before.overlap,
        skipped: after.skipped - before.skipped,
    }
}

fn add(a: Counts, b: Counts) -> Counts {
    Counts {
        due: a.due + b.due,
        run: a.run + b.run,
        missed: a.missed + b.missed,
        overlap: a.overlap + b.overlap,
        skipped: a.skipped + b.skipped,
    }
}

/// What an agent that has ended left behind: whether every tick has a fate, and how many runs left no record.
fn account(state: &Path) -> Result<u64> {
    let (store, restored) = Store::open(Config::new(state), |_| ())?;
    let (mut reader, mut cursor, mut records) = (store.reader()?, Cursor::default(), HashMap::<Key, u64>::new());
    loop {
        let batch = reader.outbox(cursor, MAX_ROWS)?;
        if batch.next == cursor {
            break;
        }
        cursor = batch.next;
        for row in batch.records.into_iter().filter(|row| row.record.origin == Origin::Schedule) {
            *records.entry(row.record.key).or_default() += 1;
        }
    }
    runtime()?.block_on(store.close())?;
    let mut lost = 0;
    for subject in restored.subjects {
        let (counts, there) = (subject.counts, records.get(&subject.key).copied().unwrap_or(0));
        ensure!(counts.balanced(), "{}: ticks without a fate: {counts:?}", subject.key);
        ensure!(there <= counts.run, "{}: {there} records of {} runs", subject.key, counts.run);
        lost += counts.run - there;
    }
    Ok(lost)
}
