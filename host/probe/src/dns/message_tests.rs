//! Answers: real ones, those of other questions, and what nobody should send. The library writes what we read.

use std::net::Ipv4Addr;
use std::str::FromStr;

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::{A, CNAME, MX, TXT};
use hickory_proto::rr::{Name, RData, Record as Written, RecordType};
use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

const ID: u16 = 4711;

fn question(name: &str, kind: &str) -> Question {
    Question {
        name: super::super::wire::parse_name(name).unwrap(),
        kind: kind::number(kind).unwrap(),
        recursion: true,
        dnssec: false,
        checking_disabled: false,
    }
}

fn reply(name: &str, kind: RecordType) -> Message {
    let mut message = Message::new(ID, MessageType::Response, OpCode::Query);
    message.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
    message
}

fn answer(reading: Reading) -> Answer {
    match reading {
        Reading::Answer(answer) => answer,
        other => panic!("{other:?}"),
    }
}

fn brief(entries: &[Entry]) -> Vec<String> {
    entries.iter().map(|e| format!("{} {} {} {}", e.name, e.ttl_s, e.kind, e.text)).collect()
}

#[test]
fn what_is_asked() {
    let asked =
        Question { dnssec: true, checking_disabled: true, recursion: false, ..question("shop.example", "TYPE65280") };
    let message = Message::from_vec(&asked.encode(ID).unwrap()).unwrap();
    let head = &message.metadata;
    assert_eq!((head.id, head.message_type, head.recursion_desired), (ID, MessageType::Query, false));
    assert!(head.authentic_data && head.checking_disabled);
    assert_eq!(
        message.queries[0].to_string(),
        "shop.example. IN UNKNOWN(65280)".replace("UNKNOWN(65280)", &message.queries[0].query_type().to_string())
    );
    assert_eq!(u16::from(message.queries[0].query_type()), 65280);
    let edns = message.edns.unwrap();
    assert_eq!((edns.max_payload(), edns.flags().dnssec_ok, edns.version()), (1232, true, 0));
    let plain = Message::from_vec(&question(".", "NS").encode(0).unwrap()).unwrap();
    assert!(
        plain.metadata.recursion_desired && !plain.metadata.authentic_data && !plain.edns.unwrap().flags().dnssec_ok
    );
}

#[test]
fn all_sections_flags_and_codes() {
    let mut message = reply("Shop.example.", RecordType::MX);
    let name = Name::from_str("shop.example.").unwrap();
    message.add_answer(Written::from_rdata(
        name.clone(),
        60,
        RData::CNAME(CNAME(Name::from_str("m.shop.example.").unwrap())),
    ));
    message.add_answer(Written::from_rdata(name.clone(), 61, RData::MX(MX::new(10, name.clone()))));
    message.add_authority(Written::from_rdata(name.clone(), 62, RData::NS(hickory_proto::rr::rdata::NS(name.clone()))));
    message.add_additional(Written::from_rdata(name, 63, RData::A(A(Ipv4Addr::LOCALHOST))));
    message.metadata.authoritative = true;
    message.metadata.recursion_available = true;
    message.metadata.authentic_data = true;
    message.metadata.response_code = ResponseCode::BADVERS;
    let mut edns = Edns::new();
    edns.set_rcode_high(1);
    message.set_edns(edns);
    let bytes = message.to_vec().unwrap();
    let read = answer(question("shop.EXAMPLE", "MX").read(ID, &bytes, Cut::Again));
    assert_eq!(brief(&read.answer), ["shop.example. 60 CNAME m.shop.example.", "shop.example. 61 MX 10 shop.example."]);
    assert_eq!(brief(&read.authority), ["shop.example. 62 NS shop.example."]);
    assert_eq!(brief(read.records("additional")), ["shop.example. 63 A 127.0.0.1"]);
    assert!(read.records("nonsense").is_empty());
    assert_eq!((read.rcode.as_str(), read.bytes as usize), ("BADVERS", bytes.len()));
    let set = ["aa", "tc", "rd", "ra", "ad", "cd", "qr", "x"].map(|flag| u8::from(read.flag(flag)));
    assert_eq!(set, [1, 0, 0, 1, 1, 0, 0, 0]);
    assert_eq!(
        read.size(),
        4 * size_of::<Entry>()
            + read
                .answer
                .iter()
                .chain(&read.authority)
                .chain(&read.additional)
                .map(|e| e.name.capacity() + e.kind.capacity() + e.text.capacity())
                .sum::<usize>()
    );
}

/// Written by hand: EDNS with an extended error, and one that is cut off.
#[test]
fn what_went_wrong_in_words() {
    let head = |additionals: u8| {
        let mut bytes = vec![0x12, 0x67, 0x81, 0x82, 0, 1, 0, 0, 0, 0, 0, additionals];
        bytes.extend(b"\x01a\x00\x00\x01\x00\x01");
        bytes
    };
    let edns = |options: &[u8]| {
        let mut bytes = head(1);
        bytes.extend(b"\x00\x00\x29\x04\xd0\x00\x00\x00\x00");
        bytes.extend(u16::try_from(options.len()).unwrap().to_be_bytes());
        bytes.extend(options);
        bytes
    };
    let asked = question("a", "A");
    for (bytes, expected) in [
        (head(0), None),
        (edns(b""), None),
        (edns(b"\x00\x0f\x00\x02\x00\x16"), Some("22")),
        (edns(b"\x00\x03\x00\x00\x00\x0f\x00\x08\x00\x16no\x1b\xffit"), Some("22 no\u{fffd}it")),
    ] {
        let read = answer(asked.read(0x1267, &bytes, Cut::Again));
        assert_eq!((read.rcode.as_str(), read.extended_error.as_deref()), ("SERVFAIL", expected));
        assert!(read.additional.is_empty());
    }
    for options in [&b"\x00\x0f\x00\x01\x00"[..], b"\x00\x0f\x00\x09\x00\x16", b"\x00"] {
        let reading = asked.read(0x1267, &edns(options), Cut::Again);
        assert!(
            matches!(&reading, Reading::Malformed(what) if what.starts_with("record 1 of the section additional")),
            "{reading:?}"
        );
    }
}

#[test]
fn strangers() {
    let good = reply("a.", RecordType::A);
    let bytes = |change: &dyn Fn(&mut Message)| {
        let mut message = good.clone();
        change(&mut message);
        message.to_vec().unwrap()
    };
    let asked = question("a", "A");
    let stranger = |bytes: &[u8]| matches!(asked.read(ID, bytes, Cut::Keep), Reading::Stranger);
    assert!(!stranger(&bytes(&|_| ())));
    for (what, bytes) in [
        ("another id", bytes(&|m| m.metadata.id = ID + 1)),
        ("a question", bytes(&|m| m.metadata.message_type = MessageType::Query)),
        ("another name", bytes(&|m| m.queries[0].name = Name::from_str("b.").unwrap())),
        ("another type", bytes(&|m| m.queries[0].query_type = RecordType::AAAA)),
        ("another class", bytes(&|m| m.queries[0].query_class = hickory_proto::rr::DNSClass::CH)),
        ("two questions", bytes(&|m| m.queries.push(m.queries[0].clone()))),
        ("none, and yet an answer", bytes(&|m| m.queries.clear())),
        (
            "none, and no such name",
            bytes(&|m| {
                m.queries.clear();
                m.metadata.response_code = ResponseCode::NXDomain;
            }),
        ),
        ("another operation", bytes(&|m| m.metadata.op_code = OpCode::Notify)),
        ("half a head", bytes(&|_| ())[..11].to_vec()),
        ("half a question", bytes(&|_| ())[..14].to_vec()),
        ("nothing", Vec::new()),
    ] {
        assert!(stranger(&bytes), "{what}");
    }
    let refused = bytes(&|m| {
        m.queries.clear();
        m.metadata.response_code = ResponseCode::Refused;
    });
    assert_eq!(answer(asked.read(ID, &refused, Cut::Again)).rcode, "REFUSED");
}

#[test]
fn answers_that_were_cut_short() {
    let mut message = reply("a.", RecordType::TXT);
    for _ in 0..2 {
        message.add_answer(Written::from_rdata(
            Name::from_str("a.").unwrap(),
            1,
            RData::TXT(TXT::new(vec!["x".repeat(9)])),
        ));
    }
    message.metadata.truncation = true;
    let bytes = message.to_vec().unwrap();
    let asked = question("a", "TXT");
    assert!(matches!(asked.read(ID, &bytes, Cut::Again), Reading::Truncated));
    let whole = answer(asked.read(ID, &bytes, Cut::Keep));
    assert!(whole.answer.len() == 2 && whole.flag("tc"));
    let half = answer(asked.read(ID, &bytes[..bytes.len() - 3], Cut::Keep));
    assert!(half.answer.len() == 1 && half.flag("tc") && half.rcode == "NOERROR");
    message.metadata.truncation = false;
    let bytes = message.to_vec().unwrap();
    let reading = asked.read(ID, &bytes[..bytes.len() - 3], Cut::Keep);
    assert!(
        matches!(&reading, Reading::Malformed(what) if what == "record 2 of the section answer ends too early"),
        "{reading:?}"
    );
}

/// As many records as fit, each with a name at the end of the longest chain that pointers allow: reading them takes no
/// longer than others, and no more memory than was said.
#[test]
fn floods() {
    let flood = |count: u16, record: &[u8]| {
        let mut bytes = vec![0x12, 0x67, 0x81, 0x80, 0, 1];
        bytes.extend(count.to_be_bytes());
        bytes.extend([0, 0, 0, 0]);
        bytes.extend(b"\x01a\x00\x00\x10\x00\x01");
        for _ in 0..count {
            bytes.extend(record);
        }
        assert!(bytes.len() <= 65_535);
        question("a", "TXT").read(0x1267, &bytes, Cut::Keep)
    };
    let null = b"\xc0\x0c\x00\x0a\x00\x01\x00\x00\x00\x00\x00\x00";
    assert_eq!(answer(flood(4096, null)).answer.len(), MAX_RECORDS);
    let reading = flood(4097, null);
    assert!(matches!(&reading, Reading::Malformed(what) if what.contains("one too many")), "{reading:?}");
    // A map of all 65,536 types: 650 kB of text from 9 kB.
    let mut types = b"\xc0\x0c\x00\x2f\x00\x01\x00\x00\x00\x00".to_vec();
    let map: Vec<u8> = (0..=255).flat_map(|window| [[window, 32].as_slice(), &[0xff; 32]].concat()).collect();
    types.extend(u16::try_from(1 + map.len()).unwrap().to_be_bytes());
    types.push(0);
    types.extend(map);
    let one = answer(flood(1, &types));
    assert!(one.answer[0].text.len() > 600_000);
    let reading = flood(7, &types);
    assert!(matches!(&reading, Reading::Malformed(what) if what.contains("longer than 1 MiB")), "{reading:?}");
}

proptest! {
    /// Nothing that comes over the wire does more than fail.
    #[test]
    fn any_bytes_are_read(bytes in vec(any::<u8>(), 0..600), cut in any::<bool>()) {
        let cut = if cut { Cut::Keep } else { Cut::Again };
        drop(question("a", "A").read(ID, &bytes, cut));
        // And behind a head and a question that are as they should be.
        let mut whole = vec![0x12, 0x67, 0x81, 0x80, 0, 1, 0, 9, 0, 9, 0, 9];
        whole.extend(b"\x01a\x00\x00\x01\x00\x01");
        whole.extend(bytes);
        match question("a", "A").read(0x1267, &whole, cut) {
            Reading::Answer(answer) => prop_assert!(answer.answer.iter().all(|e| clean(&e.text) && clean(&e.name))),
            Reading::Malformed(_) => {}
            other => prop_assert!(false, "{:?}", other),
        }
    }

    /// Records whose data is anything at all, of every type that we write in a way of its own.
    #[test]
    fn any_data_is_read(kind in 0_u16..300, data in vec(any::<u8>(), 0..300)) {
        let mut out = String::new();
        let mut reader = Reader::new(&data);
        if rdata::write(&mut out, kind, &mut reader, data.len()).is_ok() {
            prop_assert!(clean(&out), "{:?}", out);
            prop_assert_eq!(reader.left(), 0);
        }
    }

    /// What the library writes and reads, we read alike.
    #[test]
    fn as_the_library_reads_it(names in vec(vec(vec(any::<u8>(), 1..20), 1..5), 1..12)) {
        let mut message = reply("a.", RecordType::CNAME);
        for labels in &names {
            let mut name = Name::from_labels(labels.iter().map(Vec::as_slice)).unwrap();
            name.set_fqdn(true);
            message.add_answer(Written::from_rdata(name.clone(), 7, RData::CNAME(CNAME(name))));
        }
        let bytes = message.to_vec().unwrap();
        let read = answer(question("a", "CNAME").read(ID, &bytes, Cut::Again));
        prop_assert_eq!(read.answer.len(), names.len());
        for (entry, labels) in read.answer.iter().zip(&names) {
            prop_assert_eq!(&entry.name, &entry.text);
            // Read again as somebody would write it, it is the same name.
            let again = super::super::wire::parse_name(&entry.name).unwrap();
            let again: Vec<Vec<u8>> = again.iter().map(<[u8]>::to_vec).collect();
            prop_assert_eq!(&again, labels);
        }
    }
}

/// Printable ASCII, on one line.
fn clean(text: &str) -> bool {
    text.bytes().all(|b| (b' '..=b'~').contains(&b))
}
