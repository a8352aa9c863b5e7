//! The thread that interrupts guests: it ticks while any of them is being polled, and rests when none was for a while.
//!
//! Entering a poll is one addition and one load; only the first guest after a rest makes a system call, to wake the
//! thread. The two sides meet in the order of `SeqCst`: either the guest sees that the thread rests, or the thread sees
//! that there is a guest.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, Thread};
use std::time::Duration;

/// How often a running guest is looked at. One over its budget goes on for at most one tick, and others wait so long for
/// a thread that a computing guest holds.
pub(crate) const TICK: Duration = Duration::from_millis(5);
/// Ticks without any guest before the thread rests. Runs come in bunches, a tenth of a second and more apart.
const REST_AFTER: u32 = 1;
/// What entering a poll adds: one to the guests inside (lower half), one to those that ever entered (upper half).
const ENTER: u64 = (1 << 32) + 1;
const INSIDE: u64 = u32::MAX as u64;

/// The thread ends with it.
#[derive(Debug)]
pub(crate) struct Ticker {
    shared: Arc<Shared>,
    thread: Thread,
}

#[derive(Debug, Default)]
struct Shared {
    polls: AtomicU64,
    resting: AtomicBool,
    over: AtomicBool,
}

/// A guest is being polled as long as this lives.
#[derive(Debug)]
pub(crate) struct Inside<'a>(&'a Shared);

impl Ticker {
    /// Calls `tick` every [`TICK`] while there are guests.
    pub(crate) fn start(tick: impl Fn() + Send + 'static) -> std::io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let its = shared.clone();
        let thread = thread::Builder::new().name("epoch".to_owned()).stack_size(64 << 10);
        let thread = thread.spawn(move || its.run(tick))?.thread().clone();
        Ok(Self { shared, thread })
    }

    /// To be called before a guest is polled.
    pub(crate) fn enter(&self) -> Inside<'_> {
        self.shared.polls.fetch_add(ENTER, Ordering::SeqCst);
        if self.shared.resting.load(Ordering::SeqCst) {
            self.shared.resting.store(false, Ordering::SeqCst);
            self.thread.unpark();
        }
        Inside(&self.shared)
    }

    /// Whether the thread sleeps until there is a guest.
    pub(crate) fn rests(&self) -> bool {
        self.shared.resting.load(Ordering::SeqCst)
    }
}

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        self.0.polls.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::SeqCst);
        self.thread.unpark();
    }
}

impl Shared {
    fn run(&self, tick: impl Fn()) {
        let (mut before, mut idle) = (0, 0);
        while !self.over.load(Ordering::SeqCst) {
            let polls = self.polls.load(Ordering::SeqCst);
            idle = if polls & INSIDE == 0 && polls == before { idle + 1 } else { 0 };
            before = polls;
            if idle > REST_AFTER {
                self.rest();
                idle = 0;
            }
            // Not `sleep`: the end of the engine must not have to wait.
            thread::park_timeout(TICK);
            tick();
        }
    }

    fn rest(&self) {
        self.resting.store(true, Ordering::SeqCst);
        while self.polls.load(Ordering::SeqCst) & INSIDE == 0
            && self.resting.load(Ordering::SeqCst)
            && !self.over.load(Ordering::SeqCst)
        {
            thread::park();
        }
        self.resting.store(false, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    fn eventually(what: &str, holds: impl Fn() -> bool) {
        let end = Instant::now() + Duration::from_secs(30);
        while !holds() {
            assert!(Instant::now() < end, "{what}");
            thread::yield_now();
        }
    }

    #[test]
    fn rests_wakes_and_ends() {
        let ticks = Arc::new(AtomicU64::new(0));
        let (counted, count) = (ticks.clone(), || ticks.load(Ordering::SeqCst));
        let ticker = Ticker::start(move || _ = counted.fetch_add(1, Ordering::SeqCst)).unwrap();
        for _ in 0..3 {
            eventually("it rests", || ticker.rests());
            let before = count();
            let inside = ticker.enter();
            let other = ticker.enter();
            eventually("it ticks", || count() > before + u64::from(2 * REST_AFTER));
            drop(other);
            assert!(!ticker.rests(), "one guest is still inside");
            drop(inside);
        }
        drop(ticker);
        eventually("the thread ends", || Arc::strong_count(&ticks) == 1);
    }

    /// Guests come and go on many threads: whoever stays inside sees ticks.
    #[test]
    fn nobody_is_overlooked() {
        let ticks = Arc::new(AtomicU64::new(0));
        let counted = ticks.clone();
        let ticker = Ticker::start(move || _ = counted.fetch_add(1, Ordering::SeqCst)).unwrap();
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for round in 0..5 {
                        (0..1000).for_each(|_| drop(ticker.enter()));
                        if round % 2 == 0 {
                            eventually("it rests", || ticker.rests());
                        }
                        let inside = ticker.enter();
                        let before = ticks.load(Ordering::SeqCst);
                        eventually("a tick comes", || ticks.load(Ordering::SeqCst) > before);
                        drop(inside);
                    }
                });
            }
        });
    }
}
