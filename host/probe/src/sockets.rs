//! Bounds on open sockets and child processes: per run, per plugin and for the whole agent.
//!
//! Whoever opens something takes a `Permit` before it and keeps it as long as the thing is open. It costs three atomic
//! additions and a look into a short table; a run that opens nothing costs nothing.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::process::{Resource, getrlimit};

use crate::failure::Failure;

/// More sockets at once than this help nobody: 256 runs with four each.
const MOST: u32 = 1024;
/// A check that talks to a few dozen replicas at once is a large one.
const RUN: u32 = 32;
/// Plugins of which a count is kept though they have nothing open.
const MAX_PLUGINS: usize = 256;
/// Where the kernel knows no limit for open files.
const NO_LIMIT: u64 = MOST as u64 * 2;

/// How much may be open at the same time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Of all runs together.
    pub agent: u32,
    /// Of all runs of one plugin.
    pub plugin: u32,
    /// Of one run.
    pub run: u32,
}

impl Default for Limits {
    /// Half of the files that the process may open, and at most 1,024; half of these for one plugin; 32 for one run.
    fn default() -> Limits {
        let files = getrlimit(Resource::Nofile).current.unwrap_or(NO_LIMIT);
        let agent = u32::try_from(files / 2).unwrap_or(MOST).clamp(1, MOST);
        Limits { agent, plugin: (agent / 2).max(1), run: RUN.min(agent) }
    }
}

/// What is open. One per process.
#[derive(Debug, Default)]
pub struct Sockets(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    limits: Limits,
    agent: Count,
    /// One for each plugin that has something open, and for some that had.
    plugins: Mutex<BTreeMap<Arc<str>, Arc<Count>>>,
    refused: [AtomicU64; 3],
}

#[derive(Debug, Default)]
struct Count(AtomicU32);

/// What one run has open. Clones are about the same run.
#[derive(Debug, Clone)]
pub struct RunSockets {
    shared: Arc<Shared>,
    plugin: Arc<str>,
    run: Arc<Count>,
}

/// The right to have one thing open; it ends when it is dropped.
#[derive(Debug)]
#[must_use = "what is open counts only as long as its permit lives"]
pub struct Permit {
    shared: Arc<Shared>,
    plugin: Arc<Count>,
    run: Option<Arc<Count>>,
}

/// Which limit was met, in the order of the counters.
const LIMITS: [&str; 3] = ["run", "plugin", "agent"];

impl Sockets {
    /// Nothing is open yet.
    pub fn new(limits: Limits) -> Sockets {
        Sockets(Arc::new(Shared { limits, ..Shared::default() }))
    }

    /// The bounds, as they are in force.
    pub fn limits(&self) -> Limits {
        self.0.limits
    }

    /// A run begins, with nothing open. It costs nothing until something is.
    pub fn run(&self, plugin: &Arc<str>) -> RunSockets {
        RunSockets { shared: self.0.clone(), plugin: plugin.clone(), run: Arc::default() }
    }

    /// The right to open something that belongs to no run.
    pub fn open(&self, plugin: &Arc<str>) -> Result<Permit, Failure> {
        Shared::open(&self.0, plugin, None)
    }

    /// Open now, of all plugins.
    pub fn open_now(&self) -> u32 {
        self.0.agent.0.load(Ordering::Relaxed)
    }

    /// What was refused, by the limit that was met: `run`, `plugin`, `agent`.
    pub fn refused(&self) -> impl Iterator<Item = (&'static str, u64)> {
        LIMITS.into_iter().zip(&self.0.refused).map(|(limit, count)| (limit, count.load(Ordering::Relaxed)))
    }
}

impl RunSockets {
    /// The right to open one socket or start one program more.
    pub fn open(&self) -> Result<Permit, Failure> {
        Shared::open(&self.shared, &self.plugin, Some(&self.run))
    }
}

impl Shared {
    fn open(shared: &Arc<Shared>, name: &Arc<str>, run: Option<&Arc<Count>>) -> Result<Permit, Failure> {
        let limits = shared.limits;
        if run.is_some_and(|run| !run.take(limits.run)) {
            return Err(shared.refuse(0, format!("this run has {} sockets and programs open", limits.run)));
        }
        let plugin = shared.of_plugin(name);
        if !plugin.take(limits.plugin) {
            run.inspect(|run| run.give_back());
            let message =
                format!("the runs of the plugin `{name}` have {} sockets and programs open together", limits.plugin);
            return Err(shared.refuse(1, message));
        }
        if !shared.agent.take(limits.agent) {
            run.inspect(|run| run.give_back());
            plugin.give_back();
            return Err(shared.refuse(2, format!("all runs have {} sockets and programs open together", limits.agent)));
        }
        Ok(Permit { shared: shared.clone(), plugin, run: run.cloned() })
    }

    fn refuse(&self, limit: usize, message: String) -> Failure {
        if let Some(count) = self.refused.get(limit) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        Failure::limit(format!("{message}: no more at the same time"))
    }

    fn of_plugin(&self, name: &Arc<str>) -> Arc<Count> {
        let mut plugins = self.plugins.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = plugins.get(name) {
            return count.clone();
        }
        if plugins.len() >= MAX_PLUGINS {
            plugins.retain(|_, count| Arc::strong_count(count) > 1);
        }
        plugins.entry(name.clone()).or_default().clone()
    }
}

impl Count {
    /// One more, unless there are so many already.
    fn take(&self, most: u32) -> bool {
        self.0.fetch_update(Ordering::AcqRel, Ordering::Relaxed, |open| (open < most).then_some(open + 1)).is_ok()
    }

    fn give_back(&self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.shared.agent.give_back();
        self.plugin.give_back();
        self.run.iter().for_each(|run| run.give_back());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(sockets: &Sockets) -> Vec<u64> {
        sockets.refused().map(|(_, count)| count).collect()
    }

    #[test]
    fn each_limit_is_met_by_itself_and_named() {
        let sockets = Sockets::new(Limits { agent: 5, plugin: 3, run: 2 });
        let (a, b): (Arc<str>, Arc<str>) = ("a".into(), "b".into());
        let (first, second, other) = (sockets.run(&a), sockets.run(&a), sockets.run(&b));
        let mut held = vec![first.open().unwrap(), first.clone().open().unwrap()];
        let failure = first.open().unwrap_err();
        assert_eq!((failure.code, refused(&sockets)), ("limit", vec![1, 0, 0]));
        assert!(failure.message.starts_with("this run has 2 sockets"), "{failure}");

        held.push(second.open().unwrap());
        let failure = second.open().unwrap_err();
        assert!(failure.message.contains("plugin `a` have 3 sockets"), "{failure}");
        assert_eq!(refused(&sockets), [1, 1, 0]);

        held.extend([other.open().unwrap(), sockets.open(&b).unwrap()]);
        let failure = sockets.open(&b).unwrap_err();
        assert!(failure.message.starts_with("all runs have 5 sockets"), "{failure}");
        assert_eq!((sockets.open_now(), refused(&sockets)), (5, vec![1, 1, 1]));

        drop(held.remove(0));
        assert_eq!(sockets.open_now(), 4);
        held.push(second.open().expect("a refusal holds nothing, and what was dropped is free"));
        drop(held);
        assert_eq!(sockets.open_now(), 0);
        assert_eq!(refused(&sockets), [1, 1, 1]);
    }

    #[test]
    fn threads_never_have_more_than_the_limit() {
        let sockets = Sockets::new(Limits { agent: 3, plugin: 100, run: 100 });
        let plugin: Arc<str> = "p".into();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let run = sockets.run(&plugin);
                    for _ in 0..2_000 {
                        let held: Vec<_> = (0..2).map_while(|_| run.open().ok()).collect();
                        assert!(sockets.open_now() <= 3);
                        drop(held);
                    }
                });
            }
        });
        assert_eq!(sockets.open_now(), 0);
    }

    #[test]
    fn plugins_that_are_gone_are_forgotten() {
        let sockets = Sockets::default();
        let kept = sockets.open(&"kept".into()).unwrap();
        for n in 0..MAX_PLUGINS * 2 {
            drop(sockets.open(&n.to_string().into()).unwrap());
        }
        let plugins = sockets.0.plugins.lock().unwrap();
        assert!(plugins.len() <= MAX_PLUGINS && plugins.contains_key("kept"), "{}", plugins.len());
        drop(kept);
    }
}
