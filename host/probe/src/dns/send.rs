//! A question on its way: to one server after the other, by datagram, connection or TLS, until one answers.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use hickory_proto::op::Message;
use hickory_proto::rr::Name;
use roundsman_model::name::excerpt;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::UdpSocket;
use tokio::time::{Instant, timeout_at};

use super::message::{Cut, Question, Reading};
use super::server::{Plan, Server};
use super::{Answer, Query, Trace, Transport, kind, wire};
use crate::connect::{DialOptions, dial};
use crate::course::earlier;
use crate::failure::{Failure, code, phase};
use crate::grants::Grants;
use crate::host::Host;
use crate::probe::Probe;
use crate::tls::{Identity, Recorder, TlsOptions, secure, server_name};

/// The longest message: two bytes tell its length.
const MAX_MESSAGE: usize = u16::MAX as usize;
/// Messages that answer something else, per attempt. A late one of another question may come; a thousand are a flood,
/// and whoever sends them has all but guessed one of 2^32 numbers.
const MAX_IGNORED: u32 = 1000;
/// Types that are no question for one answer: parts of messages, and whole zones.
const NOT_ASKED: [&str; 5] = ["OPT", "TKEY", "TSIG", "IXFR", "AXFR"];

/// A query that passed every rule which needs no grant.
struct Asked<'a> {
    query: &'a Query,
    question: Question,
    server: Server,
    /// None unless the transport is TLS.
    tls: Option<(ServerName<'static>, Identity)>,
}

impl Probe {
    /// Asks, and tells what came of it until the deadline. One socket is open at a time.
    pub async fn dns(&self, grants: &Grants, query: &Query, deadline: Instant) -> super::Exchange {
        let mut trace = Trace::begin();
        let result = self.dns_traced(grants, query, deadline, &mut trace).await;
        trace.finish(result)
    }

    /// The same, for those who want to know how far a call came that they drop before its end: by `Trace::cut`.
    pub async fn dns_traced(
        &self,
        grants: &Grants,
        query: &Query,
        deadline: Instant,
        trace: &mut Trace,
    ) -> Result<Answer, Failure> {
        let deadline = earlier(query.timeout, deadline);
        trace.course.begin(phase::POLICY);
        // Boxed once here, so that the futures of callers stay small.
        let call = Box::pin(self.go_around(grants, query, deadline, trace));
        let result = match timeout_at(deadline, call).await {
            Ok(result) => result,
            Err(_) => Err(trace.timed_out()),
        };
        if result.is_ok() {
            trace.course.end();
        }
        self.stats().dns.count(&result);
        result
    }

    async fn go_around(
        &self,
        grants: &Grants,
        query: &Query,
        deadline: Instant,
        trace: &mut Trace,
    ) -> Result<Answer, Failure> {
        let asked = Asked::of(self, grants, query).await?;
        if asked.server.is_named() {
            trace.course.pass(phase::RESOLVE);
        }
        let plan = asked.server.plan(self, grants, query, deadline).await?;
        if let Some(script) = self.script() {
            return super::scripted::ask(script, query, &plan.servers, trace);
        }
        let mut last = Err(Failure::new(code::RESOLVE, phase::CONNECT, "there is no server to ask"));
        let mut left = plan.attempts();
        for _ in 0..plan.rounds {
            for server in &plan.servers {
                let until = plan.until(left, deadline);
                left = left.saturating_sub(1);
                trace.attempts += 1;
                let result = match timeout_at(until, asked.ask(self, *server, until, trace)).await {
                    Ok(result) => result,
                    Err(_) => Err(trace.timed_out()),
                };
                match result {
                    Ok(answer) if !plan.moves_on || !is_no_help(&answer) => return Ok(answer),
                    // What a server said is worth more than that another said nothing.
                    Err(_) if last.is_ok() => {}
                    result => last = result,
                }
            }
        }
        if plan.attempts() > 1
            && let Err(failure) = &mut last
        {
            failure.message += &format!(" (the last of {} attempts)", plan.attempts());
        }
        last
    }
}

/// What makes the C library ask the next server.
fn is_no_help(answer: &Answer) -> bool {
    matches!(answer.rcode.as_str(), "SERVFAIL" | "NOTIMP" | "REFUSED")
}

impl Plan {
    fn attempts(&self) -> u32 {
        u32::try_from(self.servers.len()).unwrap_or(u32::MAX).saturating_mul(self.rounds)
    }

    /// Each attempt has an equal share of the time that is left, so that one black hole does not hide the others.
    fn until(&self, left: u32, deadline: Instant) -> Instant {
        let now = Instant::now();
        let share = deadline.saturating_duration_since(now) / left.max(1);
        now + self.each.map_or(share, |each| each.min(share))
    }
}

impl<'a> Asked<'a> {
    async fn of(probe: &Probe, grants: &Grants, query: &'a Query) -> Result<Asked<'a>, Failure> {
        if let Some(fault) = &query.fault {
            return Err(fault.clone());
        }
        let number = kind::number(&query.kind)
            .ok_or_else(|| Failure::invalid(format!("`{}` is no type of records", excerpt(&query.kind))))?;
        if NOT_ASKED.iter().any(|word| kind::number(word) == Some(number)) {
            let message = format!("{} is no question with one answer", kind::word(number));
            return Err(Failure::new(code::UNSUPPORTED, phase::POLICY, message));
        }
        let name = name(&query.name, number)
            .map_err(|reason| Failure::invalid(format!("the name `{}` {reason}", excerpt(&query.name))))?;
        let server = Server::of(query)?;
        let tls = if query.transport == Transport::Tls {
            let name = match (&server, &query.server_name) {
                (Server::One { host, .. }, set) => server_name(set.as_deref(), host)?,
                (Server::System, Some(set)) => server_name(Some(set), &Host::Address(Ipv4Addr::UNSPECIFIED.into()))?,
                (Server::System, None) => {
                    return Err(Failure::invalid("the node's own servers have no name: set one for TLS"));
                }
            };
            Some((name, probe.identity(grants, query.authority.as_deref(), None).await?))
        } else {
            None
        };
        let Query { recursion, dnssec, checking_disabled, .. } = *query;
        Ok(Asked {
            query,
            question: Question { name, kind: number, recursion, dnssec, checking_disabled },
            server,
            tls,
        })
    }

    /// One attempt.
    async fn ask(
        &self,
        probe: &Probe,
        server: SocketAddr,
        until: Instant,
        trace: &mut Trace,
    ) -> Result<Answer, Failure> {
        trace.peer = Some(server);
        let transport = self.query.transport;
        if matches!(transport, Transport::Udp | Transport::UdpOnly) {
            let cut = if transport == Transport::Udp { Cut::Again } else { Cut::Keep };
            trace.transport = Some("udp");
            if let Some(answer) = self.by_datagram(server, cut, trace).await? {
                return Ok(answer);
            }
        }
        trace.transport = Some(if self.tls.is_some() { "tls" } else { "tcp" });
        trace.course.pass(phase::CONNECT);
        let stream = dial(&[server], &DialOptions::default(), until, &mut trace.peer).await?;
        let Some((name, identity)) = &self.tls else { return self.by_stream(stream, server, trace).await };
        trace.course.pass(phase::TLS);
        let recorder = Arc::new(Recorder::default());
        trace.recorder = Some(recorder.clone());
        let options =
            TlsOptions { name: name.clone(), verify: self.query.verify_certificate, identity, protocols: &[b"dot"] };
        let (stream, facts) = secure(probe.tls(), stream, options, recorder).await?;
        trace.tls = facts;
        self.by_stream(stream, server, trace).await
    }

    /// Over UDP; none when the answer did not fit. The socket is connected: it takes datagrams of this server alone, and
    /// hears that nobody listens there.
    async fn by_datagram(&self, server: SocketAddr, cut: Cut, trace: &mut Trace) -> Result<Option<Answer>, Failure> {
        trace.course.pass(phase::FIRST_BYTE);
        let (id, message) = self.encode()?;
        let failed =
            |error: io::Error| Failure::socket(&error, phase::FIRST_BYTE, format_args!("asking {server} over UDP"));
        let any = if server.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        // The kernel picks the port at random.
        let socket = UdpSocket::bind(SocketAddr::new(any, 0)).await.map_err(failed)?;
        socket.connect(server).await.map_err(failed)?;
        socket.send(&message).await.map_err(failed)?;
        let mut datagram = Vec::with_capacity(MAX_MESSAGE);
        loop {
            datagram.clear();
            socket.recv_buf(&mut datagram).await.map_err(failed)?;
            match self.read(id, &datagram, cut, server, trace)? {
                Some(Reading::Answer(answer)) => return Ok(Some(answer)),
                Some(_) => return Ok(None),
                None => {}
            }
        }
    }

    /// Over a connection, plain or TLS: messages with their lengths in front.
    async fn by_stream(
        &self,
        mut stream: impl AsyncRead + AsyncWrite + Unpin,
        server: SocketAddr,
        trace: &mut Trace,
    ) -> Result<Answer, Failure> {
        trace.course.pass(phase::FIRST_BYTE);
        let (id, message) = self.encode()?;
        let length = u16::try_from(message.len()).map_err(|_| Failure::invalid("the question is too long"))?;
        let framed = [&length.to_be_bytes(), message.as_slice()].concat();
        let failed = |error: io::Error, trace: &Trace| {
            Failure::socket(&error, trace.course.phase(), format_args!("asking {server} over a connection"))
        };
        stream.write_all(&framed).await.map_err(|error| failed(error, trace))?;
        stream.flush().await.map_err(|error| failed(error, trace))?;
        loop {
            let first = stream.read_u8().await.map_err(|error| failed(error, trace))?;
            if trace.course.phase() == phase::FIRST_BYTE {
                trace.course.pass(phase::TRANSFER);
            }
            let second = stream.read_u8().await.map_err(|error| failed(error, trace))?;
            let length = u64::from(u16::from_be_bytes([first, second]));
            // It grows with what really comes, not with what was announced.
            let mut message = Vec::new();
            (&mut stream).take(length).read_to_end(&mut message).await.map_err(|error| failed(error, trace))?;
            if message.len() as u64 != length {
                return Err(failed(io::ErrorKind::UnexpectedEof.into(), trace));
            }
            if let Some(Reading::Answer(answer)) = self.read(id, &message, Cut::Keep, server, trace)? {
                return Ok(answer);
            }
        }
    }

    /// An identifier that nobody can guess, and the question with it.
    fn encode(&self) -> Result<(u16, Vec<u8>), Failure> {
        let id = Message::query().metadata.id;
        let message = self.question.encode(id);
        Ok((id, message.map_err(|error| Failure::invalid(format!("the question cannot be written: {error}")))?))
    }

    /// None: this was no answer, and another may come.
    fn read(
        &self,
        id: u16,
        bytes: &[u8],
        cut: Cut,
        server: SocketAddr,
        trace: &mut Trace,
    ) -> Result<Option<Reading>, Failure> {
        let protocol = |what: String| Failure::new(code::PROTOCOL, trace.course.phase(), what);
        match self.question.read(id, bytes, cut) {
            Reading::Malformed(what) => Err(protocol(format!("the answer of {server} cannot be read: {what}"))),
            Reading::Stranger if trace.ignored >= MAX_IGNORED => {
                Err(protocol(format!("{server} has sent {MAX_IGNORED} messages that answer something else")))
            }
            Reading::Stranger => {
                trace.ignored += 1;
                Ok(None)
            }
            reading => Ok(Some(reading)),
        }
    }
}

/// What is asked for. An address stands for the name under which its own name is kept.
fn name(text: &str, kind: u16) -> Result<Name, &'static str> {
    if Some(kind) == kind::number("PTR")
        && let Ok(Host::Address(ip)) = Host::parse(text)
    {
        let mut name = Name::from(ip);
        name.set_fqdn(true);
        return Ok(name);
    }
    wire::parse_name(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_are_asked() {
        for (text, kind, expected) in [
            ("shop.example", "A", Ok("shop.example.")),
            ("Shop.Example.", "A", Ok("Shop.Example.")),
            (".", "NS", Ok(".")),
            ("_dns._tcp.*.example", "SRV", Ok("_dns._tcp.*.example.")),
            ("a\\.b.\\032c\\\\", "A", Ok("a\\.b.\\032c\\\\.")),
            ("192.0.2.7", "PTR", Ok("7.2.0.192.in-addr.arpa.")),
            ("2001:db8::7", "PTR", Ok("7.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa.")),
            ("192.0.2.7", "A", Ok("192.0.2.7.")),
            ("", "A", Err("empty label")),
            ("a..b", "A", Err("empty label")),
            ("münchen.example", "A", Err("punycode")),
            ("a b", "A", Err("space")),
            ("a\\300", "A", Err("backslash")),
            ("a\\1", "A", Err("backslash")),
            ("a\\", "A", Err("backslash")),
        ] {
            let found = name(text, kind::number(kind).unwrap()).map(|name| wire::text(&name));
            match (&found, expected) {
                (Ok(found), Ok(expected)) => assert_eq!(found, expected),
                (Err(found), Err(expected)) => assert!(found.contains(expected), "{text}: {found}"),
                _ => panic!("{text}: {found:?}"),
            }
        }
        let label = "a".repeat(63);
        let longest = [label.as_str(), &label, &label, &"a".repeat(61)].join(".");
        assert_eq!(longest.len(), 253);
        assert!(name(&longest, 1).is_ok());
        for long in [format!("{longest}a"), format!("{label}a.example")] {
            assert!(name(&long, 1).unwrap_err().contains("longer"), "{long}");
        }
    }
}
