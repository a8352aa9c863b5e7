//! The agent's own numbers at one moment: what `/metrics` shows beside the board, the store and the destinations.

/// Everything that is counted inside the agent. Filled by the agent, rendered here.
#[derive(Debug, Clone, Default)]
pub struct Sample {
    /// From the scheduled instant to the first guest instruction.
    pub lag: Histogram,
    /// Waiting for a free slot.
    pub queue: Histogram,
    /// From the first guest instruction to the end of the run.
    pub run: Histogram,
    pub runs_in_flight: u64,
    pub runs_limit: u64,
    /// Memory that the runs in flight really hold together.
    pub guest_memory_bytes: u64,
    pub guest_memory_limit_bytes: u64,
    /// What grants refused, by kind (`network`, `name`, `system`, `file`).
    pub refusals: Vec<(String, u64)>,
    /// Runs that said nothing of their target, by plugin and code (`trap`, `cpu`, `memory`, `denied` …).
    pub faults: Vec<Fault>,
    pub process: Process,
    /// Whatever else the agent wants to show.
    pub more: Vec<Family>,
}

/// Runs of one plugin that ended with the same code.
#[derive(Debug, Clone)]
pub struct Fault {
    pub plugin: String,
    pub code: String,
    pub count: u64,
}

/// A distribution in seconds, as counted: one more count than bounds, the last one for everything above.
#[derive(Debug, Clone, Default)]
pub struct Histogram {
    /// Upper bounds in seconds, ascending, inclusive.
    pub bounds_s: Vec<f64>,
    /// Observations in each bucket, not cumulated.
    pub counts: Vec<u64>,
    pub sum_s: f64,
}

/// What the operating system says of this process.
#[derive(Debug, Clone, Copy, Default)]
pub struct Process {
    pub cpu_seconds: f64,
    pub resident_bytes: u64,
    /// Of those, what no file stands behind: what the agent itself needs.
    pub anonymous_bytes: u64,
    pub open_files: u64,
    /// 0: not known, or not limited.
    pub max_open_files: u64,
    pub threads: u64,
    /// Seconds since 1970.
    pub start_time_s: f64,
}

/// One more metric. Names are constants of the agent's source, so that no input can become one.
#[derive(Debug, Clone)]
pub struct Family {
    /// Without `_total`: that is added to counters.
    pub name: &'static str,
    pub help: &'static str,
    pub kind: Kind,
    pub values: Vec<(Vec<(&'static str, String)>, f64)>,
}

/// How a value behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Goes up only.
    Counter,
    Gauge,
}
