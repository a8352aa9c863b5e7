//! What one run may hold: memory, tables, instances, handles; and what all runs may hold together.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use wasmtime::ResourceLimiter;

/// A Rust component has three core instances (itself, shims of the component model); languages with a runtime of their
/// own have up to a dozen.
pub(crate) const MAX_INSTANCES: usize = 32;
/// One memory per language runtime; a few for what a composed component brings along.
pub(crate) const MAX_MEMORIES: usize = 4;
pub(crate) const MAX_TABLES: usize = 16;
/// Functions that can be called indirectly, summed; large interpreters have under ten thousand.
pub(crate) const MAX_TABLE_ELEMENTS: usize = 20_000;
/// Resources that a guest holds at once: sockets, pollables, requests, and as many mounts as `probe` lists.
pub(crate) const MAX_HANDLES: usize = 4096 + 256;
/// Files and directories that a guest has open at once.
pub(crate) const MAX_FILES: usize = 32;
/// Listings of directories that a guest holds at once: each holds all names of its directory.
pub(crate) const MAX_LISTINGS: usize = 4;
/// Bytes that one call may hand over to the host: strings and lists are copied out of the guest.
pub(crate) const MAX_BYTES_PER_CALL: usize = 1 << 20;

/// Linear memory of all runs in flight.
#[derive(Debug)]
pub struct MemoryBudget {
    limit: u64,
    used: AtomicU64,
    peak: AtomicU64,
}

impl MemoryBudget {
    pub(crate) fn new(limit: u64) -> Self {
        Self { limit, used: AtomicU64::new(0), peak: AtomicU64::new(0) }
    }

    /// Bytes that runs hold now.
    pub fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    /// The most that runs held together so far.
    pub fn peak(&self) -> u64 {
        self.peak.load(Ordering::Relaxed)
    }

    fn take(&self, bytes: u64) -> bool {
        let taken = self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
            used.checked_add(bytes).filter(|total| *total <= self.limit)
        });
        if let Ok(before) = taken {
            self.peak.fetch_max(before + bytes, Ordering::Relaxed);
        }
        taken.is_ok()
    }
}

/// Which limit on memory a run met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exhausted {
    /// The check's own `limits: {memory}`.
    Check,
    /// The agent's `limits: {memory}` for all runs together: not the plugin's fault.
    Agent,
    /// Tables.
    Table,
}

/// A run wants more memory than it may have; which limit it met stands in its [`Limiter`].
#[derive(Debug, thiserror::Error)]
#[error("out of memory")]
pub(crate) struct OutOfMemory;

/// Counts what the guest of one run allocates; gives it back when the run is over.
#[derive(Debug)]
pub(crate) struct Limiter {
    budget: Arc<MemoryBudget>,
    limit: u64,
    /// Linear memory.
    memory: u64,
    /// What the host keeps for handles of the guest: bodies of requests and responses.
    held: u64,
    table_elements: usize,
    pub(crate) exhausted: Option<Exhausted>,
}

impl Limiter {
    pub(crate) fn new(budget: Arc<MemoryBudget>, limit: u64) -> Self {
        Self { budget, limit, memory: 0, held: 0, table_elements: 0, exhausted: None }
    }

    /// Memory never shrinks in WebAssembly: what is held is also the peak.
    pub(crate) fn memory(&self) -> u64 {
        self.memory
    }

    /// Charges what the host keeps for a handle, as if the guest kept it itself.
    pub(crate) fn hold(&mut self, bytes: usize) -> Result<(), OutOfMemory> {
        self.take(bytes as u64)?;
        self.held += bytes as u64;
        Ok(())
    }

    /// Gives back what was charged by [`Limiter::hold`].
    pub(crate) fn release(&mut self, bytes: usize) {
        let bytes = self.held.min(bytes as u64);
        self.held -= bytes;
        self.budget.used.fetch_sub(bytes, Ordering::Relaxed);
    }

    fn take(&mut self, more: u64) -> Result<(), OutOfMemory> {
        let exhausted = if self.memory + self.held + more > self.limit {
            Exhausted::Check
        } else if !self.budget.take(more) {
            Exhausted::Agent
        } else {
            return Ok(());
        };
        self.exhausted = Some(exhausted);
        Err(OutOfMemory)
    }
}

impl Drop for Limiter {
    fn drop(&mut self) {
        self.budget.used.fetch_sub(self.memory + self.held, Ordering::Relaxed);
    }
}

impl ResourceLimiter for Limiter {
    fn memory_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        if maximum.is_some_and(|maximum| desired > maximum) {
            return Ok(false);
        }
        let more = desired.saturating_sub(current) as u64;
        let granted = self.take(more).is_ok();
        if granted {
            self.memory += more;
        }
        Ok(granted)
    }

    fn table_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        let more = desired.saturating_sub(current);
        if maximum.is_some_and(|maximum| desired > maximum) {
            return Ok(false);
        }
        if self.table_elements + more > MAX_TABLE_ELEMENTS {
            self.exhausted = Some(Exhausted::Table);
            return Ok(false);
        }
        self.table_elements += more;
        Ok(true)
    }

    fn instances(&self) -> usize {
        MAX_INSTANCES
    }

    fn tables(&self) -> usize {
        MAX_TABLES
    }

    fn memories(&self) -> usize {
        MAX_MEMORIES
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_summed_and_given_back() {
        let budget = Arc::new(MemoryBudget::new(100));
        let mut one = Limiter::new(budget.clone(), 60);
        let mut other = Limiter::new(budget.clone(), 60);
        assert!(one.memory_growing(0, 40, None).unwrap());
        assert!(!one.memory_growing(0, 21, None).unwrap(), "a second memory counts too");
        assert_eq!(one.exhausted, Some(Exhausted::Check));
        assert!(other.memory_growing(0, 60, None).unwrap());
        assert!(!one.memory_growing(40, 41, None).unwrap(), "all runs together");
        assert_eq!(one.exhausted, Some(Exhausted::Agent));
        assert_eq!(budget.used(), 100);
        drop(other);
        assert_eq!((budget.used(), budget.peak()), (40, 100));
        assert!(one.memory_growing(40, 41, None).unwrap());
    }

    #[test]
    fn what_the_host_keeps_counts_too() {
        let budget = Arc::new(MemoryBudget::new(100));
        let mut limiter = Limiter::new(budget.clone(), 60);
        assert!(limiter.memory_growing(0, 40, None).unwrap());
        limiter.hold(20).unwrap();
        assert!(limiter.hold(1).is_err());
        limiter.release(5);
        assert_eq!((budget.used(), limiter.memory()), (55, 40));
        limiter.hold(5).unwrap();
        drop(limiter);
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn a_declared_maximum_is_no_exhaustion() {
        let mut limiter = Limiter::new(Arc::new(MemoryBudget::new(100)), 60);
        assert!(!limiter.memory_growing(0, 50, Some(40)).unwrap());
        assert_eq!(limiter.exhausted, None);
    }
}
