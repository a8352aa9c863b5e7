//! Public keys in minisign's form: reading them, naming them, and which plugins one may sign.

use std::fmt;

use roundsman_model::name::{PluginName, excerpt};

/// Base64 of `Ed`, the key's id and its 32 bytes.
const PUBLIC_KEY_BYTES: usize = 42;
/// A secret key has 158 bytes.
const SECRET_KEY_TEXT: usize = 200;
/// The text of a key or of a signature is a few lines.
const MAX_TEXT: usize = 4 << 10;

/// By which a signature names its key: eight random bytes, shown as minisign shows them.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId(u64);

/// A key that may sign.
#[derive(Debug, Clone, PartialEq)]
pub struct PublicKey {
    id: KeyId,
    key: minisign_verify::PublicKey,
}

/// Names of plugins: one name, or one with a single `*` that stands for any part of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamePattern {
    text: String,
}

impl KeyId {
    /// Of the line of base64 of a key or a signature: two bytes of algorithm, then eight of the id.
    pub fn of_line(line: &str) -> Option<Self> {
        let bytes = decode(line.trim().as_bytes().get(..16)?)?;
        let id: [u8; 8] = bytes.get(2..10)?.try_into().ok()?;
        Some(Self(u64::from_le_bytes(id)))
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016X}", self.0)
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Base64 without padding, of whole groups of four digits.
fn decode(digits: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(digits.len() / 4 * 3);
    for group in digits.chunks_exact(4) {
        let mut bits: u32 = 0;
        for digit in group {
            let value = match digit {
                b'A'..=b'Z' => digit - b'A',
                b'a'..=b'z' => digit - b'a' + 26,
                b'0'..=b'9' => digit - b'0' + 52,
                b'+' => 62,
                b'/' => 63,
                _ => return None,
            };
            bits = bits << 6 | u32::from(value);
        }
        bytes.extend(bits.to_be_bytes().into_iter().skip(1));
    }
    Some(bytes)
}

impl PublicKey {
    /// The line that begins with RW, alone or as minisign writes it into a file: behind a line of comment.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "`{}` is no public key of minisign: write the line of its .pub file that begins with RW",
                excerpt(text)
            )
        };
        if text.len() > MAX_TEXT {
            return Err(wrong());
        }
        let lines =
            text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with("untrusted comment:"));
        let [line] = lines.collect::<Vec<_>>()[..] else { return Err(wrong()) };
        if line.len() >= SECRET_KEY_TEXT {
            return Err(
                "this is a secret key: it belongs to who signs, and what is written here is its .pub file".to_owned()
            );
        }
        let key = minisign_verify::PublicKey::from_base64(line).map_err(|_| wrong())?;
        debug_assert_eq!(line.trim_end_matches('=').len(), PUBLIC_KEY_BYTES / 3 * 4, "the crate takes 42 bytes");
        Ok(Self { id: KeyId::of_line(line).ok_or_else(wrong)?, key })
    }

    pub fn id(&self) -> KeyId {
        self.id
    }

    pub(super) fn key(&self) -> &minisign_verify::PublicKey {
        &self.key
    }
}

impl NamePattern {
    /// Reads a name or a pattern; the error is a sentence.
    pub fn parse(text: &str) -> Result<Self, String> {
        let sample = text.replacen('*', "x", 1);
        if PluginName::new(&sample).is_ok() {
            return Ok(Self { text: text.to_owned() });
        }
        let word = excerpt(text);
        Err(format!("`{word}` is neither a plugin's name nor a pattern with one `*`, for instance shop-*"))
    }

    /// Every name.
    pub fn any() -> Self {
        Self { text: "*".to_owned() }
    }

    pub fn matches(&self, name: &PluginName) -> bool {
        let name = name.as_str();
        match self.text.split_once('*') {
            None => name == self.text,
            Some((head, tail)) => {
                name.len() >= head.len() + tail.len() && name.starts_with(head) && name.ends_with(tail)
            }
        }
    }
}

impl fmt::Display for NamePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The key of minisign's own page.
    const KEY: &str = "RWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3";

    #[test]
    fn keys() {
        for (text, expected) in [
            (KEY.to_owned(), Ok("E7620F1842B4E81F")),
            (format!("untrusted comment: minisign public key E7620F1842B4E81F\n{KEY}\n"), Ok("E7620F1842B4E81F")),
            (format!("  {KEY}\r\n"), Ok("E7620F1842B4E81F")),
            (String::new(), Err("is no public key")),
            ("untrusted comment: alone\n".to_owned(), Err("is no public key")),
            (format!("{KEY}\n{KEY}\n"), Err("is no public key")),
            (KEY[..55].to_owned(), Err("is no public key")),
            (format!("{KEY}AAAA"), Err("is no public key")),
            (KEY.replace("RWQ", "RWX"), Err("is no public key")),
            (KEY.replace('6', "ä"), Err("is no public key")),
            ("x".repeat(1 << 20), Err("is no public key")),
            (format!("RWRTY0Iy{}", "A".repeat(204)), Err("this is a secret key")),
            // Ids are random: any of these beginnings is that of a public key.
            (KEY.replace("RWQf6LRC", "RWRTY0Iy"), Ok("E7620F1832426353")),
            (KEY.replace("RWQf", "RWTf"), Ok("E7620F1842B4E8DF")),
        ] {
            match (PublicKey::parse(&text), expected) {
                (Ok(key), Ok(id)) => assert_eq!(key.id().to_string(), id, "{text}"),
                (Err(error), Err(says)) => assert!(error.contains(says), "{text}: {error}"),
                (got, expected) => panic!("{text}: {got:?} instead of {expected:?}"),
            }
        }
    }

    #[test]
    fn patterns() {
        for (pattern, yes, no) in [
            ("*", "a http shop-x", ""),
            ("http", "http", "http2 htt xhttp"),
            ("shop-*", "shop-a shop-a-b", "shop shopx ashop-a"),
            ("*-x", "a-x shop-x", "x ax a-xy"),
            ("a*a", "aa aba", "a ab"),
        ] {
            let pattern = NamePattern::parse(pattern).unwrap();
            let matches = |name: &&str| pattern.matches(&PluginName::new(name).unwrap());
            assert!(yes.split_whitespace().all(|name| matches(&name)), "{pattern}");
            assert!(!no.split_whitespace().any(|name| matches(&name)), "{pattern}");
        }
        for bad in ["", "**", "a*b*", "A", "a b", "-*"] {
            assert!(NamePattern::parse(bad).unwrap_err().contains("pattern with one `*`"), "{bad}");
        }
    }

    #[test]
    fn ids() {
        for (line, id) in [
            ("RUQf6LRCGA9i559r3g7V1q", Some("E7620F1842B4E81F")),
            ("RUQf6LRCGA9i559", None),
            ("RUQf6LRCGA9i5=9r", None),
            ("", None),
            ("äääääääääää", None),
        ] {
            assert_eq!(KeyId::of_line(line).map(|id| id.to_string()).as_deref(), id, "{line}");
        }
    }
}
