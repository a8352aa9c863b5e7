//! The Wasmtime engines, and what all runs share.

use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use roundsman_probe::probe::Probe;
use tokio::sync::Semaphore;
use wasmtime::component::Linker;
use wasmtime::{Config, InstanceAllocationStrategy, OptLevel, PoolingAllocationConfig};

use crate::limits::{MAX_INSTANCES, MAX_MEMORIES, MAX_TABLE_ELEMENTS, MAX_TABLES, MemoryBudget};
use crate::state::RunState;
use crate::ticker::Ticker;

/// The largest linear memory that `limits: {memory}` may grant; also the size of a slot of the pool.
pub const MAX_MEMORY: u64 = 256 << 20;
/// Stack of a guest. Deep recursion is an error of the plugin, not a reason for more.
const WASM_STACK: usize = 512 << 10;
/// The guest's stack and head-room for host calls made on top of it.
const FIBER_STACK: usize = 1 << 20;
/// The top of a stack, which nearly every run uses: reset by `memset`, so that the next run finds its pages there. An HTTP
/// exchange needs 28 KiB. Slots that were in use once keep it: 264 × 32 KiB are 8 MiB at most.
const KEEP_STACK: usize = 32 << 10;
/// What a slot of the pool keeps resident between runs: most checks touch less, and are then reset by `memset`
/// instead of by system calls. A plugin of the SDK with regular expressions has 64 KiB of stack, 70 KiB of data and a heap
/// of some pages behind them: with 128 KiB its heap would be faulted in anew in every run.
const KEEP_RESIDENT: usize = 256 << 10;
/// Slots that stay warm; the rest is given back to the kernel. 16 × 256 KiB are 4 MiB.
const WARM_SLOTS: u32 = 16;

/// Why an engine could not be made.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    #[error("cannot set up the sandbox")]
    Wasmtime(#[source] wasmtime::Error),
    #[error("cannot start the thread that interrupts plugins")]
    Ticker(#[source] std::io::Error),
}

/// What all runs share: the engine without a compiler, everything that plugins may import, the limits of all together.
#[derive(Clone)]
pub struct Engine {
    pub(crate) wasm: wasmtime::Engine,
    pub(crate) linker: Arc<Linker<RunState>>,
    pub(crate) probe: Arc<Probe>,
    pub(crate) memory: Arc<MemoryBudget>,
    pub(crate) stats: Arc<Stats>,
    /// Taken while granted files are being opened, which may hang in the kernel for ever.
    pub(crate) opening: Arc<Semaphore>,
    /// An engine without it never interrupts.
    pub(crate) ticker: Arc<Ticker>,
    pooled: bool,
}

/// Sizes that an operator may choose.
#[derive(Debug, Clone, Copy)]
pub struct EngineLimits {
    /// Runs in flight; more are turned away by the schedule before they come here.
    pub runs: u32,
    /// Linear memory of all runs together, in bytes.
    pub memory: u64,
}

/// Counters since the start.
#[derive(Debug, Default)]
pub struct Stats {
    pub runs: AtomicU64,
    pub traps: AtomicU64,
    pub deadlines: AtomicU64,
    pub cpu_exhausted: AtomicU64,
    pub memory_exhausted: AtomicU64,
    pub faults: AtomicU64,
}

impl Stats {
    pub(crate) fn add(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

impl Engine {
    /// Sets up the engine that runs plugins, and its ticker. There is one per process.
    pub fn new(limits: EngineLimits, probe: Arc<Probe>) -> Result<Self, EngineError> {
        let (wasm, pooled) = running_engine(limits.runs).map_err(EngineError::Wasmtime)?;
        let mut linker = Linker::new(&wasm);
        crate::host::link(&mut linker).map_err(EngineError::Wasmtime)?;
        let interrupted = wasm.clone();
        let ticker = Ticker::start(move || interrupted.increment_epoch()).map_err(EngineError::Ticker)?;
        Ok(Self {
            wasm,
            linker: Arc::new(linker),
            probe,
            memory: Arc::new(MemoryBudget::new(limits.memory)),
            stats: Arc::new(Stats::default()),
            opening: Arc::new(Semaphore::new(crate::files::MAX_OPENING)),
            ticker: Arc::new(ticker),
            pooled,
        })
    }

    /// Linear memory of all runs in flight.
    pub fn memory(&self) -> &MemoryBudget {
        &self.memory
    }

    pub fn stats(&self) -> &Stats {
        &self.stats
    }

    /// What plugins do to the world, and its counters.
    pub fn probe(&self) -> &Arc<Probe> {
        &self.probe
    }

    /// Whether instances come from a pool (fast); false where the address space is too small for one.
    pub fn pooled(&self) -> bool {
        self.pooled
    }

    /// Whether nothing has run for a while: then the engine takes no processor time at all.
    pub fn rests(&self) -> bool {
        self.ticker.rests()
    }

    /// Names what compiled code must have been made for: the version of Wasmtime, its settings, the processor.
    pub fn compatibility(&self) -> u64 {
        // DefaultHasher::new() has fixed keys; a change of it between versions of Rust only empties the cache.
        let mut hasher = std::hash::DefaultHasher::new();
        self.wasm.precompile_compatibility_hash().hash(&mut hasher);
        hasher.finish()
    }
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").field("pooled", &self.pooled).field("stats", &self.stats).finish_non_exhaustive()
    }
}

/// Settings that compiled code depends on: equal in the engine that compiles and the one that runs.
fn common() -> Config {
    let mut config = Config::new();
    config
        .wasm_component_model(true)
        .concurrency_support(false)
        .epoch_interruption(true)
        .max_wasm_stack(WASM_STACK)
        .async_stack_size(FIBER_STACK)
        .async_stack_zeroing(true)
        .wasm_memory64(false)
        .wasm_relaxed_simd(false)
        .generate_address_map(false)
        .cranelift_opt_level(OptLevel::Speed);
    config
}

/// The engine of the compiling child: it never runs anything.
pub(crate) fn compiling_engine() -> wasmtime::Result<wasmtime::Engine> {
    wasmtime::Engine::new(&common())
}

fn running_engine(runs: u32) -> wasmtime::Result<(wasmtime::Engine, bool)> {
    let mut config = common();
    config.enable_compiler(false);
    config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool(runs)));
    if let Ok(engine) = wasmtime::Engine::new(&config) {
        return Ok((engine, true));
    }
    // Under RLIMIT_AS, gVisor or 39-bit address spaces there is no room for the pool's reservations.
    config.allocation_strategy(InstanceAllocationStrategy::OnDemand);
    Ok((wasmtime::Engine::new(&config)?, false))
}

fn pool(runs: u32) -> PoolingAllocationConfig {
    // `describe` and `validate` of a plugin that is being loaded run beside the checks.
    let slots = runs.saturating_add(8);
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(slots)
        .total_core_instances(slots.saturating_mul(4))
        .total_memories(slots.saturating_mul(2))
        .total_tables(slots.saturating_mul(4))
        .total_stacks(slots)
        .max_memory_size(usize::try_from(MAX_MEMORY).unwrap_or(usize::MAX))
        .table_elements(MAX_TABLE_ELEMENTS)
        .max_core_instances_per_component(u32::try_from(MAX_INSTANCES).unwrap_or(u32::MAX))
        .max_memories_per_component(u32::try_from(MAX_MEMORIES).unwrap_or(u32::MAX))
        .max_tables_per_component(u32::try_from(MAX_TABLES).unwrap_or(u32::MAX))
        .max_component_instance_size(2 << 20)
        .max_core_instance_size(1 << 20)
        .max_unused_warm_slots(WARM_SLOTS)
        .linear_memory_keep_resident(KEEP_RESIDENT)
        .table_keep_resident(16 << 10)
        .async_stack_keep_resident(KEEP_STACK)
        // A page that was swapped out would keep another plugin's data (wasmtime issue 14357).
        .pagemap_scan(wasmtime::Enabled::No)
        // What a run leaves goes back at once. A larger batch waits for the next runs on the same processor, which may never
        // come: then some runs' whole memories stay for each processor, with what plugins had in them.
        .decommit_batch_size(1);
    pool
}
