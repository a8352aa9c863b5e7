//! Random numbers of which a seed gives the same row for ever.

use std::time::Duration;

/// Xorshift with a multiplication: small, and more than random enough for dice.
#[derive(Debug)]
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        // Never 0, from which it would not get away.
        let mut random = Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        for _ in 0..8 {
            random.next();
        }
        random
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// Less than `end`.
    pub(super) fn below(&mut self, end: u64) -> u64 {
        (self.next() >> 11) % end.max(1)
    }

    /// From one to the other, both included.
    pub(super) fn between(&mut self, from: u64, to: u64) -> u64 {
        from + self.below(to - from + 1)
    }

    /// Once in so many times.
    pub(super) fn once_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }

    pub(super) fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.below(items.len() as u64) as usize]
    }

    pub(super) fn seconds(&mut self, from: u64, to: u64) -> Duration {
        Duration::from_secs(self.between(from, to))
    }

    /// Down to the nanosecond.
    pub(super) fn duration(&mut self, from: Duration, to: Duration) -> Duration {
        Duration::from_nanos(self.between(from.as_nanos() as u64, to.as_nanos() as u64))
    }
}
