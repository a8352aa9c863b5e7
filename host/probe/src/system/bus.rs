//! As much of D-Bus as one question to one service needs: connect, say who asks, call, read the answer.
//!
//! A library for all of D-Bus would bring along some two dozen crates and a task for each connection. Asked is seldom, so
//! each question has a connection of its own, and nothing is left open between them.

use std::io;
use std::path::PathBuf;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};

use super::{failed, printable};
use crate::failure::{Failure, chain, code};

/// Questions at the same time; each takes systemd some milliseconds, and it answers one after the other.
const MAX_AT_ONCE: usize = 4;
/// Bytes of one message: a node with four thousand units has about one MiB.
const MAX_MESSAGE: usize = 4 << 20;
/// Messages that may come before the answer: greetings and signals.
const MAX_MESSAGES: usize = 64;
/// A line of the dialogue by which a connection begins.
const MAX_LINE: usize = 1024;
/// Where an answer's text is quoted.
const MAX_QUOTED: usize = 256;

const METHOD_CALL: u8 = 1;
const METHOD_RETURN: u8 = 2;
const ERROR: u8 = 3;
/// Flag of a call: a service that is not there is not to be started for it.
const NO_AUTO_START: u8 = 2;

/// The header fields of a message.
mod field {
    pub(super) const PATH: u8 = 1;
    pub(super) const INTERFACE: u8 = 2;
    pub(super) const MEMBER: u8 = 3;
    pub(super) const ERROR_NAME: u8 = 4;
    pub(super) const REPLY_SERIAL: u8 = 5;
    pub(super) const DESTINATION: u8 = 6;
    pub(super) const SIGNATURE: u8 = 8;
}

/// The system bus, by its socket.
#[derive(Debug)]
pub(super) struct Bus {
    path: PathBuf,
    turns: Semaphore,
}

/// A method that takes a list of strings.
#[derive(Debug, Clone, Copy)]
pub(super) struct Call<'a> {
    pub(super) destination: &'a str,
    pub(super) path: &'a str,
    pub(super) interface: &'a str,
    pub(super) member: &'a str,
    pub(super) argument: Option<&'a [String]>,
}

const HELLO: Call<'static> = Call {
    destination: "org.freedesktop.DBus",
    path: "/org/freedesktop/DBus",
    interface: "org.freedesktop.DBus",
    member: "Hello",
    argument: None,
};

impl Bus {
    pub(super) fn new(path: PathBuf) -> Bus {
        Bus { path, turns: Semaphore::new(MAX_AT_ONCE) }
    }

    /// The body of the answer, which must have this signature.
    pub(super) async fn call(&self, call: Call<'_>, signature: &str, deadline: Instant) -> Result<Body, Failure> {
        let conversation = async {
            let _turn = self.turns.acquire().await;
            let mut stream = UnixStream::connect(&self.path).await.map_err(|error| self.unreachable(&error))?;
            introduce(&mut stream).await?;
            stream.write_all(&[HELLO.message(1), call.message(2)].concat()).await.map_err(|error| broken(&error))?;
            let body = answer(&mut stream, 2).await?;
            if body.signature != signature {
                return Err(strange(&format!(
                    "answers {} with `{}`",
                    call.member,
                    printable(body.signature.as_bytes())
                )));
            }
            Ok(body)
        };
        match timeout_at(deadline, conversation).await {
            Ok(result) => result,
            Err(_) => {
                Err(failed(code::TIMEOUT, format!("{} did not answer {} in time", call.destination, call.member)))
            }
        }
    }

    fn unreachable(&self, error: &io::Error) -> Failure {
        let path = self.path.display();
        match error.kind() {
            io::ErrorKind::PermissionDenied => failed(code::DENIED, format!("the agent may not connect to {path}")),
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused | io::ErrorKind::NotADirectory => failed(
                code::UNSUPPORTED,
                format!(
                    "there is no system bus at {path}: systemd's units need it; into a container it must be mounted"
                ),
            ),
            _ => failed(code::IO, format!("cannot connect to {path}: {}", chain(error))),
        }
    }
}

fn broken(error: &io::Error) -> Failure {
    failed(code::IO, format!("the connection to the system bus broke: {}", chain(error)))
}

fn strange(what: &str) -> Failure {
    failed(code::IO, format!("the system bus {what}, which this version does not understand"))
}

/// The bus takes whoever the kernel says it is.
async fn introduce(stream: &mut UnixStream) -> Result<(), Failure> {
    for (say, expected) in [(&b"\0AUTH EXTERNAL\r\n"[..], "DATA"), (b"DATA\r\n", "OK ")] {
        stream.write_all(say).await.map_err(|error| broken(&error))?;
        let said = line(stream).await?;
        if !said.starts_with(expected) {
            return Err(failed(code::DENIED, format!("the system bus does not take the agent's identity: {said}")));
        }
    }
    stream.write_all(b"BEGIN\r\n").await.map_err(|error| broken(&error))
}

/// Byte by byte, because nothing behind the line may be taken; there are two short ones.
async fn line(stream: &mut UnixStream) -> Result<String, Failure> {
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"\r\n") {
        if bytes.len() == MAX_LINE {
            return Err(strange("begins with a line without an end"));
        }
        bytes.push(stream.read_u8().await.map_err(|error| broken(&error))?);
    }
    Ok(printable(&bytes))
}

/// Reads messages until the one that answers this serial number.
async fn answer(stream: &mut UnixStream, serial: u32) -> Result<Body, Failure> {
    for _ in 0..MAX_MESSAGES {
        let message = message(stream).await?;
        // The greeting may be refused, too; its answer is of no other interest.
        match message.kind {
            METHOD_RETURN if message.answers == Some(serial) => return Ok(message.body),
            ERROR => return Err(refused(&message)),
            _ => {}
        }
    }
    Err(strange("sends other messages instead of an answer"))
}

fn refused(message: &Message) -> Failure {
    let name = message.error.as_deref().unwrap_or_default();
    let word = match name.strip_prefix("org.freedesktop.DBus.Error.") {
        Some("AccessDenied" | "AuthFailed" | "InteractiveAuthorizationRequired") => code::DENIED,
        Some("ServiceUnknown" | "NameHasNoOwner" | "UnknownMethod" | "UnknownInterface" | "UnknownObject") => {
            code::UNSUPPORTED
        }
        Some("NoReply" | "Timeout" | "TimedOut") => code::TIMEOUT,
        Some("LimitsExceeded") => code::LIMIT,
        _ => code::IO,
    };
    let mut why = Reader::new(&message.body);
    let why = if message.body.signature.starts_with('s') { why.string().unwrap_or_default() } else { "" };
    let quoted: String = why.chars().filter(|c| !c.is_control()).take(MAX_QUOTED).collect();
    let name: String = name.chars().filter(|c| !c.is_control()).take(MAX_QUOTED).collect();
    failed(word, format!("systemd did not answer on the system bus: {name}: {quoted}"))
}

/// What a message is taken for.
#[derive(Debug)]
struct Message {
    kind: u8,
    answers: Option<u32>,
    error: Option<String>,
    body: Body,
}

/// What a message carries, not looked at yet.
#[derive(Debug, Default)]
pub(super) struct Body {
    pub(super) signature: String,
    bytes: Vec<u8>,
    big_endian: bool,
}

async fn message(stream: &mut UnixStream) -> Result<Message, Failure> {
    // Order of bytes, kind, flags, version; length of the body, serial number, length of the fields.
    let mut fixed = [0; 16];
    stream.read_exact(&mut fixed).await.map_err(|error| broken(&error))?;
    let big_endian = match fixed[0] {
        b'l' => false,
        b'B' => true,
        _ => return Err(strange("sends something else than messages")),
    };
    let number = |at: usize| {
        let bytes = fixed.get(at..at + 4).and_then(|four| four.try_into().ok()).unwrap_or_default();
        let number = if big_endian { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) };
        usize::try_from(number).unwrap_or(usize::MAX)
    };
    let (body, fields) = (number(4), number(12));
    if body > MAX_MESSAGE || fields > MAX_MESSAGE {
        let message = format!("the answer has {} bytes, more than the {MAX_MESSAGE} that are read", body.max(fields));
        return Err(failed(code::LIMIT, message));
    }
    let mut rest = vec![0; fields.next_multiple_of(8) + body];
    stream.read_exact(&mut rest).await.map_err(|error| broken(&error))?;
    let bytes = rest.split_off(fields.next_multiple_of(8));
    rest.truncate(fields);
    let header = Body { signature: String::new(), bytes: rest, big_endian };
    let mut message =
        Message { kind: fixed[1], answers: None, error: None, body: Body { bytes, big_endian, ..Body::default() } };
    message.take_fields(&header).ok_or_else(|| strange("sends a malformed message"))?;
    Ok(message)
}

impl Message {
    fn take_fields(&mut self, header: &Body) -> Option<()> {
        let mut fields = Reader::new(header);
        while !fields.is_at_end() {
            fields.align(8)?;
            let name = fields.byte()?;
            let value = match fields.signature()? {
                "s" | "o" => Value::Text(fields.string()?),
                "g" => Value::Text(fields.signature()?),
                "u" => Value::Number(fields.u32()?),
                _ => return None,
            };
            match (name, value) {
                (field::REPLY_SERIAL, Value::Number(serial)) => self.answers = Some(serial),
                (field::ERROR_NAME, Value::Text(error)) => self.error = Some(error.to_owned()),
                (field::SIGNATURE, Value::Text(signature)) => self.body.signature = signature.to_owned(),
                _ => {}
            }
        }
        Some(())
    }
}

/// Of a header field.
enum Value<'a> {
    Text(&'a str),
    Number(u32),
}

/// Reads what is in a body, in order. Nothing: it is malformed.
#[derive(Debug)]
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    big_endian: bool,
}

impl<'a> Reader<'a> {
    pub(super) fn new(body: &'a Body) -> Reader<'a> {
        Reader { bytes: &body.bytes, at: 0, big_endian: body.big_endian }
    }

    pub(super) fn is_at_end(&self) -> bool {
        self.at >= self.bytes.len()
    }

    /// A structure begins at a multiple of 8.
    pub(super) fn align(&mut self, to: usize) -> Option<()> {
        let at = self.at.checked_next_multiple_of(to)?;
        self.take(at - self.at).map(drop)
    }

    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let end = self.at.checked_add(count)?;
        let taken = self.bytes.get(self.at..end)?;
        self.at = end;
        Some(taken)
    }

    fn byte(&mut self) -> Option<u8> {
        self.take(1)?.first().copied()
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        self.align(4)?;
        let bytes = self.take(4)?.try_into().ok()?;
        Some(if self.big_endian { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) })
    }

    /// Also the path of an object.
    pub(super) fn string(&mut self) -> Option<&'a str> {
        let length = usize::try_from(self.u32()?).ok()?;
        self.text(length)
    }

    fn signature(&mut self) -> Option<&'a str> {
        let length = usize::from(self.byte()?);
        self.text(length)
    }

    fn text(&mut self, length: usize) -> Option<&'a str> {
        let text = std::str::from_utf8(self.take(length)?).ok()?;
        (self.byte()? == 0).then_some(text)
    }
}

/// Writes a message; the numbers of this side are little-endian.
#[derive(Debug, Default)]
struct Writer(Vec<u8>);

impl Writer {
    fn align(&mut self, to: usize) {
        self.0.resize(self.0.len().next_multiple_of(to), 0);
    }

    fn u32(&mut self, number: usize) {
        self.align(4);
        self.0.extend(u32::try_from(number).unwrap_or(u32::MAX).to_le_bytes());
    }

    fn string(&mut self, text: &str) {
        self.u32(text.len());
        self.0.extend(text.as_bytes());
        self.0.push(0);
    }

    /// Signatures here are of one or two letters.
    fn signature(&mut self, text: &str) {
        self.0.push(u8::try_from(text.len()).unwrap_or(u8::MAX));
        self.0.extend(text.as_bytes());
        self.0.push(0);
    }
}

impl Call<'_> {
    fn message(&self, serial: usize) -> Vec<u8> {
        let mut body = Writer::default();
        if let Some(strings) = self.argument {
            let mut list = Writer::default();
            strings.iter().for_each(|string| list.string(string));
            body.u32(list.0.len());
            // The list begins at 4, where strings may begin.
            body.0.append(&mut list.0);
        }
        let mut fields = Writer::default();
        let texts = [
            (field::PATH, "o", self.path),
            (field::INTERFACE, "s", self.interface),
            (field::MEMBER, "s", self.member),
            (field::DESTINATION, "s", self.destination),
        ];
        for (name, signature, value) in texts {
            fields.align(8);
            fields.0.push(name);
            fields.signature(signature);
            fields.string(value);
        }
        if self.argument.is_some() {
            fields.align(8);
            fields.0.push(field::SIGNATURE);
            fields.signature("g");
            fields.signature("as");
        }
        let mut message = Writer(vec![b'l', METHOD_CALL, NO_AUTO_START, 1]);
        message.u32(body.0.len());
        message.u32(serial);
        message.u32(fields.0.len());
        // The fields begin at 16, where structures may begin.
        message.0.append(&mut fields.0);
        message.align(8);
        message.0.append(&mut body.0);
        message.0
    }
}
