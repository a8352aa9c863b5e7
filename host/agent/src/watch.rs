//! Watches the files of a directory: what is new, changed or gone, once it rests.
//!
//! - `snapshot`: one look at a directory, and what differs between two; `read`: reading a file whole or not at all
//!
//! The kernel only wakes the watcher; what is true is what a look at the directory shows, and it looks by itself now
//! and then, for events that get lost and file systems that have none. A change is told when two looks agree on it, or
//! when its file was not written for as long: so one that is being written waits until its writer pauses, and one that
//! is renamed into place, however often, does not. A directory that cannot be listed takes nothing
//! away: what was loaded from it goes on until it is there again.

pub mod read;
pub mod snapshot;

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use notify::event::{AccessKind, AccessMode};
use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;

use crate::problem::Problem;
use crate::watch::snapshot::{Difference, Scan, Seen, Snapshot};

/// After an event: writers do several things at once. Half a percent of a processor while they go on for ever.
const PAUSE: Duration = Duration::from_millis(20);

/// Between two looks that have to agree: long enough for a writer to go on, short beside the second in which changes
/// are promised to apply.
const SETTLE: Duration = Duration::from_millis(100);

/// Between looks without an event.
const RESCAN: Duration = Duration::from_secs(2);

/// The same where the kernel tells nothing: the directory is not there, or no watch could be had.
const RESCAN_BLIND: Duration = Duration::from_millis(500);

/// What differs from what was told before. The first change tells everything that is there, also when that is nothing.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Change {
    /// New or changed, by name.
    pub seen: Vec<Seen>,
    pub removed: Vec<String>,
    /// What is wrong with the directory and with names in it that are no files; replaces what was told before.
    pub problems: Vec<Problem>,
    /// Whether the directory could be listed; if not, nothing is said about its files.
    pub listed: bool,
}

/// From looks at a directory to changes. Pure.
#[derive(Debug, Default)]
struct Tracker {
    told: Snapshot,
    last: Snapshot,
    problems: Vec<Problem>,
    listed: bool,
    begun: bool,
}

/// What is to be told now, and whether another look is needed soon.
#[derive(Debug, Default, PartialEq)]
struct Step {
    change: Option<Change>,
    unsettled: bool,
}

impl Tracker {
    fn look(&mut self, scan: Scan) -> Step {
        let all = if scan.listed { self.told.diff(&scan.snapshot) } else { Difference::default() };
        let settled = if self.listed { self.settled(&all, &scan) } else { all.clone() };
        let unsettled = settled != all;
        if scan.listed {
            self.last = scan.snapshot;
        }
        self.told.take(&settled);
        let news = settled != Difference::default() || scan.problems != self.problems || scan.listed != self.listed;
        let tell = news || !self.begun;
        (self.listed, self.begun) = (scan.listed, true);
        self.problems.clone_from(&scan.problems);
        let change =
            Change { seen: settled.changed, removed: settled.removed, problems: scan.problems, listed: scan.listed };
        Step { change: tell.then_some(change), unsettled }
    }

    /// The part of a difference that the look before showed too, or that was made at one stroke.
    fn settled(&self, all: &Difference, scan: &Scan) -> Difference {
        let same = |name: &str| self.last.get(name) == scan.snapshot.get(name);
        let rests = |seen: &&Seen| same(&seen.name) || seen.stamp.rested(scan.at_ns, SETTLE);
        let changed = all.changed.iter().filter(rests).cloned().collect();
        let removed = all.removed.iter().filter(|name| same(name)).cloned().collect();
        Difference { changed, removed }
    }
}

/// Watches a directory until it is told to stop or nobody listens any more. Never ends by itself, whatever happens to
/// the directory.
pub async fn watch(
    directory: PathBuf,
    extensions: &'static [&'static str],
    changes: mpsc::Sender<Change>,
    stop: CancellationToken,
) {
    let work = async {
        let mut eyes = Eyes::new(&directory);
        let mut tracker = Tracker::default();
        loop {
            let scan = look(&directory, extensions).await;
            eyes.follow(scan.identity);
            let step = tracker.look(scan);
            if let Some(change) = step.change
                && changes.send(change).await.is_err()
            {
                return;
            }
            eyes.wait(step.unsettled).await;
        }
    };
    // A file system that hangs must not hold up the end; the look itself goes on in its thread, alone.
    stop.run_until_cancelled(work).await;
}

async fn look(directory: &Path, extensions: &'static [&'static str]) -> Scan {
    let at = directory.to_owned();
    let failed = |error| Problem::error(directory, format!("looking at the directory failed: {error}"));
    match tokio::task::spawn_blocking(move || Scan::of(&at, extensions)).await {
        Ok(scan) => scan,
        Err(error) => Scan { problems: vec![failed(error)], ..Scan::default() },
    }
}

/// The kernel's watch on a directory.
struct Eyes {
    directory: PathBuf,
    /// Set by the watcher's thread; many events are one permit.
    woken: Arc<Notify>,
    /// Which directory is watched. None: events cannot be relied upon.
    watching: Option<((u64, u64), RecommendedWatcher)>,
    /// Why it is not, so that it is logged once.
    complaint: Option<String>,
}

impl Eyes {
    fn new(directory: &Path) -> Self {
        Self { directory: directory.to_owned(), woken: Arc::default(), watching: None, complaint: None }
    }

    /// Watches the directory that is there now: another one may have taken the place of the one watched before.
    fn follow(&mut self, identity: Option<(u64, u64)>) {
        if self.watching.as_ref().map(|(watched, _)| *watched) == identity {
            return;
        }
        self.watching = None;
        let Some(identity) = identity else { return };
        match self.begin() {
            Ok(watcher) => {
                self.watching = Some((identity, watcher));
                self.complaint = None;
                // What happened between the look and the watch is seen by looking again.
                self.woken.notify_one();
            }
            Err(error) => self.complain(&error),
        }
    }

    fn begin(&self) -> notify::Result<RecommendedWatcher> {
        let woken = self.woken.clone();
        let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            if event.as_ref().map_or(true, |event| is_news(event.kind)) {
                woken.notify_one();
            }
        })?;
        watcher.watch(&self.directory, RecursiveMode::NonRecursive)?;
        Ok(watcher)
    }

    fn complain(&mut self, error: &notify::Error) {
        let complaint = error.to_string();
        if self.complaint.as_ref() != Some(&complaint) {
            let directory = self.directory.display();
            tracing::warn!(%directory, error = complaint, "no events from the kernel: the directory is looked at twice a second");
            self.complaint = Some(complaint);
        }
    }

    /// Until it is worth looking again.
    async fn wait(&self, unsettled: bool) {
        if unsettled {
            return tokio::time::sleep(SETTLE).await;
        }
        let rescan = if self.watching.is_some() { RESCAN } else { RESCAN_BLIND };
        if tokio::time::timeout(rescan, self.woken.notified()).await.is_ok() {
            tokio::time::sleep(PAUSE).await;
        }
    }
}

/// Looking is not news: our own reading would wake us for ever.
fn is_news(kind: EventKind) -> bool {
    !kind.is_access() || kind == EventKind::Access(AccessKind::Close(AccessMode::Write))
}
