//! Tasks whose end is noticed: vital ones take the agent along, the others are begun again.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Between a task's death and its next life; doubled up to [`MAX_PAUSE`] while it keeps dying.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const MAX_PAUSE: Duration = Duration::from_secs(60);

/// Tasks that are stopped together, and how it becomes known that one died.
#[derive(Debug, Clone)]
pub(crate) struct Tasks {
    pub(crate) stop: CancellationToken,
    tracker: TaskTracker,
    died: mpsc::Sender<String>,
}

impl Tasks {
    /// The receiver hears which vital task ended before its time.
    pub(crate) fn new() -> (Self, mpsc::Receiver<String>) {
        // One death is enough; later ones have nothing to add.
        let (died, deaths) = mpsc::channel(1);
        (Self { stop: CancellationToken::new(), tracker: TaskTracker::new(), died }, deaths)
    }

    /// Others, that are stopped at another time.
    pub(crate) fn apart(&self) -> Self {
        Self { stop: CancellationToken::new(), tracker: TaskTracker::new(), died: self.died.clone() }
    }

    /// A task without which the agent does not do its work. It may end once it is stopped, not before.
    pub(crate) fn vital(&self, name: &'static str, work: impl Future<Output = ()> + Send + 'static) {
        self.vital_on(&Handle::current(), name, work);
    }

    /// The same, on threads of its own.
    pub(crate) fn vital_on(
        &self,
        threads: &Handle,
        name: &'static str,
        work: impl Future<Output = ()> + Send + 'static,
    ) {
        let (died, stop) = (self.died.clone(), self.stop.clone());
        let watched = async move {
            let ended = AssertUnwindSafe(work).catch_unwind().await;
            if stop.is_cancelled() && ended.is_ok() {
                return;
            }
            let why = ended.err().map_or_else(|| "it ended".to_owned(), |panic| message(&*panic));
            // Somebody died before: that is said already.
            died.try_send(format!("{name}: {why}")).ok();
        };
        self.tracker.spawn_on(watched, threads);
    }

    /// A task that ends by itself, and is missed by nobody if it dies.
    pub(crate) fn once(&self, name: &'static str, work: impl FnOnce() + Send + 'static) {
        self.tracker.spawn_blocking(move || {
            if let Err(panic) = std::panic::catch_unwind(AssertUnwindSafe(work)) {
                tracing::error!(task = name, why = message(&*panic), "a task died");
            }
        });
    }

    /// Something vital that is no task of ours: `died` resolves with the reason if it ends before its time.
    pub(crate) fn watch(&self, name: &'static str, died: impl Future<Output = String> + Send + 'static) {
        let (tell, stop) = (self.died.clone(), self.stop.clone());
        self.tracker.spawn(async move {
            if let Some(why) = stop.run_until_cancelled(died).await {
                tell.try_send(format!("{name}: {why}")).ok();
            }
        });
    }

    /// A task that is begun again, after a pause, when it ends before it is stopped.
    pub(crate) fn restarted<F: Future<Output = ()> + Send + 'static>(
        &self,
        name: String,
        begin: impl Fn() -> F + Send + 'static,
    ) {
        let stop = self.stop.clone();
        self.tracker.spawn(async move {
            let mut pause = FIRST_PAUSE;
            loop {
                let ended = AssertUnwindSafe(begin()).catch_unwind().await;
                if stop.is_cancelled() {
                    return;
                }
                let why = ended.err().map_or_else(|| "it ended".to_owned(), |panic| message(&*panic));
                tracing::error!(task = name, why, pause_ms = pause.as_millis(), "a task died and is begun again");
                if stop.run_until_cancelled(tokio::time::sleep(pause)).await.is_none() {
                    return;
                }
                pause = (pause * 2).min(MAX_PAUSE);
            }
        });
    }

    /// Stops them and waits until all have ended, but not longer than `grace`. False: some had to be left.
    pub(crate) async fn end(&self, grace: Duration) -> bool {
        self.stop.cancel();
        self.tracker.close();
        tokio::time::timeout(grace, self.tracker.wait()).await.is_ok()
    }
}

/// What a panic says.
fn message(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|s| (*s).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "it panicked".to_owned())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    const LONG: Duration = Duration::from_secs(3600);

    #[tokio::test]
    async fn the_death_of_a_vital_task_is_heard() {
        let (tasks, mut deaths) = Tasks::new();
        tasks.vital("engine", async { panic!("out of luck") });
        assert_eq!(deaths.recv().await.as_deref(), Some("engine: out of luck"));
        tasks.apart().vital("store", async {});
        assert_eq!(deaths.recv().await.as_deref(), Some("store: it ended"));
        let stopped = tasks.stop.clone();
        tasks.vital("web", async move { stopped.cancelled().await });
        assert!(tasks.end(LONG).await);
        assert!(deaths.try_recv().is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn others_are_begun_again() {
        let (tasks, _deaths) = Tasks::new();
        let (third, lives) = (CancellationToken::new(), Arc::new(AtomicU32::new(0)));
        let (stop, told, count) = (tasks.stop.clone(), third.clone(), lives.clone());
        tasks.restarted("forwarder".to_owned(), move || {
            let (stop, told, count) = (stop.clone(), told.clone(), count.clone());
            async move {
                match count.fetch_add(1, Ordering::Relaxed) {
                    0 => panic!("once"),
                    1 => {}
                    _ => {
                        told.cancel();
                        stop.cancelled().await;
                    }
                }
            }
        });
        third.cancelled().await;
        assert!(tasks.end(LONG).await);
        assert_eq!(lives.load(Ordering::Relaxed), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn an_end_is_not_awaited_for_ever() {
        let (tasks, _deaths) = Tasks::new();
        tasks.vital("stuck", std::future::pending());
        assert!(!tasks.end(LONG).await);
    }
}
