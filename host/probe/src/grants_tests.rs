//! Tables of what grants allow and refuse, and random spellings of what must never be allowed.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use proptest::prelude::*;

use super::*;

const OWN_PORT: u16 = 9640;

fn grants(target: Option<&str>, network: &[&str]) -> Grants {
    let target = target.map(|address| Target { name: "t".into(), address: address.into(), labels: Default::default() });
    let allow = Allow { network: network.iter().map(|line| (*line).to_owned()).collect(), ..Allow::default() };
    Grants::compile(target.as_slice(), &allow, &[OWN_PORT]).unwrap()
}

const HOSTS: &str = "
    93.184.216.34    public.shop.example shop.example
    10.0.0.7         private.shop.example
    127.0.0.1        own.shop.example
    169.254.169.254  metadata.shop.example
    93.184.216.34    mixed.shop.example
    10.0.0.7         mixed.shop.example
    64:ff9b::10.0.0.7 nat64.shop.example
    64:ff9b::169.254.169.254 nat64-metadata.shop.example
    ::ffff:169.254.169.254 mapped-metadata.shop.example
    2002:a9fe:a9fe:: sixtofour-metadata.shop.example
";

async fn dial(grants: &Grants, scheme: &str, host: &str, port: u16) -> Result<Vec<SocketAddr>, Failure> {
    let resolver = Resolver::fixed(HOSTS);
    let deadline = Instant::now() + Duration::from_secs(10);
    grants.resolve(&resolver, Scheme::parse(scheme).unwrap(), host, port, deadline).await
}

/// `want`: None for allowed, or what the refusal must contain.
async fn check(lines: &[&str], scheme: &str, host: &str, port: u16, want: Option<&str>) {
    let found = dial(&grants(None, lines), scheme, host, port).await;
    let case = format!("{lines:?} {scheme}://{host}:{port}: {found:?}");
    match want {
        None => assert!(found.is_ok(), "{case}"),
        Some(words) => {
            let failure = found.expect_err(&case);
            assert!(failure.message.contains(words), "{case}, wanted {words}");
            assert_eq!(failure.code, code::DENIED, "{case}");
        }
    }
}

#[tokio::test]
async fn names_lead_to_addresses() {
    let wild = &["https://*.shop.example:443"][..];
    let any = &["https://*:*"][..];
    for (lines, host, want) in [
        (wild, "public.shop.example", None),
        (wild, "PUBLIC.shop.example.", None),
        (wild, "shop.example", Some("[\"https://shop.example:443\"]")),
        (&[], "shop.example", Some("[\"https://shop.example:443\"]")),
        (wild, "private.shop.example", Some("[\"https://private.shop.example:443\"]")),
        (any, "private.shop.example", Some("only a wildcard")),
        (&["https://private.shop.example"], "private.shop.example", None),
        (&["https://*.shop.example:443", "https://10.0.0.0/8:443"], "private.shop.example", None),
        (&["https://10.0.0.0/8:443"], "private.shop.example", Some("[\"https://private.shop.example:443\"]")),
        (wild, "mixed.shop.example", Some("10.0.0.7")),
        (wild, "nat64.shop.example", Some("10.0.0.7")),
        (&["https://nat64.shop.example"], "nat64.shop.example", None),
        (wild, "metadata.shop.example", Some("[\"https://169.254.169.254:443\"]")),
        (&["https://metadata.shop.example"], "metadata.shop.example", Some("metadata")),
        (&["https://nat64-metadata.shop.example"], "nat64-metadata.shop.example", Some("metadata")),
        (&["https://mapped-metadata.shop.example"], "mapped-metadata.shop.example", Some("metadata")),
        (&["https://sixtofour-metadata.shop.example"], "sixtofour-metadata.shop.example", Some("metadata")),
        (&["https://metadata.shop.example", "https://169.254.169.254:443"], "metadata.shop.example", None),
        (&["https://169.254.169.254:443"], "metadata.shop.example", Some("https://metadata.shop.example:443")),
    ] {
        check(lines, "https", host, 443, want).await;
    }
    check(&["http://own.shop.example:*"], "http", "own.shop.example", OWN_PORT, Some("own port")).await;
    check(&["http://own.shop.example:*"], "http", "own.shop.example", OWN_PORT + 1, None).await;
}

#[tokio::test]
async fn literal_addresses() {
    for (lines, scheme, host, port, want) in [
        (&["tcp://10.0.0.0/8:5432"][..], "tcp", "10.0.0.7", 5432, None),
        (&["tcp://10.0.0.0/8:5432"], "tcp", "::ffff:10.0.0.7", 5432, None),
        (&["tcp://10.0.0.0/8:5432"], "tcp", "10.0.0.7", 5433, Some("[\"tcp://10.0.0.7:5433\"]")),
        (&["tcp://10.0.0.0/8:5432"], "udp", "10.0.0.7", 5432, Some("[\"udp://10.0.0.7:5432\"]")),
        (&["tcp://*:*"], "tcp", "8.8.8.8", 53, None),
        (&["tcp://*:*"], "tcp", "10.0.0.7", 53, Some("[\"tcp://10.0.0.7:53\"]")),
        (&["tcp://*:*"], "tcp", "127.0.0.1", 22, Some("127.0.0.1")),
        (&["tcp://[fd00::/8]:1"], "tcp", "fd00::7", 2, Some("[\"tcp://[fd00::7]:2\"]")),
        (&["tcp://127.0.0.0/8:*"], "tcp", "127.0.0.1", 22, None),
        (&["http://127.0.0.0/8:*"], "http", "127.0.0.1", OWN_PORT, Some("own port")),
        (&["http://127.0.0.1:9000-9999"], "http", "127.0.0.1", OWN_PORT, Some("own port")),
        (&["http://127.0.0.1:9640"], "http", "127.0.0.1", OWN_PORT, None),
        (&["http://127.0.0.1:9640"], "http", "127.0.0.2", OWN_PORT, Some("own port")),
        (&["http://0.0.0.0/0:*", "http://[::/0]:*", "http://*:*"], "http", "169.254.169.254", 80, Some("metadata")),
        (&["http://169.254.169.254:*"], "http", "169.254.169.254", 80, Some("metadata")),
        (&["http://169.254.169.254:80"], "http", "169.254.169.254", 80, None),
        (&["http://169.254.169.254:80,81"], "http", "::ffff:a9fe:a9fe", 80, None),
        (&["http://0.0.0.0/0:*"], "http", "64:ff9b::a9fe:a9fe", 80, Some("metadata")),
        (&["http://[::/0]:*"], "http", "fd00:ec2::254", 80, Some("metadata")),
        (&["http://0.0.0.0/0:*"], "http", "0.0.0.0", 80, Some("unspecified")),
        (&["udp://0.0.0.0/0:*"], "udp", "255.255.255.255", 67, Some("broadcast")),
        (&["udp://0.0.0.0/0:*"], "udp", "224.0.0.251", 5353, Some("multicast")),
        (&["tcp://[::/0]:*"], "tcp", "fe80::1", 22, Some("link-local")),
    ] {
        check(lines, scheme, host, port, want).await;
    }
}

#[tokio::test]
async fn targets_grant_themselves_and_nothing_else() {
    for (target, scheme, host, port, allowed) in [
        ("https://private.shop.example/healthz", "https", "private.shop.example", 443, true),
        ("https://private.shop.example", "http", "private.shop.example", 443, false),
        ("https://private.shop.example", "https", "private.shop.example", 444, false),
        ("private.shop.example:25", "tcp", "private.shop.example", 25, true),
        ("private.shop.example:25", "tcp", "private.shop.example", 26, false),
        ("private.shop.example", "udp", "private.shop.example", 53, true),
        ("10.0.0.7", "tcp", "10.0.0.7", 1, true),
        ("10.0.0.7", "tcp", "10.0.0.8", 1, false),
        ("10.0.0.7", "tcp", "private.shop.example", 1, false),
        ("169.254.169.254", "http", "169.254.169.254", 80, false),
        ("169.254.169.254:80", "http", "169.254.169.254", 80, true),
        ("http://169.254.169.254/latest", "http", "169.254.169.254", 80, true),
        ("http://own.shop.example:9640", "http", "own.shop.example", OWN_PORT, false),
        ("http://127.0.0.1:9640", "http", "127.0.0.1", OWN_PORT, true),
        ("/var/lib", "tcp", "10.0.0.7", 1, false),
    ] {
        let found = dial(&grants(Some(target), &[]), scheme, host, port).await;
        assert_eq!(found.is_ok(), allowed, "{target} {scheme}://{host}:{port}: {found:?}");
    }
}

#[tokio::test]
async fn plain_sockets_follow_the_names_of_their_run() {
    let (resolver, deadline) = (Resolver::fixed(HOSTS), Instant::now() + Duration::from_secs(10));
    let grants = grants(None, &["tcp://private.shop.example:5432", "tcp://metadata.shop.example:80"]);
    let mut seen = Seen::default();
    let address: SocketAddr = "10.0.0.7:5432".parse().unwrap();
    assert!(grants.permits_address(Scheme::Tcp, address, &seen).is_err());
    let found = grants.lookup(&resolver, "private.shop.example", deadline, &mut seen).await.unwrap();
    assert_eq!(found, [address.ip()]);
    assert_eq!(grants.permits_address(Scheme::Tcp, address, &seen), Ok(()));
    assert!(grants.permits_address(Scheme::Udp, address, &seen).is_err());
    assert!(grants.permits_address(Scheme::Tcp, "10.0.0.7:5433".parse().unwrap(), &seen).is_err());

    grants.lookup(&resolver, "metadata.shop.example", deadline, &mut seen).await.unwrap();
    let metadata = "169.254.169.254:80".parse().unwrap();
    assert!(grants.permits_address(Scheme::Tcp, metadata, &seen).unwrap_err().what.contains("metadata"));

    let refused = grants.lookup(&resolver, "secret.evil.example", deadline, &mut seen).await.unwrap_err();
    assert_eq!((refused.code, refused.phase), (code::DENIED, phase::POLICY));
    assert!(refused.message.contains("tcp://secret.evil.example:*"), "{refused}");
}

#[test]
fn a_run_learns_a_bounded_number_of_addresses() {
    let mut seen = Seen::default();
    let address = |n: usize| IpAddr::from(Ipv4Addr::from(u32::try_from(n).unwrap()));
    for n in 0..MAX_SEEN {
        seen.add("a", &[address(n)]).unwrap();
    }
    seen.add("a", &[address(0)]).unwrap();
    assert_eq!(seen.add("a", &[address(MAX_SEEN)]).unwrap_err().code, code::LIMIT);
}

#[test]
fn other_lists() {
    let lines = |line: &str| vec![line.to_owned()];
    for (allow, words) in [
        (Allow { system: lines("memory"), ..Allow::default() }, None),
        (Allow { system: lines("disk"), ..Allow::default() }, Some("filesystems, kernel-log, load")),
        (Allow { files: lines("/etc/ssl"), ..Allow::default() }, None),
        (Allow { files: lines("/"), ..Allow::default() }, None),
        (Allow { files: lines("etc/ssl"), ..Allow::default() }, Some("absolute")),
        (Allow { files: lines("/etc/../root"), ..Allow::default() }, Some("shortest")),
        (Allow { files: lines("/etc/./ssl"), ..Allow::default() }, Some("shortest")),
        (Allow { files: lines("/etc//ssl"), ..Allow::default() }, Some("shortest")),
        (Allow { files: lines("/etc/ssl/"), ..Allow::default() }, Some("shortest")),
        (Allow { secrets: lines("etcd-2"), ..Allow::default() }, None),
        (Allow { secrets: lines("Etcd"), ..Allow::default() }, Some("a-z, 0-9")),
        (Allow { secrets: lines("../etcd"), ..Allow::default() }, Some("a-z, 0-9")),
        (Allow { secrets: lines(""), ..Allow::default() }, Some("a-z, 0-9")),
        (Allow { secrets: lines(&"x".repeat(64)), ..Allow::default() }, Some("1 to 63")),
        (Allow { commands: lines("/bin/true"), ..Allow::default() }, None),
        (Allow { commands: lines("/"), ..Allow::default() }, Some("no program")),
        (Allow { commands: lines("true"), ..Allow::default() }, Some("absolute")),
        (Allow { commands: lines("/bin/../bin/true"), ..Allow::default() }, Some("shortest")),
        (Allow { commands: lines("/bin/"), ..Allow::default() }, Some("shortest")),
        (Allow { kubernetes: lines("get pods"), ..Allow::default() }, Some("yet")),
        (Allow { network: vec!["tcp://h:1".into(); MAX_LINES + 1], ..Allow::default() }, Some("too many")),
    ] {
        let found = Grants::compile(&[], &allow, &[]).map(drop).map_err(|error| error.to_string());
        match words {
            None => assert_eq!(found, Ok(()), "{allow:?}"),
            Some(words) => assert!(found.as_ref().is_err_and(|error| error.contains(words)), "{allow:?}: {found:?}"),
        }
    }
    let denied = Grants::default().permits_system("load").unwrap_err();
    assert_eq!(denied.to_string(), "system `load` is not granted; add to the check: allow: {system: [load]}");
}

#[test]
fn secrets_commands_and_the_resolver() {
    let lines = |line: &str| vec![line.to_owned()];
    let allow = Allow {
        secrets: lines("shop"),
        commands: lines("/usr/bin/true"),
        network: lines("dns://system"),
        ..Allow::default()
    };
    let (some, none) = (Grants::compile(&[], &allow, &[]).unwrap(), Grants::default());
    assert_eq!(some.permits_secret("shop"), Ok(()));
    assert_eq!(some.permits_command("/usr/bin/true"), Ok(()));
    assert_eq!(some.permits_system_resolver(), Ok(()));
    for (denied, line) in [
        (some.permits_secret("shop2"), "allow: {secrets: [shop2]}"),
        (some.permits_command("/usr/bin/false"), "allow: {commands: [\"/usr/bin/false\"]}"),
        (some.permits_command("/usr/bin//true"), "allow: {commands: [\"/usr/bin//true\"]}"),
        (some.permits_command("/usr/bin/true/"), "allow: {commands: [\"/usr/bin/true/\"]}"),
        (none.permits_system_resolver(), "allow: {network: [\"dns://system\"]}"),
        (some.permits_name("shop.example"), "allow: {network: [\"tcp://shop.example:*\"]}"),
    ] {
        let denied = denied.unwrap_err();
        assert!(denied.to_string().ends_with(&format!("is not granted; add to the check: {line}")), "{denied}");
    }
}

#[tokio::test]
async fn connections_by_either_line_and_echoes_without_ports() {
    let (resolver, deadline) = (Resolver::fixed(HOSTS), Instant::now() + Duration::from_secs(10));
    let private = "private.shop.example";
    for (line, port, want) in [
        ("tcp://private.shop.example:25", 25, None),
        ("tls://private.shop.example:25", 25, None),
        ("tls://private.shop.example:25", 26, Some("[\"tcp://private.shop.example:26\"]")),
        ("https://private.shop.example", 443, Some("[\"tcp://private.shop.example:443\"]")),
    ] {
        let found = grants(None, &[line]).resolve_connection(&resolver, private, port, deadline).await;
        match want {
            None => assert_eq!(found, Ok(vec!["10.0.0.7:25".parse().unwrap()]), "{line}"),
            Some(words) => assert!(found.as_ref().is_err_and(|f| f.message.contains(words)), "{line}: {found:?}"),
        }
    }
    for (line, host, want) in [
        ("icmp://private.shop.example", private, None),
        ("icmp://10.0.0.0/8", "10.0.0.7", None),
        ("icmp://*", private, Some("[\"icmp://private.shop.example\"]")),
        ("tcp://10.0.0.7:*", "10.0.0.7", Some("[\"icmp://10.0.0.7\"]")),
        ("icmp://0.0.0.0/0", "169.254.169.254", Some("[\"icmp://169.254.169.254\"]")),
        ("icmp://169.254.169.254", "169.254.169.254", None),
    ] {
        check(&[line], "icmp", host, 0, want).await;
    }
    for (line, host, port, want) in [
        ("dns://10.0.0.7", "10.0.0.7", 53, None),
        ("dns://10.0.0.7", "10.0.0.7", 853, None),
        ("dns://10.0.0.7", "10.0.0.7", 5353, Some("[\"dns://10.0.0.7:5353\"]")),
        ("dns://system", "10.0.0.7", 53, Some("[\"dns://10.0.0.7:53\"]")),
    ] {
        check(&[line], "dns", host, port, want).await;
    }
}

/// Every spelling of an IPv4 address that this module knows to end at it.
fn spellings(ip: Ipv4Addr) -> Vec<IpAddr> {
    let bits = u128::from(u32::from(ip));
    let v6 = |bits: u128| IpAddr::V6(Ipv6Addr::from(bits));
    vec![
        ip.into(),
        v6(bits | 0xffff << 32),
        v6(bits | 0xffff_0000 << 32),
        v6(bits | 0x0064_ff9b << 96),
        v6(0x2002 << 112 | bits << 80 | 1),
        v6(0x2001 << 112 | (bits ^ 0xffff_ffff)),
    ]
}

proptest! {
    #[test]
    fn parsing_never_panics(line in ".{0,80}", host in "[a-z0-9.:/*\\[\\]%-]{0,40}") {
        let text = format!("tcp://{host}:1");
        for text in [&line, &host, &text] {
            let _parsed = (Pattern::parse(text), Pattern::of_target(text), Host::parse(text));
        }
    }

    #[test]
    fn special_addresses_have_no_other_spelling(
        ip in prop_oneof![
            Just([169, 254, 169, 254]), Just([100, 100, 100, 200]), Just([192, 0, 0, 192]),
            any::<[u8; 2]>().prop_map(|[a, b]| [169, 254, a, b]),
            any::<[u8; 3]>().prop_map(|[a, b, c]| [224 | a & 0xf, b, c, a]),
        ],
        port in 1_u16..,
    ) {
        let wide = grants(None, &["http://*:*", "http://0.0.0.0/0:*", "http://[::/0]:*", "http://n:*"]);
        let ip = Ipv4Addr::from(ip);
        let mut seen = Seen::default();
        for spelling in spellings(ip) {
            seen.add("n", &[spelling]).unwrap();
            prop_assert!(wide.permits_address(Scheme::Http, SocketAddr::new(spelling, port), &seen).is_err(), "{spelling}");
            prop_assert!(wide.judge(Scheme::Http, Some("n"), spelling, port).is_err(), "{spelling}");
        }
    }

    #[test]
    fn every_spelling_is_judged_alike(ip in any::<[u8; 4]>(), line in 0_usize..5, port in prop_oneof![Just(80_u16), Just(OWN_PORT)]) {
        let line = ["http://*:*", "http://0.0.0.0/0:*", "http://10.0.0.0/8:*", "http://127.0.0.0/8:80", "http://[::/0]:*"][line];
        let (grants, seen) = (grants(None, &[line]), Seen::default());
        // The compatible spelling of 0.0.0.0/8 is IPv6's own `::` and `::1`; it is left out of the table above.
        let answers: Vec<bool> = spellings(Ipv4Addr::from(ip))
            .into_iter()
            .map(|ip| grants.permits_address(Scheme::Http, SocketAddr::new(ip, port), &seen).is_ok())
            .collect();
        prop_assert!(answers.iter().all(|answer| *answer == answers[0]), "{ip:?}: {answers:?}");
    }
}
