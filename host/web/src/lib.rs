//! The HTTP API, the status page, metrics and probes: everything that is asked of a running agent from outside.
//!
//! - `agent`: the one trait, what this crate needs of the agent; `sample`: the numbers for `/metrics`
//! - `view`: the JSON shapes; `shown`: how they are made
//! - `serve`: listeners, connections, limits, shutdown; `stream`: a socket that gives up on a peer that stopped reading
//! - `authority`: who may do what; `door`: the check of every request before it is routed; `error`: refusals as JSON
//! - `routes`: every endpoint in one table; `api`, `silences`, `events`, `probes`, `page`, `history`: what they answer
//! - `results`: what is pushed; `reported`: its points and findings; `dossier`: all that is told of one check
//! - `params`: query parameters and bodies; `text`: lines from outside; `instant`: times as text
//! - `readers`: bounded reading of the store
//! - `html`: text that is escaped once; `marks`: what pages show beside a state
//! - `exposition`: OpenMetrics text; `metrics`: which numbers are exposed
//!
//! Absent by design: state of its own beyond counters, scripts in pages, sessions and cookies, and any way to make the
//! engine wait: all reads are of snapshots or of the store.

pub mod agent;
mod api;
pub mod authority;
mod door;
mod dossier;
mod error;
mod events;
mod exposition;
mod history;
mod html;
pub mod instant;
mod marks;
mod metrics;
mod page;
mod params;
mod probes;
mod readers;
mod reported;
mod results;
mod routes;
pub mod sample;
pub mod serve;
mod shown;
mod silences;
mod stream;
mod text;
pub mod view;

pub use routes::{App, Route, routes};
