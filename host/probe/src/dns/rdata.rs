//! The data of a record as a zone file writes it (RFC 1035, 3597, 4034, 5155, 9460 …), from bytes that nobody vouches for.

use std::fmt::Write;
use std::net::{Ipv4Addr, Ipv6Addr};

use super::kind;
use super::wire::{Malformed, Reader};
use crate::encoding::{Base64, hex};

/// What the data of a type consists of, in the order of the wire.
#[derive(Debug, Clone, Copy)]
enum Part {
    U8,
    U16,
    U32,
    V4,
    V6,
    Name,
    /// A type by its word.
    Type,
    /// A time of signatures: `20260102030405`.
    Time,
    /// A length and so many bytes, in quotes.
    Quoted,
    /// Any number of these, to the end.
    AllQuoted,
    /// A length and so many bytes, bare.
    Tag,
    /// Everything to the end, in quotes.
    Rest,
    /// Everything to the end, in hexadecimal digits.
    Hex,
    /// Everything to the end, in base 64.
    Base64,
    /// A length and so many bytes in hexadecimal digits, `-` for none.
    Salt,
    /// A length and so many bytes in base 32 with the extended alphabet.
    Hash,
    /// Types as a map of bits, to the end.
    Types,
    /// Parameters of a service, to the end.
    Parameters,
}

/// None for types whose data is written in the way of unknown ones.
fn layout(kind: u16) -> Option<&'static [Part]> {
    use Part::*;
    Some(match kind {
        1 => &[V4],
        2 | 5 | 7 | 8 | 9 | 12 | 39 => &[Name],
        6 => &[Name, Name, U32, U32, U32, U32, U32],
        13 => &[Quoted, Quoted],
        14 | 17 => &[Name, Name],
        15 | 18 | 36 => &[U16, Name],
        16 | 99 => &[AllQuoted],
        24 | 46 => &[Type, U8, U8, U32, Time, Time, U16, Name, Base64],
        25 | 48 | 60 => &[U16, U8, U8, Base64],
        28 => &[V6],
        33 => &[U16, U16, U16, Name],
        35 => &[U16, U16, Quoted, Quoted, Quoted, Name],
        37 => &[U16, U16, U8, Base64],
        43 | 59 => &[U16, U8, U8, Hex],
        44 => &[U8, U8, Hex],
        47 => &[Name, Types],
        49 | 61 => &[Base64],
        50 => &[U8, U8, U16, Salt, Hash, Types],
        51 => &[U8, U8, U16, Salt],
        52 | 53 => &[U8, U8, U8, Hex],
        62 => &[U32, U16, Types],
        63 => &[U32, U8, U8, Hex],
        64 | 65 => &[U16, Name, Parameters],
        256 => &[U16, U16, Rest],
        257 => &[U8, Tag, Rest],
        _ => return None,
    })
}

/// Writes the next `length` bytes of a message, which are the data of a record of this type.
pub(super) fn write(out: &mut String, kind: u16, reader: &mut Reader<'_>, length: usize) -> Result<(), Malformed> {
    let mut data = reader.within(length)?;
    match layout(kind) {
        Some(parts) => {
            for (index, part) in parts.iter().enumerate() {
                if index > 0 {
                    out.push(' ');
                }
                write_part(out, *part, &mut data)?;
            }
            // What is empty at the end leaves no space behind it.
            out.truncate(out.trim_end_matches(' ').len());
        }
        None => {
            write!(out, "\\# {length} ").expect("writing to a string cannot fail");
            out.push_str(&hex(data.rest(), true));
            out.truncate(out.trim_end_matches(' ').len());
        }
    }
    if data.left() > 0 {
        return Err(Malformed("has bytes behind its end"));
    }
    reader.skip(length)
}

fn write_part(out: &mut String, part: Part, data: &mut Reader<'_>) -> Result<(), Malformed> {
    match part {
        Part::U8 => number(out, data.u8()?),
        Part::U16 => number(out, data.u16()?),
        Part::U32 => number(out, data.u32()?),
        Part::V4 => number(out, Ipv4Addr::from(data.array::<4>()?)),
        Part::V6 => number(out, Ipv6Addr::from(data.array::<16>()?)),
        Part::Name => out.push_str(&data.name()?),
        Part::Type => out.push_str(&kind::word(data.u16()?)),
        Part::Time => time(out, data.u32()?),
        Part::Quoted => quoted(out, data.counted()?),
        Part::AllQuoted => {
            quoted(out, data.counted()?);
            while data.left() > 0 {
                out.push(' ');
                quoted(out, data.counted()?);
            }
        }
        Part::Tag => escaped(out, data.counted()?, b" \"\\;()@$"),
        Part::Rest => quoted(out, data.rest()),
        Part::Hex => out.push_str(&hex(data.rest(), true)),
        Part::Base64 => out.push_str(&Base64::Standard.padded(data.rest())),
        Part::Salt => match data.counted()? {
            [] => out.push('-'),
            salt => out.push_str(&hex(salt, true)),
        },
        Part::Hash => base32(out, data.counted()?),
        Part::Types => types(out, data)?,
        Part::Parameters => parameters(out, data)?,
    }
    Ok(())
}

fn number(out: &mut String, value: impl std::fmt::Display) {
    write!(out, "{value}").expect("writing to a string cannot fail");
}

fn quoted(out: &mut String, bytes: &[u8]) {
    out.push('"');
    escaped(out, bytes, b"\"\\");
    out.push('"');
}

/// Printable bytes as they are, those that mean something behind a backslash, others as `\DDD`; a space that means
/// something, too.
pub(super) fn escaped(out: &mut String, bytes: &[u8], special: &[u8]) {
    for byte in bytes {
        let means = special.contains(byte);
        match byte {
            b'!'..=b'~' if means => out.extend(['\\', char::from(*byte)]),
            b' '..=b'~' if !means => out.push(char::from(*byte)),
            _ => write!(out, "\\{byte:03}").expect("writing to a string cannot fail"),
        }
    }
}

/// RFC 4648, 7, without padding: the alphabet with which hashes of names are written.
fn base32(out: &mut String, bytes: &[u8]) {
    for group in bytes.chunks(5) {
        let bits = group.iter().fold(0_u64, |bits, byte| bits << 8 | u64::from(*byte)) << (8 * (5 - group.len()));
        for place in 0..(group.len() * 8).div_ceil(5) {
            let digit = u32::try_from(bits >> (35 - 5 * place) & 31).unwrap_or_default();
            out.extend(char::from_digit(digit, 32).map(|digit| digit.to_ascii_uppercase()));
        }
    }
}

/// Seconds since 1970, modulo 2^32, taken to be before 2106.
fn time(out: &mut String, seconds: u32) {
    let (days, second) = (i64::from(seconds / 86_400), seconds % 86_400);
    // Days since 1 March of the year 0, in which leap days come last (Hinnant's algorithm for dates after 1970).
    let shifted = days + 719_468;
    let era = shifted / 146_097;
    let day_of_era = shifted % 146_097;
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    write!(out, "{year:04}{month:02}{day:02}{hour:02}{minute:02}{second:02}").expect("writing to a string cannot fail");
}

fn types(out: &mut String, data: &mut Reader<'_>) -> Result<(), Malformed> {
    let (mut first, mut window_before) = (true, None);
    while data.left() > 0 {
        let (window, bits) = (data.u8()?, data.counted()?);
        // Ascending windows of at most 32 bytes: else a few bytes could stand for a long list again and again.
        if window_before.is_some_and(|before| before >= window) || !(1..=32).contains(&bits.len()) {
            return Err(Malformed("has a list of types that makes no sense"));
        }
        window_before = Some(window);
        for (index, byte) in (0_u16..).zip(bits) {
            for bit in (0..8).filter(|bit| byte & (0x80 >> bit) != 0) {
                if !std::mem::take(&mut first) {
                    out.push(' ');
                }
                out.push_str(&kind::word(u16::from(window) << 8 | index << 3 | bit));
            }
        }
    }
    Ok(())
}

/// RFC 9460, 14.3.2; keys without a word of their own are written with quoted values.
fn parameters(out: &mut String, data: &mut Reader<'_>) -> Result<(), Malformed> {
    const KEYS: [&str; 8] = ["mandatory", "alpn", "no-default-alpn", "port", "ipv4hint", "ech", "ipv6hint", "dohpath"];
    let word = |key: u16| KEYS.get(usize::from(key)).map_or_else(|| format!("key{key}"), |word| (*word).to_owned());
    let mut first = true;
    while data.left() > 0 {
        if !std::mem::take(&mut first) {
            out.push(' ');
        }
        let (key, length) = (data.u16()?, data.u16()?);
        let mut value = data.within(usize::from(length))?;
        data.skip(usize::from(length))?;
        out.push_str(&word(key));
        if value.left() == 0 {
            continue;
        }
        out.push('=');
        let mut separator = "";
        while value.left() > 0 {
            out.push_str(std::mem::replace(&mut separator, ","));
            match key {
                0 => out.push_str(&word(value.u16()?)),
                1 => in_list(out, value.counted()?),
                3 => number(out, value.u16()?),
                4 => number(out, Ipv4Addr::from(value.array::<4>()?)),
                5 => out.push_str(&Base64::Standard.padded(value.rest())),
                6 => number(out, Ipv6Addr::from(value.array::<16>()?)),
                _ => quoted(out, value.rest()),
            }
        }
    }
    Ok(())
}

/// A value within a list: commas and backslashes are escaped for the list, and then again for the text.
fn in_list(out: &mut String, value: &[u8]) {
    let means = |byte: u8| byte == b',' || byte == b'\\';
    let in_list = value.iter().flat_map(|byte| means(*byte).then_some(b'\\').into_iter().chain([*byte]));
    escaped(out, &in_list.collect::<Vec<_>>(), b" \"\\");
}

#[cfg(test)]
#[path = "rdata_tests.rs"]
mod tests;
