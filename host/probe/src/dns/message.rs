//! One question as bytes, and what bytes that came back say to it.

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query};
use hickory_proto::rr::{Name, RecordType};

use super::wire::{Malformed, Reader, text};
use super::{Answer, Entry, MAX_RECORDS, MAX_TEXT, kind, rdata};

/// What is asked to be sent in one datagram: the size that passes everywhere without being cut (DNS flag day 2020).
const DATAGRAM: u16 = 1232;
const IN: u16 = 1;
const OPT: u16 = 41;
/// The option of EDNS in which a server says what went wrong (RFC 8914).
const EXTENDED_ERROR: u16 = 15;
/// What is kept of the words with it.
const MAX_EXTENDED_ERROR: usize = 256;

const QR: u16 = 0x8000;
const OPCODE: u16 = 0x7800;
const TC: u16 = 0x0200;

/// A question that can be asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Question {
    pub(super) name: Name,
    pub(super) kind: u16,
    pub(super) recursion: bool,
    pub(super) dnssec: bool,
    pub(super) checking_disabled: bool,
}

/// What some bytes are, with regard to a question.
#[derive(Debug)]
pub(super) enum Reading {
    Answer(Answer),
    /// The answer to this question, of which the rest is to be had by TCP.
    Truncated,
    /// Not the answer to this question: of another one, or of nobody.
    Stranger,
    /// The answer, but nobody can read it; what of it, and why.
    Malformed(String),
}

/// How much of an answer that was cut short is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cut {
    /// Nothing: it is asked for again.
    Again,
    /// What is there.
    Keep,
}

impl Question {
    /// As it goes over the wire.
    pub(super) fn encode(&self, id: u16) -> Result<Vec<u8>, String> {
        let mut message = Message::new(id, MessageType::Query, OpCode::Query);
        message.metadata.recursion_desired = self.recursion;
        message.metadata.authentic_data = self.dnssec;
        message.metadata.checking_disabled = self.checking_disabled;
        message.add_query(Query::query(self.name.clone(), RecordType::from(self.kind)));
        let mut edns = Edns::new();
        edns.set_max_payload(DATAGRAM).set_version(0).set_dnssec_ok(self.dnssec);
        message.set_edns(edns);
        message.to_vec().map_err(|error| error.to_string())
    }

    /// Reads what came back.
    pub(super) fn read(&self, id: u16, bytes: &[u8], cut: Cut) -> Reading {
        let mut reader = Reader::new(bytes);
        let Ok(head) = Head::read(&mut reader) else { return Reading::Stranger };
        if head.id != id || head.flags & (QR | OPCODE) != QR || !self.is_asked(&head, &mut reader) {
            return Reading::Stranger;
        }
        let truncated = head.flags & TC != 0;
        if truncated && cut == Cut::Again {
            return Reading::Truncated;
        }
        match read_sections(&head, &mut reader, bytes.len()) {
            // Whoever cuts an answer short may cut a record in two.
            (answer, None) => Reading::Answer(answer),
            (answer, Some(_)) if truncated => Reading::Answer(answer),
            (_, Some(broken)) => Reading::Malformed(broken),
        }
    }

    /// Whether the questions of an answer are this one. Some servers repeat none when they refuse.
    fn is_asked(&self, head: &Head, reader: &mut Reader<'_>) -> bool {
        let mut asked = || Ok::<_, Malformed>((reader.raw_name()?, reader.u16()?, reader.u16()?));
        match head.counts[0] {
            0 => head.flags & 0xf != 0 && head.flags & 0xf != 3,
            1 => asked().is_ok_and(|(name, kind, class)| name == self.name && kind == self.kind && class == IN),
            _ => false,
        }
    }
}

/// The first twelve bytes.
struct Head {
    id: u16,
    flags: u16,
    /// Questions, answers, authorities, additionals.
    counts: [u16; 4],
}

impl Head {
    fn read(reader: &mut Reader<'_>) -> Result<Head, Malformed> {
        let (id, flags) = (reader.u16()?, reader.u16()?);
        Ok(Head { id, flags, counts: [reader.u16()?, reader.u16()?, reader.u16()?, reader.u16()?] })
    }
}

/// All records; or those up to one that cannot be read, and what is wrong with it.
fn read_sections(head: &Head, reader: &mut Reader<'_>, length: usize) -> (Answer, Option<String>) {
    let mut answer = Answer {
        rcode: String::new(),
        flags: head.flags,
        answer: Vec::new(),
        authority: Vec::new(),
        additional: Vec::new(),
        bytes: u32::try_from(length).unwrap_or(u32::MAX),
        extended_error: None,
    };
    let mut high = 0;
    let mut left = Left { records: MAX_RECORDS, text: MAX_TEXT };
    let mut broken = None;
    let [_, counts @ ..] = head.counts;
    let of_sections = ["answer", "authority", "additional"].into_iter().zip(counts);
    for (section, number) in of_sections.flat_map(|(section, count)| (1..=count).map(move |number| (section, number))) {
        match read_record(reader, &mut left) {
            Ok(Record::Entry(entry)) => match section {
                "answer" => answer.answer.push(entry),
                "authority" => answer.authority.push(entry),
                _ => answer.additional.push(entry),
            },
            Ok(Record::Edns { rcode, error }) => (high, answer.extended_error) = (rcode, error),
            Err(Malformed(why)) => {
                broken = Some(format!("record {number} of the section {section} {why}"));
                break;
            }
        }
    }
    answer.rcode = kind::rcode(u16::from(high) << 4 | head.flags & 0xf);
    (answer, broken)
}

/// What an answer may still grow by.
struct Left {
    records: usize,
    text: usize,
}

enum Record {
    Entry(Entry),
    Edns { rcode: u8, error: Option<String> },
}

fn read_record(reader: &mut Reader<'_>, left: &mut Left) -> Result<Record, Malformed> {
    left.records = left.records.checked_sub(1).ok_or(Malformed("is one too many: at most 4096 are read"))?;
    let owner = reader.raw_name()?;
    let (kind, _class, ttl, length) = (reader.u16()?, reader.u16()?, reader.u32()?, reader.u16()?);
    let length = usize::from(length);
    if kind == OPT && owner.is_root() {
        let mut options = reader.within(length)?;
        reader.skip(length)?;
        let [rcode, ..] = ttl.to_be_bytes();
        return Ok(Record::Edns { rcode, error: extended_error(&mut options)? });
    }
    let mut written = String::new();
    rdata::write(&mut written, kind, reader, length)?;
    let name = text(&owner);
    const LONG: Malformed = Malformed("makes the answer longer than 1 MiB when it is written out");
    left.text = left.text.checked_sub(name.len() + written.len()).ok_or(LONG)?;
    Ok(Record::Entry(Entry { name, kind: kind::word(kind), ttl_s: ttl, text: written }))
}

/// `22` or `22 no server could be reached`.
fn extended_error(options: &mut Reader<'_>) -> Result<Option<String>, Malformed> {
    let mut found = None;
    while options.left() > 0 {
        let (code, length) = (options.u16()?, options.u16()?);
        let mut value = options.within(usize::from(length))?;
        options.skip(usize::from(length))?;
        if code == EXTENDED_ERROR && found.is_none() {
            let number = value.u16()?;
            let words = String::from_utf8_lossy(value.rest()).into_owned();
            let words: String = words.chars().filter(|c| !c.is_control()).take(MAX_EXTENDED_ERROR).collect();
            found = Some(format!("{number} {words}").trim_end().to_owned());
        }
    }
    Ok(found)
}

#[cfg(test)]
#[path = "message_tests.rs"]
mod tests;
