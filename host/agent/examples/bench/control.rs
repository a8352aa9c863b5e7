//! What figures are compared with: a timer that does nothing else, and a process that is started for every run.

use std::path::Path;
use std::process::Command;
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tokio::time::Instant;

use crate::measure::{Lags, cpu, cpu_of_children};

/// A timer of the same runtime on a grid of its own, in a thread that has nothing else to do.
#[derive(Debug)]
pub(crate) struct BareTimer(JoinHandle<std::io::Result<Vec<u64>>>);

impl BareTimer {
    /// Sleeps until every instant of the grid in turn, for so long, and notes how late it woke.
    pub(crate) fn start(period: Duration, length: Duration) -> Self {
        Self(std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
            Ok(runtime.block_on(async {
                let begun = Instant::now();
                let mut lags_ns = Vec::new();
                let mut due = begun;
                while due.duration_since(begun) < length {
                    due += period;
                    tokio::time::sleep_until(due).await;
                    lags_ns.push(u64::try_from(due.elapsed().as_nanos()).unwrap_or(u64::MAX));
                }
                lags_ns
            }))
        }))
    }

    pub(crate) fn end(self) -> Result<Lags> {
        let lags = self.0.join().ok().context("the bare timer's thread died")?;
        Ok(Lags::new(lags?))
    }
}

/// Processor time of starting a program and waiting for its end, parent and child together.
pub(crate) fn fork_and_exec(program: &Path, times: u32) -> Result<Duration> {
    let (own, children) = (cpu(), cpu_of_children()?);
    for _ in 0..times {
        let status = Command::new(program).status().with_context(|| format!("starting {}", program.display()))?;
        ensure!(status.success(), "{} failed ({status})", program.display());
    }
    Ok((cpu() - own + (cpu_of_children()? - children)) / times)
}
