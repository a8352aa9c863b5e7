//! `roundsman:net/icmp`, where somebody answers, twice, what has 33 bytes and nine hops to go, and nothing else.

use roundsman_sdk::bindings::roundsman::net::icmp::Echo;
use roundsman_sdk::bindings::roundsman::net::types::Failure;

use crate::{option, show, tell};

const MS: u64 = 1_000_000;

fn kinds(echo: &Echo) -> String {
    let kinds: Vec<_> = echo.results().into_iter().map(|reply| reply.kind).collect();
    kinds.join(", ")
}

fn answered(address: &str, size: u32, ttl: u8) -> Result<Echo, Failure> {
    let echo = Echo::new(address);
    echo.set_count(2);
    echo.set_interval_ns(300 * MS);
    echo.set_timeout_ns(300 * MS);
    echo.set_size(size);
    echo.set_ttl(ttl);
    echo.set_source_address("127.0.0.2");
    echo.send()?;
    Ok(echo)
}

pub(crate) fn tour(address: &str, both: &str) -> Result<(), Failure> {
    let echo = answered(address, 33, 9)?;
    tell("icmp.echo.send", kinds(&echo));
    tell("icmp.echo.set-count", echo.results().len());
    if let Some(reply) = echo.results().into_iter().next() {
        let (from, ttl) = (show(reply.from), show(reply.ttl));
        tell("icmp.echo.results", format!("{} from {from} ttl {ttl} after {}", reply.kind, show(reply.round_trip_ns)));
    }
    tell("icmp.echo.duplicates", echo.duplicates());
    tell("icmp.echo.peer-address", show(echo.peer_address()));
    tell("icmp.echo.set-source-address", show(echo.fact("local-address")));
    tell("icmp.echo.set-size", format!("{} of 33 bytes, {} of 34", kinds(&echo), kinds(&answered(address, 34, 9)?)));
    let other = answered(address, 33, 10)?;
    tell("icmp.echo.set-ttl", format!("{} with 9 hops, {} with 10", kinds(&echo), kinds(&other)));
    // Two that are lost: the second was sent after the interval, and waited for as long again.
    tell("icmp.echo.set-interval-ns", show(other.timing_ns("total")));
    let echo = Echo::new(address);
    echo.set_count(1);
    // Longer than without it.
    echo.set_timeout_ns(1200 * MS);
    tell("icmp.echo.set-option", option(echo.set_option("flood", "yes")));
    echo.send()?;
    tell("icmp.echo.set-timeout-ns", show(echo.timing_ns("total")));
    tell("icmp.echo.timing-ns", show(echo.timing_ns("resolve")));
    let fits = |wanted: bool| {
        let echo = Echo::new(address);
        echo.set_size(2000);
        // The kernel tells the size between two of them.
        echo.set_count(2);
        echo.set_timeout_ns(40 * MS);
        echo.set_dont_fragment(wanted);
        echo.send().map(|()| echo)
    };
    let whole = fits(true)?;
    tell("icmp.echo.set-dont-fragment", format!("{} with true, {} with false", kinds(&whole), kinds(&fits(false)?)));
    tell("icmp.echo.fact", show(whole.fact("mtu")));
    // The kernel itself answers there.
    let echo = Echo::new(both);
    echo.set_address_family("ipv6");
    echo.set_count(1);
    echo.send()?;
    tell("icmp.echo.set-address-family", show(echo.peer_address()));
    tell("icmp.echo.constructor", format!("{} of {both}", kinds(&echo)));
    Ok(())
}
