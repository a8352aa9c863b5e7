//! How many programs run at once, of one plugin and in all, and which of them cannot be stopped.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout_at;

use super::{Order, failed};
use crate::failure::{Failure, code};

/// Programs at once. Each costs a process, a thread and some MiB; more at a time would only slow each other down.
const MAX_PROGRAMS: usize = 64;
/// Of one plugin: another one gets its turn even if all of these hang.
const MAX_OF_PLUGIN: usize = 32;
/// Plugins of which a count is kept though they run nothing.
const MAX_PLUGINS: usize = 256;
/// A program that is still there so long after it was given up cannot be stopped.
const HANGS_AFTER: Duration = Duration::from_secs(1);

/// What is running.
#[derive(Debug)]
pub(crate) struct Programs {
    all: Arc<Semaphore>,
    plugins: Mutex<BTreeMap<String, Arc<Semaphore>>>,
    running: Arc<Mutex<Vec<Arc<Running>>>>,
}

/// One program, from before its start until its status has been taken.
#[derive(Debug)]
struct Running {
    path: String,
    arguments: Vec<String>,
    /// When nobody waited for it any longer.
    left: Mutex<Option<Instant>>,
}

/// The right to run one program, kept until it is gone.
#[derive(Debug)]
pub(super) struct Turn {
    of_all: Arc<Mutex<Vec<Arc<Running>>>>,
    own: Arc<Running>,
    _places: [OwnedSemaphorePermit; 2],
}

/// Whoever waits for a program. When it goes, the program has to go.
#[derive(Debug)]
pub(super) struct Caller {
    own: Arc<Running>,
    cut: Arc<OwnedFd>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing that holds these locks calls code that may panic.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Default for Programs {
    fn default() -> Programs {
        let all = Arc::new(Semaphore::new(MAX_PROGRAMS));
        Programs { all, plugins: Mutex::default(), running: Arc::default() }
    }
}

impl Programs {
    /// Waits until there is room for one more. What hangs in the kernel already is not begun again.
    pub(super) async fn turn(
        &self,
        plugin: &str,
        order: &Order,
        deadline: tokio::time::Instant,
    ) -> Result<Turn, Failure> {
        let own =
            Running { path: order.path().to_owned(), arguments: order.arguments().to_vec(), left: Mutex::default() };
        if lock(&self.running).iter().any(|other| other.hangs() && other.is_like(&own)) {
            let message = format!("an earlier run of {} hangs in the kernel and cannot be stopped", order.path());
            return Err(failed(code::HUNG, message));
        }
        let of_plugin = self.of_plugin(plugin);
        let places = async {
            // Whoever waits for its plugin's other programs takes nobody else's place.
            let first = of_plugin.acquire_owned().await;
            Some([first.ok()?, self.all.clone().acquire_owned().await.ok()?])
        };
        let places = timeout_at(deadline, places).await.ok().flatten().ok_or_else(|| {
            let message = format!(
                "{MAX_OF_PLUGIN} programs of a plugin and {MAX_PROGRAMS} in all run at once, none ended in time"
            );
            failed(code::LIMIT, message)
        })?;
        let own = Arc::new(own);
        lock(&self.running).push(own.clone());
        Ok(Turn { of_all: self.running.clone(), own, _places: places })
    }

    /// Programs that run now, of all plugins.
    pub(crate) fn running(&self) -> usize {
        lock(&self.running).len()
    }

    fn of_plugin(&self, name: &str) -> Arc<Semaphore> {
        let mut plugins = lock(&self.plugins);
        if !plugins.contains_key(name) && plugins.len() >= MAX_PLUGINS {
            plugins.retain(|_, places| Arc::strong_count(places) > 1);
        }
        plugins.entry(name.to_owned()).or_insert_with(|| Arc::new(Semaphore::new(MAX_OF_PLUGIN))).clone()
    }
}

impl Running {
    fn hangs(&self) -> bool {
        lock(&self.left).is_some_and(|left| left.elapsed() >= HANGS_AFTER)
    }

    fn is_like(&self, other: &Running) -> bool {
        self.path == other.path && self.arguments == other.arguments
    }
}

impl Turn {
    /// Who is told of when it goes.
    pub(super) fn caller(&self, cut: Arc<OwnedFd>) -> Caller {
        Caller { own: self.own.clone(), cut }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        lock(&self.of_all).retain(|other| !Arc::ptr_eq(other, &self.own));
    }
}

impl Drop for Caller {
    fn drop(&mut self) {
        *lock(&self.own.left) = Some(Instant::now());
        // Eight bytes and one only: it cannot be full, and the thread may be gone already.
        rustix::io::write(&*self.cut, &1_u64.to_ne_bytes()).unwrap_or_default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(argument: &str) -> Order {
        let mut order = Order::new("/bin/true");
        order.add_argument(argument);
        order
    }

    async fn take(programs: &Programs, plugin: &str, argument: &str) -> Result<Turn, &'static str> {
        let deadline = tokio::time::Instant::now() + Duration::from_millis(1);
        programs.turn(plugin, &order(argument), deadline).await.map_err(|failure| failure.code)
    }

    #[tokio::test(start_paused = true)]
    async fn a_plugin_has_half_of_the_places() {
        let programs = Programs::default();
        let mut held = Vec::new();
        for plugin in ["a", "b"] {
            for _ in 0..MAX_OF_PLUGIN {
                held.push(take(&programs, plugin, "").await.unwrap());
            }
            assert_eq!(take(&programs, plugin, "").await.unwrap_err(), code::LIMIT);
        }
        assert_eq!(take(&programs, "c", "").await.unwrap_err(), code::LIMIT);
        assert_eq!(programs.running(), MAX_PROGRAMS);
        drop(held.swap_remove(0));
        assert_eq!(take(&programs, "b", "").await.unwrap_err(), code::LIMIT);
        drop(take(&programs, "c", "").await.unwrap());
        drop(take(&programs, "a", "").await.unwrap());
        held.clear();
        assert_eq!((programs.running(), programs.all.available_permits()), (0, MAX_PROGRAMS));
    }

    #[tokio::test]
    async fn what_cannot_be_stopped_is_not_begun_again() {
        let programs = Programs::default();
        let turn = take(&programs, "a", "x").await.unwrap();
        let cut = Arc::new(rustix::event::eventfd(0, rustix::event::EventfdFlags::CLOEXEC).unwrap());
        drop(turn.caller(cut.clone()));
        // It was given up just now, and is being killed.
        drop(take(&programs, "a", "x").await.unwrap());
        *lock(&turn.own.left) = Some(Instant::now() - HANGS_AFTER);
        assert_eq!(take(&programs, "b", "x").await.unwrap_err(), code::HUNG);
        drop(take(&programs, "a", "y").await.unwrap());
        drop(turn);
        drop(take(&programs, "a", "x").await.unwrap());
        let mut word = [0; 8];
        assert_eq!(rustix::io::read(&*cut, &mut word), Ok(8));
    }
}
