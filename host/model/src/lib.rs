//! The values and rules that everything else speaks: no I/O, no clock, no runtime.
//!
//! - `name`: names that operators give, with their rules; `key`: which (check, target)
//! - `time`: instants and their text; `units`: durations and sizes as operators write them
//! - `check`: what an operator configured; `target`: what a check looks at; `grants`: what a check may touch
//! - `record`: the outcome of one run; `threshold`: bounds on what it measured
//! - `state`: from records to soft and hard states; `flap`: those that change too often; `findings`: states by subject
//! - `supervision`: when a plugin that breaks is left alone
//! - `silence`: what operators do not want to be alarmed by; `depends`: checks that depend on each other in a circle
//! - `ring`: who looks at whom; `hash`: the same on every node and for ever
//! - `board`: the present state of every (check, target), and since when; `counts`: what became of every tick
//!
//! Absent by design: clocks (time is an argument), randomness, files, sockets.

pub mod board;
pub mod check;
pub mod counts;
pub mod depends;
pub mod findings;
pub mod flap;
pub mod grants;
pub mod hash;
pub mod key;
pub mod name;
pub mod record;
pub mod ring;
pub mod silence;
pub mod state;
pub mod supervision;
pub mod target;
pub mod threshold;
pub mod time;
pub mod units;
