//! Which lines of a request a server refused while it took the others, as far as its answer tells.
//!
//! | server | words | lines |
//! |---|---|---|
//! | 3.x | `"line_number":7` | by number |
//! | 1.x, 2.x | `unable to parse '<line>': <why>` | by their text |
//! | 1.x, 2.x | `input field "f" on measurement "m" is type string, …` | all with such a field, if they are as many |
//!
//! Other words (points too old, too many series) give a number, and no line.

use std::collections::BTreeSet;

/// The lines, each with its end, in their order. `rejected` is how many the server says there are.
pub(crate) fn named<'a>(answer: &str, text: &'a [u8], rejected: u64) -> Vec<&'a [u8]> {
    let lines: Vec<&[u8]> = text.split_inclusive(|byte| *byte == b'\n').collect();
    let mut named = by_number(answer, lines.len());
    let plain = unescaped(answer);
    named.extend(by_text(&plain, &lines));
    if named.is_empty() {
        named = by_type(&plain, &lines);
        if named.len() as u64 != rejected {
            return Vec::new();
        }
    }
    named.into_iter().map(|at| lines[at]).collect()
}

/// Numbers count from 1. Inside a text the quotes would be escaped.
fn by_number(answer: &str, lines: usize) -> BTreeSet<usize> {
    let parts = answer.split("\"line_number\":").skip(1);
    let number = |part: &str| {
        let part = part.trim_start();
        let end = part.find(|c: char| !c.is_ascii_digit()).unwrap_or(part.len());
        part[..end].parse::<usize>().ok()?.checked_sub(1)
    };
    parts.filter_map(number).filter(|at| *at < lines).collect()
}

/// A line may hold whatever comes after it as well: all ends are tried.
fn by_text(answer: &str, lines: &[&[u8]]) -> BTreeSet<usize> {
    let mut found = BTreeSet::new();
    for part in answer.split('\n').flat_map(|row| row.split("unable to parse '").skip(1)) {
        let ends = part.match_indices("': ").map(|(end, _)| &part.as_bytes()[..end]);
        let at = ends.filter_map(|text| lines.iter().position(|line| line.trim_ascii_end() == text)).next();
        found.extend(at);
    }
    found
}

/// All lines with the field and the type that the server complains of.
fn by_type(answer: &str, lines: &[&[u8]]) -> BTreeSet<usize> {
    let words = || {
        let (_, rest) = answer.split_once("input field \"")?;
        let (field, rest) = rest.split_once("\" on measurement \"")?;
        let (measurement, rest) = rest.split_once("\" is type ")?;
        Some((field, measurement, rest.split_once(',')?.0))
    };
    let Some((field, measurement, kind)) = words() else { return BTreeSet::new() };
    let has = |line: &&[u8]| parsed(line, field).is_some_and(|(of, is)| of == measurement.as_bytes() && is == kind);
    lines.iter().enumerate().filter(|(_, line)| has(line)).map(|(at, _)| at).collect()
}

/// The measurement of a line, and the type of a field if it is there. Of our own lines: names need no escapes.
fn parsed<'a>(line: &'a [u8], field: &str) -> Option<(&'a [u8], &'static str)> {
    let measurement = &line[..line.iter().position(|byte| matches!(byte, b',' | b' '))?];
    let mut rest = &line[1 + unescaped_end(line, b" ")?..];
    loop {
        let (name, value) = rest.split_at(rest.iter().position(|byte| *byte == b'=')?);
        let value = &value[1..];
        let end = if value.first() == Some(&b'"') { 2 + unescaped_end(&value[1..], b"\"")? } else { 0 };
        let end = end + value[end..].iter().position(|byte| matches!(byte, b',' | b' '))?;
        if name == field.as_bytes() {
            return Some((measurement, kind(&value[..end])));
        }
        if value[end] == b' ' {
            return None;
        }
        rest = &value[end + 1..];
    }
}

/// Where one of the bytes first stands without a backslash before it.
fn unescaped_end(text: &[u8], bytes: &[u8]) -> Option<usize> {
    let mut escaped = false;
    text.iter().position(|byte| {
        let here = !escaped && bytes.contains(byte);
        escaped = !escaped && *byte == b'\\';
        here
    })
}

fn kind(value: &[u8]) -> &'static str {
    match (value.first(), value.last()) {
        (Some(b'"'), _) => "string",
        (Some(b't' | b'T' | b'f' | b'F'), _) => "boolean",
        (_, Some(b'i')) => "integer",
        _ => "float",
    }
}

/// The answer without the escapes of JSON, whether or not it is JSON.
fn unescaped(answer: &str) -> String {
    let mut plain = String::with_capacity(answer.len());
    let mut chars = answer.chars();
    while let Some(c) = chars.next() {
        match (c, if c == '\\' { chars.next() } else { None }) {
            ('\\', Some('n')) => plain.push('\n'),
            ('\\', Some('t')) => plain.push('\t'),
            ('\\', Some('r')) => plain.push('\r'),
            ('\\', Some('u')) => {
                let digits: String = chars.by_ref().take(4).collect();
                plain.extend(u32::from_str_radix(&digits, 16).ok().and_then(char::from_u32));
            }
            ('\\', Some(other)) => plain.push(other),
            (c, _) => plain.push(c),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINES: [&str; 6] = [
        r#"check,check=a,host=n up=1i,summary="it's, up=x \"y\" " 1"#,
        r#"http,check=a,target=a\ b\,c\=d total_ms=1.5,ok=1i,word="v=\\" 1"#,
        r#"http,check=a total_ms=2i,ok=1i 2"#,
        r#"http,check=a total_ms="3, ok=1i" 3"#,
        r#"m value= 4"#,
        r#"http,check=b ok=1i,suspect=true,total_ms=7i 5"#,
    ];

    /// The numbers of the lines, from 0.
    fn numbers(answer: &str, rejected: u64) -> Vec<usize> {
        let text = LINES.map(|line| format!("{line}\n")).concat();
        let found = named(answer, text.as_bytes(), rejected);
        let number = |line: &&[u8]| LINES.iter().position(|known| known.as_bytes() == line.trim_ascii_end()).unwrap();
        found.iter().map(number).collect()
    }

    #[test]
    fn answers_of_real_servers() {
        let conflict = |field: &str, kind: &str| {
            format!(
                r#"{{"error":"partial write: field type conflict: input field \"{field}\" on measurement \"http\" is type {kind}, already exists as type float dropped=2"}}"#
            )
        };
        for (answer, rejected, expected) in [
            // 3.x
            (
                r#"{"error":"partial write of line protocol occurred","data":[{"original_line":"m","line_number":2,"error_message":"x"},{"original_line":"\"line_number\":1","line_number":5,"error_message":"x"}]}"#,
                2,
                vec![1, 4],
            ),
            (r#"{"data":[{"line_number":0},{"line_number":7},{"line_number":99999999999999999999}]}"#, 1, vec![]),
            // 1.x
            (r#"{"error":"partial write: unable to parse 'm value= 4': missing field value dropped=0"}"#, 1, vec![4]),
            (
                r#"{"error":"partial write: unable to parse 'm value= 4': missing field value\nunable to parse 'check,check=a,host=n up=1i,summary=\"it's, up=x \\\"y\\\" \" 1': bad\nunable to parse 'other 1': bad dropped=0"}"#,
                3,
                vec![0, 4],
            ),
            (&conflict("total_ms", "integer"), 2, vec![2, 5]),
            (&conflict("total_ms", "string"), 1, vec![3]),
            (&conflict("word", "string"), 1, vec![1]),
            (&conflict("suspect", "boolean"), 1, vec![5]),
            // As many as they say, or none: others may have been refused for something else.
            (&conflict("total_ms", "integer"), 3, vec![]),
            (&conflict("nothing", "integer"), 1, vec![]),
            (r#"{"error":"partial write: points beyond retention policy dropped=7"}"#, 7, vec![]),
            ("", 1, vec![]),
            ("\\", 1, vec![]),
        ] {
            assert_eq!(numbers(answer, rejected), expected, "{answer}");
        }
    }

    #[test]
    fn types_of_fields() {
        for (line, field, expected) in [
            (LINES[0], "up", Some(("check", "integer"))),
            (LINES[0], "summary", Some(("check", "string"))),
            (LINES[0], "y", None),
            (LINES[1], "word", Some(("http", "string"))),
            (LINES[3], "ok", None),
            ("m", "f", None),
            ("m f", "f", None),
            ("m f=", "f", None),
            ("m f=\"", "f", None),
        ] {
            let expected = expected.map(|(of, is)| (of.as_bytes(), is));
            assert_eq!(parsed(line.as_bytes(), field), expected, "{line} {field}");
        }
    }
}
