//! The one thread that writes: batches, publication after the commit, the ring for a full disk, housekeeping.

use std::any::Any;
use std::collections::VecDeque;
use std::fmt;
use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use crate::database::Database;
use crate::entry::Entry;
use crate::error::{StoreError, is_damage, is_full};
use crate::open;
use crate::queue::{BATCH_ENTRIES, Work};
use crate::retention::STEP;
use crate::store::{End, Health, Progress, Shared};

/// Loss on power failure is bounded by this: what was committed longer ago is on the disk.
const SYNC_INTERVAL: Duration = Duration::from_secs(2);

/// How often to try to set space aside again, once the reserve had to be given up.
const RESERVE_INTERVAL: Duration = Duration::from_secs(30);

/// When a batch finds no space, it is tried again in parts: this many times smaller each time, down to one entry.
const PARTS: usize = 8;

/// Subjects are written at least so often. In between, their newest records tell where they stand.
const SNAPSHOT_INTERVAL: Duration = Duration::from_secs(10);

/// Records that may have to be followed when a file is opened; reading them takes some hundredths of a second.
const SNAPSHOT_RECORDS: usize = 20_000;

/// Bytes of entries held in memory while the disk refuses them; the oldest give way.
const RING_BYTES: usize = 16 << 20;

/// The first pause before trying again; it doubles up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// Entries per transaction while the disk is short: little space may be enough for little.
const SMALL_BATCH: usize = 128;

/// Rows per step of making room while the disk is short, for the same reason.
const SMALL_STEP: usize = 64;

/// Such steps in a row, before a batch is tried again.
const MOST_STEPS: usize = 100;

/// Retention looks whether there is something to do at least so often, or after so many entries.
const RETENTION_INTERVAL: Duration = Duration::from_secs(1);

/// Between steps of retention when there is more to do than one.
const RETENTION_PAUSE: Duration = Duration::from_millis(20);

pub(crate) type Publish = Box<dyn FnMut(&[Entry]) + Send>;

pub(crate) struct Writer {
    database: Database,
    shared: Arc<Shared>,
    publish: Publish,
    /// Set while the disk refuses.
    degraded: Option<Degraded>,
    /// Why the last checkpoint or step of retention failed.
    trouble: Option<String>,
    refused: u64,
    lost: u64,
    /// Something was committed that is not known to be on the disk itself.
    unsynced: bool,
    last_sync: Instant,
    last_snapshot: Instant,
    since_snapshot: usize,
    last_reserve: Instant,
    last_retention: Instant,
    /// Entries written since.
    since_retention: usize,
    /// Retention has more to do.
    surplus: bool,
    /// The memory of the last batch's list, for the next one.
    spare: Vec<Entry>,
    /// Released when the writer is dropped, after the file was closed.
    _lock: File,
}

/// Entries that were published and wait for the disk.
struct Degraded {
    reason: String,
    ring: VecDeque<Entry>,
    bytes: usize,
    retry_at: Instant,
    pause: Duration,
}

/// The writer cannot go on, and why.
struct Fatal(String);

impl Writer {
    pub(crate) fn new(database: Database, lock: File, shared: Arc<Shared>, publish: Publish) -> Self {
        let now = Instant::now();
        let mut writer = Self {
            database,
            shared,
            publish,
            degraded: None,
            trouble: None,
            refused: 0,
            lost: 0,
            unsynced: true,
            last_sync: now,
            last_snapshot: now,
            since_snapshot: 0,
            last_reserve: now,
            last_retention: now,
            since_retention: 0,
            surplus: true,
            spare: Vec::new(),
            _lock: lock,
        };
        writer.report();
        writer
    }

    /// Starts the thread. However it ends, it says so.
    pub(crate) fn spawn(self) -> Result<(), StoreError> {
        let shared = self.shared.clone();
        let body = move || {
            let mut writer = self;
            let end = match catch_unwind(AssertUnwindSafe(|| writer.run())) {
                Ok(Ok(())) => End::Closed,
                Ok(Err(Fatal(why))) => End::Died(why),
                Err(panic) => End::Died(format!("the writer of the store panicked: {}", panic_text(&*panic))),
            };
            if let End::Died(why) = &end {
                tracing::error!(reason = why, "the store ended");
            }
            drop(writer);
            shared.ended(end);
        };
        std::thread::Builder::new()
            .name("store".to_owned())
            .spawn(body)
            .map_err(|source| StoreError::Thread { source })?;
        Ok(())
    }

    fn run(&mut self) -> Result<(), Fatal> {
        loop {
            let work = self.shared.queue.take(std::mem::take(&mut self.spare), self.wake_at());
            let Work { mut entries, acknowledged, through, closing, damage } = work;
            if let Some(reason) = damage {
                return Err(self.damaged(&reason));
            }
            for (destination, cursor) in acknowledged {
                self.database.acknowledge(&destination, cursor);
            }
            let written = entries.len();
            self.admit(&mut entries);
            self.write(&mut entries)?;
            self.retry(closing)?;
            self.report();
            let degraded = self.degraded.as_ref().map(|degraded| degraded.reason.clone());
            self.shared.progress.send_replace(Progress { through, degraded });
            if closing {
                return self.finish();
            }
            self.since_retention += written;
            self.keep_house()?;
            entries.clear();
            entries.shrink_to(BATCH_ENTRIES);
            self.spare = entries;
        }
    }

    fn wake_at(&self) -> Option<Instant> {
        let retry = self.degraded.as_ref().map(|degraded| degraded.retry_at);
        let sync = (self.unsynced && self.degraded.is_none()).then(|| self.last_sync + SYNC_INTERVAL);
        let retention = self.retention_at().filter(|_| self.degraded.is_none());
        retry.into_iter().chain(sync).chain(retention).min()
    }

    fn retention_at(&self) -> Option<Instant> {
        match (self.surplus, self.since_retention) {
            (true, _) => Some(self.last_retention + RETENTION_PAUSE),
            (false, 0) => None,
            (false, _) => Some(self.last_retention + RETENTION_INTERVAL),
        }
    }

    /// Leaves out records that are not later than the one before them in their series, for what was stored stays, and
    /// silences that are too many.
    fn admit(&mut self, entries: &mut Vec<Entry>) {
        let before = entries.len();
        entries.retain(|entry| self.database.admit(entry));
        let refused = before - entries.len();
        if refused > 0 {
            self.refused += refused as u64;
            tracing::warn!(refused, "records not later than their predecessors, or too many silences, were not stored");
        }
    }

    /// Commits, then publishes. From the first failure on, the rest is held in memory, and published all the same:
    /// with a full disk people must still see what is going on, and `degraded` tells them what it is worth.
    fn write(&mut self, entries: &mut Vec<Entry>) -> Result<(), Fatal> {
        let mut done = 0;
        let mut most = BATCH_ENTRIES;
        while self.degraded.is_none() && (done < entries.len() || self.database.cursors_changed) {
            let batch = &entries[done..entries.len().min(done + most)];
            match commit(&mut self.database, batch, &mut self.last_snapshot, &mut self.since_snapshot) {
                Ok(()) => {
                    if !batch.is_empty() {
                        (self.publish)(batch);
                    }
                    done += batch.len();
                    self.unsynced = true;
                    self.shared.committed.send_modify(|committed| *committed += 1);
                    if most < BATCH_ENTRIES {
                        self.relieve()?;
                    }
                }
                // Perhaps only the log has to be carried over before there is space again.
                Err(error) if is_full(&error) && most > 1 => {
                    most = (most / PARTS).max(1);
                    self.relieve()?;
                }
                Err(error) => self.degrade(&error)?,
            }
        }
        if done < entries.len() {
            (self.publish)(&entries[done..]);
            self.hold(entries.drain(done..));
        }
        Ok(())
    }

    /// Failing does not matter here: the next commit fails then, too.
    fn relieve(&mut self) -> Result<(), Fatal> {
        match self.database.relieve() {
            Err(error) if is_damage(&error) => Err(self.damaged(&error.to_string())),
            Err(error) => {
                tracing::debug!(%error, "the log cannot be carried over");
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }

    fn degrade(&mut self, error: &rusqlite::Error) -> Result<(), Fatal> {
        if is_damage(error) {
            return Err(self.damaged(&error.to_string()));
        }
        let reason = words(error);
        tracing::error!(reason, "the store cannot write; records are held in memory until it can");
        let retry_at = Instant::now() + FIRST_PAUSE;
        self.degraded = Some(Degraded { reason, ring: VecDeque::new(), bytes: 0, retry_at, pause: FIRST_PAUSE });
        self.trim_if_full(error);
        Ok(())
    }

    fn trim_if_full(&mut self, error: &rusqlite::Error) {
        if is_full(error)
            && let Err(error) = self.database.trim()
        {
            tracing::warn!(%error, "cannot tell how large the history is");
        }
    }

    fn hold(&mut self, entries: impl Iterator<Item = Entry>) {
        let Some(degraded) = &mut self.degraded else { return };
        for entry in entries {
            degraded.bytes += entry.weight();
            degraded.ring.push_back(entry);
        }
        while degraded.bytes > RING_BYTES
            && let Some(oldest) = degraded.ring.pop_front()
        {
            degraded.bytes -= oldest.weight();
            self.lost += u64::from(oldest.is_telling());
        }
    }

    /// Tries to bring what is held in memory to the disk, when it is time.
    fn retry(&mut self, now_or_never: bool) -> Result<(), Fatal> {
        let Some(mut degraded) = self.degraded.take_if(|d| now_or_never || d.retry_at <= Instant::now()) else {
            return Ok(());
        };
        match self.drain(&mut degraded) {
            Ok(()) => tracing::info!(lost = self.lost, "the store can write again"),
            Err(error) if is_damage(&error) => return Err(self.damaged(&error.to_string())),
            Err(error) => {
                self.trim_if_full(&error);
                degraded.reason = words(&error);
                degraded.pause = (degraded.pause * 2).min(LONGEST_PAUSE);
                degraded.retry_at = Instant::now() + degraded.pause;
                self.degraded = Some(degraded);
            }
        }
        Ok(())
    }

    fn drain(&mut self, degraded: &mut Degraded) -> rusqlite::Result<()> {
        self.database.relieve()?;
        self.database.acquire_reserve()?;
        let mut most = SMALL_BATCH;
        loop {
            // A log that has been carried over is written anew from its beginning, and pages that become free take new
            // rows: both work on a full disk.
            let mut steps = 0;
            while steps < MOST_STEPS && self.database.retain(SMALL_STEP)? {
                self.database.relieve()?;
                steps += 1;
            }
            let count = degraded.ring.len().min(most);
            let batch = &degraded.ring.make_contiguous()[..count];
            match commit(&mut self.database, batch, &mut self.last_snapshot, &mut self.since_snapshot) {
                Err(error) if is_full(&error) && most > 1 => most = (most / PARTS).max(1),
                result => {
                    result?;
                    degraded.bytes -= degraded.ring.drain(..count).map(|entry| entry.weight()).sum::<usize>();
                    self.unsynced = true;
                    self.shared.committed.send_modify(|committed| *committed += 1);
                }
            }
            if degraded.ring.is_empty() {
                return Ok(());
            }
            self.database.relieve()?;
        }
    }

    /// Checkpoints and retention. Their failure loses nothing; it is told in words.
    fn keep_house(&mut self) -> Result<(), Fatal> {
        if self.degraded.is_some() {
            return Ok(());
        }
        let trouble = match self.retain_and_sync() {
            Ok(()) => None,
            Err(error) if is_damage(&error) => return Err(self.damaged(&error.to_string())),
            Err(error) => Some(words(&error)),
        };
        if trouble.is_some() && trouble != self.trouble {
            tracing::warn!(reason = trouble, "the store cannot keep house");
        }
        self.trouble = trouble;
        Ok(())
    }

    fn retain_and_sync(&mut self) -> rusqlite::Result<()> {
        if self.since_retention >= STEP || self.retention_at().is_some_and(|at| at <= Instant::now()) {
            let step = STEP.max(2 * self.since_retention);
            (self.last_retention, self.since_retention) = (Instant::now(), 0);
            self.surplus = self.database.retain(step)?;
            self.unsynced |= self.surplus;
            self.report();
        }
        if self.last_reserve.elapsed() >= RESERVE_INTERVAL {
            self.last_reserve = Instant::now();
            self.database.acquire_reserve()?;
        }
        if self.unsynced && (self.last_sync.elapsed() >= SYNC_INTERVAL || self.database.wants_checkpoint()) {
            self.last_sync = Instant::now();
            self.database.relieve()?;
            self.unsynced = false;
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<(), Fatal> {
        if let Some(degraded) = &self.degraded {
            let held = degraded.ring.len();
            tracing::error!(held, reason = degraded.reason, "entries that the disk did not take are lost");
        }
        let closed = self.database.commit(&[], true).and_then(|()| self.database.close());
        if let Err(error) = closed {
            tracing::warn!(%error, "the history could not be closed in order; it is inspected at the next start");
        }
        Ok(())
    }

    /// The file itself is damaged: the next start sets it aside, and the agent has to be started again for that.
    fn damaged(&self, reason: &str) -> Fatal {
        if let Some(directory) = self.database.path.parent()
            && let Err(error) = open::mark_damaged(directory, reason)
        {
            tracing::error!(%error, "cannot leave word of the damage");
        }
        let path = self.database.path.display();
        Fatal(format!("the history {path} is damaged ({reason}); the next start sets it aside and begins a new one"))
    }

    fn report(&mut self) {
        let number = |count: i64| u64::try_from(count).unwrap_or(0);
        let held = self.degraded.as_ref().map(|degraded| (degraded.reason.clone(), degraded.ring.len()));
        let (reason, held) = held.unzip();
        let health = Health {
            degraded: reason.or_else(|| self.trouble.clone()),
            records: number(self.database.tally.records),
            transitions: number(self.database.tally.transitions),
            bytes: self.database.bytes().unwrap_or(0),
            oldest: self.database.oldest().ok().flatten().map(|(_, time)| time),
            held: held.unwrap_or(0),
            lost: self.lost,
            refused: self.refused + self.database.unordered,
            dropped_unsent: number(self.database.tally.dropped_unsent),
            ..Health::default()
        };
        *self.shared.health.lock().unwrap_or_else(PoisonError::into_inner) = health;
    }
}

/// Commits a batch, with all subjects when it is time for that.
fn commit(
    database: &mut Database,
    batch: &[Entry],
    last_snapshot: &mut Instant,
    since_snapshot: &mut usize,
) -> rusqlite::Result<()> {
    let snapshot = last_snapshot.elapsed() >= SNAPSHOT_INTERVAL || *since_snapshot >= SNAPSHOT_RECORDS;
    database.commit(batch, snapshot)?;
    *since_snapshot += batch.len();
    if snapshot {
        (*last_snapshot, *since_snapshot) = (Instant::now(), 0);
    }
    Ok(())
}

/// What keeps the store from writing, for people.
fn words(error: &rusqlite::Error) -> String {
    if is_full(error) {
        "the disk is full: make room on the file system of `paths.state`, or lower `store.maxSize`".to_owned()
    } else {
        format!("the disk refuses: {error}")
    }
}

fn panic_text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("without a message")
}

impl fmt::Debug for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writer").field("database", &self.database).finish_non_exhaustive()
    }
}
