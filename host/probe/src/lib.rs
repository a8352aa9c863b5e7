//! What plugins may ask of the world: grants first, then name look-ups, HTTP and the node's kernel.
//!
//! - `grants`: what one check may touch; `pattern`: one line of it; `host`, `address`: canonical spellings
//! - `resolve`: names to addresses; `connect`: addresses to a connection; `wire`: a connection that is metered
//! - `tls`: handshakes whose certificates are recorded also when refused; `certificate`: facts of one certificate
//! - `http`: one exchange with the time of each phase (`url`, `call`, `trace`, `hop`, `send`)
//! - `system`: mounts, usage, load, memory, pressure, uname (`mounts`, `kernel`, `pool`)
//! - `probe`: what all runs share; `stats`: what it counts; `failure`: the words of the contract
//!
//! Absent by design: wasmtime, connection pools, proxies, decompression, DNS caches, `tokio::spawn`.

pub mod address;
pub mod certificate;
mod connect;
pub mod failure;
pub mod grants;
pub mod host;
pub mod http;
pub mod pattern;
pub mod probe;
pub mod resolve;
pub mod stats;
pub mod system;
mod tls;
mod wire;
