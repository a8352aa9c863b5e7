//! Label selectors as the cluster's API and `kubectl` take them: `app=web,tier in (a, b),!canary`.

use roundsman_model::name::excerpt;

/// The longest key, prefix or value of a label.
const MAX_WORD: usize = 63;
const MAX_PREFIX: usize = 253;
const FORMS: &str = "write for instance `app=web`, `tier!=db`, `zone in (a, b)`, `zone notin (c)`, `canary`, `!canary`, \
                     several with commas between them";

/// Why a text is no selector. The empty text selects everything and is one.
pub(super) fn check(text: &str) -> Result<(), String> {
    let bad = |part: &str| Err(format!("`{}` selects no labels: {FORMS}", excerpt(part)));
    if text.trim().is_empty() {
        return bad(text);
    }
    let mut rest = text;
    loop {
        let (part, tail) = first_part(rest);
        if !is_requirement(part.trim()) {
            return bad(part.trim());
        }
        match tail {
            Some(tail) => rest = tail,
            None => return Ok(()),
        }
    }
}

/// Up to the next comma outside brackets.
fn first_part(text: &str) -> (&str, Option<&str>) {
    let mut inside = false;
    for (at, c) in text.char_indices() {
        match c {
            '(' => inside = true,
            ')' => inside = false,
            ',' if !inside => return (&text[..at], Some(&text[at + 1..])),
            _ => {}
        }
    }
    (text, None)
}

fn is_requirement(part: &str) -> bool {
    if let Some((head, values)) = part.strip_suffix(')').and_then(|part| part.split_once('(')) {
        let mut words = head.split_whitespace();
        let (Some(key), Some("in" | "notin"), None) = (words.next(), words.next(), words.next()) else { return false };
        return is_key(key) && values.split(',').all(|value| is_value(value.trim()));
    }
    for sign in ["!=", "==", "="] {
        if let Some((key, value)) = part.split_once(sign) {
            return is_key(key.trim()) && is_value(value.trim());
        }
    }
    is_key(part.strip_prefix('!').unwrap_or(part).trim())
}

fn is_key(text: &str) -> bool {
    let (prefix, name) = text.split_once('/').map_or((None, text), |(prefix, name)| (Some(prefix), name));
    let domain = |prefix: &str| {
        let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'.');
        !prefix.is_empty() && prefix.len() <= MAX_PREFIX && prefix.bytes().all(allowed)
    };
    prefix.is_none_or(domain) && !name.is_empty() && is_value(name)
}

/// A value may be empty.
fn is_value(text: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    let ends = |b: Option<&u8>| b.is_none_or(u8::is_ascii_alphanumeric);
    let bytes = text.as_bytes();
    bytes.len() <= MAX_WORD && bytes.iter().copied().all(allowed) && ends(bytes.first()) && ends(bytes.last())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selectors() {
        for (text, good) in [
            ("app=web", true),
            ("app==web", true),
            ("app != web", true),
            ("app=", true),
            ("app", true),
            ("!app", true),
            ("app.kubernetes.io/name=x", true),
            ("a=b,c in (d, e),f notin (g),!h", true),
            ("a in ()", true),
            ("", false),
            (" ", false),
            (",", false),
            ("a=b,", false),
            ("=b", false),
            ("a=b c", false),
            ("a in b", false),
            ("a within (b)", false),
            ("a in (b", false),
            ("a in (b c)", false),
            ("-a=b", false),
            ("a=b/c", false),
            ("Ä=b", false),
            ("/a=b", false),
        ] {
            assert_eq!(check(text).is_ok(), good, "{text:?}");
        }
        assert!(check(&"a".repeat(64)).is_err());
    }
}
