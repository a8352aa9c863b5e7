//! A TCP connection, or one to a unix socket: plain, with TLS from the beginning, or from the middle (STARTTLS).
//!
//! ```no_run
//! # fn talk() -> Result<(), roundsman_sdk::net::Failure> {
//! use roundsman_sdk::tcp::Connection;
//!
//! let mail = Connection::new("mx.example:25");
//! mail.connect()?;
//! let greeting = mail.receive_line(512)?;
//! mail.send("EHLO probe\r\n")?;
//! while mail.receive_line(512)?.starts_with("250-") {}
//! mail.send("STARTTLS\r\n")?;
//! mail.receive_line(512)?;
//! mail.start_tls()?;
//! let handshake = mail.timings().tls;
//! # let _ = (greeting, handshake);
//! # Ok(())
//! # }
//! ```
//!
//! Grant: the check's target, or `allow: {network: ["tcp://mx.example:25"]}`; for `unix:/run/app.sock` a file grant.

use std::fmt;
use std::time::Duration;

use crate::bindings::roundsman::net::tcp;
use crate::exchange::nanoseconds;
pub use crate::exchange::{Certificate, Failure, Family, Timings};

/// A connection. It is asked afterwards, also after a failure, what it was like.
pub struct Connection(tcp::Connection);

/// How a secret is written into the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Encoding {
    /// As it is.
    Plain,
    /// In base64.
    Base64,
    /// RFC 4616, with the secret's `username` and `password`, in base64.
    SaslPlain,
}

impl Connection {
    /// To `host:port`, also as `tcp://host:port` or `tls://host:port`, or to `unix:/run/app.sock`. Nothing is checked until
    /// [`connect`](Self::connect).
    pub fn new(address: &str) -> Self {
        Self(tcp::Connection::new(address))
    }

    /// For each call that follows; the run's deadline bounds them in any case.
    #[must_use]
    pub fn timeout(self, timeout: Duration) -> Self {
        self.set_timeout(timeout);
        self
    }

    /// As [`timeout`](Self::timeout), between two calls.
    pub fn set_timeout(&self, timeout: Duration) {
        self.0.set_timeout_ns(nanoseconds(timeout));
    }

    /// Which of the name's addresses are tried.
    #[must_use]
    pub fn family(self, family: Family) -> Self {
        self.0.set_address_family(family.as_str());
        self
    }

    /// The address of this node from which to connect.
    #[must_use]
    pub fn source_address(self, address: &str) -> Self {
        self.0.set_source_address(address);
        self
    }

    /// What is sent as TLS server name and checked against the certificate, instead of the address's host.
    #[must_use]
    pub fn server_name(self, name: &str) -> Self {
        self.0.set_server_name(name);
        self
    }

    /// `false` accepts any certificate; its facts are reported all the same.
    #[must_use]
    pub fn verify_certificate(self, verify: bool) -> Self {
        self.0.set_verify_certificate(verify);
        self
    }

    /// Protocols to offer in the handshake (ALPN), for instance `h2`; what was agreed on is the fact `alpn`.
    #[must_use]
    pub fn protocols(self, protocols: &[&str]) -> Self {
        self.0.set_protocols(&protocols.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>());
        self
    }

    /// The secret whose certificates are trusted instead of the system's. Needs `allow: {secrets: […]}`.
    #[must_use]
    pub fn certificate_authority(self, secret: &str) -> Self {
        self.0.set_certificate_authority(secret);
        self
    }

    /// The secret with the client's certificate and key.
    #[must_use]
    pub fn client_certificate(self, secret: &str) -> Self {
        self.0.set_client_certificate(secret);
        self
    }

    /// Sets an option that this crate does not know, by name.
    ///
    /// # Errors
    /// A failure `unsupported` when the host does not know it either.
    pub fn set_option(&self, name: &str, value: &str) -> Result<(), Failure> {
        self.0.set_option(name, value).map_err(Failure::from)
    }

    /// Connects.
    ///
    /// # Errors
    /// Why there is no connection: see [`Failure::into_outcome_or_fault`].
    pub fn connect(&self) -> Result<(), Failure> {
        self.0.connect().map_err(Failure::from)
    }

    /// From plain to TLS, at once or after both sides agreed on it in whatever words.
    ///
    /// # Errors
    /// `tls` or `certificate` mostly; the chain is known all the same.
    pub fn start_tls(&self) -> Result<(), Failure> {
        self.0.start_tls().map_err(Failure::from)
    }

    /// Sends all of it.
    ///
    /// # Errors
    /// Why it could not be sent.
    pub fn send(&self, bytes: impl AsRef<[u8]>) -> Result<(), Failure> {
        self.0.send(bytes.as_ref()).map_err(Failure::from)
    }

    /// Sends what a secret holds under a key: `password`, `username`, `token` … A secret that is one file is sent whatever
    /// the key, but for `username`. The plugin never sees it, nor how long it is.
    ///
    /// # Errors
    /// `denied` without `allow: {secrets: […]}`; otherwise as [`send`](Self::send).
    pub fn send_secret(&self, secret: &str, key: &str, encoding: Encoding) -> Result<(), Failure> {
        self.0.send_secret(secret, key, encoding.as_str()).map_err(Failure::from)
    }

    /// What there is, at least one byte; empty when the peer has closed its side.
    ///
    /// # Errors
    /// `timeout` when nothing came, otherwise as the connection failed.
    pub fn receive(&self, max_bytes: u32) -> Result<Vec<u8>, Failure> {
        self.0.receive(max_bytes).map_err(Failure::from)
    }

    /// What comes up to and with these bytes.
    ///
    /// # Errors
    /// `limit` when they did not come within so many bytes, `closed` when the peer's end came first.
    pub fn receive_until(&self, bytes: impl AsRef<[u8]>, max_bytes: u32) -> Result<Vec<u8>, Failure> {
        self.0.receive_until(bytes.as_ref(), max_bytes).map_err(Failure::from)
    }

    /// One line, without its end; what is not UTF-8 is replaced.
    ///
    /// # Errors
    /// As [`receive_until`](Self::receive_until).
    pub fn receive_line(&self, max_bytes: u32) -> Result<String, Failure> {
        let line = self.receive_until(b"\n", max_bytes)?;
        Ok(String::from_utf8_lossy(&line).trim_end_matches(['\r', '\n']).to_owned())
    }

    /// Exactly so many bytes, as binary protocols have it.
    ///
    /// # Errors
    /// `closed` when the peer's end came first, otherwise as [`receive`](Self::receive).
    pub fn receive_exactly(&self, count: u32) -> Result<Vec<u8>, Failure> {
        exactly(count, |most| self.receive(most))
    }

    /// No more is sent; the peer sees the end.
    ///
    /// # Errors
    /// As the connection failed.
    pub fn close(&self) -> Result<(), Failure> {
        self.0.close().map_err(Failure::from)
    }

    /// What the phases took so far: `first_byte` is from the last `send` to what came next. There is no `transfer`.
    pub fn timings(&self) -> Timings {
        Timings::asked(|phase| self.0.timing_ns(phase))
    }

    /// The address that was dialled, as `1.2.3.4:80` or `[::1]:80`.
    pub fn peer_address(&self) -> Option<String> {
        self.0.peer_address()
    }

    /// The peer's chain, its own certificate first; empty without TLS.
    pub fn certificates(&self) -> Vec<Certificate> {
        self.0.certificates().into_iter().map(Certificate::from).collect()
    }

    /// A fact by name: `tls-version`, `tls-cipher`, `alpn`, `certificate-error`, `local-address`, `bytes-sent`,
    /// `bytes-received`.
    pub fn fact(&self, name: &str) -> Option<String> {
        self.0.fact(name)
    }
}

/// Asks until there are so many bytes.
fn exactly(count: u32, mut receive: impl FnMut(u32) -> Result<Vec<u8>, Failure>) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    loop {
        let have = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        if have >= count {
            return Ok(bytes);
        }
        let more = receive(count - have)?;
        if more.is_empty() {
            let message = format!("closed after {have} of {count} bytes");
            return Err(Failure { code: "closed".to_owned(), phase: "transfer".to_owned(), message });
        }
        bytes.extend(more);
    }
}

impl Encoding {
    fn as_str(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Base64 => "base64",
            Self::SaslPlain => "sasl-plain",
        }
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_bytes_and_no_more() {
        for (pieces, count, expected) in [
            (vec!["ab", "cd"], 4, Ok("abcd")),
            (vec!["abcd"], 4, Ok("abcd")),
            (vec![], 0, Ok("")),
            (vec!["ab", ""], 4, Err("closed after 2 of 4 bytes")),
        ] {
            let mut pieces = pieces.into_iter();
            let bytes = exactly(count, |_| Ok(pieces.next().unwrap().into()));
            let shown = bytes.map(|bytes| String::from_utf8(bytes).unwrap()).map_err(|failure| failure.message);
            assert_eq!(shown, expected.map(str::to_owned).map_err(str::to_owned));
        }
    }
}
