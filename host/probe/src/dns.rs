//! One question to one DNS server, with everything that its answer says.
//!
//! - `message`: the question as bytes and the answer from bytes; `wire`, `rdata`, `kind`: what these are made of
//! - `server`: who is asked; `send`: over what, how often and for how long; `trace`: phases and facts
//!
//! Nothing is remembered, and names are absolute: there is no search list, and no hosts file.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use roundsman_model::name::excerpt;

use crate::certificate::Certificate;
use crate::connect::Family;
use crate::failure::{Failure, code, phase};

#[cfg(any(test, feature = "fuzz"))]
pub(crate) mod holds;
mod kind;
mod message;
mod rdata;
mod scripted;
mod send;
mod server;
mod trace;
mod wire;

pub use trace::Trace;

/// The longest text that a question holds: a name with every byte of it written as `\DDD`.
const MAX_WORD: usize = 4 * 255;
/// Records of an answer that are read. The longest message has room for 5,400 empty ones; real ones have under a hundred.
pub const MAX_RECORDS: usize = 4096;
/// Bytes of an answer written out: sixteen times the longest message, because a few bytes can stand for many.
pub const MAX_TEXT: usize = 1 << 20;
/// How often a server may be asked that was named: losses of a link hide behind more.
pub const MAX_ATTEMPTS: u32 = 5;

/// What is to be asked. Nothing is checked before `Probe::dns`; what goes beyond a limit is remembered until then.
#[derive(Debug, Clone)]
pub struct Query {
    name: String,
    kind: String,
    server: Option<String>,
    transport: Transport,
    recursion: bool,
    dnssec: bool,
    checking_disabled: bool,
    family: Family,
    attempts: u32,
    timeout: Option<Duration>,
    server_name: Option<String>,
    verify_certificate: bool,
    authority: Option<String>,
    fault: Option<Failure>,
}

/// Over what a question goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Transport {
    /// Over TCP again when the answer did not fit.
    Udp,
    UdpOnly,
    Tcp,
    Tls,
}

/// What the server said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// `NOERROR`, `NXDOMAIN` …, with the bits of EDNS.
    pub rcode: String,
    flags: u16,
    pub answer: Vec<Entry>,
    pub authority: Vec<Entry>,
    /// Without the pseudo-record of EDNS.
    pub additional: Vec<Entry>,
    /// Of the whole message.
    pub bytes: u32,
    extended_error: Option<String>,
}

/// One record; every text is printable ASCII.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// With its final dot.
    pub name: String,
    /// `A`, `MX` … or `TYPE65280`.
    pub kind: String,
    pub ttl_s: u32,
    /// As in a zone file.
    pub text: String,
}

/// Everything that one call found out, whether it succeeded or not.
#[derive(Debug)]
pub struct Exchange {
    pub result: Result<Answer, Failure>,
    /// How long each phase took that took place, summed over the attempts; the last did not end if the call failed.
    phases: Vec<(&'static str, Duration)>,
    total: Duration,
    /// Who was asked last.
    pub peer: Option<SocketAddr>,
    /// The server's chain, its own certificate first; also when it was refused.
    pub certificates: Vec<Arc<Certificate>>,
    facts: Vec<(&'static str, String)>,
}

impl Query {
    /// A question over UDP, to the node's own servers, that wants recursion.
    pub fn new(name: &str, kind: &str) -> Query {
        let mut query = Query {
            name: String::new(),
            kind: String::new(),
            server: None,
            transport: Transport::Udp,
            recursion: true,
            dnssec: false,
            checking_disabled: false,
            family: Family::Any,
            attempts: 1,
            timeout: None,
            server_name: None,
            verify_certificate: true,
            authority: None,
            fault: None,
        };
        query.name = query.take("name", name);
        query.kind = query.take("type", kind);
        query
    }

    /// `10.0.0.10`, `ns1.example:53` or `dns://ns1.example`; `dns://system` for the node's own.
    pub fn set_server(&mut self, address: &str) {
        self.server = Some(self.take("server", address));
    }

    /// `udp`, `udp-only`, `tcp` or `tls`.
    pub fn set_transport(&mut self, word: &str) {
        self.transport = match word {
            "udp" => Transport::Udp,
            "udp-only" => Transport::UdpOnly,
            "tcp" => Transport::Tcp,
            "tls" => Transport::Tls,
            _ => {
                let message = format!("`{}` is no transport for dns: udp, udp-only, tcp or tls", excerpt(word));
                return self.reject(Failure::invalid(message));
            }
        };
    }

    pub fn set_recursion(&mut self, wanted: bool) {
        self.recursion = wanted;
    }

    /// Asks for signatures (DO), and for the flag `ad`.
    pub fn set_dnssec(&mut self, wanted: bool) {
        self.dnssec = wanted;
    }

    /// `any`, `ipv4` or `ipv6`: of the server's addresses.
    pub fn set_address_family(&mut self, word: &str) {
        match Family::parse(word) {
            Ok(family) => self.family = family,
            Err(failure) => self.reject(failure),
        }
    }

    /// For this call alone, beside the deadline.
    pub fn set_timeout(&mut self, timeout: Duration) {
        self.timeout = Some(timeout);
    }

    /// What the TLS handshake asks for and the certificate must be made out for, instead of the server's name.
    pub fn set_server_name(&mut self, name: &str) {
        self.server_name = Some(self.take("server name", name));
    }

    /// False: any certificate will do.
    pub fn set_verify_certificate(&mut self, verify: bool) {
        self.verify_certificate = verify;
    }

    /// The name of a secret with the certificates to trust instead of the system's.
    pub fn set_certificate_authority(&mut self, secret: &str) {
        self.authority = Some(self.take("secret's name", secret));
    }

    /// `attempts` (1 to 5, of a server that was set) and `checking-disabled` (`true` or `false`).
    pub fn set_option(&mut self, name: &str, value: &str) -> Result<(), Failure> {
        match name {
            "attempts" => {
                let attempts = value.parse().ok().filter(|attempts| (1..=MAX_ATTEMPTS).contains(attempts));
                self.attempts =
                    attempts.ok_or_else(|| Failure::invalid(format!("`attempts` is 1 to {MAX_ATTEMPTS}")))?;
            }
            "checking-disabled" => {
                self.checking_disabled =
                    value.parse().map_err(|_| Failure::invalid("`checking-disabled` is true or false"))?;
            }
            _ => {
                let message = format!("this version knows no option `{}` for dns", excerpt(name));
                return Err(Failure::new(code::UNSUPPORTED, phase::POLICY, message));
            }
        }
        Ok(())
    }

    /// What is asked and whom, for a person: `MX shop.example of 10.0.0.10`.
    pub fn brief(&self) -> String {
        let server = self.server.as_deref().unwrap_or(server::SYSTEM);
        format!("{} {} of {server}", self.kind, self.name)
    }

    /// Whom a run talks to by this question: `dns://10.0.0.10`.
    pub fn destination(&self) -> String {
        let server = self.server.as_deref().unwrap_or(server::SYSTEM);
        excerpt(&format!("dns://{}", server.strip_prefix("dns://").unwrap_or(server)))
    }

    fn take(&mut self, what: &str, word: &str) -> String {
        if word.len() > MAX_WORD {
            self.reject(Failure::limit(format!("the {what} is longer than {MAX_WORD} bytes")));
            return String::new();
        }
        word.to_owned()
    }

    fn reject(&mut self, fault: Failure) {
        self.fault.get_or_insert(fault);
    }
}

impl Answer {
    /// `aa`, `tc`, `rd`, `ra`, `ad` or `cd`; no other is ever set.
    pub fn flag(&self, name: &str) -> bool {
        let bit = match name {
            "aa" => 0x0400,
            "tc" => 0x0200,
            "rd" => 0x0100,
            "ra" => 0x0080,
            "ad" => 0x0020,
            "cd" => 0x0010,
            _ => 0,
        };
        self.flags & bit != 0
    }

    /// Of `answer`, `authority` or `additional`; there are no others.
    pub fn records(&self, section: &str) -> &[Entry] {
        match section {
            "answer" => &self.answer,
            "authority" => &self.authority,
            "additional" => &self.additional,
            _ => &[],
        }
    }

    /// What it holds in memory.
    pub fn size(&self) -> usize {
        let entry =
            |entry: &Entry| size_of::<Entry>() + entry.name.capacity() + entry.kind.capacity() + entry.text.capacity();
        self.answer.iter().chain(&self.authority).chain(&self.additional).map(entry).sum()
    }
}

impl Exchange {
    /// By the word of the contract: `resolve`, `connect`, `tls`, `first-byte`, `transfer`, `total`.
    pub fn timing(&self, phase: &str) -> Option<Duration> {
        if phase == "total" {
            return Some(self.total);
        }
        self.phases.iter().find(|(name, _)| *name == phase).map(|(_, time)| *time)
    }

    /// The phases that took place, in their order.
    pub fn phases(&self) -> impl Iterator<Item = (&'static str, Duration)> + '_ {
        self.phases.iter().copied()
    }

    /// By the word of the contract: `transport`, `attempts`, `ignored`, `tls-version`, `tls-cipher`,
    /// `certificate-error`, `extended-error`.
    pub fn fact(&self, name: &str) -> Option<&str> {
        self.facts.iter().find(|(known, _)| *known == name).map(|(_, value)| value.as_str())
    }
}
