//! How long to wait between tries: full jitter, so that a cluster does not come back as one.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Duration;

/// The first wait is at most this long; each further one may be twice as long.
const BASE: Duration = Duration::from_millis(500);

/// No wait is longer, unless the server asks for it: an outage must not outlive its cause by more.
const CAP: Duration = Duration::from_secs(60);

/// Between tries while a person must change something.
const HOLD: Duration = Duration::from_secs(60);

/// The wait before try `attempt` + 1 (`attempt` counts from 1): anything from nothing to the ceiling.
pub(crate) fn retry(attempt: u32, at_least: Duration, random: u64) -> Duration {
    let ceiling = BASE.saturating_mul(2_u32.saturating_pow(attempt.saturating_sub(1))).min(CAP);
    within(ceiling, random).max(at_least)
}

/// The wait while a destination is held, with a tenth of jitter.
pub(crate) fn hold(random: u64) -> Duration {
    HOLD + within(HOLD / 10, random)
}

/// A number that nobody can predict; good enough to spread waits.
pub(crate) fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}

/// From nothing to the ceiling.
pub(crate) fn within(ceiling: Duration, random: u64) -> Duration {
    let nanos = u64::try_from(ceiling.as_nanos()).unwrap_or(u64::MAX).saturating_add(1);
    Duration::from_nanos(random % nanos)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits() {
        // The largest random number modulo one more than the ceiling is not the ceiling: look at the bound instead.
        for (attempt, ceiling_ms) in
            [(0, 500), (1, 500), (2, 1_000), (3, 2_000), (7, 32_000), (8, 60_000), (99, 60_000)]
        {
            let ceiling = Duration::from_millis(ceiling_ms);
            assert_eq!(retry(attempt, Duration::ZERO, ceiling_ms * 1_000_000), ceiling);
            assert_eq!(retry(attempt, Duration::ZERO, ceiling_ms * 1_000_000 + 1), Duration::ZERO);
            assert!((0..100).all(|_| retry(attempt, Duration::ZERO, random()) <= ceiling));
        }
        assert_eq!(retry(1, Duration::from_secs(600), random()), Duration::from_secs(600));
        assert!((0..100).map(|_| hold(random())).all(|wait| wait >= HOLD && wait <= HOLD + HOLD / 10));
    }

    #[test]
    fn random_numbers_differ() {
        assert_ne!(random(), random());
    }
}
