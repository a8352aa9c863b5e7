//! What an operator configured: a plugin, settings, a schedule, targets, thresholds, limits.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::grants::Allow;
use crate::key::Key;
use crate::name::{CheckName, PluginName};
use crate::target::Target;
use crate::threshold::Threshold;

/// A check that passed every rule that needs no plugin. Made by the agent's configuration alone.
#[derive(Debug, Clone, PartialEq)]
pub struct Check {
    pub name: CheckName,
    pub plugin: PluginName,
    pub timing: Timing,
    /// How far after its instant on the grid a tick may lie, in percent of the interval; below 100.
    pub jitter_percent: u8,
    pub catch_up: CatchUp,
    pub timeout: Duration,
    /// Between the start of the agent, or the check's appearance, and its first tick.
    pub initial_delay: Duration,
    /// Between runs while a change of state is being confirmed; none: the schedule's next tick is soon enough.
    pub retry_interval: Option<Duration>,
    pub success_threshold: u32,
    pub failure_threshold: u32,
    /// Empty: the node itself.
    pub targets: Vec<Target>,
    /// A JSON object, before `${…}` is filled in.
    pub settings: serde_json::Map<String, serde_json::Value>,
    /// Bounds on what the plugin measured; each may make the status worse.
    pub thresholds: Vec<Threshold>,
    pub allow: Allow,
    pub limits: Limits,
    /// Not run while one of these is critical, or is itself not run for such a reason.
    pub depends_on: Vec<CheckName>,
    pub maintenance: Vec<Maintenance>,
    /// Critical when the plugin says that all is well, and the other way round.
    pub negate: bool,
    /// Runs and is recorded, but alarms nobody.
    pub shadow: bool,
    /// Become tags. Keys are series names, values are bounded.
    pub labels: BTreeMap<String, String>,
    pub owner: Option<String>,
    pub runbook: Option<String>,
    pub enabled: bool,
}

/// When a check is due.
#[derive(Debug, Clone, PartialEq)]
pub enum Timing {
    /// On a grid of the wall clock with a phase of its own.
    Interval(Duration),
    /// At the minutes of a five-field cron expression in a time zone of the IANA database.
    Cron { expression: String, timezone: String },
    /// Never run: results are pushed. Critical when none came for so long.
    Ttl(Duration),
    /// Once, when the agent starts or the check appears.
    Start,
}

/// What becomes of ticks that passed while the agent or the machine slept. They count as missed in any case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CatchUp {
    Skip,
    /// One run off the schedule, unless the next tick comes first or it would be later than `deadline` after the newest
    /// missed tick. None: the next tick is the only deadline.
    Once {
        deadline: Option<Duration>,
    },
}

/// A stretch of time that comes again and again, in which a check is not run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Maintenance {
    /// When it begins: a five-field cron expression in a time zone of the IANA database.
    pub cron: String,
    pub timezone: String,
    pub length: Duration,
}

/// The most that one run may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Linear memory of all instances together, in bytes.
    pub memory: u64,
    /// Time inside the guest.
    pub cpu: Duration,
    /// Points and findings, together.
    pub points: u32,
    /// Bytes of standard output and error, log lines and reported text, together.
    pub output: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { memory: 32 << 20, cpu: Duration::from_millis(100), points: 1_000, output: 64 << 10 }
    }
}

impl Check {
    /// The keys of this check: one per target, or the one of the node itself.
    pub fn keys(&self) -> Vec<Key> {
        let of = |target: Option<&str>| Key::new(self.name.clone(), target);
        if self.targets.is_empty() { vec![of(None)] } else { self.targets.iter().map(|t| of(Some(&t.name))).collect() }
    }

    /// The target that a key names.
    pub fn target(&self, name: Option<&Arc<str>>) -> Option<&Target> {
        name.and_then(|name| self.targets.iter().find(|t| t.name == *name))
    }
}
