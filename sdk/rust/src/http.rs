//! One HTTP exchange on a connection of its own, with the time that each phase took.
//!
//! ```no_run
//! # fn run() -> Result<roundsman_sdk::Outcome, roundsman_sdk::Fault> {
//! use roundsman_sdk::{Outcome, http::Request};
//!
//! let request = Request::get("https://shop.example/healthz").header("accept", "application/json").max_redirects(2);
//! let answer = match request.send() {
//!     Ok(answer) => answer,
//!     Err(failure) => return failure.into_outcome_or_fault(),
//! };
//! let total = request.timings().total.unwrap_or_default();
//! # let _ = (answer.status, total);
//! # Ok(Outcome::ok("up"))
//! # }
//! ```
//!
//! Grant: the check's target, or `allow: {network: ["https://shop.example:443"]}`.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::bindings::roundsman::net::{http, types};
use crate::exchange::nanoseconds;
pub use crate::exchange::{Certificate, Failure, Family, Timings};

/// A request. It may be sent more than once, and is asked afterwards what the last exchange looked like.
pub struct Request {
    inner: http::Request,
    trailers: Vec<String>,
}

/// Which HTTP is spoken. May stand in a plugin's settings as it is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[non_exhaustive]
pub enum Version {
    /// HTTP/2 where TLS agrees on it, 1.1 elsewhere.
    #[default]
    #[serde(rename = "auto")]
    Auto,
    /// HTTP/1.1 alone.
    #[serde(rename = "1.1")]
    One,
    /// HTTP/2, without TLS by prior knowledge.
    #[serde(rename = "2")]
    Two,
}

/// An answer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// `1.0`, `1.1` or `2`.
    pub version: String,
    /// In the order in which they came.
    pub headers: Vec<(String, Vec<u8>)>,
    /// As much of it as was to be kept.
    pub body: Vec<u8>,
    /// Whether there was more of it.
    pub body_truncated: bool,
    /// What came after the body: those that [`Request::keep_trailers`] named.
    pub trailers: Vec<(String, Vec<u8>)>,
}

impl Request {
    /// Nothing is checked until [`send`](Self::send).
    pub fn new(method: &str, url: &str) -> Self {
        Self { inner: http::Request::new(method, url), trailers: Vec::new() }
    }

    /// A GET request.
    pub fn get(url: &str) -> Self {
        Self::new("GET", url)
    }

    /// Adds a header.
    #[must_use]
    pub fn header(self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.inner.add_header(name, value.as_ref());
        self
    }

    /// Sets the body.
    #[must_use]
    pub fn body(self, body: impl AsRef<[u8]>) -> Self {
        self.inner.set_body(body.as_ref());
        self
    }

    /// At most this many bytes of the answer's body are kept; the host has a ceiling of its own (1 MiB).
    #[must_use]
    pub fn max_body(self, bytes: u32) -> Self {
        self.inner.set_max_body(bytes);
        self
    }

    /// How many redirects are followed; none unless set. Every hop needs a grant of its own.
    #[must_use]
    pub fn max_redirects(self, count: u32) -> Self {
        self.inner.set_max_redirects(count);
        self
    }

    /// For one exchange; the run's deadline bounds it in any case.
    #[must_use]
    pub fn timeout(self, timeout: Duration) -> Self {
        self.inner.set_timeout_ns(nanoseconds(timeout));
        self
    }

    /// `false` accepts any certificate; its facts are reported all the same.
    #[must_use]
    pub fn verify_certificate(self, verify: bool) -> Self {
        self.inner.set_verify_certificate(verify);
        self
    }

    /// What is sent as TLS server name and checked against the certificate, instead of the URL's host.
    #[must_use]
    pub fn server_name(self, name: &str) -> Self {
        self.inner.set_server_name(name);
        self
    }

    /// Which of the name's addresses are tried.
    #[must_use]
    pub fn family(self, family: Family) -> Self {
        self.inner.set_address_family(family.as_str());
        self
    }

    /// The address of this node from which to connect.
    #[must_use]
    pub fn source_address(self, address: &str) -> Self {
        self.inner.set_source_address(address);
        self
    }

    /// Connects to this `host:port` instead of the URL's, which then needs the grant, and stays the host asked for.
    #[must_use]
    pub fn connect_to(self, address: &str) -> Self {
        self.inner.set_connect_to(address);
        self
    }

    /// Connects to a unix socket; needs its path in `allow: {files: […]}`. The URL says what is asked for.
    #[must_use]
    pub fn unix_socket(self, path: &str) -> Self {
        self.inner.set_unix_socket(path);
        self
    }

    /// Which HTTP is spoken.
    #[must_use]
    pub fn version(self, version: Version) -> Self {
        self.inner.set_version(version.as_str());
        self
    }

    /// The secret whose certificates are trusted instead of the system's. Needs `allow: {secrets: […]}`, as the next two.
    #[must_use]
    pub fn certificate_authority(self, secret: &str) -> Self {
        self.inner.set_certificate_authority(secret);
        self
    }

    /// The secret with the client's certificate and key.
    #[must_use]
    pub fn client_certificate(self, secret: &str) -> Self {
        self.inner.set_client_certificate(secret);
        self
    }

    /// The secret that becomes the header `authorization`: a bearer's token, or `username` and `password`.
    #[must_use]
    pub fn credentials(self, secret: &str) -> Self {
        self.inner.set_credentials(secret);
        self
    }

    /// Trailers to keep, as gRPC has its status in `grpc-status`. None are kept unless named.
    #[must_use]
    pub fn keep_trailers(mut self, names: &[&str]) -> Self {
        self.trailers.extend(names.iter().map(|name| (*name).to_owned()));
        self
    }

    /// Sets an option that this crate does not know, by name.
    ///
    /// # Errors
    /// A failure `unsupported` when the host does not know it either.
    pub fn set_option(&self, name: &str, value: &str) -> Result<(), Failure> {
        self.inner.set_option(name, value).map_err(Failure::from)
    }

    /// One exchange on a new connection.
    ///
    /// # Errors
    /// Why there was no complete answer: see [`Failure::into_outcome_or_fault`].
    pub fn send(&self) -> Result<Response, Failure> {
        Ok(Response::read(&self.inner.send()?, &self.trailers))
    }

    /// What the phases of the last exchange took, whether it succeeded or not.
    pub fn timings(&self) -> Timings {
        Timings::asked(|phase| self.inner.timing_ns(phase))
    }

    /// The address that the last exchange dialled, as `1.2.3.4:80` or `[::1]:80`.
    pub fn peer_address(&self) -> Option<String> {
        self.inner.peer_address()
    }

    /// The peer's chain in the last exchange, its own certificate first; empty without TLS.
    pub fn certificates(&self) -> Vec<Certificate> {
        self.inner.certificates().into_iter().map(Certificate::from).collect()
    }

    /// When the peer's own certificate ends, in seconds since 1970 (UTC); none without TLS.
    pub fn certificate_end(&self) -> Option<i64> {
        self.inner.certificates().first().map(types::Certificate::not_after)
    }

    /// A fact by name: `tls-version`, `tls-cipher`, `alpn`, `certificate-error`, `final-url`, `redirects`,
    /// `local-address`.
    pub fn fact(&self, name: &str) -> Option<String> {
        self.inner.fact(name)
    }
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request").finish_non_exhaustive()
    }
}

impl Version {
    /// The host's word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::One => "1.1",
            Self::Two => "2",
        }
    }
}

impl Response {
    fn read(answer: &http::Response, trailers: &[String]) -> Self {
        let values =
            |name: &String| answer.trailer(name).into_iter().map(|value| (name.clone(), value)).collect::<Vec<_>>();
        Self {
            status: answer.status(),
            version: answer.version(),
            headers: answer.headers(),
            body: answer.body(),
            body_truncated: answer.body_truncated(),
            trailers: trailers.iter().flat_map(values).collect(),
        }
    }

    /// All values of a header, in order; the name in any case.
    pub fn header(&self, name: &str) -> impl Iterator<Item = Cow<'_, str>> {
        let named = self.headers.iter().filter(move |(own, _)| own.eq_ignore_ascii_case(name));
        named.map(|(_, value)| String::from_utf8_lossy(value))
    }

    /// The first value of a trailer that was kept; the name in any case.
    pub fn trailer(&self, name: &str) -> Option<Cow<'_, str>> {
        let (_, value) = self.trailers.iter().find(|(own, _)| own.eq_ignore_ascii_case(name))?;
        Some(String::from_utf8_lossy(value))
    }

    /// The body as text; what is not UTF-8 is replaced.
    pub fn text(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.body)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_in_any_case() {
        let headers =
            vec![("Set-Cookie".into(), b"a".to_vec()), ("x".into(), vec![0xff]), ("set-cookie".into(), b"b".to_vec())];
        let response = Response { headers, ..Response::default() };
        assert_eq!(response.header("SET-COOKIE").collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(response.header("X").collect::<Vec<_>>(), ["\u{fffd}"]);
    }
}
