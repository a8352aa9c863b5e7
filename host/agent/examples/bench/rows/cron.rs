//! The row about many checks at the same instant: the load test of Stripe's scheduler.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use roundsman_model::record::Record;
use roundsman_model::time::{Timestamp, nanos};

use crate::measure::{Lags, now, runtime};
use crate::rig::{Live, Rig, checks};
use crate::rows::floor;
use crate::table::{Measured, Setting};

const CHECKS: usize = 1_000;
/// One more, whose records show how far the store is.
const BESIDE: usize = 1;
const MINUTE: Duration = Duration::from_secs(60);
/// For runs and commits after a minute began.
const SETTLE: Duration = Duration::from_secs(5);
const LATE: Duration = Duration::from_secs(1);

/// A thousand checks at every minute.
pub(crate) fn cron(setting: &Setting) -> Result<Measured> {
    let rig = Rig::new(
        setting,
        &["point"],
        &checks(CHECKS + BESIDE, |number| match number {
            CHECKS => "plugin: point, interval: 1s, settings: {value: 1.5}".to_owned(),
            _ => format!("plugin: point, cron: \"* * * * *\", settings: {{value: {number}.5}}"),
        }),
    )?;
    let minutes: u32 = if setting.quick { 1 } else { 3 };
    let (lags, counts) = runtime()?.block_on(async {
        let began = next_minute();
        let live = rig.start().await?;
        // The first minute is over when all of them have run.
        let until = began + MINUTE * (minutes - 1) + SETTLE;
        tokio::time::sleep_until(instant_of(until).into()).await;
        let mut window = live.since(&live.mark());
        (window.from, window.until) = (began - SETTLE, now());
        let beside = format!("c{CHECKS}");
        let counts = of_cron(&live, &beside);
        let lag = move |record: Record| (record.key.check.as_str() != beside).then_some(record.lag_ns);
        let lags = live.records(&window, lag).await?;
        live.stop().await?;
        anyhow::Ok((lags, counts))
    })?;
    let [due, run, missed, other] = counts;
    ensure!(due == run + missed + other, "ticks without a fate: {counts:?}");
    let in_time = lags.iter().filter(|lag| Duration::from_nanos(**lag) <= LATE).count();
    let mut bare_us = floor::bare(setting, "point", "{\"value\":1.5}")?;
    bare_us.sort_by(f64::total_cmp);
    let bare_ms = bare_us.get(bare_us.len() / 2).map_or(0.0, |us| us * CHECKS as f64 / 1e3);
    Ok(Measured {
        measured: format!(
            "{:.2} % begun within 1 s; {}; due {due}, run {run}, missed {missed}, other {other}",
            in_time as f64 * 100.0 / (due.max(1)) as f64,
            Lags::new(lags)
        ),
        control: format!("as many runs of the guest one after another without the agent: {bare_ms:.1} ms"),
        notes: format!("{CHECKS} checks `* * * * *`, {} minutes; store and stream on", due / CHECKS as u64),
    })
}

/// The minute that comes next.
fn next_minute() -> Timestamp {
    let minute = nanos(MINUTE);
    Timestamp((now().0 / minute + 1) * minute)
}

fn instant_of(wall: Timestamp) -> Instant {
    Instant::now() + wall.since(now())
}

/// Due, run, missed, and what else became of ticks.
fn of_cron(live: &Live, beside: &str) -> [u64; 4] {
    let board = live.board();
    let lines = board.iter().filter(|line| &*line.check != beside).map(|line| line.counts);
    lines.fold([0; 4], |[due, run, missed, other], counts| {
        [due + counts.due, run + counts.run, missed + counts.missed, other + counts.overlap + counts.skipped]
    })
}
