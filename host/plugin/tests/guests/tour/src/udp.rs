//! `roundsman:net/udp`, with a peer that says what it saw.

use roundsman_sdk::bindings::roundsman::net::types::Failure;
use roundsman_sdk::bindings::roundsman::net::udp::Exchange;

use crate::{failed, option, part, show, tell, text};

pub(crate) fn tour(address: &str, both: &str, silent: &str) -> Result<(), Failure> {
    let exchange = Exchange::new(address);
    exchange.set_source_address("127.0.0.9");
    tell("udp.exchange.set-option", option(exchange.set_option("colour", "red")));
    exchange.send(b"hello")?;
    let answer = exchange.receive(512)?;
    let seen = text(&answer.bytes);
    tell("udp.exchange.constructor", part(&seen, "at"));
    tell("udp.exchange.send", part(&seen, "said"));
    tell("udp.exchange.set-source-address", part(&seen, "from"));
    tell("udp.exchange.receive", format!("{} bytes after {} at {}", answer.bytes.len(), answer.after_ns, answer.at_ns));
    tell("udp.exchange.timing-ns", show(exchange.timing_ns("first-byte")));
    tell("udp.exchange.peer-address", show(exchange.peer_address()));
    tell("udp.exchange.fact", show(exchange.fact("timestamp-source")));
    let exchange = Exchange::new(both);
    exchange.set_address_family("ipv6");
    exchange.send(b"hello")?;
    tell("udp.exchange.set-address-family", part(&text(&exchange.receive(512)?.bytes), "from"));
    let exchange = Exchange::new(silent);
    exchange.set_timeout_ns(50_000_000);
    exchange.send(b"hello")?;
    tell("udp.exchange.set-timeout-ns", failed(exchange.receive(512)));
    Ok(())
}
