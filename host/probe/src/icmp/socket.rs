//! The kernel's sockets for echo requests: unprivileged ping sockets, or raw ones where the process may have these.
//!
//! What routers say of a request (RECVERR) comes through the socket's error queue, with the request quoted.

use std::io::{self, IoSliceMut};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::time::Duration;

use nix::sys::socket::sockopt::{Ipv4RecvErr, Ipv4RecvTtl, Ipv6RecvErr, Ipv6RecvHopLimit, ReceiveTimestampns};
use nix::sys::socket::{ControlMessageOwned, MsgFlags, RecvMsg, SockaddrStorage, recvmsg, setsockopt};
use nix::sys::time::TimeSpec;
use rustix::io::Errno;
use rustix::net::sockopt::{
    Ipv4PathMtuDiscovery, Ipv6PathMtuDiscovery, set_ip_mtu_discover, set_ip_ttl, set_ipv6_mtu_discover,
    set_ipv6_unicast_hops, socket_error,
};
use rustix::net::{
    AddressFamily, Protocol, SendFlags, SocketFlags, SocketType, bind, connect, getsockname, ipproto, send, socket_with,
};
use rustix::rand::{GetRandomFlags, getrandom};
use rustix::time::{ClockId, clock_gettime};
use tokio::io::Interest;
use tokio::net::UdpSocket;

use super::packet::{Mark, TOKEN, behind_header};
use super::{Echo, Kind};
use crate::failure::{Failure, code, phase};

/// The longest header of IPv4, that of ICMP, and the token: nothing behind these is looked at.
const LOOKED_AT: usize = 60 + 8 + TOKEN;
/// Room for a time, a hop limit, and an error with two addresses; the kernel has nothing else to say.
const CONTROL: usize = 256;

/// Errors of the error queue come from: this machine, or an ICMP message of a router.
const LOCAL: u8 = 1;

/// Errors of earlier requests that stand in the way of one message, each told once.
const MAX_IN_THE_WAY: usize = 8;

/// A socket to one host.
#[derive(Debug)]
pub(super) struct Socket {
    /// Tokio's type for sockets that send and receive messages; it asks for no more than to wait for them.
    socket: UdpSocket,
    mark: Mark,
    raw: bool,
}

/// What came of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Heard {
    Answer {
        sequence: u16,
        from: IpAddr,
        ttl: Option<u8>,
        /// For how long it had lain in the kernel.
        lay: Duration,
    },
    /// A router, or this machine, says why there will be no answer.
    Refusal { sequence: u16, kind: Kind, from: Option<IpAddr>, mtu: Option<u32> },
    /// The largest packet that goes out here.
    Mtu(u32),
    /// A request of our own, which a raw socket hears when the host is this one.
    Own,
    /// A packet that is nothing of ours.
    Stranger,
}

impl Socket {
    /// A socket to a host with what was set for requests to it.
    pub(super) fn open(echo: &Echo, peer: IpAddr) -> Result<Socket, Failure> {
        let (fd, raw) = make(peer.is_ipv6())?;
        let failed = |errno: Errno, doing: &str| {
            Failure::socket(&errno.into(), phase::CONNECT, format_args!("{doing} for echo requests to {peer}"))
        };
        configure(&fd, echo, peer.is_ipv6()).map_err(|errno| failed(errno, "setting up a socket"))?;
        if let Some(source) = echo.dial.source {
            bind(&fd, &SocketAddr::new(source, 0)).map_err(|errno| match errno {
                Errno::ADDRNOTAVAIL => Failure::invalid(format!("the source address {source} is not one of this node")),
                errno => failed(errno, "taking the source address"),
            })?;
        }
        connect(&fd, &SocketAddr::new(peer, 0)).map_err(|errno| match errno {
            Errno::ACCESS => Failure::invalid(format!("{peer} is a broadcast address, not one host")),
            errno => failed(errno, "finding a way"),
        })?;
        let mut random = [0; TOKEN + 2];
        getrandom(&mut random[..], GetRandomFlags::empty()).map_err(|errno| failed(errno, "making a token"))?;
        let [first, second, token @ ..] = random;
        let id = raw.then(|| u16::from_be_bytes([first, second]));
        let size = usize::try_from(echo.size).unwrap_or(usize::MAX);
        let socket = UdpSocket::from_std(fd.into())
            .map_err(|error| Failure::socket(&error, phase::CONNECT, "waiting for echo replies"))?;
        Ok(Socket { socket, mark: Mark { v6: peer.is_ipv6(), id, token, size }, raw })
    }

    /// The address of this node from which requests go out.
    pub(super) fn local_address(&self) -> Option<IpAddr> {
        let address = SocketAddr::try_from(getsockname(&self.socket).ok()?);
        address.ok().map(|address| address.ip())
    }

    /// Sends one request, or says why not. Errors of requests before it are for `hear` to tell.
    pub(super) fn send(&self, sequence: u16) -> Result<(), Errno> {
        let packet = self.mark.request(sequence);
        // An error of an earlier request would be returned in place of the sending; asking for it takes it away.
        socket_error(&self.socket).ok();
        send(&self.socket, &packet, SendFlags::DONTWAIT).map(drop)
    }

    /// Waits until there is something to hear. Then `hear` until there is nothing.
    pub(super) async fn ready(&self) -> io::Result<()> {
        self.socket.ready(Interest::READABLE | Interest::ERROR).await.map(drop)
    }

    /// The next thing; none when there is nothing more.
    pub(super) fn hear(&self, peer: IpAddr) -> Option<Heard> {
        // Refusals first: they clear what would else be returned in place of an answer.
        self.refusal().or_else(|| self.answer(peer))
    }

    fn refusal(&self) -> Option<Heard> {
        self.receive(Some(Interest::ERROR), MsgFlags::MSG_ERRQUEUE, |message, bytes| self.read_refusal(message, bytes))
    }

    /// The next refusal that the kernel has, whether or not it has told of it.
    pub(super) fn refusal_by_now(&self) -> Option<Heard> {
        self.receive(None, MsgFlags::MSG_ERRQUEUE, |message, bytes| self.read_refusal(message, bytes))
    }

    fn read_refusal(&self, message: &RecvMsg<'_, '_, SockaddrStorage>, bytes: &[u8]) -> Heard {
        let errors = message.cmsgs().into_iter().flatten().filter_map(|control| match control {
            ControlMessageOwned::Ipv4RecvErr(error, from) => {
                Some((error, from.map(|from| IpAddr::from(from.sin_addr.s_addr.to_ne_bytes()))))
            }
            ControlMessageOwned::Ipv6RecvErr(error, from) => {
                Some((error, from.map(|from| IpAddr::from(from.sin6_addr.s6_addr))))
            }
            _ => None,
        });
        let Some((error, from)) = errors.last() else { return Heard::Stranger };
        let mtu = Some(error.ee_info).filter(|mtu| *mtu > 0);
        let too_big = error.ee_errno == Errno::MSGSIZE.raw_os_error().unsigned_abs();
        if error.ee_origin == LOCAL {
            return mtu.filter(|_| too_big).map_or(Heard::Stranger, Heard::Mtu);
        }
        let Some(sequence) = self.mark.quotes(bytes) else { return Heard::Stranger };
        let kind = match (self.mark.v6, error.ee_type) {
            _ if too_big => Kind::TooBig,
            (false, 11) | (true, 3) => Kind::TimeExceeded,
            _ => Kind::Unreachable,
        };
        Heard::Refusal { sequence, kind, from, mtu: mtu.filter(|_| too_big) }
    }

    fn answer(&self, peer: IpAddr) -> Option<Heard> {
        self.receive(Some(Interest::READABLE), MsgFlags::empty(), |message, bytes| {
            let from = message.address.as_ref().and_then(|address| {
                let v4 = address.as_sockaddr_in().map(|address| IpAddr::from(address.ip()));
                v4.or_else(|| address.as_sockaddr_in6().map(|address| IpAddr::from(address.ip())))
            });
            let (bytes, in_header) = match behind_header(bytes) {
                Some((rest, ttl)) if self.raw && !self.mark.v6 => (rest, Some(ttl)),
                _ => (bytes, None),
            };
            let Some(sequence) = self.mark.answers(bytes) else {
                let own = self.raw && self.mark.quotes(bytes).is_some();
                return if own { Heard::Own } else { Heard::Stranger };
            };
            let Some(from) = from.filter(|from| *from == peer) else { return Heard::Stranger };
            let (mut ttl, mut lay) = (in_header, Duration::ZERO);
            for control in message.cmsgs().into_iter().flatten() {
                match control {
                    ControlMessageOwned::Ipv4Ttl(hops) | ControlMessageOwned::Ipv6HopLimit(hops) => {
                        ttl = u8::try_from(hops).ok();
                    }
                    ControlMessageOwned::ScmTimestampns(at) => lay = since(at),
                    _ => {}
                }
            }
            Heard::Answer { sequence, from, ttl, lay }
        })
    }

    /// One message, if there is one. Without an interest the kernel is asked also where it has not told of one.
    fn receive(
        &self,
        interest: Option<Interest>,
        flags: MsgFlags,
        read: impl FnOnce(&RecvMsg<'_, '_, SockaddrStorage>, &[u8]) -> Heard,
    ) -> Option<Heard> {
        let (mut bytes, mut control) = ([0; LOOKED_AT], [0; CONTROL]);
        let fd = self.socket.as_raw_fd();
        for _ in 0..MAX_IN_THE_WAY {
            let mut parts = [IoSliceMut::new(&mut bytes)];
            let received = match interest {
                Some(interest) => self.socket.try_io(interest, || next_message(fd, &mut parts, &mut control, flags)),
                None => next_message(fd, &mut parts, &mut control, flags),
            };
            match received {
                Ok(message) => {
                    let bytes = message.iovs().next().map(<[u8]>::to_vec).unwrap_or_default();
                    return Some(read(&message, &bytes));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return None,
                Err(_) => {}
            }
        }
        None
    }
}

fn next_message<'a>(
    fd: RawFd,
    parts: &'a mut [IoSliceMut<'_>],
    control: &'a mut [u8],
    flags: MsgFlags,
) -> io::Result<RecvMsg<'a, 'a, SockaddrStorage>> {
    Ok(recvmsg(fd, parts, Some(control), flags | MsgFlags::MSG_DONTWAIT)?)
}

/// A ping socket; a raw one where the kernel refuses that and allows this.
fn make(v6: bool) -> Result<(OwnedFd, bool), Failure> {
    let (family, protocol) =
        if v6 { (AddressFamily::INET6, ipproto::ICMPV6) } else { (AddressFamily::INET, ipproto::ICMP) };
    let make = |kind: SocketType, protocol: Protocol| {
        socket_with(family, kind, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, Some(protocol))
    };
    let refused = match make(SocketType::DGRAM, protocol) {
        Ok(fd) => return Ok((fd, false)),
        Err(errno) => errno,
    };
    match (refused, make(SocketType::RAW, protocol)) {
        (Errno::ACCESS | Errno::PERM, Ok(fd)) => Ok((fd, true)),
        (Errno::ACCESS | Errno::PERM, Err(_)) => {
            let group = rustix::process::getegid().as_raw();
            let message = format!(
                "the kernel allows this process no echo requests: let net.ipv4.ping_group_range include its group \
                 {group} (sysctl -w net.ipv4.ping_group_range=\"0 2147483647\"), or give it CAP_NET_RAW"
            );
            Err(Failure::new(code::UNSUPPORTED, phase::POLICY, message))
        }
        (Errno::AFNOSUPPORT | Errno::PROTONOSUPPORT, _) => {
            let family = if v6 { "IPv6" } else { "IPv4" };
            Err(Failure::new(code::UNSUPPORTED, phase::POLICY, format!("the kernel has no echo requests for {family}")))
        }
        (errno, _) => Err(Failure::socket(&errno.into(), phase::CONNECT, "making a socket for echo requests")),
    }
}

fn configure(fd: &OwnedFd, echo: &Echo, v6: bool) -> Result<(), Errno> {
    let kernel = |result: nix::Result<()>| result.map_err(|errno| Errno::from_raw_os_error(errno as i32));
    kernel(setsockopt(fd, ReceiveTimestampns, &true))?;
    if v6 {
        kernel(setsockopt(fd, Ipv6RecvErr, &true))?;
        kernel(setsockopt(fd, Ipv6RecvHopLimit, &true))?;
        if echo.dont_fragment {
            set_ipv6_mtu_discover(fd, Ipv6PathMtuDiscovery::PROBE)?;
        }
        return echo.ttl.map_or(Ok(()), |hops| set_ipv6_unicast_hops(fd, Some(hops)));
    }
    kernel(setsockopt(fd, Ipv4RecvErr, &true))?;
    kernel(setsockopt(fd, Ipv4RecvTtl, &true))?;
    // PROBE and not DO: what the kernel remembers of the way is of yesterday.
    let discovery = if echo.dont_fragment { Ipv4PathMtuDiscovery::PROBE } else { Ipv4PathMtuDiscovery::DONT };
    set_ip_mtu_discover(fd, discovery)?;
    echo.ttl.map_or(Ok(()), |hops| set_ip_ttl(fd, hops.into()))
}

/// How long ago a time of the wall clock was; nothing, should the clock have been set since.
fn since(at: TimeSpec) -> Duration {
    let now = clock_gettime(ClockId::Realtime);
    let now = Duration::try_from(now).unwrap_or_default();
    now.saturating_sub(Duration::from(at))
}
