//! Ends of runs on their way to the engine, which is woken for them only if it would not look soon by itself.
//!
//! Waking a thread costs as much as a small run. Most ends can wait for the wake that starts the next runs.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use roundsman_plugin::job::Report;
use roundsman_schedule::schedule::Start;
use tokio::sync::Notify;

/// How long an end may wait: short beside the interval of commits, after which it becomes visible.
const UNHURRIED: Duration = Duration::from_millis(100);

/// A run that ended, however it ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) start: Start,
    pub(crate) generation: u64,
    /// None: the task died without a word.
    pub(crate) report: Option<Report>,
}

/// Where the engine finds them.
#[derive(Debug)]
pub(crate) struct Ends(Arc<Line>);

#[derive(Debug)]
struct Line {
    /// Never longer than there are slots: a run holds one and ends once.
    ended: Mutex<Vec<Ended>>,
    bell: Notify,
    born: Instant,
    /// When the engine will look by itself, in microseconds since `born`. In the past: it is looking.
    look_us: AtomicU64,
}

/// Makes sure that every run that was begun is heard of again.
#[derive(Debug)]
pub(crate) struct Ticket {
    ended: Option<Ended>,
    /// The engine has to know of the end by then, for the next run of the same key.
    needed_by: Instant,
    line: Arc<Line>,
}

impl Ends {
    pub(crate) fn new() -> Self {
        let (ended, bell, look_us) = (Mutex::default(), Notify::new(), AtomicU64::new(0));
        Self(Arc::new(Line { ended, bell, born: Instant::now(), look_us }))
    }

    pub(crate) fn ticket(&self, start: Start, generation: u64, needed_by: Instant) -> Ticket {
        Ticket { ended: Some(Ended { start, generation, report: None }), needed_by, line: self.0.clone() }
    }

    /// Moves what has ended to the (empty) list.
    pub(crate) fn take(&self, ended: &mut Vec<Ended>) {
        std::mem::swap(&mut *self.0.ended(), ended);
    }

    /// Says when the engine will look by itself. It must look once more after this: what ended before may not ring.
    pub(crate) fn plan(&self, look: Instant) {
        self.0.look_us.store(self.0.us(look), Ordering::SeqCst);
    }

    /// Resolves when something has ended that cannot wait for the planned look.
    pub(crate) async fn ring(&self) {
        self.0.bell.notified().await;
    }
}

impl Line {
    fn ended(&self) -> MutexGuard<'_, Vec<Ended>> {
        self.ended.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn us(&self, at: Instant) -> u64 {
        u64::try_from(at.saturating_duration_since(self.born).as_micros()).unwrap_or(u64::MAX)
    }
}

impl Ticket {
    pub(crate) fn report(&mut self, report: Report) {
        if let Some(ended) = &mut self.ended {
            ended.report = Some(report);
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let Some(ended) = self.ended.take() else { return };
        self.line.ended().push(ended);
        let heard_by = self.needed_by.min(Instant::now() + UNHURRIED);
        if self.line.look_us.load(Ordering::SeqCst) > self.line.us(heard_by) {
            self.line.bell.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use roundsman_model::key::Key;
    use roundsman_model::name::CheckName;
    use roundsman_model::record::Origin;
    use roundsman_model::time::Timestamp;

    use super::*;

    #[test]
    fn the_bell_rings_for_what_cannot_wait() {
        const LONG: Duration = Duration::from_secs(3600);
        let now = Instant::now();
        for (look, needed_by, rings) in [
            (now, now + LONG, false),
            (now + Duration::from_millis(1), now + LONG, false),
            (now + LONG, now + LONG, true),
            (now + Duration::from_millis(1), now, true),
            (now, now, false),
        ] {
            let ends = Ends::new();
            let key = Key::new(CheckName::new("a").unwrap(), None);
            let start = Start { key, origin: Origin::Schedule, due: Timestamp(7), time: Timestamp(7), interval_ns: 0 };
            ends.plan(look);
            drop(ends.ticket(start.clone(), 3, needed_by));
            assert_eq!(ends.ring().now_or_never().is_some(), rings, "{:?} {:?}", look - now, needed_by - now);
            let mut taken = Vec::new();
            ends.take(&mut taken);
            assert_eq!(taken.len(), 1);
            assert_eq!((&taken[0].start, taken[0].generation, taken[0].report.is_none()), (&start, 3, true));
        }
    }
}
