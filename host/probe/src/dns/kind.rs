//! The words for types of records and for response codes, both ways: IANA's mnemonics, else `TYPE65280` and `RCODE24`.

/// Types that zone files write as a word.
const TYPES: [(&str, u16); 54] = [
    ("A", 1),
    ("NS", 2),
    ("CNAME", 5),
    ("SOA", 6),
    ("MB", 7),
    ("MG", 8),
    ("MR", 9),
    ("NULL", 10),
    ("WKS", 11),
    ("PTR", 12),
    ("HINFO", 13),
    ("MINFO", 14),
    ("MX", 15),
    ("TXT", 16),
    ("RP", 17),
    ("AFSDB", 18),
    ("SIG", 24),
    ("KEY", 25),
    ("AAAA", 28),
    ("LOC", 29),
    ("SRV", 33),
    ("NAPTR", 35),
    ("KX", 36),
    ("CERT", 37),
    ("DNAME", 39),
    ("OPT", 41),
    ("APL", 42),
    ("DS", 43),
    ("SSHFP", 44),
    ("IPSECKEY", 45),
    ("RRSIG", 46),
    ("NSEC", 47),
    ("DNSKEY", 48),
    ("DHCID", 49),
    ("NSEC3", 50),
    ("NSEC3PARAM", 51),
    ("TLSA", 52),
    ("SMIMEA", 53),
    ("HIP", 55),
    ("CDS", 59),
    ("CDNSKEY", 60),
    ("OPENPGPKEY", 61),
    ("CSYNC", 62),
    ("ZONEMD", 63),
    ("SVCB", 64),
    ("HTTPS", 65),
    ("SPF", 99),
    ("TKEY", 249),
    ("TSIG", 250),
    ("IXFR", 251),
    ("AXFR", 252),
    ("ANY", 255),
    ("URI", 256),
    ("CAA", 257),
];

const RCODES: [&str; 24] = [
    "NOERROR",
    "FORMERR",
    "SERVFAIL",
    "NXDOMAIN",
    "NOTIMP",
    "REFUSED",
    "YXDOMAIN",
    "YXRRSET",
    "NXRRSET",
    "NOTAUTH",
    "NOTZONE",
    "DSOTYPENI",
    "",
    "",
    "",
    "",
    "BADVERS",
    "BADKEY",
    "BADTIME",
    "BADMODE",
    "BADNAME",
    "BADALG",
    "BADTRUNC",
    "BADCOOKIE",
];

/// The number of a type, by its word in any case or as `TYPE65280`.
pub(super) fn number(word: &str) -> Option<u16> {
    if let Some((_, number)) = TYPES.iter().find(|(known, _)| known.eq_ignore_ascii_case(word)) {
        return Some(*number);
    }
    let digits = word.get(4..).filter(|_| word.get(..4).is_some_and(|begin| begin.eq_ignore_ascii_case("TYPE")))?;
    let plain = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    digits.parse().ok().filter(|_| plain)
}

/// The word for a type.
pub(super) fn word(number: u16) -> String {
    let known = TYPES.iter().find(|(_, known)| *known == number);
    known.map_or_else(|| format!("TYPE{number}"), |(word, _)| (*word).to_owned())
}

/// The word for a response code, the extended ones included.
pub(super) fn rcode(number: u16) -> String {
    let known = RCODES.get(usize::from(number)).filter(|word| !word.is_empty());
    known.map_or_else(|| format!("RCODE{number}"), |word| (*word).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_numbers() {
        for (text, expected) in [
            ("A", Some(1)),
            ("aaaa", Some(28)),
            ("TYPE65", Some(65)),
            ("type65280", Some(65280)),
            ("TYPE65535", Some(65535)),
            ("TYPE65536", None),
            ("TYPE", None),
            ("TYPE+1", None),
            ("TYPE 1", None),
            ("TYP€1", None),
            ("", None),
            ("NOSUCH", None),
        ] {
            assert_eq!(number(text), expected, "{text}");
        }
        for number in 0..=u16::MAX {
            assert_eq!(super::number(&word(number)), Some(number));
        }
        assert_eq!((word(65), word(65280)), ("HTTPS".to_owned(), "TYPE65280".to_owned()));
        assert_eq!(
            [0, 3, 12, 16, 23, 24, 4095].map(rcode).join(" "),
            "NOERROR NXDOMAIN RCODE12 BADVERS BADCOOKIE RCODE24 RCODE4095"
        );
    }

    #[test]
    fn no_word_and_no_number_twice() {
        for (index, (word, number)) in TYPES.iter().enumerate() {
            assert!(TYPES[index + 1..].iter().all(|(w, n)| w != word && n != number), "{word}");
        }
    }
}
