//! Brings the store's rows to one destination, in order, each at least once and always with the same bytes.
//!
//! What was acknowledged moves a cursor in the store; everything after it is read again after a failure or a restart.
//! While one page is being sent the next is read and encoded; there is never more than one request on its way, so a
//! destination takes as much as it can and no more.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use roundsman_model::time::nanos;
use roundsman_store::{Cursor, Store};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};
use tokio_util::sync::CancellationToken;

use crate::backoff;
use crate::dead_letters::DeadLetters;
use crate::deliver::{Delivery, Stopped, wall};
use crate::destination::{Destination, DestinationError};
use crate::page::{Page, PageError, Pages};
use crate::request::MAX_LINES;
use crate::stats::Stats;
use crate::writer::{Writer, chain};

/// The store commits every 250 ms at most; asking more often finds nothing.
const MIN_FLUSH_INTERVAL: Duration = Duration::from_millis(10);

/// The task of one destination.
#[derive(Debug)]
pub struct Forwarder {
    pub destination: Destination,
    /// The node's name: nodes that were started together do not send together.
    pub node: String,
    /// `paths.state`, for the file of rejected lines.
    pub state: PathBuf,
    /// Where this destination stood when the store was opened.
    pub cursor: Cursor,
    /// How long after the stop the last rows may still be sent.
    pub grace: Duration,
    pub stats: Arc<Stats>,
}

impl Forwarder {
    /// Runs until `stop`, then sends what is left as far as `grace` allows. `rows` counts what the store has published
    /// since it was opened. An error says that the destination cannot be used as it is written.
    ///
    /// The future may be dropped at any point: what was not acknowledged is sent again by the next one.
    pub async fn run(
        self,
        store: Store,
        rows: watch::Receiver<u64>,
        stop: CancellationToken,
    ) -> Result<(), DestinationError> {
        let writer = Writer::new(&self.destination)?;
        self.stats.follow(rows.clone());
        let seen = *rows.borrow();
        let name = self.destination.name.as_str();
        let delivery = Delivery {
            destination: name,
            writer,
            letters: DeadLetters::new(&self.state, name),
            stats: &self.stats,
            failures: 0,
            refusals: 0,
        };
        let task = Task {
            seen,
            timer: timer(self.destination.flush_interval, &self.node, name),
            delivery,
            pages: Some(Pages::new(store.clone())),
            ahead: None,
            position: self.cursor,
            acknowledged: self.cursor,
            commits: store.committed(),
            store,
            rows,
            stop: stop.clone(),
        };
        let limit = async {
            stop.cancelled().await;
            tokio::time::sleep(self.grace).await;
        };
        tokio::select! {
            () = task.run() => {}
            () = limit => {
                let rows = self.stats.snapshot().lag_rows;
                tracing::warn!(destination = name, rows, "stopped before everything was sent; it waits in the store");
            }
        }
        Ok(())
    }
}

type Read = (Pages, Result<Page, PageError>);

struct Task<'a> {
    delivery: Delivery<'a>,
    store: Store,
    /// Counts rows: tells whether a request is full. It may be late while the disk is full.
    rows: watch::Receiver<u64>,
    /// Counts commits: tells whether there may be something new.
    commits: watch::Receiver<u64>,
    stop: CancellationToken,
    timer: Interval,
    /// None while a page is being read ahead, or after the thread that read died.
    pages: Option<Pages>,
    /// The page at `position`, being read while the one before it is sent.
    ahead: Option<JoinHandle<Read>>,
    /// Where the next page begins.
    position: Cursor,
    acknowledged: Cursor,
    /// What `rows` said before the last read.
    seen: u64,
}

impl Task<'_> {
    async fn run(mut self) {
        while !self.stop.is_cancelled() {
            if self.drain().await == Ok(()) {
                self.wait().await;
            }
        }
        // The last try begins at what is known to be there: a request may have been waiting for its next try.
        if let Some(ahead) = self.ahead.take() {
            self.pages = ahead.await.ok().map(|(pages, _)| pages);
        }
        self.position = self.acknowledged;
        if self.drain().await.is_err() {
            let rows = self.delivery.stats.snapshot().lag_rows;
            let destination = self.delivery.destination;
            tracing::info!(destination, rows, "the last try failed; the rest waits in the store");
        }
    }

    /// Sends page after page until there is nothing more.
    async fn drain(&mut self) -> Result<(), Stopped> {
        loop {
            let page = match self.page().await {
                Ok(page) => page,
                Err(error) => {
                    self.unreadable(&error).await?;
                    continue;
                }
            };
            if page.next == self.position {
                self.lag(page.next.record, page.seen);
                return Ok(());
            }
            self.position = page.next;
            if page.more {
                self.ahead = Some(self.begin());
            }
            self.lag(page.newest, page.seen);
            if page.requests.is_empty() {
                // Rows that the store passed over.
                acknowledge(&self.store, self.delivery.destination, &mut self.acknowledged, page.next);
            }
            for request in page.requests {
                let (store, name, acknowledged) = (&self.store, self.delivery.destination, &mut self.acknowledged);
                let reached = |cursor| acknowledge(store, name, acknowledged, cursor);
                self.delivery.deliver(request, &self.stop, reached).await?;
                self.lag(page.newest, page.seen);
            }
            if !page.more {
                return Ok(());
            }
        }
    }

    /// The page at `position`, which may be on its way already.
    async fn page(&mut self) -> Result<Page, PageError> {
        let reading = match self.ahead.take() {
            Some(ahead) => ahead,
            None => self.begin(),
        };
        let (pages, page) = reading.await.map_err(PageError::Thread)?;
        self.pages = Some(pages);
        page
    }

    /// Begins to read the page at `position`. At most one read is under way for a destination.
    fn begin(&mut self) -> JoinHandle<Read> {
        self.seen = *self.rows.borrow_and_update();
        self.commits.mark_unchanged();
        let mut pages = self.pages.take().unwrap_or_else(|| Pages::new(self.store.clone()));
        let (from, seen) = (self.position, self.seen);
        tokio::task::spawn_blocking(move || {
            let page = pages.read(from, seen);
            (pages, page)
        })
    }

    async fn unreadable(&mut self, error: &PageError) -> Result<(), Stopped> {
        let why = chain(error);
        if self.delivery.stats.hold(wall(), &why) {
            tracing::warn!(destination = self.delivery.destination, why, "the outbox cannot be read");
        }
        self.delivery.failures = self.delivery.failures.saturating_add(1);
        let wait = match error {
            PageError::Newer { .. } => backoff::hold(backoff::random()),
            PageError::Store(_) | PageError::Thread(_) => {
                backoff::retry(self.delivery.failures, MIN_FLUSH_INTERVAL, backoff::random())
            }
        };
        self.delivery.pause(wait, &self.stop).await
    }

    /// Until there is something to send: at once when it fills a request, else at the next flush.
    async fn wait(&mut self) {
        let mut closed = false;
        loop {
            tokio::select! {
                () = self.stop.cancelled() => return,
                _ = self.timer.tick() => {
                    if self.pending() > 0 || self.commits.has_changed().unwrap_or(false) {
                        return;
                    }
                }
                changed = self.rows.changed(), if !closed => {
                    // Whoever counted is gone; what there is can still be sent.
                    closed = changed.is_err();
                    let lines = self.pages.as_ref().map_or(1, Pages::lines_per_row) as u64;
                    if self.pending().saturating_mul(lines) >= MAX_LINES as u64 {
                        return;
                    }
                }
            }
        }
    }

    /// Rows published since the last read began.
    fn pending(&self) -> u64 {
        self.rows.borrow().wrapping_sub(self.seen)
    }

    /// Tells how far behind we are: the newest record when `seen` rows had been published, and what came since.
    fn lag(&self, newest: i64, seen: u64) {
        let rows = newest.saturating_sub(self.acknowledged.record);
        self.delivery.stats.lag(u64::try_from(rows).unwrap_or(0), seen);
    }
}

/// Everything up to the cursor is with the destination.
fn acknowledge(store: &Store, destination: &str, acknowledged: &mut Cursor, cursor: Cursor) {
    *acknowledged = cursor;
    store.acknowledge(destination, cursor);
}

/// Ticks with a phase of its own on the wall clock.
fn timer(interval: Duration, node: &str, destination: &str) -> Interval {
    let interval = interval.max(MIN_FLUSH_INTERVAL);
    let mut hasher = DefaultHasher::new();
    (node, destination).hash(&mut hasher);
    let period = nanos(interval);
    let phase = backoff::within(interval, hasher.finish());
    let until = nanos(phase).saturating_sub(wall().0).rem_euclid(period);
    let mut timer = interval_at(Instant::now() + Duration::from_nanos(until.unsigned_abs()), interval);
    timer.set_missed_tick_behavior(MissedTickBehavior::Skip);
    timer
}
