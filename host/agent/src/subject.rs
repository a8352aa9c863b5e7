//! What the engine keeps of each (check, target): how to run it, where it stands, what it remembers.

use std::sync::Arc;
use std::time::Duration;

use roundsman_model::check::Check;
use roundsman_model::key::Key;
use roundsman_model::name::PluginName;
use roundsman_model::record::Status;
use roundsman_model::state::{Standing, Thresholds};
use roundsman_model::time::Timestamp;
use roundsman_plugin::job::{Assignment, Memory};
use roundsman_schedule::grid::Grid;
use roundsman_store::TagSet;

/// Beyond the third next tick and the timeout: what the run and its commit may take on a busy machine.
const STALE_GRACE: Duration = Duration::from_secs(5);
/// How many ticks may pass in silence.
const STALE_TICKS: u32 = 3;

/// A check made ready for the engine: one for each of its targets.
#[derive(Debug, Clone)]
pub(crate) struct Prepared {
    pub(crate) check: Arc<Check>,
    pub(crate) assignment: Arc<Assignment>,
    pub(crate) tags: TagSet,
    pub(crate) grid: Grid,
}

impl Prepared {
    pub(crate) fn key(&self) -> &Key {
        &self.assignment.key
    }

    pub(crate) fn plugin(&self) -> &PluginName {
        &self.check.plugin
    }

    pub(crate) fn thresholds(&self) -> Thresholds {
        Thresholds { success: self.check.success_threshold, failure: self.check.failure_threshold }
    }

    /// The instant from which silence means that nobody looks any more.
    pub(crate) fn stale_at(&self, last: Timestamp) -> Timestamp {
        match self.grid.nth_after(last, STALE_TICKS) {
            Some(tick) => tick + self.check.timeout + STALE_GRACE,
            None => Timestamp(i64::MAX),
        }
    }

    /// Whether a run of this is the same work as a run of `other`: settings, target, grants and limits.
    pub(crate) fn same_work(&self, other: &Prepared) -> bool {
        *self.check == *other.check
            && self.assignment.settings == other.assignment.settings
            && self.assignment.target == other.assignment.target
            && self.tags == other.tags
            && self.grid == other.grid
    }
}

/// The engine's side of a (check, target).
#[derive(Debug)]
pub(crate) struct Subject {
    pub(crate) prepared: Prepared,
    pub(crate) standing: Standing,
    pub(crate) previous: Option<Status>,
    pub(crate) memory: Arc<Memory>,
    /// Tells a run of the subject as it is now from one of a subject of the same name that was removed.
    pub(crate) generation: u64,
    pub(crate) running: Option<tokio::task::AbortHandle>,
}

impl Subject {
    /// Takes over what a plugin wrote in a run that ended well.
    pub(crate) fn remember(&mut self, changes: &[(String, Option<Vec<u8>>)]) {
        if changes.is_empty() {
            return;
        }
        let memory = Arc::make_mut(&mut self.memory);
        for (key, value) in changes {
            match value {
                Some(value) => memory.insert(key.clone(), value.clone()),
                None => memory.remove(key),
            };
        }
    }
}
