//! Processor time of a run: the time inside polls of its guest, and the end of a guest that takes too much.
//!
//! What counts is the thread's processor time: under a cgroup's quota a thread may stand still for a tenth of a second in
//! the midst of a poll, and that is not the guest's doing. But asking the kernel for it costs more than a short poll, so
//! it is asked only about polls that were long, with a reading shortly before the poll began to compare with.

use std::cell::Cell;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

use crate::ticker::Ticker;

/// A poll up to this long counts as it is: the error, if the thread stood still, is no more than this.
const SHORT: Duration = Duration::from_millis(2);

thread_local! {
    /// The poll that this thread is in: when it began, and what earlier polls of the same run took.
    static POLL: Cell<Option<(Instant, Duration)>> = const { Cell::new(None) };
    /// Whether the poll ended because the guest had computed for a tick, not because it waits for something.
    static COMPUTING: Cell<bool> = const { Cell::new(false) };
    /// When this thread's processor time was last read, and what it was.
    static READING: Cell<Option<(Instant, Duration)>> = const { Cell::new(None) };
}

/// Whether the run that this thread is polling has used more than `limit`.
pub(crate) fn is_over(limit: Duration) -> bool {
    let Some((began, before)) = POLL.get() else { return false };
    // Time on the wall is never less: most of the time it answers the question without the kernel.
    before + began.elapsed() > limit && before + taken(began) > limit
}

/// Says that the guest is being interrupted in the midst of computing.
pub(crate) fn mark_computing() {
    COMPUTING.set(true);
}

/// Processor time since the beginning of a poll.
fn taken(began: Instant) -> Duration {
    let wall = began.elapsed();
    match READING.get() {
        // What this thread did between the reading and the poll, at most [`SHORT`], is counted too.
        Some((_, reading)) if wall > SHORT => wall.min(processor_time().saturating_sub(reading)),
        _ => wall,
    }
}

/// A reading at most [`SHORT`] old, for [`taken`].
fn read_if_old(now: Instant) {
    if READING.get().is_none_or(|(read, _)| now.saturating_duration_since(read) > SHORT) {
        READING.set(Some((now, processor_time())));
    }
}

fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// A future whose polls are timed, and interrupted by the ticker.
#[derive(Debug)]
pub(crate) struct Metered<'a, F> {
    future: F,
    ticker: &'a Ticker,
    used: Duration,
    computing: bool,
}

impl<'a, F> Metered<'a, F> {
    pub(crate) fn new(ticker: &'a Ticker, future: F) -> Self {
        Self { future, ticker, used: Duration::ZERO, computing: false }
    }

    /// What all polls so far took.
    pub(crate) fn used(&self) -> Duration {
        self.used
    }

    /// Whether the last poll left the guest computing.
    pub(crate) fn computing(&self) -> bool {
        self.computing
    }
}

impl<F: Future + Unpin> Future for Metered<'_, F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let began = Instant::now();
        read_if_old(began);
        let outer = POLL.replace(Some((began, self.used)));
        COMPUTING.set(false);
        let inside = self.ticker.enter();
        let result = Pin::new(&mut self.future).poll(cx);
        drop(inside);
        self.computing = COMPUTING.get();
        POLL.set(outer);
        self.used += taken(began);
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WORK: Duration = Duration::from_millis(20);

    /// Polls a future to its end on this thread.
    fn finish<F: Future + Unpin>(metered: &mut Metered<'_, F>) {
        let mut cx = Context::from_waker(std::task::Waker::noop());
        while Pin::new(&mut *metered).poll(&mut cx).is_pending() {}
    }

    fn compute(so_long: Duration) {
        let until = processor_time() + so_long;
        while processor_time() < until {}
    }

    #[test]
    fn polls_add_up() {
        let mut polls = 0;
        let ticker = Ticker::start(|| ()).unwrap();
        let mut metered = Metered::new(
            &ticker,
            Box::pin(std::future::poll_fn(|_| {
                polls += 1;
                assert!(!is_over(WORK * polls), "what lies between polls does not count");
                compute(WORK);
                assert!(is_over(WORK * polls - SHORT));
                if polls == 3 { Poll::Ready(()) } else { Poll::Pending }
            })),
        );
        finish(&mut metered);
        assert!(metered.used() >= 3 * (WORK - SHORT), "{:?}", metered.used());
        assert!(!is_over(Duration::ZERO), "outside of polls nothing is counted");
    }

    #[test]
    fn standing_still_is_no_processor_time() {
        let ticker = Ticker::start(|| ()).unwrap();
        let mut metered = Metered::new(
            &ticker,
            Box::pin(std::future::poll_fn(|_| {
                std::thread::sleep(5 * WORK);
                assert!(!is_over(WORK));
                Poll::Ready(())
            })),
        );
        finish(&mut metered);
        assert!(metered.used() < WORK, "{:?}", metered.used());
    }
}
