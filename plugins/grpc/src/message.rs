//! The two messages of grpc.health.v1, small enough to be written out: a frame of gRPC around a message of protobuf.

use std::fmt;

/// What `HealthCheckResponse.status` may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Health {
    Unknown,
    Serving,
    NotServing,
    ServiceUnknown,
    Other(u64),
}

/// A frame has one byte for compression and four for the length.
const HEAD: usize = 5;

/// `HealthCheckRequest { string service = 1; }` in a frame.
pub(crate) fn question(service: &str) -> Vec<u8> {
    let mut message = Vec::new();
    if !service.is_empty() {
        message.push(1 << 3 | 2);
        varint(&mut message, service.len() as u64);
        message.extend(service.as_bytes());
    }
    let length = u32::try_from(message.len()).unwrap_or(u32::MAX);
    let mut frame = vec![0];
    frame.extend(length.to_be_bytes());
    frame.extend(message);
    frame
}

/// `HealthCheckResponse { ServingStatus status = 1; }` out of a frame; other fields are passed over.
pub(crate) fn answer(frame: &[u8]) -> Option<Health> {
    let (head, message) = frame.split_first_chunk::<HEAD>()?;
    // Compression was not offered.
    if head[0] != 0 {
        return None;
    }
    let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]);
    let mut message = message.get(..usize::try_from(length).ok()?)?;
    // The first value of an enumeration is not sent.
    let mut status = 0;
    while !message.is_empty() {
        let key = read_varint(&mut message)?;
        match (key >> 3, key & 7) {
            (1, 0) => status = read_varint(&mut message)?,
            (_, 0) => drop(read_varint(&mut message)?),
            (_, 1) => message = message.get(8..)?,
            (_, 2) => {
                let length = read_varint(&mut message)?;
                message = message.get(usize::try_from(length).ok()?..)?;
            }
            (_, 5) => message = message.get(4..)?,
            _ => return None,
        }
    }
    Some(match status {
        0 => Health::Unknown,
        1 => Health::Serving,
        2 => Health::NotServing,
        3 => Health::ServiceUnknown,
        other => Health::Other(other),
    })
}

fn varint(to: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        to.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    to.push(value as u8);
}

fn read_varint(from: &mut &[u8]) -> Option<u64> {
    let mut value = 0_u64;
    for n in 0..10 {
        let (byte, rest) = from.split_first()?;
        *from = rest;
        value |= u64::from(byte & 0x7f).checked_shl(n * 7)?;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

/// gRPC writes what is not plain in a message as `%20`.
pub(crate) fn unescape(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((byte, after)) = rest.split_first() {
        let escaped = (*byte == b'%').then(|| after.get(..2)).flatten();
        // The library would take a sign for a digit.
        let escaped = escaped.filter(|digits| digits.iter().all(u8::is_ascii_hexdigit));
        let value = escaped
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        bytes.push(value.unwrap_or(*byte));
        rest = if value.is_some() { &after[2..] } else { after };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The words of gRPC's specification for its codes.
pub(crate) fn code_name(code: i32) -> String {
    let names = [
        "OK",
        "CANCELLED",
        "UNKNOWN",
        "INVALID_ARGUMENT",
        "DEADLINE_EXCEEDED",
        "NOT_FOUND",
        "ALREADY_EXISTS",
        "PERMISSION_DENIED",
        "RESOURCE_EXHAUSTED",
        "FAILED_PRECONDITION",
        "ABORTED",
        "OUT_OF_RANGE",
        "UNIMPLEMENTED",
        "INTERNAL",
        "UNAVAILABLE",
        "DATA_LOSS",
        "UNAUTHENTICATED",
    ];
    let name = usize::try_from(code).ok().and_then(|n| names.get(n));
    name.map_or_else(|| format!("gRPC code {code}"), |name| (*name).to_owned())
}

impl fmt::Display for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown => f.write_str("UNKNOWN"),
            Self::Serving => f.write_str("SERVING"),
            Self::NotServing => f.write_str("NOT_SERVING"),
            Self::ServiceUnknown => f.write_str("SERVICE_UNKNOWN"),
            Self::Other(number) => write!(f, "in a state that this version does not know ({number})"),
        }
    }
}

#[cfg(test)]
#[path = "message/holds.rs"]
mod holds;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions() {
        assert_eq!(question(""), [0, 0, 0, 0, 0]);
        assert_eq!(question("ab"), [0, 0, 0, 0, 4, 10, 2, b'a', b'b']);
        let long = question(&"x".repeat(300));
        assert_eq!(&long[..8], [0, 0, 0, 1, 47, 10, 0xac, 2]);
    }

    #[test]
    fn answers() {
        for (frame, expected) in [
            (&[0, 0, 0, 0, 2, 8, 1][..], Some(Health::Serving)),
            (&[0, 0, 0, 0, 0], Some(Health::Unknown)),
            (&[0, 0, 0, 0, 6, 18, 1, 7, 8, 0x83, 0], Some(Health::ServiceUnknown)),
            (&[0, 0, 0, 0, 2, 8, 9], Some(Health::Other(9))),
            (&[1, 0, 0, 0, 2, 8, 1], None),
            (&[0, 0, 0, 0, 9, 8, 1], None),
            (&[0, 0, 0, 0, 2, 8, 0x81], None),
            (&[0, 0, 0, 0, 2, 18, 200], None),
            (&[0, 0, 0], None),
            (&[0, 0, 0, 0, 11, 8, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255], None),
        ] {
            assert_eq!(answer(frame), expected, "{frame:?}");
        }
    }

    #[test]
    fn words() {
        assert_eq!(unescape("a%20b%zz%e2%82%ac%+a%"), "a b%zz€%+a%");
        assert_eq!(
            (code_name(14), code_name(99), code_name(-1)),
            ("UNAVAILABLE".into(), "gRPC code 99".into(), "gRPC code -1".into())
        );
    }
}
