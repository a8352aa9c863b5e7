//! Names of hostile messages: loops, chains and what is no text.

use super::*;

fn name_at(message: &[u8], at: usize) -> Result<String, Malformed> {
    let mut reader = Reader::new(message);
    reader.skip(at)?;
    reader.name()
}

#[test]
fn names_and_where_they_end() {
    let message = b"\x01a\x00\x02bc\xc0\x00\xc0\x03\x05a.\" \xff\x00rest";
    for (at, expected, end) in
        [(0, "a.", 3), (2, ".", 3), (3, "bc.a.", 8), (8, "bc.a.", 10), (10, "a\\.\\\"\\032\\255.", 17)]
    {
        let mut reader = Reader::new(message);
        reader.skip(at).unwrap();
        assert_eq!(reader.name().unwrap(), expected);
        assert_eq!(message.len() - reader.left(), end, "{expected}");
    }
}

#[test]
fn names_that_make_no_sense() {
    for (message, at) in [
        (&b"\xc0\x00"[..], 0),
        (b"\x01a\xc0\x00", 2),
        (b"\xc0\x02\xc0\x00", 2),
        (b"\x01a\xc0\x00", 0),
        (b"\x00\xc0\x02\x00", 1),
        (b"\x00\xc0", 1),
        (b"\x05ab", 0),
        (b"\x40a\x00", 0),
        (b"\x80a\x00", 0),
        (b"", 0),
    ] {
        // The third of them is a pointer to a pointer that leads on: two steps, and no end.
        let found = name_at(message, at);
        assert!(found.is_err(), "{message:?} at {at}: {found:?}");
    }
    let long = [b"\x3f".as_slice(), &[b'a'; 63]].concat().repeat(4);
    assert!(name_at(&[&long, &b"\x00"[..]].concat(), 0).is_err(), "256 bytes and more");
}

#[test]
fn chains_of_pointers_have_an_end() {
    let chain = |pointers: u16| {
        let mut message = b"\x01a\x00".to_vec();
        for index in 0..pointers {
            let to = if index == 0 { 0 } else { 1 + 2 * index };
            message.extend((0xc000 | to).to_be_bytes());
        }
        (name_at(&message, message.len() - 2), message)
    };
    assert_eq!(chain(u16::try_from(MAX_POINTERS).unwrap()).0.unwrap(), "a.");
    assert!(chain(u16::try_from(MAX_POINTERS).unwrap() + 1).0.is_err());
    assert!(chain(8000).0.is_err());
}
