//! Answers written beforehand, in place of the world: how a plugin's own cases are run, behind the same grants.
//!
//! A `Probe` with a script asks the grants as ever, and then the script instead of the network, the kernel or a program.
//! Each answer is given once, in the order in which they are written; the last one that fits is given again. What is
//! asked and not answered is a failure of the call, and remembered: the case has failed. So are answers that nobody
//! asked for.

pub mod command;
pub mod dns;
pub mod exchange;
pub mod http;
pub mod icmp;
mod stage;
pub mod system;
pub mod talk;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use roundsman_model::time::Timestamp;

use crate::failure::{Failure, code, phase};

/// Names get addresses of a network that leads nowhere (RFC 7526): should one be dialled, nobody answers.
const NOWHERE: [u8; 3] = [192, 88, 99];
/// What a case that asks in circles is told of at most.
const MAX_UNANSWERED: usize = 32;

/// Everything that one case answers, and what has been asked of it so far.
#[derive(Debug, Default)]
pub struct Script {
    /// What the guest sees as the time of day; it stands still.
    pub clock: Option<Timestamp>,
    /// Where granted files really lie: `/etc/hosts` at `root/etc/hosts`.
    pub root: Option<PathBuf>,
    pub http: Vec<http::Answer>,
    pub dns: Vec<dns::Answer>,
    pub tcp: Vec<talk::Answer>,
    pub udp: Vec<talk::Answer>,
    pub icmp: Vec<icmp::Answer>,
    pub command: Vec<command::Answer>,
    pub system: system::Answers,
    stages: stage::Stages,
    played: Mutex<Played>,
}

#[derive(Debug, Default)]
struct Played {
    /// The answers that were given, by part and number or question.
    used: BTreeSet<String>,
    unanswered: Vec<String>,
    /// The addresses of names.
    names: BTreeMap<String, u8>,
}

impl Script {
    /// One that answers nothing yet, at an instant.
    pub fn at(clock: Timestamp) -> Script {
        Script { clock: Some(clock), ..Script::default() }
    }

    /// What was asked for and is not answered, in words.
    pub fn unanswered(&self) -> Vec<String> {
        self.with(|played| played.unanswered.clone())
    }

    /// The answers that nobody asked for, in words.
    pub fn unused(&self) -> Vec<String> {
        let net = numbered(http::PART, &self.http).chain(numbered(dns::PART, &self.dns));
        let net = net.chain(numbered(talk::TCP, &self.tcp)).chain(numbered(talk::UDP, &self.udp));
        let node = numbered(icmp::PART, &self.icmp).chain(numbered(command::PART, &self.command));
        let system = self.system.written().into_iter().map(|question| (system::key(&question), question));
        let all = net.chain(node).chain(system.map(|(key, question)| (key, format!("{} {question}", system::PART))));
        all.filter(|(key, _)| !self.was_used(key)).map(|(_, words)| words).collect()
    }

    /// The next answer that fits.
    pub(crate) fn pick<'a, T>(
        &self,
        part: &'static str,
        answers: &'a [T],
        asked: &str,
        fits: impl Fn(&T) -> bool,
    ) -> Result<&'a T, Failure> {
        let key = |index: usize| format!("{part}[{index}]");
        let mut fitting = answers.iter().enumerate().filter(|(_, answer)| fits(answer)).peekable();
        let mut last = None;
        while let Some((index, answer)) = fitting.next() {
            if !self.was_used(&key(index)) || fitting.peek().is_none() {
                last = Some((index, answer));
                break;
            }
        }
        let (index, answer) = last.ok_or_else(|| self.unanswerable(asked))?;
        self.mark(key(index));
        Ok(answer)
    }

    /// An answer was given.
    pub(crate) fn mark(&self, key: String) {
        self.with(|played| played.used.insert(key));
    }

    /// Takes note that the case does not answer.
    pub(crate) fn unanswerable(&self, asked: &str) -> Failure {
        self.with(|played| {
            if played.unanswered.len() < MAX_UNANSWERED && !played.unanswered.iter().any(|known| known == asked) {
                played.unanswered.push(asked.to_owned());
            }
        });
        Failure::new(code::UNSUPPORTED, phase::POLICY, format!("the case does not answer {asked}"))
    }

    /// The addresses that stand for a name.
    pub(crate) fn addresses_of(&self, name: &str) -> Vec<IpAddr> {
        let number = self.with(|played| {
            // More names than addresses share them: no case has so many.
            let next = u8::try_from(played.names.len() % 254).unwrap_or(0) + 1;
            *played.names.entry(name.to_owned()).or_insert(next)
        });
        let [a, b, c] = NOWHERE;
        let [ab, cn] = [u16::from_be_bytes([a, b]), u16::from_be_bytes([c, number])];
        // The same by way of IPv6: 6to4 (RFC 3056).
        let six = Ipv6Addr::new(0x2002, ab, cn, 0, 0, 0, 0, 1);
        vec![Ipv4Addr::new(a, b, c, number).into(), six.into()]
    }

    /// The name that led to an address.
    pub(crate) fn name_of(&self, ip: IpAddr) -> Option<String> {
        let IpAddr::V4(ip) = crate::address::judged(ip) else { return None };
        let [a, b, c, number] = ip.octets();
        let named =
            |played: &mut Played| played.names.iter().find(|(_, own)| **own == number).map(|(name, _)| name.clone());
        if [a, b, c] == NOWHERE { self.with(named) } else { None }
    }

    fn was_used(&self, key: &str) -> bool {
        self.with(|played| played.used.contains(key))
    }

    fn with<T>(&self, f: impl FnOnce(&mut Played) -> T) -> T {
        f(&mut self.played.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The answers of a list by their keys, with their words.
fn numbered<'a, T: Display>(part: &'static str, answers: &'a [T]) -> impl Iterator<Item = (String, String)> + 'a {
    answers.iter().enumerate().map(move |(index, answer)| (format!("{part}[{index}]"), format!("{part} {answer}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_come_in_order_and_the_last_one_stays() {
        let script = Script::default();
        let answers = ["a1", "b", "a2"];
        let ask = |letter: char| script.pick("x", &answers, &format!("`{letter}`"), |word| word.starts_with(letter));
        assert_eq!((ask('a').unwrap(), ask('a').unwrap(), ask('a').unwrap()), (&"a1", &"a2", &"a2"));
        assert!(!script.was_used("x[1]"));
        let failure = ask('c').unwrap_err();
        assert_eq!((failure.code, failure.message.as_str()), ("unsupported", "the case does not answer `c`"));
        ask('c').unwrap_err();
        assert_eq!(script.unanswered(), ["`c`"]);
    }

    #[test]
    fn every_name_has_an_address_of_its_own() {
        let script = Script::default();
        let (a, b) = (script.addresses_of("a"), script.addresses_of("b"));
        assert_ne!(a, b);
        assert_eq!(script.addresses_of("a"), a);
    }
}
