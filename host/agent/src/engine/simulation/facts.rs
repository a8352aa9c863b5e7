//! What a run, or somebody who pushes, found out.

use std::sync::Arc;

use roundsman_model::record::{Blame, Finding, Point, Status, Story, Value};
use roundsman_model::time::Timestamp;

use crate::outcome::Outcome;

/// The series and the field that thresholds look at, in that order.
pub(super) const MEASURED: (&str, &str) = ("load", "value");

#[derive(Debug, Clone)]
pub(super) struct Facts {
    pub(super) status: Status,
    pub(super) blame: Blame,
    pub(super) code: Option<&'static str>,
    pub(super) cut: bool,
    pub(super) started: Timestamp,
    pub(super) ended: Timestamp,
    pub(super) value: Option<i64>,
    pub(super) findings: Vec<Finding>,
    pub(super) memory: Vec<(String, Option<Vec<u8>>)>,
}

impl Facts {
    /// Without anything but a status.
    pub(super) fn bare(status: Status, blame: Blame, code: Option<&'static str>, at: Timestamp) -> Self {
        let (findings, memory) = (Vec::new(), Vec::new());
        Self { status, blame, code, cut: false, started: at, ended: at, value: None, findings, memory }
    }

    pub(super) fn points(&self) -> Vec<Point> {
        let (series, field) = MEASURED;
        let point = |value: i64| {
            let fields = vec![(field.to_owned(), Value::Integer(value))];
            Point { series: series.to_owned(), tags: Vec::new(), fields }
        };
        self.value.map(point).into_iter().collect()
    }

    pub(super) fn outcome(&self) -> Outcome {
        Outcome {
            status: self.status,
            blame: self.blame,
            code: self.code.map(Arc::from),
            cut: self.cut,
            summary: "as thrown".into(),
            started: self.started,
            ended: self.ended,
            latency_ns: None,
            duration_ns: self.ended.since(self.started).as_nanos() as u64,
            lag_ns: 0,
            cpu_ns: 0,
            points: self.points(),
            findings: self.findings.clone(),
            memory: self.memory.clone(),
            story: Story::default(),
        }
    }
}
