//! The bounded queue before the writer: submitting never waits, and the writer wakes once per batch, not per entry.

use std::collections::BTreeMap;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::entry::Entry;
use crate::error::Refused;
use crate::row::Cursor;

/// Entries that may wait: more than three seconds at 10,000 runs/s, so that one slow write of the disk loses nothing.
pub(crate) const QUEUE_ENTRIES: usize = 32_768;

/// Bytes that may wait. Records with a thousand points are large, and the agent promises to stay below 48 MiB.
pub(crate) const QUEUE_BYTES: usize = 16 << 20;

/// A batch is big enough to be committed at once: beyond this, larger transactions are not cheaper.
pub(crate) const BATCH_ENTRIES: usize = 4_096;

/// The same in bytes: as much as one checkpoint carries over.
const BATCH_BYTES: usize = 4 << 20;

/// What producers and the writer share.
#[derive(Debug)]
pub(crate) struct Queue {
    inner: Mutex<Inner>,
    wake: Condvar,
    interval: Duration,
}

#[derive(Debug, Default)]
struct Inner {
    entries: Vec<Entry>,
    bytes: usize,
    /// The newest position per destination; only configured destinations are taken, which bounds it.
    acknowledged: BTreeMap<String, Cursor>,
    /// When the first of what waits must be committed.
    due: Option<Instant>,
    /// Entries accepted since the store was opened.
    accepted: u64,
    overrun: u64,
    /// Somebody waits for what is queued.
    hurry: bool,
    closing: bool,
    ended: bool,
    /// A reader found the file damaged.
    damage: Option<String>,
}

/// What the writer takes from the queue at once.
#[derive(Debug)]
pub(crate) struct Work {
    pub(crate) entries: Vec<Entry>,
    pub(crate) acknowledged: BTreeMap<String, Cursor>,
    /// How many entries had been accepted when these were taken.
    pub(crate) through: u64,
    pub(crate) closing: bool,
    pub(crate) damage: Option<String>,
}

/// How full the queue is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Level {
    pub(crate) entries: usize,
    pub(crate) overrun: u64,
}

impl Queue {
    pub(crate) fn new(interval: Duration) -> Self {
        Self { inner: Mutex::default(), wake: Condvar::new(), interval }
    }

    /// Takes an entry, or refuses it when the queue is full. What is refused is the newest: whoever made it is told at
    /// once and can say so, while what was accepted before stays accepted.
    pub(crate) fn push(&self, entry: Entry) -> Result<(), Refused> {
        let weight = entry.weight();
        let mut inner = self.lock();
        if inner.closing || inner.ended {
            return Err(Refused::Closed);
        }
        if inner.entries.len() >= QUEUE_ENTRIES || inner.bytes + weight > QUEUE_BYTES {
            inner.overrun += 1;
            return Err(Refused::Overrun);
        }
        let was_big = inner.is_big();
        inner.entries.push(entry);
        inner.bytes += weight;
        inner.accepted += 1;
        let wake = self.begin(&mut inner) || (inner.is_big() && !was_big);
        drop(inner);
        if wake {
            self.wake.notify_one();
        }
        Ok(())
    }

    /// Notes how far a destination has come; it never goes back.
    pub(crate) fn acknowledge(&self, destination: &str, cursor: Cursor) {
        let mut inner = self.lock();
        match inner.acknowledged.get_mut(destination) {
            Some(known) => *known = furthest(*known, cursor),
            None => {
                inner.acknowledged.insert(destination.to_owned(), cursor);
            }
        }
        if self.begin(&mut inner) {
            drop(inner);
            self.wake.notify_one();
        }
    }

    /// Asks for an early commit; the number of entries that it has to cover.
    pub(crate) fn hurry(&self) -> u64 {
        let mut inner = self.lock();
        inner.hurry = true;
        self.wake.notify_one();
        inner.accepted
    }

    /// No more entries; the writer ends once it has written what there is.
    pub(crate) fn close(&self) {
        self.lock().closing = true;
        self.wake.notify_one();
    }

    /// The writer is gone: nothing will be taken any more.
    pub(crate) fn end(&self) {
        self.lock().ended = true;
    }

    /// Tells the writer that the file is damaged.
    pub(crate) fn report_damage(&self, reason: String) {
        self.lock().damage.get_or_insert(reason);
        self.wake.notify_one();
    }

    pub(crate) fn level(&self) -> Level {
        let inner = self.lock();
        Level { entries: inner.entries.len(), overrun: inner.overrun }
    }

    /// Waits for a batch, or until `wake_at`, and takes all there is. `empty` becomes the new list, so that its memory
    /// is used again.
    pub(crate) fn take(&self, empty: Vec<Entry>, wake_at: Option<Instant>) -> Work {
        let mut inner = self.lock();
        loop {
            let now = Instant::now();
            let until = inner.due.into_iter().chain(wake_at).min();
            if inner.is_urgent() || until.is_some_and(|until| until <= now) {
                return inner.take(empty);
            }
            inner = match until {
                None => self.wake.wait(inner).unwrap_or_else(PoisonError::into_inner),
                Some(until) => self.wake.wait_timeout(inner, until - now).unwrap_or_else(PoisonError::into_inner).0,
            };
        }
    }

    /// Starts the clock of a batch. True when it was not running: the writer has to be woken to look at it.
    fn begin(&self, inner: &mut Inner) -> bool {
        let first = inner.due.is_none();
        if first {
            inner.due = Some(Instant::now() + self.interval);
        }
        first
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn is_big(&self) -> bool {
        self.entries.len() >= BATCH_ENTRIES || self.bytes >= BATCH_BYTES
    }

    fn is_urgent(&self) -> bool {
        self.hurry || self.closing || self.damage.is_some() || self.is_big()
    }

    fn take(&mut self, empty: Vec<Entry>) -> Work {
        self.bytes = 0;
        self.due = None;
        self.hurry = false;
        Work {
            entries: std::mem::replace(&mut self.entries, empty),
            acknowledged: std::mem::take(&mut self.acknowledged),
            through: self.accepted,
            closing: self.closing,
            damage: self.damage.take(),
        }
    }
}

/// A cursor that is behind neither of two.
pub(crate) fn furthest(a: Cursor, b: Cursor) -> Cursor {
    Cursor { record: a.record.max(b.record), transition: a.transition.max(b.transition) }
}

#[cfg(test)]
mod tests {
    use roundsman_model::key::Key;
    use roundsman_model::name::CheckName;

    use super::*;

    fn entry() -> Entry {
        Entry::Forget { key: Key::new(CheckName::new("a").unwrap(), None) }
    }

    #[test]
    fn full_refuses_the_newest_and_counts_it() {
        let queue = Queue::new(Duration::from_hours(1));
        for _ in 0..QUEUE_ENTRIES {
            queue.push(entry()).unwrap();
        }
        assert_eq!(queue.push(entry()), Err(Refused::Overrun));
        let Level { entries, overrun } = queue.level();
        assert_eq!((entries, overrun), (QUEUE_ENTRIES, 1));
        assert_eq!(queue.take(Vec::new(), None).through, QUEUE_ENTRIES as u64);
        assert_eq!(queue.push(entry()), Ok(()));
    }

    #[test]
    fn acknowledgements_coalesce_and_never_go_back() {
        let queue = Queue::new(Duration::ZERO);
        for (record, transition) in [(5, 1), (3, 4), (4, 2)] {
            queue.acknowledge("main", Cursor { record, transition });
        }
        let work = queue.take(Vec::new(), None);
        assert_eq!(work.acknowledged["main"], Cursor { record: 5, transition: 4 });
    }

    #[test]
    fn closed_refuses() {
        let queue = Queue::new(Duration::ZERO);
        queue.push(entry()).unwrap();
        queue.close();
        assert_eq!(queue.push(entry()), Err(Refused::Closed));
        let work = queue.take(Vec::new(), None);
        assert!(work.closing);
        assert_eq!(work.entries.len(), 1);
    }
}
