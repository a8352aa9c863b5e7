//! Echo requests to one host, and what became of each.
//!
//! - `packet`: requests and answers as bytes; `socket`: the kernel's ping sockets, and what routers say
//! - `send`: requests on their way, and the time of each; `trace`: how far a call came
//!
//! An answer counts when it comes from the address that was asked and holds the token that only the request knew.

use std::net::IpAddr;
use std::time::Duration;

use roundsman_model::name::excerpt;

use crate::connect::{DialOptions, Family};
use crate::failure::{Failure, code, phase};

mod packet;
mod scripted;
mod send;
mod socket;
mod trace;

pub use trace::Trace;

/// Requests of one call: more than enough to tell a loss of one in a hundred.
pub const MAX_COUNT: u32 = 100;
/// Between two requests, so that no check becomes a flood.
pub const MIN_INTERVAL: Duration = Duration::from_millis(1);
/// Bytes behind the head of ICMP that the length of an IPv4 packet leaves room for.
pub const MAX_SIZE: u32 = 65_507;
/// The longest address: `icmp://` and a name.
const MAX_ADDRESS: usize = 512;

/// What is to be sent. Nothing is checked before `Probe::icmp`; what goes beyond a limit is remembered until then.
#[derive(Debug, Clone)]
pub struct Echo {
    address: String,
    count: u32,
    interval: Duration,
    size: u32,
    ttl: Option<u8>,
    dont_fragment: bool,
    dial: DialOptions,
    timeout: Duration,
    fault: Option<Failure>,
}

/// What became of one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reply {
    /// From request to answer; none without one.
    pub round_trip: Option<Duration>,
    pub kind: Kind,
    /// Who answered, which is a router where something was in the way.
    pub from: Option<IpAddr>,
    /// Hops that the answer could still have made.
    pub ttl: Option<u8>,
}

/// The words of the contract for what became of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Reply,
    Lost,
    Unreachable,
    TimeExceeded,
    TooBig,
    NotSent,
}

/// Everything that one call found out, whether it succeeded or not.
#[derive(Debug)]
pub struct Exchange {
    pub result: Result<(), Failure>,
    /// One for each request, in order; empty when none could be sent.
    pub replies: Vec<Reply>,
    /// Answers to what was answered already.
    pub duplicates: u32,
    /// Who was asked.
    pub peer: Option<IpAddr>,
    phases: Vec<(&'static str, Duration)>,
    total: Duration,
    facts: Vec<(&'static str, String)>,
}

impl Echo {
    /// Three requests of 56 bytes, 100 ms apart, each waited for one second.
    pub fn new(address: &str) -> Echo {
        let mut echo = Echo {
            address: String::new(),
            count: 3,
            interval: Duration::from_millis(100),
            size: 56,
            ttl: None,
            dont_fragment: false,
            dial: DialOptions::default(),
            timeout: Duration::from_secs(1),
            fault: None,
        };
        if address.len() > MAX_ADDRESS {
            echo.reject(Failure::limit(format!("the address is longer than {MAX_ADDRESS} bytes")));
        } else {
            echo.address = address.strip_prefix("icmp://").unwrap_or(address).to_owned();
        }
        echo
    }

    /// From 1 to 100.
    pub fn set_count(&mut self, count: u32) {
        if (1..=MAX_COUNT).contains(&count) {
            self.count = count;
        } else {
            self.reject(Failure::limit(format!("{count} echo requests: 1 to {MAX_COUNT} are possible")));
        }
    }

    /// At least 1 ms.
    pub fn set_interval(&mut self, interval: Duration) {
        if interval < MIN_INTERVAL {
            self.reject(Failure::limit(format!("{interval:?} between echo requests: 1 ms is the least")));
        } else {
            self.interval = interval;
        }
    }

    /// Of the payload: up to 65,507 bytes. In less than 16 there is less room for the token.
    pub fn set_size(&mut self, bytes: u32) {
        if bytes > MAX_SIZE {
            self.reject(Failure::limit(format!("{bytes} bytes of an echo request: at most {MAX_SIZE} are possible")));
        } else {
            self.size = bytes;
        }
    }

    /// From 1 on.
    pub fn set_ttl(&mut self, hops: u8) {
        if hops == 0 {
            self.reject(Failure::invalid("no hop at all: nothing would be sent"));
        } else {
            self.ttl = Some(hops);
        }
    }

    /// Whether requests may not be cut into pieces on their way. What the kernel remembers of the way is not asked:
    /// every request goes out, so that the router itself says what is too big for it today.
    pub fn set_dont_fragment(&mut self, wanted: bool) {
        self.dont_fragment = wanted;
    }

    /// `any`, `ipv4` or `ipv6`.
    pub fn set_address_family(&mut self, word: &str) {
        match Family::parse(word) {
            Ok(family) => self.dial.family = family,
            Err(failure) => self.reject(failure),
        }
    }

    /// The address of this node from which to send.
    pub fn set_source_address(&mut self, address: &str) {
        match DialOptions::parse_source(address) {
            Ok(ip) => self.dial.source = Some(ip),
            Err(failure) => self.reject(failure),
        }
    }

    /// How long each answer is waited for.
    pub fn set_timeout(&mut self, timeout: Duration) {
        self.timeout = timeout;
    }

    /// Options by name. None exists in this version.
    pub fn set_option(&mut self, name: &str, _value: &str) -> Result<(), Failure> {
        let message = format!("this version knows no option `{}` for icmp", excerpt(name));
        Err(Failure::new(code::UNSUPPORTED, phase::POLICY, message))
    }

    /// How many requests it sends.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// Whom a run talks to by these requests: `icmp://shop.example`.
    pub fn destination(&self) -> String {
        excerpt(&format!("icmp://{}", self.address))
    }

    fn reject(&mut self, fault: Failure) {
        self.fault.get_or_insert(fault);
    }
}

impl Kind {
    /// `reply`, `lost`, `unreachable`, `time-exceeded`, `too-big`, `not-sent`.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Reply => "reply",
            Kind::Lost => "lost",
            Kind::Unreachable => "unreachable",
            Kind::TimeExceeded => "time-exceeded",
            Kind::TooBig => "too-big",
            Kind::NotSent => "not-sent",
        }
    }
}

impl Reply {
    fn without(kind: Kind) -> Reply {
        Reply { round_trip: None, kind, from: None, ttl: None }
    }
}

impl Exchange {
    /// By the word of the contract: `resolve`, `connect`, `first-byte` (until the first answer), `transfer` (from there
    /// to the last), `total`.
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

    /// By the word of the contract: `mtu`, `local-address`, `ignored`, `refusal`.
    pub fn fact(&self, name: &str) -> Option<&str> {
        self.facts.iter().find(|(known, _)| *known == name).map(|(_, value)| value.as_str())
    }

    /// How many requests were answered.
    pub fn answered(&self) -> usize {
        self.replies.iter().filter(|reply| reply.kind == Kind::Reply).count()
    }
}
