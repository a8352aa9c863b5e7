//! The agent's clock: wall time that is steady between corrections, because it is carried by monotonic time.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use roundsman_model::time::{Timestamp, nanos};
use rustix::time::{ClockId, clock_gettime};

/// Smaller differences are left alone until the next look: reading two clocks is not exact.
pub(crate) const TOLERANCE: Duration = Duration::from_millis(5);
/// How often the system's wall clock is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Added to the system's wall clock, in nanoseconds: 0 but where a clock that is set is simulated.
static SKEW_NS: AtomicI64 = AtomicI64::new(0);

/// Makes this process believe that the system's clock differs by so much from what it says.
pub fn set_skew(by_ns: i64) {
    SKEW_NS.store(by_ns, Ordering::Relaxed);
}

/// Wall time, anchored at one reading of both clocks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    instant: Instant,
    wall: Timestamp,
    looked: Instant,
    /// How long the machine was suspended since it booted, when the system's clock was last looked at.
    suspended: Duration,
}

/// The system's clock was not where ours was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Off {
    pub(crate) by_ns: i64,
    /// The machine slept for so long meanwhile.
    pub(crate) suspended: Duration,
}

impl Clock {
    /// Reads both clocks.
    pub(crate) fn start() -> Self {
        let instant = Instant::now();
        Self { instant, wall: system_now(), looked: instant, suspended: suspended() }
    }

    /// Now, by the anchor.
    pub(crate) fn now(&self) -> Timestamp {
        self.at(Instant::now())
    }

    /// Which wall time an instant had.
    pub(crate) fn at(&self, instant: Instant) -> Timestamp {
        match instant.checked_duration_since(self.instant) {
            Some(after) => self.wall + after,
            None => self.wall - self.instant.duration_since(instant),
        }
    }

    /// When a wall time comes or came; the anchor where instants do not reach so far back.
    pub(crate) fn instant_of(&self, wall: Timestamp) -> Instant {
        if wall >= self.wall {
            return self.instant + wall.since(self.wall);
        }
        self.instant.checked_sub(self.wall.since(wall)).unwrap_or(self.instant)
    }

    /// Follows the system's clock once a second. Returns by how much it was off when it had to be set.
    pub(crate) fn follow(&mut self) -> Option<Off> {
        let instant = Instant::now();
        if instant.duration_since(self.looked) < LOOK_EVERY {
            return None;
        }
        self.looked = instant;
        let system = system_now();
        let off = system.0.saturating_sub(self.at(instant).0);
        if off.unsigned_abs() <= nanos(TOLERANCE).unsigned_abs() {
            return None;
        }
        (self.instant, self.wall) = (instant, system);
        let before = std::mem::replace(&mut self.suspended, suspended());
        Some(Off { by_ns: off, suspended: self.suspended.saturating_sub(before) })
    }
}

/// How long the machine was suspended since it booted: what its boot time has more than its monotonic time.
fn suspended() -> Duration {
    let read = |clock| Duration::try_from(clock_gettime(clock)).unwrap_or_default();
    let monotonic = read(ClockId::Monotonic);
    read(ClockId::Boottime).saturating_sub(monotonic)
}

/// The system's wall clock.
pub(crate) fn system_now() -> Timestamp {
    let system = match SystemTime::now().duration_since(SystemTime::UNIX_EPOCH) {
        Ok(since) => nanos(since),
        Err(before) => -nanos(before.duration()),
    };
    Timestamp(system.saturating_add(SKEW_NS.load(Ordering::Relaxed)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_and_wall_times_match() {
        let clock = Clock::start();
        let later = clock.instant + Duration::from_secs(3);
        let wall = clock.at(later);
        assert_eq!(wall, clock.wall + Duration::from_secs(3));
        assert_eq!(clock.instant_of(wall), later);
        let before = Duration::from_millis(1);
        assert_eq!(clock.instant_of(clock.wall - before), clock.instant - before);
    }
}
