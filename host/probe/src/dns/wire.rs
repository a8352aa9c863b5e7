//! Reading a message of DNS byte by byte: every read is checked, every name is short and costs little.

use hickory_proto::rr::Name;
use hickory_proto::serialize::binary::{BinDecodable, BinDecoder};

use super::rdata::escaped;

/// Pointers that are followed in one name. A name has 127 labels at most, so nobody needs more; a chain of thousands
/// costs its sender two bytes each and the reader of every name all of them.
const MAX_POINTERS: usize = 127;

/// Why a message cannot be read, as the end of a sentence about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Malformed(pub(super) &'static str);

const SHORT: Malformed = Malformed("ends too early");

/// A place in a message.
#[derive(Debug, Clone)]
pub(super) struct Reader<'a> {
    /// The whole message up to where this reader may read: names point back into it.
    message: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn new(message: &'a [u8]) -> Reader<'a> {
        Reader { message, at: 0 }
    }

    /// Bytes that are left.
    pub(super) fn left(&self) -> usize {
        self.message.len() - self.at
    }

    /// A reader of the next bytes alone.
    pub(super) fn within(&self, length: usize) -> Result<Reader<'a>, Malformed> {
        let end = self.at.checked_add(length);
        let message = end.and_then(|end| self.message.get(..end)).ok_or(SHORT)?;
        Ok(Reader { message, at: self.at })
    }

    pub(super) fn skip(&mut self, length: usize) -> Result<(), Malformed> {
        self.bytes(length).map(drop)
    }

    pub(super) fn bytes(&mut self, length: usize) -> Result<&'a [u8], Malformed> {
        let end = self.at.checked_add(length).ok_or(SHORT)?;
        let bytes = self.message.get(self.at..end).ok_or(SHORT)?;
        self.at = end;
        Ok(bytes)
    }

    /// Everything that is left.
    pub(super) fn rest(&mut self) -> &'a [u8] {
        let rest = self.message.get(self.at..).unwrap_or_default();
        self.at = self.message.len();
        rest
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        self.bytes(N)?.try_into().map_err(|_| SHORT)
    }

    pub(super) fn u8(&mut self) -> Result<u8, Malformed> {
        self.array().map(u8::from_be_bytes)
    }

    pub(super) fn u16(&mut self) -> Result<u16, Malformed> {
        self.array().map(u16::from_be_bytes)
    }

    pub(super) fn u32(&mut self) -> Result<u32, Malformed> {
        self.array().map(u32::from_be_bytes)
    }

    /// A byte that says how many follow, and these.
    pub(super) fn counted(&mut self) -> Result<&'a [u8], Malformed> {
        let length = self.u8()?;
        self.bytes(usize::from(length))
    }

    /// A name as a zone file writes it, with its final dot.
    pub(super) fn name(&mut self) -> Result<String, Malformed> {
        self.raw_name().map(|name| text(&name))
    }

    /// A name, compressed or not.
    pub(super) fn raw_name(&mut self) -> Result<Name, Malformed> {
        const BAD: Malformed = Malformed("has a name that makes no sense");
        if !self.few_pointers() {
            return Err(BAD);
        }
        // Pointers have 14 bits and lead back only, so the reader begins at the message's own beginning.
        let mut decoder = BinDecoder::new(self.message);
        decoder.read_slice(self.at).map_err(|_| SHORT)?;
        let name = Name::read(&mut decoder).map_err(|_| BAD)?;
        self.at = decoder.index();
        Ok(name)
    }

    /// Whether the name here ends, in whatever way, before too many pointers were followed.
    fn few_pointers(&self) -> bool {
        let (mut at, mut pointers) = (self.at, 0);
        while let Some(byte) = self.message.get(at) {
            match byte {
                0xc0.. => {
                    let low = self.message.get(at + 1).copied().unwrap_or_default();
                    at = usize::from(byte & 0x3f) << 8 | usize::from(low);
                    pointers += 1;
                    if pointers > MAX_POINTERS {
                        return false;
                    }
                }
                // Either the end, or what cannot be read anyway.
                0 | 0x40.. => return true,
                length => at += 1 + usize::from(*length),
            }
        }
        true
    }
}

/// As a zone file writes it. The library writes octal digits behind a backslash where RFC 1035 wants decimal ones.
pub(super) fn text(name: &Name) -> String {
    if name.is_root() {
        return ".".to_owned();
    }
    let mut text = String::with_capacity(name.len() + 1);
    for label in name.iter() {
        let before = text.len();
        escaped(&mut text, label, b" \"().;@$\\");
        debug_assert!(text.len() > before, "no label is empty");
        text.push('.');
    }
    text
}

/// A name that somebody wrote, as an absolute one.
pub(super) fn parse_name(text: &str) -> Result<Name, &'static str> {
    const TOO_LONG: &str = "is longer than a name can be: 63 bytes in a label, 253 in all";
    if text == "." {
        return Ok(Name::root());
    }
    let mut labels: Vec<Vec<u8>> = vec![Vec::new()];
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        let byte = match byte {
            b'.' => {
                labels.push(Vec::new());
                continue;
            }
            b'\\' => escape(&mut bytes)?,
            b'!'..=b'~' => byte,
            0x80.. => return Err("has letters beyond ASCII: write the punycode form (xn--…)"),
            _ => return Err("has a space or a control character: write it as \\DDD"),
        };
        labels.last_mut().ok_or(TOO_LONG)?.push(byte);
    }
    if labels.len() > 1 && labels.last().is_some_and(Vec::is_empty) {
        // The name ends with its dot.
        labels.pop();
    }
    if labels.iter().any(Vec::is_empty) {
        return Err("has an empty label");
    }
    let mut name = Name::from_labels(labels.iter().map(Vec::as_slice)).map_err(|_| TOO_LONG)?;
    name.set_fqdn(true);
    // The root's byte and one for each label's length are on the wire, too.
    let wire: usize = 1 + labels.iter().map(|label| 1 + label.len()).sum::<usize>();
    if wire > 255 { Err(TOO_LONG) } else { Ok(name) }
}

/// What stands behind a backslash: three decimal digits, or the character itself.
fn escape(bytes: &mut std::str::Bytes<'_>) -> Result<u8, &'static str> {
    const BAD: &str = "has a backslash with neither a character nor three digits up to 255 behind it";
    let first = bytes.next().filter(u8::is_ascii).ok_or(BAD)?;
    if !first.is_ascii_digit() {
        return Ok(first);
    }
    let digits = [Some(first), bytes.next(), bytes.next()];
    let mut value = 0_u16;
    for digit in digits {
        let digit = digit.filter(u8::is_ascii_digit).ok_or(BAD)?;
        value = value * 10 + u16::from(digit - b'0');
    }
    u8::try_from(value).map_err(|_| BAD)
}

#[cfg(test)]
#[path = "wire_tests.rs"]
mod tests;
