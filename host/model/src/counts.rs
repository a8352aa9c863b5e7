//! What became of every tick: due = run + missed + overlap + skipped, always.

use serde::{Deserialize, Serialize};

/// Counters of one (check, target) since it was configured; kept across restarts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Ticks whose instant has passed and whose fate is known.
    pub due: u64,
    /// Ticks whose run ended in a record.
    pub run: u64,
    /// Ticks that could not be kept: no slot was free, or the agent or the machine was not there.
    pub missed: u64,
    /// Ticks that found the run before them still going.
    pub overlap: u64,
    /// Ticks that were not to be run: dependency, maintenance, plugin not ready.
    pub skipped: u64,
}

impl Counts {
    /// Whether the promise holds.
    pub fn balanced(&self) -> bool {
        self.due == self.run + self.missed + self.overlap + self.skipped
    }
}
