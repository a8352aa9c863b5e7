//! One network grant, `scheme://host-pattern-or-CIDR:ports`: parsing with errors that say how to write it, matching.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::RangeInclusive;

use roundsman_model::name::excerpt;

use crate::address::{Reach, judged, reach};
use crate::host::{Host, check_name};

/// The longest grant: a name of 253 characters and a good many ports.
const MAX_PATTERN: usize = 512;
/// In place of a port, where a scheme knows none.
const NO_PORT: u16 = 0;
/// Every port that there is.
const ALL_PORTS: RangeInclusive<u16> = 1..=u16::MAX;
/// The host that stands for the node's own resolver, in `dns://system`.
const SYSTEM: &str = "system";
/// Entries in a list of ports: more than that is a range.
const MAX_PORT_ENTRIES: usize = 32;
const EXAMPLES: &str = "write it like https://shop.example:443, https://*.shop.example:443 or tcp://10.0.0.0/8:5432";

/// By what a destination is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scheme {
    Http,
    Https,
    /// Connections for whatever is spoken over them, in clear or within TLS; also those of `std::net`.
    Tcp,
    /// Connections of the interface `tcp` that are, or after a STARTTLS dialogue become, TLS. A `tcp` line covers them.
    Tls,
    Udp,
    /// Questions to a name server: over UDP, TCP or TLS, but by the interface `dns` alone.
    Dns,
    /// Echo requests. Ports mean nothing to them: ask with port 0.
    Icmp,
}

impl Scheme {
    /// All of them, in the order in which they are listed for people.
    pub const ALL: [Scheme; 7] =
        [Scheme::Http, Scheme::Https, Scheme::Tcp, Scheme::Tls, Scheme::Udp, Scheme::Dns, Scheme::Icmp];

    /// Reads the lower-case word.
    pub fn parse(word: &str) -> Option<Scheme> {
        Scheme::ALL.into_iter().find(|scheme| scheme.as_str() == word)
    }

    /// The word before `://`.
    pub fn as_str(self) -> &'static str {
        match self {
            Scheme::Http => "http",
            Scheme::Https => "https",
            Scheme::Tcp => "tcp",
            Scheme::Tls => "tls",
            Scheme::Udp => "udp",
            Scheme::Dns => "dns",
            Scheme::Icmp => "icmp",
        }
    }

    /// The port that a URL means when it names none.
    pub fn default_port(self) -> Option<u16> {
        match self {
            Scheme::Http => Some(80),
            Scheme::Https => Some(443),
            _ => None,
        }
    }

    /// The ports that a grant means when it names none.
    fn default_ports(self) -> Option<Vec<RangeInclusive<u16>>> {
        match self {
            // Over UDP and TCP, and over TLS.
            Scheme::Dns => Some(vec![53..=53, 853..=853]),
            Scheme::Icmp => Some(vec![NO_PORT..=NO_PORT]),
            _ => self.default_port().map(|port| vec![port..=port]),
        }
    }

    /// Whether a line of this scheme speaks of connections of the other one.
    fn includes(self, other: Scheme) -> bool {
        self == other || (self, other) == (Scheme::Tcp, Scheme::Tls)
    }

    /// A destination as a grant names it.
    pub(crate) fn destination(self, host: &str, port: u16) -> String {
        if self == Scheme::Icmp { format!("{self}://{host}") } else { format!("{self}://{host}:{port}") }
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
    /// The node's own resolver.
    System,
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
        if let Some(bad) = line.chars().find(|c| !c.is_ascii_graphic()) {
            let letter = "has letters beyond ASCII: write the punycode form (xn--…)";
            return Err(if bad.is_ascii() { "has a space or a control character" } else { letter }.to_owned());
        }
        if line.bytes().any(|b| b.is_ascii_uppercase()) {
            return Err("has capital letters: write it in lower case".to_owned());
        }
        let (word, rest) = line.split_once("://").ok_or_else(|| format!("has no scheme: {EXAMPLES}"))?;
        let scheme = Scheme::parse(word).ok_or_else(|| no_scheme(word, rest))?;
        if rest.contains('@') {
            return Err("has a user name: credentials have no place in a grant".to_owned());
        }
        if scheme == Scheme::Dns && rest == SYSTEM {
            return Ok(Pattern::system());
        }
        let (host, ports) = split_ports(rest)?;
        let ports = match (ports, scheme.default_ports()) {
            (Some(_), _) if scheme == Scheme::Icmp => {
                return Err(format!("has a port, which {scheme} does not know: write {scheme}://{host}"));
            }
            (Some(_), _) if scheme == Scheme::Dns && host == SYSTEM => {
                return Err("has a port: the node's own resolver is dns://system alone".to_owned());
            }
            (Some(ports), _) => parse_ports(ports)?,
            (None, Some(ports)) => ports,
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
            if scheme == Scheme::Dns && host.to_string() == SYSTEM {
                return port.is_none().then(Pattern::system);
            }
            let ports = match port {
                Some(_) if scheme == Scheme::Icmp => return None,
                Some(port) => vec![port..=port],
                None => scheme.default_ports()?,
            };
            return Some(Pattern { scheme: Some(scheme), host: HostPattern::of(host), ports });
        }
        let (host, port) = split_authority(address)?;
        let ports = port.map_or(ALL_PORTS, |port| port..=port);
        Some(Pattern { scheme: None, host: HostPattern::of(host), ports: vec![ports] })
    }

    /// None, for a target without a scheme: any.
    pub fn scheme(&self) -> Option<Scheme> {
        self.scheme
    }

    fn system() -> Pattern {
        Pattern { scheme: Some(Scheme::Dns), host: HostPattern::System, ports: vec![NO_PORT..=NO_PORT] }
    }

    fn speaks(&self, scheme: Scheme, port: u16) -> bool {
        match self.scheme {
            // A host without a port may be reached in every way; a host with one, through this port.
            None if scheme == Scheme::Icmp => self.ports.contains(&ALL_PORTS),
            None => self.has_port(port),
            Some(own) => own.includes(scheme) && self.has_port(port),
        }
    }

    fn has_port(&self, port: u16) -> bool {
        self.ports.iter().any(|range| range.contains(&port))
    }

    /// Whether a judged address is inside the address or CIDR of this line.
    pub fn allows_address(&self, scheme: Scheme, ip: IpAddr, port: u16) -> bool {
        matches!(&self.host, HostPattern::Network(network) if network.contains(ip)) && self.speaks(scheme, port)
    }

    /// Whether this line names one address and one port, and these are they.
    pub fn is_exactly(&self, scheme: Scheme, ip: IpAddr, port: u16) -> bool {
        matches!(&self.host, HostPattern::Network(network) if network.is_single() && network.address == ip)
            && self.speaks(scheme, port)
            && self.ports.contains(&(port..=port))
    }

    /// Whether every public address is allowed.
    pub fn allows_any_host(&self, scheme: Scheme, port: u16) -> bool {
        self.host == HostPattern::Any && self.speaks(scheme, port)
    }

    /// Whether a canonical name is allowed, in whatever way.
    pub fn allows_name(&self, scheme: Scheme, name: &str, port: u16) -> bool {
        self.host.allows_name(name) && self.speaks(scheme, port)
    }

    /// Whether a canonical name is written in this line without a wildcard.
    pub fn names(&self, scheme: Scheme, name: &str, port: u16) -> bool {
        matches!(&self.host, HostPattern::Name(own) if own == name) && self.speaks(scheme, port)
    }

    /// Whether an address and port are what this line means, however it names them: `*` means every one.
    pub(crate) fn leads_to(&self, scheme: Scheme, address: SocketAddr) -> bool {
        let (ip, port) = (judged(address.ip()), address.port());
        self.allows_address(scheme, ip, port) || self.allows_any_host(scheme, port)
    }

    /// Whether a name may be looked up, whatever is done with the answer.
    pub fn allows_lookup(&self, name: &str) -> bool {
        self.host.allows_name(name)
    }

    /// Whether this is `dns://system`: the node's own resolver may be asked anything.
    pub fn is_system_resolver(&self) -> bool {
        self.host == HostPattern::System
    }

    /// Whether whatever the other line matches, this one matches as well. Lines are compared one by one: two halves of
    /// a network do not cover the whole of it.
    pub fn covers(&self, other: &Pattern) -> bool {
        self.covers_scheme(other) && self.host.covers(&other.host) && self.covers_ports(other)
    }

    fn covers_scheme(&self, other: &Pattern) -> bool {
        match (self.scheme, other.scheme) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(own), Some(other)) => own.includes(other),
        }
    }

    fn covers_ports(&self, other: &Pattern) -> bool {
        if other.host.is_special() {
            // What must be named with its port is opened by no range of ports.
            return other.ports.iter().all(|range| self.ports.contains(range));
        }
        if self.scheme.is_none() && other.scheme == Some(Scheme::Icmp) {
            return self.ports.contains(&ALL_PORTS);
        }
        other.ports.iter().all(|range| covers_range(&self.ports, range))
    }

    /// This line for each scheme by itself, if it names none.
    pub(crate) fn by_scheme(&self) -> Vec<Pattern> {
        if self.scheme.is_some() {
            return vec![self.clone()];
        }
        let echoes = self.ports.contains(&ALL_PORTS) && !self.host.is_special();
        let schemes = Scheme::ALL.into_iter().filter(|scheme| *scheme != Scheme::Icmp || echoes);
        let of = |scheme| {
            let ports = if scheme == Scheme::Icmp { vec![NO_PORT..=NO_PORT] } else { self.ports.clone() };
            Pattern { scheme: Some(scheme), host: self.host.clone(), ports }
        };
        schemes.map(of).collect()
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
            HostPattern::Network(_) | HostPattern::System => false,
        }
    }

    /// Whether it is one address that only an exact line opens.
    fn is_special(&self) -> bool {
        matches!(self, HostPattern::Network(own) if own.is_single() && matches!(reach(own.address), Reach::Special(_)))
    }

    fn covers(&self, other: &HostPattern) -> bool {
        // A special address in a line of its own opens what no network opens: it needs a ceiling that names it, too.
        if other.is_special() {
            return self == other;
        }
        match (self, other) {
            (HostPattern::Any, HostPattern::Any | HostPattern::Name(_) | HostPattern::Suffix(_)) => true,
            // `*` reaches public addresses alone, and of a whole network nobody can say that without going through it.
            (HostPattern::Any, HostPattern::Network(other)) => {
                other.is_single() && reach(other.address) == Reach::Public
            }
            (_, HostPattern::Name(name)) => self.allows_name(name),
            (HostPattern::Suffix(own), HostPattern::Suffix(other)) => other.ends_with(own.as_str()),
            (HostPattern::Network(own), HostPattern::Network(other)) => own.covers(other),
            (HostPattern::System, HostPattern::System) => true,
            _ => false,
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

    fn covers(&self, other: &Network) -> bool {
        self.contains(other.address) && self.prefix <= other.prefix
    }

    fn is_single(&self) -> bool {
        self.prefix == width(self.address)
    }
}

fn no_scheme(word: &str, rest: &str) -> String {
    match word {
        "unix" => "a unix socket is a file: grant it in `allow: {files: […]}`".to_owned(),
        "ntp" => format!("`ntp` is no scheme: write udp://{}:123", excerpt(rest)),
        "grpc" => "`grpc` is no scheme: it is spoken over http or https, so write one of these".to_owned(),
        _ => format!("`{}` is no scheme: write http, https, tcp, tls, udp, dns or icmp", excerpt(word)),
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

/// Whether every port of a range is in some range of a list.
fn covers_range(list: &[RangeInclusive<u16>], wanted: &RangeInclusive<u16>) -> bool {
    let mut next = *wanted.start();
    // Each round goes on behind the range that holds `next`, so there are at most as many as ranges.
    loop {
        let Some(range) = list.iter().filter(|range| range.contains(&next)).max_by_key(|range| *range.end()) else {
            return false;
        };
        if range.end() >= wanted.end() {
            return true;
        }
        next = range.end() + 1;
    }
}

/// A port from 1 on, in digits without a sign.
pub(crate) fn parse_port(text: &str) -> Option<u16> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if digits { text.parse().ok().filter(|port| *port != 0) } else { None }
}

#[cfg(test)]
#[path = "pattern_tests.rs"]
mod tests;
