//! One HTTP exchange: what is asked, what came of it, and how long each phase took.
//!
//! - `request`: what is to be asked; `url`: http and https URLs, and what a `Location` makes of one; `call`: a request
//!   that passed all rules
//! - `trace`: phases, their times and facts; `send`: deadline and redirects; `hop`: one request on one connection
//! - `route`: where a hop connects to and what it may show there; `http1`, `http2`: request and answer over a connection
//! - `scripted`: a hop that a script answers
//!
//! Every hop has a connection of its own, which nobody but the call itself drives: it ends with the call.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;

use crate::certificate::Certificate;
use crate::failure::{Failure, phase};

mod call;
#[cfg(any(test, feature = "fuzz"))]
pub(crate) mod holds;
mod hop;
mod http1;
mod http2;
mod request;
mod route;
mod scripted;
mod send;
mod trace;
mod url;

pub use request::Request;
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
/// Headers of a response, and its trailers. It is hyper's own limit, up to which it needs no memory for parsing.
pub const MAX_RESPONSE_HEADERS: usize = 100;
/// Bytes of a response's body that are kept, whatever the request says.
pub const MAX_RESPONSE_BODY: usize = 1 << 20;
/// Redirects that are followed, whatever the request says; browsers give up there, too.
pub const MAX_REDIRECTS: u32 = 20;

/// What came back.
#[derive(Debug, Clone)]
pub struct Response {
    pub status: u16,
    /// `1.0`, `1.1` or `2`.
    pub version: &'static str,
    pub headers: HeaderMap,
    pub body: Bytes,
    /// What came after the body; nothing of it is read behind a body that was cut.
    pub trailers: HeaderMap,
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
    /// What was dialled last; none over a unix socket.
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

/// What else is worth knowing, of the last hop.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    pub tls_version: Option<Cow<'static, str>>,
    pub tls_cipher: Option<Cow<'static, str>>,
    pub alpn: Option<String>,
    /// Why the chain is not to be trusted, also when the request did not ask for trust.
    pub certificate_error: Option<String>,
    pub final_url: Option<String>,
    /// How many were followed.
    pub redirects: u32,
    /// This node's end of the connection; none over a unix socket.
    pub local: Option<SocketAddr>,
}

/// A URL in its one spelling.
pub(crate) fn canonical(url: &str) -> Result<String, String> {
    url::Url::parse(url).map(|url| url.to_string()).map_err(|error| error.to_string())
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
        values(&self.headers, name)
    }

    /// All values of a trailer, in order; the name in any case.
    pub fn trailer<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        values(&self.trailers, name)
    }
}

fn values<'a>(map: &'a HeaderMap, name: &str) -> impl Iterator<Item = &'a [u8]> + use<'a> {
    let name = http::HeaderName::from_bytes(name.as_bytes()).ok();
    name.into_iter().flat_map(|name| map.get_all(name)).map(|value| value.as_bytes())
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
    /// By the word of the contract: `tls-version`, `tls-cipher`, `alpn`, `certificate-error`, `final-url`, `redirects`,
    /// `local-address`.
    pub fn get(&self, name: &str) -> Option<String> {
        match name {
            "tls-version" => self.tls_version.as_deref().map(str::to_owned),
            "tls-cipher" => self.tls_cipher.as_deref().map(str::to_owned),
            "alpn" => self.alpn.clone(),
            "certificate-error" => self.certificate_error.clone(),
            "final-url" => self.final_url.clone(),
            "redirects" => Some(self.redirects.to_string()),
            "local-address" => self.local.map(|local| local.to_string()),
            _ => None,
        }
    }

    /// What a script says; whatever else it says is not told.
    fn tell(&mut self, name: &str, value: &str) {
        let value = value.to_owned();
        match name {
            "tls-version" => self.tls_version = Some(value.into()),
            "tls-cipher" => self.tls_cipher = Some(value.into()),
            "alpn" => self.alpn = Some(value),
            "certificate-error" => self.certificate_error = Some(value),
            "local-address" => self.local = value.parse().ok(),
            _ => {}
        }
    }
}
