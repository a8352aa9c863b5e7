//! Scripted answers to echo requests.

use std::fmt;
use std::time::Duration;

use super::Script;
use super::exchange::{Times, Told};
use crate::failure::Failure;
use crate::icmp::Kind;

/// The name of these answers in a case.
pub(crate) const PART: &str = "icmp";

/// What becomes of the echo requests of one call.
#[derive(Debug, Clone)]
pub struct Answer {
    /// As the plugin writes it.
    pub address: String,
    pub reply: Result<Vec<Became>, Told>,
    pub duplicates: u32,
    pub mtu: Option<u32>,
    /// Hops that answers could still have made.
    pub ttl: u8,
    pub times: Times,
}

/// What becomes of one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Became {
    Answered(Duration),
    Not(Kind),
}

impl Became {
    /// Reads `3ms`, or a word of the contract: `lost`, `unreachable` …
    pub fn parse(text: &str) -> Result<Became, String> {
        let kinds = [Kind::Lost, Kind::Unreachable, Kind::TimeExceeded, Kind::TooBig, Kind::NotSent];
        if let Some(kind) = kinds.into_iter().find(|kind| kind.as_str() == text) {
            return Ok(Became::Not(kind));
        }
        let took = roundsman_model::units::parse_duration(text);
        took.map(Became::Answered).map_err(|_| format!("`{text}` is neither a time like 3ms nor a word like `lost`"))
    }
}

impl Script {
    /// What becomes of so many requests.
    pub(crate) fn icmp(&self, address: &str, count: u32) -> Result<&Answer, Failure> {
        let asked = format!("{count} echo requests to {address}");
        let enough = |answer: &Answer| answer.reply.as_ref().map_or(true, |all| all.len() as u64 >= u64::from(count));
        let same = |answer: &Answer| answer.address.eq_ignore_ascii_case(address);
        self.pick(PART, &self.icmp, &asked, |answer| same(answer) && enough(answer))
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_becomes_of_a_request() {
        assert_eq!(Became::parse("3ms"), Ok(Became::Answered(Duration::from_millis(3))));
        assert_eq!(Became::parse("time-exceeded"), Ok(Became::Not(Kind::TimeExceeded)));
        assert!(Became::parse("gone").is_err());
    }
}
