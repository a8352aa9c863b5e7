//! Rows about the engine's own work: what a run costs, whether it begins in time, what a quiet agent costs.

use std::time::Duration;

use anyhow::Result;

use crate::control::BareTimer;
use crate::measure::{Lags, median, runtime};
use crate::rig::{Rig, checks};
use crate::rows::floor;
use crate::table::{Measured, Setting};

/// After the first run of every check: caches, the pool and the allocator are warm then.
const WARM_UP: Duration = Duration::from_secs(2);
/// Windows of which the median is taken.
const REPEATS: usize = 3;
/// Between two runs of the first row.
const PACE: Duration = Duration::from_micros(500);

fn point(interval: &str) -> impl Fn(usize) -> String {
    move |number| format!("plugin: point, interval: {interval}, settings: {{value: {number}.5}}")
}

/// Processor time of the whole process for each run.
pub(crate) fn run(setting: &Setting) -> Result<Measured> {
    // 200 checks every 100 ms are one every 500 µs.
    let rig = Rig::new(setting, &["point"], &checks(200, point("100ms")))?;
    let (costs, rate) = runtime()?.block_on(async {
        let live = rig.start().await?;
        tokio::time::sleep(WARM_UP).await;
        let (mut costs, mut rate) = (Vec::new(), 0.0);
        for _ in 0..REPEATS {
            let window = live.watch(setting.seconds(10, 3)).await;
            costs.push(window.cpu_us_per_run());
            rate = window.runs_per_second();
        }
        live.stop().await?;
        anyhow::Ok((costs, rate))
    })?;
    let settings = "{\"value\":1.5}";
    let bare = floor::bare(setting, "point", settings)?;
    let paced = floor::paced(setting, "point", settings, PACE)?;
    Ok(Measured {
        measured: median(costs, "µs"),
        control: format!("same guest without the agent: {}; at the same pace: {paced:.1} µs", median(bare, "µs")),
        notes: format!("{rate:.0} runs/s, settings and one point, store and stream on"),
    })
}

/// Ten thousand runs a second.
pub(crate) fn schedule(setting: &Setting) -> Result<Measured> {
    let rig = Rig::new(setting, &["point"], &checks(1_000, point("100ms")))?;
    runtime()?.block_on(async {
        let live = rig.start().await?;
        tokio::time::sleep(WARM_UP).await;
        let length = setting.seconds(60, 10);
        let before = live.counts();
        let timer = BareTimer::start(Duration::from_micros(100), length);
        let window = live.watch(length).await;
        let control = tokio::task::spawn_blocking(|| timer.end()).await??;
        let after = live.counts();
        let lags = Lags::new(live.records(&window, |record| Some(record.lag_ns)).await?);
        live.stop().await?;
        let [due, run, missed, overlap] = [
            after.due - before.due,
            after.run - before.run,
            after.missed - before.missed,
            after.overlap - before.overlap,
        ];
        Ok(Measured {
            measured: format!("{lags}; due {due}, run {run}, missed {missed}, overlap {overlap}"),
            control: format!("bare timer at 100 µs: {control}"),
            notes: format!(
                "{:.0} runs/s for {} s, 1,000 checks at 100 ms; {:.1} µs CPU per run",
                window.runs_per_second(),
                length.as_secs(),
                window.cpu_us_per_run()
            ),
        })
    })
}

/// A thousand checks, ten seconds each.
pub(crate) fn idle(setting: &Setting) -> Result<Measured> {
    let rig = Rig::new(setting, &["point"], &checks(1_000, point("10s")))?;
    runtime()?.block_on(async {
        let live = rig.start().await?;
        tokio::time::sleep(WARM_UP).await;
        let window = live.watch(setting.seconds(60, 15)).await;
        let own: u64 = live.records(&window, |record| Some(record.cpu_ns)).await?.iter().sum();
        live.stop().await?;
        let share = |cpu: f64| cpu * 100.0 / window.wall.as_secs_f64();
        let (all, own) = (window.cpu.as_secs_f64(), own as f64 / 1e9);
        Ok(Measured {
            measured: format!("{:.2} % of a core", share(all - own)),
            control: format!("the checks' own work: {:.2} %; all: {:.2} %", share(own), share(all)),
            notes: format!("{:.0} runs/s for {:.0} s", window.runs_per_second(), window.wall.as_secs_f64()),
        })
    })
}
