//! The threads on which plugins run: one for what is brief, and others for what computes.
//!
//! Nearly all runs compute for microseconds and wait for the rest. On one thread they cost the fewest wakings, and as
//! long as each poll is short nobody waits for another. A run whose poll is long moves to the other threads, where it
//! shares the processors with its like; so a plugin that computes delays its neighbours once, by one slice.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;
use std::time::{Duration, Instant};

use anyhow::Context;
use roundsman_plugin::job::Report;
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::task::AbortHandle;
use tokio_util::task::AbortOnDropHandle;

use crate::ends::Ticket;

/// Threads for runs that compute.
pub(crate) const BUSY_THREADS: usize = 2;
/// A poll of this length: far beyond what a check does between two calls, below the ten milliseconds of a slice.
const BRIEF: Duration = Duration::from_millis(2);

/// Where runs are carried out. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Guests {
    brief: Handle,
    busy: Handle,
}

/// Threads that end, without being waited for, when this is dropped.
#[derive(Debug)]
pub(crate) struct Threads(Option<Runtime>);

impl Threads {
    /// With a clock, and with sockets where they are asked for.
    pub(crate) fn start(name: &'static str, count: usize, sockets: bool) -> anyhow::Result<Self> {
        let mut builder = Builder::new_multi_thread();
        builder.worker_threads(count).thread_name(name).enable_time();
        if sockets {
            builder.enable_io();
        }
        let runtime = builder.build().with_context(|| format!("cannot start the threads `{name}`"))?;
        Ok(Self(Some(runtime)))
    }

    pub(crate) fn handle(&self) -> &Handle {
        self.0.as_ref().expect("it is taken only when it is dropped").handle()
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        // A runtime must not be waited for on another one's thread.
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

impl Guests {
    /// The threads live as long as what is returned beside them.
    pub(crate) fn start(busy_threads: usize) -> anyhow::Result<(Self, [Threads; 2])> {
        let threads = [Threads::start("guest", 1, true)?, Threads::start("guest-busy", busy_threads, true)?];
        let [brief, busy] = [threads[0].handle().clone(), threads[1].handle().clone()];
        Ok((Self { brief, busy }, threads))
    }

    /// Carries out a run at an instant and hands its report in with the ticket.
    pub(crate) fn spawn(
        &self,
        at: Instant,
        run: impl Future<Output = Report> + Send + 'static,
        mut ticket: Ticket,
    ) -> AbortHandle {
        let busy = self.busy.clone();
        // It is large, and would be copied with the task around it.
        let mut run = Box::pin(run);
        let task = self.brief.spawn(async move {
            tokio::time::sleep_until(at.into()).await;
            if let Some(report) = while_brief(&mut run).await {
                ticket.report(report);
            } else if let Ok(report) = AbortOnDropHandle::new(busy.spawn(run)).await {
                ticket.report(report);
            }
        });
        task.abort_handle()
    }
}

/// Polls until it ends; none once a poll was long.
async fn while_brief<T>(run: impl Future<Output = T> + Unpin) -> Option<T> {
    let mut run = pin!(run);
    poll_fn(|cx| {
        let began = Instant::now();
        match run.as_mut().poll(cx) {
            Poll::Ready(value) => Poll::Ready(Some(value)),
            Poll::Pending if began.elapsed() > BRIEF => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_computes_is_sent_away() {
        assert_eq!(while_brief(Box::pin(async { 1 })).await, Some(1));
        let mut polls = 0;
        let waits = poll_fn(|cx| {
            polls += 1;
            cx.waker().wake_by_ref();
            if polls == 3 { Poll::Ready(2) } else { Poll::Pending }
        });
        assert_eq!(while_brief(waits).await, Some(2));
        let computes = poll_fn(|_| {
            let began = Instant::now();
            while began.elapsed() <= BRIEF {}
            Poll::<()>::Pending
        });
        assert_eq!(while_brief(computes).await, None);
    }
}
