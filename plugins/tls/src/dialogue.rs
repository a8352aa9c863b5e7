//! How protocols agree on TLS in the clear.

use roundsman_sdk::tcp::{Connection, Failure};
use schemars::JsonSchema;
use serde::Deserialize;

/// The longest line of an answer (RFC 5321 asks for 512), and how many lines one answer may have.
const MAX_LINE: u32 = 2_048;
const MAX_LINES: usize = 64;

/// Protocols that begin in the clear.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum StartTls {
    /// RFC 3207.
    Smtp,
    /// The same for RFC 2033.
    Lmtp,
    /// RFC 9051.
    Imap,
    /// RFC 2595.
    Pop3,
    /// RFC 4217.
    Ftp,
    /// The SSLRequest of PostgreSQL's protocol.
    Postgres,
}

impl StartTls {
    /// Where the protocol is spoken unless something else is said.
    pub(crate) fn port(self) -> u16 {
        match self {
            Self::Smtp => 25,
            Self::Lmtp => 24,
            Self::Imap => 143,
            Self::Pop3 => 110,
            Self::Ftp => 21,
            Self::Postgres => 5432,
        }
    }

    /// Says what the protocol says, until both sides go on with TLS.
    pub(crate) fn agree(self, connection: &Connection) -> Result<(), Failure> {
        match self {
            Self::Smtp | Self::Lmtp => {
                digits(connection, '2')?;
                let hello = if self == Self::Smtp { "EHLO roundsman\r\n" } else { "LHLO roundsman\r\n" };
                say(connection, hello, |c| digits(c, '2'))?;
                say(connection, "STARTTLS\r\n", |c| digits(c, '2'))
            }
            Self::Ftp => {
                digits(connection, '2')?;
                say(connection, "AUTH TLS\r\n", |c| digits(c, '2'))
            }
            Self::Pop3 => {
                line_that_begins(connection, "+OK")?;
                say(connection, "STLS\r\n", |c| line_that_begins(c, "+OK"))
            }
            Self::Imap => {
                line_that_begins(connection, "* OK")?;
                say(connection, "a1 STARTTLS\r\n", |c| tagged(c, "a1 "))
            }
            Self::Postgres => {
                // Length 8, and the number that stands in the place of a protocol's version.
                connection.send([0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f])?;
                match connection.receive_exactly(1)?.as_slice() {
                    b"S" => Ok(()),
                    b"N" => Err(refused("the server does not offer TLS")),
                    _ => Err(refused("the server answered something else than S or N")),
                }
            }
        }
    }
}

fn say(
    connection: &Connection,
    words: &str,
    answer: impl Fn(&Connection) -> Result<(), Failure>,
) -> Result<(), Failure> {
    connection.send(words)?;
    answer(connection)
}

/// An answer of three digits, of which the first says how it went; `250-` goes on, `250 ` ends.
fn digits(connection: &Connection, well: char) -> Result<(), Failure> {
    for _ in 0..MAX_LINES {
        let line = connection.receive_line(MAX_LINE)?;
        match reads(&line, well) {
            Some(true) => return Ok(()),
            Some(false) => {}
            None => return Err(refused(&line)),
        }
    }
    Err(refused("the answer does not end"))
}

/// Whether a line ends an answer that is well; none for one that is not.
fn reads(line: &str, well: char) -> Option<bool> {
    let code = line.get(..3).filter(|code| code.bytes().all(|b| b.is_ascii_digit()))?;
    code.starts_with(well).then(|| line.as_bytes().get(3) != Some(&b'-'))
}

fn line_that_begins(connection: &Connection, with: &str) -> Result<(), Failure> {
    let line = connection.receive_line(MAX_LINE)?;
    if line.starts_with(with) { Ok(()) } else { Err(refused(&line)) }
}

/// Lines without a tag may come before the answer itself.
fn tagged(connection: &Connection, tag: &str) -> Result<(), Failure> {
    for _ in 0..MAX_LINES {
        let line = connection.receive_line(MAX_LINE)?;
        if let Some(answer) = line.strip_prefix(tag) {
            return if answer.starts_with("OK") { Ok(()) } else { Err(refused(&line)) };
        }
    }
    Err(refused("the answer does not end"))
}

/// The target speaks, and does not go along.
fn refused(line: &str) -> Failure {
    Failure {
        code: "protocol".to_owned(),
        phase: "tls".to_owned(),
        message: format!("STARTTLS was not agreed on: {line}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_of_three_digits() {
        for (line, expected) in [
            ("220 mx ESMTP", Some(true)),
            ("250-PIPELINING", Some(false)),
            ("250", Some(true)),
            ("454 TLS not available", None),
            ("hello", None),
            ("22", None),
            ("2é0", None),
        ] {
            assert_eq!(reads(line, '2'), expected, "{line}");
        }
    }
}
