//! From the store to InfluxDB: line protocol, writers and the forwarder.
//!
//! - `encode`: rows to lines, pure and versioned; `tags` and `escape`: the safe subset of line protocol
//! - `destination`: one InfluxDB as the operator named it; `secret`: tokens and passwords from files
//! - `page`: a stretch of the outbox, read and encoded; `request`: lines on their way, in halves if need be
//! - `writer`: one request to one server (`v1`, `v2`, `tls`); `outcome`: what an answer means; `refused`: which
//!   lines it names
//! - `deliver`: one request until it is taken; `backoff`: the waits between; `dead_letters`: what nobody takes
//! - `forward`: the task of one destination; `stats`: what it has done
//!
//! Absent by design: a queue or spool of its own (the store is the outbox), reading from InfluxDB, creating databases
//! or buckets, any way to change a point that was sent.

mod backoff;
mod dead_letters;
mod deliver;
pub mod destination;
pub mod encode;
mod escape;
pub mod forward;
pub mod outcome;
mod page;
mod refused;
mod request;
mod secret;
pub mod stats;
mod tags;
mod writer;
