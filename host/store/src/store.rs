//! The handle that the agent holds: submit, wait, acknowledge, ask how it is, and end.

use std::fmt;
use std::future::{Future, pending};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use roundsman_model::time::Timestamp;
use tokio::sync::watch;

use crate::entry::{Config, Entry, MAX_COMMIT_INTERVAL};
use crate::error::{NotCommitted, Refused, StoreError};
use crate::open;
use crate::queue::Queue;
use crate::reader::Reader;
use crate::row::{Cursor, Restored};
use crate::writer::Writer;

/// The store. Cheap to clone; when the last handle is dropped, what was submitted is written and the file closed.
#[derive(Debug, Clone)]
pub struct Store {
    handle: Arc<Handle>,
}

/// What all handles share; the writer holds `Shared` alone, so that it sees when they are gone.
#[derive(Debug)]
struct Handle {
    shared: Arc<Shared>,
}

/// What handles, readers and the writer share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) path: PathBuf,
    pub(crate) queue: Queue,
    /// How many batches were committed.
    pub(crate) committed: watch::Sender<u64>,
    pub(crate) progress: watch::Sender<Progress>,
    pub(crate) health: Mutex<Health>,
    pub(crate) unreadable: AtomicU64,
    end: watch::Sender<Option<End>>,
}

/// How far the writer has come.
#[derive(Debug, Clone, Default)]
pub(crate) struct Progress {
    /// Of the entries that were accepted, how many it has dealt with.
    pub(crate) through: u64,
    /// Why they are in memory only.
    pub(crate) degraded: Option<String>,
}

/// How the writer ended.
#[derive(Debug, Clone)]
pub(crate) enum End {
    /// As it was asked to.
    Closed,
    Died(String),
}

/// How the store fares. Counters begin with the process, but for `dropped_unsent`, which is kept in the file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Health {
    /// Why entries are kept in memory only, or why housekeeping fails: a full disk, mostly. None: all is well.
    pub degraded: Option<String>,
    pub records: u64,
    pub transitions: u64,
    /// On disk, write-ahead log included.
    pub bytes: u64,
    /// How far the history goes back.
    pub oldest: Option<Timestamp>,
    /// Entries that wait for the writer.
    pub queued: usize,
    /// Entries in memory that wait for the disk.
    pub held: usize,
    /// Records, changes and silences that were shown, but were too many to be held until the disk took them.
    pub lost: u64,
    /// Entries that were refused because the queue was full.
    pub overrun: u64,
    /// Records that were refused, and hard changes that have no row, because they were not later than the one before
    /// them in their series; silences that were too many.
    pub refused: u64,
    /// Rows that retention removed before every destination had acknowledged them.
    pub dropped_unsent: u64,
    /// Rows that readers left out because their content is garbled.
    pub unreadable: u64,
}

impl Store {
    /// Opens the history in `config.directory`, or begins one there. `publish` is called on the writer's thread with
    /// what was committed, right after each commit; while the disk refuses, with what is held in memory instead, once.
    /// It must not block, and its panic ends the store.
    pub fn open(
        config: Config,
        publish: impl FnMut(&[Entry]) + Send + 'static,
    ) -> Result<(Self, Restored), StoreError> {
        let opened = open::open(&config)?;
        let restored = Restored {
            subjects: opened.database.subjects.restored(),
            findings: opened.past.findings,
            silences: opened.past.silences,
            conducts: opened.past.conducts,
            cursors: opened.database.cursors.iter().map(|(name, cursor)| (name.clone(), *cursor)).collect(),
            note: opened.note,
        };
        let shared = Arc::new(Shared {
            path: open::path(&config.directory),
            queue: Queue::new(config.commit_interval.min(MAX_COMMIT_INTERVAL)),
            committed: watch::Sender::new(0),
            progress: watch::Sender::default(),
            health: Mutex::default(),
            unreadable: AtomicU64::new(0),
            end: watch::Sender::new(None),
        });
        let store = Self { handle: Arc::new(Handle { shared: shared.clone() }) };
        Writer::new(opened.database, opened.lock, shared, Box::new(publish)).spawn()?;
        Ok((store, restored))
    }

    /// Queues an entry; never waits. What is refused is counted.
    pub fn submit(&self, entry: Entry) -> Result<(), Refused> {
        self.shared().queue.push(entry)
    }

    /// Waits until everything that was submitted before is on disk; at once, without waiting for the interval.
    pub async fn flush(&self) -> Result<(), NotCommitted> {
        let shared = self.shared();
        let target = shared.queue.hurry();
        let (mut progress, mut end) = (shared.progress.subscribe(), shared.end.subscribe());
        tokio::select! {
            biased;
            done = progress.wait_for(|progress| progress.through >= target) => match done {
                Ok(progress) => progress.degraded.clone().map_or(Ok(()), |why| Err(NotCommitted::Degraded(why))),
                Err(_) => Err(NotCommitted::Closed),
            },
            ended = end.wait_for(Option::is_some) => match ended.as_deref() {
                Ok(Some(End::Died(why))) => Err(NotCommitted::Died(why.clone())),
                _ => Err(NotCommitted::Closed),
            },
        }
    }

    /// Notes that a destination has everything up to a position. Committed with the next batch: after a crash before
    /// that, the destination is sent the same bytes again.
    pub fn acknowledge(&self, destination: &str, cursor: Cursor) {
        self.shared().queue.acknowledge(destination, cursor);
    }

    /// Changes with every commit: when it does, there may be more in the outbox.
    pub fn committed(&self) -> watch::Receiver<u64> {
        self.shared().committed.subscribe()
    }

    /// Resolves with the reason if the writer ends without having been asked to. Nothing is persisted from then on.
    pub fn died(&self) -> impl Future<Output = String> + Send + use<> {
        let mut end = self.shared().end.subscribe();
        async move {
            let why = match end.wait_for(|end| matches!(end, Some(End::Died(_)))).await.as_deref() {
                Ok(Some(End::Died(why))) => Some(why.clone()),
                _ => None,
            };
            match why {
                Some(why) => why,
                None => pending().await,
            }
        }
    }

    /// A read-only connection of its own. Opening and using it blocks for the time that the disk takes.
    pub fn reader(&self) -> Result<Reader, StoreError> {
        Reader::open(self.shared().clone())
    }

    /// How it fares, as of the last batch.
    pub fn health(&self) -> Health {
        let shared = self.shared();
        let written = shared.health.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let level = shared.queue.level();
        let unreadable = shared.unreadable.load(Ordering::Relaxed);
        Health { queued: level.entries, overrun: level.overrun, unreadable, ..written }
    }

    /// Writes what was submitted and closes the file in order. Further entries are refused.
    pub async fn close(self) -> Result<(), NotCommitted> {
        let shared = self.shared();
        shared.queue.close();
        let mut end = shared.end.subscribe();
        match end.wait_for(Option::is_some).await.as_deref() {
            Ok(Some(End::Died(why))) => Err(NotCommitted::Died(why.clone())),
            _ => shared.progress.borrow().degraded.clone().map_or(Ok(()), |why| Err(NotCommitted::Degraded(why))),
        }
    }

    fn shared(&self) -> &Arc<Shared> {
        &self.handle.shared
    }
}

impl Shared {
    pub(crate) fn ended(&self, end: End) {
        self.queue.end();
        self.end.send_replace(Some(end));
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.shared.queue.close();
    }
}

impl fmt::Display for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.degraded {
            None => write!(f, "ok: {} records, {} transitions, {} bytes", self.records, self.transitions, self.bytes),
            Some(why) => write!(f, "degraded: {why}; {} entries held in memory, {} lost", self.held, self.lost),
        }
    }
}
