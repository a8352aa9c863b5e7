//! Questions to a real server about zones that are known, and to servers in this process that do whatever they like.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests, where the lint exempts only the tests themselves"
)]

#[path = "dns/hostile.rs"]
mod hostile;
#[path = "dns/named.rs"]
mod named;
#[path = "dns/real.rs"]
mod real;
mod support;
#[path = "dns/system.rs"]
mod system;

use std::net::SocketAddr;

use roundsman_probe::dns::{Answer, Entry, Exchange, Query};
use roundsman_probe::failure::Failure;
use tokio::time::Instant;

use crate::support::{LONG, grants, probe};

/// Asks a server that is granted by its address.
async fn ask(server: SocketAddr, name: &str, kind: &str, set: impl FnOnce(&mut Query)) -> Exchange {
    let mut query = Query::new(name, kind);
    query.set_server(&server.to_string());
    set(&mut query);
    probe().dns(&grants(&[&format!("dns://{server}")]), &query, Instant::now() + LONG).await
}

#[track_caller]
fn answer(exchange: Exchange) -> Answer {
    exchange.result.unwrap_or_else(|failure| panic!("{failure:?}"))
}

#[track_caller]
fn failure(exchange: Exchange) -> Failure {
    exchange.result.expect_err("it was to fail")
}

/// As a line of a zone file.
fn lines(entries: &[Entry]) -> Vec<String> {
    entries.iter().map(|e| format!("{} {} {} {}", e.name, e.ttl_s, e.kind, e.text)).collect()
}
