//! A connection by TCP or to a unix socket, in clear or within TLS, and what is said over it.
//!
//! - `open`: look-up, dial, from clear to TLS; `talk`: sending and receiving; `secret`: sending what nobody may see
//!
//! A connection that failed stays failed. What leaves it as it was: a call that makes no sense, a refusal, a limit, and
//! time that runs out while it waits for its peer to say something.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::client::TlsStream;

use crate::certificate::Certificate;
use crate::connect::{DialOptions, Family, Socket};
use crate::course::{Course, earlier};
use crate::endpoint::{Endpoint, MAX_ADDRESS};
use crate::failure::{Failure, code, phase};
use crate::grants::Grants;
use crate::probe::Probe;
use crate::script::talk::Answer;
use crate::sockets::Permit;
use crate::tls::{Recorder, TlsFacts};

mod open;
mod secret;
mod talk;

/// Bytes that one call receives at most, whatever it asks for.
pub const MAX_RECEIVE: usize = 1 << 20;
/// Bytes that one connection receives in all: a check looks at answers and does not fetch files.
pub const MAX_RECEIVED: usize = 4 << 20;
/// Bytes that one connection sends in all.
pub const MAX_SENT: usize = 4 << 20;
/// Bytes that `receive` takes at once: more than a peer sends before it is asked again.
pub const CHUNK: usize = 64 << 10;
/// Bytes up to which `receive_until` is asked to receive: a line's end, a prompt.
pub const MAX_DELIMITER: usize = 64;
/// Bytes both ways before TLS, where only `tls://` is granted: what STARTTLS takes in any protocol, and little more.
pub const MAX_DIALOGUE: usize = 8 << 10;
/// Protocols that a handshake offers; browsers offer two or three.
const MAX_PROTOCOLS: usize = 16;
/// What TLS keeps of one connection: a record of 16 KiB each way, and the session.
pub const TLS_BYTES: usize = 64 << 10;
/// The longest name of a server, a protocol or a secret.
const MAX_WORD: usize = 255;

/// A connection that is drawn up, stands, or has failed. Nothing is checked before `Probe::tcp_connect`.
#[derive(Debug)]
pub struct Connection {
    wishes: Wishes,
    fault: Option<Failure>,
    state: State,
    /// What was received and not taken yet.
    buffer: BytesMut,
    seen: Seen,
    course: Course,
}

/// What is asked for before it stands.
#[derive(Debug)]
struct Wishes {
    address: String,
    timeout: Option<Duration>,
    dial: DialOptions,
    server_name: Option<String>,
    verify: bool,
    protocols: Vec<Vec<u8>>,
    authority: Option<String>,
    client: Option<String>,
}

#[derive(Debug)]
enum State {
    New,
    Open(Box<Open>),
    /// For this reason.
    Failed(String),
}

/// A connection that stands.
#[derive(Debug)]
struct Open {
    stream: Stream,
    endpoint: Endpoint,
    /// Bytes that may still be exchanged in clear; none: as many as anybody wants.
    in_clear: Option<usize>,
    /// Since when something of the peer is waited for: its turn to speak, or the answer to the last `send`.
    waiting: Option<Instant>,
    /// Nothing more is sent.
    closed: bool,
    /// Nothing more comes.
    ended: bool,
    /// Ends with the connection.
    _permit: Permit,
}

#[derive(Debug)]
enum Stream {
    Clear(Socket),
    Tls(Box<TlsStream<Socket>>),
}

/// What became known, and stays known when the connection is gone.
#[derive(Debug, Default)]
struct Seen {
    begun: Option<Instant>,
    resolve: Option<Duration>,
    connect: Option<Duration>,
    tls: Option<Duration>,
    first_byte: Option<Duration>,
    total: Option<Duration>,
    peer: Option<SocketAddr>,
    /// The path of a unix socket.
    unix: Option<String>,
    local: Option<SocketAddr>,
    recorder: Arc<Recorder>,
    certificates: Vec<Arc<Certificate>>,
    certificate_error: Option<String>,
    facts: TlsFacts,
    sent: usize,
    received: usize,
    /// What a script says of it.
    told: Option<Box<Answer>>,
}

impl Connection {
    /// To `host:port` or `unix:/path`.
    pub fn new(address: &str) -> Connection {
        let mut connection = Connection {
            wishes: Wishes {
                address: String::new(),
                timeout: None,
                dial: DialOptions::default(),
                server_name: None,
                verify: true,
                protocols: Vec::new(),
                authority: None,
                client: None,
            },
            fault: None,
            state: State::New,
            buffer: BytesMut::new(),
            seen: Seen::default(),
            course: Course::default(),
        };
        if address.len() > MAX_ADDRESS {
            connection.reject(Failure::limit(format!("the address is longer than {MAX_ADDRESS} bytes")));
        } else {
            connection.wishes.address = address.to_owned();
        }
        connection
    }

    /// For each call that follows, beside the deadline.
    pub fn set_timeout(&mut self, timeout: Duration) {
        self.wishes.timeout = Some(timeout);
    }

    /// `any`, `ipv4` or `ipv6`.
    pub fn set_address_family(&mut self, word: &str) {
        match Family::parse(word) {
            Ok(family) => self.wishes.dial.family = family,
            Err(failure) => self.reject(failure),
        }
    }

    /// The address of this node from which to connect.
    pub fn set_source_address(&mut self, address: &str) {
        match DialOptions::parse_source(address) {
            Ok(ip) => self.wishes.dial.source = Some(ip),
            Err(failure) => self.reject(failure),
        }
    }

    /// What TLS asks for and the certificate must be made out for, instead of the address's host.
    pub fn set_server_name(&mut self, name: &str) {
        self.wishes.server_name = self.word("server name", name);
    }

    /// False: any certificate will do.
    pub fn set_verify_certificate(&mut self, verify: bool) {
        self.wishes.verify = verify;
    }

    /// What TLS offers to speak (ALPN), the best first.
    pub fn set_protocols(&mut self, protocols: &[String]) {
        if protocols.len() > MAX_PROTOCOLS {
            return self.reject(Failure::limit(format!("there are more than {MAX_PROTOCOLS} protocols")));
        }
        if protocols.iter().any(String::is_empty) {
            return self.reject(Failure::invalid("a protocol for TLS has no name"));
        }
        let words = protocols.iter().map_while(|word| self.word("protocol", word));
        self.wishes.protocols = words.map(String::into_bytes).collect();
    }

    /// The name of a secret with the certificates that are trusted instead of the system's.
    pub fn set_certificate_authority(&mut self, secret: &str) {
        self.wishes.authority = self.word("secret", secret);
    }

    /// The name of a secret with the certificate to show.
    pub fn set_client_certificate(&mut self, secret: &str) {
        self.wishes.client = self.word("secret", secret);
    }

    /// Options by name. None exists in this version.
    pub fn set_option(&mut self, name: &str, _value: &str) -> Result<(), Failure> {
        let name = roundsman_model::name::excerpt(name);
        Err(Failure::new(code::UNSUPPORTED, phase::POLICY, format!("this version knows no option `{name}` for tcp")))
    }

    /// Where it leads to, as it was asked for.
    pub fn address(&self) -> &str {
        &self.wishes.address
    }

    /// Whether it stands.
    pub fn is_open(&self) -> bool {
        matches!(self.state, State::Open(_))
    }

    /// Bytes that it keeps: what was received and not taken, and what TLS needs.
    pub fn held_bytes(&self) -> usize {
        let tls = matches!(&self.state, State::Open(open) if matches!(open.stream, Stream::Tls(_)));
        self.buffer.len() + if tls { TLS_BYTES } else { 0 }
    }

    /// The phases of the last call.
    pub fn course(&self) -> &Course {
        &self.course
    }

    /// By the word of the contract: `resolve`, `connect`, `tls`, `first-byte`, `total`.
    pub fn timing(&self, phase: &str) -> Option<Duration> {
        if let Some(told) = &self.seen.told {
            return told.times.get(phase);
        }
        match phase {
            "total" => self.seen.total,
            phase::RESOLVE => self.seen.resolve,
            phase::CONNECT => self.seen.connect,
            phase::TLS => self.seen.tls,
            phase::FIRST_BYTE => self.seen.first_byte,
            _ => None,
        }
    }

    /// What was dialled last, as `1.2.3.4:80`, `[::1]:80` or `unix:/run/app.sock`.
    pub fn peer(&self) -> Option<String> {
        let unix = || self.seen.unix.as_ref().map(|path| format!("unix:{path}"));
        self.seen.peer.map(|peer| peer.to_string()).or_else(unix)
    }

    /// The peer's chain in the handshake, its own certificate first; also when it was refused.
    pub fn certificates(&self) -> &[Arc<Certificate>] {
        &self.seen.certificates
    }

    /// By the word of the contract: `tls-version`, `tls-cipher`, `alpn`, `certificate-error`, `local-address`,
    /// `bytes-sent` (without secrets), `bytes-received`.
    pub fn fact(&self, name: &str) -> Option<String> {
        let Seen { facts, .. } = &self.seen;
        let told = self.seen.told.iter().flat_map(|told| &told.facts).find(|(known, _)| known == name);
        if let Some((_, value)) = told {
            return Some(value.clone());
        }
        match name {
            "tls-version" => facts.version.map(str::to_owned),
            "tls-cipher" => facts.cipher.map(str::to_owned),
            "alpn" => facts.protocol.clone(),
            "certificate-error" => self.seen.certificate_error.clone(),
            "local-address" => self.seen.local.map(|local| local.to_string()),
            "bytes-sent" => Some(self.seen.sent.to_string()),
            "bytes-received" => Some(self.seen.received.to_string()),
            _ => None,
        }
    }

    /// What a call says that the time has cut.
    pub fn cut(&self) -> Failure {
        self.course.timed_out(&self.peer_or_address())
    }

    fn word(&mut self, what: &str, word: &str) -> Option<String> {
        if word.len() <= MAX_WORD {
            return Some(word.to_owned());
        }
        self.reject(Failure::limit(format!("the {what} is longer than {MAX_WORD} bytes")));
        None
    }

    fn reject(&mut self, fault: Failure) {
        self.fault.get_or_insert(fault);
    }

    /// The connection, if it stands.
    fn standing(&mut self) -> Result<&mut Open, Failure> {
        match &mut self.state {
            State::Open(open) => Ok(open),
            State::New => Err(Failure::invalid("there is no connection yet: call `connect` before")),
            State::Failed(why) => {
                Err(Failure::new(code::CLOSED, phase::TRANSFER, format!("the connection has failed before: {why}")))
            }
        }
    }

    /// Of a call that came to its end, one way or the other.
    fn finish<T>(&mut self, result: &Result<T, Failure>, patient: bool) {
        self.seen.total = self.seen.begun.map(|begun| begun.elapsed());
        let seen = self.seen.recorder.take();
        if !seen.chain.is_empty() {
            self.seen.certificates = seen.chain;
            self.seen.certificate_error = seen.error;
        }
        match result {
            Ok(_) => drop(self.course.end()),
            Err(failure) if stays(failure, patient) => {}
            Err(_) if matches!(self.state, State::Failed(_)) => {}
            Err(failure) => self.state = State::Failed(failure.message.clone()),
        }
    }
}

/// Whether a connection is none the worse for a failure.
fn stays(failure: &Failure, patient: bool) -> bool {
    match failure.code {
        code::INVALID | code::DENIED | code::LIMIT | code::UNSUPPORTED | code::SECRET => true,
        code::TIMEOUT | code::CLOSED => patient,
        _ => false,
    }
}

/// What becomes of a call until the deadline; with `patient`, time may run out without harm.
macro_rules! within {
    ($probe:expr, $connection:expr, $deadline:ident, $patient:expr, $call:expr) => {{
        let $deadline = earlier($connection.wishes.timeout, $deadline);
        $connection.course.begin(phase::POLICY);
        // Boxed, so that the futures of callers stay small.
        let result = timeout_at($deadline, Box::pin($call)).await;
        let result = result.unwrap_or_else(|_| Err($connection.cut()));
        $connection.finish(&result, $patient);
        $probe.stats().tcp.count(&result);
        result
    }};
}

impl Probe {
    /// Looks the host up, checks its addresses and connects to one of them. The permit ends with the connection.
    pub async fn tcp_connect(
        &self,
        grants: &Grants,
        connection: &mut Connection,
        permit: Permit,
        deadline: Instant,
    ) -> Result<(), Failure> {
        within!(self, connection, deadline, false, connection.connect(self, grants, permit, deadline))
    }

    /// From clear to TLS. What the peer said in clear must have been received before.
    pub async fn tcp_start_tls(
        &self,
        grants: &Grants,
        connection: &mut Connection,
        deadline: Instant,
    ) -> Result<(), Failure> {
        within!(self, connection, deadline, false, connection.start_tls(self, grants))
    }

    /// Sends all of it.
    pub async fn tcp_send(&self, connection: &mut Connection, bytes: &[u8], deadline: Instant) -> Result<(), Failure> {
        within!(self, connection, deadline, false, connection.send(bytes))
    }

    /// Sends what a secret holds, if it is granted and may be sent to this peer.
    pub async fn tcp_send_secret(
        &self,
        grants: &Grants,
        connection: &mut Connection,
        secret: &str,
        key: &str,
        encoding: &str,
        deadline: Instant,
    ) -> Result<(), Failure> {
        within!(self, connection, deadline, false, connection.send_secret(self, grants, secret, key, encoding))
    }

    /// At least one byte and at most so many, or none when the peer has closed its side.
    pub async fn tcp_receive(
        &self,
        connection: &mut Connection,
        max_bytes: usize,
        deadline: Instant,
    ) -> Result<Vec<u8>, Failure> {
        within!(self, connection, deadline, true, connection.receive(max_bytes))
    }

    /// Everything up to and with a delimiter, within so many bytes.
    pub async fn tcp_receive_until(
        &self,
        connection: &mut Connection,
        delimiter: &[u8],
        max_bytes: usize,
        deadline: Instant,
    ) -> Result<Vec<u8>, Failure> {
        within!(self, connection, deadline, true, connection.receive_until(delimiter, max_bytes))
    }

    /// Nothing more is sent, and the peer sees the end.
    pub async fn tcp_close(&self, connection: &mut Connection, deadline: Instant) -> Result<(), Failure> {
        within!(self, connection, deadline, false, connection.close())
    }
}
