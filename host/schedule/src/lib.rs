//! Which (check, target) is due next: pure state, time is an argument.
//!
//! - `grid`: the instants at which a check is due, at an interval with a stable phase or by cron
//! - `cron`: when a cron expression fires in its time zone; `expression`: its text; `error`: what is wrong with it
//! - `schedule`: what is due, what runs, what waits for a slot
//! - `entry`: one (check, target) of it, and what became of its ticks
//!
//! Absent by design: clocks, timers, tasks, randomness.

pub mod cron;
mod entry;
pub mod error;
mod expression;
pub mod grid;
pub mod schedule;
