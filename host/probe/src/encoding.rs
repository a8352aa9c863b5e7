//! The usual encodings of bytes in texts: base64, hexadecimal, percent, JSON.

use std::fmt::Write;

/// Which characters stand for 62 and 63 in base64.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Base64 {
    /// `+` and `/`.
    Standard,
    /// `-` and `_`, as in URLs.
    Url,
}

impl Base64 {
    fn character(self, six_bits: u32) -> char {
        let six_bits = u8::try_from(six_bits & 63).expect("six bits are a byte");
        char::from(match six_bits {
            0..26 => b'A' + six_bits,
            26..52 => b'a' + six_bits - 26,
            52..62 => b'0' + six_bits - 52,
            62 if self == Base64::Standard => b'+',
            62 => b'-',
            _ if self == Base64::Standard => b'/',
            _ => b'_',
        })
    }

    /// Without `=` at the end.
    pub fn unpadded(self, bytes: &[u8]) -> String {
        let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
        for group in bytes.chunks(3) {
            let bits = group.iter().fold(0, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - group.len()));
            for place in 0..=group.len() {
                text.push(self.character(bits >> (18 - 6 * place)));
            }
        }
        text
    }

    /// With `=` up to a multiple of four characters.
    pub fn padded(self, bytes: &[u8]) -> String {
        let mut text = self.unpadded(bytes);
        while !text.len().is_multiple_of(4) {
            text.push('=');
        }
        text
    }
}

/// Two digits for each byte.
pub(crate) fn hex(bytes: &[u8], upper: bool) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        let written = if upper { write!(text, "{byte:02X}") } else { write!(text, "{byte:02x}") };
        written.expect("writing to a string cannot fail");
    }
    text
}

/// As in URLs: what is neither a letter, a digit nor one of `plain` becomes `%XX`; with `form`, a space becomes `+`.
pub(crate) fn percent(bytes: &[u8], plain: &str, form: bool, upper: bool) -> String {
    let mut text = String::with_capacity(bytes.len());
    for byte in bytes {
        match byte {
            b' ' if form => text.push('+'),
            byte if byte.is_ascii_alphanumeric() || plain.as_bytes().contains(byte) => text.push(char::from(*byte)),
            byte => {
                text.push('%');
                text.push_str(&hex(&[*byte], upper));
            }
        }
    }
    text
}

/// As inside a JSON string; `slashes`: with `/` as `\/`, as PHP does it.
pub(crate) fn json(value: &str, slashes: bool) -> String {
    let mut text = String::with_capacity(value.len());
    for c in value.chars() {
        match c {
            '"' | '\\' => text.extend(['\\', c]),
            '/' if slashes => text.push_str("\\/"),
            '\n' => text.push_str("\\n"),
            '\r' => text.push_str("\\r"),
            '\t' => text.push_str("\\t"),
            c if c.is_ascii_control() => {
                write!(text, "\\u{:04x}", u32::from(c)).expect("writing to a string cannot fail");
            }
            c => text.push(c),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_of_every_length() {
        for (bytes, padded) in [
            (&b""[..], ""),
            (b"f", "Zg=="),
            (b"fo", "Zm8="),
            (b"foo", "Zm9v"),
            (b"foob", "Zm9vYg=="),
            (b"fooba", "Zm9vYmE="),
            (b"foobar", "Zm9vYmFy"),
            (b"user:password", "dXNlcjpwYXNzd29yZA=="),
            (b"\xfb\xff\xbf", "+/+/"),
        ] {
            assert_eq!(Base64::Standard.padded(bytes), padded);
            assert_eq!(Base64::Url.unpadded(bytes), padded.trim_end_matches('=').replace('+', "-").replace('/', "_"));
        }
    }

    #[test]
    fn the_others() {
        assert_eq!((hex(b"\x00\xaf", false), hex(b"\x00\xaf", true)), ("00af".into(), "00AF".into()));
        assert_eq!(percent("a b/ü~".as_bytes(), "~", false, true), "a%20b%2F%C3%BC~");
        assert_eq!(percent(b"a b/", "/", true, false), "a+b/");
        assert_eq!(percent(b"/", "", false, false), "%2f");
        assert_eq!(json("a\"b\\c/\n\u{1}ü", false), r#"a\"b\\c/\n\u0001ü"#);
        assert_eq!(json("/", true), "\\/");
    }
}
