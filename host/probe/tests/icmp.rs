//! Echo requests in networks that the tests make themselves: a host, a router, and what is behind it.
//!
//! Each test runs itself again within a namespace, once with ping sockets and once with raw ones.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests, where the lint exempts only the tests themselves"
)]

#[path = "icmp/hostile.rs"]
mod hostile;
#[path = "icmp/network.rs"]
mod network;
mod support;

use std::net::IpAddr;
use std::time::Duration;

use roundsman_probe::failure::code;
use roundsman_probe::icmp::{Echo, Exchange, Kind};
use tokio::time::Instant;

use crate::network::{Mode, Network};
use crate::support::{LONG, grants, probe, probe_with};

/// Everything that the tests have a way to.
const GRANTS: [&str; 7] = [
    "icmp://127.0.0.0/8",
    "icmp://[::1]",
    "icmp://10.0.0.0/8",
    "icmp://[fd00::/8]",
    "icmp://far.test",
    "icmp://router.test",
    "icmp://203.0.113.0/24",
];

async fn ping(address: &str, set: impl FnOnce(&mut Echo)) -> Exchange {
    ping_within(LONG, address, set).await
}

async fn ping_within(within: Duration, address: &str, set: impl FnOnce(&mut Echo)) -> Exchange {
    let mut echo = Echo::new(address);
    echo.set_interval(Duration::from_millis(5));
    set(&mut echo);
    let probe = probe_with("10.2.0.1 far.test\nfd02::1 far.test", roundsman_probe::probe::Roots::Only(Vec::new()));
    let exchange = probe.icmp(&grants(&GRANTS), &echo, Instant::now() + within).await;
    assert_eq!(probe.stats().icmp.calls(), 1);
    exchange
}

/// A network whose neighbours have found each other, which takes IPv6 a second.
async fn reachable() -> Network {
    let network = Network::new();
    for address in ["10.2.0.1", "fd02::1"] {
        let end = Instant::now() + LONG;
        while ping(address, |echo| echo.set_count(1)).await.answered() == 0 {
            assert!(Instant::now() < end, "{address} is not reached");
        }
    }
    network
}

#[track_caller]
fn kinds(exchange: &Exchange) -> Vec<&'static str> {
    assert_eq!(exchange.result, Ok(()));
    exchange.replies.iter().map(|reply| reply.kind.as_str()).collect()
}

/// Of all requests the same.
#[track_caller]
fn all(exchange: &Exchange, kind: Kind, from: Option<&str>) {
    let from = from.map(|ip| ip.parse::<IpAddr>().unwrap());
    assert_eq!(exchange.result, Ok(()));
    assert!(!exchange.replies.is_empty());
    assert!(exchange.replies.iter().all(|reply| reply.kind == kind && reply.from == from), "{exchange:?}");
}

#[tokio::test]
async fn loopback() {
    for mode in Mode::BOTH {
        if !network::inside("loopback", mode) {
            continue;
        }
        for address in ["127.0.0.1", "::1", "[::1]", "icmp://127.0.0.1"] {
            let exchange = ping(address, |echo| echo.set_count(5)).await;
            let ip: IpAddr = if address.contains("127") { "127.0.0.1" } else { "::1" }.parse().unwrap();
            all(&exchange, Kind::Reply, Some(&ip.to_string()));
            assert_eq!((exchange.replies.len(), exchange.answered(), exchange.duplicates), (5, 5, 0));
            for reply in &exchange.replies {
                let took = reply.round_trip.unwrap();
                assert!(took > Duration::ZERO && took < Duration::from_secs(1), "{took:?}");
                assert_eq!(reply.ttl, Some(64));
            }
            assert_eq!((exchange.peer, exchange.fact("local-address")), (Some(ip), Some(ip.to_string().as_str())));
            assert_eq!(exchange.fact("ignored"), Some("0"), "raw sockets hear their own requests, too");
            // Four pauses of 5 ms.
            assert!(exchange.timing("total").unwrap() >= Duration::from_millis(20));
            assert!(exchange.timing("first-byte").is_some() && exchange.timing("resolve").is_none());
        }
        for size in [0, 1, 15, 16, 1000, 65_507] {
            let exchange = ping("127.0.0.1", |echo| {
                echo.set_size(size);
                echo.set_count(1);
            });
            all(&exchange.await, Kind::Reply, Some("127.0.0.1"));
        }
    }
}

#[tokio::test]
async fn hosts_behind_a_router() {
    for mode in Mode::BOTH {
        if !network::inside("hosts_behind_a_router", mode) {
            continue;
        }
        let _network = reachable().await;
        for (address, router) in [("10.2.0.1", "10.1.0.254"), ("fd02::1", "fd01::fe")] {
            let exchange = ping(address, |echo| echo.set_count(10)).await;
            all(&exchange, Kind::Reply, Some(address));
            assert!(exchange.replies.iter().all(|reply| reply.ttl == Some(63)), "{exchange:?}");
            let expected = if address.contains(':') { "fd01::1" } else { "10.1.0.1" };
            assert_eq!(exchange.fact("local-address"), Some(expected));

            let exchange = ping(address, |echo| echo.set_ttl(1)).await;
            all(&exchange, Kind::TimeExceeded, Some(router));
            assert!(exchange.replies.iter().all(|reply| reply.round_trip.is_none()));
            all(&ping(address, |echo| echo.set_ttl(2)).await, Kind::Reply, Some(address));
        }
        // The network behind the router takes 1,280 bytes at a time, ours 1,500.
        let sized = |address: &'static str, size: u32, whole: bool| {
            ping(address, move |echo| {
                echo.set_size(size);
                echo.set_dont_fragment(whole);
            })
        };
        for _ in 0..2 {
            // Twice: what the kernel has learnt the first time does not count the second time.
            let exchange = sized("10.2.0.1", 1400, true).await;
            all(&exchange, Kind::TooBig, Some("10.1.0.254"));
            assert_eq!(exchange.fact("mtu"), Some("1280"));
            let exchange = sized("fd02::1", 1400, true).await;
            all(&exchange, Kind::TooBig, Some("fd01::fe"));
            assert_eq!(exchange.fact("mtu"), Some("1280"));
        }
        all(&sized("10.2.0.1", 1252, true).await, Kind::Reply, Some("10.2.0.1"));
        all(&sized("10.2.0.1", 1400, false).await, Kind::Reply, Some("10.2.0.1"));
        for address in ["10.2.0.1", "fd02::1"] {
            let exchange = sized(address, 1480, true).await;
            all(&exchange, Kind::TooBig, None);
            assert!(exchange.fact("refusal").unwrap().contains("too long"), "{exchange:?}");
            assert_eq!(exchange.fact("mtu"), Some("1500"), "{exchange:?}");
        }
    }
}

#[tokio::test]
async fn silence_and_refusals() {
    for mode in Mode::BOTH {
        if !network::inside("silence_and_refusals", mode) {
            continue;
        }
        let _network = reachable().await;
        let short = |echo: &mut Echo| echo.set_timeout(Duration::from_millis(200));
        // Nobody has the address; the router drops; the router says no.
        for address in ["10.1.0.77", "fd01::77", "10.3.0.1", "fd03::1"] {
            let exchange = ping(address, short).await;
            all(&exchange, Kind::Lost, None);
            let total = exchange.timing("total").unwrap();
            assert!(total >= Duration::from_millis(200) && total < Duration::from_secs(10), "{total:?}");
        }
        for (address, router) in [("10.4.0.1", "10.1.0.254"), ("fd04::1", "fd01::fe")] {
            let exchange = ping(address, short).await;
            // Routers do not answer every time: they count what they say.
            let said = exchange.replies.iter().find(|reply| reply.kind == Kind::Unreachable).unwrap();
            assert_eq!(said.from, Some(router.parse().unwrap()), "{exchange:?}");
        }
        let failed = ping("203.0.113.1", short).await.result.unwrap_err();
        assert_eq!((failed.code, failed.phase), (code::UNREACHABLE, "connect"), "{failed}");
        let failed = ping("10.1.0.255", short).await.result.unwrap_err();
        assert_eq!(failed.code, code::INVALID, "{failed}");
        assert!(failed.message.contains("broadcast"), "{failed}");
        // By name, by family, and from an address.
        let exchange = ping("far.test", |echo| echo.set_address_family("ipv6")).await;
        all(&exchange, Kind::Reply, Some("fd02::1"));
        assert!(exchange.timing("resolve").is_some());
        let exchange = ping("far.test", |echo| echo.set_source_address("10.1.0.2")).await;
        all(&exchange, Kind::Reply, Some("10.2.0.1"));
        assert_eq!(exchange.fact("local-address"), Some("10.1.0.2"));
        let failed = ping("far.test", |echo| echo.set_source_address("10.77.0.1")).await.result.unwrap_err();
        assert_eq!(failed.code, code::INVALID, "{failed}");
    }
}

#[tokio::test]
async fn the_deadline_ends_everything() {
    for mode in Mode::BOTH {
        if !network::inside("the_deadline_ends_everything", mode) {
            continue;
        }
        let _network = reachable().await;
        let begun = std::time::Instant::now();
        let exchange = ping_within(Duration::from_millis(300), "10.2.0.1", |echo| {
            echo.set_count(100);
            echo.set_interval(Duration::from_millis(50));
        });
        let exchange = exchange.await;
        let words = kinds(&exchange);
        assert!(begun.elapsed() < Duration::from_secs(5));
        assert_eq!(words.len(), 100);
        assert!(words[0] == "reply" && words[99] == "not-sent", "{words:?}");
        assert!(words.iter().filter(|word| **word == "reply").count() <= 7, "{words:?}");
        let exchange = ping_within(Duration::from_millis(300), "10.3.0.1", |echo| echo.set_count(2)).await;
        assert_eq!(kinds(&exchange), ["lost", "lost"]);
        // An answer that comes after its time is none.
        let exchange = ping("10.2.0.1", |echo| echo.set_timeout(Duration::from_nanos(1))).await;
        all(&exchange, Kind::Lost, None);
    }
}

#[tokio::test]
async fn who_may_send_none_is_told_what_to_do() {
    if !network::inside("who_may_send_none_is_told_what_to_do", Mode::Refused) {
        return;
    }
    for address in ["127.0.0.1", "::1"] {
        let failed = ping(address, |_| ()).await.result.unwrap_err();
        assert_eq!((failed.code, failed.phase), (code::UNSUPPORTED, "policy"), "{failed}");
        for word in ["net.ipv4.ping_group_range", "CAP_NET_RAW"] {
            assert!(failed.message.contains(word), "{failed}");
        }
    }
}

#[tokio::test]
async fn what_is_not_granted_or_makes_no_sense() {
    let asked = |grant: &[&str], address: &str, set: &dyn Fn(&mut Echo)| {
        let mut echo = Echo::new(address);
        set(&mut echo);
        let grants = grants(grant);
        async move { probe().icmp(&grants, &echo, Instant::now() + LONG).await }
    };
    let nothing: &dyn Fn(&mut Echo) = &|_| ();
    for (grant, address, line) in [
        (&[][..], "127.0.0.1", "icmp://127.0.0.1"),
        (&["tcp://127.0.0.1:*", "udp://127.0.0.1:*", "dns://127.0.0.1:*"], "127.0.0.1", "icmp://127.0.0.1"),
        (&["icmp://*"], "127.0.0.1", "icmp://127.0.0.1"),
        (&["icmp://0.0.0.0/0"], "169.254.169.254", "icmp://169.254.169.254"),
        (&["icmp://0.0.0.0/0"], "224.0.0.1", "icmp://224.0.0.1"),
        (&["icmp://0.0.0.0/0"], "255.255.255.255", "icmp://255.255.255.255"),
        (&["icmp://0.0.0.0/0"], "0.0.0.0", "icmp://0.0.0.0"),
        (&["icmp://[::/0]"], "fe80::1", "icmp://[fe80::1]"),
        (&["icmp://[::/0]"], "ff02::1", "icmp://[ff02::1]"),
        (&["icmp://far.test"], "shop.test", "icmp://shop.test"),
    ] {
        let exchange = asked(grant, address, nothing).await;
        assert!(exchange.replies.is_empty() && exchange.timing("connect").is_none());
        let denied = exchange.result.unwrap_err();
        assert_eq!((denied.code, denied.phase), (code::DENIED, "policy"), "{address}: {denied}");
        assert!(denied.message.contains(line), "{denied} does not say {line}");
    }
    for (set, code) in [
        (&(|echo: &mut Echo| echo.set_count(0)) as &dyn Fn(&mut Echo), "limit"),
        (&|echo: &mut Echo| echo.set_count(101), "limit"),
        (&|echo: &mut Echo| echo.set_interval(Duration::from_micros(999)), "limit"),
        (&|echo: &mut Echo| echo.set_size(65_508), "limit"),
        (&|echo: &mut Echo| echo.set_ttl(0), "invalid"),
        (&|echo: &mut Echo| echo.set_address_family("both"), "invalid"),
        (&|echo: &mut Echo| echo.set_address_family("ipv6"), "invalid"),
        (&|echo: &mut Echo| echo.set_source_address("0.0.0.0"), "invalid"),
        (&|echo: &mut Echo| *echo = Echo::new("127.0.0.1:80"), "invalid"),
        (&|echo: &mut Echo| *echo = Echo::new(&"a".repeat(600)), "limit"),
        (&|echo: &mut Echo| *echo = Echo::new(""), "invalid"),
    ] {
        assert_eq!(asked(&["icmp://127.0.0.1"], "127.0.0.1", set).await.result.unwrap_err().code, code);
    }
    assert_eq!(Echo::new("a").set_option("flood", "yes").unwrap_err().code, code::UNSUPPORTED);
}
