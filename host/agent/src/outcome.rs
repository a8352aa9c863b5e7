//! From what the sandbox reports to what a record says.

use std::sync::Arc;
use std::time::Instant;

use roundsman_model::record::{Blame, Finding, Point, Status, Story};
use roundsman_model::supervision::Verdict;
use roundsman_model::time::Timestamp;
use roundsman_plugin::job::Report;

use crate::clock::Clock;

/// The part of a record that a run decides.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) status: Status,
    pub(crate) blame: Blame,
    pub(crate) code: Option<Arc<str>>,
    /// The plugin had no say in how it ended.
    pub(crate) cut: bool,
    pub(crate) summary: Arc<str>,
    pub(crate) started: Timestamp,
    pub(crate) ended: Timestamp,
    pub(crate) latency_ns: Option<u64>,
    pub(crate) duration_ns: u64,
    pub(crate) lag_ns: u64,
    pub(crate) cpu_ns: u64,
    pub(crate) points: Vec<Point>,
    pub(crate) findings: Vec<Finding>,
    pub(crate) memory: Vec<(String, Option<Vec<u8>>)>,
    pub(crate) story: Story,
}

/// What a run that took place comes to.
///
/// `due` is no wall time: a clock that was set since is nobody's lag.
pub(crate) fn of_report(report: Report, clock: &Clock, due: Instant) -> Outcome {
    // A run that did not get as far as its first instruction began when it ended.
    let began = report.began.unwrap_or(report.ended);
    Outcome {
        status: report.status,
        blame: report.blame,
        code: report.code,
        cut: report.cut,
        summary: report.summary.into(),
        started: clock.at(began),
        ended: clock.at(report.ended),
        latency_ns: report.latency.map(nanos),
        duration_ns: nanos(report.ended.duration_since(began)),
        lag_ns: nanos(began.saturating_duration_since(due)),
        cpu_ns: nanos(report.cpu),
        points: report.points,
        findings: report.findings,
        memory: report.memory_changes,
        story: report.story,
    }
}

impl Outcome {
    /// The plugin cannot be used: nothing is known of the target, and the history says why.
    pub(crate) fn without_plugin(why: Arc<str>, blame: Blame, now: Timestamp) -> Self {
        Self::unknown(blame, "plugin", why, now)
    }

    /// The check asks for more than its plugin may be granted, which no run gets.
    pub(crate) fn barred(why: Arc<str>, now: Timestamp) -> Self {
        Self::unknown(Blame::Host, roundsman_probe::failure::code::DENIED, why, now)
    }

    /// The task of the run panicked: a defect of ours.
    pub(crate) fn died(now: Timestamp) -> Self {
        Self::unknown(Blame::Host, "internal", "the run ended without a word; the log says more".into(), now)
    }

    /// What was not found out by a run of ours.
    pub(crate) fn told(status: Status, summary: Arc<str>, now: Timestamp) -> Self {
        Self { status, code: None, ..Self::unknown(Blame::Target, "", summary, now) }
    }

    /// What it says of the plugin.
    pub(crate) fn verdict(&self) -> Verdict {
        Verdict::of(self.blame, self.cut, self.code.as_deref())
    }

    fn unknown(blame: Blame, code: &str, summary: Arc<str>, now: Timestamp) -> Self {
        Self {
            status: Status::Unknown,
            blame,
            code: Some(code.into()),
            cut: false,
            summary,
            started: now,
            ended: now,
            latency_ns: None,
            duration_ns: 0,
            lag_ns: 0,
            cpu_ns: 0,
            points: Vec::new(),
            findings: Vec::new(),
            memory: Vec::new(),
            story: Story::default(),
        }
    }
}

fn nanos(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
