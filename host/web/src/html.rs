//! Text for a page that cannot break out of it: constants go in as they are, everything else is escaped here, once.

use std::fmt::{self, Write};

/// A piece of HTML. Only what is written in this crate's source can be markup, because `raw` takes nothing else.
#[derive(Debug, Clone, Default)]
pub(crate) struct Html(String);

impl Html {
    /// Markup, written in the source.
    pub(crate) fn raw(&mut self, markup: &'static str) -> &mut Self {
        self.0.push_str(markup);
        self
    }

    /// Anything, as text or as the value of an attribute in double quotes.
    pub(crate) fn text(&mut self, value: impl fmt::Display) -> &mut Self {
        write!(Escape(&mut self.0), "{value}").expect("writing to a string cannot fail");
        self
    }

    /// Anything, as one component of a URL.
    pub(crate) fn component(&mut self, value: &str) -> &mut Self {
        for byte in value.bytes() {
            if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
                self.0.push(char::from(byte));
            } else {
                write!(self.0, "%{byte:02X}").expect("writing to a string cannot fail");
            }
        }
        self
    }

    /// Another piece.
    pub(crate) fn html(&mut self, piece: &Html) -> &mut Self {
        self.0.push_str(&piece.0);
        self
    }

    pub(crate) fn into_string(self) -> String {
        self.0
    }
}

struct Escape<'a>(&'a mut String);

impl Write for Escape<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for c in text.chars() {
            match c {
                '&' => self.0.push_str("&amp;"),
                '<' => self.0.push_str("&lt;"),
                '>' => self.0.push_str("&gt;"),
                '"' => self.0.push_str("&quot;"),
                '\'' => self.0.push_str("&#39;"),
                '\n' | '\t' => self.0.push(c),
                c if c.is_control() || turns_text(c) => self.0.push('\u{fffd}'),
                c => self.0.push(c),
            }
        }
        Ok(())
    }
}

/// Marks that change the order of the text around them: a summary could make its row say something else.
fn turns_text(c: char) -> bool {
    matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_escaped() {
        for (value, expected) in [
            ("plain ü 漢", "plain ü 漢"),
            ("<script>alert(1)</script>", "&lt;script&gt;alert(1)&lt;/script&gt;"),
            ("\" onmouseover='x' &amp;", "&quot; onmouseover=&#39;x&#39; &amp;amp;"),
            ("a\u{0}b\u{1b}[31mc\u{202e}d", "a\u{fffd}b\u{fffd}[31mc\u{fffd}d"),
            ("two\nlines", "two\nlines"),
        ] {
            assert_eq!(Html::default().text(value).clone().into_string(), expected);
        }
    }

    #[test]
    fn components_are_escaped() {
        for (value, expected) in [("a-b_c.d~", "a-b_c.d~"), ("a b/ü?&\"", "a%20b%2F%C3%BC%3F%26%22")] {
            assert_eq!(Html::default().component(value).clone().into_string(), expected);
        }
    }
}
