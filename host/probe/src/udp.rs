//! Datagrams to one peer and back, on a connected socket: no other's are received, and a refusal by ICMP is heard.

use std::io::{self, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::AsRawFd;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::sys::socket::sockopt::ReceiveTimestampns;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, setsockopt};
use nix::sys::time::TimeSpec;
use tokio::io::Interest;
use tokio::net::UdpSocket;
use tokio::time::{Instant, timeout_at};

use crate::connect::{DialOptions, Family};
use crate::course::{Course, earlier};
use crate::endpoint::{Endpoint, MAX_ADDRESS};
use crate::failure::{Failure, code, phase};
use crate::grants::Grants;
use crate::host::Host;
use crate::pattern::Scheme;
use crate::probe::Probe;
use crate::script::talk::Talk;
use crate::sockets::Permit;

/// Bytes of a datagram that is sent: what the length in its head leaves for them, over IPv4.
pub const MAX_SEND: usize = 65_507;
/// Bytes of a datagram that is received; no datagram is longer.
pub const MAX_RECEIVE: usize = 64 << 10;
/// Datagrams that one run sends, whatever the way: enough for a hundred questions with a retry, too few for a flood.
pub const MAX_DATAGRAMS: u32 = 256;

/// What one run may still send.
#[derive(Debug)]
pub struct Budget {
    left: u32,
}

/// Datagrams to one peer and back. Nothing is checked before the first `Probe::udp_send`.
#[derive(Debug)]
pub struct Exchange {
    address: String,
    timeout: Option<Duration>,
    dial: DialOptions,
    fault: Option<Failure>,
    open: Option<Open>,
    sent: Option<Instant>,
    resolve: Option<Duration>,
    first_byte: Option<Duration>,
    /// Whether the kernel itself said when the last datagram came in.
    stamped: bool,
    course: Course,
}

/// The kernel's, or answers written beforehand.
#[derive(Debug)]
enum Way {
    Kernel(UdpSocket),
    Scripted(Box<Talk>),
}

#[derive(Debug)]
struct Open {
    way: Way,
    peer: SocketAddr,
    local: SocketAddr,
    /// Ends with the socket.
    _permit: Permit,
}

/// What came back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Datagram {
    /// Cut to as many as were asked for.
    pub bytes: Vec<u8>,
    /// Since the last `send`.
    pub after: Duration,
    /// Nanoseconds since 1970, when the agent took it from the kernel.
    pub at_ns: i64,
}

impl Default for Budget {
    fn default() -> Budget {
        Budget { left: MAX_DATAGRAMS }
    }
}

impl Budget {
    /// How many may still be sent, at least one.
    pub fn left(&self) -> Result<u32, Failure> {
        if self.left > 0 {
            return Ok(self.left);
        }
        Err(Failure::limit(format!("this run has sent {MAX_DATAGRAMS} datagrams: it may send no more")))
    }

    /// So many were sent.
    pub fn spend(&mut self, count: u32) {
        self.left = self.left.saturating_sub(count);
    }
}

impl Exchange {
    /// With the peer at `host:port`.
    pub fn new(address: &str) -> Exchange {
        let fits = address.len() <= MAX_ADDRESS;
        Exchange {
            address: if fits { address.to_owned() } else { String::new() },
            timeout: None,
            dial: DialOptions::default(),
            fault: (!fits).then(|| Failure::limit(format!("the address is longer than {MAX_ADDRESS} bytes"))),
            open: None,
            sent: None,
            resolve: None,
            first_byte: None,
            stamped: false,
            course: Course::default(),
        }
    }

    /// For each call that follows, beside the deadline.
    pub fn set_timeout(&mut self, timeout: Duration) {
        self.timeout = Some(timeout);
    }

    /// `any`, `ipv4` or `ipv6`.
    pub fn set_address_family(&mut self, word: &str) {
        match Family::parse(word) {
            Ok(family) => self.dial.family = family,
            Err(failure) => self.reject(failure),
        }
    }

    /// The address of this node from which to send.
    pub fn set_source_address(&mut self, address: &str) {
        match DialOptions::parse_source(address) {
            Ok(ip) => self.dial.source = Some(ip),
            Err(failure) => self.reject(failure),
        }
    }

    /// Options by name. None exists in this version.
    pub fn set_option(&mut self, name: &str, _value: &str) -> Result<(), Failure> {
        let name = roundsman_model::name::excerpt(name);
        Err(Failure::new(code::UNSUPPORTED, phase::POLICY, format!("this version knows no option `{name}` for udp")))
    }

    /// Whether there is a socket: the first `Probe::udp_send` needs a permit for it.
    pub fn is_open(&self) -> bool {
        self.open.is_some()
    }

    /// The phases of the last call.
    pub fn course(&self) -> &Course {
        &self.course
    }

    /// By the word of the contract: `resolve`, `first-byte`.
    pub fn timing(&self, phase: &str) -> Option<Duration> {
        match phase {
            phase::RESOLVE => self.resolve,
            phase::FIRST_BYTE => self.first_byte,
            _ => None,
        }
    }

    /// Where datagrams go, once the first was sent.
    pub fn peer(&self) -> Option<SocketAddr> {
        self.open.as_ref().map(|open| open.peer)
    }

    /// By the word of the contract: `local-address`, and `timestamp-source`, which is `agent` where the kernel has no stamp
    /// of its own.
    pub fn fact(&self, name: &str) -> Option<String> {
        match name {
            "local-address" => self.open.as_ref().map(|open| open.local.to_string()),
            "timestamp-source" => Some(if self.stamped { "kernel" } else { "agent" }.to_owned()),
            _ => None,
        }
    }

    /// What a call says that the time has cut.
    pub fn cut(&self) -> Failure {
        self.course.timed_out(&self.address)
    }

    fn reject(&mut self, fault: Failure) {
        self.fault.get_or_insert(fault);
    }

    async fn open(
        &mut self,
        probe: &Probe,
        grants: &Grants,
        permit: Option<Permit>,
        deadline: Instant,
    ) -> Result<(), Failure> {
        if let Some(fault) = &self.fault {
            return Err(fault.clone());
        }
        let Endpoint::Host { host, port } = Endpoint::parse(&self.address)? else {
            return Err(Failure::invalid("datagrams go to host:port: unix sockets are for `tcp`"));
        };
        let permit = permit.ok_or_else(|| Failure::limit("there is no permit for a socket"))?;
        let named = matches!(host, Host::Name(_));
        if named {
            self.course.pass(phase::RESOLVE);
        }
        let addresses = grants.resolve_host(probe.resolver(), Scheme::Udp, &host, port, deadline).await?;
        if named {
            self.resolve = Some(self.course.pass(phase::CONNECT));
        } else {
            self.course.pass(phase::CONNECT);
        }
        let addresses = self.dial.choose(&host, addresses)?;
        let mut last = Failure::new(code::RESOLVE, phase::CONNECT, "there is no address to send to");
        if let (Some(script), Some(peer)) = (probe.script(), addresses.first()) {
            let (way, local) =
                (Way::Scripted(Box::new(script.exchange(&self.address)?)), SocketAddr::from(([0; 4], 0)));
            self.open = Some(Open { way, peer: *peer, local, _permit: permit });
            return Ok(());
        }
        // Connecting sends nothing; it fails where this machine has no way to the address.
        for peer in addresses {
            match connect(peer, self.dial.source).await {
                Ok((socket, local)) => {
                    self.open = Some(Open { way: Way::Kernel(socket), peer, local, _permit: permit });
                    return Ok(());
                }
                Err(failure) => last = failure,
            }
        }
        Err(last)
    }

    async fn send(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        let open = self.open.as_mut().ok_or_else(|| Failure::invalid("there is no socket to send from"))?;
        self.course.pass(phase::TRANSFER);
        let (peer, begun) = (open.peer, Instant::now());
        let sent = match &mut open.way {
            Way::Kernel(socket) => socket.send(bytes).await,
            Way::Scripted(talk) => {
                talk.hear(bytes);
                Ok(bytes.len())
            }
        };
        let sent = sent.map_err(|error| Failure::socket(&error, phase::TRANSFER, format_args!("sending to {peer}")))?;
        if sent != bytes.len() {
            return Err(Failure::new(code::PROTOCOL, phase::TRANSFER, "the datagram was not sent as a whole"));
        }
        self.sent = Some(begun);
        self.first_byte = None;
        Ok(())
    }

    async fn receive(&mut self, max_bytes: usize) -> Result<Datagram, Failure> {
        let (Some(open), Some(sent)) = (&mut self.open, self.sent) else {
            return Err(Failure::invalid("nothing was sent yet, so that nobody can answer: call `send` before"));
        };
        self.course.pass(phase::FIRST_BYTE);
        let peer = open.peer;
        let socket = match &mut open.way {
            Way::Kernel(socket) => socket,
            Way::Scripted(talk) => {
                let datagram = talk.datagram(max_bytes.min(MAX_RECEIVE))?;
                self.resolve = talk.answer.times.get(phase::RESOLVE);
                self.first_byte = Some(datagram.after);
                return Ok(datagram);
            }
        };
        let mut bytes = vec![0; max_bytes.min(MAX_RECEIVE)];
        loop {
            let received = receive(socket, &mut bytes).await;
            let (after, now) = (sent.elapsed(), now_ns());
            let Received { count, from, at_ns } = received.map_err(|error| {
                Failure::socket(&error, phase::FIRST_BYTE, format_args!("waiting for an answer of {peer}"))
            })?;
            // What came between binding to a source address and connecting may be of somebody else.
            if from != Some(peer) {
                continue;
            }
            bytes.truncate(count);
            self.stamped = at_ns.is_some();
            // How long it lay in the queue was not the peer's doing.
            let lay = Duration::from_nanos(now.saturating_sub(at_ns.unwrap_or(now)).try_into().unwrap_or(0));
            let after = after.checked_sub(lay).unwrap_or(after);
            self.first_byte.get_or_insert(after);
            return Ok(Datagram { bytes, after, at_ns: at_ns.unwrap_or(now) });
        }
    }
}

impl Probe {
    /// Sends a datagram, the first one after the name was looked up and its addresses were checked. The first one needs
    /// a permit for its socket.
    pub async fn udp_send(
        &self,
        grants: &Grants,
        exchange: &mut Exchange,
        permit: Option<Permit>,
        bytes: &[u8],
        deadline: Instant,
    ) -> Result<(), Failure> {
        let deadline = earlier(exchange.timeout, deadline);
        exchange.course.begin(phase::POLICY);
        let call = async {
            if bytes.len() > MAX_SEND {
                return Err(Failure::limit(format!("the datagram is longer than {MAX_SEND} bytes")));
            }
            if exchange.open.is_none() {
                exchange.open(self, grants, permit, deadline).await?;
            }
            exchange.send(bytes).await
        };
        let result = timeout_at(deadline, Box::pin(call)).await;
        let result = result.unwrap_or_else(|_| Err(exchange.cut()));
        exchange.finish(&result);
        self.stats().udp.count(&result);
        result
    }

    /// The next datagram of the peer, of which at most so many bytes are kept.
    pub async fn udp_receive(
        &self,
        exchange: &mut Exchange,
        max_bytes: usize,
        deadline: Instant,
    ) -> Result<Datagram, Failure> {
        let deadline = earlier(exchange.timeout, deadline);
        exchange.course.begin(phase::POLICY);
        let result = timeout_at(deadline, Box::pin(exchange.receive(max_bytes))).await;
        let result = result.unwrap_or_else(|_| Err(exchange.cut()));
        exchange.finish(&result);
        self.stats().udp.count(&result);
        result
    }
}

impl Exchange {
    /// A phase that a failure broke off stays the last one.
    fn finish<T>(&mut self, result: &Result<T, Failure>) {
        if result.is_ok() {
            self.course.end();
        }
    }
}

async fn connect(peer: SocketAddr, source: Option<IpAddr>) -> Result<(UdpSocket, SocketAddr), Failure> {
    let any: IpAddr = match peer {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let failed = |error: io::Error| Failure::socket(&error, phase::CONNECT, format_args!("sending to {peer}"));
    let bound = UdpSocket::bind((source.unwrap_or(any), 0)).await;
    let socket = bound.map_err(|error| match source {
        Some(source) if error.kind() == io::ErrorKind::AddrNotAvailable => {
            Failure::invalid(format!("the source address {source} is not one of this node"))
        }
        _ => failed(error),
    })?;
    // Where there is no stamp, the agent's own clock has to do.
    if let Err(errno) = setsockopt(&socket, ReceiveTimestampns, &true) {
        tracing::debug!(%errno, "the kernel does not say when datagrams come in");
    }
    socket.connect(peer).await.map_err(failed)?;
    let local = socket.local_addr().map_err(failed)?;
    Ok((socket, local))
}

/// A datagram, as the kernel hands it over.
struct Received {
    count: usize,
    from: Option<SocketAddr>,
    at_ns: Option<i64>,
}

async fn receive(socket: &UdpSocket, bytes: &mut [u8]) -> io::Result<Received> {
    let mut control = nix::cmsg_space!(TimeSpec);
    let take = || {
        let mut parts = [IoSliceMut::new(&mut *bytes)];
        let flags = MsgFlags::MSG_DONTWAIT;
        let message = recvmsg::<SockaddrStorage>(socket.as_raw_fd(), &mut parts, Some(&mut control), flags)?;
        let from = message.address.as_ref().and_then(|address| {
            let v4 = address.as_sockaddr_in().map(|v4| SocketAddr::from((v4.ip(), v4.port())));
            v4.or_else(|| address.as_sockaddr_in6().map(|v6| SocketAddr::V6((*v6).into())))
        });
        let stamp = message.cmsgs()?.find_map(|control| match control {
            ControlMessageOwned::ScmTimestampns(at) => Some(at),
            _ => None,
        });
        let at_ns = stamp.and_then(|at| i64::try_from(Duration::from(at).as_nanos()).ok());
        Ok(Received { count: message.bytes, from, at_ns })
    };
    // A refusal by ICMP is an error of the socket, and nothing to read.
    socket.async_io(Interest::READABLE | Interest::ERROR, take).await
}

fn now_ns() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}
