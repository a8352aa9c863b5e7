//! How values of the model and the store become what the API shows.

use std::sync::Arc;

use roundsman_model::board;
use roundsman_model::check::{self, Timing};
use roundsman_model::key::Key;
use roundsman_model::record::{self, Point, Value};
use roundsman_model::silence::{self, Until};
use roundsman_model::state::{Change, Standing};
use roundsman_model::time::Timestamp;
use roundsman_model::units::{Size, Span, format_duration};
use roundsman_store::TransitionRow;

use crate::instant::Instant;
use crate::view::{
    Call, Check, Health, Last, Limits, Phase, PointView, Ran, Record, Silence, StoreHealth, Story, Subject, Threshold,
    Transition,
};

/// Nanoseconds as milliseconds.
fn millis(ns: u64) -> f64 {
    ns as f64 / 1e6
}

impl Subject {
    /// A line of the board as it is to be shown now; when it runs next is for the caller to add, and `ttl`.
    pub fn of(entry: &board::Entry, now: Timestamp) -> Self {
        Self {
            check: entry.key.check.as_str().into(),
            target: entry.key.target.clone(),
            plugin: entry.configured.plugin.as_str().into(),
            state: entry.state_at(now),
            since: entry.standing.since.into(),
            soft: entry.standing.soft,
            last: entry.last.as_ref().map(Last::shown),
            next_run: None,
            running: false,
            counts: entry.counts,
            enabled: entry.configured.enabled,
            labels: entry.configured.labels.clone(),
            owner: entry.configured.owner.clone(),
            runbook: entry.configured.runbook.clone(),
            note: entry.note.clone(),
            skipped: entry.skipped.as_deref().map(str::to_owned),
            silence: entry.silence.as_deref().filter(|silence| !silence.is_over(now)).map(Silence::of),
            shadow: entry.configured.shadow,
            flapping: entry.standing.flap.is_flapping(),
            suspect: entry.last.as_ref().is_some_and(|last| last.suspect),
            ttl: None,
            findings: entry.last.as_ref().map(|last| last.findings.clone()).unwrap_or_default(),
        }
    }
}

impl Silence {
    /// A silence as the API shows it.
    pub fn of(silence: &silence::Silence) -> Self {
        let (until, until_ok) = match silence.until {
            Until::Instant(until) => (Some(until.into()), false),
            Until::Recovery => (None, true),
        };
        Self {
            id: silence.id,
            check: silence.check.clone(),
            target: silence.target.clone(),
            author: silence.author.clone(),
            reason: silence.reason.clone(),
            created: silence.created.into(),
            until,
            until_ok,
        }
    }
}

impl Last {
    /// What is shown of a record.
    pub fn of(record: &record::Record) -> Self {
        Self {
            time: record.time.into(),
            status: record.status,
            blame: record.blame,
            code: record.code.clone(),
            summary: record.summary.clone(),
            latency_ms: record.latency_ns.map(millis),
            duration_ms: millis(record.duration_ns),
            lag_ms: millis(record.lag_ns),
            attempt: record.attempt,
        }
    }

    /// What a shown record said.
    pub(crate) fn shown_of(record: &Record) -> Self {
        Self {
            time: record.time,
            status: record.status,
            blame: record.blame,
            code: record.code.clone(),
            summary: record.summary.clone(),
            latency_ms: record.latency_ms,
            duration_ms: record.duration_ms,
            lag_ms: record.lag_ms,
            attempt: record.attempt,
        }
    }

    fn shown(last: &board::Last) -> Self {
        Self {
            time: last.time.into(),
            status: last.status,
            blame: last.blame,
            code: last.code.clone(),
            summary: last.summary.clone(),
            latency_ms: last.latency_ns.map(millis),
            duration_ms: millis(last.duration_ns),
            lag_ms: millis(last.lag_ns),
            attempt: last.attempt,
        }
    }
}

impl Ran {
    /// The event of a record.
    pub fn of(record: &record::Record) -> Self {
        Self {
            check: record.key.check.as_str().into(),
            target: record.key.target.clone(),
            state: record.standing.state,
            last: Last::of(record),
        }
    }
}

impl Record {
    /// A record as the API shows it.
    pub fn of(record: &record::Record, id: Option<i64>) -> Self {
        let Standing { state, since, soft, .. } = record.standing;
        Self {
            id,
            check: record.key.check.as_str().into(),
            target: record.key.target.clone(),
            plugin: record.plugin.as_str().into(),
            origin: record.origin,
            time: record.time.into(),
            started: record.started.into(),
            status: record.status,
            blame: record.blame,
            code: record.code.clone(),
            summary: record.summary.clone(),
            state,
            since: since.into(),
            soft,
            attempt: record.attempt,
            latency_ms: record.latency_ns.map(millis),
            duration_ms: millis(record.duration_ns),
            lag_ms: millis(record.lag_ns),
            cpu_ms: millis(record.cpu_ns),
            interval_s: record.interval_ns as f64 / 1e9,
            points: record.points.iter().map(PointView::of).collect(),
            findings: record.findings.clone(),
            suspect: record.suspect,
            story: None,
        }
    }
}

impl Story {
    /// What explains a run, as the API shows it.
    pub fn of(story: &record::Story) -> Self {
        let phase = |(phase, ns): &(String, u64)| Phase { phase: phase.clone(), duration_ms: millis(*ns) };
        let call = |call: &record::Call| Call {
            what: call.what.clone(),
            result: call.result.clone(),
            duration_ms: millis(call.duration_ns),
            phases: call.phases.iter().map(phase).collect(),
        };
        Self { log: story.log.clone(), calls: story.calls.iter().map(call).collect() }
    }
}

impl PointView {
    /// A point as the API shows it.
    pub fn of(point: &Point) -> Self {
        let value = |value: &Value| match value {
            Value::Real(real) => (*real).into(),
            Value::Integer(integer) => (*integer).into(),
            Value::Boolean(boolean) => (*boolean).into(),
            Value::Text(text) => text.as_str().into(),
        };
        Self {
            series: point.series.clone(),
            tags: point.tags.iter().cloned().collect(),
            fields: point.fields.iter().map(|(name, field)| (name.clone(), value(field))).collect(),
        }
    }
}

impl Transition {
    /// A change as the API shows it.
    pub fn of(key: &Key, change: Change, summary: Arc<str>, id: Option<i64>) -> Self {
        Self {
            id,
            check: key.check.as_str().into(),
            target: key.target.clone(),
            from: change.from,
            to: change.to,
            since: change.since.into(),
            at: change.at.into(),
            summary,
            finding: None,
            quiet: change.quiet,
        }
    }

    /// A row of the history.
    pub fn of_row(row: &TransitionRow) -> Self {
        let finding = row.finding.clone();
        Self { finding, ..Self::of(&row.key, row.change, row.summary.clone(), Some(row.id)) }
    }
}

impl StoreHealth {
    /// What the store says of itself. Degraded at worst: its end ends the agent.
    pub fn of(store: &roundsman_store::Health, max_bytes: u64) -> Self {
        Self {
            health: if store.degraded.is_some() { Health::Degraded } else { Health::Ok },
            detail: store.degraded.clone().unwrap_or_default(),
            records: store.records,
            transitions: store.transitions,
            bytes: store.bytes,
            max_bytes,
            oldest: store.oldest.map(Instant),
            queued: store.queued as u64,
            held: store.held as u64,
            lost: store.lost,
            overrun: store.overrun,
            refused: store.refused,
            dropped_unsent: store.dropped_unsent,
            unreadable: store.unreadable,
        }
    }
}

impl Check {
    /// A check as it was configured; where it is written and what is wrong with it is for the caller to add.
    pub fn of(check: &check::Check) -> Self {
        let schedule = match &check.timing {
            Timing::Interval(interval) => format!("every {}", format_duration(*interval)),
            Timing::Cron { expression, timezone } => format!("cron {expression} ({timezone})"),
            Timing::Ttl(ttl) => format!("pushed within {}", format_duration(*ttl)),
            Timing::Start => "once at the start".to_owned(),
        };
        let ttl = if let Timing::Ttl(ttl) = check.timing { Some(Span(ttl)) } else { None };
        let maintenance =
            |m: &check::Maintenance| format!("{} ({}) for {}", m.cron, m.timezone, format_duration(m.length));
        let threshold = |t: &roundsman_model::threshold::Threshold| Threshold {
            field: format!("{}.{}", t.series, t.field),
            warning: t.warning.as_ref().map(ToString::to_string),
            critical: t.critical.as_ref().map(ToString::to_string),
        };
        let check::Limits { memory, cpu, points, output } = check.limits;
        Self {
            name: check.name.as_str().into(),
            plugin: check.plugin.as_str().into(),
            schedule,
            timeout: Span(check.timeout),
            initial_delay: Span(check.initial_delay),
            retry_interval: check.retry_interval.map(Span),
            success_threshold: check.success_threshold,
            failure_threshold: check.failure_threshold,
            ttl,
            depends_on: check.depends_on.iter().map(ToString::to_string).collect(),
            maintenance: check.maintenance.iter().map(maintenance).collect(),
            thresholds: check.thresholds.iter().map(threshold).collect(),
            negate: check.negate,
            shadow: check.shadow,
            targets: check.targets.clone(),
            settings: check.settings.clone(),
            allow: check.allow.clone(),
            limits: Limits { memory: Size(memory), cpu: Span(cpu), points, output: Size(output) },
            labels: check.labels.clone(),
            owner: check.owner.clone(),
            runbook: check.runbook.clone(),
            enabled: check.enabled,
            file: None,
            outdated: false,
            problem: None,
        }
    }
}
