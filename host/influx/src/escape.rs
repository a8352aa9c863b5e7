//! The safe subset of line protocol: texts that the parsers of InfluxDB 1.x, 2.x and 3.x all read in the same way.

use std::io::Write;

use roundsman_model::record::Value;

/// Longest tag value in bytes before escaping: a tag is an index entry, and long ones are mistakes.
pub(crate) const MAX_TAG_VALUE: usize = 256;

/// Longest text field in bytes before escaping: the smallest documented limit is 64 KiB, and a summary is one line.
pub(crate) const MAX_TEXT: usize = 1_024;

/// Writes a tag value: no control characters, no backslash (parsers differ on it), delimiters escaped.
pub(crate) fn tag_value(raw: &str, out: &mut Vec<u8>) {
    for c in cut(raw, MAX_TAG_VALUE).chars() {
        match c {
            ',' | '=' | ' ' => out.extend_from_slice(&[b'\\', c as u8]),
            '\\' => out.push(b'/'),
            c if c.is_control() => out.push(b'_'),
            c => push_char(c, out),
        }
    }
}

/// Writes a text field with its quotes: one line, other control characters dropped.
pub(crate) fn text(raw: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    for c in cut(raw, MAX_TEXT).chars() {
        match c {
            '"' | '\\' => out.extend_from_slice(&[b'\\', c as u8]),
            '\r' | '\n' | '\t' => out.push(b' '),
            c if c.is_control() => {}
            c => push_char(c, out),
        }
    }
    out.push(b'"');
}

/// Writes an integer field. There is no unsigned form: 1.x refuses it.
pub(crate) fn integer(value: i64, out: &mut Vec<u8>) {
    write!(out, "{value}i").expect("writing to memory cannot fail");
}

/// Writes a real field so that it is real for every reader: always with a decimal point or an exponent. The caller
/// has seen to it that the value is finite.
pub(crate) fn real(value: f64, out: &mut Vec<u8>) {
    write!(out, "{value:?}").expect("writing to memory cannot fail");
}

/// Writes the value of a plugin's field; false, and nothing written, when it has no portable form.
pub(crate) fn value(value: &Value, out: &mut Vec<u8>) -> bool {
    match value {
        Value::Real(real_value) if real_value.is_finite() => real(*real_value, out),
        Value::Real(_) => return false,
        Value::Integer(value) => integer(*value, out),
        // InfluxQL cannot average booleans.
        Value::Boolean(value) => integer(i64::from(*value), out),
        Value::Text(value) => text(value, out),
    }
    true
}

/// The beginning of a text, at most `max` bytes, ending between two characters.
fn cut(raw: &str, max: usize) -> &str {
    &raw[..raw.floor_char_boundary(max)]
}

fn push_char(c: char, out: &mut Vec<u8>) {
    out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(write: impl Fn(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn tag_values() {
        for (raw, safe) in [
            ("eu", "eu"),
            ("a b,c=d", r"a\ b\,c\=d"),
            (r"C:\x\", "C:/x/"),
            ("a\tb\nc\r\0d", "a_b_c__d"),
            ("m,t=evil f=1 6\nn f=1 7", r"m\,t\=evil\ f\=1\ 6_n\ f\=1\ 7"),
            ("\u{7f}\u{85}é漢", "__é漢"),
            ("say \"hi\"", r#"say\ "hi""#),
        ] {
            assert_eq!(written(|out| tag_value(raw, out)), safe, "{raw:?}");
        }
    }

    #[test]
    fn texts() {
        for (raw, safe) in [
            ("", r#""""#),
            ("plain, = text", r#""plain, = text""#),
            (r"C:\", r#""C:\\""#),
            ("x\" ,a=b 5\nm,t=evil f=1 6", r#""x\" ,a=b 5 m,t=evil f=1 6""#),
            (r#"x\" f=1"#, r#""x\\\" f=1""#),
            ("a\r\nb\tc\u{1b}[31m\0", r#""a  b c[31m""#),
        ] {
            assert_eq!(written(|out| text(raw, out)), safe, "{raw:?}");
        }
    }

    #[test]
    fn long_texts_end_between_characters() {
        let long = "é".repeat(2_000);
        assert_eq!(written(|out| tag_value(&long, out)), "é".repeat(MAX_TAG_VALUE / 2));
        assert_eq!(written(|out| text(&format!("x{long}"), out)).chars().count(), 2 + 1 + (MAX_TEXT - 1) / 2);
    }

    #[test]
    fn numbers_keep_their_type() {
        for (number, text) in
            [(1.0, "1.0"), (-0.5, "-0.5"), (1e300, "1e300"), (5e-324, "5e-324"), (100_000.0, "100000.0")]
        {
            assert_eq!(written(|out| real(number, out)), text);
        }
        for (given, text) in [
            (Value::Real(f64::NAN), None),
            (Value::Real(f64::NEG_INFINITY), None),
            (Value::Real(2.0), Some("2.0")),
            (Value::Integer(i64::MIN), Some("-9223372036854775808i")),
            (Value::Boolean(true), Some("1i")),
            (Value::Boolean(false), Some("0i")),
        ] {
            let mut out = Vec::new();
            assert_eq!(value(&given, &mut out), text.is_some());
            assert_eq!(String::from_utf8(out).unwrap(), text.unwrap_or(""));
        }
    }
}
