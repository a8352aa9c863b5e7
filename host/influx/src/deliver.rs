//! One request until the server has taken it, or never will: tries, halves, waits.

use std::time::{Duration, SystemTime};

use roundsman_model::time::{Timestamp, nanos};
use roundsman_store::Cursor;
use tokio_util::sync::CancellationToken;

use crate::backoff;
use crate::dead_letters::DeadLetters;
use crate::outcome::Outcome;
use crate::refused;
use crate::request::Request;
use crate::stats::Stats;
use crate::writer::{Writer, chain};

/// Tries for a request that is refused without a word about its lines, before it is set aside: such answers come
/// from storage that fails for a moment, or from lines that no try will mend.
const MAX_REFUSALS: u32 = 5;

/// The way to one server.
#[derive(Debug)]
pub(crate) struct Delivery<'a> {
    pub(crate) destination: &'a str,
    pub(crate) writer: Writer,
    pub(crate) letters: DeadLetters,
    pub(crate) stats: &'a Stats,
    /// Tries in a row that moved nothing.
    pub(crate) failures: u32,
    /// Refusals in a row of one request.
    pub(crate) refusals: u32,
}

/// It is time to stop, and the request would have to wait.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Stopped;

/// What to do with a request after a try.
enum Next {
    Done,
    Halve,
    Again(Duration),
}

impl Delivery<'_> {
    /// Sends the request, in pieces if need be, and tells `acknowledge` of each cursor that was reached. Dropping the
    /// future at any point loses nothing: what was not acknowledged is read and sent again, byte for byte.
    pub(crate) async fn deliver(
        &mut self,
        request: Request,
        stop: &CancellationToken,
        mut acknowledge: impl FnMut(Cursor),
    ) -> Result<(), Stopped> {
        // Halves of halves: never more than the logarithm of its lines.
        let mut waiting = vec![request];
        while let Some(request) = waiting.pop() {
            self.stats.sent(request.body.len());
            let outcome = self.writer.write(&request.body).await;
            match self.judge(outcome, &request).await {
                Next::Done => {
                    self.refusals = 0;
                    if let Some(cursor) = request.acknowledge {
                        acknowledge(cursor);
                    }
                }
                Next::Halve => {
                    let (left, right) = request.halve().expect("only requests with several lines are halved");
                    waiting.extend([right, left]);
                }
                Next::Again(wait) => {
                    self.pause(wait, stop).await?;
                    self.stats.retried();
                    waiting.push(request);
                }
            }
        }
        Ok(())
    }

    async fn judge(&mut self, outcome: Outcome, request: &Request) -> Next {
        let lines = request.lines as u64;
        match outcome {
            Outcome::Delivered => {
                self.moves();
                self.stats.delivered(wall(), lines, 0);
                Next::Done
            }
            Outcome::DeliveredWithRejects { rejected, why, answer } => {
                self.moves();
                let named = refused::named(&answer, request.text(), rejected);
                let rejected = rejected.max(named.len() as u64).min(lines);
                self.stats.delivered(wall(), lines - rejected, rejected);
                tracing::warn!(destination = self.destination, rejected, why, "the server refused points");
                self.keep(&why, &named.concat(), named.len()).await;
                Next::Done
            }
            Outcome::Unparsable { why } | Outcome::TooLarge { why } => {
                self.moves();
                if request.lines > 1 {
                    return Next::Halve;
                }
                self.set_aside(request, &why).await
            }
            Outcome::Refused { why } => {
                self.refusals += 1;
                if self.refusals > MAX_REFUSALS {
                    self.moves();
                    return self.set_aside(request, &why).await;
                }
                self.again(&why, |failures| backoff::retry(failures, Duration::ZERO, backoff::random()))
            }
            Outcome::Hold { why, credentials } => {
                if credentials && self.writer.reload().await {
                    return self.again(&why, |_| Duration::ZERO);
                }
                self.again(&why, |_| backoff::hold(backoff::random()))
            }
            Outcome::Retry { why, at_least } => {
                self.again(&why, |failures| backoff::retry(failures, at_least, backoff::random()))
            }
        }
    }

    /// The server took something, or said for good that it will not.
    fn moves(&mut self) {
        self.failures = 0;
        if let Some(trouble) = self.stats.release() {
            tracing::info!(destination = self.destination, since = %trouble.since, "points are delivered again");
        }
    }

    fn again(&mut self, why: &str, wait: impl FnOnce(u32) -> Duration) -> Next {
        self.failures = self.failures.saturating_add(1);
        let wait = wait(self.failures);
        if self.stats.hold(wall(), why) {
            tracing::warn!(destination = self.destination, why, "points cannot be delivered; they wait in the store");
        }
        Next::Again(wait)
    }

    async fn set_aside(&self, request: &Request, why: &str) -> Next {
        self.stats.rejected(request.lines as u64);
        self.keep(why, request.text(), request.lines).await;
        Next::Done
    }

    /// Puts lines that the server will not take where a person finds them, as far as they are known.
    async fn keep(&self, why: &str, text: &[u8], lines: usize) {
        let destination = self.destination;
        let file = self.letters.path().display();
        self.stats.error(wall(), why);
        if lines == 0 {
            return;
        }
        match self.letters.keep(wall(), why, text).await {
            Ok(()) => {
                tracing::error!(destination, lines, why, %file, "lines that the server will not take are set aside")
            }
            Err(error) => {
                let error = chain(&error);
                tracing::error!(destination, lines, why, %file, error, "lines that the server will not take are lost");
            }
        }
    }

    /// Waits, but not beyond the stop.
    pub(crate) async fn pause(&self, wait: Duration, stop: &CancellationToken) -> Result<(), Stopped> {
        tokio::select! {
            biased;
            () = stop.cancelled() => Err(Stopped),
            () = tokio::time::sleep(wait) => Ok(()),
        }
    }
}

/// The time on the wall, for people to read.
pub(crate) fn wall() -> Timestamp {
    Timestamp(SystemTime::UNIX_EPOCH.elapsed().map_or(0, nanos))
}
