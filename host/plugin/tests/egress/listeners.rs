//! Who listens in the namespace: on every forbidden address, counting; one server that may be reached; one for names.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use crate::support::DEADLINE;

/// A server that a check may reach by name, and which sends on to wherever it is asked to.
pub(crate) const GOOD: &str = "10.1.1.1";
pub(crate) const NAME_SERVER: &str = "127.0.0.7";
pub(crate) const PORT: u16 = 8080;
/// Where the agent itself would listen.
pub(crate) const OWN_PORT: u16 = 9640;
/// The address to which a name leads all of a sudden.
const REBOUND: &str = "169.254.169.254";

/// Who came, by protocol and address.
pub(crate) type Visits = BTreeMap<(&'static str, SocketAddr), u64>;

#[derive(Debug, Default)]
pub(crate) struct Listeners(BTreeMap<(&'static str, SocketAddr), Arc<AtomicU64>>);

impl Listeners {
    /// Everything, for as long as the program lives.
    pub(crate) fn start(forbidden: &[&str]) -> Self {
        let mut listeners = Self::default();
        for (address, port) in forbidden.iter().flat_map(|address| [(address, PORT), (address, OWN_PORT)]) {
            let ip: IpAddr = address.parse().unwrap();
            // What is link-local needs to know its link.
            let address = match ip {
                IpAddr::V6(ip) if ip.is_unicast_link_local() => std::net::SocketAddrV6::new(ip, port, 0, 1).into(),
                ip => SocketAddr::new(ip, port),
            };
            let tcp = listeners.counter("tcp", address);
            let listener = TcpListener::bind(address).unwrap_or_else(|error| panic!("{address}: {error}"));
            std::thread::spawn(move || {
                for mut stream in listener.incoming().flatten() {
                    tcp.fetch_add(1, Ordering::SeqCst);
                    drop(stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"));
                }
            });
            let udp = listeners.counter("udp", address);
            let socket = UdpSocket::bind(address).unwrap_or_else(|error| panic!("{address}: {error}"));
            std::thread::spawn(move || {
                let mut buffer = [0; 1500];
                while let Ok((count, from)) = socket.recv_from(&mut buffer) {
                    udp.fetch_add(1, Ordering::SeqCst);
                    drop(socket.send_to(&buffer[..count], from));
                }
            });
        }
        std::thread::spawn(send_on);
        std::thread::spawn(|| answer_names(&UdpSocket::bind((NAME_SERVER, 53)).unwrap()));
        listeners
    }

    fn counter(&mut self, protocol: &'static str, address: SocketAddr) -> Arc<AtomicU64> {
        self.0.entry((protocol, address)).or_default().clone()
    }

    /// Who came since the last question.
    pub(crate) fn visits(&self) -> Visits {
        let came = self.0.iter().map(|(whom, count)| {
            visit(*whom);
            (*whom, count.swap(0, Ordering::SeqCst) - 1)
        });
        came.filter(|(_, count)| *count > 0).collect()
    }
}

/// Comes by and waits for the answer: visitors are served one after the other, so whoever came before is counted by then.
fn visit((protocol, address): (&'static str, SocketAddr)) {
    if protocol == "tcp" {
        let mut answer = Vec::new();
        // A reset is an end, too: nobody has read what we never sent.
        drop(TcpStream::connect(address).unwrap().read_to_end(&mut answer));
        assert!(!answer.is_empty(), "{address} does not answer");
    } else {
        let any: IpAddr = if address.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        let socket = UdpSocket::bind((any, 0)).unwrap();
        socket.set_read_timeout(Some(DEADLINE)).unwrap();
        socket.send_to(b"here", address).unwrap();
        socket.recv_from(&mut [0; 16]).unwrap();
    }
}

/// A path of hexadecimal digits is where to go next; any other one is answered.
fn send_on() {
    let listener = TcpListener::bind((GOOD, PORT)).unwrap();
    for stream in listener.incoming().flatten() {
        std::thread::spawn(move || one(&stream));
    }
}

fn one(stream: &TcpStream) {
    let mut lines = BufReader::new(stream).lines().map_while(Result::ok).take_while(|line| !line.is_empty());
    let request = lines.next().unwrap_or_default();
    lines.for_each(drop);
    let path = request.split(' ').nth(1).unwrap_or("/").trim_start_matches('/').to_owned();
    let digits = path.as_bytes().chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok());
    let mut answer = match digits.collect::<Option<Vec<u8>>>().filter(|bytes| !bytes.is_empty()) {
        Some(location) => [b"HTTP/1.1 302 Found\r\nlocation: ".as_slice(), &location, b"\r\n"].concat(),
        None => b"HTTP/1.1 200 OK\r\n".to_vec(),
    };
    answer.extend(b"content-length: 0\r\nconnection: close\r\n\r\n");
    let mut stream = stream;
    drop(stream.write_all(&answer));
}

/// Names that lead to where they should not: `to-10-9-9-9.allowed.example`, `mixed.…`, and one that changes its mind.
fn answer_names(socket: &UdpSocket) {
    static ASKED: AtomicUsize = AtomicUsize::new(0);
    let mut buffer = [0; 512];
    while let Ok((count, from)) = socket.recv_from(&mut buffer) {
        let question = &buffer[..count];
        let Some((name, kind, end)) = read(question) else { continue };
        let addresses: Vec<IpAddr> = match name.as_str() {
            "good.example" => vec![GOOD.parse().unwrap()],
            "rebind.example" if kind == 1 => {
                let turn = if ASKED.fetch_add(1, Ordering::SeqCst) == 0 { GOOD } else { REBOUND };
                vec![turn.parse().unwrap()]
            }
            "mixed.allowed.example" => vec![GOOD.parse().unwrap(), REBOUND.parse().unwrap()],
            name => {
                let inner =
                    name.strip_prefix("to-").and_then(|rest| rest.strip_suffix(".allowed.example")).unwrap_or_default();
                let v4 = inner.replace('-', ".").parse::<IpAddr>().ok();
                v4.or_else(|| inner.replace('-', ":").parse().ok()).into_iter().collect()
            }
        };
        drop(socket.send_to(&reply(question, end, kind, &addresses), from));
    }
}

/// The name asked for, the type, and where the question ends.
fn read(question: &[u8]) -> Option<(String, u16, usize)> {
    let (mut labels, mut at) = (Vec::new(), 12);
    loop {
        let length = usize::from(*question.get(at)?);
        if length == 0 {
            break;
        }
        labels.push(String::from_utf8_lossy(question.get(at + 1..=at + length)?).to_lowercase());
        at += length + 1;
    }
    let kind = u16::from_be_bytes([*question.get(at + 1)?, *question.get(at + 2)?]);
    Some((labels.join("."), kind, at + 5))
}

fn reply(question: &[u8], end: usize, kind: u16, addresses: &[IpAddr]) -> Vec<u8> {
    let fitting: Vec<_> = addresses.iter().filter(|ip| kind == if ip.is_ipv4() { 1 } else { 28 }).collect();
    let mut reply = question[..end].to_vec();
    // An answer that asks nobody else, without further sections.
    (reply[2], reply[3]) = (0x81, 0x80);
    reply[6..12].fill(0);
    reply[7] = u8::try_from(fitting.len()).unwrap();
    for ip in fitting {
        let octets = match ip {
            IpAddr::V4(ip) => ip.octets().to_vec(),
            IpAddr::V6(ip) => ip.octets().to_vec(),
        };
        reply.extend([0xc0, 12]);
        reply.extend(kind.to_be_bytes());
        reply.extend([0, 1, 0, 0, 0, 1]);
        reply.extend(u16::try_from(octets.len()).unwrap().to_be_bytes());
        reply.extend(octets);
    }
    reply
}
