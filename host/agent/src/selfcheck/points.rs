//! The measurement `agent`, and `agent_destination` for each destination. A field has the same type for ever.
//!
//! What is counted is counted since the last look, and what could not be found out is left out. Nobody declares these
//! series, so nothing checks them but the tests here: names are of the subset that every InfluxDB takes, and none is that
//! of a tag.

use std::time::Duration;

use roundsman_model::record::{Point, Value};

use crate::selfcheck::window::{Behind, Window};
use crate::stats::Distribution;

const SERIES: &str = "agent";
const DESTINATION_SERIES: &str = "agent_destination";
/// The names of destinations are those of the configuration: few.
const DESTINATION_TAG: &str = "destination";

/// Fields in their order.
#[derive(Debug, Default)]
struct Fields(Vec<(String, Value)>);

impl Fields {
    fn count(&mut self, name: &str, value: u64) {
        self.0.push((name.to_owned(), Value::Integer(i64::try_from(value).unwrap_or(i64::MAX))));
    }

    fn real(&mut self, name: &str, value: Option<f64>) {
        if let Some(value) = value.filter(|value| value.is_finite()) {
            self.0.push((name.to_owned(), Value::Real(value)));
        }
    }

    fn quantile(&mut self, name: &str, of: &Distribution, share: f64) {
        self.real(name, of.quantile(share).map(millis));
    }
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1_000.0
}

pub(super) fn points(window: &Window<'_>) -> Vec<Point> {
    let mut points = vec![agent(window)];
    points.extend(window.destinations.iter().map(destination));
    points
}

fn agent(window: &Window<'_>) -> Point {
    let mut fields = Fields::default();
    schedule(&mut fields, window);
    process(&mut fields, window);
    limits(&mut fields, window);
    let store = &window.now.store;
    fields.count("store_bytes", store.bytes);
    fields.count("store_records", store.records);
    fields.count("store_queued", store.queued as u64);
    fields.count("store_held", store.held as u64);
    fields.count("records_lost", window.lost);
    fields.count("records_dropped", window.dropped);
    Point { series: SERIES.to_owned(), tags: Vec::new(), fields: fields.0 }
}

fn schedule(fields: &mut Fields, window: &Window<'_>) {
    fields.quantile("lag_p50_ms", &window.lag, 0.5);
    fields.quantile("lag_p99_ms", &window.lag, 0.99);
    fields.quantile("lag_p999_ms", &window.lag, 0.999);
    fields.quantile("queue_p99_ms", &window.queue, 0.99);
    fields.quantile("run_p99_ms", &window.run, 0.99);
    let ticks = window.ticks;
    fields.count("due", ticks.due);
    fields.count("run", ticks.run);
    fields.count("missed", ticks.missed);
    fields.count("overlap", ticks.overlap);
    fields.count("skipped", ticks.skipped);
    fields.count("runs_in_flight", window.now.runs_in_flight);
    fields.count("slots", window.now.slots);
    fields.count("faulty_runs", window.faulty_runs);
    fields.count("compiling", window.now.compiling);
    fields.real("loop_pause_ms", Some(millis(window.now.pause)));
    fields.real("away_s", Some(window.away.unwrap_or_default().as_secs_f64()));
}

fn process(fields: &mut Fields, window: &Window<'_>) {
    fields.real("cpu_percent", window.cpu_percent());
    fields.real("cpu_seconds", window.now.process.map(|process| process.cpu_seconds));
    if let Some(process) = window.now.process {
        fields.count("rss_bytes", process.resident_bytes);
        fields.count("rss_anon_bytes", process.anonymous_bytes);
        fields.count("threads", process.threads);
        fields.count("open_files", process.open_files);
        fields.count("open_files_limit", process.max_open_files);
    }
    fields.count("guest_memory_bytes", window.now.guest_memory_bytes);
    fields.count("guest_memory_limit_bytes", window.now.guest_memory_limit_bytes);
}

fn limits(fields: &mut Fields, window: &Window<'_>) {
    let cgroup = &window.now.cgroup;
    if let Some(memory) = cgroup.memory {
        fields.count("memory_limit_bytes", memory.limit_bytes);
        fields.count("memory_used_bytes", memory.used_bytes);
        fields.real("memory_headroom_percent", Some(memory.headroom_percent()));
    }
    fields.count("oom_kills", window.oom_kills);
    fields.real("cpu_limit_cores", cgroup.cpu.map(|cpu| cpu.cores));
    fields.real("throttled_percent", window.throttled_percent());
    fields.real("throttled_ms", window.throttled.map(|cpu| cpu.throttled_us as f64 / 1_000.0));
}

fn destination(behind: &Behind<'_>) -> Point {
    let mut fields = Fields::default();
    fields.count("behind_rows", behind.now.rows);
    fields.real("oldest_unsent_s", Some(behind.oldest.as_secs_f64()));
    fields.count("failures", behind.failures);
    fields.count("rejected", behind.rejected);
    fields.count("held", u64::from(behind.now.held.is_some()));
    let tags = vec![(DESTINATION_TAG.to_owned(), behind.now.name.to_string())];
    Point { series: DESTINATION_SERIES.to_owned(), tags, fields: fields.0 }
}
