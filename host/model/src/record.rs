//! The outcome of one run of one check on one target.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::key::Key;
use crate::name::PluginName;
use crate::state::{Standing, State};
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

/// Why a run began. The order is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Origin {
    /// A tick of the schedule: stamped with the scheduled instant.
    Schedule = 0,
    /// A change of state is being confirmed: off the grid, stamped with its start.
    Retry = 1,
    /// Somebody asked for it: off the grid, stamped with its start.
    RunNow = 2,
    /// Ticks were missed while nobody was there: off the grid, stamped with its start.
    CatchUp = 3,
    /// Somebody else found it out and told us: stamped with the instant at which it came.
    Pushed = 4,
    /// Nobody told us anything for longer than `ttl`: stamped with the instant at which that was so.
    Expired = 5,
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
    /// This node's own way out was down: whatever failed over the network says little of its target.
    pub suspect: bool,
}

/// A line that a run logged or printed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLine {
    pub level: Level,
    pub text: String,
}

/// How much a line matters to its author.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    Trace,
    Debug,
    Info,
    Warn,
    Error,
}

/// One call of a run to the host that took its time: what failed, and in which phase.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Call {
    /// `GET https://shop.example/healthz`, `connect 10.0.0.7:5432`.
    pub what: String,
    /// What came of it: `200`, `timeout while connecting`, `connection refused`.
    pub result: String,
    /// Phases in their order: `resolve`, `connect`, `tls`, `first-byte`, `transfer`.
    pub phases: Vec<(String, u64)>,
    pub duration_ns: u64,
}

/// What is kept of a failing run besides its record, to explain it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Story {
    pub log: Vec<LogLine>,
    pub calls: Vec<Call>,
}

impl Level {
    /// The word of the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Trace => "trace",
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
        }
    }
}

impl Story {
    /// Whether there is nothing to tell.
    pub fn is_empty(&self) -> bool {
        self.log.is_empty() && self.calls.is_empty()
    }
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

    /// For the worst of many, as the states that they lead to: unknown is between warning and critical.
    pub fn severity(self) -> u8 {
        State::from(self).severity()
    }
}

impl Origin {
    /// Every origin, in the order that is stored.
    pub const ALL: [Self; 6] = [Self::Schedule, Self::Retry, Self::RunNow, Self::CatchUp, Self::Pushed, Self::Expired];

    /// The word of the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Schedule => "schedule",
            Self::Retry => "retry",
            Self::RunNow => "run-now",
            Self::CatchUp => "catch-up",
            Self::Pushed => "pushed",
            Self::Expired => "expired",
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

#[cfg(test)]
mod tests {
    use super::*;

    /// What the API says is what the types say when they are serialized.
    #[test]
    fn words() {
        fn check<T: Serialize>(values: &[T], words: &[&str]) {
            assert_eq!(serde_json::to_value(values).unwrap(), serde_json::to_value(words).unwrap());
        }
        check(&Origin::ALL, &Origin::ALL.map(Origin::as_str));
        let statuses = [Status::Ok, Status::Warning, Status::Unknown, Status::Critical];
        check(&statuses, &statuses.map(Status::as_str));
        assert!(statuses.is_sorted_by_key(|status| status.severity()));
        let blames = [Blame::Target, Blame::Plugin, Blame::Host];
        check(&blames, &blames.map(Blame::as_str));
        let levels = [Level::Trace, Level::Debug, Level::Info, Level::Warn, Level::Error];
        check(&levels, &levels.map(Level::as_str));
        assert!(levels.is_sorted());
    }

    #[test]
    fn numbers() {
        for (number, origin) in Origin::ALL.into_iter().enumerate() {
            assert_eq!(origin as usize, number);
        }
        for number in -1..6 {
            assert_eq!(
                Status::from_number(number).map(|status| status as i64),
                (0..4).contains(&number).then_some(number)
            );
        }
    }
}
