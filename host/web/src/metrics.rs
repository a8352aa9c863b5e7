//! Which numbers `/metrics` shows, and under which names.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::header;
use roundsman_model::state::State as Standing;

use crate::exposition::{CONTENT_TYPE, Exposition};
use crate::routes::Shared;
use crate::sample::{Kind, Sample};
use crate::view::{About, Destination, Health, StoreHealth, Subject};

/// The whole page, made from snapshots.
pub(crate) async fn page(State(shared): State<Arc<Shared>>) -> Response {
    let mut to = Exposition::default();
    about(&mut to, &shared.agent.about());
    let sample = shared.agent.sample();
    runs(&mut to, &sample);
    board(&mut to, &shared.agent.board());
    process(&mut to, &sample);
    for family in &sample.more {
        let mut values = to.family(family.kind, family.name, family.help);
        for (labels, value) in &family.values {
            let labels: Vec<(&str, &str)> = labels.iter().map(|(name, value)| (*name, value.as_str())).collect();
            values.value(&labels, *value);
        }
    }
    own(&mut to, &shared);
    ([(header::CONTENT_TYPE, CONTENT_TYPE)], to.finish()).into_response()
}

fn about(to: &mut Exposition, about: &About) {
    let cluster = about.cluster.as_deref().unwrap_or("");
    let zone = about.zone.as_deref().unwrap_or("");
    let facts = [("version", about.version.as_str()), ("node", &about.node), ("cluster", cluster), ("zone", zone)];
    to.info("roundsman_build", "Which agent this is.", &facts);
    to.gauge("roundsman_ready", "Whether the agent is ready.", f64::from(u8::from(about.ready)));
    let mut parts = to.family(Kind::Gauge, "roundsman_component_health", "0 ok, 1 degraded, 2 failed.");
    for part in &about.components {
        parts.value(&[("component", &part.name)], health(part.health));
    }
    store(to, &about.store);
    destinations(to, &about.destinations);
}

fn health(health: Health) -> f64 {
    match health {
        Health::Ok => 0.0,
        Health::Degraded => 1.0,
        Health::Failed => 2.0,
    }
}

fn store(to: &mut Exposition, store: &StoreHealth) {
    to.gauge("roundsman_store_health", "0 ok, 1 degraded, 2 failed.", health(store.health));
    to.gauge("roundsman_store_records", "Records in the store.", store.records as f64);
    to.gauge("roundsman_store_transitions", "Transitions in the store.", store.transitions as f64);
    to.gauge("roundsman_store_bytes", "Bytes on disk.", store.bytes as f64);
    to.gauge("roundsman_store_limit_bytes", "Bytes that the store may take.", store.max_bytes as f64);
    to.gauge("roundsman_store_queued", "Entries that wait for the writer.", store.queued as f64);
    to.gauge("roundsman_store_held", "Entries in memory that wait for the disk.", store.held as f64);
    let oldest = store.oldest.map_or(f64::NAN, crate::instant::Instant::as_seconds);
    to.gauge("roundsman_store_oldest_timestamp_seconds", "How far the history goes back.", oldest);
    for (name, help, count) in [
        ("roundsman_store_lost", "Records dropped because the disk did not take them in time.", store.lost),
        ("roundsman_store_overrun", "Entries refused because the queue was full.", store.overrun),
        ("roundsman_store_refused", "Records not later than the one before them.", store.refused),
        ("roundsman_store_unreadable", "Rows that are garbled.", store.unreadable),
        ("roundsman_store_dropped_unsent", "Records deleted before every destination had them.", store.dropped_unsent),
    ] {
        to.counter(name, help, count as f64);
    }
}

fn destinations(to: &mut Exposition, destinations: &[Destination]) {
    let mut family = |kind, name, help, value: fn(&Destination) -> Option<f64>| {
        let mut values = to.family(kind, name, help);
        for destination in destinations {
            if let Some(value) = value(destination) {
                values.value(&[("destination", &destination.name)], value);
            }
        }
    };
    family(Kind::Gauge, "roundsman_destination_health", "0 ok, 1 degraded, 2 failed.", |d| Some(health(d.health)));
    let help = "Records that are stored and not acknowledged yet.";
    family(Kind::Gauge, "roundsman_destination_backlog", help, |d| Some(d.backlog as f64));
    let help = "When a write was last acknowledged.";
    let last = |d: &Destination| d.last_success.map(crate::instant::Instant::as_seconds);
    family(Kind::Gauge, "roundsman_destination_last_success_timestamp_seconds", help, last);
    let help = "Points acknowledged.";
    family(Kind::Counter, "roundsman_destination_points_written", help, |d| Some(d.points_written as f64));
    let help = "Bytes of line protocol acknowledged.";
    family(Kind::Counter, "roundsman_destination_bytes_written", help, |d| Some(d.bytes_written as f64));
    let help = "Points that the server will never take.";
    family(Kind::Counter, "roundsman_destination_points_rejected", help, |d| Some(d.points_rejected as f64));
    family(Kind::Counter, "roundsman_destination_requests", "Requests sent.", |d| Some(d.requests as f64));
    let help = "Requests that failed.";
    family(Kind::Counter, "roundsman_destination_requests_failed", help, |d| Some(d.requests_failed as f64));
}

fn runs(to: &mut Exposition, sample: &Sample) {
    let help = "From the scheduled instant to the first guest instruction.";
    to.histogram("roundsman_lag_seconds", help, &sample.lag);
    to.histogram("roundsman_queue_seconds", "Waiting for a free slot.", &sample.queue);
    to.histogram("roundsman_run_seconds", "From the first guest instruction to the end of the run.", &sample.run);
    to.gauge("roundsman_runs_in_flight", "Runs at this moment.", sample.runs_in_flight as f64);
    to.gauge("roundsman_runs_limit", "Runs that may be in flight at once.", sample.runs_limit as f64);
    let help = "Memory that runs in flight hold together.";
    to.gauge("roundsman_guest_memory_bytes", help, sample.guest_memory_bytes as f64);
    let help = "Memory that runs may hold together.";
    to.gauge("roundsman_guest_memory_limit_bytes", help, sample.guest_memory_limit_bytes as f64);
    let mut refusals = to.family(Kind::Counter, "roundsman_refusals", "What grants refused to plugins, by kind.");
    for (kind, count) in &sample.refusals {
        refusals.value(&[("kind", kind)], *count as f64);
    }
    let help = "Runs that said nothing of their target, by code.";
    let mut faults = to.family(Kind::Counter, "roundsman_faults", help);
    for fault in &sample.faults {
        faults.value(&[("plugin", &fault.plugin), ("code", &fault.code)], fault.count as f64);
    }
}

fn board(to: &mut Exposition, board: &[Subject]) {
    let mut states = to.family(Kind::Gauge, "roundsman_states", "How many (check, target) are in each state.");
    for state in Standing::ALL {
        let count = board.iter().filter(|subject| subject.state == state).count();
        states.value(&[("state", state.as_str())], count as f64);
    }
    let mut family = |kind, name, help, value: fn(&Subject) -> Option<f64>| {
        let mut values = to.family(kind, name, help);
        for subject in board {
            if let Some(value) = value(subject) {
                values.value(&labels(subject), value);
            }
        }
    };
    let help = "0 ok, 1 warning, 2 critical, 3 unknown, 4 pending, 5 skipped, 6 stale.";
    family(Kind::Gauge, "roundsman_state", help, |s| Some(f64::from(s.state.number())));
    let help = "When the state began.";
    family(Kind::Gauge, "roundsman_state_since_timestamp_seconds", help, |s| Some(s.since.as_seconds()));
    let help = "The time of the last record.";
    let last = |s: &Subject| s.last.as_ref().map(|last| last.time.as_seconds());
    family(Kind::Gauge, "roundsman_last_record_timestamp_seconds", help, last);
    let help = "What the target took in the last record, as its plugin measured it.";
    let latency = |s: &Subject| s.last.as_ref()?.latency_ms.map(|ms| ms / 1_000.0);
    family(Kind::Gauge, "roundsman_latency_seconds", help, latency);
}

fn labels(subject: &Subject) -> [(&str, &str); 3] {
    [("check", &subject.check), ("target", subject.target.as_deref().unwrap_or("")), ("plugin", &subject.plugin)]
}

/// Names that every exporter uses for these.
fn process(to: &mut Exposition, sample: &Sample) {
    let process = &sample.process;
    to.counter("process_cpu_seconds", "Processor time of this process.", process.cpu_seconds);
    to.gauge("process_resident_memory_bytes", "Memory of this process in RAM.", process.resident_bytes as f64);
    let help = "Memory of this process in RAM that no file stands behind.";
    to.gauge("process_anonymous_memory_bytes", help, process.anonymous_bytes as f64);
    to.gauge("process_open_fds", "Open file descriptors.", process.open_files as f64);
    if process.max_open_files > 0 {
        to.gauge("process_max_fds", "File descriptors that may be open.", process.max_open_files as f64);
    }
    to.gauge("process_threads", "Threads.", process.threads as f64);
    to.gauge("process_start_time_seconds", "When this process began.", process.start_time_s);
}

fn own(to: &mut Exposition, shared: &Shared) {
    let counters = &shared.counters;
    let read = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed) as f64;
    to.gauge("roundsman_http_connections", "Connections at this moment.", read(&counters.connections));
    let help = "Connections closed at once because there were too many.";
    to.counter("roundsman_http_connections_refused", help, read(&counters.connections_refused));
    let help = "Requests refused for want of authority, a foreign host or origin, or their size.";
    to.counter("roundsman_http_requests_refused", help, read(&counters.requests_refused));
    let listening = crate::events::MAX_STREAMS - shared.streams.available_permits();
    to.gauge("roundsman_http_event_streams", "Listeners of events at this moment.", listening as f64);
    let help = "Listeners dropped because they read too slowly.";
    to.counter("roundsman_http_event_streams_dropped", help, read(&counters.streams_dropped));
    let callers = shared.callers.count(Instant::now());
    to.gauge("roundsman_incoming_checks", "Neighbours that asked for /alwayshappy in the last minute.", callers as f64);
}
