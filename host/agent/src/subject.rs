//! What the engine keeps of each (check, target): how to run it, where it stands, what it remembers.

use std::sync::Arc;
use std::time::Duration;

use roundsman_model::check::{Check, Timing};
use roundsman_model::findings::Findings;
use roundsman_model::key::Key;
use roundsman_model::name::PluginName;
use roundsman_model::record::Status;
use roundsman_model::state::{Confirm, Standing, State};
use roundsman_model::time::Timestamp;
use roundsman_plugin::job::{Assignment, Memory};
use roundsman_schedule::grid::Grid;
use roundsman_schedule::window::Window;
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
    /// Its maintenance.
    pub(crate) windows: Arc<[Window]>,
    /// Why it is not run with the version of its plugin that is in use: it asks for more than that one may be granted.
    pub(crate) barred: Option<Arc<str>>,
}

/// Why a tick did not become a run on purpose.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Gate {
    pub(crate) kind: GateKind,
    /// In words.
    pub(crate) why: Arc<str>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum GateKind {
    Dependency,
    Maintenance,
    /// Its plugin backs off, or is quarantined.
    Plugin,
}

impl GateKind {
    /// What is known of something that is not looked at for this reason: nothing was to be known, or nobody can.
    pub(crate) fn state(self) -> State {
        match self {
            Self::Dependency | Self::Maintenance => State::Skipped,
            Self::Plugin => State::Unknown,
        }
    }
}

impl Prepared {
    pub(crate) fn key(&self) -> &Key {
        &self.assignment.key
    }

    pub(crate) fn plugin(&self) -> &PluginName {
        &self.check.plugin
    }

    pub(crate) fn confirm(&self) -> Confirm {
        Confirm { success: self.check.success_threshold, failure: self.check.failure_threshold }
    }

    /// Whether its failures may be those of the network.
    pub(crate) fn uses_network(&self) -> bool {
        self.assignment.target.is_some() || !self.check.allow.network.is_empty()
    }

    /// The instant after which silence means something, where it ever does: that nobody looks any more, or that what
    /// was to be pushed did not come.
    pub(crate) fn silent_at(&self, last: Timestamp) -> Option<Timestamp> {
        match self.check.timing {
            Timing::Ttl(ttl) => Some(last + ttl),
            Timing::Start => None,
            Timing::Interval(_) | Timing::Cron { .. } => {
                let tick = self.grid.nth_after(last, STALE_TICKS)?;
                Some(tick + self.check.timeout + STALE_GRACE)
            }
        }
    }

    /// Nothing is run: results come from outside.
    pub(crate) fn is_pushed(&self) -> bool {
        matches!(self.check.timing, Timing::Ttl(_))
    }

    /// When the board is to show it as stale; what is pushed is critical instead.
    pub(crate) fn stale_at(&self, last: Timestamp) -> Option<Timestamp> {
        if matches!(self.check.timing, Timing::Ttl(_)) { None } else { self.silent_at(last) }
    }

    /// Whether a run of this is the same work as a run of `other`: settings, target, grants and limits.
    pub(crate) fn same_work(&self, other: &Prepared) -> bool {
        *self.check == *other.check
            && self.assignment.settings == other.assignment.settings
            && self.assignment.target == other.assignment.target
            && self.tags == other.tags
            && self.grid == other.grid
            && self.barred == other.barred
    }
}

/// The engine's side of a (check, target).
#[derive(Debug)]
pub(crate) struct Subject {
    pub(crate) prepared: Prepared,
    pub(crate) standing: Standing,
    pub(crate) previous: Option<Status>,
    pub(crate) memory: Arc<Memory>,
    /// Where the things that it looks at stand.
    pub(crate) findings: Findings,
    /// Tells a run of the subject as it is now from one of a subject of the same name that was removed.
    pub(crate) generation: u64,
    /// The time of its last record.
    pub(crate) stamp: Timestamp,
    /// See `Prepared::silent_at`.
    pub(crate) silent_at: Option<Timestamp>,
    /// Why its last tick was not run; none since it ran.
    pub(crate) gate: Option<Gate>,
    /// Which life of its plugin the run belongs to that was let in last and did not end yet.
    pub(crate) life: Option<u64>,
}

impl Subject {
    /// An instant, unless a record or a hard change is not before it: then the next one after that. So the records of a
    /// subject are in order, the changes of it and of its findings are, and both are among each other.
    pub(crate) fn later(&self, at: Timestamp) -> Timestamp {
        at.max(self.stamp.max(self.standing.since) + Duration::from_nanos(1))
    }

    /// Since when silence has lasted too long, if that is still to be told. What is pushed has a deadline however it
    /// stands; the rest is stale once.
    pub(crate) fn silent_since(&self, now: Timestamp) -> Option<Timestamp> {
        let untold = self.prepared.is_pushed() || self.standing.state != State::Stale;
        self.silent_at.filter(|at| *at < now && untold)
    }

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
