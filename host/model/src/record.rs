//! The outcome of one run of one check on one target.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::key::Key;
use crate::name::PluginName;
use crate::state::Standing;
use crate::time::Timestamp;

/// What a run says of its target. The numbers are those of Nagios plugins and of the field `status`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    Ok = 0,
    Warning = 1,
    Critical = 2,
    Unknown = 3,
}

/// Who answers for the status of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Blame {
    /// The run could be carried out: the status is the target's.
    Target,
    /// The plugin trapped, ran out of its limits or reported a fault: nothing is known of the target.
    Plugin,
    /// The agent or what the operator granted: nothing is known of the target.
    Host,
}

/// Why a run began. The numbers are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Origin {
    /// A tick of the schedule: stamped with the scheduled instant.
    Schedule = 0,
    /// A change of state is being confirmed: off the grid, stamped with its start.
    Retry = 1,
    /// Somebody asked for it: off the grid, stamped with its start.
    RunNow = 2,
}

/// The value of a field of a point.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Value {
    /// Always finite.
    Real(f64),
    Integer(i64),
    Boolean(bool),
    Text(String),
}

/// One measured point of a plugin's series. Host tags and time are added when it is encoded.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Point {
    pub series: String,
    /// Sorted by key.
    pub tags: Vec<(String, String)>,
    pub fields: Vec<(String, Value)>,
}

/// The state of one of the many things that a check looks at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    pub subject: String,
    pub status: Status,
    pub summary: String,
}

/// The outcome of one run.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    pub key: Key,
    pub plugin: PluginName,
    pub origin: Origin,
    /// The identity of the record in its series: the scheduled instant, or the start when it was off the grid.
    pub time: Timestamp,
    pub started: Timestamp,
    pub status: Status,
    pub blame: Blame,
    /// Why it is not plainly ok: `timeout`, `denied`, `trap`, `cpu`, `memory` … or a word of the plugin's own.
    pub code: Option<Arc<str>>,
    pub summary: Arc<str>,
    /// Where (check, target) stands after this record.
    pub standing: Standing,
    /// 1 for a run on schedule; counts up while a change of state is being confirmed.
    pub attempt: u32,
    /// What the plugin says the target took.
    pub latency_ns: Option<u64>,
    /// From the first guest instruction to the end, as the host measured it.
    pub duration_ns: u64,
    /// From the scheduled instant to the first guest instruction.
    pub lag_ns: u64,
    /// Processor time inside the guest.
    pub cpu_ns: u64,
    /// Distance to the previous tick; for schedules without a fixed interval it varies.
    pub interval_ns: u64,
    pub points: Vec<Point>,
    pub findings: Vec<Finding>,
}

impl Status {
    /// From the stored number.
    pub fn from_number(number: i64) -> Option<Self> {
        [Self::Ok, Self::Warning, Self::Critical, Self::Unknown].into_iter().find(|s| *s as i64 == number)
    }

    /// The word of the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Critical => "critical",
            Self::Unknown => "unknown",
        }
    }
}

impl Blame {
    /// The word of the API and of the field `blame`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Target => "target",
            Self::Plugin => "plugin",
            Self::Host => "host",
        }
    }
}
