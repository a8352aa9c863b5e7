//! Texts from outside that will be shown on terminals and pages: one printable line each; and lists of names in words.

/// Names in one message: what a person still reads.
const MAX_NAMES: usize = 20;

/// One line, printable, at most `most` bytes, cut at a character: what plugins' texts become as well.
pub(crate) fn clean(text: &str, most: usize) -> String {
    let mut line = String::with_capacity(text.len().min(most));
    for c in text.chars() {
        let c = if c.is_whitespace() { ' ' } else { c };
        if c.is_control() || turns_direction(c) {
            continue;
        }
        if line.len() + c.len_utf8() > most {
            break;
        }
        line.push(c);
    }
    line.trim().to_owned()
}

/// Marks that make a line read as another one.
fn turns_direction(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// `a, b, c and 7 more`; `none` where there are none.
pub(crate) fn listed<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let mut names: Vec<&str> = names.into_iter().collect();
    names.sort_unstable();
    names.dedup();
    let more = names.len().saturating_sub(MAX_NAMES);
    names.truncate(MAX_NAMES);
    let text: Vec<String> =
        names.iter().map(|name| if name.is_empty() { "the node itself".to_owned() } else { clean(name, 64) }).collect();
    match (text.is_empty(), more) {
        (true, _) => "none".to_owned(),
        (false, 0) => text.join(", "),
        (false, more) => format!("{} and {more} more", text.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines() {
        for (text, most, line) in [
            ("a\nb\u{1b}[0m\u{202e}c\0 ", 99, "a b[0mc"),
            ("\r\n  x", 99, "x"),
            ("äöü", 5, "äö"),
            ("ä", 1, ""),
            ("a\u{2028}b", 9, "a b"),
        ] {
            assert_eq!(clean(text, most), line);
        }
    }

    #[test]
    fn lists() {
        let many: Vec<String> = (0..22).map(|n| format!("{n:02}")).collect();
        for (names, text) in [
            (vec![], "none"),
            (vec!["b", "a", "b"], "a, b"),
            (vec![""], "the node itself"),
            (many.iter().map(String::as_str).collect(), "18, 19 and 2 more"),
        ] {
            assert!(listed(names).ends_with(text));
        }
    }
}
