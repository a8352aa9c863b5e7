//! The built-in check `roundsman`: the agent looks at itself, on schedule like at anything else, and says what it found.
//!
//! - `window`: what happened since the last look; `age`: how long a destination has been behind
//! - `judge`: which promises are broken, and the way out; `points`: the measurement `agent`
//!
//! A look reads atomics, a few locks that are held for microseconds, and a dozen small files of /proc and of the control
//! group that the kernel writes on the fly: well below a millisecond, and no disk is waited for. So it may be called on the
//! guests' threads as it is; on the engine's loop it has no business.

mod age;
mod judge;
mod points;
mod window;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use roundsman_influx::stats::Stats as DestinationStats;
use roundsman_model::name::PluginName;
use roundsman_model::record::{Blame, Story};
use roundsman_model::supervision::{Conduct, Phase};
use roundsman_plugin::engine::Engine as Sandbox;
use roundsman_plugin::job::Report;
use roundsman_web::view::PluginState;

use crate::cgroup::Cgroup;
use crate::process;
use crate::selfcheck::age::Marks;
use crate::selfcheck::judge::judge;
use crate::selfcheck::window::{DestinationFacts, Facts, Window};
use crate::shared::Shared;

/// Where the numbers come from.
pub(crate) struct Sources {
    pub(crate) shared: Arc<Shared>,
    pub(crate) sandbox: Sandbox,
    /// By name, in the order of the configuration.
    pub(crate) destinations: Vec<(Arc<str>, Arc<DestinationStats>)>,
    pub(crate) cgroup: Cgroup,
    /// Runs that may be in flight at once.
    pub(crate) slots: u32,
    /// What runs in flight may hold together, after what the control group made of the configuration.
    pub(crate) guest_memory_limit_bytes: u64,
    pub(crate) store_max_bytes: u64,
}

/// Remembers the last look.
pub(crate) struct SelfCheck {
    sources: Sources,
    born: Instant,
    before: Facts,
    marks: Marks,
}

impl SelfCheck {
    /// What is there already, such as ticks that an earlier life missed, is not held against this one.
    pub(crate) fn new(sources: Sources) -> Self {
        let born = Instant::now();
        let before = sources.facts(Duration::ZERO);
        Self { sources, born, before, marks: Marks::default() }
    }

    /// One run of the check. `away`: for how long the agent was not there since the last look, which explains what would
    /// otherwise be a promise broken.
    pub(crate) fn look(&mut self, away: Option<Duration>) -> Report {
        let began = Instant::now();
        let now = self.sources.facts(began.duration_since(self.born));
        let behind = now.destinations.iter().map(|destination| destination.rows);
        self.marks.note(now.at, now.committed, behind.max().unwrap_or(0));
        let verdict = judge(&Window::between(&self.before, &now, &self.marks, away));
        self.before = now;
        let ended = Instant::now();
        Report {
            status: verdict.status,
            // The target is the agent itself.
            blame: Blame::Target,
            code: None,
            cut: false,
            summary: verdict.summary,
            latency: None,
            points: verdict.points,
            findings: verdict.findings,
            story: Story::default(),
            memory_changes: Vec::new(),
            began: Some(began),
            ended,
            cpu: ended.duration_since(began),
            memory_bytes: 0,
        }
    }

    /// As the engine wants it: a function for each run.
    pub(crate) fn into_run(self) -> Arc<dyn Fn() -> Report + Send + Sync> {
        let shared = self.sources.shared.clone();
        // The engine runs a check once at a time: nobody ever waits here.
        let check = Mutex::new(self);
        Arc::new(move || check.lock().unwrap_or_else(PoisonError::into_inner).look(shared.take_away()))
    }
}

impl Sources {
    fn facts(&self, at: Duration) -> Facts {
        let Shared { stats, published, plugins, .. } = &*self.shared;
        let store = self.shared.store().health();
        let waits = |state| matches!(state, PluginState::Waiting | PluginState::Compiling);
        Facts {
            at,
            lag: stats.lag.now(),
            queue: stats.queue.now(),
            run: stats.run.now(),
            pause: stats.pause.take(),
            ticks: stats.checks.ticks(),
            faulty_runs: stats.faulty_runs(),
            runs_in_flight: stats.runs_in_flight(),
            slots: u64::from(self.slots),
            guest_memory_bytes: self.sandbox.memory().used(),
            guest_memory_limit_bytes: self.guest_memory_limit_bytes,
            compiling: plugins.load().values().filter(|loaded| waits(loaded.state)).count() as u64,
            process: process::sample(),
            cgroup: self.cgroup.read(),
            // What the queue refused is in the engine's own count.
            lost: store.lost + store.refused + stats.lost_entries(),
            store,
            store_max_bytes: self.store_max_bytes,
            committed: *published.rows().borrow(),
            destinations: self.destinations.iter().map(|(name, stats)| destination(name, stats)).collect(),
            quarantined: quarantined(&published.conducts()),
        }
    }
}

fn destination(name: &Arc<str>, stats: &DestinationStats) -> DestinationFacts {
    let now = stats.snapshot();
    DestinationFacts {
        name: name.clone(),
        rows: now.lag_rows,
        failures: now.retries,
        rejected: now.rejected,
        held: now.held.map(|trouble| trouble.why),
    }
}

fn quarantined(conducts: &BTreeMap<PluginName, Conduct>) -> Vec<(Arc<str>, Arc<str>)> {
    let found = conducts.iter().filter(|(_, conduct)| conduct.phase == Phase::Quarantined);
    found.filter_map(|(plugin, conduct)| Some((plugin.as_str().into(), conduct.words(plugin)?.into()))).collect()
}

impl fmt::Debug for SelfCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SelfCheck").field("before", &self.before).finish_non_exhaustive()
    }
}

impl fmt::Debug for Sources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sources").field("cgroup", &self.cgroup).field("slots", &self.slots).finish_non_exhaustive()
    }
}
