//! Which of its own promises the agent breaks, in words with the figure and the way out.

use std::sync::Arc;
use std::time::Duration;

use roundsman_model::record::{Finding, Point, Status};
use roundsman_model::units::format_duration;

use crate::selfcheck::points::points;
use crate::selfcheck::window::{Behind, Window};

/// Schedules are in whole seconds: a run that is later than one is at another instant than its operator wrote.
const LAG_CRITICAL: Duration = Duration::from_secs(1);
/// Latencies are judged in hundreds of milliseconds; this much late, what runs side by side is no longer side by side.
const LAG_WARNING: Duration = Duration::from_millis(100);
/// The loop beats every half second; beyond twice that something held it up.
const PAUSE_WARNING: Duration = Duration::from_secs(1);
/// Below this a single large plugin is enough for the kernel to kill the agent.
const HEADROOM_CRITICAL_PERCENT: f64 = 5.0;
/// Time to act before it is critical.
const HEADROOM_WARNING_PERCENT: f64 = 15.0;
/// Beyond this, connections of checks fail for want of descriptors, which looks as if targets were down.
const FILES_CRITICAL_PERCENT: f64 = 95.0;
/// An agent that is stopped in every tenth period is late for its neighbours' sake, and measures its own waiting.
const THROTTLED_WARNING_PERCENT: f64 = 10.0;
/// Longer than a restart of a database takes, short enough that no dashboard is blind for an hour.
const BEHIND_WARNING: Duration = Duration::from_mins(10);
/// Of the history's budget: at all of it unsent records begin to be deleted.
const BEHIND_WARNING_SHARE: f64 = 0.5;

/// What a look comes to.
#[derive(Debug)]
pub(super) struct Verdict {
    pub(super) status: Status,
    pub(super) summary: String,
    pub(super) points: Vec<Point>,
    /// Promises that are broken, the worst first; those that are kept are not named.
    pub(super) findings: Vec<Finding>,
}

pub(super) fn judge(window: &Window<'_>) -> Verdict {
    let mut findings: Vec<Finding> =
        [store(window), memory(window), files(window), schedule(window), processor(window)]
            .into_iter()
            .flatten()
            .collect();
    findings.extend(window.destinations.iter().filter_map(|behind| destination(window, behind)));
    let plugin =
        |(name, why): &(Arc<str>, Arc<str>)| finding(format!("plugin/{name}"), Status::Warning, why.to_string());
    findings.extend(window.now.quarantined.iter().map(plugin));
    // Stable: among equals the cause comes before what it leads to.
    findings.sort_by_key(|finding| std::cmp::Reverse(finding.status));
    let summary = match findings.split_first() {
        None => calm(window),
        Some((worst, [])) => worst.summary.clone(),
        Some((worst, others)) => format!("{}; and {} more", worst.summary, others.len()),
    };
    let status = findings.first().map_or(Status::Ok, |worst| worst.status);
    Verdict { status, summary, points: points(window), findings }
}

fn finding(subject: impl Into<String>, status: Status, summary: String) -> Finding {
    Finding { subject: subject.into(), status, summary }
}

fn calm(window: &Window<'_>) -> String {
    let lag = window.lag.quantile(0.99).map_or_else(|| "no runs".to_owned(), |lag| format!("lag p99 {}", ms(lag)));
    let (run, due) = (window.ticks.run, window.ticks.due);
    let memory = window.now.process.map_or(0, |process| process.anonymous_bytes >> 20);
    format!("{lag}; {run} of {due} ticks run; {memory} MiB in use")
}

/// The history: what is lost is lost.
fn store(window: &Window<'_>) -> Vec<Finding> {
    let (status, summary) = match (&window.now.store.degraded, window.lost, window.dropped) {
        (_, lost @ 1.., _) => {
            let why = window.now.store.degraded.as_deref().unwrap_or("the disk does not keep up");
            let way_out = "give the disk under `paths: {state}` room and speed, or run fewer checks";
            (Status::Critical, format!("{lost} records lost: {why}; {way_out}"))
        }
        (Some(why), ..) => {
            let way_out = "make room on, or mend, the disk under `paths: {state}`";
            (Status::Critical, format!("the store keeps records in memory only: {why}; {way_out}"))
        }
        (None, 0, dropped @ 1..) => {
            let way_out = "mend the destination that is behind, or raise `store: {maxSize}`";
            (Status::Warning, format!("{dropped} records deleted before every destination had them; {way_out}"))
        }
        (None, 0, 0) => return Vec::new(),
    };
    vec![finding("store", status, summary)]
}

fn memory(window: &Window<'_>) -> Vec<Finding> {
    let cgroup = &window.now.cgroup;
    let way_out = "raise the memory limit, or lower `limits: {memory}`";
    let headroom = cgroup.memory.map(|memory| (memory.headroom_percent(), memory));
    let status = match headroom {
        Some((left, _)) if left < HEADROOM_CRITICAL_PERCENT => Some(Status::Critical),
        Some((left, _)) if left < HEADROOM_WARNING_PERCENT => Some(Status::Warning),
        _ => None,
    };
    let (status, summary) = match (status, headroom) {
        (Some(status), Some((left, memory))) => {
            let (used, limit) = (memory.used_bytes >> 20, memory.limit_bytes >> 20);
            (status, format!("{left:.0} % of the memory limit left ({used} of {limit} MiB in use): {way_out}"))
        }
        _ if window.oom_kills > 0 => {
            let kills = window.oom_kills;
            (Status::Warning, format!("{kills} processes of the agent killed for want of memory: {way_out}"))
        }
        _ => match cgroup.high {
            Some(high) if high.used_bytes >= high.limit_bytes => {
                let limit = high.limit_bytes >> 20;
                (Status::Warning, format!("slowed down beyond {limit} MiB (memory.high): {way_out}"))
            }
            _ => return Vec::new(),
        },
    };
    vec![finding("memory", status, summary)]
}

fn files(window: &Window<'_>) -> Vec<Finding> {
    let Some(process) = window.now.process else { return Vec::new() };
    let (open, most) = (process.open_files, process.max_open_files);
    if most == 0 || open as f64 * 100.0 <= most as f64 * FILES_CRITICAL_PERCENT {
        return Vec::new();
    }
    let way_out = "raise the limit (LimitNOFILE=, ulimit -n), or lower `limits: {runs}`";
    vec![finding("files", Status::Critical, format!("{open} of {most} file descriptors open: {way_out}"))]
}

/// Missed ticks, lag and pauses of the loop: what an absence explains, it explains together.
fn schedule(window: &Window<'_>) -> Vec<Finding> {
    if let Some(away) = window.away {
        let missed = window.ticks.missed;
        let why = "stopped, asleep or without a processor";
        return vec![finding(
            "away",
            Status::Warning,
            format!("was away for {} ({why}): {missed} ticks missed", span(away)),
        )];
    }
    [missed(window), lag(window), pause(window)].into_iter().flatten().collect()
}

fn missed(window: &Window<'_>) -> Option<Finding> {
    let (missed, due, slots) = (window.ticks.missed, window.ticks.due, window.now.slots);
    let throttled = window.throttled_percent().unwrap_or(0.0);
    let cause = if throttled > THROTTLED_WARNING_PERCENT {
        format!(": the agent is throttled in {throttled:.0} % of periods: raise the CPU limit")
    } else {
        let way_out = "raise `limits: {runs}`, shorten timeouts or lengthen intervals";
        format!(" for want of a slot ({slots} in all): {way_out}")
    };
    let summary = format!("{missed} of {due} ticks missed{cause}");
    (missed > 0).then(|| finding("missed", Status::Critical, summary))
}

fn lag(window: &Window<'_>) -> Option<Finding> {
    let (p99, p999) = (window.lag.quantile(0.99)?, window.lag.quantile(0.999)?);
    let (status, figure) = match () {
        () if p999 > LAG_CRITICAL => (Status::Critical, format!("p99.9 lag {}", ms(p999))),
        () if p99 > LAG_WARNING => (Status::Warning, format!("p99 lag {}", ms(p99))),
        () => return None,
    };
    let queue = window.queue.quantile(0.99).unwrap_or_default();
    let throttled = window.throttled_percent().unwrap_or(0.0);
    let cause = if throttled > THROTTLED_WARNING_PERCENT {
        format!("the agent is throttled in {throttled:.0} % of periods: raise the CPU limit")
    } else if queue > LAG_WARNING {
        format!("runs wait {} for a slot: raise `limits: {{runs}}` ({})", ms(queue), window.now.slots)
    } else {
        "the machine has no processor time to spare: give the agent more, or run fewer checks here".to_owned()
    };
    Some(finding("lag", status, format!("{figure}: {cause}")))
}

fn pause(window: &Window<'_>) -> Option<Finding> {
    let pause = window.now.pause;
    let why = "the machine or its disk is overloaded, or too many checks changed at once";
    (pause > PAUSE_WARNING)
        .then(|| finding("loop", Status::Warning, format!("the engine's loop stood still for {}: {why}", ms(pause))))
}

fn processor(window: &Window<'_>) -> Vec<Finding> {
    let Some(percent) = window.throttled_percent().filter(|percent| *percent > THROTTLED_WARNING_PERCENT) else {
        return Vec::new();
    };
    let cores = window.now.cgroup.cpu.map_or(0.0, |cpu| cpu.cores);
    let summary = format!("throttled in {percent:.0} % of periods: raise the CPU limit ({cores} cores)");
    vec![finding("cpu", Status::Warning, summary)]
}

fn destination(window: &Window<'_>, behind: &Behind<'_>) -> Option<Finding> {
    let (name, rows, oldest) = (&behind.now.name, behind.now.rows, behind.oldest);
    let why = behind.now.held.as_deref().unwrap_or("it takes less than there is");
    let store = &window.now.store;
    // Records differ in size; that those that wait are as large as the others on average is near enough for a warning.
    let unsent = store.bytes as f64 * rows.min(store.records) as f64 / store.records.max(1) as f64;
    let summary = if unsent > window.now.store_max_bytes as f64 * BEHIND_WARNING_SHARE {
        let percent = unsent * 100.0 / window.now.store_max_bytes.max(1) as f64;
        format!(
            "{rows} records wait for {name}, {percent:.0} % of the history's budget: {why}; mend it or raise `store: {{maxSize}}`"
        )
    } else if oldest > BEHIND_WARNING {
        format!("{name} is {} behind by {rows} records: {why}", span(oldest))
    } else if behind.rejected > 0 {
        let rejected = behind.rejected;
        format!("{name} refused {rejected} points for good: see rejected lines in `paths: {{state}}` and the log")
    } else {
        return None;
    };
    Some(finding(format!("destination {name}"), Status::Warning, summary))
}

fn ms(duration: Duration) -> String {
    let ms = duration.as_secs_f64() * 1_000.0;
    if ms < 10.0 { format!("{ms:.1} ms") } else { format!("{ms:.0} ms") }
}

/// In whole seconds, as nobody wants to read more of it.
fn span(duration: Duration) -> String {
    format_duration(Duration::from_secs(duration.as_secs()))
}

#[cfg(test)]
mod tests;
