//! Which (check, target) is due next: pure state, time is an argument.
//!
//! - `grid`: the instants at which a check is due: at an interval with a stable phase or jitter, by cron, once, never
//! - `cron`: when a cron expression fires in its time zone; `expression`: its text; `error`: what is wrong with it
//! - `window`: stretches of time that begin by cron, such as maintenance
//! - `schedule`: what is due, what runs, what waits for a slot; what becomes of it when time makes a leap
//! - `entry`: one (check, target) of it, and what became of its ticks
//! - `slots`: who may hold a slot, by class and by plugin, and who comes next
//! - `hash`: the hashes that spread keys over time
//!
//! Absent by design: clocks, timers, tasks, randomness.

pub mod cron;
mod entry;
pub mod error;
mod expression;
pub mod grid;
mod hash;
pub mod schedule;
pub mod slots;
pub mod window;
