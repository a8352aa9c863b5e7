//! Tables of lines that parse, that do not and why, and of what they match; `covers` against an obvious model.

use proptest::prelude::*;

use super::*;

#[test]
fn lines_that_parse() {
    for line in [
        "https://shop.example:443",
        "https://shop.example",
        "https://*.shop.example:443",
        "http://*:80,8000-8099,443",
        "tcp://*:*",
        "tcp://10.0.0.7:5432",
        "tcp://10.0.0.0/8:5432",
        "tcp://[fd00::7]:5432",
        "tcp://[fd00::/8]:1-65535",
        "tcp://[::/0]:1",
        "udp://0.0.0.0/0:123",
        "http://shop.example.:80",
        "http://[::ffff:10.0.0.7]:80",
        "tls://shop.example:25,465,587",
        "icmp://shop.example",
        "icmp://10.0.0.0/8",
        "icmp://[fd00::/8]",
        "icmp://*",
        "dns://system",
        "dns://ns1.example",
        "dns://10.0.0.10:5353",
        "dns://[fd00::7]",
    ] {
        Pattern::parse(line).unwrap_or_else(|error| panic!("{line}: {error}"));
    }
}

#[test]
fn lines_that_do_not_and_why() {
    for (line, reason) in [
        ("", "no scheme"),
        ("shop.example:443", "no scheme"),
        ("ftp://shop.example:21", "no scheme: write http"),
        ("icmp://shop.example:7", "write icmp://shop.example"),
        ("dns://system:53", "dns://system alone"),
        ("tls://shop.example", "PORT"),
        ("ntp://shop.example", "write udp://shop.example:123"),
        ("grpc://shop.example:1", "http or https"),
        ("unix:///run/app.sock", "files"),
        ("HTTPS://shop.example", "lower case"),
        ("https://Shop.example", "lower case"),
        ("https://bücher.example", "punycode"),
        ("tcp://h\u{1b}[31m", "control character"),
        ("tcp://h :1", "space"),
        ("https://user:password@shop.example:443", "user name"),
        ("https://shop.example:443/healthz", "path"),
        ("https://shop.example/", "path"),
        ("https://shop.example:443?x", "path"),
        ("tcp://shop.example", "PORT"),
        ("tcp://shop.example:", "no port"),
        ("tcp://shop.example:0", "no port"),
        ("tcp://shop.example:65536", "no port"),
        ("tcp://shop.example:+1", "no port"),
        ("tcp://shop.example:80,", "no port"),
        ("tcp://shop.example:90-80", "80-90"),
        ("https://:443", "empty"),
        ("https://*shop.example:443", "whole labels"),
        ("https://shop.*:443", "at the beginning"),
        ("https://*.:443", "empty"),
        ("https://*.*.example:443", "not a host"),
        ("https://*.10:443", "decimal"),
        ("tcp://10.0.0.7/8:1", "write 10.0.0.0/8"),
        ("tcp://10.0.0.0/33:1", "no prefix"),
        ("tcp://10.0.0.0/:1", "no prefix"),
        ("tcp://10.0.0.0/+8:1", "no prefix"),
        ("tcp://fd00::7:1", "brackets"),
        ("tcp://[fd00::]/8:1", "inside the brackets"),
        ("tcp://[10.0.0.7]:1", "IPv6"),
        ("tcp://[fd00::7]1", "behind the bracket"),
        ("tcp://[fd00::7:1", "closing"),
        ("tcp://[fe80::1%eth0]:1", "zone"),
        ("tcp://[::ffff:10.0.0.0/104]:1", "IPv4 network"),
        ("tcp://[64:ff9b::/96]:1", "IPv4 network"),
        ("tcp://2130706433:1", "decimal"),
        ("tcp://0x7f.1:1", "decimal"),
        ("tcp://010.0.0.1:1", "decimal"),
    ] {
        let error = Pattern::parse(line).expect_err(line);
        assert!(error.contains(reason), "{line}: {error}");
    }
    assert!(Pattern::parse(&format!("tcp://h:{}1", "1,".repeat(32))).unwrap_err().contains("range"));
    assert!(Pattern::parse(&format!("tcp://{}:1", "h".repeat(600))).unwrap_err().contains("longer"));
}

#[test]
fn targets() {
    let any = 1..=u16::MAX;
    for (address, scheme, ports) in [
        ("https://shop.example", Some(Scheme::Https), 443..=443),
        ("HTTP://Shop.Example:8080/healthz?x=1#y", Some(Scheme::Http), 8080..=8080),
        ("tcp://[fd00::7]:5432", Some(Scheme::Tcp), 5432..=5432),
        ("tls://mail.example:465", Some(Scheme::Tls), 465..=465),
        ("icmp://shop.example", Some(Scheme::Icmp), 0..=0),
        ("dns://10.0.0.10", Some(Scheme::Dns), 53..=53),
        ("dns://10.0.0.10:5353", Some(Scheme::Dns), 5353..=5353),
        ("dns://system", Some(Scheme::Dns), 0..=0),
        ("system", None, any.clone()),
        ("shop.example:443", None, 443..=443),
        ("shop.example", None, any.clone()),
        ("10.0.0.7", None, any.clone()),
        ("fd00::7", None, any.clone()),
        ("[fd00::7]", None, any),
        ("[fd00::7]:22", None, 22..=22),
    ] {
        let pattern = Pattern::of_target(address).unwrap_or_else(|| panic!("{address}"));
        assert_eq!((pattern.scheme, &pattern.ports[0]), (scheme, &ports), "{address}");
    }
    for nothing in [
        "",
        "/var/lib",
        "*.example",
        "*",
        "10.0.0.0/8",
        "tcp://shop.example",
        "icmp://shop.example:7",
        "tls://shop.example",
        "dns://system:53",
        "ntp://shop.example",
        "https://user@shop.example",
        "https://*.shop.example",
        "a:b:c",
        "shop.example:0",
        "https://",
    ] {
        assert_eq!(Pattern::of_target(nothing), None, "{nothing}");
    }
}

#[test]
fn names() {
    let allows = |line: &str, name: &str| Pattern::parse(line).unwrap().allows_name(Scheme::Https, name, 443);
    assert!(allows("https://shop.example", "shop.example"));
    assert!(allows("https://*.shop.example", "eu.shop.example"));
    assert!(allows("https://*.shop.example", "a.eu.shop.example"));
    assert!(allows("https://*", "shop.example"));
    assert!(!allows("https://*.shop.example", "shop.example"));
    assert!(!allows("https://*.shop.example", "evilshop.example"));
    assert!(!allows("https://shop.example", "shop.example.evil"));
    assert!(!allows("http://shop.example:443", "shop.example"));
    assert!(!allows("https://shop.example:444-500", "shop.example"));
}

#[test]
fn networks() {
    let allows = |line: &str, ip: &str| {
        Pattern::parse(line).unwrap().allows_address(Scheme::Tcp, judged(ip.parse().unwrap()), 1)
    };
    assert!(allows("tcp://10.0.0.0/8:1", "10.255.0.1"));
    assert!(allows("tcp://10.0.0.0/8:1", "::ffff:10.255.0.1"));
    assert!(allows("tcp://[::ffff:10.0.0.7]:1", "10.0.0.7"));
    assert!(allows("tcp://[fd00::/8]:1", "fd12::1"));
    assert!(allows("tcp://0.0.0.0/0:1", "1.2.3.4"));
    assert!(!allows("tcp://[::/0]:1", "1.2.3.4"));
    assert!(!allows("tcp://[::/0]:1", "64:ff9b::1.2.3.4"));
    assert!(!allows("tcp://10.0.0.0/9:1", "10.128.0.1"));
    assert!(!allows("tcp://10.0.0.0/8:2", "10.0.0.1"));
    assert!(!allows("tcp://*:1", "10.0.0.1"));
}

#[test]
fn schemes_and_what_they_include() {
    let allows = |line: &str, scheme, port| {
        let pattern = Pattern::parse(line).ok().or_else(|| Pattern::of_target(line)).unwrap();
        pattern.allows_name(scheme, "h.example", port)
    };
    for (line, scheme, port, want) in [
        ("tcp://h.example:25", Scheme::Tcp, 25, true),
        ("tcp://h.example:25", Scheme::Tls, 25, true),
        ("tls://h.example:25", Scheme::Tls, 25, true),
        ("tls://h.example:25", Scheme::Tcp, 25, false),
        ("https://h.example", Scheme::Tls, 443, false),
        ("https://h.example", Scheme::Tcp, 443, false),
        ("tcp://h.example:443", Scheme::Https, 443, false),
        ("tcp://h.example:53", Scheme::Dns, 53, false),
        ("udp://h.example:53", Scheme::Dns, 53, false),
        ("dns://h.example", Scheme::Dns, 53, true),
        ("dns://h.example", Scheme::Dns, 853, true),
        ("dns://h.example", Scheme::Dns, 5353, false),
        ("dns://h.example", Scheme::Udp, 53, false),
        ("dns://h.example:5353", Scheme::Dns, 53, false),
        ("icmp://h.example", Scheme::Icmp, 0, true),
        ("tcp://h.example:*", Scheme::Icmp, 0, false),
        ("h.example", Scheme::Icmp, 0, true),
        ("h.example", Scheme::Dns, 53, true),
        ("h.example:53", Scheme::Dns, 53, true),
        ("h.example:53", Scheme::Icmp, 0, false),
    ] {
        assert_eq!(allows(line, scheme, port), want, "{line} {scheme} {port}");
    }
    for (line, want) in [("dns://system", true), ("dns://*", false), ("dns://system.example", false)] {
        assert_eq!(Pattern::parse(line).unwrap().is_system_resolver(), want, "{line}");
    }
    assert!(!Pattern::of_target("system").unwrap().is_system_resolver(), "a machine may be called so");
    assert!(!Pattern::parse("dns://system").unwrap().allows_name(Scheme::Dns, "system", 53));
    assert!(!Pattern::parse("icmp://169.254.169.254").unwrap().is_exactly(Scheme::Icmp, [1, 1, 1, 1].into(), 0));
    assert!(Pattern::parse("icmp://169.254.169.254").unwrap().is_exactly(Scheme::Icmp, [169, 254, 169, 254].into(), 0));
}

#[test]
fn what_covers_what() {
    for (own, other, want) in [
        ("https://*:443", "https://shop.example", true),
        ("https://*:443", "https://*.example", true),
        ("https://*:443", "https://*", true),
        ("https://*:443", "https://8.8.8.8", true),
        ("https://*:443", "https://10.0.0.7", false),
        ("https://*:443", "https://8.0.0.0/8", false),
        ("https://*.example", "https://*.shop.example", true),
        ("https://*.example", "https://example", false),
        ("https://*.shop.example", "https://*.example", false),
        ("https://*.shop.example", "https://*.evilshop.example", false),
        ("https://shop.example", "https://*.shop.example", false),
        ("tcp://h:1-100,101-200", "tcp://h:50-150", true),
        ("tcp://h:1-100,102-200", "tcp://h:50-150", false),
        ("tcp://h:*", "tcp://h:1,2,65535", true),
        ("tcp://h:65535", "tcp://h:*", false),
        ("tcp://h:1", "tls://h:1", true),
        ("tls://h:1", "tcp://h:1", false),
        ("tcp://10.0.0.0/8:1", "tcp://10.1.0.0/16:1", true),
        ("tcp://10.1.0.0/16:1", "tcp://10.0.0.0/8:1", false),
        ("tcp://10.0.0.0/8:1", "tcp://[::ffff:10.0.0.7]:1", true),
        ("tcp://[::/0]:1", "tcp://10.0.0.7:1", false),
        ("tcp://10.0.0.0/8:1", "tcp://h:1", false),
        ("http://0.0.0.0/0:*", "http://169.254.169.254:80", false),
        ("http://169.254.169.254:*", "http://169.254.169.254:80", false),
        ("http://169.254.169.254:80", "http://169.254.169.254:80", true),
        ("http://0.0.0.0/0:*", "http://169.254.0.0/16:80", true),
        ("icmp://10.0.0.0/8", "icmp://10.0.0.7", true),
        ("icmp://*", "icmp://h", true),
        ("dns://system", "dns://system", true),
        ("dns://*:*", "dns://system", false),
        ("dns://h", "dns://h:853", true),
    ] {
        let found = Pattern::parse(own).unwrap().covers(&Pattern::parse(other).unwrap());
        assert_eq!(found, want, "{own} covers {other}");
    }
    let bare = Pattern::of_target("h").unwrap();
    assert!(bare.covers(&Pattern::parse("icmp://h").unwrap()) && bare.covers(&Pattern::parse("tcp://h:1").unwrap()));
    assert!(!Pattern::of_target("h:1").unwrap().covers(&Pattern::parse("icmp://h").unwrap()));
    assert!(!Pattern::parse("tcp://h:*").unwrap().covers(&bare));
}

/// Everything that a line is ever asked, of a few names, addresses and ports.
fn matches(pattern: &Pattern) -> Vec<bool> {
    let mut answers = Vec::new();
    for scheme in Scheme::ALL {
        for port in [0, 1, 2, 3, 53, 80, 443, 853, u16::MAX] {
            for name in ["example", "a.example", "b.a.example", "xa.example", "system"] {
                answers.push(pattern.allows_name(scheme, name, port));
            }
            for ip in ["10.0.0.7", "10.1.0.7", "8.8.8.8", "169.254.169.254", "127.0.0.1", "fd00::7", "fe80::1", "::1"] {
                let ip: IpAddr = ip.parse().unwrap();
                let public = reach(ip) == Reach::Public;
                let special = matches!(reach(ip), Reach::Special(_));
                answers.push(if special {
                    pattern.is_exactly(scheme, ip, port)
                } else {
                    pattern.allows_address(scheme, ip, port) || public && pattern.allows_any_host(scheme, port)
                });
            }
        }
    }
    answers.push(pattern.is_system_resolver());
    answers
}

fn any_pattern() -> impl Strategy<Value = Pattern> {
    let host = prop::sample::select(vec![
        "*",
        "example",
        "a.example",
        "*.example",
        "*.a.example",
        "10.0.0.0/8",
        "10.0.0.0/16",
        "10.0.0.7",
        "8.8.8.8",
        "8.0.0.0/8",
        "0.0.0.0/0",
        "169.254.169.254",
        "169.254.0.0/16",
        "[::/0]",
        "[fd00::/8]",
        "[fd00::7]",
        "[::1]",
        "system",
    ]);
    let ports = prop::sample::select(vec!["", ":1", ":1-3", ":1,2", ":80,443", ":*", ":2-65535", ":53,853"]);
    let scheme =
        prop::sample::select(vec!["", "http://", "https://", "tcp://", "tls://", "udp://", "dns://", "icmp://"]);
    (scheme, host, ports).prop_filter_map("not every mixture is a line", |(scheme, host, ports)| {
        let line = [scheme, host, ports].concat();
        if scheme.is_empty() { Pattern::of_target(&line) } else { Pattern::parse(&line).ok() }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]

    #[test]
    fn what_is_covered_is_matched(own in any_pattern(), other in any_pattern()) {
        let more = matches(&own).into_iter().zip(matches(&other)).all(|(own, other)| own || !other);
        if own.covers(&other) {
            prop_assert!(more, "{own:?} covers {other:?}");
        }
        prop_assert!(own.covers(&own));
        for line in own.by_scheme() {
            prop_assert!(own.covers(&line), "{own:?} covers its part {line:?}");
        }
    }

    #[test]
    fn covering_goes_on(a in any_pattern(), b in any_pattern(), c in any_pattern()) {
        if a.covers(&b) && b.covers(&c) {
            prop_assert!(a.covers(&c), "{a:?} {b:?} {c:?}");
        }
    }
}
