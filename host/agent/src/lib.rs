//! The agent as a library: configuration, the engine's loop, the command line; [`agent::Agent::start`] is the way in.
//!
//! - `config`, `checks`, `problem`, `lastgood`: what operators write; `watch`: the directories in which they write it
//! - `agent`: start and stop; `tasks`: whose end matters; `shared`, `published`: what the parts share and show
//! - `coordinator`: from files to plugins (`plugins`) and prepared checks (`prepare`, `subject`)
//! - `engine`: the loop of schedule, runs and records (`outcome`, `clock`, `stats`); `guests`: the threads on which plugins
//!   run; `ends`: how the loop hears that they have
//! - `trust`: which plugins are taken, and what their checks may be granted at most
//! - `selfcheck`: the built-in check of the agent itself, fed by `stats`, `process` and `cgroup`; `uplink`: whether this
//!   node is cut off
//! - `adapters`: what the web asks for; `outward`: what plugins asked of the world, as metrics
//! - `cmd`: one file for each subcommand; `allocator`: what a program tells the C library
//!
//! Absent by design: Wasmtime, SQLite, InfluxDB's protocol, HTTP: each has a crate of its own.

mod adapters;
pub mod agent;
pub mod allocator;
mod cgroup;
pub mod checks;
pub mod clock;
pub mod cmd;
pub mod config;
mod coordinator;
#[cfg(test)]
mod corpus;
mod ends;
mod engine;
mod guests;
pub mod lastgood;
mod outcome;
mod outward;
mod plugins;
mod prepare;
pub mod problem;
mod process;
mod published;
mod selfcheck;
mod shared;
mod stats;
mod subject;
mod tasks;
pub mod trust;
mod uplink;
pub mod watch;
