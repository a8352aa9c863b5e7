//! Takes secrets out of what a plugin says: their values, and the usual encodings of them.
//!
//! It is a net for what a server echoes and a plugin passes on in good faith. A plugin that wants to hide a value (turned
//! round, letter by letter) gets it past any such net; against that one there are the destinations of a secret and the
//! ceilings, because a plugin is never told a secret by the host itself.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;

use aho_corasick::AhoCorasick;

use crate::encoding::{Base64, hex, json, percent};

/// Shorter values are taken out only where they stand as a word: `1234` is part of many numbers.
const LEAST: usize = 6;
/// Characters of base64 that tell a value by themselves, whatever stands around it: all that six bytes are sure of.
const LEAST_BASE64: usize = 7;

/// Finds the secrets of one check.
pub struct Redactor {
    patterns: AhoCorasick,
    kinds: Vec<Kind>,
    /// In the order of `Kind::name`.
    names: Vec<String>,
    longest: usize,
}

/// What was found.
#[derive(Debug, Clone, Copy)]
struct Kind {
    name: usize,
    around: Around,
}

/// What belongs to a find beyond itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Around {
    /// Nothing.
    Nothing,
    /// It is one only if it is a whole word.
    Word,
    /// All of the text in base64 that it stands in: the value is part of something longer, like `user:password`.
    Base64,
}

impl Redactor {
    /// For these values by name; none if there is nothing to find.
    pub fn new(values: impl Iterator<Item = (String, Vec<u8>)>) -> Option<Redactor> {
        let mut names: Vec<String> = Vec::new();
        let mut texts: BTreeMap<String, Kind> = BTreeMap::new();
        for (name, value) in values.filter(|(_, value)| !value.is_empty()) {
            let known = names.iter().position(|known| *known == name);
            let index = known.unwrap_or_else(|| {
                names.push(name);
                names.len() - 1
            });
            for (text, around) in spellings(&value) {
                texts.entry(text).or_insert(Kind { name: index, around });
            }
        }
        let longest = texts.keys().map(String::len).max()?;
        let patterns =
            AhoCorasick::new(texts.keys()).expect("64 KiB in a few spellings are far from the limits of an automaton");
        Some(Redactor { patterns, kinds: texts.into_values().collect(), names, longest })
    }

    /// The text with `[secret NAME]` for every find.
    pub fn redact<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let finds = self.finds(text.as_bytes());
        if finds.is_empty() {
            return Cow::Borrowed(text);
        }
        let mut clean = String::with_capacity(text.len());
        let mut from = 0;
        for (range, name) in finds {
            // Finds begin and end at characters: every spelling is whole UTF-8, and what is added to it is ASCII.
            clean.push_str(text.get(from..range.start).unwrap_or_default());
            clean.push_str("[secret ");
            clean.push_str(self.names.get(name).map_or("", String::as_str));
            clean.push(']');
            from = range.end;
        }
        clean.push_str(text.get(from..).unwrap_or_default());
        Cow::Owned(clean)
    }

    /// At most `most` bytes of a text, cut after it was redacted. Of a long text only the beginning is looked at.
    pub fn redact_beginning(&self, text: &str, most: usize) -> String {
        let end = text.floor_char_boundary(most.saturating_mul(4).saturating_add(self.longest));
        let (looked_at, rest) = text.split_at(end);
        let mut clean = self.redact(looked_at).into_owned();
        if !rest.is_empty() {
            // A value that was cut there stands within this length from the end.
            clean.truncate(clean.floor_char_boundary(clean.len().saturating_sub(self.longest)));
        }
        clean.truncate(clean.floor_char_boundary(most));
        clean
    }

    /// The longest rest that a cut may leave of something that would have been found, in bytes.
    pub fn longest(&self) -> usize {
        self.longest
    }

    /// The name of a secret that is in there, in whatever spelling.
    pub fn find(&self, bytes: &[u8]) -> Option<&str> {
        self.finds(bytes).first().and_then(|(_, name)| self.names.get(*name)).map(String::as_str)
    }

    /// In their order, none overlapping another.
    fn finds(&self, text: &[u8]) -> Vec<(Range<usize>, usize)> {
        let mut finds: Vec<(Range<usize>, usize)> = Vec::new();
        for found in self.patterns.find_overlapping_iter(text) {
            let Some(kind) = self.kinds.get(found.pattern().as_usize()) else { continue };
            let known = |(last, _): &(Range<usize>, usize)| last.start <= found.start() && found.end() <= last.end;
            if finds.last().is_some_and(known) {
                continue;
            }
            let Some(mut range) = kind.extent(text, found.range()) else { continue };
            // They come in the order of their ends: what is overlapped stands last.
            while let Some((last, _)) = finds.pop_if(|(last, _)| range.start < last.end) {
                range = range.start.min(last.start)..range.end.max(last.end);
            }
            finds.push((range, kind.name));
        }
        finds
    }
}

impl Kind {
    /// How much of the text belongs to a find; none if it is none.
    fn extent(self, text: &[u8], found: Range<usize>) -> Option<Range<usize>> {
        let Range { mut start, mut end } = found;
        let is = |at: usize, kind: fn(u8) -> bool| text.get(at).is_some_and(|byte| kind(*byte));
        match self.around {
            Around::Nothing => {}
            Around::Word => {
                if is(end, is_word) || start.checked_sub(1).is_some_and(|before| is(before, is_word)) {
                    return None;
                }
            }
            Around::Base64 => {
                while start.checked_sub(1).is_some_and(|before| is(before, is_base64)) {
                    start -= 1;
                }
                while is(end, is_base64) {
                    end += 1;
                }
            }
        }
        Some(start..end)
    }
}

impl fmt::Debug for Redactor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Redactor").field("names", &self.names).finish_non_exhaustive()
    }
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || !byte.is_ascii()
}

fn is_base64(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"+/-_=".contains(&byte)
}

/// How a value may stand in a text.
fn spellings(value: &[u8]) -> Vec<(String, Around)> {
    // What is no UTF-8 reaches a text in this form alone, or in one of the encodings.
    let plain = String::from_utf8_lossy(value).into_owned();
    if value.len() < LEAST {
        return vec![(plain, Around::Word)];
    }
    let mut spellings = Vec::new();
    // A line break becomes a space in what is kept, and other control characters vanish.
    spellings.push((one_line(&plain), Around::Nothing));
    for slashes in [false, true] {
        spellings.push((json(&plain, slashes), Around::Nothing));
    }
    for upper in [false, true] {
        spellings.push((hex(value, upper), Around::Nothing));
        // Unreserved characters (RFC 3986), those that JavaScript leaves alone, those that forms leave alone.
        for (left_alone, form) in [("-._~", false), ("-._~!'()*", false), ("-._*", true)] {
            spellings.push((percent(value, left_alone, form, upper), Around::Nothing));
        }
    }
    for alphabet in [Base64::Standard, Base64::Url] {
        spellings.extend((0..3).filter_map(|shift| base64_within(value, shift, alphabet)));
    }
    spellings.push((plain, Around::Nothing));
    spellings
}

/// The characters of base64 that a value determines by itself when it begins `shift` bytes behind a multiple of three.
fn base64_within(value: &[u8], shift: usize, alphabet: Base64) -> Option<(String, Around)> {
    let shifted = [&[0; 2][..shift], value].concat();
    let text = alphabet.unpadded(&shifted);
    let own = (shift * 8).div_ceil(6)..shifted.len() * 8 / 6;
    text.get(own).filter(|own| own.len() >= LEAST_BASE64).map(|own| (own.to_owned(), Around::Base64))
}

/// As a text becomes that is kept: one line without control characters.
fn one_line(text: &str) -> String {
    text.chars().map(|c| if matches!(c, '\n' | '\t' | '\r') { ' ' } else { c }).filter(|c| !c.is_control()).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn redactor(values: &[(&str, &[u8])]) -> Redactor {
        let values = values.iter().map(|(name, value)| ((*name).to_owned(), value.to_vec()));
        Redactor::new(values).expect("there is a value")
    }

    #[test]
    fn values_and_their_encodings() {
        let redactor = redactor(&[("shop", b"s3cr\"t/pass w\xc3\xb6rd"), ("pin", b"1234"), ("key", b"a1b2c3d4e5")]);
        for (text, expected) in [
            ("nothing of it", "nothing of it"),
            ("a s3cr\"t/pass wörd z", "a [secret shop] z"),
            ("s3cr\"t/pass wörds3cr\"t/pass wörd", "[secret shop][secret shop]"),
            (r#"{"a":"s3cr\"t/pass wörd"}"#, r#"{"a":"[secret shop]"}"#),
            (r#"{"a":"s3cr\"t\/pass wörd"}"#, r#"{"a":"[secret shop]"}"#),
            ("?q=s3cr%22t%2Fpass%20w%C3%B6rd&", "?q=[secret shop]&"),
            ("?q=s3cr%22t%2fpass+w%c3%b6rd&", "?q=[secret shop]&"),
            ("733363722274 7333637222742f706173732077c3b67264", "733363722274 [secret shop]"),
            ("7333637222742F706173732077C3B67264", "[secret shop]"),
            ("pin 1234, not 12345 and x1234", "pin [secret pin], not 12345 and x1234"),
            ("1234", "[secret pin]"),
            ("a1b2c3d4e5f6", "[secret key]f6"),
            ("1234a1b2c3d4e5", "1234[secret key]"),
        ] {
            assert_eq!(redactor.redact(text), expected, "{text}");
            assert_eq!(redactor.find(text.as_bytes()).is_some(), text != expected, "{text}");
        }
    }

    #[test]
    fn values_that_overlap_leave_nothing_of_each_other() {
        let redactor = redactor(&[("a", b"abcdefgh"), ("b", b"ghijklmn"), ("c", b"defg ijk"), ("short", b"def")]);
        for (text, expected) in
            [("xabcdefghijklmnx", "x[secret b]x"), ("abcdefg ijk def", "abc[secret c] [secret short]")]
        {
            assert_eq!(redactor.redact(text), expected);
        }
    }

    #[test]
    fn base64_of_the_value_and_of_what_holds_it() {
        let redactor = redactor(&[("shop", b"secret-pass>>word")]);
        for around in [("", ""), ("u:", ""), ("user:", ""), ("admin:", "\n"), ("a", "bc"), ("{\"p\":\"", "\"}")] {
            let whole = [around.0, "secret-pass>>word", around.1].concat();
            for alphabet in [Base64::Standard, Base64::Url] {
                for encoded in [alphabet.padded(whole.as_bytes()), alphabet.unpadded(whole.as_bytes())] {
                    let text = format!("Basic {encoded}, and more");
                    assert_eq!(redactor.redact(&text), "Basic [secret shop], and more", "{around:?}");
                }
            }
        }
    }

    #[test]
    fn a_cut_leaves_nothing_of_a_value() {
        let redactor = redactor(&[("s", b"0123456789abcdef")]);
        for before in 0..80 {
            let text = "x".repeat(before) + &"0123456789abcdef".repeat(200);
            let cut = redactor.redact_beginning(&text, 40);
            assert!(!cut.contains("012") && cut.len() <= 40, "{cut}");
        }
        assert_eq!(redactor.redact_beginning("short 0123456789abcdef", 40), "short [secret s]");
        assert_eq!(redactor.redact_beginning("äöü", 3), "ä");
    }

    #[test]
    fn nothing_to_find() {
        assert!(Redactor::new(std::iter::empty()).is_none());
        assert!(Redactor::new(std::iter::once(("a".to_owned(), Vec::new()))).is_none());
        assert_eq!(format!("{:?}", redactor(&[("a", b"value!")])), "Redactor { names: [\"a\"], .. }");
    }

    proptest! {
        #[test]
        fn no_text_holds_the_value_afterwards(
            value in "[a-zA-Z0-9+/=!\" -]{6,40}",
            before in "[ -~äöü]{0,30}",
            after in "[ -~äöü]{0,30}",
            most in 0_usize..200,
        ) {
            let redactor = redactor(&[("n", value.as_bytes())]);
            let text = [&*before, &*value, &*after].concat();
            let clean = redactor.redact(&text);
            // A value could come together anew from what stands around it and from the replacement itself.
            prop_assert!(!clean.replace("[secret n]", "\u{1}").contains(&value), "{clean}");
            prop_assert!(redactor.redact_beginning(&text, most).len() <= most);
            let bytes = [before.as_bytes(), value.as_bytes(), after.as_bytes()].concat();
            prop_assert!(redactor.find(Base64::Url.unpadded(&bytes).as_bytes()).is_some());
        }
    }
}
