//! One question to one DNS server, with everything that its answer says.
//!
//! ```no_run
//! # fn ask() -> Result<(), roundsman_sdk::net::Failure> {
//! use roundsman_sdk::dns::{Query, Transport};
//!
//! let query = Query::new("shop.example", "MX").server("10.0.0.10").transport(Transport::Tcp);
//! let answer = query.send()?;
//! if answer.rcode == "NOERROR" {
//!     for record in &answer.answer {
//!         roundsman_sdk::debug!("{} {} {}", record.name, record.kind, record.text);
//!     }
//! }
//! # Ok(())
//! # }
//! ```
//!
//! Grant: `allow: {network: ["dns://10.0.0.10:53"]}`, or `dns://system` for the node's own servers.

use std::fmt;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::bindings::roundsman::net::dns;
use crate::exchange::nanoseconds;
pub use crate::exchange::{Certificate, Failure, Family, Timings};

/// A question. It is asked afterwards, also after a failure, how it went.
pub struct Query(dns::Query);

/// How the server is reached. May stand in a plugin's settings as it is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Transport {
    /// UDP, and TCP again when the answer did not fit.
    #[default]
    Udp,
    /// UDP alone: an answer that did not fit stays cut short, with the flag `tc`.
    UdpOnly,
    /// TCP.
    Tcp,
    /// DNS over TLS.
    Tls,
}

/// An answer; one that says no is one too.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Answer {
    /// `NOERROR`, `NXDOMAIN`, `SERVFAIL`, `REFUSED` …
    pub rcode: String,
    /// Those that are set, of `aa`, `tc`, `rd`, `ra`, `ad`, `cd`.
    pub flags: Vec<&'static str>,
    /// What was asked for.
    pub answer: Vec<Record>,
    /// Who is responsible.
    pub authority: Vec<Record>,
    /// What goes with it.
    pub additional: Vec<Record>,
    /// Of the whole message.
    pub bytes: u32,
}

/// One resource record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Whose it is.
    pub name: String,
    /// `A`, `MX` … or `TYPE65280`.
    pub kind: String,
    /// How long it may be kept.
    pub ttl: Duration,
    /// As in a zone file.
    pub text: String,
}

const FLAGS: [&str; 6] = ["aa", "tc", "rd", "ra", "ad", "cd"];

impl Query {
    /// A name, taken as absolute, and a type: `A`, `AAAA`, `MX`, `TYPE65` …; `PTR` of an address is asked by the address.
    pub fn new(name: &str, kind: &str) -> Self {
        Self(dns::Query::new(name, kind))
    }

    /// `10.0.0.10` or `ns1.example:53`; without it the servers of the node, in their order.
    #[must_use]
    pub fn server(self, address: &str) -> Self {
        self.0.set_server(address);
        self
    }

    /// How the server is reached.
    #[must_use]
    pub fn transport(self, transport: Transport) -> Self {
        self.0.set_transport(transport.as_str());
        self
    }

    /// Whether the server shall ask others; it shall unless said otherwise.
    #[must_use]
    pub fn recursion(self, wanted: bool) -> Self {
        self.0.set_recursion(wanted);
        self
    }

    /// Asks for signatures, and for the flag `ad`.
    #[must_use]
    pub fn dnssec(self, wanted: bool) -> Self {
        self.0.set_dnssec(wanted);
        self
    }

    /// Which addresses of the server's name are tried.
    #[must_use]
    pub fn family(self, family: Family) -> Self {
        self.0.set_address_family(family.as_str());
        self
    }

    /// For the whole exchange; the run's deadline bounds it in any case.
    #[must_use]
    pub fn timeout(self, timeout: Duration) -> Self {
        self.0.set_timeout_ns(nanoseconds(timeout));
        self
    }

    /// With TLS: the name that the certificate must have, instead of the server's.
    #[must_use]
    pub fn server_name(self, name: &str) -> Self {
        self.0.set_server_name(name);
        self
    }

    /// With TLS: `false` accepts any certificate; its facts are reported all the same.
    #[must_use]
    pub fn verify_certificate(self, verify: bool) -> Self {
        self.0.set_verify_certificate(verify);
        self
    }

    /// With TLS: the secret whose certificates are trusted instead of the system's. Needs `allow: {secrets: […]}`.
    #[must_use]
    pub fn certificate_authority(self, secret: &str) -> Self {
        self.0.set_certificate_authority(secret);
        self
    }

    /// Sets an option that this crate does not know, by name.
    ///
    /// # Errors
    /// A failure `unsupported` when the host does not know it either.
    pub fn set_option(&self, name: &str, value: &str) -> Result<(), Failure> {
        self.0.set_option(name, value).map_err(Failure::from)
    }

    /// Asks.
    ///
    /// # Errors
    /// Why there was no answer: see [`Failure::into_outcome_or_fault`]. An answer that says no is in
    /// [`Answer::rcode`].
    pub fn send(&self) -> Result<Answer, Failure> {
        Ok(self.0.send()?.into())
    }

    /// What the phases took: `resolve` is of the server's own name. There is no `transfer`.
    pub fn timings(&self) -> Timings {
        Timings::asked(|phase| self.0.timing_ns(phase))
    }

    /// The server that was asked last.
    pub fn peer_address(&self) -> Option<String> {
        self.0.peer_address()
    }

    /// The server's chain, its own certificate first; empty without TLS.
    pub fn certificates(&self) -> Vec<Certificate> {
        self.0.certificates().into_iter().map(Certificate::from).collect()
    }

    /// A fact by name: `transport` that brought the answer, `attempts`, `tls-version`, `certificate-error`.
    pub fn fact(&self, name: &str) -> Option<String> {
        self.0.fact(name)
    }
}

impl Transport {
    /// The host's word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Udp => "udp",
            Self::UdpOnly => "udp-only",
            Self::Tcp => "tcp",
            Self::Tls => "tls",
        }
    }
}

impl Answer {
    /// Whether a flag is set.
    pub fn flag(&self, name: &str) -> bool {
        self.flags.contains(&name)
    }

    /// The texts of the answers of one type, without the aliases (CNAME) on the way to them.
    pub fn texts(&self, kind: &str) -> impl Iterator<Item = &str> {
        self.answer.iter().filter(move |record| record.kind == kind).map(|record| record.text.as_str())
    }
}

impl From<dns::Answer> for Answer {
    fn from(answer: dns::Answer) -> Self {
        let records = |section| answer.records(section).into_iter().map(Record::from).collect();
        Self {
            rcode: answer.rcode(),
            flags: FLAGS.into_iter().filter(|name| answer.flag(name)).collect(),
            answer: records("answer"),
            authority: records("authority"),
            additional: records("additional"),
            bytes: answer.bytes(),
        }
    }
}

impl From<dns::Entry> for Record {
    fn from(entry: dns::Entry) -> Self {
        Self { name: entry.name, kind: entry.kind, ttl: Duration::from_secs(entry.ttl_s.into()), text: entry.text }
    }
}

impl fmt::Debug for Query {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Query").finish_non_exhaustive()
    }
}
