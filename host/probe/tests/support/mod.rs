//! Servers that behave, misbehave or do nothing, each on a port of its own, and the probe that meets them.

#![allow(dead_code, unreachable_pub, reason = "every test file takes what it needs")]

pub mod systemd;

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use roundsman_model::grants::Allow;
use roundsman_probe::grants::Grants;
use roundsman_probe::http::{Exchange, Request};
use roundsman_probe::probe::{Options, Probe, Roots};
use roundsman_probe::resolve::Resolver;
use rustix::net::sockopt::set_socket_linger;
use tokio::time::Instant;

pub mod authority;
pub mod h2;

/// Long enough for a busy machine; no test waits for it unless it fails.
pub const LONG: Duration = Duration::from_secs(30);
/// For tests whose outcome is that the time runs out.
pub const SHORT: Duration = Duration::from_millis(300);

/// A probe that knows the names of a hosts file and trusts the given roots.
pub fn probe_with(hosts: &str, roots: Roots) -> Probe {
    Probe::new(Options { resolver: Resolver::fixed(hosts), roots, ..Options::default() })
}

pub fn probe() -> Probe {
    probe_with("", Roots::Only(Vec::new()))
}

pub fn grants(lines: &[&str]) -> Grants {
    let network = lines.iter().map(|line| (*line).to_owned()).collect();
    Grants::compile(&[], &Allow { network, ..Allow::default() }, &[]).unwrap()
}

/// Everything on loopback, by address or by name.
pub fn loopback() -> Grants {
    grants(&["http://127.0.0.0/8:*", "https://127.0.0.0/8:*", "http://*:*", "https://*:*"])
}

pub async fn get(url: &str, within: Duration) -> Exchange {
    send(&Request::new("GET", url), within).await
}

pub async fn send(request: &Request, within: Duration) -> Exchange {
    probe().http(&loopback(), request, Instant::now() + within).await
}

/// Code and phase of a failed exchange.
pub fn words(exchange: &Exchange) -> (&'static str, &'static str) {
    match &exchange.result {
        Ok(response) => panic!("succeeded with {}", response.status),
        Err(failure) => (failure.code, failure.phase),
    }
}

/// A server that hands each connection to a function, on a thread of its own, and counts them.
pub struct Server {
    pub address: SocketAddr,
    accepted: Arc<AtomicUsize>,
}

impl Server {
    pub fn new(handle: impl Fn(TcpStream) + Send + Sync + 'static) -> Server {
        Server::on("127.0.0.1".parse().unwrap(), 0, handle)
    }

    pub fn on(ip: IpAddr, port: u16, handle: impl Fn(TcpStream) + Send + Sync + 'static) -> Server {
        let listener = TcpListener::bind((ip, port)).unwrap();
        let address = listener.local_addr().unwrap();
        let accepted = Arc::new(AtomicUsize::new(0));
        let (count, handle) = (accepted.clone(), Arc::new(handle));
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                count.fetch_add(1, Ordering::SeqCst);
                let handle = handle.clone();
                thread::spawn(move || handle(stream));
            }
        });
        Server { address, accepted }
    }

    /// Reads a request and answers with these bytes, then closes.
    pub fn answering(answer: impl Into<Vec<u8>>) -> Server {
        let answer = answer.into();
        Server::new(move |mut stream| {
            request(&mut stream);
            stream.write_all(&answer).unwrap_or_default();
        })
    }

    pub fn url(&self) -> String {
        format!("http://{}/", self.address)
    }

    pub fn port(&self) -> u16 {
        self.address.port()
    }

    pub fn accepted(&self) -> usize {
        self.accepted.load(Ordering::SeqCst)
    }
}

/// The head of a request, as text.
pub fn request(stream: &mut impl Read) -> String {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|read| read == 1) {
        head.push(byte[0]);
    }
    String::from_utf8(head).unwrap()
}

/// Sends one piece after another until the other side has had enough.
pub fn flood(stream: &mut impl Write, piece: &[u8]) {
    while stream.write_all(piece).is_ok() {}
}

/// Holds a connection until the other side closes it.
pub fn hold(mut stream: TcpStream) {
    let mut sink = [0; 1024];
    while stream.read(&mut sink).is_ok_and(|read| read > 0) {}
}

/// Closes a connection with a reset.
pub fn reset(stream: TcpStream) {
    set_socket_linger(&stream, Some(Duration::ZERO)).unwrap();
    drop(stream);
}

/// A listener that takes nobody any more: further packets to it are dropped.
pub struct BlackHole {
    pub address: SocketAddr,
    _listener: rustix::fd::OwnedFd,
    _taken: Vec<TcpStream>,
}

impl BlackHole {
    pub fn on(ip: &str) -> BlackHole {
        use rustix::net::{AddressFamily, SocketType, bind, listen, socket};
        let listener = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
        bind(&listener, &SocketAddr::new(ip.parse().unwrap(), 0)).unwrap();
        listen(&listener, 0).unwrap();
        let address = SocketAddr::try_from(rustix::net::getsockname(&listener).unwrap()).unwrap();
        let mut taken = Vec::new();
        while let Ok(stream) = TcpStream::connect_timeout(&address, SHORT) {
            taken.push(stream);
            assert!(taken.len() < 64, "the backlog never fills");
        }
        BlackHole { address, _listener: listener, _taken: taken }
    }
}

/// Says that a test cannot be run here. Written past the capture of the test's output, so that it is seen.
pub fn skipped(what: &str) {
    assert!(std::env::var("CI").as_deref() != Ok("true"), "{what}, and CI=true asks for every test");
    std::io::stderr().write_all(format!("SKIPPED: {what}\n").as_bytes()).unwrap();
}
