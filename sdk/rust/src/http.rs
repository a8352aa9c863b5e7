//! One HTTP exchange on a connection of its own, with the time that each phase took.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use crate::bindings::roundsman::net::{http, types};
use crate::{Fault, Outcome};

/// A request. It may be sent more than once, and is asked afterwards what the last exchange looked like.
pub struct Request(http::Request);

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
}

/// How long the phases took; none for one that did not take place or did not end.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Timings {
    /// From name to addresses.
    pub resolve: Option<Duration>,
    /// Until the connection stood.
    pub connect: Option<Duration>,
    /// The TLS handshake.
    pub tls: Option<Duration>,
    /// From the request to the first byte of the answer.
    pub first_byte: Option<Duration>,
    /// From the first byte to the last.
    pub transfer: Option<Duration>,
    /// All of it, with redirects.
    pub total: Option<Duration>,
}

/// A certificate that the peer showed, also when it was not accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// To whom it was issued.
    pub subject: String,
    /// By whom.
    pub issuer: String,
    /// The names and addresses for which it is good.
    pub names: Vec<String>,
    /// Seconds since 1970 (UTC).
    pub not_before: i64,
    /// Seconds since 1970 (UTC).
    pub not_after: i64,
    /// In hexadecimal digits.
    pub serial: String,
    /// The digest of `der`.
    pub sha256: Vec<u8>,
    /// The certificate itself.
    pub der: Vec<u8>,
}

/// Why a network call did not succeed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// `timeout`, `refused`, `certificate`, `denied` …
    pub code: String,
    /// What was being done: `policy`, `resolve`, `connect`, `tls`, `first-byte`, `transfer`.
    pub phase: String,
    /// For a person.
    pub message: String,
}

/// The codes that say something about the target. Any other one, also one that later hosts add, says nothing of it.
const TARGETS_DOING: [&str; 9] =
    ["timeout", "refused", "reset", "unreachable", "resolve", "tls", "certificate", "protocol", "closed"];

impl Request {
    /// Nothing is checked until [`send`](Self::send).
    pub fn new(method: &str, url: &str) -> Self {
        Self(http::Request::new(method, url))
    }

    /// A GET request.
    pub fn get(url: &str) -> Self {
        Self::new("GET", url)
    }

    /// Adds a header.
    #[must_use]
    pub fn header(self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.0.add_header(name, value.as_ref());
        self
    }

    /// Sets the body.
    #[must_use]
    pub fn body(self, body: impl AsRef<[u8]>) -> Self {
        self.0.set_body(body.as_ref());
        self
    }

    /// At most this many bytes of the answer's body are kept; the host has a ceiling of its own (1 MiB).
    #[must_use]
    pub fn max_body(self, bytes: u32) -> Self {
        self.0.set_max_body(bytes);
        self
    }

    /// How many redirects are followed; none unless set. Every hop needs a grant of its own.
    #[must_use]
    pub fn max_redirects(self, count: u32) -> Self {
        self.0.set_max_redirects(count);
        self
    }

    /// For one exchange; the run's deadline bounds it in any case.
    #[must_use]
    pub fn timeout(self, timeout: Duration) -> Self {
        self.0.set_timeout_ns(u64::try_from(timeout.as_nanos()).unwrap_or(u64::MAX));
        self
    }

    /// `false` accepts any certificate; its facts are reported all the same.
    #[must_use]
    pub fn verify_certificate(self, verify: bool) -> Self {
        self.0.set_verify_certificate(verify);
        self
    }

    /// What is sent as TLS server name and checked against the certificate, instead of the URL's host.
    #[must_use]
    pub fn server_name(self, name: &str) -> Self {
        self.0.set_server_name(name);
        self
    }

    /// Sets an option that this crate does not know, by name.
    ///
    /// # Errors
    /// A failure `unsupported` when the host does not know it either.
    pub fn set_option(&self, name: &str, value: &str) -> Result<(), Failure> {
        self.0.set_option(name, value).map_err(Failure::from)
    }

    /// One exchange on a new connection.
    ///
    /// # Errors
    /// Why there was no complete answer: see [`Failure::into_outcome_or_fault`].
    pub fn send(&self) -> Result<Response, Failure> {
        Ok(self.0.send()?.into())
    }

    /// What the phases of the last exchange took, whether it succeeded or not.
    pub fn timings(&self) -> Timings {
        let phase = |name| self.0.timing_ns(name).map(Duration::from_nanos);
        Timings {
            resolve: phase("resolve"),
            connect: phase("connect"),
            tls: phase("tls"),
            first_byte: phase("first-byte"),
            transfer: phase("transfer"),
            total: phase("total"),
        }
    }

    /// The address that the last exchange dialled, as `1.2.3.4:80` or `[::1]:80`.
    pub fn peer_address(&self) -> Option<String> {
        self.0.peer_address()
    }

    /// The peer's chain in the last exchange, its own certificate first; empty without TLS.
    pub fn certificates(&self) -> Vec<Certificate> {
        self.0.certificates().into_iter().map(Certificate::from).collect()
    }

    /// When the peer's own certificate ends, in seconds since 1970 (UTC); none without TLS.
    pub fn certificate_end(&self) -> Option<i64> {
        self.0.certificates().first().map(types::Certificate::not_after)
    }

    /// A fact by name: `tls-version`, `tls-cipher`, `alpn`, `certificate-error`, `final-url`, `redirects`.
    pub fn fact(&self, name: &str) -> Option<String> {
        self.0.fact(name)
    }
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request").finish_non_exhaustive()
    }
}

impl Response {
    /// All values of a header, in order; the name in any case.
    pub fn header(&self, name: &str) -> impl Iterator<Item = Cow<'_, str>> {
        let named = self.headers.iter().filter(move |(own, _)| own.eq_ignore_ascii_case(name));
        named.map(|(_, value)| String::from_utf8_lossy(value))
    }

    /// The body as text; what is not UTF-8 is replaced.
    pub fn text(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.body)
    }
}

impl Failure {
    /// Whether it says something about the target: it did not answer, refused, answered with nonsense …
    pub fn is_targets_doing(&self) -> bool {
        TARGETS_DOING.contains(&self.code.as_str())
    }

    /// The right end of a run that such a failure stops: critical where it is the target's doing, a fault where it is
    /// not, because then nothing is known of the target.
    ///
    /// # Errors
    /// The fault.
    pub fn into_outcome_or_fault(self) -> Result<Outcome, Fault> {
        if self.is_targets_doing() {
            Ok(Outcome::critical(self.to_string()))
        } else {
            Err(Fault::new(self.code, self.message))
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}): {}", self.code, self.phase, self.message)
    }
}

impl std::error::Error for Failure {}

impl From<types::Failure> for Failure {
    fn from(failure: types::Failure) -> Self {
        Self { code: failure.code, phase: failure.phase, message: failure.message }
    }
}

impl From<http::Response> for Response {
    fn from(response: http::Response) -> Self {
        Self {
            status: response.status(),
            version: response.version(),
            headers: response.headers(),
            body: response.body(),
            body_truncated: response.body_truncated(),
        }
    }
}

impl From<types::Certificate> for Certificate {
    fn from(certificate: types::Certificate) -> Self {
        Self {
            subject: certificate.subject(),
            issuer: certificate.issuer(),
            names: certificate.names(),
            not_before: certificate.not_before(),
            not_after: certificate.not_after(),
            serial: certificate.serial(),
            sha256: certificate.sha256(),
            der: certificate.der(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_to_blame() {
        let failure = |code: &str| Failure { code: code.into(), phase: "connect".into(), message: "no".into() };
        for (code, targets) in [
            ("timeout", true),
            ("refused", true),
            ("certificate", true),
            ("denied", false),
            ("invalid", false),
            ("limit", false),
            ("unsupported", false),
            ("a-later-word", false),
        ] {
            let end = failure(code).into_outcome_or_fault();
            let expected = if targets {
                Ok(Outcome::critical(format!("{code} (connect): no")))
            } else {
                Err(Fault::new(code, "no"))
            };
            assert_eq!(end, expected);
        }
    }

    #[test]
    fn headers_in_any_case() {
        let headers =
            vec![("Set-Cookie".into(), b"a".to_vec()), ("x".into(), vec![0xff]), ("set-cookie".into(), b"b".to_vec())];
        let response = Response { headers, ..Response::default() };
        assert_eq!(response.header("SET-COOKIE").collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(response.header("X").collect::<Vec<_>>(), ["\u{fffd}"]);
    }
}
