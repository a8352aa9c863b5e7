//! Loads plugins and runs them under limits. The only crate that names Wasmtime or the WIT.
//!
//! - `engine`: the Wasmtime engine; `ticker`: what interrupts guests; `limits`, `meter`: memory, handles and processor time of a run
//! - `compile`: in a child process; `cache`: machine code on disk; `digest`: what a plugin's content is called
//! - `load`: from bytes to a [`load::Plugin`]; `describe`: what it says of itself
//! - `job`: what goes into a run and comes out; `run`: one run; `judge`: what its end means, and whom to blame
//! - `state`: what belongs to a run inside the sandbox; `files`: what it may read
//! - `trace`: what it did to the network; `calls`: how long that took and what came of it
//! - `gather`: what a guest reports, bounded and cleaned; `capture`: what it prints; `redaction`: without secrets
//! - `host`: one file per imported interface, mapped to `probe`
//!
//! Absent by design: an error as the result of a run (whatever a plugin does is a status with a blame), a compiler in
//! the engine that runs, wasi:http, an instance that lives longer than a run.

mod bindings;
pub mod cache;
mod calls;
mod capture;
pub mod compile;
pub mod describe;
pub mod digest;
pub mod engine;
mod files;
mod gather;
#[cfg(test)]
mod holds;
mod host;
pub mod job;
mod judge;
mod limits;
pub mod load;
mod meter;
mod redaction;
mod run;
mod state;
mod ticker;
mod trace;

pub use limits::MemoryBudget;
