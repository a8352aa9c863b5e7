//! What a forwarder has done and how it stands: for `/metrics` and `status`.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use roundsman_model::time::Timestamp;
use tokio::sync::watch;

/// Counters and present state of one destination; shared with whoever shows them.
#[derive(Debug, Default)]
pub struct Stats {
    written: AtomicU64,
    rejected: AtomicU64,
    retries: AtomicU64,
    requests: AtomicU64,
    bytes: AtomicU64,
    /// Rows not delivered among those that were there when `seen` was read.
    behind: AtomicU64,
    seen: AtomicU64,
    /// Counts what the store publishes.
    rows: OnceLock<watch::Receiver<u64>>,
    state: Mutex<State>,
}

/// The numbers at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Snapshot {
    /// Lines that the server has taken.
    pub written: u64,
    /// Lines that it will never take; they were counted, and kept in the file of rejected lines where it is known
    /// which they were.
    pub rejected: u64,
    /// Requests sent again.
    pub retries: u64,
    /// Requests sent, with those sent again.
    pub requests: u64,
    /// Bytes of their bodies, as they were on the wire.
    pub bytes: u64,
    /// Rows that wait to be sent, as far as is known.
    pub lag_rows: u64,
    /// When the server last took something; none since the start.
    pub last_success: Option<Timestamp>,
    /// Since when nothing goes out, and why; none while it does.
    pub held: Option<Trouble>,
    /// The last thing that went wrong, also when it is over.
    pub last_error: Option<Trouble>,
}

/// Something that went wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    pub since: Timestamp,
    pub why: String,
}

#[derive(Debug, Default)]
struct State {
    last_success: Option<Timestamp>,
    held: Option<Trouble>,
    last_error: Option<Trouble>,
}

impl Stats {
    /// The numbers now.
    pub fn snapshot(&self) -> Snapshot {
        let state = self.state();
        Snapshot {
            written: self.written.load(Relaxed),
            rejected: self.rejected.load(Relaxed),
            retries: self.retries.load(Relaxed),
            requests: self.requests.load(Relaxed),
            bytes: self.bytes.load(Relaxed),
            lag_rows: self.behind.load(Relaxed).saturating_add(self.since_seen()),
            last_success: state.last_success,
            held: state.held.clone(),
            last_error: state.last_error.clone(),
        }
    }

    pub(crate) fn sent(&self, bytes: usize) {
        self.requests.fetch_add(1, Relaxed);
        self.bytes.fetch_add(bytes as u64, Relaxed);
    }

    /// The server took lines, and refused some of them.
    pub(crate) fn delivered(&self, now: Timestamp, written: u64, rejected: u64) {
        self.written.fetch_add(written, Relaxed);
        self.rejected(rejected);
        self.state().last_success = Some(now);
    }

    /// Lines that the server will never take.
    pub(crate) fn rejected(&self, lines: u64) {
        self.rejected.fetch_add(lines, Relaxed);
    }

    pub(crate) fn retried(&self) {
        self.retries.fetch_add(1, Relaxed);
    }

    /// From now on the lag grows with what the store publishes.
    pub(crate) fn follow(&self, rows: watch::Receiver<u64>) {
        self.seen.store(*rows.borrow(), Relaxed);
        // A second forwarder with the same numbers would count the same store.
        self.rows.get_or_init(|| rows);
    }

    /// `behind` rows are not delivered of those that were there when `rows` said `seen`.
    pub(crate) fn lag(&self, behind: u64, seen: u64) {
        self.behind.store(behind, Relaxed);
        self.seen.store(seen, Relaxed);
    }

    fn since_seen(&self) -> u64 {
        self.rows.get().map_or(0, |rows| rows.borrow().saturating_sub(self.seen.load(Relaxed)))
    }

    /// Something went wrong; nothing is stopped by it.
    pub(crate) fn error(&self, now: Timestamp, why: &str) {
        self.state().last_error = Some(Trouble { since: now, why: why.to_owned() });
    }

    /// Nothing goes out from now on. True when that, or its reason, is news.
    pub(crate) fn hold(&self, now: Timestamp, why: &str) -> bool {
        self.error(now, why);
        let mut state = self.state();
        let news = state.held.as_ref().is_none_or(|held| held.why != why);
        let since = state.held.as_ref().map_or(now, |held| held.since);
        state.held = Some(Trouble { since, why: why.to_owned() });
        news
    }

    /// It goes out again. Tells since when it did not.
    pub(crate) fn release(&self) -> Option<Trouble> {
        self.state().held.take()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing inside can be left half done.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hold_keeps_its_beginning() {
        let stats = Stats::default();
        assert!(stats.hold(Timestamp(1), "a"));
        assert!(!stats.hold(Timestamp(2), "a"));
        assert!(stats.hold(Timestamp(3), "b"));
        let trouble = |since, why: &str| Some(Trouble { since: Timestamp(since), why: why.into() });
        assert_eq!(stats.snapshot().held, trouble(1, "b"));
        assert_eq!(stats.release(), trouble(1, "b"));
        assert_eq!(stats.release(), None);
        assert_eq!(stats.snapshot().last_error, trouble(3, "b"));
    }
}
