//! One question that a script answers in place of a server.

use std::net::SocketAddr;
use std::sync::Arc;

use super::{Answer, Exchange, Query, Trace, Transport};
use crate::certificate::Certificate;
use crate::failure::{Failure, phase};
use crate::script::Script;
use crate::script::dns as script;

/// Bytes of a message with a question and nothing else, as near as a script can tell.
const HEAD: u32 = 12;

/// As if a server was asked, once the grants have allowed it.
pub(super) fn ask(
    script: &Script,
    query: &Query,
    servers: &[SocketAddr],
    trace: &mut Trace,
) -> Result<Answer, Failure> {
    let answer = script.dns(&query.kind, &query.name, query.server.as_deref())?;
    trace.peer = servers.first().copied();
    trace.attempts = 1;
    trace.transport = Some(match query.transport {
        Transport::Udp | Transport::UdpOnly => "udp",
        Transport::Tcp => "tcp",
        Transport::Tls => "tls",
    });
    let mut told = answer.clone();
    for (name, value) in [("transport", trace.transport.unwrap_or_default()), ("attempts", "1")] {
        if !told.facts.iter().any(|(known, _)| known == name) {
            told.facts.push((name.to_owned(), value.to_owned()));
        }
    }
    trace.told = Some(Box::new(told));
    let reply = answer.reply.as_ref().map_err(|told| told.failure())?;
    let bits = [("aa", 0x0400), ("tc", 0x0200), ("rd", 0x0100), ("ra", 0x0080), ("ad", 0x0020), ("cd", 0x0010)];
    let set = bits.into_iter().filter(|(name, _)| reply.flags.iter().any(|flag| flag == name));
    let records = reply.answer.iter().chain(&reply.authority).chain(&reply.additional);
    let bytes: usize = records.map(|entry| entry.name.len() + entry.text.len()).sum();
    Ok(Answer {
        rcode: reply.rcode.clone(),
        flags: set.fold(0, |flags, (_, bit)| flags | bit),
        answer: reply.answer.clone(),
        authority: reply.authority.clone(),
        additional: reply.additional.clone(),
        bytes: HEAD.saturating_add(u32::try_from(bytes).unwrap_or(u32::MAX)),
        extended_error: None,
    })
}

/// What the script says that it took, and what was seen on the way.
pub(super) fn exchange(told: &script::Answer, peer: Option<SocketAddr>, result: Result<Answer, Failure>) -> Exchange {
    let phases = [phase::RESOLVE, phase::CONNECT, phase::TLS, phase::FIRST_BYTE, phase::TRANSFER];
    let known =
        ["transport", "attempts", "ignored", "tls-version", "tls-cipher", "certificate-error", "extended-error"];
    let fact = |(name, value): &(String, String)| {
        known.into_iter().find(|known| known == name).map(|known| (known, value.clone()))
    };
    Exchange {
        result,
        phases: phases.into_iter().filter_map(|phase| Some((phase, told.times.get(phase)?))).collect(),
        total: told.times.get("total").unwrap_or_default(),
        peer,
        certificates: told.certificates.iter().map(|shown| Arc::new(Certificate::told(shown))).collect(),
        facts: told.facts.iter().filter_map(fact).collect(),
    }
}
