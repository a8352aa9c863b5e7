//! Datagrams to one peer and back.
//!
//! ```no_run
//! # fn ask() -> Result<(), roundsman_sdk::net::Failure> {
//! use roundsman_sdk::udp::Exchange;
//!
//! let clock = Exchange::new("ntp.example:123").timeout(std::time::Duration::from_secs(1));
//! clock.send([0x23; 48])?;
//! let answer = clock.receive(128)?;
//! # let _ = (answer.bytes, answer.after);
//! # Ok(())
//! # }
//! ```
//!
//! Grant: the check's target, or `allow: {network: ["udp://ntp.example:123"]}`.

use std::fmt;
use std::time::{Duration, SystemTime};

use crate::bindings::roundsman::net::udp;
pub use crate::exchange::{Failure, Family, Timings};
use crate::exchange::{at, nanoseconds};

/// A socket that talks to one peer and hears no other.
pub struct Exchange(udp::Exchange);

/// What came back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Datagram {
    /// What it holds.
    pub bytes: Vec<u8>,
    /// How long after the last `send`.
    pub after: Duration,
    /// When the kernel received it.
    pub at: SystemTime,
}

impl Exchange {
    /// With `host:port`. Nothing is checked until the first [`send`](Self::send), which resolves the name once.
    pub fn new(address: &str) -> Self {
        Self(udp::Exchange::new(address))
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

    /// The address of this node from which to send.
    #[must_use]
    pub fn source_address(self, address: &str) -> Self {
        self.0.set_source_address(address);
        self
    }

    /// Sets an option that this crate does not know, by name.
    ///
    /// # Errors
    /// A failure `unsupported` when the host does not know it either.
    pub fn set_option(&self, name: &str, value: &str) -> Result<(), Failure> {
        self.0.set_option(name, value).map_err(Failure::from)
    }

    /// Sends one datagram.
    ///
    /// # Errors
    /// Why it could not be sent.
    pub fn send(&self, datagram: impl AsRef<[u8]>) -> Result<(), Failure> {
        self.0.send(datagram.as_ref()).map_err(Failure::from)
    }

    /// The next datagram of this peer.
    ///
    /// # Errors
    /// `timeout` when none came; `refused` when the peer said by ICMP that nobody listens.
    pub fn receive(&self, max_bytes: u32) -> Result<Datagram, Failure> {
        let udp::Datagram { bytes, after_ns, at_ns } = self.0.receive(max_bytes)?;
        Ok(Datagram { bytes, after: Duration::from_nanos(after_ns), at: at(at_ns) })
    }

    /// `resolve`, and `first_byte` from the last `send` to the first answer to it.
    pub fn timings(&self) -> Timings {
        Timings::asked(|phase| self.0.timing_ns(phase))
    }

    /// The address that was sent to.
    pub fn peer_address(&self) -> Option<String> {
        self.0.peer_address()
    }

    /// A fact by name: `local-address`.
    pub fn fact(&self, name: &str) -> Option<String> {
        self.0.fact(name)
    }
}

impl fmt::Debug for Exchange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exchange").finish_non_exhaustive()
    }
}
