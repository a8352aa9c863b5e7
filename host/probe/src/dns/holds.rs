//! What holds for any bytes that come as an answer of a name server, and for any name that is asked for.

use hickory_proto::op::Message;

use super::message::{Cut, Question, Reading};
use super::wire::{Reader, parse_name, text};
use super::{Answer, MAX_RECORDS, MAX_TEXT, rdata};

/// Bytes as they come are read, or refused, within the limits; what the library reads as well, it reads alike.
pub fn any_message(bytes: &[u8]) -> bool {
    let question = asked(bytes);
    let id = u16::from_be_bytes([byte(bytes, 0), byte(bytes, 1)]);
    let mut taken = false;
    for cut in [Cut::Again, Cut::Keep] {
        match question.read(id, bytes, cut) {
            Reading::Answer(answer) => {
                examine(&answer, bytes);
                taken = true;
            }
            Reading::Malformed(why) => assert!(is_clean(&why), "{why:?}"),
            Reading::Truncated | Reading::Stranger => {}
        }
    }
    taken
}

/// Data of a record, of the type that the first two bytes say.
pub fn any_data(bytes: &[u8]) -> bool {
    let Some((kind, data)) = bytes.split_first_chunk() else { return false };
    let (mut written, mut reader) = (String::new(), Reader::new(data));
    let read = rdata::write(&mut written, u16::from_be_bytes(*kind), &mut reader, data.len()).is_ok();
    assert!(!read || is_clean(&written), "{written:?}");
    assert!(!read || reader.left() == 0, "{written:?}");
    read
}

/// A name that can be read is the same name when it is written.
pub fn any_name(name: &str) -> bool {
    let Ok(name) = parse_name(name) else { return false };
    let written = text(&name);
    assert!(is_clean(&written), "{written:?}");
    assert_eq!(parse_name(&written), Ok(name));
    true
}

/// The question of which the bytes are an answer, as they say themselves.
fn asked(bytes: &[u8]) -> Question {
    let mut reader = Reader::new(bytes);
    let mut read = || {
        reader.skip(12)?;
        Ok::<_, super::wire::Malformed>((reader.raw_name()?, reader.u16()?))
    };
    let (name, kind) = read().unwrap_or_default();
    Question { name, kind, recursion: true, dnssec: false, checking_disabled: false }
}

fn examine(answer: &Answer, bytes: &[u8]) {
    let sections = [&answer.answer, &answer.authority, &answer.additional];
    let records = sections.iter().map(|section| section.len()).sum::<usize>();
    let length: usize = sections.into_iter().flatten().map(|entry| entry.name.len() + entry.text.len()).sum();
    assert!(records <= MAX_RECORDS && length <= MAX_TEXT);
    for entry in sections.into_iter().flatten() {
        assert!(is_clean(&entry.name) && is_clean(&entry.text) && is_clean(&entry.kind), "{entry:?}");
        assert!(any_name(&entry.name), "{entry:?}");
    }
    assert!(answer.extended_error.as_ref().is_none_or(|words| !words.contains(char::is_control)));
    // It does not keep the records of EDNS and of signatures where they stand, so the sections before them are compared.
    let Ok(theirs) = Message::from_vec(bytes) else { return };
    let names = theirs.answers.iter().map(|record| text(&record.name));
    let own = answer.answer.iter().map(|entry| entry.name.clone());
    assert!(theirs.metadata.truncation || names.eq(own), "{answer:?} is {theirs:?} for the library");
}

/// Printable ASCII, on one line.
fn is_clean(text: &str) -> bool {
    text.bytes().all(|b| (b' '..=b'~').contains(&b))
}

fn byte(bytes: &[u8], at: usize) -> u8 {
    bytes.get(at).copied().unwrap_or_default()
}
