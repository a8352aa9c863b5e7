//! What a run is given, and what it comes back with.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use roundsman_model::check::Limits;
use roundsman_model::key::Key;
use roundsman_model::record::{Blame, Finding, Point, Status, Story};
use roundsman_model::target::Target;
use roundsman_model::time::Timestamp;
use roundsman_probe::grants::Grants;

/// The part of a run that stays the same from run to run of a (check, target).
#[derive(Debug)]
pub struct Assignment {
    pub key: Key,
    /// JSON, with every `${…}` filled in.
    pub settings: String,
    pub target: Option<Target>,
    pub node: Arc<Node>,
    pub grants: Arc<Grants>,
    pub limits: Limits,
}

/// What a plugin may know of the node that it runs on.
#[derive(Debug, Default)]
pub struct Node {
    pub name: String,
    pub labels: BTreeMap<String, String>,
}

/// What a plugin wrote through `state`, per check and target.
pub type Memory = BTreeMap<String, Vec<u8>>;

/// One run to be carried out.
#[derive(Debug)]
pub struct Job {
    pub assignment: Arc<Assignment>,
    pub scheduled: Timestamp,
    pub attempt: u32,
    pub previous: Option<Status>,
    pub memory: Arc<Memory>,
    /// The run is cut this long after it began.
    pub timeout: Duration,
}

/// What became of a run. There is no error beside it: whatever happens is a status with a blame.
#[derive(Debug)]
pub struct Report {
    pub status: Status,
    pub blame: Blame,
    pub code: Option<Arc<str>>,
    /// The plugin had no say in how it ended: code and summary are the host's own.
    pub cut: bool,
    pub summary: String,
    pub latency: Option<Duration>,
    pub points: Vec<Point>,
    pub findings: Vec<Finding>,
    /// What it logged, printed and called: what explains a failure.
    pub story: Story,
    /// None as value: deleted. Empty unless the run ended in an outcome.
    pub memory_changes: Vec<(String, Option<Vec<u8>>)>,
    /// When the first guest instruction was about to run; none if it never came to that.
    pub began: Option<Instant>,
    pub ended: Instant,
    pub cpu: Duration,
    /// Linear memory at the end, which is also the peak.
    pub memory_bytes: u64,
}
