//! Why a call to the world did not succeed, in the words of the contract (`wit/deps/roundsman-net/types.wit`).

use std::error::Error;
use std::fmt::Write;
use std::io;

/// The words for `Failure::code`.
pub mod code {
    pub const TIMEOUT: &str = "timeout";
    pub const REFUSED: &str = "refused";
    pub const RESET: &str = "reset";
    pub const UNREACHABLE: &str = "unreachable";
    pub const RESOLVE: &str = "resolve";
    pub const TLS: &str = "tls";
    pub const CERTIFICATE: &str = "certificate";
    pub const PROTOCOL: &str = "protocol";
    pub const CLOSED: &str = "closed";
    pub const DENIED: &str = "denied";
    pub const INVALID: &str = "invalid";
    pub const LIMIT: &str = "limit";
    pub const UNSUPPORTED: &str = "unsupported";
    pub const HUNG: &str = "hung";
    pub const NOT_FOUND: &str = "not-found";
    pub const IO: &str = "io";
    pub const SECRET: &str = "secret";

    /// All of them, in the order in which counters are kept.
    pub const ALL: [&str; 17] = [
        TIMEOUT,
        REFUSED,
        RESET,
        UNREACHABLE,
        RESOLVE,
        TLS,
        CERTIFICATE,
        PROTOCOL,
        CLOSED,
        DENIED,
        INVALID,
        LIMIT,
        UNSUPPORTED,
        HUNG,
        NOT_FOUND,
        IO,
        SECRET,
    ];
}

/// The words for `Failure::phase`.
pub mod phase {
    pub const POLICY: &str = "policy";
    pub const RESOLVE: &str = "resolve";
    pub const CONNECT: &str = "connect";
    pub const TLS: &str = "tls";
    pub const FIRST_BYTE: &str = "first-byte";
    pub const TRANSFER: &str = "transfer";
    /// Questions to the node's kernel have this one phase.
    pub const SYSTEM: &str = "system";
    /// Running a program, too.
    pub const COMMAND: &str = "command";
}

/// A call that did not succeed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// One of `code`.
    pub code: &'static str,
    /// One of `phase`: what was being done.
    pub phase: &'static str,
    /// One sentence for a person: the reason and, where there is one, the way out.
    pub message: String,
}

impl Failure {
    /// A failure with its words and its sentence.
    pub fn new(code: &'static str, phase: &'static str, message: impl Into<String>) -> Self {
        Self { code, phase, message: message.into() }
    }

    /// What was asked makes no sense, whatever the target does.
    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::new(code::INVALID, phase::POLICY, message)
    }

    /// The one who asks wants more than a limit of this crate allows.
    pub(crate) fn limit(message: impl Into<String>) -> Self {
        Self::new(code::LIMIT, phase::POLICY, message)
    }

    /// From an error of a socket in a phase.
    pub(crate) fn socket(error: &io::Error, phase: &'static str, doing: impl std::fmt::Display) -> Self {
        Self::new(socket_code(error), phase, format!("{doing}: {}", chain(error)))
    }
}

/// The word for an error of a socket, by whose doing it is: an exhausted host is a `limit`.
pub(crate) fn socket_code(error: &io::Error) -> &'static str {
    use io::ErrorKind as Kind;
    if error.get_ref().is_some_and(|inner| inner.is::<rustls::Error>()) {
        return code::TLS;
    }
    match error.kind() {
        Kind::ConnectionRefused => code::REFUSED,
        Kind::ConnectionReset | Kind::ConnectionAborted | Kind::BrokenPipe => code::RESET,
        Kind::UnexpectedEof | Kind::NotConnected => code::CLOSED,
        Kind::TimedOut => code::TIMEOUT,
        Kind::InvalidData | Kind::InvalidInput | Kind::Other => code::PROTOCOL,
        // No port, no memory, no file descriptor left here: the target has no part in it.
        Kind::AddrInUse | Kind::AddrNotAvailable | Kind::OutOfMemory => code::LIMIT,
        _ if matches!(error.raw_os_error(), Some(EMFILE | ENFILE | ENOBUFS)) => code::LIMIT,
        _ => code::UNREACHABLE,
    }
}

const EMFILE: i32 = rustix::io::Errno::MFILE.raw_os_error();
const ENFILE: i32 = rustix::io::Errno::NFILE.raw_os_error();
const ENOBUFS: i32 = rustix::io::Errno::NOBUFS.raw_os_error();

/// An error with all its sources, each said once.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        let more = source.to_string();
        if !text.contains(&more) {
            write!(text, ": {more}").expect("writing to a string cannot fail");
        }
        next = source.source();
    }
    text
}
