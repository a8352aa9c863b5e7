//! What the API shows, as JSON: names in snake case, times as RFC 3339 text with nine digits, durations in
//! milliseconds (`_ms`) or seconds (`_s`) as numbers, absent values left out.

use std::collections::BTreeMap;
use std::sync::Arc;

use roundsman_model::counts::Counts;
use roundsman_model::grants::Allow;
use roundsman_model::record::{Blame, Finding, LogLine, Status};
use roundsman_model::state::{Quiet, Soft, State};
use roundsman_model::target::Target;
use roundsman_model::units::{Size, Span};
use serde::{Deserialize, Serialize};

use crate::instant::Instant;

mod plugins;

pub use plugins::{Origin, Plugin, PluginState, Supervised, Supervision, Trust};

/// One line of the board: the present state of a (check, target).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Subject {
    pub check: Arc<str>,
    /// Absent: the node itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<Arc<str>>,
    pub plugin: Arc<str>,
    pub state: State,
    pub since: Instant,
    /// A change that is not confirmed yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub soft: Option<Soft>,
    /// The last record; absent before the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<Last>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_run: Option<Instant>,
    #[serde(default)]
    pub running: bool,
    /// What became of every tick.
    pub counts: Counts,
    pub enabled: bool,
    pub labels: Arc<BTreeMap<String, String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<Arc<str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runbook: Option<Arc<str>>,
    /// What an operator should know beside the state: the plugin is compiling, the configuration is outdated …
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// Why it is not run on purpose.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub skipped: Option<String>,
    /// The silence that covers it: somebody knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub silence: Option<Silence>,
    /// It alarms nobody, by configuration.
    #[serde(default)]
    pub shadow: bool,
    /// It changes too often.
    #[serde(default)]
    pub flapping: bool,
    /// This node's own way out was down when it was last looked at.
    #[serde(default)]
    pub suspect: bool,
    /// Results are pushed; it is critical when none came for so long.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl: Option<Span>,
    /// Of all that the last run looked at, what was not ok: the worst first, and no more than 100.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub findings: Vec<Finding>,
}

impl Subject {
    /// The target's name, empty for the node itself.
    pub fn target_or_empty(&self) -> &str {
        self.target.as_deref().unwrap_or("")
    }

    /// Whether its state alarms nobody: somebody knows, or nobody is to be told.
    pub fn is_quiet(&self) -> bool {
        self.shadow || self.silence.is_some()
    }
}

/// The state that needs somebody most, of those that are not quiet. None: there is none.
pub fn worst<'a>(subjects: impl IntoIterator<Item = &'a Subject>) -> Option<State> {
    let loud = subjects.into_iter().filter(|subject| !subject.is_quiet());
    loud.map(|subject| subject.state).max_by_key(|state| state.severity())
}

/// What operators know already and do not want to be alarmed by.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Silence {
    pub id: u64,
    /// Absent: all checks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub check: Option<Arc<str>>,
    /// Absent: all targets. Empty: the node itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<Arc<str>>,
    pub author: Arc<str>,
    pub reason: Arc<str>,
    pub created: Instant,
    /// Absent: it ends with the problem.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Instant>,
    /// An acknowledgement: it ends when what it covers is ok again.
    pub until_ok: bool,
}

/// What the last record of a (check, target) said.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Last {
    pub time: Instant,
    pub status: Status,
    pub blame: Blame,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<Arc<str>>,
    pub summary: Arc<str>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency_ms: Option<f64>,
    pub duration_ms: f64,
    pub lag_ms: f64,
    pub attempt: u32,
}

impl Silence {
    /// Whether it covers anything of a check and a target; None: of any.
    pub fn is_about(&self, check: Option<&str>, target: Option<&str>) -> bool {
        let meets = |own: &Option<Arc<str>>, asked: Option<&str>| match (own, asked) {
            (Some(own), Some(asked)) => **own == *asked,
            _ => true,
        };
        meets(&self.check, check) && meets(&self.target, target)
    }
}

/// A configured check.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Check {
    pub name: Arc<str>,
    pub plugin: Arc<str>,
    /// `every 10s`, the cron expression with its time zone, `pushed within 5m`.
    pub schedule: String,
    pub timeout: Span,
    pub initial_delay: Span,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_interval: Option<Span>,
    pub success_threshold: u32,
    pub failure_threshold: u32,
    /// Results are pushed; it is critical when none came for so long.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl: Option<Span>,
    /// Empty: the node itself.
    pub targets: Vec<Target>,
    /// Not run while one of these is critical.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub depends_on: Vec<String>,
    /// When it is not run: `0 2 * * sun (UTC) for 2h`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub maintenance: Vec<String>,
    /// Bounds on what is measured.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub thresholds: Vec<Threshold>,
    /// Critical when the plugin says that all is well.
    #[serde(default)]
    pub negate: bool,
    /// Runs and is recorded, but alarms nobody.
    #[serde(default)]
    pub shadow: bool,
    pub settings: serde_json::Map<String, serde_json::Value>,
    pub allow: Allow,
    pub limits: Limits,
    pub labels: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runbook: Option<String>,
    pub enabled: bool,
    /// Where it is written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// The file has an error by now; this is the last version that had none.
    #[serde(default)]
    pub outdated: bool,
    /// Why it does not run, or what is wrong with its file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// Bounds on one measured value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Threshold {
    /// `http.total_ms`
    pub field: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warning: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub critical: Option<String>,
}

/// The most that one run may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    pub memory: Size,
    pub cpu: Span,
    pub points: u32,
    pub output: Size,
}

/// Who this agent is and how it fares.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct About {
    pub node: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
    pub version: String,
    /// The unix socket on which whoever may open it may do everything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub socket: Option<String>,
    /// The agent's own clock when it answered.
    pub now: Instant,
    pub started: Instant,
    /// Whether it does its work; false once it is stopping.
    pub ready: bool,
    pub components: Vec<Component>,
    pub store: StoreHealth,
    pub destinations: Vec<Destination>,
    /// What is wrong with the configuration as a whole, in words; the last good one goes on.
    pub problems: Vec<String>,
}

/// A part of the agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Component {
    pub name: String,
    pub health: Health,
    /// What it is doing or what is wrong, in words.
    pub detail: String,
}

/// How a part fares. Only `failed` makes the agent unready.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Health {
    Ok,
    /// Works with less than it should.
    Degraded,
    Failed,
}

/// The embedded history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoreHealth {
    pub health: Health,
    /// What is wrong, in words; empty when nothing is.
    pub detail: String,
    pub records: u64,
    pub transitions: u64,
    pub bytes: u64,
    pub max_bytes: u64,
    /// How far the history goes back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oldest: Option<Instant>,
    /// Entries that wait for the writer.
    pub queued: u64,
    /// Entries in memory that wait for the disk.
    pub held: u64,
    /// Records that were shown, and dropped because the disk did not take them in time.
    pub lost: u64,
    /// Entries refused because the queue was full.
    pub overrun: u64,
    /// Records refused because they were not later than the one before them.
    pub refused: u64,
    /// Records deleted before every destination had them.
    pub dropped_unsent: u64,
    /// Rows that are garbled.
    pub unreadable: u64,
}

/// Where records are streamed to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Destination {
    pub name: String,
    /// Without credentials.
    pub url: String,
    /// `v1`, `v2`.
    pub api: String,
    pub health: Health,
    pub detail: String,
    /// Records that are stored and not acknowledged yet.
    pub backlog: u64,
    pub points_written: u64,
    pub bytes_written: u64,
    /// Points that the server will never take.
    pub points_rejected: u64,
    pub requests: u64,
    pub requests_failed: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_success: Option<Instant>,
}

/// The outcome of one run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Its row in the store; what `before` counts by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<i64>,
    pub check: Arc<str>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<Arc<str>>,
    pub plugin: Arc<str>,
    pub origin: roundsman_model::record::Origin,
    /// The scheduled instant, or the start of a run off the schedule.
    pub time: Instant,
    pub started: Instant,
    pub status: Status,
    pub blame: Blame,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<Arc<str>>,
    pub summary: Arc<str>,
    /// The state after this record.
    pub state: State,
    pub since: Instant,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub soft: Option<Soft>,
    pub attempt: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency_ms: Option<f64>,
    pub duration_ms: f64,
    pub lag_ms: f64,
    pub cpu_ms: f64,
    pub interval_s: f64,
    pub points: Vec<PointView>,
    pub findings: Vec<Finding>,
    /// This node's own way out was down: whatever failed over the network says little of its target.
    #[serde(default)]
    pub suspect: bool,
    /// What explains a failing run; kept for the last ones of each (check, target), and told where it is asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub story: Option<Story>,
}

/// What a failing run logged and which calls it made.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Story {
    pub log: Vec<LogLine>,
    pub calls: Vec<Call>,
}

/// One call of a run to the world outside.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Call {
    /// `GET https://shop.example/healthz`, `connect 10.0.0.7:5432`.
    pub what: String,
    /// `200`, `timeout while connecting`.
    pub result: String,
    pub duration_ms: f64,
    /// In their order. The last one is where the call ended.
    pub phases: Vec<Phase>,
}

/// A part of a call.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Phase {
    /// `resolve`, `connect`, `tls`, `first-byte`, `transfer`.
    pub phase: String,
    pub duration_ms: f64,
}

/// A measured point.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PointView {
    pub series: String,
    pub tags: BTreeMap<String, String>,
    /// Numbers, booleans and text as such. Integers beyond 2^53 are exact here, if not in every reader.
    pub fields: serde_json::Map<String, serde_json::Value>,
}

/// A hard change of state.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Transition {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<i64>,
    pub check: Arc<str>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<Arc<str>>,
    pub from: State,
    pub to: State,
    /// When `from` had begun.
    pub since: Instant,
    pub at: Instant,
    pub summary: Arc<str>,
    /// The change is of this one of the things that the check looks at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finding: Option<Arc<str>>,
    /// Why nobody is to be alarmed by it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quiet: Option<Quiet>,
}

/// Something that was just published. In the stream, `event` is the kind and `data` the rest.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "lowercase")]
pub enum Event {
    Record(Ran),
    Transition(Transition),
    /// A plugin came, went or changed its state.
    Plugin {
        name: Arc<str>,
        state: PluginState,
    },
    /// The set of checks changed, or a file of checks was refused.
    Checks {
        problem: Option<Arc<str>>,
    },
}

/// A record without its measurements: small enough to be sent to everybody who listens.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Ran {
    pub check: Arc<str>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<Arc<str>>,
    pub state: State,
    #[serde(flatten)]
    pub last: Last,
}
