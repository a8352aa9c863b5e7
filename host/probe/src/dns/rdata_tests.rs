//! Data of records against what zone files say.

use super::*;

fn written(kind: &str, hex: &str) -> Result<String, Malformed> {
    let digits: String = hex.split_whitespace().collect();
    let bytes: Vec<u8> =
        (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap()).collect();
    let mut out = String::new();
    let mut reader = Reader::new(&bytes);
    write(&mut out, kind::number(kind).unwrap(), &mut reader, bytes.len())?;
    assert_eq!(reader.left(), 0);
    Ok(out)
}

#[test]
fn texts_of_zone_files() {
    for (kind, hex, expected) in [
        ("A", "c0000207", "192.0.2.7"),
        ("AAAA", "20010db8 00000000 00000000 00000007", "2001:db8::7"),
        ("NS", "026e73 03 636f6d 00", "ns.com."),
        ("MX", "000a 02 6d78 00", "10 mx."),
        ("MX", "0000 00", "0 ."),
        ("SOA", "0161 00 0162 00 00000001 00000e10 00000258 00015180 0000012c", "a. b. 1 3600 600 86400 300"),
        ("TXT", "03 612262 00 04 5c7f ff20", r#""a\"b" "" "\\\127\255 ""#),
        ("SPF", "01 76", "\"v\""),
        ("HINFO", "0141 0142", "\"A\" \"B\""),
        ("SRV", "0001 0002 0035 016e 00", "1 2 53 n."),
        ("NAPTR", "0064 000a 0175 03 453255 00 00", "100 10 \"u\" \"E2U\" \"\" ."),
        ("CAA", "80 05 6973737565 6c652e6f7267", "128 issue \"le.org\""),
        ("URI", "000a 0001 682f", "10 1 \"h/\""),
        ("DS", "ec45 05 01 2bb183af", "60485 5 1 2BB183AF"),
        ("DNSKEY", "0101 03 0d 0001 02", "257 3 13 AAEC"),
        ("SSHFP", "04 02 00ff", "4 2 00FF"),
        ("TLSA", "03 01 01 abcd", "3 1 1 ABCD"),
        ("NSEC", "0161 00 0006 4001 0000 0003", "a. A MX RRSIG NSEC"),
        ("NSEC", "00 0001 40 0101 40", ". A CAA"),
        ("NSEC3PARAM", "01 00 000c 04 aabbccdd", "1 0 12 AABBCCDD"),
        ("NSEC3PARAM", "01 00 0000 00", "1 0 0 -"),
        ("NSEC3", "01 01 000c 00 05 0000000001 0001 40", "1 1 12 - 00000001 A"),
        ("NSEC3", "01 01 000c 00 01 ff", "1 1 12 - VS"),
        ("CSYNC", "00000042 0003 0001 40", "66 3 A"),
        ("OPENPGPKEY", "ffff", "//8="),
        (
            "RRSIG",
            "0001 0d 02 00000e10 65920080 00000000 b3cc 0161 00 ff",
            "A 13 2 3600 20240101000000 19700101000000 46028 a. /w==",
        ),
        (
            "HTTPS",
            "0001 00 0001 0006 02 6832 02 6833 0003 0002 01bb 0004 0004 c0000207",
            "1 . alpn=h2,h3 port=443 ipv4hint=192.0.2.7",
        ),
        ("HTTPS", "0000 0161 00", "0 a."),
        (
            "SVCB",
            "0001 00 0000 0002 0001 0002 0000 0005 0001 ff 0006 0010 20010db8000000000000000000000001",
            "1 . mandatory=alpn no-default-alpn ech=/w== ipv6hint=2001:db8::1",
        ),
        ("SVCB", "0001 00 0001 0006 05 612c5c2262 ff00 0002 0122", r#"1 . alpn=a\\,\\\\\"b key65280="\001\"""#),
        ("TYPE65280", "0102ff", r"\# 3 0102FF"),
        ("TYPE65280", "", r"\# 0"),
        ("NULL", "00", r"\# 1 00"),
        ("LOC", "00", r"\# 1 00"),
    ] {
        assert_eq!(written(kind, hex).as_deref(), Ok(expected), "{kind} {hex}");
    }
}

#[test]
fn data_that_makes_no_sense() {
    for (kind, hex) in [
        ("A", ""),
        ("A", "c00002"),
        ("A", "c000020700"),
        ("AAAA", "c0000207"),
        ("NS", "0161"),
        ("NS", "c000"),
        ("TXT", ""),
        ("TXT", "02 61"),
        ("MX", "000a"),
        ("NSEC", "00 0000"),
        ("NSEC", "00 0021 00"),
        ("NSEC", "00 0101 40 0001 40"),
        ("NSEC", "00 0001 40 0001 40"),
        ("HTTPS", "0001 00 0003 0003 01bb00"),
        ("HTTPS", "0001 00 0003 ffff 01bb"),
        ("HTTPS", "0001 00 0001 0002 05 61"),
    ] {
        assert!(written(kind, hex).is_err(), "{kind} {hex}: {:?}", written(kind, hex));
    }
}

#[test]
fn times_by_the_calendar() {
    // Days counted one by one, as slowly as a calendar does.
    let (mut year, mut month, mut day) = (1970, 1, 1);
    for days in 0..=u32::MAX / 86_400 {
        let mut out = String::new();
        time(&mut out, days * 86_400 + 3_723);
        assert_eq!(out, format!("{year:04}{month:02}{day:02}010203"));
        let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
        let last = [31, if leap { 29 } else { 28 }, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31][month - 1];
        day += 1;
        if day > last {
            (month, day) = (month + 1, 1);
        }
        if month > 12 {
            (year, month) = (year + 1, 1);
        }
    }
}
