//! What plugins may ask of the world: grants first, then name look-ups, HTTP and the node's kernel.
//!
//! - `grants`: what one check may touch; `pattern`: one line of it; `host`, `address`: canonical spellings
//! - `ceiling`: what the checks of a plugin may be granted at most; `beneath`: files under a grant, and no link out of it
//! - `secrets`: by name, from files that may change; `redact`, `encoding`: how they are found in what is said
//! - `sockets`: how many sockets and programs may be open at once
//! - `resolve`: names to addresses; `connect`: addresses to a connection; `wire`: a connection that is metered
//! - `tls`: handshakes whose certificates are recorded also when refused; `certificate`: facts of one certificate
//! - `http`: one exchange with the time of each phase (`url`, `call`, `trace`, `hop`, `send`)
//! - `tcp`: a connection, its TLS and what is said over it; `udp`: datagrams; `endpoint`, `course`: for both
//! - `dns`: one question to a server (`message`, `wire`, `rdata`, `server`, `send`); `icmp`: echo requests (`socket`, `packet`)
//! - `system`: what the kernel and systemd say of the node; `command`: programs of the node
//! - `pool`: a bounded number of threads for questions that the kernel may never answer
//! - `probe`: what all runs share; `stats`: what it counts; `failure`: the words of the contract
//!
//! Absent by design: wasmtime, connection pools, proxies, decompression, DNS caches, `tokio::spawn`.

pub mod address;
pub mod beneath;
pub mod ceiling;
pub mod certificate;
pub mod command;
mod connect;
pub mod course;
pub mod dns;
pub mod encoding;
mod endpoint;
pub mod failure;
#[cfg(any(test, feature = "fuzz"))]
#[doc(hidden)]
pub mod fuzz;
pub mod grants;
pub mod host;
pub mod http;
pub mod icmp;
pub mod ledger;
pub mod pattern;
mod pool;
pub mod probe;
pub mod redact;
pub mod resolve;
pub mod script;
pub mod secrets;
pub mod sockets;
pub mod stats;
pub mod system;
pub mod tcp;
mod tls;
pub mod udp;
mod wire;
