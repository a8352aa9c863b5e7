//! One network grant, `scheme://host-pattern-or-CIDR:ports`: parsing with errors that say how to write it, matching.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;

use roundsman_model::name::excerpt;

use crate::address::judged;
use crate::host::{Host, check_name};

/// The longest grant: a name of 253 characters and a good many ports.
const MAX_PATTERN: usize = 512;
/// Entries in a list of ports: more than that is a range.
const MAX_PORT_ENTRIES: usize = 32;
const EXAMPLES: &str = "write it like https://shop.example:443, https://*.shop.example:443 or tcp://10.0.0.0/8:5432";

/// By what a destination is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scheme {
    Http,
    Https,
    /// Plain sockets, also those of `std::net`.
    Tcp,
    Udp,
}

/// Schemes that will be granted once something speaks them.
const NOT_YET: [&str; 3] = ["tls", "dns", "icmp"];

impl Scheme {
    /// Reads the lower-case word.
    pub fn parse(word: &str) -> Option<Scheme> {
        [Scheme::Http, Scheme::Https, Scheme::Tcp, Scheme::Udp].into_iter().find(|scheme| scheme.as_str() == word)
    }

    /// The word before `://`.
    pub fn as_str(self) -> &'static str {
        match self {
            Scheme::Http => "http",
            Scheme::Https => "https",
            Scheme::Tcp => "tcp",
            Scheme::Udp => "udp",
        }
    }

    /// The port that a URL or a grant means when it names none.
    pub fn default_port(self) -> Option<u16> {
        match self {
            Scheme::Http => Some(80),
            Scheme::Https => Some(443),
            Scheme::Tcp | Scheme::Udp => None,
        }
    }
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What one line allows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    /// None, for a target without a scheme: any.
    scheme: Option<Scheme>,
    host: HostPattern,
    /// Never empty.
    ports: Vec<RangeInclusive<u16>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum HostPattern {
    /// `*`: every name, and every public address.
    Any,
    Name(String),
    /// `*.shop.example` as `.shop.example`: any number of labels more, but not the suffix itself.
    Suffix(String),
    Network(Network),
}

/// A CIDR; a single address where the prefix is full.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Network {
    address: IpAddr,
    prefix: u8,
}

impl Pattern {
    /// Reads a line of `allow: {network: […]}`; the error is a sentence.
    pub fn parse(line: &str) -> Result<Pattern, String> {
        if line.len() > MAX_PATTERN {
            return Err(format!("is longer than {MAX_PATTERN} characters"));
        }
        if !line.is_ascii() {
            return Err("has letters beyond ASCII: write the punycode form (xn--…)".to_owned());
        }
        if line.bytes().any(|b| b.is_ascii_uppercase()) {
            return Err("has capital letters: write it in lower case".to_owned());
        }
        let (word, rest) = line.split_once("://").ok_or_else(|| format!("has no scheme: {EXAMPLES}"))?;
        if NOT_YET.contains(&word) {
            return Err(format!("`{word}` cannot be granted yet: nothing speaks it in this version"));
        }
        let scheme =
            Scheme::parse(word).ok_or_else(|| format!("`{word}` is no scheme: write http, https, tcp or udp"))?;
        if rest.contains('@') {
            return Err("has a user name: credentials have no place in a grant".to_owned());
        }
        let (host, ports) = split_ports(rest)?;
        let ports = match (ports, scheme.default_port()) {
            (Some(ports), _) => parse_ports(ports)?,
            (None, Some(port)) => vec![port..=port],
            (None, None) => return Err(format!("has no port: write {scheme}://{rest}:PORT, or :* for any")),
        };
        Ok(Pattern { scheme: Some(scheme), host: HostPattern::parse(host)?, ports })
    }

    /// What a target's own address allows: exactly it. None where the address is nothing of the network.
    pub fn of_target(address: &str) -> Option<Pattern> {
        if let Some((word, rest)) = address.split_once("://") {
            let scheme = Scheme::parse(&word.to_ascii_lowercase())?;
            let authority = rest.split(['/', '?', '#']).next().unwrap_or(rest);
            let (host, port) = split_authority(authority)?;
            let port = port.or(scheme.default_port())?;
            return Some(Pattern { scheme: Some(scheme), host: HostPattern::of(host), ports: vec![port..=port] });
        }
        let (host, port) = split_authority(address)?;
        let ports = port.map_or(1..=u16::MAX, |port| port..=port);
        Some(Pattern { scheme: None, host: HostPattern::of(host), ports: vec![ports] })
    }

    fn covers(&self, scheme: Scheme, port: u16) -> bool {
        self.scheme.is_none_or(|own| own == scheme) && self.ports.iter().any(|range| range.contains(&port))
    }

    /// Whether a judged address is inside the address or CIDR of this line.
    pub fn allows_address(&self, scheme: Scheme, ip: IpAddr, port: u16) -> bool {
        matches!(&self.host, HostPattern::Network(network) if network.contains(ip)) && self.covers(scheme, port)
    }

    /// Whether this line names one address and one port, and these are they.
    pub fn is_exactly(&self, scheme: Scheme, ip: IpAddr, port: u16) -> bool {
        matches!(&self.host, HostPattern::Network(network) if network.is_single() && network.address == ip)
            && self.scheme.is_none_or(|own| own == scheme)
            && self.ports.contains(&(port..=port))
    }

    /// Whether every public address is allowed.
    pub fn allows_any_host(&self, scheme: Scheme, port: u16) -> bool {
        self.host == HostPattern::Any && self.covers(scheme, port)
    }

    /// Whether a canonical name is allowed, in whatever way.
    pub fn allows_name(&self, scheme: Scheme, name: &str, port: u16) -> bool {
        self.host.allows_name(name) && self.covers(scheme, port)
    }

    /// Whether a canonical name is written in this line without a wildcard.
    pub fn names(&self, scheme: Scheme, name: &str, port: u16) -> bool {
        matches!(&self.host, HostPattern::Name(own) if own == name) && self.covers(scheme, port)
    }

    /// Whether a name may be looked up, whatever is done with the answer.
    pub fn allows_lookup(&self, name: &str) -> bool {
        self.host.allows_name(name)
    }
}

impl HostPattern {
    fn parse(text: &str) -> Result<HostPattern, String> {
        if text == "*" {
            return Ok(HostPattern::Any);
        }
        if let Some(suffix) = text.strip_prefix('*') {
            let name = suffix.strip_prefix('.').ok_or("`*` stands for whole labels: write *.shop.example")?;
            check_name(name).map_err(|reason| format!("`{}` {reason}", excerpt(name)))?;
            return Ok(HostPattern::Suffix(suffix.to_owned()));
        }
        if text.contains('*') {
            return Err("`*` may only stand alone or at the beginning: write *.shop.example".to_owned());
        }
        match text.split_once('/') {
            Some((address, prefix)) => Network::parse(address, prefix).map(HostPattern::Network),
            None => Host::parse(text).map(HostPattern::of).map_err(|error| error.to_string()),
        }
    }

    fn of(host: Host) -> HostPattern {
        match host {
            Host::Name(name) => HostPattern::Name(name.as_str().to_owned()),
            Host::Address(ip) => HostPattern::Network(Network::single(ip)),
        }
    }

    fn allows_name(&self, name: &str) -> bool {
        match self {
            HostPattern::Any => true,
            HostPattern::Name(own) => own == name,
            HostPattern::Suffix(suffix) => name.len() > suffix.len() && name.ends_with(suffix.as_str()),
            HostPattern::Network(_) => false,
        }
    }
}

impl Network {
    fn single(ip: IpAddr) -> Network {
        let address = judged(ip);
        Network { address, prefix: width(address) }
    }

    fn parse(address: &str, prefix: &str) -> Result<Network, String> {
        let ip: IpAddr = address.parse().map_err(|_| format!("has a path: {EXAMPLES}"))?;
        let digits = !prefix.is_empty() && prefix.bytes().all(|b| b.is_ascii_digit());
        let prefix = Some(prefix)
            .filter(|_| digits)
            .and_then(|digits| digits.parse::<u8>().ok())
            .filter(|prefix| *prefix <= width(ip))
            .ok_or_else(|| format!("`/{}` is no prefix: write /0 to /{}", excerpt(prefix), width(ip)))?;
        if prefix == width(ip) {
            return Ok(Network::single(ip));
        }
        let network = Network { address: masked(ip, prefix), prefix };
        if network.address != ip {
            return Err(format!("{ip}/{prefix} has bits beyond its prefix: write {}/{prefix}", network.address));
        }
        if prefix > 0 && judged(ip) != ip {
            return Err(format!("{ip}/{prefix} holds IPv4 addresses in IPv6: write the IPv4 network that you mean"));
        }
        Ok(network)
    }

    fn contains(&self, ip: IpAddr) -> bool {
        self.address.is_ipv4() == ip.is_ipv4() && masked(ip, self.prefix) == self.address
    }

    fn is_single(&self) -> bool {
        self.prefix == width(self.address)
    }
}

fn width(ip: IpAddr) -> u8 {
    if ip.is_ipv4() { 32 } else { 128 }
}

fn masked(ip: IpAddr, prefix: u8) -> IpAddr {
    match ip {
        IpAddr::V4(ip) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(prefix.min(32))).unwrap_or(0);
            IpAddr::V4(Ipv4Addr::from(u32::from(ip) & mask))
        }
        IpAddr::V6(ip) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(prefix.min(128))).unwrap_or(0);
            IpAddr::V6(Ipv6Addr::from(u128::from(ip) & mask))
        }
    }
}

/// `host` and `ports` of `host:ports`, IPv6 in brackets.
fn split_ports(rest: &str) -> Result<(&str, Option<&str>), String> {
    let (host, ports) = if let Some(inner) = rest.strip_prefix('[') {
        let (host, tail) = inner.split_once(']').ok_or("has no closing bracket")?;
        if !host.contains(':') {
            return Err("only an IPv6 address stands in brackets".to_owned());
        }
        if tail.starts_with('/') {
            return Err("the prefix of an IPv6 network stands inside the brackets: write [fd00::/8]:443".to_owned());
        }
        let ports = tail.strip_prefix(':');
        if ports.is_none() && !tail.is_empty() {
            return Err(format!("has `{}` behind the bracket: {EXAMPLES}", excerpt(tail)));
        }
        (host, ports)
    } else {
        let (host, ports) = rest.rsplit_once(':').map_or((rest, None), |(host, ports)| (host, Some(ports)));
        if host.contains(':') {
            return Err("an IPv6 address stands in brackets: write [fd00::7]:443 or [fd00::/8]:443".to_owned());
        }
        (host, ports)
    };
    if ports.is_some_and(|ports| ports.contains(['/', '?', '#'])) {
        return Err("has a path: grants are about hosts and ports alone".to_owned());
    }
    Ok((host, ports))
}

/// The host and the port of a target, both exact.
fn split_authority(authority: &str) -> Option<(Host, Option<u16>)> {
    if let Ok(host) = Host::parse(authority) {
        return Some((host, None));
    }
    let (host, port) = authority.rsplit_once(':')?;
    if host.contains(':') && !host.starts_with('[') {
        return None;
    }
    Some((Host::parse(host).ok()?, Some(parse_port(port)?)))
}

fn parse_ports(text: &str) -> Result<Vec<RangeInclusive<u16>>, String> {
    let bad = |entry: &str| format!("`{}` is no port: write 443, 80,443, 8000-8099 or *", excerpt(entry));
    let mut ports = Vec::new();
    for entry in text.split(',') {
        if ports.len() == MAX_PORT_ENTRIES {
            return Err(format!("lists more than {MAX_PORT_ENTRIES} ports: write a range"));
        }
        ports.push(match entry.split_once('-') {
            _ if entry == "*" => 1..=u16::MAX,
            None => parse_port(entry).map(|port| port..=port).ok_or_else(|| bad(entry))?,
            Some((first, last)) => {
                let (first, last) = parse_port(first).zip(parse_port(last)).ok_or_else(|| bad(entry))?;
                if first > last {
                    return Err(format!("`{first}-{last}` is an empty range: write {last}-{first}"));
                }
                first..=last
            }
        });
    }
    Ok(ports)
}

/// A port from 1 on, in digits without a sign.
pub(crate) fn parse_port(text: &str) -> Option<u16> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if digits { text.parse().ok().filter(|port| *port != 0) } else { None }
}

#[cfg(test)]
mod tests {
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
            ("icmp://shop.example", "yet"),
            ("HTTPS://shop.example", "lower case"),
            ("https://Shop.example", "lower case"),
            ("https://bücher.example", "punycode"),
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
            "dns://shop.example:53",
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
}
