//! Scripted talks: what a peer says and waits for, over a connection or in datagrams.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::Script;
use super::exchange::{Shown, Times, Told};
use crate::failure::{Failure, code, phase};
use crate::udp::Datagram;

/// The names of these answers in a case.
pub(crate) const TCP: &str = "tcp";
pub(crate) const UDP: &str = "udp";
/// What is shown of bytes that were not expected.
const MAX_SHOWN: usize = 80;

/// A peer that answers one connection, or the datagrams of one exchange.
#[derive(Debug, Clone)]
pub struct Answer {
    /// As the plugin writes it: `mx.example:25`.
    pub address: String,
    /// Why there is no connection.
    pub failure: Option<Told>,
    pub dialogue: Vec<Step>,
    pub times: Times,
    /// What it shows in the TLS handshake.
    pub certificates: Vec<Shown>,
    /// By the contract's word: `tls-version`, `alpn` …
    pub facts: Vec<(String, String)>,
}

/// One turn of the peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// It says this, with pieces of what it heard last.
    Send(Vec<u8>, Vec<Echo>),
    /// It waits for this, whatever comes before and after it.
    Expect(Vec<u8>),
    /// It waits for TLS, which then comes about or does not.
    StartTls(Result<(), Told>),
    /// Whatever the plugin waits for now fails.
    Fail(Told),
    /// It says nothing more, and the plugin's time runs out.
    Silence,
}

/// A piece of what was heard last that is sent back: a number by which a question knows its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Echo {
    /// Where it stands in what was heard.
    pub from: usize,
    /// Where it stands in what is said.
    pub at: usize,
    pub bytes: usize,
}

/// A talk under way.
#[derive(Debug)]
pub(crate) struct Talk {
    script: Arc<Script>,
    pub(crate) answer: Answer,
    left: VecDeque<Step>,
    heard: Vec<u8>,
    /// What was heard at once, the last time.
    last: Vec<u8>,
    said: VecDeque<u8>,
}

impl Script {
    /// A connection, or why there is none.
    pub(crate) fn connect(self: &Arc<Self>, address: &str) -> Result<Talk, Failure> {
        let address = plain(address);
        let asked = format!("a connection to {address}");
        self.talk(self.pick(TCP, &self.tcp, &asked, |answer| plain(&answer.address) == address)?)
    }

    /// Datagrams to and from a peer.
    pub(crate) fn exchange(self: &Arc<Self>, address: &str) -> Result<Talk, Failure> {
        let address = plain(address);
        let asked = format!("datagrams to {address}");
        self.talk(self.pick(UDP, &self.udp, &asked, |answer| plain(&answer.address) == address)?)
    }

    fn talk(self: &Arc<Self>, answer: &Answer) -> Result<Talk, Failure> {
        if let Some(told) = &answer.failure {
            return Err(told.failure());
        }
        Ok(Talk {
            script: self.clone(),
            answer: answer.clone(),
            left: answer.dialogue.iter().cloned().collect(),
            heard: Vec::new(),
            last: Vec::new(),
            said: VecDeque::new(),
        })
    }
}

/// Without a scheme and in small letters.
fn plain(address: &str) -> String {
    let bare = address.split_once("://").map_or(address, |(_, bare)| bare);
    bare.trim_end_matches('/').to_ascii_lowercase()
}

impl Talk {
    /// What the plugin says.
    pub(crate) fn hear(&mut self, bytes: &[u8]) {
        self.heard.extend_from_slice(bytes);
        bytes.clone_into(&mut self.last);
        while let Some(Step::Expect(wanted)) = self.left.front() {
            let Some(at) = find(&self.heard, wanted) else { break };
            self.heard.drain(..at + wanted.len());
            self.left.pop_front();
            // What is said next waits to be asked for, so that one thing comes after the other.
            if !matches!(self.left.front(), Some(Step::Expect(_))) {
                break;
            }
        }
    }

    /// The peer's next turn; none: it has closed its side.
    pub(crate) fn next(&self) -> Option<&Step> {
        self.left.front()
    }

    /// What the peer says next: nothing when it has closed its side.
    pub(crate) fn say(&mut self) -> Result<Vec<u8>, Failure> {
        match self.left.front() {
            None => Ok(Vec::new()),
            Some(Step::Send(..)) => match self.left.pop_front() {
                Some(Step::Send(bytes, echoes)) => Ok(self.echoed(bytes, &echoes)),
                _ => Ok(Vec::new()),
            },
            Some(Step::Fail(told)) => {
                let failure = told.failure();
                self.left.pop_front();
                Err(failure)
            }
            Some(Step::Silence) => {
                let message = format!("{} says nothing more", self.answer.address);
                Err(Failure::new(code::TIMEOUT, phase::FIRST_BYTE, message))
            }
            Some(Step::Expect(wanted)) => Err(self.stuck(&format!("waits for `{}`", shown(wanted)))),
            Some(Step::StartTls(_)) => Err(self.stuck("waits for TLS")),
        }
    }

    /// What is said, with what it repeats. What was not heard is left as it stands.
    fn echoed(&self, mut bytes: Vec<u8>, echoes: &[Echo]) -> Vec<u8> {
        for Echo { from, at, bytes: count } in echoes {
            let heard = self.last.get(*from..from.saturating_add(*count));
            if let (Some(heard), Some(place)) = (heard, bytes.get_mut(*at..at.saturating_add(*count))) {
                place.copy_from_slice(heard);
            }
        }
        bytes
    }

    /// The next datagram; a peer that has none says nothing.
    pub(crate) fn datagram(&mut self, most: usize) -> Result<Datagram, Failure> {
        if self.left.is_empty() {
            self.left.push_back(Step::Silence);
        }
        let mut bytes = self.say()?;
        bytes.truncate(most);
        let after = self.answer.times.get(phase::FIRST_BYTE).unwrap_or_default();
        let clock = self.script.clock.unwrap_or_default();
        Ok(Datagram { bytes, after, at_ns: (clock + after).0 })
    }

    /// From clear to TLS.
    pub(crate) fn start_tls(&mut self) -> Result<(), Failure> {
        match self.left.front() {
            Some(Step::StartTls(result)) => {
                let result = result.clone().map_err(|told| told.failure());
                self.left.pop_front();
                result
            }
            _ => Err(self.stuck("does not expect TLS here")),
        }
    }

    /// The case has no answer to what the plugin does.
    fn stuck(&self, why: &str) -> Failure {
        let heard = match shown(&self.heard) {
            heard if heard.is_empty() => "has heard nothing".to_owned(),
            heard => format!("has heard `{heard}`"),
        };
        self.script.unanswerable(&format!("more of {}, whose dialogue {why} and {heard}", self.answer.address))
    }

    fn said(&mut self) -> io::Result<bool> {
        if self.said.is_empty() {
            let bytes = self.say().map_err(|failure| io::Error::new(kind(failure.code), failure.message))?;
            self.said.extend(bytes);
        }
        Ok(!self.said.is_empty())
    }
}

impl AsyncRead for Talk {
    fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let talk = self.get_mut();
        if talk.said()? {
            let count = talk.said.len().min(buf.remaining());
            let bytes: Vec<u8> = talk.said.drain(..count).collect();
            buf.put_slice(&bytes);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Talk {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.get_mut().hear(buf);
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// From which a socket's error gets the code again.
fn kind(code: &str) -> io::ErrorKind {
    match code {
        code::REFUSED => io::ErrorKind::ConnectionRefused,
        code::RESET => io::ErrorKind::ConnectionReset,
        code::CLOSED => io::ErrorKind::UnexpectedEof,
        code::TIMEOUT => io::ErrorKind::TimedOut,
        code::UNREACHABLE => io::ErrorKind::HostUnreachable,
        _ => io::ErrorKind::InvalidData,
    }
}

fn find(heard: &[u8], wanted: &[u8]) -> Option<usize> {
    if wanted.is_empty() {
        return Some(0);
    }
    heard.windows(wanted.len()).position(|window| window == wanted)
}

fn shown(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).escape_debug().take(MAX_SHOWN).collect()
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn talk(dialogue: Vec<Step>) -> Talk {
        let answer = Answer {
            address: "mx:25".into(),
            failure: None,
            dialogue,
            times: Times::default(),
            certificates: Vec::new(),
            facts: Vec::new(),
        };
        Arc::new(Script { tcp: vec![answer], ..Script::default() }).connect("tcp://MX:25").unwrap()
    }

    #[test]
    fn a_dialogue_takes_turns() {
        let send = |text: &str| Step::Send(text.into(), Vec::new());
        let steps = vec![send("220 mx\r\n"), Step::Expect(b"EHLO".into()), send("250 ok\r\n"), Step::StartTls(Ok(()))];
        let mut talk = talk(steps);
        assert_eq!(talk.say().unwrap(), b"220 mx\r\n");
        assert!(talk.say().unwrap_err().message.contains("waits for `EHLO` and has heard nothing"));
        talk.hear(b"HELO x\r\n");
        assert!(talk.say().unwrap_err().message.contains("has heard `HELO x\\r\\n`"));
        talk.hear(b"EHLO x\r\n");
        assert_eq!(talk.say().unwrap(), b"250 ok\r\n");
        assert!(talk.say().unwrap_err().message.contains("waits for TLS"));
        talk.start_tls().unwrap();
        assert_eq!(talk.say().unwrap(), b"", "closed at the end");
        assert_eq!(talk.script.unanswered().len(), 3);
    }

    #[test]
    fn what_was_heard_is_sent_back() {
        let echo = Echo { from: 2, at: 0, bytes: 3 };
        let beyond = Echo { from: 4, at: 0, bytes: 9 };
        let mut talk = talk(vec![Step::Expect(b"id".into()), Step::Send(b"...!".into(), vec![echo, beyond])]);
        talk.hear(b"id123");
        assert_eq!(talk.say().unwrap(), b"123!");
    }

    #[test]
    fn silence_and_failures_come_at_once() {
        let told = Told::new("reset", "transfer", None).unwrap();
        let mut talk = talk(vec![Step::Fail(told), Step::Silence]);
        assert_eq!(talk.say().unwrap_err().code, "reset");
        assert_eq!(talk.say().unwrap_err().code, "timeout");
        assert!(talk.script.unanswered().is_empty());
    }
}
