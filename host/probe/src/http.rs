//! One HTTP exchange: what is asked, what came of it, and how long each phase took.
//!
//! - `url`: http and https URLs, and what a `Location` makes of one; `call`: a request that passed all rules
//! - `trace`: phases, their times and facts; `hop`: one request on one connection; `send`: deadline and redirects
//!
//! HTTP/1.1 on a connection of its own. HTTP/2 would begin in `hop` beside `handshake`, a unix socket in `connect`.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;

use crate::certificate::Certificate;
use crate::failure::{Failure, code, phase};

mod call;
mod hop;
mod send;
mod trace;
mod url;

pub use trace::Trace;

/// Phases in the order in which they come.
const PHASES: [&str; 5] = [phase::RESOLVE, phase::CONNECT, phase::TLS, phase::FIRST_BYTE, phase::TRANSFER];
/// The longest URL, also of a redirect: what browsers and servers agree on.
pub const MAX_URL: usize = 8 << 10;
/// Headers that a request may carry.
pub const MAX_REQUEST_HEADERS: usize = 64;
/// Bytes of their names and values together; most servers take no more.
pub const MAX_REQUEST_HEADER_BYTES: usize = 16 << 10;
/// Bytes of a request's body.
pub const MAX_REQUEST_BODY: usize = 1 << 20;
/// Bytes of a response's head. Servers send a few hundred, with cookies a few thousand.
pub const MAX_RESPONSE_HEAD: usize = 64 << 10;
/// Headers of a response. It is hyper's own limit, up to which it needs no memory for parsing.
pub const MAX_RESPONSE_HEADERS: usize = 100;
/// Bytes of a response's body that are kept, whatever the request says.
pub const MAX_RESPONSE_BODY: usize = 1 << 20;
/// Redirects that are followed, whatever the request says; browsers give up there, too.
pub const MAX_REDIRECTS: u32 = 20;

/// What is to be asked. Nothing is checked before `Probe::http`; what goes beyond a limit is remembered until then.
#[derive(Debug, Clone)]
pub struct Request {
    method: String,
    url: String,
    headers: Vec<(String, Bytes)>,
    header_bytes: usize,
    body: Bytes,
    max_body: usize,
    max_redirects: u32,
    timeout: Option<Duration>,
    verify_certificate: bool,
    server_name: Option<String>,
    fault: Option<Failure>,
}

/// What came back.
#[derive(Debug, Clone)]
pub struct Response {
    pub status: u16,
    /// `1.0` or `1.1`.
    pub version: &'static str,
    pub headers: HeaderMap,
    pub body: Bytes,
    /// Whether the body was longer than what was kept.
    pub truncated: bool,
}

/// Everything that one call found out, whether it succeeded or not.
#[derive(Debug)]
pub struct Exchange {
    pub result: Result<Response, Failure>,
    pub timings: Timings,
    /// The phase in which a call failed, and for how long it had been in it.
    pub broken_off: Option<(&'static str, Duration)>,
    /// What was dialled last.
    pub peer: Option<SocketAddr>,
    /// The peer's chain in the last handshake, its own certificate first; also when it was refused.
    pub certificates: Vec<Arc<Certificate>>,
    pub facts: Facts,
}

/// How long the phases took, summed over redirects. None: it did not take place, or did not end.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Timings {
    pub resolve: Option<Duration>,
    pub connect: Option<Duration>,
    pub tls: Option<Duration>,
    /// From the connection until the first byte of the answer; sending the request is part of it.
    pub first_byte: Option<Duration>,
    /// From there until the end of the body, or until as much of it was there as was wanted.
    pub transfer: Option<Duration>,
    /// Of the whole call, successful or not.
    pub total: Option<Duration>,
}

/// What else is worth knowing; `tls_*` and `certificate_error` are of the last hop.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    pub tls_version: Option<String>,
    pub tls_cipher: Option<String>,
    pub alpn: Option<String>,
    /// Why the chain is not to be trusted, also when the request did not ask for trust.
    pub certificate_error: Option<String>,
    pub final_url: Option<String>,
    pub redirects: u32,
}

impl Request {
    /// A request without a body, that follows no redirects and verifies certificates.
    pub fn new(method: &str, url: &str) -> Request {
        let mut request = Request {
            method: String::new(),
            url: String::new(),
            headers: Vec::new(),
            header_bytes: 0,
            body: Bytes::new(),
            max_body: MAX_RESPONSE_BODY,
            max_redirects: 0,
            timeout: None,
            verify_certificate: true,
            server_name: None,
            fault: None,
        };
        if url.len() > MAX_URL || method.len() > MAX_URL {
            request.reject(Failure::limit(format!("the URL is longer than {MAX_URL} bytes")));
        } else {
            request.method = method.to_owned();
            request.url = url.to_owned();
        }
        request
    }

    /// Adds a header; several of the same name stay several.
    pub fn add_header(&mut self, name: &str, value: &[u8]) {
        let bytes = self.header_bytes.saturating_add(name.len()).saturating_add(value.len());
        if self.headers.len() == MAX_REQUEST_HEADERS || bytes > MAX_REQUEST_HEADER_BYTES {
            self.reject(Failure::limit(format!(
                "the request has more than {MAX_REQUEST_HEADERS} headers or {MAX_REQUEST_HEADER_BYTES} bytes of them"
            )));
            return;
        }
        self.header_bytes = bytes;
        self.headers.push((name.to_owned(), Bytes::copy_from_slice(value)));
    }

    /// What is sent with the request.
    pub fn set_body(&mut self, body: impl Into<Bytes>) {
        let body = body.into();
        if body.len() > MAX_REQUEST_BODY {
            self.reject(Failure::limit(format!("the request's body is longer than {MAX_REQUEST_BODY} bytes")));
        } else {
            self.body = body;
        }
    }

    /// At most this many bytes of the answer's body are kept, and never more than 1 MiB.
    pub fn set_max_body(&mut self, bytes: usize) {
        self.max_body = bytes.min(MAX_RESPONSE_BODY);
    }

    /// After so many redirects the answer is what it is; never more than 20.
    pub fn set_max_redirects(&mut self, count: u32) {
        self.max_redirects = count.min(MAX_REDIRECTS);
    }

    /// For this call alone, beside the deadline.
    pub fn set_timeout(&mut self, timeout: Duration) {
        self.timeout = Some(timeout);
    }

    /// False: any certificate will do.
    pub fn set_verify_certificate(&mut self, verify: bool) {
        self.verify_certificate = verify;
    }

    /// What the TLS handshake asks for and the certificate must be made out for, instead of the URL's host.
    pub fn set_server_name(&mut self, name: &str) {
        if name.len() > MAX_URL {
            self.reject(Failure::limit("the server name is longer than a name can be"));
        } else {
            self.server_name = Some(name.to_owned());
        }
    }

    /// Options by name. None exists in this version.
    pub fn set_option(&mut self, name: &str, _value: &str) -> Result<(), Failure> {
        let name = roundsman_model::name::excerpt(name);
        Err(Failure::new(code::UNSUPPORTED, phase::POLICY, format!("this version knows no option `{name}` for http")))
    }

    /// Method and URL for a person: without user name, query and fragment, which may hold secrets.
    pub fn brief(&self) -> String {
        let url = self.url.split(['?', '#']).next().unwrap_or_default();
        let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
        let end = rest.find('/').unwrap_or(rest.len());
        let host = rest[..end].rsplit_once('@').map_or(&rest[..end], |(_, host)| host);
        let slashes = if scheme.is_empty() { "" } else { "://" };
        [&self.method, " ", scheme, slashes, host, &rest[end..]].concat()
    }

    fn reject(&mut self, fault: Failure) {
        self.fault.get_or_insert(fault);
    }
}

impl Exchange {
    /// The phases that took place, in their order, and how long they took; the last one did not end if the call failed.
    pub fn phases(&self) -> impl Iterator<Item = (&'static str, Duration)> + '_ {
        PHASES.into_iter().filter_map(|phase| {
            let ended = self.timings.get(phase);
            let broken_off = self.broken_off.filter(|(last, _)| *last == phase).map(|(_, time)| time);
            // After a redirect a phase may have ended once, and not a second time.
            (ended.is_some() || broken_off.is_some())
                .then(|| (phase, ended.unwrap_or_default() + broken_off.unwrap_or_default()))
        })
    }
}

impl Response {
    /// All values of a header, in order; the name in any case.
    pub fn header<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let name = http::HeaderName::from_bytes(name.as_bytes()).ok();
        name.into_iter().flat_map(|name| self.headers.get_all(name)).map(|value| value.as_bytes())
    }
}

impl Timings {
    /// By the word of the contract: `resolve`, `connect`, `tls`, `first-byte`, `transfer`, `total`.
    pub fn get(&self, phase: &str) -> Option<Duration> {
        match phase {
            "total" => self.total,
            phase::RESOLVE => self.resolve,
            phase::CONNECT => self.connect,
            phase::TLS => self.tls,
            phase::FIRST_BYTE => self.first_byte,
            phase::TRANSFER => self.transfer,
            _ => None,
        }
    }

    fn add(&mut self, phase: &str, time: Duration) {
        let slot = match phase {
            phase::RESOLVE => &mut self.resolve,
            phase::CONNECT => &mut self.connect,
            phase::TLS => &mut self.tls,
            phase::FIRST_BYTE => &mut self.first_byte,
            phase::TRANSFER => &mut self.transfer,
            _ => return,
        };
        *slot = Some(slot.unwrap_or_default() + time);
    }
}

impl Facts {
    /// By the word of the contract: `tls-version`, `tls-cipher`, `alpn`, `certificate-error`, `final-url`, `redirects`.
    pub fn get(&self, name: &str) -> Option<String> {
        match name {
            "tls-version" => self.tls_version.clone(),
            "tls-cipher" => self.tls_cipher.clone(),
            "alpn" => self.alpn.clone(),
            "certificate-error" => self.certificate_error.clone(),
            "final-url" => self.final_url.clone(),
            "redirects" => Some(self.redirects.to_string()),
            _ => None,
        }
    }
}
