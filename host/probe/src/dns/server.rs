//! Who is asked: a server by name or address, or the node's own in the order of its configuration.

use std::net::SocketAddr;
use std::time::Duration;

use roundsman_model::name::excerpt;

use super::{Query, Transport};
use crate::connect::{DialOptions, Family};
use crate::failure::Failure;
use crate::grants::Grants;
use crate::host::Host;
use crate::pattern::{Scheme, parse_port};
use crate::probe::Probe;

/// The word for the node's own servers, as in the grant.
pub(super) const SYSTEM: &str = "dns://system";
const SCHEME: &str = "dns://";
/// Where servers listen: for datagrams and connections, and for TLS (RFC 7858).
const PORT: u16 = 53;
const PORT_OF_TLS: u16 = 853;

/// Who is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Server {
    System,
    One { host: Host, port: u16 },
}

/// Whom to ask in which order, how often, and for how long at most.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) servers: Vec<SocketAddr>,
    /// How often the whole list is gone through.
    pub(super) rounds: u32,
    /// For one attempt; none: as long as there is time.
    pub(super) each: Option<Duration>,
    /// Whether an answer that is no help (SERVFAIL and the like) sends the question to the next one.
    pub(super) moves_on: bool,
}

impl Server {
    /// From what was set.
    pub(super) fn of(query: &Query) -> Result<Server, Failure> {
        let Some(text) = &query.server else { return Ok(Server::System) };
        if text == SYSTEM {
            return Ok(Server::System);
        }
        let text = text.strip_prefix(SCHEME).unwrap_or(text);
        let usual = if query.transport == Transport::Tls { PORT_OF_TLS } else { PORT };
        if let Ok(host) = Host::parse(text) {
            return Ok(Server::One { host, port: usual });
        }
        let bad = |reason: &str| Failure::invalid(format!("the server `{}` {reason}", excerpt(text)));
        let (host, port) =
            text.rsplit_once(':').ok_or_else(|| bad("is neither a name nor an address, with or without a port"))?;
        if host.contains(':') && !host.starts_with('[') {
            return Err(bad("has an IPv6 address without brackets: write [fd00::7]:53"));
        }
        let port = parse_port(port).ok_or_else(|| bad("has no port between 1 and 65535"))?;
        let host = Host::parse(host).map_err(|error| bad(&format!("has a host that {error}")))?;
        Ok(Server::One { host, port })
    }

    /// The servers' addresses, every one of them granted.
    pub(super) async fn plan(
        &self,
        probe: &Probe,
        grants: &Grants,
        query: &Query,
        deadline: tokio::time::Instant,
    ) -> Result<Plan, Failure> {
        let options = DialOptions { family: query.family, source: None };
        match self {
            Server::System => {
                grants.permits_system_resolver()?;
                let own = probe.resolver().servers()?;
                let port = if query.transport == Transport::Tls { PORT_OF_TLS } else { PORT };
                let servers = own.servers.iter().map(|ip| SocketAddr::new(*ip, port));
                let wanted = |server: &SocketAddr| match query.family {
                    Family::Any => true,
                    Family::V4 => server.is_ipv4(),
                    Family::V6 => server.is_ipv6(),
                };
                let servers: Vec<_> = servers.filter(wanted).collect();
                if servers.is_empty() {
                    return Err(Failure::invalid("this node has no DNS server of the address family that was set"));
                }
                Ok(Plan { servers, rounds: own.attempts, each: Some(own.timeout), moves_on: true })
            }
            Server::One { host, port } => {
                let addresses = grants.resolve_host(probe.resolver(), Scheme::Dns, host, *port, deadline).await?;
                let servers = options.choose(host, addresses)?;
                Ok(Plan { servers, rounds: query.attempts, each: None, moves_on: false })
            }
        }
    }

    /// Whether its name has to be looked up.
    pub(super) fn is_named(&self) -> bool {
        matches!(self, Server::One { host: Host::Name(_), .. })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings() {
        for (text, transport, expected) in [
            ("10.0.0.10", "udp", Ok("10.0.0.10 53")),
            ("10.0.0.10", "tls", Ok("10.0.0.10 853")),
            ("10.0.0.10:5353", "tls", Ok("10.0.0.10 5353")),
            ("dns://NS1.example", "tcp", Ok("ns1.example 53")),
            ("fd00::7", "udp", Ok("fd00::7 53")),
            ("[fd00::7]", "udp", Ok("fd00::7 53")),
            ("[fd00::7]:54", "udp", Ok("fd00::7 54")),
            ("dns://system", "udp", Ok("system")),
            ("system", "udp", Ok("system 53")),
            ("ns1.example:0", "udp", Err("no port between")),
            ("ns1.example:x", "udp", Err("no port between")),
            ("", "udp", Err("neither a name nor an address")),
            ("10.0.0.10/x", "udp", Err("neither a name")),
            ("user@ns1.example:53", "udp", Err("has a host that")),
            ("0x7f.1:53", "udp", Err("has a host that")),
            ("fe80::1%eth0", "udp", Err("without brackets")),
        ] {
            let mut query = Query::new("a.", "A");
            query.set_server(text);
            query.set_transport(transport);
            let found = Server::of(&query).map(|server| match server {
                Server::System => "system".to_owned(),
                Server::One { host, port } => format!("{host} {port}"),
            });
            match (found, expected) {
                (Ok(found), Ok(expected)) => {
                    // The name `system` is a host like any other; only the URL stands for the node's own.
                    assert_eq!(found, expected, "{text}");
                }
                (Err(failure), Err(reason)) => {
                    assert!(failure.code == "invalid" && failure.message.contains(reason), "{text}: {failure}");
                }
                (found, expected) => panic!("{text}: {found:?} instead of {expected:?}"),
            }
        }
        assert_eq!(Server::of(&Query::new("a.", "A")).unwrap(), Server::System);
    }
}
