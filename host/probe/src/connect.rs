//! A connection to the first address that answers, or to a unix socket.

use std::io::{self, IoSlice};
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::task::{Context, Poll};

use roundsman_model::name::excerpt;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpSocket, TcpStream, UnixStream};
use tokio::time::{Instant, timeout_at};

use crate::beneath::Found;
use crate::failure::{Failure, code, phase};
use crate::host::Host;
use crate::script::talk::Talk;

/// Which addresses of a name are tried.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Family {
    #[default]
    Any,
    V4,
    V6,
}

/// How an address is dialled.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct DialOptions {
    pub(crate) family: Family,
    /// The address of this node from which to connect.
    pub(crate) source: Option<IpAddr>,
}

/// A connection that stands. Whoever makes one holds a `sockets::Permit` for as long as it lives.
#[derive(Debug)]
pub(crate) enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
    /// Answers written beforehand.
    Scripted(Box<Talk>),
}

impl Family {
    /// By the word of the contract: `any`, `ipv4` or `ipv6`.
    pub(crate) fn parse(word: &str) -> Result<Family, Failure> {
        match word {
            "any" => Ok(Family::Any),
            "ipv4" => Ok(Family::V4),
            "ipv6" => Ok(Family::V6),
            _ => Err(Failure::invalid(format!("`{}` is no address family: any, ipv4 or ipv6", excerpt(word)))),
        }
    }

    fn has(self, ip: IpAddr) -> bool {
        match self {
            Family::Any => true,
            Family::V4 => ip.is_ipv4(),
            Family::V6 => ip.is_ipv6(),
        }
    }
}

impl DialOptions {
    /// The address from which to connect: of this node, which only the attempt to use it can say.
    pub(crate) fn parse_source(text: &str) -> Result<IpAddr, Failure> {
        match Host::parse(text) {
            Ok(Host::Address(ip)) if !ip.is_unspecified() && !ip.is_multicast() => Ok(ip.to_canonical()),
            _ => Err(Failure::invalid(format!("`{}` is no source address: write one of this node's", excerpt(text)))),
        }
    }

    /// Those of a host's addresses that may be tried; at least one.
    pub(crate) fn choose(&self, host: &Host, mut addresses: Vec<SocketAddr>) -> Result<Vec<SocketAddr>, Failure> {
        addresses.retain(|address| self.family.has(address.ip()));
        let wanted = match self.family {
            Family::V4 => "IPv4",
            _ => "IPv6",
        };
        if addresses.is_empty() {
            return Err(match host {
                Host::Name(name) => Failure::new(
                    code::RESOLVE,
                    phase::RESOLVE,
                    format!("{} has no {wanted} address", excerpt(name.as_str())),
                ),
                Host::Address(ip) => Failure::invalid(format!("{ip} is no {wanted} address, and no other is allowed")),
            });
        }
        let Some(source) = self.source else { return Ok(addresses) };
        addresses.retain(|address| address.is_ipv4() == source.is_ipv4());
        if addresses.is_empty() {
            return Err(Failure::invalid(format!(
                "{host} has no address of the family of the source address {source}"
            )));
        }
        Ok(addresses)
    }
}

/// Tries addresses (what `DialOptions::choose` left) in order. Each gets an equal share of the time that is left, so
/// that one black hole does not hide the others. `peer` is the address that is being, or was last, dialled.
pub(crate) async fn dial(
    addresses: &[SocketAddr],
    options: &DialOptions,
    deadline: Instant,
    peer: &mut Option<SocketAddr>,
) -> Result<Socket, Failure> {
    let mut last = Failure::new(code::RESOLVE, phase::CONNECT, "there is no address to connect to");
    for (index, address) in addresses.iter().enumerate() {
        *peer = Some(*address);
        let until = match u32::try_from(addresses.len() - index) {
            // The deadline is the caller's own, and there it has a clock already.
            Ok(0 | 1) => deadline,
            left => {
                let now = Instant::now();
                now + deadline.saturating_duration_since(now) / left.unwrap_or(u32::MAX)
            }
        };
        match timeout_at(until, attempt(*address, options.source)).await {
            Ok(Ok(stream)) => {
                // What is asked goes out in few writes and nothing follows: waiting to fill a packet only adds delay.
                stream.set_nodelay(true).map_err(|error| failed(&error, *address))?;
                return Ok(Socket::Tcp(stream));
            }
            Ok(Err(failure)) if failure.code == code::INVALID => return Err(failure),
            Ok(Err(failure)) => last = failure,
            Err(_) => {
                last =
                    Failure::new(code::TIMEOUT, phase::CONNECT, format!("connecting to {address}: no answer in time"));
            }
        }
    }
    if addresses.len() > 1 {
        last.message = format!("{} (the last of {} addresses)", last.message, addresses.len());
    }
    Err(last)
}

async fn attempt(address: SocketAddr, source: Option<IpAddr>) -> Result<TcpStream, Failure> {
    let Some(source) = source else {
        return TcpStream::connect(address).await.map_err(|error| failed(&error, address));
    };
    let socket = if source.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() };
    let socket = socket.map_err(|error| failed(&error, address))?;
    if let Err(error) = socket.bind(SocketAddr::new(source, 0)) {
        return Err(match error.kind() {
            io::ErrorKind::AddrNotAvailable => {
                Failure::invalid(format!("the source address {source} is not one of this node"))
            }
            _ => Failure::socket(&error, phase::CONNECT, format_args!("taking the source address {source}")),
        });
    }
    socket.connect(address).await.map_err(|error| failed(&error, address))
}

fn failed(error: &io::Error, address: SocketAddr) -> Failure {
    Failure::socket(error, phase::CONNECT, format_args!("connecting to {address}"))
}

/// Connects to a unix socket that was found beneath a grant, and to no other that might have taken its place.
pub(crate) async fn dial_unix(found: &Found, shown: &str, deadline: Instant) -> Result<Socket, Failure> {
    let doing = format!("connecting to {}", excerpt(shown));
    match timeout_at(deadline, UnixStream::connect(found.path())).await {
        Ok(Ok(stream)) => Ok(Socket::Unix(stream)),
        Ok(Err(error)) => Err(Failure::socket(&error, phase::CONNECT, doing)),
        Err(_) => Err(Failure::new(code::TIMEOUT, phase::CONNECT, format!("{doing}: no answer in time"))),
    }
}

impl Socket {
    /// The address of this node's end; none of a unix socket.
    pub(crate) fn local_address(&self) -> Option<SocketAddr> {
        match self {
            Socket::Tcp(stream) => stream.local_addr().ok(),
            Socket::Unix(_) | Socket::Scripted(_) => None,
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Socket::Tcp(stream) => Pin::new(stream).poll_read(cx, buf),
            Socket::Unix(stream) => Pin::new(stream).poll_read(cx, buf),
            Socket::Scripted(talk) => Pin::new(talk).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Socket::Tcp(stream) => Pin::new(stream).poll_write(cx, buf),
            Socket::Unix(stream) => Pin::new(stream).poll_write(cx, buf),
            Socket::Scripted(talk) => Pin::new(talk).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Socket::Tcp(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Socket::Unix(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Socket::Scripted(talk) => Pin::new(talk).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Socket::Tcp(stream) => Pin::new(stream).poll_flush(cx),
            Socket::Unix(stream) => Pin::new(stream).poll_flush(cx),
            Socket::Scripted(talk) => Pin::new(talk).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Socket::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Socket::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
            Socket::Scripted(talk) => Pin::new(talk).poll_shutdown(cx),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_chosen_by_family_and_source() {
        let both = "127.0.0.1:1 [::1]:1";
        let name = "shop.example";
        for (host, family, source, addresses, expected) in [
            (name, "any", None, both, Ok(both)),
            (name, "ipv4", None, both, Ok("127.0.0.1:1")),
            (name, "ipv6", None, both, Ok("[::1]:1")),
            (name, "ipv6", None, "127.0.0.1:1", Err(code::RESOLVE)),
            (name, "any", Some("::1"), both, Ok("[::1]:1")),
            (name, "any", Some("::ffff:127.0.0.2"), both, Ok("127.0.0.1:1")),
            (name, "ipv4", Some("::1"), both, Err(code::INVALID)),
            ("127.0.0.1", "ipv6", None, "127.0.0.1:1", Err(code::INVALID)),
        ] {
            let source = source.map(|text| DialOptions::parse_source(text).unwrap());
            let options = DialOptions { family: Family::parse(family).unwrap(), source };
            let list = |text: &str| text.split(' ').map(|one| one.parse().unwrap()).collect::<Vec<SocketAddr>>();
            let chosen = options.choose(&Host::parse(host).unwrap(), list(addresses));
            assert_eq!(chosen.map_err(|failure| failure.code), expected.map(list), "{host} {family} {source:?}");
        }
    }

    #[test]
    fn words_and_sources_that_are_none() {
        assert_eq!(Family::parse("IPv4").unwrap_err().code, code::INVALID);
        for text in ["", "0.0.0.0", "::", "224.0.0.1", "shop.example", "127.0.0.1:80", "fe80::1%eth0", "127.1"] {
            assert_eq!(DialOptions::parse_source(text).unwrap_err().code, code::INVALID, "{text:?}");
        }
    }
}
