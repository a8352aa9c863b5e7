//! Counters of what was asked of the world, for `/metrics`.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::failure::{Failure, code};

/// Of all runs together, since the process began.
#[derive(Debug, Default)]
pub struct Stats {
    pub http: Calls,
    pub tcp: Calls,
    pub udp: Calls,
    pub dns: Calls,
    pub icmp: Calls,
    /// Name look-ups for `std::net`.
    pub lookup: Calls,
    pub system: Calls,
    pub command: Calls,
    /// Connects and sends of `std::net`; counted by whoever asks `Grants::permits_address`.
    pub socket: Calls,
}

/// Of one kind of call.
#[derive(Debug, Default)]
pub struct Calls {
    calls: AtomicU64,
    failures: [AtomicU64; code::ALL.len()],
}

impl Calls {
    /// One call more, and how it ended.
    pub fn count<T>(&self, result: &Result<T, Failure>) {
        self.calls.fetch_add(1, Ordering::Relaxed);
        if let Err(failure) = result {
            self.fail(failure.code);
        }
    }

    /// One call more, that the grants refused.
    pub fn refuse(&self) {
        self.calls.fetch_add(1, Ordering::Relaxed);
        self.fail(code::DENIED);
    }

    fn fail(&self, code: &str) {
        if let Some((_, count)) = code::ALL.iter().zip(&self.failures).find(|(known, _)| **known == code) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// All calls, whatever came of them.
    pub fn calls(&self) -> u64 {
        self.calls.load(Ordering::Relaxed)
    }

    /// Calls that the grants refused.
    pub fn refusals(&self) -> u64 {
        self.failures().find(|(known, _)| *known == code::DENIED).map_or(0, |(_, count)| count)
    }

    /// Failed calls by code, refusals among them.
    pub fn failures(&self) -> impl Iterator<Item = (&'static str, u64)> {
        code::ALL.into_iter().zip(&self.failures).map(|(code, count)| (code, count.load(Ordering::Relaxed)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_call_is_counted_once() {
        let calls = Calls::default();
        calls.count(&Ok(()));
        calls.count::<()>(&Err(Failure::new(code::TIMEOUT, "connect", "")));
        calls.refuse();
        assert_eq!((calls.calls(), calls.refusals()), (3, 1));
        assert_eq!(calls.failures().map(|(_, count)| count).sum::<u64>(), 2);
    }
}
